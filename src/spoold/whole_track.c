/* Which directory is to be one job, and what is noted of it when a look or an event
 * tells of it. */
#include "spoold/whole.h"

#include "spoold/daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool whole_is(const struct user *u, const char *path)
{
	return u->settings->directories == DIRECTORIES_JOB && strchr(path, '/') == NULL;
}

bool whole_is_inner(const struct user *u, const char *path)
{
	return u->settings->directories == DIRECTORIES_JOB && strchr(path, '/') != NULL;
}

static struct upload_entry *new_entry(struct daemon *d, struct user *u, const char *path,
                                      bool moved_in)
{
	struct upload_entry *e =
		upload_add(d, u, path, moved_in ? INTAKE_USER_MAX : INTAKE_WAITING_MAX);
	if (e == NULL)
		return NULL;
	e->kind = ENTRY_DIRECTORY;
	e->waits_for = SETTLE_WAIT;
	e->whole = calloc(1, sizeof *e->whole);
	if (e->whole == NULL) {
		upload_drop(d, e);
		return NULL;
	}
	e->whole->entry = e;
	return e;
}

/* A claim of this very directory was undone: that rename was ours, and says nothing of
 * its uploader. */
static bool was_put_back(struct daemon *d, const struct user *u, const char *path,
                         const struct file_ident *ident)
{
	struct job job = {0};
	if (index_find_path(d->index, u->number, path, &job) < 0)
		return false;
	bool was = job.state == JOB_CANCELED && job.place == PLACE_NOWHERE &&
	           file_ident_same_inode(&job.ident, ident);
	job_clear(&job);
	return was;
}

void whole_track(struct daemon *d, struct user *u, const char *path,
                 const struct file_ident *ident, bool moved_in, bool by_scan)
{
	struct upload_entry *e = upload_find(u, path);
	bool other = e != NULL && (e->whole == NULL || !file_ident_same_inode(&e->look.ident, ident));
	/* What had this name is gone. */
	if (other && e->state != UPLOAD_ACCEPTING) {
		upload_drop(d, e);
		e = NULL;
	}
	if (moved_in && was_put_back(d, u, path, ident)) {
		moved_in = false;
		by_scan = true;
	}
	bool is_new = e == NULL;
	if (is_new)
		e = new_entry(d, u, path, moved_in);
	if (e == NULL)
		return;
	if (e->state == UPLOAD_ACCEPTING) {
		e->touched = true;
		e->renamed = moved_in ? *ident : (struct file_ident){0};
		return;
	}
	if (is_new) {
		e->look.ident = *ident;
		e->look.found = by_scan;
	}
	if (moved_in) {
		e->look.renamed_in = true;
		whole_abandon(d, e);
	}
	bool waits = !is_new && !e->whole->queued && (e->due.at == 0 || (by_scan && e->whole->idle > 0));
	if (moved_in || waits || (by_scan && is_new))
		upload_set_due(d, e, d->steady_ms);
	else if (is_new)
		upload_set_due(d, e, d->steady_ms + u->settings->whole_settle_ms);
}

void whole_forget(struct daemon *d, struct user *u, const char *path)
{
	struct upload_entry *e = upload_find(u, path);
	if (e != NULL && e->whole != NULL && e->state != UPLOAD_ACCEPTING)
		upload_drop(d, e);
}
