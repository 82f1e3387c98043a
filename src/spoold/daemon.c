#include "spoold/daemon.h"

#include "base/log.h"
#include "spoold/accept.h"
#include "spoold/ahead.h"
#include "spoold/notice.h"
#include "spoold/standby.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How often a spool that is not mounted is looked for. */
enum { MOUNT_CHECK_MS = 2000 };
/* How long what is kept for the next jobs lies about when nothing runs any more: making it
 * anew costs an idle disk more than all the rest of a small job. */
enum { SPARES_IDLE_MS = 200 };
/* Who runs us once wants an end: so long is tried again what fails. */
enum { ONCE_PATIENCE_MS = 20000 };

int daemon_init(struct daemon *d, struct config *config)
{
	*d = (struct daemon){.config = config, .lock_fd = -1, .starting = true};
	d->sched = sched_new();
	if (d->sched == NULL)
		return -ENOMEM;
	intake_init(d);
	scan_init(d);
	return 0;
}

void daemon_clear(struct daemon *d)
{
	turn_clear(d);
	accept_clear(d);
	retention_clear(d);
	scan_clear(d);
	requests_clear(d);
	uploads_clear(d);
	dispatch_clear(d);
	stray_clear(d);
	users_clear(d);
	sched_free(d->sched);
	d->sched = NULL;
}

int daemon_start(struct daemon *d, uint64_t wall_ms, uint64_t steady_ms)
{
	d->wall_ms = d->since_ms = wall_ms;
	d->steady_ms = steady_ms;
	d->rescan_ms = steady_ms + d->config->interval_ms;
	sched_set_limit(d->sched, d->config->max_concurrent);
	d->dispatch.ran_ms = UINT64_MAX;
	/* --mode once is itself the order to work. */
	sched_set_running(d->sched, d->config->auto_start || d->once);
	if (!d->config->auto_start && !d->once)
		log_notice("auto_start_processing is false: jobs wait for 'spoolctl start'");
	stray_look(d);
	int r = numbers_start(d);
	return r < 0 ? r : users_discover(d);
}

static void spool_is_back(struct daemon *d, struct tree *again)
{
	log_notice("the spool is back; looking at all of it");
	tree_set_guard(again, tree_get_guard(d->tree));
	tree_close(d->tree);
	d->tree = again;
	d->unmounted = d->silent = false;
	if (d->watch != NULL && users_watch_root(d) < 0)
		log_warning("the spool's root cannot be watched: new users are found by the rescan");
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next)
		if (u->number != 0)
			user_watch(d, u);
	request_keep_socket(d);
	recover_all(d);
	users_discover(d);
	scan_want_all(d);
}

bool daemon_mounted(struct daemon *d)
{
	int r = d->unmounted ? -ENODEV : tree_mounted(d->tree);
	if (r == 0) {
		d->mount_seen_ms = d->steady_ms;
		return true;
	}
	if (!d->unmounted) {
		d->silent = r == -ETIMEDOUT;
		if (d->silent)
			log_error("the mount that holds the spool at %s does not answer: no job starts until it "
			          "does", tree_root(d->tree));
		else if (r == -ENODEV)
			log_error("the spool at %s is not mounted (its marker is gone): nothing is "
			          "concluded from that, no job starts until it is back",
			          tree_root(d->tree));
		else
			log_error("the marker of the spool at %s cannot be read: %s; until it can, the "
			          "spool counts as not mounted and no job starts", tree_root(d->tree),
			          strerror(-r));
		d->unmounted = true;
		d->mount_check_ms = d->steady_ms + MOUNT_CHECK_MS;
		for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next)
			user_touch(d, u);
	}
	return false;
}

static void look_for_mount(struct daemon *d)
{
	struct tree *again = NULL;
	if (!d->unmounted || d->steady_ms < d->mount_check_ms)
		return;
	d->mount_check_ms = d->steady_ms + MOUNT_CHECK_MS;
	int answers = tree_answers(d->tree, NULL, false);
	if (answers == -EAGAIN)
		d->mount_check_ms = d->steady_ms + USER_ANSWER_MS;
	if (answers == -ETIMEDOUT || answers == 0)
		d->silent = answers < 0;
	if (answers < 0 || tree_open(tree_root(d->tree), &again) < 0)
		return;
	if (tree_id(again) != tree_id(d->tree)) {
		tree_close(again);
		return;
	}
	spool_is_back(d, again);
}

static void look_again(struct daemon *d)
{
	if (d->steady_ms < d->rescan_ms || d->unmounted)
		return;
	d->rescan_ms = d->steady_ms + d->config->interval_ms;
	/* The socket lies on it, as a rule: a mount that hangs must not be touched. */
	if (daemon_mounted(d))
		request_keep_socket(d);
	users_discover(d);
	scan_want_all(d);
}

static void end_of_start(struct daemon *d)
{
	if (!d->starting || d->turn.changes != NULL || !scan_idle(d) || !users_all_met(d))
		return;
	d->starting = false;
	unsigned users = HASH_COUNT(d->users.by_name);
	log_info("looked at %u user%s", users, users == 1 ? "" : "s");
}

/* Is what is left to be done all of users whose directories are not to be had, or of those
 * whose next job cannot be started? */
static bool only_stuck_are_left(const struct daemon *d, unsigned *ret_away, unsigned *ret_unready)
{
	*ret_away = *ret_unready = 0;
	for (const struct user *u = d->users.by_name; u != NULL; u = u->hh.next) {
		switch (sched_explain(d->sched, u->number, d->wall_ms)) {
		case SCHED_READY:
		case SCHED_LIMIT: return false;
		case SCHED_BACKOFF:
			if (!u->unready)
				return false;
			++*ret_unready;
			break;
		case SCHED_BLOCKED:
			if (!u->away)
				return false;
			++*ret_away;
			break;
		case SCHED_EMPTY:
		case SCHED_HELD:
		case SCHED_STOPPED: break;
		}
	}
	return true;
}

/* What keeps --mode once from ending although nothing runs any more, or NULL. */
static const char *obstacle(const struct daemon *d)
{
	if (!d->once || d->dispatch.running != NULL || d->dispatch.claims > 0)
		return NULL;
	if (d->unmounted)
		return "the spool is not mounted";
	if (turn_stalled(d))
		return "the index cannot be written";
	if (d->dispatch.unmoved != NULL)
		return "files of jobs that ended cannot be moved to done or failed";
	unsigned away, unready;
	/* What is still to become a job. */
	if (!scan_idle(d) || !intake_idle(d))
		return NULL;
	if (!only_stuck_are_left(d, &away, &unready))
		return NULL;
	if (unready > 0)
		return "what is left cannot be started";
	return away > 0 ? "the mounts that hold the rest are not there, or do not answer" : NULL;
}

static void lose_patience(struct daemon *d)
{
	const char *what = obstacle(d);
	if (what == NULL || d->gave_up) {
		d->stuck_ms = 0;
		return;
	}
	if (d->stuck_ms == 0)
		d->stuck_ms = d->steady_ms;
	if (d->steady_ms < d->stuck_ms + ONCE_PATIENCE_MS)
		return;
	d->gave_up = true;
	log_error("giving up after %d s: %s; nothing is lost, the next start goes on from here",
	          ONCE_PATIENCE_MS / 1000, what);
}

static void do_what_is_due(struct daemon *d, bool *ret_more)
{
	look_for_mount(d);
	look_again(d);
	users_tick(d);
	*ret_more = scan_tick(d);
	intake_tick(d);
	whole_tick(d);
	notice_tick(d);
	retention_tick(d);
	dispatch_tick(d);
	if (d->control != NULL)
		request_tick(d);
	numbers_tick(d);
	turn_run(d);
	ahead_review(d);
	standby_review(d);
	end_of_start(d);
	lose_patience(d);
}

static void drop_spares(struct daemon *d)
{
	if (d->dispatch.running != NULL || d->dispatch.claims > 0) {
		d->spares_ms = d->steady_ms + SPARES_IDLE_MS;
	} else if (d->steady_ms >= d->spares_ms) {
		/* Also what a last move left that was redone while nothing ran. */
		tree_drop_spares(d->tree);
		d->spares_ms = 0;
	}
}

/* While something runs its end comes first. */
static uint64_t spares_next(const struct daemon *d)
{
	bool idle = d->dispatch.running == NULL && d->dispatch.claims == 0;
	return idle && d->spares_ms != 0 ? d->spares_ms : UINT64_MAX;
}

static uint64_t next_without_spool(const struct daemon *d)
{
	return due_min(due_min(turn_next(d), dispatch_next(d)), request_next(d));
}

/* What waits, however long it is due, while the spool is not mounted. */
static uint64_t next_of_spool(const struct daemon *d)
{
	uint64_t next = due_min(due_min(users_next(d), intake_next(d)), scan_next(d));
	next = due_min(next, due_min(retention_next(d), notice_next(d)));
	next = due_min(next, due_min(numbers_next(d), spares_next(d)));
	next = due_min(next, whole_next(d));
	return due_min(next, d->rescan_ms);
}

uint64_t daemon_tick(struct daemon *d, uint64_t wall_ms, uint64_t steady_ms)
{
	bool more;
	d->wall_ms = wall_ms;
	d->steady_ms = steady_ms;
	do_what_is_due(d, &more);
	drop_spares(d);
	/* What nobody tells of, where there are no events, is seen in the next turn. */
	uint64_t kept_ms = tree_turn(d->tree, d->watch != NULL ? steady_ms : UINT64_MAX);
	bool again = d->turn.changes != NULL || dispatch_ready(d);
	if (more || (again && !turn_stalled(d)))
		return 0;
	uint64_t next = due_min(next_without_spool(d), d->unmounted ? d->mount_check_ms
	                                                            : next_of_spool(d));
	next = due_min(next, kept_ms);
	return d->stuck_ms == 0 ? next : due_min(next, d->stuck_ms + ONCE_PATIENCE_MS);
}

void daemon_stop(struct daemon *d)
{
	if (d->stopping) {
		/* Asked twice: no more patience. */
		d->stop_by_ms = d->steady_ms;
		return;
	}
	d->stopping = true;
	sched_set_running(d->sched, false);
	d->stop_by_ms = d->steady_ms + d->config->stop_grace_ms;
	uint32_t n = dispatch_running(d);
	if (n > 0)
		log_notice("stopping; %u running job%s %llu s to finish", n, n == 1 ? " has" : "s have",
		           (unsigned long long)(d->config->stop_grace_ms / 1000));
}

/* Has anybody a job that will start, now or later, without a hand? */
static bool work_is_left(const struct daemon *d)
{
	for (const struct user *u = d->users.by_name; u != NULL; u = u->hh.next) {
		switch (sched_explain(d->sched, u->number, d->wall_ms)) {
		case SCHED_READY:
		case SCHED_BACKOFF:
		case SCHED_LIMIT:
		case SCHED_BLOCKED: return true;
		case SCHED_EMPTY:
		case SCHED_HELD:
		case SCHED_STOPPED: break;
		}
	}
	return sched_active(d->sched) > 0;
}

bool daemon_finished(const struct daemon *d)
{
	if (d->gave_up)
		return true;
	bool quiet = d->dispatch.running == NULL && d->dispatch.claims == 0 &&
	             d->wholes_looks.giving == 0;
	if (d->damaged)
		return true;
	/* Where the index cannot be written, the workers keep their results. */
	if (d->stopping)
		return turn_stalled(d) ? quiet || d->stop_forced : quiet && d->turn.changes == NULL;
	return d->once && quiet && !d->starting && d->turn.changes == NULL && scan_idle(d) &&
	       intake_idle(d) && notice_idle(d) && d->dispatch.unmoved == NULL && !work_is_left(d);
}

int daemon_reload(struct daemon *d, struct config_report *report, char **ret_fixed)
{
	struct config *config = NULL;
	int r = config_load(d->config->path, &config, report);
	if (r < 0) {
		for (size_t i = 0; i < report->errors_n; i++)
			log_error("%s", report->errors[i]);
		log_error("the configuration has mistakes; the old settings stay in force");
		return -EINVAL;
	}
	for (size_t i = 0; i < report->warnings_n; i++)
		log_warning("%s", report->warnings[i]);
	*ret_fixed = config_fixed_changes(d->config, config);
	if (*ret_fixed != NULL)
		log_warning("what changed but takes a restart: %s", *ret_fixed);
	config->durability = d->config->durability;
	if (d->interval_ms != 0)
		config->interval_ms = d->interval_ms;
	config_free(d->config);
	d->config = config;
	sched_set_limit(d->sched, config->max_concurrent);
	d->dispatch.silent = 0;
	if (d->mounts != NULL)
		mounts_set_patience(d->mounts, config->mount_answer_ms);
	pool_set_max(d->pool, config->max_concurrent);
	pool_set_idle(d->pool, config->idle_handlers);
	pool_outdate(d->pool);
	ahead_recall_all(d);
	users_configure(d);
	d->rescan_ms = due_min(d->rescan_ms, d->steady_ms + d->config->interval_ms);
	if (daemon_mounted(d))
		request_keep_socket(d);
	log_notice("the configuration was loaded again");
	return 0;
}
