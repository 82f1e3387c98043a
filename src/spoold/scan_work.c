#include "spoold/scan_work.h"

#include "base/log.h"
#include "spoold/daemon.h"
#include "spoold/hints.h"
#include "spoold/notice.h"
#include "spoold/recover.h"

#include <errno.h>
#include <string.h>

void scan_work_clear(struct scan_work *w)
{
	tree_scan_end(w->walk);
	found_clear(&w->found);
	*w = (struct scan_work){0};
}

void scan_work_break_off(struct scan_work *w)
{
	w->user->scan_running = false;
	scan_work_clear(w);
}

static void end_scan(struct daemon *d, struct scan_work *w)
{
	w->user->scanned = true;
	scan_work_break_off(w);
	d->scan.done++;
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

/* A directory that its uploader made and never used may be about to be. */
enum { TIDY_UNUSED_MS = 24 * 60 * 60 * 1000 };

static void let_tidy(const struct user *u, struct tree_scan *walk)
{
	struct tree_tidy rule = {.after_ms = user_tidy_after_ms(u), .unused_ms = TIDY_UNUSED_MS};
	if (u->settings->tidy)
		tree_scan_tidy(walk, &rule);
}

/* Its directory is not there: not even that it is empty is known. */
static void give_up(struct daemon *d, struct scan_work *w)
{
	struct user *u = w->user;
	bool before = u->scanned;
	u->unsorted = w->unsorted;
	end_scan(d, w);
	u->scanned = before;
}

static void note_removed(struct daemon *d, struct user *u, bool removed)
{
	if (u->removed == removed)
		return;
	u->removed = removed;
	d->users.removed += removed ? 1 : -1U;
	busy_look(d, u);
}

/* Nothing in incoming any more, or incoming itself removed, or moved: whoever does that may
 * be about to remove all of the user, or to put something in its place. */
static void conclude_missing(struct daemon *d, struct scan_work *w)
{
	struct user *u = w->user;
	if (u->missing_ms == 0)
		u->missing_ms = d->steady_ms + SCAN_MISSING_MS;
	if (!d->starting && d->steady_ms < u->missing_ms) {
		give_up(d, w);
		user_scan_in(d, u, u->missing_ms - d->steady_ms);
		return;
	}
	u->missing_ms = 0;
	bool removed = !tree_has_user(d->tree, u->name);
	note_removed(d, u, removed);
	if (!removed && users_make_directories(d, u->name)) {
		u->unreadable = 0;
		busy_look(d, u);
		user_watch(d, u);
	}
	w->phase = SCAN_WITHDRAWN;
}

static void begin_walk(struct daemon *d, struct scan_work *w)
{
	struct user *u = w->user;
	w->no_jobs = has_no_jobs(d, u);
	notice_walk_begins(u);
	u->inner_seen = false;
	int r = tree_scan_begin(d->tree, u->name, &w->walk);
	u->unreadable = r == -ETIMEDOUT ? 0 : (uint16_t)-r;
	busy_look(d, u);
	if (r == 0) {
		u->missing_ms = 0;
		note_removed(d, u, false);
		/* Not where incoming is gone: who removes all of it shall find no new lock. */
		user_look_at_lock(d, u);
		let_tidy(u, w->walk);
		if (!u->polled)
			w->tick_ns = tree_scan_tick_ns(w->walk);
		w->phase = SCAN_WALK;
		return;
	}
	if (r != -ENOENT && r != -ETIMEDOUT)
		log_warning("user %s: incoming cannot be read: %s; see 'spoolctl user check %s'",
		            u->name, strerror(-r), u->name);
	if (r == -ENOENT && user_there(d, u)) {
		conclude_missing(d, w);
		return;
	}
	end_scan(d, w);
}

void scan_work_begin(struct daemon *d, struct scan_work *w, struct user *u)
{
	u->scan_running = true;
	u->uploads_missed = false;
	*w = (struct scan_work){.user = u, .unsorted = u->unsorted, .tick_ns = INT64_MAX};
	u->unsorted = false;
	if (!user_there(d, u)) {
		give_up(d, w);
	} else if (scan_kept_take(d, u, &w->found)) {
		w->kept = w->more = true;
		w->phase = SCAN_FEED;
	} else {
		begin_walk(d, w);
	}
}

static void after_tidy(struct daemon *d, struct scan_work *w)
{
	uint64_t due_ms = tree_scan_tidy_due_ms(w->walk);
	if (w->tidied > 0)
		log_info("user %s: removed %u empty director%s that uploads left in incoming",
		         w->user->name, w->tidied, w->tidied == 1 ? "y" : "ies");
	if (due_ms > 0)
		user_scan_in(d, w->user, due_ms > d->wall_ms ? due_ms - d->wall_ms : 0);
}

static void after_walk(struct daemon *d, struct scan_work *w)
{
	after_tidy(d, w);
	tree_scan_end(w->walk);
	w->walk = NULL;
	notice_walk_ended(d, w->user);
	uploads_forget_gone(d, w->user);
	w->user->inner_jobs = w->user->inner_seen;
	found_end(&w->found);
	hints_gather(d);
	w->hints = hints_mark(d);
	w->more = w->more || w->found.cut;
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
	if (intake_seen(d, w->user, path, ident, kind, w->no_jobs, &is_new)) {
		w->known++;
		if (kind == ENTRY_DIRECTORY)
			tree_scan_skip(w->walk);
	}
	if (is_new && found_add(&w->found, path, ident->ctime_ns) < 0)
		w->more = true;
}

/* Returns how many entries it took; the end of the walk counts as well. */
static int walk_slice(struct daemon *d, struct scan_work *w, int budget)
{
	const char *path;
	struct file_ident ident;
	enum entry_kind kind;
	bool far = w->user->far;
	if (!far)
		tree_scan_look_ahead(w->walk, (size_t)budget);
	for (int n = 0; n < budget; n++) {
		int r = n == 0 || far ? tree_answers(d->tree, w->user->name, true) : 0;
		if (r < 0) {
			give_up(d, w);
			user_scan_in(d, w->user, d->config->poll_ms);
			return n + 1;
		}
		r = tree_scan_next(w->walk, &path, &ident, &kind);
		if (r == -ENOENT) {
			after_walk(d, w);
			return n + 1;
		}
		if (r > 0) {
			w->tidied++;
			continue;
		}
		if (r < 0) {
			log_warning("user %s: reading incoming failed: %s; it is read again at the next "
			            "rescan", w->user->name, strerror(-r));
			w->user->unreadable = (uint16_t)-r;
			busy_look(d, w->user);
			end_scan(d, w);
			return n + 1;
		}
		w->seen++;
		look_at(d, w, path, &ident, kind);
	}
	return budget;
}

/* What is not complete is no job, for however long it lies there. */
static size_t became_jobs(const struct scan_work *w)
{
	size_t n = 0;
	for (size_t i = 0; i < w->found.n; i++)
		n += upload_find(w->user, found_path(&w->found, i)) == NULL;
	return n;
}

static void after_feed(struct daemon *d, struct scan_work *w)
{
	struct user *u = w->user;
	struct user_row row = {0};
	/* Where intake is full another walk would find the same again. */
	if (w->more && !u->uploads_missed) {
		w->phase = SCAN_MORE;
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
	    row.count[JOB_PENDING] + row.count[JOB_HELD] <= w->known + became_jobs(w))
		end_scan(d, w);
	user_row_clear(&row);
}

static bool turn_of(void *ctx, const char *path, uint32_t *ret)
{
	const struct upload_entry *e = upload_find(ctx, path);
	if (e == NULL || e->state != UPLOAD_ARRIVING || e->due.at == 0)
		return false;
	*ret = upload_turn(e);
	return true;
}

/* A stamp is as coarse as a tick of the kernel: within one, events tell the order. False where they
 * are not all looked at yet. Where some were lost nobody waits for the others: they may be many. */
static bool put_in_order(struct daemon *d, struct scan_work *w)
{
	if (w->ordered)
		return true;
	if (!w->unsorted && !hints_are_past(d, w->hints))
		return false;
	found_order_ties(&w->found, turn_of, w->user);
	w->ordered = true;
	return true;
}

/* Of what came in the tick in which the walk began it may have seen the younger and not the older. Where
 * each has an event these tell the order, and where some were lost meanwhile another walk finds all; else
 * they go with what was found. False as above. */
static bool judge_latest(struct daemon *d, struct scan_work *w)
{
	if (!hints_are_past(d, w->hints))
		return false;
	size_t listed = w->fed;
	while (listed < w->found.n && upload_find(w->user, found_path(&w->found, listed)) != NULL)
		listed++;
	if (listed == w->found.n || w->user->unsorted)
		w->fed = w->found.n;
	w->tick_ns = INT64_MAX;
	return true;
}

static void feed_slice(struct daemon *d, struct scan_work *w, size_t max)
{
	/* Of what changed since the walk an event tells, or another walk, where it is from an earlier one. */
	bool told = w->kept || !w->user->polled;
	if (!put_in_order(d, w))
		return;
	while (w->fed < w->found.n && w->feeding < max) {
		int64_t ctime_ns = w->found.files[w->fed].ctime_ns;
		if (ctime_ns >= w->tick_ns) {
			if (!judge_latest(d, w))
				return;
			continue;
		}
		intake_take(d, w->user, found_path(&w->found, w->fed), told ? ctime_ns : 0);
		w->fed++;
	}
	if (w->fed == w->found.n && w->feeding == 0)
		after_feed(d, w);
}

void scan_work_leave_rest(struct daemon *d, struct scan_work *w)
{
	scan_keep(d, w->user, &w->found, w->fed);
	found_leave(&w->found, w->fed);
	w->more = true;
}

/* Was it to be taken out of done or failed, for an operator's retry, when a crash came
 * before? */
static void check_taken_back(struct daemon *d, struct user *u, const struct job *job)
{
	if (tree_has_job(d->tree, u->name, job->id))
		return;
	int r = recover_job(d, u, job);
	if (r < 0)
		recover_later(d, u, r);
	else
		user_unlock_idle(d, u);
}

static void check_withdrawn(struct daemon *d, struct user *u, const struct job *job)
{
	struct file_ident ident;
	enum entry_kind kind;
	if (job->place == PLACE_PROCESSING)
		check_taken_back(d, u, job);
	if (job->place != PLACE_INCOMING)
		return;
	if (tree_look(d->tree, u->name, job->path, &ident, &kind) == -ENOENT)
		intake_left(d, u, job->path);
}

static int withdrawn_slice(struct daemon *d, struct scan_work *w, int budget)
{
	struct job job = {0};
	if (!user_still_there(d, w->user)) {
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

int scan_work_step(struct daemon *d, struct scan_work *w, int budget, size_t feed)
{
	switch (w->phase) {
	case SCAN_IDLE:
	case SCAN_MORE: break;
	case SCAN_WALK: return walk_slice(d, w, budget);
	case SCAN_FEED: {
		size_t before = w->fed;
		feed_slice(d, w, feed);
		bool waits = w->phase == SCAN_FEED && (w->feeding > 0 || w->fed == before);
		/* What was fed comes back by events of intake, or hints come first. */
		return waits ? 0 : (int)(w->fed - before) + 1;
	}
	case SCAN_WITHDRAWN: return withdrawn_slice(d, w, budget);
	}
	return 0;
}
