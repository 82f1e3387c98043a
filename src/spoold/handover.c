/* After the commit of a claim: its file goes from incoming to processing, and the job to
 * a worker. */
#include "spoold/handover.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"
#include "spoold/ahead.h"
#include "spoold/daemon.h"
#include "spoold/result.h"
#include "spoold/standby.h"
#include "spoold/stray.h"
#include "spoold/unclaim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t attempt_limit_ms(const struct user_settings *s, const struct job *job)
{
	uint64_t total = s->retry.max_total_ms;
	if (total == 0)
		return s->timeout_ms;
	uint64_t left = total > job->spent_ms ? total - job->spent_ms : 1;
	return s->timeout_ms == 0 ? left : due_min(s->timeout_ms, left);
}

/* Everything in an order is borrowed but `dir` and `cookie`. */
static int make_order(struct daemon *d, const struct user *u, const struct job *job, bool fresh,
                      struct run_order *order)
{
	const char *base = name_base(job->path);
	const struct handler *h = settings_handler(u->settings, base);
	char *run_as = strcmp(h->run_as, "{user}") == 0 ? u->name : h->run_as;
	*order = (struct run_order){
		.job = job->id,
		.attempt = job->attempt,
		.user = u->name,
		.name = job->path + (base - job->path),
		.dir = tree_job_path(d->tree, u->name, job->id),
		.command = h->command,
		.run_as = run_as[0] == '\0' ? NULL : run_as,
		.timeout_ms = attempt_limit_ms(u->settings, job),
		.kill_grace_ms = h->kill_grace_ms,
		.log_limit_bytes = h->log_limit_bytes,
		.log_always = h->keep_logs == KEEP_LOGS_ALWAYS,
		.sync = d->config->durability == DURABILITY_FULL,
		/* An earlier attempt may have put another file in its place, unless it was in
		 * incoming since. On network mounts numbers do not last. */
		.ident_ino = (job->attempt > 1 && !fresh) || u->far ? 0 : job->ident.ino,
		.limits = h->limits,
		.directory = job->ident.whole != 0,
		.whole = job->ident.whole == WHOLE_UNKNOWN ? 0 : job->ident.whole,
		.whole_ino = job->ident.whole == 0 ? 0 : job->ident.ino,
		.fresh = fresh,
		.stream = h->mode == HANDLER_STREAM,
		.recycle_jobs = h->recycle_jobs,
		.recycle_ms = h->recycle_ms,
		.idle_ms = h->idle_ms,
	};
	order->cookie = order->stream ? stray_stream_cookie(d, u->name) : stray_cookie(d, job->id);
	return order->dir == NULL || order->cookie == NULL ? -ENOMEM : 0;
}

/* A directory is walked through before its handler starts. */
static uint64_t patience_ms(const struct job *job)
{
	return job->ident.whole != 0 ? DISPATCH_WHOLE_PATIENCE_MS : DISPATCH_PATIENCE_MS;
}

static int start(struct daemon *d, const struct handover *over, int dirfd)
{
	struct run_order order;
	struct user *u = over->user;
	const struct job *job = &over->job;
	int r = make_order(d, u, job, over->from == PLACE_INCOMING, &order);
	order.after = over->after;
	if (r == 0 && order.run_as != NULL)
		r = tree_let_pass(d->tree, u->name);
	struct running *running = r == 0 ? dispatch_remember(d, u, job) : NULL;
	if (r == 0 && running == NULL)
		r = -ENOMEM;
	if (r == 0) {
		running->grace_ms = order.kill_grace_ms;
		running->limit_ms = order.timeout_ms > 0 ? order.timeout_ms + order.kill_grace_ms : 0;
		running->overdue_ms =
			over->after != 0 ? UINT64_MAX : d->steady_ms + patience_ms(job);
		r = pool_run(d->pool, &order, u->lock_fd, dirfd);
		if (r < 0)
			dispatch_forget(d, job->id);
		else
			ahead_add(u, running, over->after != 0);
	}
	free(order.dir);
	free(order.cookie);
	return r;
}

static int take(struct daemon *d, struct user *u, const struct job *job, char **ret_kept)
{
	int r = tree_claim(d->tree, u->name, job->id, job->path, &job->ident, ret_kept);
	/* Somebody removed a directory of ours. */
	if (r == -ENOTDIR && user_still_there(d, u) && tree_has_user(d->tree, u->name) &&
	    users_make_directories(d, u->name))
		r = tree_claim(d->tree, u->name, job->id, job->path, &job->ident, ret_kept);
	return r;
}

/* After its file: a crash between the two is made good by the next attempt. */
static void take_voucher(struct daemon *d, const struct user *u, const struct job *job)
{
	int r = tree_take_voucher(d->tree, u->name, job, PLACE_INCOMING, job->path);
	if (r < 0)
		log_warning("user %s: the marker or checksum of job %" PRIu64 " stays in incoming: %s",
		            u->name, job->id, strerror(-r));
}

/* Did somebody move it to done or failed by hand? That is no withdrawal. */
static bool ended_outside(struct daemon *d, const struct user *u, const struct job *job)
{
	struct tree_found found = {0};
	if (tree_find(d->tree, u->name, job, &found) < 0)
		return false;
	free(found.final_name);
	return found.place == PLACE_DONE || found.place == PLACE_FAILED;
}

static void not_taken(struct daemon *d, struct user *u, const struct job *job, int error)
{
	if (error == -ENOENT && ended_outside(d, u, job) && recover_job(d, u, job) == 0)
		return;
	unclaim_job(d, u, job, error, PLACE_INCOMING);
}

/* Who was to go before it does not any more, or no more fit into the socket, or too many
 * descriptors are on their way: it goes back into the line, as it was. */
static bool is_too_late(const struct handover *over, int error)
{
	return over->after != 0 && (error == -ESRCH || error == -EAGAIN || error == -ETOOMANYREFS);
}

/* With many files in line the rescan is often enough. */
enum { TIDY_SCAN_MAX = 10000 };

/* It may have been the last file of its directory. */
static void expect_leftovers(struct daemon *d, struct user *u, const struct job *job)
{
	if (u->settings->tidy && strchr(job->path, '/') != NULL && u->room.files < TIDY_SCAN_MAX)
		user_scan_in(d, u, user_tidy_after_ms(u));
}

int handover_to_worker(struct daemon *d, const struct handover *over)
{
	struct user *u = over->user;
	const struct job *job = &over->job;
	int dirfd = tree_open_job(d->tree, u->name, job->id, job->path, &job->ident);
	int r = dirfd < 0 ? dirfd : start(d, over, dirfd);
	bool lost = dirfd == -ENOENT;
	/* Where that cannot be found out now, it is tried again. */
	if (lost)
		r = recover_job(d, u, job);
	if (r < 0)
		unclaim_job(d, u, job, is_too_late(over, r) ? 0 : r, PLACE_PROCESSING);
	fd_close(dirfd);
	return lost && r == 0 ? -ENOENT : r;
}

static int stand_by(struct daemon *d, struct handover *over)
{
	int r = standby_add(d, over);
	if (r < 0)
		unclaim_job(d, over->user, &over->job, r, PLACE_PROCESSING);
	return r;
}

int handover_do(struct daemon *d, struct handover *over)
{
	struct user *u = over->user;
	const struct job *job = &over->job;
	char *kept = NULL;
	int r = over->from == PLACE_INCOMING ? take(d, u, job, &kept) : 0;
	if (r == 0) {
		take_voucher(d, u, job);
		expect_leftovers(d, u, job);
	}
	if (kept != NULL) {
		char *shown = escape_str(kept);
		log_warning("user %s: a file that was put in the place of job %" PRIu64
		            " while it was taken is kept as failed/%s",
		            u->name, job->id, shown == NULL ? "?" : shown);
		free(shown);
	}
	free(kept);
	if (r < 0) {
		not_taken(d, u, job, r);
		return r;
	}
	return over->stands_by ? stand_by(d, over) : handover_to_worker(d, over);
}
