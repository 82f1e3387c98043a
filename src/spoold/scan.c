#include "spoold/scan.h"

#include "base/log.h"
#include "spoold/accept.h"
#include "spoold/daemon.h"
#include "spoold/notice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct scan_found {
	int64_t ctime_ns;
	char *path;
};

void scan_want(struct daemon *d, struct user *u)
{
	if (u->scan_wanted || u->number == 0)
		return;
	u->scan_wanted = true;
	DL_APPEND2(d->scan.wanted, u, scan_prev, scan_next);
}

void scan_want_all(struct daemon *d)
{
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next)
		scan_want(d, u);
}

static void forget_found(struct scan *s)
{
	for (size_t i = 0; i < s->found_n; i++)
		free(s->found[i].path);
	s->found_n = s->fed = 0;
}

void scan_clear(struct daemon *d)
{
	struct scan *s = &d->scan;
	tree_scan_end(s->walk);
	forget_found(s);
	free(s->found);
	*s = (struct scan){0};
}

static int compare_found(const void *a, const void *b)
{
	const struct scan_found *x = a, *y = b;
	if (x->ctime_ns != y->ctime_ns)
		return x->ctime_ns < y->ctime_ns ? -1 : 1;
	return strcmp(x->path, y->path);
}

static void sort_found(struct scan *s)
{
	if (s->found_n > 1)
		qsort(s->found, s->found_n, sizeof *s->found, compare_found);
}

/* Twice the portion is full: keeps the older half. The next walk finds the
 * others again. */
static void cut_found(struct scan *s)
{
	sort_found(s);
	while (s->found_n > SCAN_PORTION)
		free(s->found[--s->found_n].path);
	s->more = true;
}

static int keep_found(struct scan *s, const char *path, int64_t ctime_ns)
{
	if (s->found_n == 2 * (size_t)SCAN_PORTION)
		cut_found(s);
	if (s->found_n == s->found_room) {
		size_t room = s->found_room == 0 ? 256 : s->found_room * 2;
		struct scan_found *found = reallocarray(s->found, room, sizeof *found);
		if (found == NULL)
			return -ENOMEM;
		s->found = found;
		s->found_room = room;
	}
	char *copy = strdup(path);
	if (copy == NULL)
		return -ENOMEM;
	s->found[s->found_n++] = (struct scan_found){.ctime_ns = ctime_ns, .path = copy};
	return 0;
}

static void end_scan(struct daemon *d)
{
	struct scan *s = &d->scan;
	tree_scan_end(s->walk);
	s->walk = NULL;
	forget_found(s);
	free(s->found);
	s->found = NULL;
	s->found_room = 0;
	s->user->scan_running = false;
	s->user->scanned = true;
	s->user = NULL;
	s->phase = SCAN_IDLE;
	s->done++;
}

/* A directory that its uploader made and never used may be about to be. */
enum { TIDY_UNUSED_MS = 24 * 60 * 60 * 1000 };

static void let_tidy(const struct user *u, struct tree_scan *walk)
{
	struct tree_tidy rule = {.after_ms = user_tidy_after_ms(u), .unused_ms = TIDY_UNUSED_MS};
	if (u->settings->tidy)
		tree_scan_tidy(walk, &rule);
}

static bool begin_walk(struct daemon *d)
{
	struct scan *s = &d->scan;
	s->known = 0;
	s->more = false;
	s->tidied = 0;
	forget_found(s);
	notice_walk_begins(s->user);
	int r = tree_scan_begin(d->tree, s->user->name, &s->walk);
	if (r == 0) {
		let_tidy(s->user, s->walk);
		s->phase = SCAN_WALK;
		return true;
	}
	if (r != -ENOENT)
		log_warning("user %s: incoming cannot be read: %s; see 'spoolctl user check %s'",
		            s->user->name, strerror(-r), s->user->name);
	if (r == -ENOENT && user_there(d, s->user)) {
		if (tree_has_user(d->tree, s->user->name) &&
		    users_make_directories(d, s->user->name))
			user_watch(d, s->user);
		s->phase = SCAN_WITHDRAWN;
		s->after_seq = 0;
		return true;
	}
	end_scan(d);
	return false;
}

/* Its directory is not there: not even that it is empty is known. */
static void give_up(struct daemon *d)
{
	bool before = d->scan.user->scanned;
	struct user *u = d->scan.user;
	end_scan(d);
	u->scanned = before;
}

static void begin(struct daemon *d)
{
	struct scan *s = &d->scan;
	struct user *u = s->wanted;
	DL_DELETE2(s->wanted, u, scan_prev, scan_next);
	u->scan_wanted = false;
	u->scan_running = true;
	u->uploads_missed = false;
	s->user = u;
	s->unclear = false;
	if (user_there(d, u))
		begin_walk(d);
	else
		give_up(d);
}

static void after_tidy(struct daemon *d)
{
	struct scan *s = &d->scan;
	uint64_t due_ms = tree_scan_tidy_due_ms(s->walk);
	if (s->tidied > 0)
		log_info("user %s: removed %u empty director%s that uploads left in incoming",
		         s->user->name, s->tidied, s->tidied == 1 ? "y" : "ies");
	if (due_ms > 0)
		user_scan_in(d, s->user, due_ms > d->wall_ms ? due_ms - d->wall_ms : 0);
}

static void after_walk(struct daemon *d)
{
	struct scan *s = &d->scan;
	after_tidy(d);
	tree_scan_end(s->walk);
	s->walk = NULL;
	notice_walk_ended(d, s->user);
	uploads_forget_gone(d, s->user);
	if (s->found_n > SCAN_PORTION)
		cut_found(s);
	sort_found(s);
	s->phase = SCAN_FEED;
}

/* A file that is further in the future than a tick may last was not changed
 * since: the clock was set back. */
enum { FUTURE_MS = 1000 };

/* Did it change while the walk went on? */
static bool is_younger(const struct daemon *d, const struct file_ident *ident)
{
	int64_t future_ns = (int64_t)(d->wall_ms + FUTURE_MS) * 1000000;
	return ident->ctime_ns > tree_scan_began_ns(d->scan.walk) && ident->ctime_ns < future_ns;
}

static void walk_slice(struct daemon *d)
{
	struct scan *s = &d->scan;
	const char *path;
	struct file_ident ident;
	enum entry_kind kind;
	for (int n = 0; n < SCAN_SLICE; n++) {
		int r = tree_scan_next(s->walk, &path, &ident, &kind);
		if (r == -ENOENT) {
			after_walk(d);
			return;
		}
		if (r > 0) {
			s->tidied++;
			continue;
		}
		if (r < 0) {
			log_warning("user %s: reading incoming failed: %s; it is read again at the next "
			            "rescan", s->user->name, strerror(-r));
			end_scan(d);
			return;
		}
		/* What changed since has an event of its own, and comes after all this. */
		if (kind == ENTRY_FILE && !s->user->polled && is_younger(d, &ident))
			continue;
		bool is_new;
		if (intake_seen(d, s->user, path, &ident, kind, &is_new))
			s->known++;
		if (is_new && keep_found(s, path, ident.ctime_ns) < 0)
			s->more = true;
	}
}

static void after_feed(struct daemon *d)
{
	struct scan *s = &d->scan;
	struct user_row row = {0};
	/* Where intake is full another walk would find the same again. */
	if (s->more && !s->user->uploads_missed) {
		begin_walk(d);
		return;
	}
	if (!s->more && !s->unclear && !s->user->looked_through) {
		s->user->looked_through = true;
		retention_look(d);
	}
	s->after_seq = 0;
	s->phase = SCAN_WITHDRAWN;
	/* As many files in place as jobs that wait: nothing was taken away. */
	if (index_get_user(d->index, s->user->name, &row) == 0 &&
	    row.count[JOB_PENDING] + row.count[JOB_HELD] <= s->known + s->found_n)
		end_scan(d);
	user_row_clear(&row);
}

static void feed_slice(struct daemon *d)
{
	struct scan *s = &d->scan;
	while (s->fed < s->found_n && s->feeding < SCAN_FEEDING_MAX)
		intake_take(d, s->user, s->found[s->fed++].path);
	if (s->fed == s->found_n && s->feeding == 0)
		after_feed(d);
}

static void check_withdrawn(struct daemon *d, const struct job *job)
{
	struct file_ident ident;
	enum entry_kind kind;
	if (job->place != PLACE_INCOMING)
		return;
	if (tree_look(d->tree, d->scan.user->name, job->path, &ident, &kind) == -ENOENT)
		intake_left(d, d->scan.user, job->path);
}

static void withdrawn_slice(struct daemon *d)
{
	struct scan *s = &d->scan;
	struct job job = {0};
	if (!user_still_there(d, s->user)) {
		end_scan(d);
		return;
	}
	for (int n = 0; n < SCAN_SLICE; n++) {
		if (index_next_in_line(d->index, s->user->number, s->after_seq, &job) < 0) {
			end_scan(d);
			return;
		}
		s->after_seq = job.seq;
		check_withdrawn(d, &job);
		job_clear(&job);
	}
}

bool scan_tick(struct daemon *d)
{
	struct scan *s = &d->scan;
	if (turn_stalled(d))
		return false;
	if (s->phase == SCAN_IDLE && s->wanted != NULL)
		begin(d);
	switch (s->phase) {
	case SCAN_IDLE: break;
	case SCAN_WALK: walk_slice(d); break;
	case SCAN_FEED:
		feed_slice(d);
		/* What was fed comes back by events of intake. */
		return s->phase != SCAN_FEED || s->feeding == 0;
	case SCAN_WITHDRAWN: withdrawn_slice(d); break;
	}
	return s->phase != SCAN_IDLE || s->wanted != NULL;
}

bool scan_idle(const struct daemon *d)
{
	return d->scan.phase == SCAN_IDLE && d->scan.wanted == NULL;
}
