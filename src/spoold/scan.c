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

/* Who has nothing in line goes first of those who have much. */
static void enqueue(struct daemon *d, struct user *u, bool first)
{
	if (!u->scan_large)
		DL_APPEND2(d->scan.wanted, u, scan_prev, scan_next);
	else if (first)
		DL_PREPEND2(d->scan.wanted_large, u, scan_prev, scan_next);
	else
		DL_APPEND2(d->scan.wanted_large, u, scan_prev, scan_next);
	u->scan_wanted = true;
}

static void dequeue(struct daemon *d, struct user *u)
{
	if (u->scan_large)
		DL_DELETE2(d->scan.wanted_large, u, scan_prev, scan_next);
	else
		DL_DELETE2(d->scan.wanted, u, scan_prev, scan_next);
	u->scan_wanted = false;
}

void scan_want(struct daemon *d, struct user *u)
{
	if (!u->scan_wanted && u->number != 0)
		enqueue(d, u, false);
}

void scan_want_sorted(struct daemon *d, struct user *u)
{
	u->unsorted = u->number != 0;
	scan_want(d, u);
}

void scan_want_all(struct daemon *d)
{
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next)
		scan_want(d, u);
}

void scan_urge(struct daemon *d, struct user *u)
{
	if (!u->scan_wanted || !u->scan_large || !u->unsorted)
		return;
	dequeue(d, u);
	u->scan_large = false;
	enqueue(d, u, false);
}

/* The first of a line that is not being scanned already. */
static struct user *first_of(struct user *line)
{
	return line != NULL && line->scan_running ? line->scan_next : line;
}

static struct scan_work *work_on(struct daemon *d, const struct user *u)
{
	struct scan *s = &d->scan;
	return s->small.user == u ? &s->small : s->large.user == u ? &s->large : NULL;
}

void scan_feeds(struct daemon *d, const struct user *u)
{
	struct scan_work *w = work_on(d, u);
	if (w != NULL)
		w->feeding++;
}

void scan_fed(struct daemon *d, const struct user *u)
{
	struct scan_work *w = work_on(d, u);
	if (w != NULL)
		w->feeding--;
}

void scan_unclear(struct daemon *d, const struct user *u)
{
	struct scan_work *w = work_on(d, u);
	if (w != NULL)
		w->unclear = true;
}

static void forget_found(struct scan_work *w)
{
	for (size_t i = 0; i < w->found_n; i++)
		free(w->found[i].path);
	w->found_n = w->fed = 0;
}

static void clear(struct scan_work *w)
{
	tree_scan_end(w->walk);
	forget_found(w);
	free(w->found);
	*w = (struct scan_work){0};
}

void scan_clear(struct daemon *d)
{
	clear(&d->scan.small);
	clear(&d->scan.large);
	d->scan = (struct scan){0};
}

static int compare_found(const void *a, const void *b)
{
	const struct scan_found *x = a, *y = b;
	if (x->ctime_ns != y->ctime_ns)
		return x->ctime_ns < y->ctime_ns ? -1 : 1;
	return strcmp(x->path, y->path);
}

static void sort_found(struct scan_work *w)
{
	if (w->found_n > 1)
		qsort(w->found, w->found_n, sizeof *w->found, compare_found);
}

/* Twice the portion is full: keeps the older half. The next walk finds the
 * others again. */
static void cut_found(struct scan_work *w, size_t n)
{
	sort_found(w);
	while (w->found_n > n)
		free(w->found[--w->found_n].path);
	w->more = true;
}

static int keep_found(struct scan_work *w, const char *path, int64_t ctime_ns)
{
	if (w->found_n == 2 * (size_t)SCAN_PORTION)
		cut_found(w, SCAN_PORTION);
	if (w->found_n == w->found_room) {
		size_t room = w->found_room == 0 ? 64 : w->found_room * 2;
		struct scan_found *found = reallocarray(w->found, room, sizeof *found);
		if (found == NULL)
			return -ENOMEM;
		w->found = found;
		w->found_room = room;
	}
	char *copy = strdup(path);
	if (copy == NULL)
		return -ENOMEM;
	w->found[w->found_n++] = (struct scan_found){.ctime_ns = ctime_ns, .path = copy};
	return 0;
}

/* Not to its end; nothing of it is on its way. */
static void break_off(struct scan_work *w)
{
	w->user->scan_running = false;
	clear(w);
}

static void end_scan(struct daemon *d, struct scan_work *w)
{
	w->user->scanned = true;
	break_off(w);
	d->scan.done++;
}

/* What is left comes with another walk, when others had their turn. */
static void put_off(struct daemon *d, struct scan_work *w, bool unsorted)
{
	struct user *u = w->user;
	break_off(w);
	if (u->scan_wanted)
		dequeue(d, u);
	u->scan_large = true;
	u->unsorted = u->unsorted || unsorted;
	enqueue(d, u, u->room.files == 0);
}

static bool has_no_jobs(struct daemon *d, const struct user *u)
{
	struct user_row row = {0};
	uint64_t jobs = 0;
	if (index_get_user(d->index, u->name, &row) < 0)
		return false;
	for (int state = 0; state < JOB_STATES; state++)
		jobs += row.count[state];
	user_row_clear(&row);
	return jobs == 0;
}

static void begin_walk(struct daemon *d, struct scan_work *w)
{
	struct user *u = w->user;
	w->no_jobs = has_no_jobs(d, u);
	notice_walk_begins(u);
	int r = tree_scan_begin(d->tree, u->name, &w->walk);
	if (r == 0) {
		w->phase = SCAN_WALK;
		return;
	}
	if (r != -ENOENT)
		log_warning("user %s: incoming cannot be read: %s; see 'spoolctl user check %s'",
		            u->name, strerror(-r), u->name);
	if (r == -ENOENT && daemon_mounted(d)) {
		if (tree_has_user(d->tree, u->name) && users_make_directories(d, u->name))
			user_watch(d, u);
		w->phase = SCAN_WITHDRAWN;
		return;
	}
	end_scan(d, w);
}

static void begin(struct daemon *d, struct scan_work *w, struct user *u)
{
	dequeue(d, u);
	u->scan_large = false;
	u->scan_running = true;
	u->uploads_missed = false;
	*w = (struct scan_work){.user = u, .unsorted = u->unsorted};
	u->unsorted = false;
	begin_walk(d, w);
}

static void after_walk(struct daemon *d, struct scan_work *w)
{
	tree_scan_end(w->walk);
	w->walk = NULL;
	notice_walk_ended(d, w->user);
	uploads_forget_gone(d, w->user);
	if (w->found_n > SCAN_PORTION)
		cut_found(w, SCAN_PORTION);
	sort_found(w);
	w->phase = SCAN_FEED;
}

/* A file that is further in the future than a tick may last was not changed
 * since: the clock was set back. */
enum { FUTURE_MS = 1000 };

/* Did it change while the walk went on? */
static bool is_younger(const struct daemon *d, const struct scan_work *w,
                       const struct file_ident *ident)
{
	int64_t future_ns = (int64_t)(d->wall_ms + FUTURE_MS) * 1000000;
	return ident->ctime_ns > tree_scan_began_ns(w->walk) && ident->ctime_ns < future_ns;
}

static void look_at(struct daemon *d, struct scan_work *w, const char *path,
                    const struct file_ident *ident, enum entry_kind kind)
{
	bool is_new;
	/* What changed since has an event of its own, and comes after all this. */
	if (kind == ENTRY_FILE && !w->user->polled && is_younger(d, w, ident))
		return;
	if (intake_seen(d, w->user, path, ident, kind, w->no_jobs, &is_new))
		w->known++;
	if (is_new && keep_found(w, path, ident->ctime_ns) < 0)
		w->more = true;
}

/* Returns how many entries it took; the end of the walk counts as well. */
static int walk_slice(struct daemon *d, struct scan_work *w, int budget)
{
	const char *path;
	struct file_ident ident;
	enum entry_kind kind;
	for (int n = 0; n < budget; n++) {
		int r = tree_scan_next(w->walk, &path, &ident, &kind);
		if (r == -ENOENT) {
			after_walk(d, w);
			return n + 1;
		}
		if (r < 0) {
			log_warning("user %s: reading incoming failed: %s; it is read again at the next "
			            "rescan", w->user->name, strerror(-r));
			end_scan(d, w);
			return n + 1;
		}
		w->seen++;
		look_at(d, w, path, &ident, kind);
	}
	return budget;
}

static void after_feed(struct daemon *d, struct scan_work *w)
{
	struct user *u = w->user;
	struct user_row row = {0};
	/* Where intake is full another walk would find the same again. */
	if (w->more && !u->uploads_missed) {
		put_off(d, w, true);
		return;
	}
	if (!w->more && !w->unclear && !u->looked_through) {
		u->looked_through = true;
		retention_look(d, u);
	}
	w->after_seq = 0;
	w->phase = SCAN_WITHDRAWN;
	/* As many files in place as jobs that wait: nothing was taken away. */
	if (index_get_user(d->index, u->name, &row) == 0 &&
	    row.count[JOB_PENDING] + row.count[JOB_HELD] <= w->known + w->found_n)
		end_scan(d, w);
	user_row_clear(&row);
}

static void feed_slice(struct daemon *d, struct scan_work *w, size_t max)
{
	while (w->fed < w->found_n && w->feeding < max)
		intake_take(d, w->user, w->found[w->fed++].path);
	if (w->fed == w->found_n && w->feeding == 0)
		after_feed(d, w);
}

/* The rest of the portion is found again. */
static void leave_rest(struct scan_work *w)
{
	while (w->found_n > w->fed)
		free(w->found[--w->found_n].path);
	w->more = true;
}

static void check_withdrawn(struct daemon *d, struct user *u, const struct job *job)
{
	struct file_ident ident;
	enum entry_kind kind;
	if (job->place != PLACE_INCOMING)
		return;
	if (tree_look(d->tree, u->name, job->path, &ident, &kind) == -ENOENT)
		intake_left(d, u, job->path);
}

static int withdrawn_slice(struct daemon *d, struct scan_work *w, int budget)
{
	struct job job = {0};
	if (!daemon_mounted(d)) {
		end_scan(d, w);
		return 1;
	}
	for (int n = 0; n < budget; n++) {
		if (index_next_in_line(d->index, w->user->number, w->after_seq, &job) < 0) {
			end_scan(d, w);
			return n + 1;
		}
		w->after_seq = job.seq;
		check_withdrawn(d, w->user, &job);
		job_clear(&job);
	}
	return budget;
}

static size_t ahead(const struct scan_work *w)
{
	return w->no_jobs ? SCAN_FIRST : SCAN_AHEAD;
}

/* Has its user enough to go on with, while jobs run that want the time? */
static bool may_wait(const struct daemon *d, const struct scan_work *w)
{
	const struct room *room = &w->user->room;
	return d->dispatch.running != NULL && room->files + room->on_the_way >= ahead(w);
}

/* Much of one user goes on beside the others, or again later. */
static void make_way(struct daemon *d)
{
	struct scan *s = &d->scan;
	struct scan_work *w = &s->small;
	bool feeds = w->phase == SCAN_FEED && w->fed < w->found_n && may_wait(d, w);
	bool walks = w->phase == SCAN_WALK && w->seen >= SCAN_SMALL;
	if (!feeds && !walks)
		return;
	if (s->large.phase == SCAN_IDLE) {
		s->large = *w;
		*w = (struct scan_work){0};
	} else if (walks) {
		put_off(d, w, w->unsorted);
	} else {
		leave_rest(w);
	}
}

/* One step, of at most that many entries. Returns how many it took; 0: it waits
 * for intake. */
static int step(struct daemon *d, struct scan_work *w, int budget, size_t feed)
{
	switch (w->phase) {
	case SCAN_IDLE: break;
	case SCAN_WALK: return walk_slice(d, w, budget);
	case SCAN_FEED: {
		size_t before = w->fed;
		feed_slice(d, w, feed);
		bool waits = w->phase == SCAN_FEED && w->feeding > 0;
		/* What was fed comes back by events of intake. */
		return waits ? 0 : (int)(w->fed - before) + 1;
	}
	case SCAN_WITHDRAWN: return withdrawn_slice(d, w, budget);
	}
	return 0;
}

/* What is fed at once: while jobs run, not more than a user needs. */
static size_t feed_max(const struct daemon *d, const struct scan_work *w)
{
	return d->dispatch.running != NULL ? ahead(w) : SCAN_FEEDING_MAX;
}

/* Through the users, one after the other. Is there more to do at once? */
static bool small_slice(struct daemon *d)
{
	struct scan_work *w = &d->scan.small;
	for (int budget = SCAN_SLICE; budget > 0;) {
		make_way(d);
		struct user *u = first_of(d->scan.wanted);
		if (w->phase == SCAN_IDLE && u == NULL)
			return false;
		if (w->phase == SCAN_IDLE)
			begin(d, w, u);
		int took = w->phase == SCAN_IDLE ? 1 : step(d, w, budget, feed_max(d, w));
		if (took == 0)
			return false;
		budget -= took + SCAN_STEP;
	}
	return true;
}

static void slow_slice(struct daemon *d, struct scan_work *w)
{
	const struct user *next = first_of(d->scan.wanted_large);
	bool poor = next != NULL && next->room.files == 0;
	if (d->steady_ms < w->again_ms)
		return;
	if (w->phase == SCAN_WALK && poor) {
		put_off(d, w, w->unsorted);
		return;
	}
	if (w->phase == SCAN_FEED && (poor || (next != NULL && w->fed >= SCAN_TURN)))
		leave_rest(w);
	w->again_ms = d->steady_ms +
	              (w->phase == SCAN_FEED ? SCAN_SLOW_FEED_MS : SCAN_SLOW_WALK_MS);
	step(d, w, SCAN_SLOW_SLICE, SCAN_SLOW_FEED);
}

static bool large_slice(struct daemon *d)
{
	struct scan_work *w = &d->scan.large;
	struct user *next = first_of(d->scan.wanted_large);
	if (w->phase == SCAN_IDLE && next != NULL)
		begin(d, w, next);
	if (w->phase == SCAN_IDLE)
		return false;
	if (may_wait(d, w)) {
		slow_slice(d, w);
		return false;
	}
	w->again_ms = 0;
	return step(d, w, SCAN_SLICE, feed_max(d, w)) != 0;
}

bool scan_tick(struct daemon *d)
{
	if (turn_stalled(d))
		return false;
	bool more = small_slice(d);
	return large_slice(d) || more;
}

uint64_t scan_next(const struct daemon *d)
{
	const struct scan *s = &d->scan;
	const struct scan_work *w = &s->large;
	if (turn_stalled(d))
		return UINT64_MAX;
	if ((s->small.phase == SCAN_IDLE && first_of(s->wanted) != NULL) ||
	    (w->phase == SCAN_IDLE && first_of(s->wanted_large) != NULL))
		return 0;
	bool waits = w->feeding > 0 && (w->feeding >= SCAN_SLOW_FEED || w->fed == w->found_n);
	return w->phase == SCAN_IDLE || w->again_ms == 0 || waits ? UINT64_MAX : w->again_ms;
}

bool scan_idle(const struct daemon *d)
{
	const struct scan *s = &d->scan;
	return s->small.phase == SCAN_IDLE && s->large.phase == SCAN_IDLE && s->wanted == NULL &&
	       s->wanted_large == NULL;
}
