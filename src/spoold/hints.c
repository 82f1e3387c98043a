#include "spoold/hints.h"

#include "base/log.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A flood of hints must not keep jobs from starting, nor workers waiting for their next one. At
 * some 10 us each that is what a few short jobs take; 128 made more turns, of less each. */
enum { HINTS_TURN = 512 };

/* Reads "dir/name" of a hint; false where it is too long to exist. */
static bool hint_path(const struct watch_hint *hint, char *out, size_t size)
{
	const char *slash = hint->dir[0] != '\0' && hint->name[0] != '\0' ? "/" : "";
	int n = snprintf(out, size, "%s%s%s", hint->dir, slash, hint->name);
	return n >= 0 && (size_t)n < size;
}

/* Who left is mostly a job that we moved on ourselves: known by the index alone. */
static bool is_missed(struct daemon *d, const struct user *u, const char *path)
{
	struct job job = {0};
	if (upload_find(u, path) != NULL || u->notice.oddities != NULL)
		return true;
	int r = index_find_path(d->index, u->number, path, &job);
	bool moved_on = r == 0 && (job.place != PLACE_INCOMING || job_state_is_final(job.state));
	job_clear(&job);
	return r != -ENOENT && !moved_on;
}

/* What came there before it was watched goes first. */
static void watch_anew(struct daemon *d, struct user *u)
{
	user_watch(d, u);
	scan_want_sorted(d, u);
}

/* Something about the directory of a user. */
static void follow_root(struct daemon *d, const struct watch_hint *hint)
{
	struct user *u = hint->kind == WATCH_LEFT ? user_find(d, hint->name) : NULL;
	if (hint->kind == WATCH_DIRECTORY || hint->kind == WATCH_DIRECTORY_IN)
		users_meet(d, hint->name);
	/* Moved away as a whole: of what is in it no event tells. */
	if (u != NULL)
		scan_want(d, u);
}

static void follow_hint(struct daemon *d, const struct watch_hint *hint)
{
	char path[JOB_PATH_MAX + 1];
	/* Whatever is said of directories themselves: they may be others now. */
	if (hint->user == 0 || hint->kind == WATCH_LOST)
		tree_forget_kept(d->tree);
	if (hint->kind == WATCH_OVERFLOW) {
		log_notice("more happened at once than the kernel could tell (%u. time): looking "
		           "everywhere again", ++d->intake.overflows);
		users_discover(d);
		for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next)
			scan_want_sorted(d, u);
		return;
	}
	if (hint->user == 0) {
		follow_root(d, hint);
		return;
	}
	struct user *u = user_by_number(d, hint->user);
	if (u == NULL || !hint_path(hint, path, sizeof path))
		return;
	if (hint->kind == WATCH_LOST) {
		if (hint->dir[0] == '\0')
			watch_anew(d, u);
		else
			scan_want(d, u);
	} else if (hint->kind == WATCH_LEFT) {
		if (is_missed(d, u, path))
			intake_look(d, u, path, WATCH_CHANGED);
	} else {
		intake_look(d, u, path, hint->kind);
	}
}

void hints_gather(struct daemon *d)
{
	int r = d->watch == NULL ? 0 : watch_gather(d->watch);
	if (r < 0)
		log_error("events of directories cannot be read: %s; rescans find what they were about",
		          strerror(-r));
}

bool hints_wait(const struct daemon *d)
{
	return d->watch != NULL && watch_waits(d->watch);
}

uint64_t hints_mark(const struct daemon *d)
{
	return d->watch == NULL ? 0 : watch_mark(d->watch);
}

bool hints_are_past(const struct daemon *d, uint64_t mark)
{
	return d->watch == NULL || watch_is_past(d->watch, mark);
}

void hints_read(struct daemon *d)
{
	struct watch_hint hint;
	hints_gather(d);
	for (int n = 0; n < HINTS_TURN && watch_next(d->watch, &hint); n++)
		follow_hint(d, &hint);
}
