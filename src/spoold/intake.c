#include "spoold/intake.h"

#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"
#include "spoold/accept.h"
#include "spoold/arrival.h"
#include "spoold/daemon.h"
#include "spoold/hints.h"
#include "spoold/known.h"
#include "spoold/notice.h"
#include "spoold/voucher.h"

#include <errno.h>
#include <string.h>

void intake_init(struct daemon *d)
{
	d->intake.ready_end = &d->intake.ready;
}

/* Names of our own are never jobs, whatever the patterns say. */
bool intake_is_ignored(const struct user *u, const char *path)
{
	return strncmp(name_base(path), ".spoold-", 8) == 0 ||
	       name_path_matches(path, (const char *const *)u->settings->ignore);
}

static void enter_directory(struct daemon *d, struct user *u, const char *path)
{
	if (!u->polled && d->watch != NULL) {
		int fd = tree_open_incoming(d->tree, u->name, path);
		int r = fd < 0 ? fd : watch_add(d->watch, fd, u->number, path);
		fd_close(fd);
		if (r == -ENOSPC)
			user_poll(d, u, r);
	}
}

/* A temporary name that nobody hides from its user, for a file that does not
 * change: a transfer that broke off, or a name that was meant. */
static bool is_forgotten(const struct daemon *d, const struct user *u, const char *path,
                         const struct file_ident *ident)
{
	int64_t age_ms = (int64_t)d->wall_ms - ident->ctime_ns / 1000000;
	bool hidden = path[0] == '.' || strstr(path, "/.") != NULL;
	return !hidden && age_ms >= (int64_t)u->settings->notice_after_ms;
}

static bool is_whole_job(struct daemon *d, struct user *u, const char *path,
                         const struct file_ident *ident, bool no_jobs)
{
	return !no_jobs && strchr(path, '/') == NULL && known_job(d, u, path, ident, ENTRY_DIRECTORY) != KNOWN_NOT;
}

/* What lies in a directory that is to be one job goes with that; but it may have become
 * a job of its own before the setting was what it is. Returns whether it did. */
static bool see_inner(struct daemon *d, struct user *u, const char *path,
                      const struct file_ident *ident, enum entry_kind kind, bool no_jobs)
{
	struct upload_entry *e = upload_find(u, path);
	if (e != NULL && e->state != UPLOAD_SYNCING && e->state != UPLOAD_ACCEPTING)
		upload_drop(d, e);
	bool known = kind == ENTRY_FILE && !no_jobs && known_job(d, u, path, ident, ENTRY_FILE) == KNOWN_SAME;
	u->inner_seen = u->inner_seen || known || e != NULL;
	return known;
}

/* There is a directory of its name now. */
static void forget_file(struct daemon *d, struct user *u, const char *path)
{
	struct upload_entry *e = upload_find(u, path);
	if (e != NULL && e->whole == NULL && e->state != UPLOAD_SYNCING && e->state != UPLOAD_ACCEPTING)
		upload_drop(d, e);
}

bool intake_seen(struct daemon *d, struct user *u, const char *path,
                 const struct file_ident *ident, enum entry_kind kind, bool no_jobs, bool *ret_new)
{
	*ret_new = false;
	if (intake_is_ignored(u, path)) {
		if (kind == ENTRY_FILE && is_forgotten(d, u, path, ident))
			notice_stray(u, path, false);
		return false;
	}
	if (kind == ENTRY_DIRECTORY)
		forget_file(d, u, path);
	if (kind == ENTRY_DIRECTORY && is_whole_job(d, u, path, ident, no_jobs))
		return true;
	if (kind == ENTRY_DIRECTORY && whole_is(u, path)) {
		*ret_new = true;
		return false;
	}
	if (whole_is_inner(u, path))
		return see_inner(d, u, path, ident, kind, no_jobs);
	if (kind == ENTRY_DIRECTORY) {
		whole_forget(d, u, path);
		if (tree_is_too_deep(path, true))
			notice_stray(u, path, true);
		else
			enter_directory(d, u, path);
		return false;
	}
	if (notice_is(d, u, path))
		return false;
	if (kind != ENTRY_FILE) {
		arrival_track(d, u, path, ident, kind, WATCH_CHANGED, true);
		return false;
	}
	switch (no_jobs ? KNOWN_NOT : known_job(d, u, path, ident, ENTRY_FILE)) {
	case KNOWN_SAME: return true;
	case KNOWN_ERROR: return false;
	case KNOWN_NOT: break;
	}
	if (voucher_is(d, u, path))
		return false;
	struct upload_entry *e = upload_find(u, path);
	if (e != NULL && e->unsafe != 0 && file_ident_same(&e->look.ident, ident)) {
		unsafe_mark(d, e);
		return false;
	}
	if (e != NULL) {
		/* One that waits for an event may have missed it, or the rule changed. */
		bool waits = e->state == UPLOAD_ARRIVING && e->due.at == 0;
		if (e->state == UPLOAD_REFUSED || waits || !file_ident_same(&e->look.ident, ident))
			arrival_track(d, u, path, ident, kind, WATCH_CHANGED, true);
		/* Known by its event, but as old as what is being sorted in: with it. */
		*ret_new = e->state == UPLOAD_ARRIVING && e->due.at != 0 && !e->from_scan &&
		           e->waits_for != SETTLE_WRITER;
		return false;
	}
	*ret_new = true;
	return false;
}

/* Files that a scan found wait to be quiet: what is younger waits behind them. */
static bool backlog_waits(const struct daemon *d, const struct user *u)
{
	return d->steady_ms <= u->backlog_ms;
}

/* From here on it is watched like any other that arrives. What it was quiet
 * already counts on; but what came later is not due before what came earlier. */
static void let_it_settle(struct daemon *d, struct upload_entry *e, uint64_t due)
{
	struct user *u = e->user;
	uint64_t settle_ms = user_settle(d, u).settle_ms;
	e->look.changed_steady_ms = d->steady_ms;
	if (e->waits_for == SETTLE_CONVENTION) {
		notice_waits(d, e);
		return;
	}
	if (backlog_waits(d, u))
		due = due > u->backlog_ms ? due : u->backlog_ms;
	e->look.changed_steady_ms = due > settle_ms ? due - settle_ms : 1;
	u->backlog_ms = due;
	upload_set_due(d, e, due);
	e->in_place = true;
}

/* One that is listed already goes on its way in its place among what was found: by
 * the measure of its neighbours, which nobody saw change, its age. Once: of an earlier
 * scan's, some may not be fed this time. */
static void take_listed(struct daemon *d, struct upload_entry *e)
{
	if (e->state != UPLOAD_ARRIVING || e->from_scan || e->in_place)
		return;
	uint64_t due = d->steady_ms;
	struct upload look = e->look;
	look.changed_steady_ms = 0;
	enum settle_answer says = e->user->far ? SETTLE_CHECK
	                                       : settle_judge(&e->user->settings->settle, &look,
	                                                      WRITERS_NONE, d->steady_ms, d->wall_ms, &due);
	bool waits = backlog_waits(d, e->user);
	if (says == SETTLE_WAIT || (says == SETTLE_COMPLETE && waits)) {
		e->waits_for = SETTLE_WAIT;
		e->look.found = true;
		let_it_settle(d, e, due);
		return;
	}
	if (waits)
		return;
	if (says == SETTLE_COMPLETE)
		e->look.changed_steady_ms = 0;
	e->from_scan = true;
	scan_feeds(d, e->user);
	upload_set_due(d, e, d->steady_ms);
}

void intake_take(struct daemon *d, struct user *u, const char *path, int64_t ctime_ns)
{
	struct upload look = {.found = true};
	enum entry_kind kind;
	struct upload_entry *listed = upload_find(u, path);
	bool is_file_entry = listed != NULL && listed->whole == NULL;
	/* The settings may be others since the walk. */
	if (intake_is_ignored(u, path))
		return;
	if ((!is_file_entry || ctime_ns != 0) &&
	    tree_look(d->tree, u->name, path, &look.ident, &kind) < 0)
		return;
	if (ctime_ns != 0 && look.ident.ctime_ns != ctime_ns)
		return;
	if (is_file_entry) {
		take_listed(d, listed);
		return;
	}
	if (kind == ENTRY_DIRECTORY && whole_is(u, path) && known_job(d, u, path, &look.ident, ENTRY_DIRECTORY) == KNOWN_NOT)
		whole_track(d, u, path, &look.ident, false, true);
	if (listed != NULL || kind != ENTRY_FILE)
		return;
	/* Since the walk an event may have made it a job. */
	if (known_job(d, u, path, &look.ident, ENTRY_FILE) != KNOWN_NOT)
		return;
	if (u->settings->settle.completion == COMPLETION_RENAME && !u->polled)
		look.found = !tree_is_unrenamed(d->tree, u->name, path);
	struct voucher voucher;
	voucher_find(d, u, path, NULL, &look, &voucher);
	voucher_clear(&voucher);
	uint64_t due = d->steady_ms;
	struct settle_policy policy = user_settle(d, u);
	/* Its age would be by another clock. */
	if (u->far)
		look.changed_steady_ms = d->steady_ms;
	enum settle_answer waits_for =
		settle_judge(&policy, &look, WRITERS_NONE, d->steady_ms, d->wall_ms, &due);
	bool goes_on = waits_for == SETTLE_COMPLETE || waits_for == SETTLE_CHECK;
	if (goes_on && backlog_waits(d, u)) {
		waits_for = SETTLE_WAIT;
		goes_on = false;
	}
	struct upload_entry *e =
		upload_add(d, u, path, goes_on ? INTAKE_USER_MAX : INTAKE_WAITING_MAX);
	if (e == NULL)
		return;
	e->waits_for = waits_for;
	e->look = look;
	if (goes_on) {
		e->from_scan = true;
		scan_feeds(d, u);
		upload_set_due(d, e, due);
	} else {
		let_it_settle(d, e, due);
	}
}

void intake_left(struct daemon *d, struct user *u, const char *path)
{
	struct upload_entry *e = upload_find(u, path);
	struct job job = {0};
	bool was_job = index_find_path(d->index, u->number, path, &job) == 0 &&
	               !job_state_is_final(job.state) && job.place == PLACE_INCOMING &&
	               job_next_state(job.state, JOB_EV_GONE) >= 0;
	if ((e != NULL || was_job) && user_still_there(d, u)) {
		if (e != NULL)
			upload_drop(d, e);
		if (was_job)
			recover_job(d, u, &job);
	}
	job_clear(&job);
}

/* It is a job already; an entry that waits for the same file is not needed. */
static void forget_known(struct daemon *d, struct user *u, const char *path)
{
	struct upload_entry *e = upload_find(u, path);
	if (e != NULL && e->state != UPLOAD_SYNCING && e->state != UPLOAD_ACCEPTING)
		upload_drop(d, e);
}

static void look_there(struct daemon *d, struct user *u, const char *path, enum watch_kind hint,
                       const struct file_ident *renamed)
{
	struct file_ident ident;
	enum entry_kind kind;
	if (intake_is_ignored(u, path)) {
		notice_look_stray(d, u, path);
		return;
	}
	if (notice_is(d, u, path))
		return;
	int r = tree_look(d->tree, u->name, path, &ident, &kind);
	if (r == 0 && renamed != NULL && !file_ident_same(renamed, &ident))
		hint = WATCH_CHANGED;
	if (r == -ENOENT) {
		notice_look_stray(d, u, path);
		intake_left(d, u, path);
		return;
	}
	/* Not for what its user can bring about with links and directories. */
	if (upload_is_short(r) || r == -EIO) {
		upload_hold_line(d, u);
		scan_want_sorted(d, u);
		return;
	}
	/* What is too deep is neither watched nor walked through: the same by every way in. */
	if (r < 0 || tree_is_too_deep(path, kind == ENTRY_DIRECTORY)) {
		scan_want(d, u);
		return;
	}
	if (kind == ENTRY_DIRECTORY && is_whole_job(d, u, path, &ident, false))
		return;
	if (kind == ENTRY_DIRECTORY && whole_is(u, path)) {
		whole_track(d, u, path, &ident, hint == WATCH_DIRECTORY_IN, false);
		return;
	}
	if (whole_is_inner(u, path)) {
		see_inner(d, u, path, &ident, kind, false);
		return;
	}
	if (kind == ENTRY_DIRECTORY) {
		/* What came into it before its watch was set is found by a scan. */
		enter_directory(d, u, path);
		scan_want(d, u);
		return;
	}
	if (kind == ENTRY_FILE) {
		enum known known = known_job(d, u, path, &ident, ENTRY_FILE);
		if (known == KNOWN_SAME)
			forget_known(d, u, path);
		if (known != KNOWN_NOT || voucher_is(d, u, path))
			return;
	}
	arrival_track(d, u, path, &ident, kind, hint, false);
}

void intake_look(struct daemon *d, struct user *u, const char *path, enum watch_kind hint)
{
	look_there(d, u, path, hint, NULL);
}

void intake_look_again(struct daemon *d, struct user *u, const char *path,
                       const struct file_ident *renamed)
{
	look_there(d, u, path, WATCH_RENAMED_IN, renamed);
}

void intake_tick(struct daemon *d)
{
	if (hints_wait(d))
		hints_read(d);
	/* What is complete waits its turn where the index cannot take it. */
	if (turn_stalled(d))
		return;
	/* Running jobs make many ticks, and the look is six system calls. */
	d->intake.mount_unseen = upload_next_due(d) > d->steady_ms && d->intake.ready_n == 0 &&
	                         d->steady_ms < d->mount_seen_ms + INTAKE_MOUNT_MS;
	if (d->intake.mount_unseen || !daemon_mounted(d))
		return;
	struct upload_entry *e;
	while (d->intake.ready_n < INTAKE_BATCH_MAX && !accept_is_full(d) &&
	       (e = upload_take_due(d)) != NULL) {
		if (upload_behind_backlog(e))
			upload_put_behind_backlog(d, e);
		else
			arrival_judge(d, e);
	}
	accept_send_batch(d);
}

bool intake_idle(const struct daemon *d)
{
	return accept_idle(d) && d->checks.n == 0 && d->wholes_looks.n == 0 &&
	       uploads_only_wait_for_writers(d);
}

uint64_t intake_next(const struct daemon *d)
{
	if (d->intake.ready_n > 0 || hints_wait(d))
		return 0;
	if (turn_stalled(d))
		return UINT64_MAX;
	uint64_t look = d->intake.mount_unseen ? d->mount_seen_ms + INTAKE_MOUNT_MS : UINT64_MAX;
	/* The end of a batch makes a tick. */
	return accept_is_full(d) ? look : due_min(look, upload_next_due(d));
}
