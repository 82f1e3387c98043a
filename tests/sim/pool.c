/* io/pool.h and io/runner.h: workers that live on their own. One whose daemon
 * is gone finishes its job and leaves the result beside the file; a handler
 * whose worker and daemon are both gone runs on as a stray. */
#include "world.h"

#include "core/name.h"
#include "io/pool.h"
#include "io/runner.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAVE_PATIENCE_MS = 60000, LEAVE_EVERY_MS = 1000 };

static void tell(struct sim_worker *w, enum pool_event_kind kind, uint64_t job, bool waited)
{
	if (w->orphan)
		return;
	assert(w->told_n < TOLD_MAX);
	w->told[w->told_n++] = (struct sim_told){
		.kind = (uint8_t)kind, .waited = waited, .job = job, .begun_ms = w->begun_ms};
}

/* Of one job, or of all. */
static void let_go_of_lock(struct sim_worker *w, bool all)
{
	while (w->lock_refs > 0) {
		lock_unref(w->lock);
		w->lock_refs--;
		if (!all)
			return;
	}
}

/* True where there was any. */
static bool clear_names(int user, uint64_t job)
{
	bool any = false;
	static const char *const names[] = {NAME_RESULT, NAME_CANCEL};
	for (int i = 0; i < 2; i++) {
		int slot = fs_find(user, PLACE_PROCESSING, job, names[i]);
		any = any || slot != NONE;
		if (slot != NONE)
			fs_unlink(slot);
	}
	return any;
}

static void set_result(struct sim_worker *w, enum outcome outcome, int exit_code)
{
	w->result = (struct run_result){
		.job = w->job,
		.attempt = w->attempt,
		.outcome = outcome,
		.exit_code = exit_code,
		.started_ms = w->handler ? wall_ms() - (world->now_ms - w->begun_ms) : 0,
		.finished_ms = wall_ms(),
		.ran_ms = w->handler ? world->now_ms - w->begun_ms : 0,
		.records = RECORDS_NONE,
	};
}

static void keep(struct sim_worker *w, const struct run_result *result, int upload)
{
	assert(w->kept_n < KEPT_MAX);
	w->kept[w->kept_n++] = (struct sim_kept){
		.job = result->job, .attempt = result->attempt, .upload = upload, .result = *result};
	tell(w, POOL_RESULT, result->job, false);
	say("worker: job %llu, attempt %u: %s, exit %d%s", (unsigned long long)result->job,
	    result->attempt, outcome_name(result->outcome), result->exit_code,
	    result->started_ms == 0 ? " (never began)" : "");
}

static void keep_unbegun(struct sim_worker *w, uint64_t job, uint32_t attempt, enum outcome outcome)
{
	const struct run_result result = {.job = job, .attempt = attempt, .outcome = outcome,
	                                  .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE,
	                                  .finished_ms = wall_ms()};
	keep(w, &result, NONE);
}

static void give_back(struct sim_worker *w)
{
	int n = w->ahead_n;
	w->ahead_n = 0;
	for (int i = 0; i < n; i++)
		keep_unbegun(w, w->ahead[i].job, w->ahead[i].attempt, OUTCOME_INTERRUPTED);
}

/* Its next job. */
static void take_up(struct sim_worker *w, const struct sim_order *order)
{
	w->phase = WORKER_ORDERED;
	w->due_ms = world->now_ms + dice_roll(30);
	w->dies = w->eats = w->cancel = w->interrupt = false;
	w->job = order->job;
	w->attempt = order->attempt;
	w->want_ino = order->want_ino;
	w->whole = order->whole;
	w->fresh = order->fresh;
	w->timeout_ms = order->timeout_ms;
	w->upload = NONE;
	strcpy(w->name, order->name);
}

/* No job is left: what it told is to be acknowledged. */
static void rest(struct sim_worker *w)
{
	w->phase = WORKER_TOLD;
	w->due_ms = w->orphan ? world->now_ms : FAR;
	w->give_up_ms = world->now_ms + LEAVE_PATIENCE_MS;
}

static void end_run(struct sim_worker *w)
{
	bool done = w->result.outcome == OUTCOME_SUCCEEDED;
	w->handler = false;
	w->last_done = done ? w->job : 0;
	keep(w, &w->result, w->upload);
	if (!done && !broken("goes-on-after-failure"))
		give_back(w);
	if (w->ahead_n == 0 || w->orphan) {
		rest(w);
		return;
	}
	struct sim_order next = w->ahead[0];
	memmove(w->ahead, w->ahead + 1, (size_t)--w->ahead_n * sizeof next);
	take_up(w, &next);
	w->was_ahead = true;
}

/* What the handler is going to do. */
static void plan(struct sim_worker *w)
{
	uint64_t run = dice_roll(3000);
	enum outcome outcome = OUTCOME_SUCCEEDED;
	int exit_code = 0;
	uint64_t roll = dice_roll(100);
	/* A failure ends what waits behind it. */
	if (world->profile.calm || (world->profile.bursts && roll % 8 != 0)) {
		run = 5;
	} else if (roll < 18) {
		outcome = OUTCOME_FAILED;
		exit_code = 1;
	} else if (roll < 22) {
		outcome = OUTCOME_FAILED;
		exit_code = 65;
	} else if (roll < 26) {
		outcome = OUTCOME_TIMED_OUT;
		exit_code = EXIT_CODE_NONE;
		run = w->timeout_ms;
	}
	/* Only where jobs are short is any handed ahead. */
	if (world->profile.short_runs || (world->seed % 2 == 1 && run % 4 != 0))
		run %= 20;
	if (world->profile.bursts && outcome == OUTCOME_SUCCEEDED)
		run = 14 + run % 6;
	w->eats = outcome == OUTCOME_SUCCEEDED && one_of(60) && !world->profile.calm;
	w->dies = percent(world->profile.worker_death_percent);
	w->due_ms = w->begun_ms + run;
	set_result(w, outcome, exit_code);
}

/* Not what was accepted, or still written. */
static bool is_stale(const struct sim_worker *w, int inode)
{
	struct whole now;
	fs_whole(inode, &now);
	return (now.ident.whole != w->whole || now.writer) && !broken("whole-not-compared");
}

/* Did an earlier attempt begin, as far as the disk knows? */
static bool was_seen(const struct sim_worker *w, int inode)
{
	return w->attempt > 1 && !w->fresh && world->fs.inodes[inode].seen_by == w->job;
}

static bool is_unready(int user)
{
	uint64_t *until_ms = &world->unready_until_ms[user];
	if (!world->settings.unready || world->profile.calm)
		return false;
	if (world->now_ms < *until_ms)
		return true;
	if (!one_of(4))
		return false;
	*until_ms = world->now_ms + world->settings.unready_ms;
	return true;
}

static void start(struct sim_worker *w)
{
	int slot = fs_find(w->user, PLACE_PROCESSING, w->job, w->name);
	if (clear_names(w->user, w->job) && !broken("old-result-not-synced"))
		fs_sync_dir(w->user, PLACE_PROCESSING, w->job);
	const struct inode *inode = slot == NONE ? NULL : &world->fs.inodes[world->fs.slots[slot].inode];
	if (inode == NULL || (w->want_ino != 0 && inode->number != w->want_ino)) {
		set_result(w, OUTCOME_FAILED, EXIT_CODE_NONE);
		end_run(w);
		return;
	}
	if (w->whole != 0 && !was_seen(w, world->fs.slots[slot].inode) && is_stale(w, world->fs.slots[slot].inode)) {
		set_result(w, OUTCOME_INTERRUPTED, EXIT_CODE_NONE);
		w->result.stale = true;
		end_run(w);
		return;
	}
	fs_note_seen(world->fs.slots[slot].inode, w->job);
	if (is_unready(w->user)) {
		bool counts = broken("unready-counts");
		set_result(w, counts ? OUTCOME_FAILED : OUTCOME_INTERRUPTED, EXIT_CODE_NONE);
		w->result.unready = !counts;
		check_unready(w);
		end_run(w);
		return;
	}
	w->phase = WORKER_RUNNING;
	w->handler = true;
	w->begun_ms = world->now_ms;
	check_run(w, slot);
	plan(w);
	/* A short run is told of by its result. */
	if (w->due_ms >= w->begun_ms + 20)
		tell(w, POOL_STARTED, w->job, false);
	say("worker: job %llu (%s/%s), attempt %u runs", (unsigned long long)w->job,
	    user_name(w->user), w->name, w->attempt);
}

static void eat(struct sim_worker *w)
{
	int slot = fs_find(w->user, PLACE_PROCESSING, w->job, w->name);
	if (slot == NONE)
		return;
	fs_remove_upload(slot);
	if (w->upload != NONE && world->uploads[w->upload].fate == FATE_WHOLE)
		world->uploads[w->upload].fate = FATE_EATEN;
	say("worker: the handler of job %llu removed its file", (unsigned long long)w->job);
}

static void finish_run(struct sim_worker *w)
{
	enum outcome outcome = w->result.outcome;
	int exit_code = w->result.exit_code;
	if (w->cancel || w->interrupt) {
		outcome = w->cancel ? OUTCOME_CANCELED : OUTCOME_INTERRUPTED;
		exit_code = EXIT_CODE_NONE;
	} else if (w->eats) {
		eat(w);
	}
	set_result(w, outcome, exit_code);
	if (outcome == OUTCOME_SUCCEEDED && w->upload != NONE)
		world->uploads[w->upload].succeeded = true;
	end_run(w);
}

/* A result that its worker keeps, or that was acknowledged, counts. */
static void result_counts(const struct sim_kept *k)
{
	if (k->upload == NONE)
		return;
	struct ledger_entry *e = &world->uploads[k->upload];
	if (k->attempt <= e->forgiven)
		return;
	if (k->result.outcome == OUTCOME_SUCCEEDED)
		e->success_kept = true;
	if (k->result.outcome == OUTCOME_FAILED && k->result.exit_code == 65)
		e->permanent = true;
	if (k->result.outcome == OUTCOME_FAILED || k->result.outcome == OUTCOME_TIMED_OUT)
		e->failures++;
}

/* Is the end of this attempt in the index? Then what is left beside the file is
 * old news. */
static bool is_recorded(const struct sim_kept *k)
{
	const struct rows *rows = &world->committed;
	for (int i = 0; i < rows->attempts_n; i++)
		if (rows->attempts[i].job == k->job && rows->attempts[i].attempt.number == k->attempt &&
		    rows->attempts[i].attempt.outcome != OUTCOME_NONE)
			return true;
	return false;
}

static void leave(struct sim_worker *w)
{
	w->phase = WORKER_LEAVING;
	w->due_ms = world->now_ms + dice_roll(4);
}

static void leave_result(struct sim_worker *w, const struct sim_kept *k)
{
	if (!fs_dir_exists(w->user, k->job))
		return;
	clear_names(w->user, k->job);
	int inode = fs_new_inode(INODE_RESULT);
	world->fs.inodes[inode].result = k->result;
	fs_sync_file(inode);
	fs_link(w->user, PLACE_PROCESSING, k->job, NAME_RESULT, inode);
	if (!broken("result-not-synced"))
		fs_sync_dir(w->user, PLACE_PROCESSING, k->job);
	if (!is_recorded(k))
		result_counts(k);
	say("worker: left the result of job %llu", (unsigned long long)k->job);
}

/* One at a time: it may end in between. */
static void leave_results(struct sim_worker *w)
{
	bool fails = !world->mounted || (world->faulty && one_of(3));
	if (fails && world->now_ms < w->give_up_ms) {
		w->due_ms = world->now_ms + LEAVE_EVERY_MS;
		return;
	}
	if (w->kept_n > 0) {
		if (!fails)
			leave_result(w, &w->kept[0]);
		memmove(w->kept, w->kept + 1, (size_t)--w->kept_n * sizeof *w->kept);
	}
	if (w->kept_n == 0)
		leave(w);
	else
		w->due_ms = world->now_ms;
}

static void tell_gone(struct sim_worker *w)
{
	w->handler = false;
	w->due_ms = FAR;
	tell(w, POOL_GONE, w->job, false);
	for (int i = 0; i < w->ahead_n; i++)
		tell(w, POOL_GONE, w->ahead[i].job, true);
	w->ahead_n = 0;
}

uint64_t worker_due(int i)
{
	const struct sim_worker *w = &world->workers[i];
	return w->phase == WORKER_NONE ? FAR : w->due_ms;
}

void worker_act(int i)
{
	struct sim_worker *w = &world->workers[i];
	switch (w->phase) {
	case WORKER_NONE: break;
	case WORKER_ORDERED: start(w); break;
	case WORKER_RUNNING:
		if (w->dies)
			worker_kill(i);
		else
			finish_run(w);
		break;
	case WORKER_TOLD: leave_results(w); break;
	case WORKER_LEAVING:
		let_go_of_lock(w, true);
		w->phase = WORKER_NONE;
		break;
	case WORKER_SWEPT: tell_gone(w); break;
	case WORKER_BURIED: break;
	}
}

static void become_stray(struct sim_worker *w)
{
	for (int i = 0; w->handler && i < WORKERS_MAX; i++) {
		if (world->strays[i].alive)
			continue;
		world->strays[i] = (struct stray){
			.alive = true, .user = w->user, .upload = w->upload, .job = w->job};
		break;
	}
	w->phase = WORKER_NONE;
}

/* SIGKILL, or out of memory. */
void worker_kill(int i)
{
	struct sim_worker *w = &world->workers[i];
	if (w->phase == WORKER_NONE || w->phase == WORKER_SWEPT || w->phase == WORKER_BURIED || w->dead)
		return;
	say("worker: that of job %llu dies", (unsigned long long)w->job);
	let_go_of_lock(w, true);
	if (w->orphan || w->phase == WORKER_LEAVING) {
		become_stray(w);
	} else if (w->phase == WORKER_TOLD) {
		w->dead = true;
	} else {
		w->phase = WORKER_SWEPT;
		w->due_ms = world->now_ms + dice_roll(60);
	}
}

void workers_lose_daemon(void)
{
	for (int i = 0; i < WORKERS_MAX; i++) {
		struct sim_worker *w = &world->workers[i];
		w->told_n = 0;
		w->orphan = true;
		for (int k = 0; k < w->kept_n; k++)
			w->kept[k].acked = false;
		if (w->phase == WORKER_SWEPT || w->phase == WORKER_BURIED || w->dead)
			become_stray(w);
		if (w->phase == WORKER_NONE)
			continue;
		/* It may have noticed before it read of the job. */
		if (w->phase == WORKER_ORDERED && one_of(2)) {
			keep_unbegun(w, w->job, w->attempt, OUTCOME_INTERRUPTED);
			rest(w);
		}
		give_back(w);
		if (w->phase == WORKER_TOLD)
			w->due_ms = world->now_ms + dice_roll(30);
		w->dead = false;
	}
}

void workers_power_cut(void)
{
	for (int i = 0; i < WORKERS_MAX; i++) {
		if (world->workers[i].phase != WORKER_NONE)
			let_go_of_lock(&world->workers[i], true);
		world->workers[i].phase = WORKER_NONE;
		world->strays[i].alive = false;
	}
}

unsigned handlers_running(int user)
{
	unsigned n = 0;
	for (int i = 0; i < WORKERS_MAX; i++) {
		const struct sim_worker *w = &world->workers[i];
		n += w->phase != WORKER_NONE && w->handler && (user == NONE || w->user == user);
		n += world->strays[i].alive && (user == NONE || world->strays[i].user == user);
	}
	return n;
}

bool results_heard(void)
{
	for (int i = 0; i < WORKERS_MAX; i++)
		for (int k = 0; k < world->workers[i].kept_n; k++)
			if (world->workers[i].kept[k].heard && !world->workers[i].kept[k].acked)
				return true;
	return false;
}

/* The daemon's side. */

static void acknowledge(struct sim_worker *w, struct sim_kept *k)
{
	int i = (int)(k - w->kept);
	result_counts(k);
	memmove(k, k + 1, (size_t)(--w->kept_n - i) * sizeof *k);
	bool over = w->kept_n == 0 && w->ahead_n == 0;
	if (!over || w->phase != WORKER_TOLD)
		let_go_of_lock(w, false);
	if (over && w->phase == WORKER_TOLD && !w->dead)
		leave(w);
	else if (over && (w->dead || w->phase == WORKER_BURIED))
		w->phase = WORKER_NONE;
}

static struct sim_kept *find_kept(struct sim_worker *w, uint64_t job)
{
	for (int i = 0; i < w->kept_n; i++)
		if (w->kept[i].job == job)
			return &w->kept[i];
	return NULL;
}

static struct sim_kept *next_acked(struct sim_worker *w)
{
	for (int i = 0; i < w->kept_n; i++)
		if (w->kept[i].acked)
			return &w->kept[i];
	return NULL;
}

static bool leaves_no_attempt(const struct run_result *result)
{
	return run_result_never_began(result) || result->stale;
}

static void tell_acked(struct sim_worker *w)
{
	struct sim_kept *k;
	while ((k = next_acked(w)) != NULL) {
		if (leaves_no_attempt(&k->result))
			check_given_back(&k->result);
		else
			check_ack(k->job, k->attempt);
		acknowledge(w, k);
	}
}

void workers_told_early(void)
{
	for (int i = 0; i < WORKERS_MAX; i++) {
		struct sim_worker *w = &world->workers[i];
		for (int k = 0; k < w->kept_n; k++)
			w->kept[k].acked |= w->kept[k].heard && leaves_no_attempt(&w->kept[k].result);
		tell_acked(w);
	}
}

/* Has it nothing to do but to hear that all it told is in the index? */
static bool is_all_acked(const struct sim_worker *w)
{
	for (int i = 0; i < w->kept_n; i++)
		if (!w->kept[i].acked)
			return false;
	return w->phase == WORKER_TOLD && w->kept_n > 0 && w->ahead_n == 0;
}

static bool is_ours(const struct sim_worker *w)
{
	return !w->orphan && !is_all_acked(w) &&
	       (w->phase == WORKER_ORDERED || w->phase == WORKER_RUNNING ||
	        w->phase == WORKER_TOLD || w->phase == WORKER_SWEPT);
}

/* Has the daemon read the results of all it had? Its place is another one's then. */
static bool is_all_heard(const struct sim_worker *w)
{
	for (int i = 0; i < w->kept_n; i++)
		if (!w->kept[i].heard)
			return false;
	return w->phase == WORKER_TOLD && w->ahead_n == 0;
}

static bool is_busy(const struct sim_worker *w)
{
	return is_ours(w) && !is_all_heard(w);
}

uint32_t pool_busy(const struct pool *p)
{
	uint32_t n = 0;
	(void)p;
	for (int i = 0; i < WORKERS_MAX; i++)
		n += is_busy(&world->workers[i]);
	return n;
}

uint32_t pool_free_places(const struct pool *p)
{
	uint32_t busy = pool_busy(p);
	return world->pool_max > busy ? world->pool_max - busy : 0;
}

void pool_set_max(struct pool *p, uint32_t max)
{
	(void)p;
	world->pool_max = max;
}

/* All that nobody needs leave at once. */
void pool_set_spare(struct pool *p, uint32_t spare)
{
	(void)p;
	(void)spare;
}

/* Handlers of this world serve one job each. */
void pool_set_idle(struct pool *p, uint32_t handlers)
{
	(void)p;
	(void)handlers;
}

void pool_outdate(struct pool *p)
{
	(void)p;
}

/* What of its jobs the daemon has not read the end of, and came last; 0: none. */
static uint64_t last_untold(const struct sim_worker *w)
{
	if (!is_busy(w) || w->dead || w->phase == WORKER_SWEPT)
		return 0;
	if (w->ahead_n > 0)
		return w->ahead[w->ahead_n - 1].job;
	if (w->phase != WORKER_TOLD)
		return w->job;
	return w->kept_n > 0 && !w->kept[w->kept_n - 1].heard ? w->kept[w->kept_n - 1].job : 0;
}

static void pass_lock(struct sim_worker *w)
{
	if (broken("lock-not-passed"))
		return;
	world->locks[w->lock].refs++;
	w->lock_refs++;
}

static int run_after(const struct sim_order *order, uint64_t after)
{
	int i = 0;
	while (i < WORKERS_MAX && last_untold(&world->workers[i]) != after)
		i++;
	if (i == WORKERS_MAX)
		return -ESRCH;
	struct sim_worker *w = &world->workers[i];
	if (w->ahead_n == AHEAD_MAX || w->kept_n + w->ahead_n + 2 > KEPT_MAX)
		return -EAGAIN;
	tell_acked(w);
	pass_lock(w);
	if (w->phase != WORKER_TOLD)
		w->ahead[w->ahead_n++] = *order;
	else if (w->last_done == after)
		take_up(w, order);
	else
		keep_unbegun(w, order->job, order->attempt, OUTCOME_INTERRUPTED);
	return 0;
}

/* One that is idle gets the job, and hears with it what is in the index. Here it leaves,
 * and another one begins. */
static void take_idle(void)
{
	for (int i = 0; i < WORKERS_MAX; i++) {
		struct sim_worker *w = &world->workers[i];
		if (!w->orphan && !w->dead && is_all_acked(w) && one_of(2)) {
			tell_acked(w);
			return;
		}
	}
}

/* An earlier result of the same job must not be left any more, should the daemon die now:
 * it may come after that of this run, and take its place. */
static void check_told(uint64_t job)
{
	for (int i = 0; i < WORKERS_MAX; i++) {
		struct sim_worker *w = &world->workers[i];
		bool leaves = !w->orphan && !w->dead && w->phase != WORKER_BURIED;
		if (leaves && find_kept(w, job) != NULL)
			violation("job %llu is handed over again, and the worker of its last run still keeps "
			          "that result", (unsigned long long)job);
	}
}

int pool_run(struct pool *p, const struct run_order *order, int lock_fd, int job_dirfd)
{
	int r = io_may_fail("hand a job over", -EMFILE, -ENOMEM), i = 0;
	(void)job_dirfd;
	struct sim_order o = {.job = order->job, .attempt = order->attempt,
	                      .want_ino = order->ident_ino, .timeout_ms = order->timeout_ms,
	                      .whole = order->whole, .fresh = order->fresh};
	strcpy(o.name, order->name);
	if (r < 0)
		return r;
	if (order->after != 0 && !broken("ahead-runs-at-once"))
		return run_after(&o, order->after);
	if (pool_free_places(p) == 0)
		return -EAGAIN;
	take_idle();
	check_told(o.job);
	while (world->workers[i].phase != WORKER_NONE)
		assert(++i < WORKERS_MAX);
	struct sim_worker *w = &world->workers[i];
	*w = (struct sim_worker){.user = user_index(order->user),
	                         .lock = world->fds[lock_fd - 1000].lock};
	take_up(w, &o);
	pass_lock(w);
	return 0;
}

static int find_ahead(const struct sim_worker *w, uint64_t job)
{
	for (int i = 0; i < w->ahead_n; i++)
		if (w->ahead[i].job == job)
			return i;
	return NONE;
}

/* The worker of this daemon that has it, in whatever way. */
static struct sim_worker *find_job(uint64_t job)
{
	for (int i = 0; i < WORKERS_MAX; i++) {
		struct sim_worker *w = &world->workers[i];
		bool ours = is_ours(w) || w->phase == WORKER_BURIED;
		bool current = w->phase != WORKER_TOLD && w->phase != WORKER_BURIED && w->job == job;
		if (ours && (current || find_ahead(w, job) != NONE || find_kept(w, job) != NULL))
			return w;
	}
	return NULL;
}

static void cancel(struct sim_worker *w, bool interrupt)
{
	if (w->phase != WORKER_ORDERED && w->phase != WORKER_RUNNING)
		return;
	w->cancel |= !interrupt;
	w->interrupt |= interrupt;
	/* An order that was not read yet comes first. */
	if (w->phase == WORKER_RUNNING && !w->dies)
		w->due_ms = world->now_ms + dice_roll(200);
}

static void cancel_ahead(struct sim_worker *w, int i)
{
	struct sim_order o = w->ahead[i];
	memmove(w->ahead + i, w->ahead + i + 1, (size_t)(--w->ahead_n - i) * sizeof o);
	keep_unbegun(w, o.job, o.attempt, OUTCOME_CANCELED);
}

int pool_cancel(struct pool *p, uint64_t job, bool interrupt)
{
	(void)p;
	struct sim_worker *w = find_job(job);
	io_step("cancel a run");
	const struct sim_kept *k = w == NULL ? NULL : find_kept(w, job);
	if (w == NULL || (k != NULL && k->heard) || w->phase == WORKER_SWEPT)
		return -ESRCH;
	if (k != NULL)
		return 0;
	if (find_ahead(w, job) == NONE)
		cancel(w, interrupt);
	else if (interrupt)
		give_back(w);
	else
		cancel_ahead(w, find_ahead(w, job));
	return 0;
}

void pool_recall(struct pool *p, uint64_t job)
{
	(void)p;
	struct sim_worker *w = find_job(job);
	io_step("ask back what waits in a worker");
	if (w != NULL && w->phase != WORKER_SWEPT && !broken("recall-not-heard"))
		give_back(w);
}

/* Nobody stops a worker here. */
void pool_wake(struct pool *p, uint64_t job)
{
	(void)p, (void)job;
}

void worker_cancel_orphan(uint64_t job)
{
	for (int i = 0; i < WORKERS_MAX; i++)
		if (world->workers[i].orphan && world->workers[i].job == job)
			cancel(&world->workers[i], false);
}

void pool_ack(struct pool *p, uint64_t job, bool at_once)
{
	(void)p;
	struct sim_worker *w = find_job(job);
	struct sim_kept *k = w == NULL ? NULL : find_kept(w, job);
	if (k == NULL || !k->heard)
		return;
	k->acked = true;
	/* Some of them hear all of it early, as where it does not fit beside an order. */
	bool early = world->settings.wholes && world->seed % 5 != 0;
	k->at_once = at_once || early;
}

static bool is_pressing(const struct sim_worker *w)
{
	for (int i = 0; i < w->kept_n; i++)
		if (w->kept[i].acked && w->kept[i].at_once)
			return true;
	return false;
}

void pool_flush(struct pool *p, bool all)
{
	(void)p;
	if (!all && broken("retried-before-told"))
		return;
	for (int i = 0; i < WORKERS_MAX; i++) {
		struct sim_worker *w = &world->workers[i];
		if (next_acked(w) == NULL || !(all || is_pressing(w)))
			continue;
		io_step("acknowledge results");
		tell_acked(w);
	}
}

bool pool_ready(void)
{
	for (int i = 0; i < WORKERS_MAX; i++)
		if (world->workers[i].phase != WORKER_NONE && world->workers[i].told_n > 0)
			return true;
	return false;
}

static struct sim_worker *one_that_told(void)
{
	int first = (int)dice_roll(WORKERS_MAX);
	for (int n = 0; n < WORKERS_MAX; n++) {
		struct sim_worker *w = &world->workers[(first + n) % WORKERS_MAX];
		if (w->phase != WORKER_NONE && w->told_n > 0)
			return w;
	}
	return NULL;
}

static void hear_result(struct sim_worker *w, struct sim_kept *k, struct pool_event *ret)
{
	static char text[] = "exit code 1";
	ret->message.result = k->result;
	ret->message.result.error = k->result.outcome == OUTCOME_SUCCEEDED ? NULL : text;
	k->heard = true;
	if (broken("ack-before-commit"))
		acknowledge(w, k);
}

int pool_next(struct pool *p, struct pool_event *ret)
{
	(void)p;
	if (!pool_ready())
		return 0;
	io_step("read from a worker");
	struct sim_worker *w = one_that_told();
	if (w == NULL)
		return 0;
	const struct sim_told told = w->told[0];
	memmove(w->told, w->told + 1, (size_t)--w->told_n * sizeof told);
	*ret = (struct pool_event){
		.kind = (enum pool_event_kind)told.kind, .job = told.job, .waited = told.waited};
	if (ret->kind == POOL_STARTED)
		ret->message.started_ms = wall_ms() - (world->now_ms - told.begun_ms);
	struct sim_kept *k = ret->kind == POOL_RESULT ? find_kept(w, told.job) : NULL;
	if (k != NULL)
		hear_result(w, k, ret);
	if (ret->kind == POOL_GONE && w->told_n == 0)
		w->phase = w->kept_n > 0 ? WORKER_BURIED : WORKER_NONE;
	return 1;
}

int runner_kill_strays(const char *cookie)
{
	const char *dash = strchr(cookie, '-');
	uint64_t job = strtoull(dash + 1, NULL, 10);
	int n = 0;
	io_step("end strays");
	for (int i = 0; i < WORKERS_MAX && !broken("strays-left-alone"); i++) {
		n += world->strays[i].alive && world->strays[i].job == job;
		if (world->strays[i].job == job)
			world->strays[i].alive = false;
	}
	return n;
}

int runner_find_strays(const char *prefix, void (*found)(void *ctx, const char *rest), void *ctx)
{
	(void)prefix;
	(void)found;
	(void)ctx;
	return 0;
}

int runner_wake_holders(bool (*is_it)(void *ctx, const char *path), void *ctx)
{
	(void)is_it;
	(void)ctx;
	return 0;
}
