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

static void tell(struct sim_worker *w, enum pool_event_kind kind)
{
	if (!w->orphan && w->told_n < TOLD_MAX)
		w->told[w->told_n++] = (uint8_t)kind;
}

static void let_go_of_lock(struct sim_worker *w)
{
	if (w->lock != NONE)
		lock_unref(w->lock);
	w->lock = NONE;
}

static void clear_names(const struct sim_worker *w)
{
	static const char *const names[] = {NAME_RESULT, NAME_CANCEL};
	for (int i = 0; i < 2; i++) {
		int slot = fs_find(w->user, PLACE_PROCESSING, w->job, names[i]);
		if (slot != NONE)
			fs_unlink(slot);
	}
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

static void end_run(struct sim_worker *w)
{
	w->handler = false;
	w->phase = WORKER_TOLD;
	w->due_ms = w->orphan ? world->now_ms : FAR;
	w->give_up_ms = world->now_ms + LEAVE_PATIENCE_MS;
	tell(w, POOL_RESULT);
	say("worker: job %llu, attempt %u: %s, exit %d", (unsigned long long)w->job, w->attempt,
	    outcome_name(w->result.outcome), w->result.exit_code);
}

/* What the handler is going to do. */
static void plan(struct sim_worker *w)
{
	uint64_t run = dice_roll(3000);
	enum outcome outcome = OUTCOME_SUCCEEDED;
	int exit_code = 0;
	uint64_t roll = dice_roll(100);
	if (roll < 18) {
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
	w->eats = outcome == OUTCOME_SUCCEEDED && one_of(60);
	w->dies = percent(world->profile.worker_death_percent);
	w->due_ms = w->begun_ms + run;
	set_result(w, outcome, exit_code);
}

static void start(struct sim_worker *w)
{
	int slot = fs_find(w->user, PLACE_PROCESSING, w->job, w->name);
	clear_names(w);
	const struct inode *inode = slot == NONE ? NULL : &world->fs.inodes[world->fs.slots[slot].inode];
	if (inode == NULL || (w->want_ino != 0 && inode->number != w->want_ino)) {
		set_result(w, OUTCOME_FAILED, EXIT_CODE_NONE);
		end_run(w);
		return;
	}
	w->phase = WORKER_RUNNING;
	w->handler = true;
	w->begun_ms = world->now_ms;
	check_run(w, slot);
	plan(w);
	tell(w, POOL_STARTED);
	say("worker: job %llu (%s/%s), attempt %u runs", (unsigned long long)w->job,
	    user_name(w->user), w->name, w->attempt);
}

static void eat(struct sim_worker *w)
{
	int slot = fs_find(w->user, PLACE_PROCESSING, w->job, w->name);
	if (slot == NONE)
		return;
	fs_unlink(slot);
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
static void result_counts(const struct sim_worker *w)
{
	if (w->upload == NONE)
		return;
	struct ledger_entry *e = &world->uploads[w->upload];
	if (w->attempt <= e->forgiven)
		return;
	if (w->result.outcome == OUTCOME_SUCCEEDED)
		e->success_kept = true;
	if (w->result.outcome == OUTCOME_FAILED && w->result.exit_code == 65)
		e->permanent = true;
	if (w->result.outcome == OUTCOME_FAILED || w->result.outcome == OUTCOME_TIMED_OUT)
		e->failures++;
}

/* Is the end of this attempt in the index? Then what is left beside the file is
 * old news. */
static bool is_recorded(const struct sim_worker *w)
{
	const struct rows *rows = &world->committed;
	for (int i = 0; i < rows->attempts_n; i++)
		if (rows->attempts[i].job == w->job && rows->attempts[i].attempt.number == w->attempt &&
		    rows->attempts[i].attempt.outcome != OUTCOME_NONE)
			return true;
	return false;
}

static void leave(struct sim_worker *w)
{
	w->phase = WORKER_LEAVING;
	w->due_ms = world->now_ms + dice_roll(4);
}

static void leave_result(struct sim_worker *w)
{
	bool fails = !world->mounted || (world->faulty && one_of(3));
	if (fails && world->now_ms < w->give_up_ms) {
		w->due_ms = world->now_ms + LEAVE_EVERY_MS;
		return;
	}
	if (!fails && fs_dir_exists(w->user, w->job)) {
		clear_names(w);
		int inode = fs_new_inode(INODE_RESULT);
		world->fs.inodes[inode].result = w->result;
		fs_sync_file(inode);
		fs_link(w->user, PLACE_PROCESSING, w->job, NAME_RESULT, inode);
		if (!broken("result-not-synced"))
			fs_sync_dir(w->user, PLACE_PROCESSING, w->job);
		if (!is_recorded(w))
			result_counts(w);
		say("worker: left the result of job %llu", (unsigned long long)w->job);
	}
	leave(w);
}

static void tell_gone(struct sim_worker *w)
{
	w->handler = false;
	w->due_ms = FAR;
	tell(w, POOL_GONE);
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
	case WORKER_TOLD: leave_result(w); break;
	case WORKER_LEAVING:
		let_go_of_lock(w);
		w->phase = WORKER_NONE;
		break;
	case WORKER_SWEPT: tell_gone(w); break;
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
	if (w->phase == WORKER_NONE || w->phase == WORKER_SWEPT || w->dead)
		return;
	say("worker: that of job %llu dies", (unsigned long long)w->job);
	let_go_of_lock(w);
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
		if (w->phase == WORKER_SWEPT || w->dead)
			become_stray(w);
		if (w->phase == WORKER_TOLD)
			w->due_ms = world->now_ms + dice_roll(30);
		w->dead = false;
	}
}

void workers_power_cut(void)
{
	for (int i = 0; i < WORKERS_MAX; i++) {
		if (world->workers[i].phase != WORKER_NONE)
			let_go_of_lock(&world->workers[i]);
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

/* The daemon's side. */

static bool is_busy(const struct sim_worker *w)
{
	return !w->orphan && (w->phase == WORKER_ORDERED || w->phase == WORKER_RUNNING ||
	                      w->phase == WORKER_TOLD || w->phase == WORKER_SWEPT);
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

int pool_run(struct pool *p, const struct run_order *order, int lock_fd, int job_dirfd)
{
	int r = io_may_fail("hand a job over", -EMFILE, -ENOMEM), i = 0;
	(void)job_dirfd;
	if (r < 0)
		return r;
	if (pool_free_places(p) == 0)
		return -EAGAIN;
	while (world->workers[i].phase != WORKER_NONE)
		assert(++i < WORKERS_MAX);
	struct sim_worker *w = &world->workers[i];
	*w = (struct sim_worker){
		.phase = WORKER_ORDERED,
		.due_ms = world->now_ms + dice_roll(30),
		.job = order->job,
		.attempt = order->attempt,
		.want_ino = order->ident_ino,
		.timeout_ms = order->timeout_ms,
		.user = user_index(order->user),
		.lock = world->fds[lock_fd - 1000].lock,
		.upload = NONE,
	};
	strcpy(w->name, order->name);
	if (broken("lock-not-passed"))
		w->lock = NONE;
	else
		world->locks[w->lock].refs++;
	return 0;
}

static struct sim_worker *find_job(uint64_t job)
{
	for (int i = 0; i < WORKERS_MAX; i++)
		if (is_busy(&world->workers[i]) && world->workers[i].job == job)
			return &world->workers[i];
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

int pool_cancel(struct pool *p, uint64_t job, bool interrupt)
{
	(void)p;
	struct sim_worker *w = find_job(job);
	io_step("cancel a run");
	if (w == NULL || (w->phase == WORKER_TOLD && w->heard) || w->phase == WORKER_SWEPT)
		return -ESRCH;
	cancel(w, interrupt);
	return 0;
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

static void acknowledge(struct sim_worker *w)
{
	w->heard = false;
	result_counts(w);
	if (w->dead)
		w->phase = WORKER_NONE;
	else
		leave(w);
}

void pool_ack(struct pool *p, uint64_t job)
{
	(void)p;
	struct sim_worker *w = find_job(job);
	io_step("acknowledge a result");
	if (w == NULL || w->phase != WORKER_TOLD || !w->heard)
		return;
	check_ack(w->job, w->attempt);
	acknowledge(w);
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

int pool_next(struct pool *p, struct pool_event *ret)
{
	(void)p;
	if (!pool_ready())
		return 0;
	io_step("read from a worker");
	struct sim_worker *w = one_that_told();
	if (w == NULL)
		return 0;
	*ret = (struct pool_event){.kind = (enum pool_event_kind)w->told[0], .job = w->job};
	memmove(w->told, w->told + 1, (size_t)--w->told_n);
	if (ret->kind == POOL_STARTED)
		ret->message.started_ms = wall_ms() - (world->now_ms - w->begun_ms);
	if (ret->kind == POOL_RESULT) {
		static char text[] = "exit code 1";
		ret->message.result = w->result;
		ret->message.result.error = w->result.outcome == OUTCOME_SUCCEEDED ? NULL : text;
		w->heard = true;
		if (broken("ack-before-commit"))
			acknowledge(w);
	}
	if (ret->kind == POOL_GONE)
		w->phase = WORKER_NONE;
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
