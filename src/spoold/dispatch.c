#include "spoold/dispatch.h"

#include "base/log.h"
#include "core/name.h"
#include "spoold/ahead.h"
#include "spoold/claim.h"
#include "spoold/daemon.h"
#include "spoold/result.h"
#include "spoold/standby.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct running *dispatch_find(const struct daemon *d, uint64_t job)
{
	struct running *r = NULL;
	HASH_FIND(hh, d->dispatch.running, &job, sizeof job, r);
	return r;
}

uint32_t dispatch_running(const struct daemon *d)
{
	uint32_t n = 0;
	for (const struct running *r = d->dispatch.running; r != NULL; r = r->hh.next)
		n += !r->ahead && r->standby == NULL;
	return n;
}

static void running_free(struct running *r)
{
	if (r == NULL)
		return;
	free(r->name);
	free(r->message);
	free(r->cancel_text);
	free(r->hold);
	free(r);
}

void dispatch_forget(struct daemon *d, uint64_t job)
{
	struct running *r = dispatch_find(d, job);
	if (r == NULL)
		return;
	ahead_ended(d, r, UINT64_MAX);
	HASH_DEL(d->dispatch.running, r);
	running_free(r);
}

struct running *dispatch_remember(struct daemon *d, struct user *u, const struct job *job)
{
	struct running *r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->job = job->id;
	r->user = u;
	r->attempt = job->attempt;
	r->seq = job->seq;
	r->anew = u->anew;
	r->progress = -1;
	r->records = RECORDS_NONE;
	r->name = strdup(name_base(job->path));
	if (r->name == NULL) {
		free(r);
		return NULL;
	}
	HASH_ADD(hh, d->dispatch.running, job, sizeof r->job, r);
	if (r->hh.tbl == NULL) {
		running_free(r);
		return NULL;
	}
	return r;
}

/* The first are those of jobs that stand by. */
static uint32_t places(const struct daemon *d)
{
	uint32_t free_places = pool_free_places(d->pool);
	uint32_t taken = d->dispatch.claims + d->dispatch.standby_n;
	return free_places > taken ? free_places - taken : 0;
}

bool dispatch_ready(struct daemon *d)
{
	return !d->unmounted && places(d) > 0 && sched_ready(d->sched, d->wall_ms);
}

int dispatch_claim_some(struct daemon *d)
{
	struct sched_pick picks[64];
	while (dispatch_ready(d)) {
		size_t n = places(d);
		n = sched_pick(d->sched, d->wall_ms, picks, n < 64 ? n : 64);
		for (size_t i = 0; i < n; i++) {
			int r = claim_one(d, &picks[i]);
			if (r < 0)
				return r;
		}
		int r = users_refresh(d);
		if (r < 0)
			return r;
		if (n == 0)
			break;
	}
	int r = standby_claim_some(d);
	return r < 0 ? r : ahead_claim_some(d);
}

struct started {
	struct change change;
	struct user *user;
	uint64_t job, started_ms;
};

static int started_apply(struct daemon *d, struct change *c)
{
	const struct started *s = (const struct started *)c;
	struct job job = {0};
	int r = index_get_job(d->index, s->job, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (job.state == JOB_QUEUED) {
		struct attempt attempt = {
			.number = job.attempt,
			.claimed_ms = job.claimed_ms,
			.started_ms = s->started_ms,
			.exit_code = EXIT_CODE_NONE,
			.records = RECORDS_NONE,
		};
		job_step(&job, JOB_EV_STARTED);
		job.started_ms = s->started_ms;
		r = index_put_job(d->index, &job);
		if (r == 0)
			r = index_put_attempt(d->index, job.id, &attempt);
	}
	job_clear(&job);
	return r;
}

static void started_finish(struct daemon *d, struct change *c, int error)
{
	(void)d;
	(void)error;
	free(c);
}

static void on_started(struct daemon *d, struct running *r, uint64_t started_ms)
{
	r->started_ms = started_ms;
	r->started_steady_ms = d->steady_ms;
	/* A short one has no news but its end. */
	r->user->ran_ms = UINT64_MAX;
	d->dispatch.ran_ms = UINT64_MAX;
	if (r->hold != NULL) {
		free(r->hold);
		r->hold = NULL;
		request_held(d, r->hold_client, r->job, false);
	}
	if (!r->cancel)
		r->overdue_ms = r->limit_ms == 0
		                        ? UINT64_MAX
		                        : d->steady_ms + r->limit_ms + DISPATCH_PATIENCE_MS;
	struct started *s = calloc(1, sizeof *s);
	if (s == NULL)
		return;
	s->change = (struct change){.apply = started_apply, .finish = started_finish, .keep = true};
	s->user = r->user;
	s->job = r->job;
	s->started_ms = started_ms;
	turn_add_rider(d, &s->change);
}

static void on_progress(struct running *r, const struct run_progress *p)
{
	if (p->progress >= 0)
		r->progress = p->progress;
	if (p->records != RECORDS_NONE)
		r->records = p->records;
	char *message = p->message == NULL ? NULL : strdup(p->message);
	if (message != NULL) {
		free(r->message);
		r->message = message;
	}
}

/* The worker is gone and so is what it started; what the handler did is not
 * known. */
void dispatch_gone(struct daemon *d, struct running *r, bool waited)
{
	struct run_result result = {
		.job = r->job,
		.attempt = r->attempt,
		.outcome = r->cancel ? OUTCOME_CANCELED : OUTCOME_INTERRUPTED,
		.exit_code = EXIT_CODE_NONE,
		.records = RECORDS_NONE,
		/* It may have started its handler without coming to say so. */
		.started_ms = waited ? 0 : r->started_ms != 0 ? r->started_ms : d->wall_ms,
		.finished_ms = d->wall_ms,
		.error = strdup("its worker ended unexpectedly"),
	};
	if (r->started_ms != 0)
		result.ran_ms = d->steady_ms - r->started_steady_ms;
	dispatch_result(d, r->user, &result);
	run_result_clear(&result);
}

void dispatch_read_events(struct daemon *d)
{
	struct pool_event event;
	for (int n = 0; n < 1024 && pool_next(d->pool, &event) > 0; n++) {
		struct running *r = dispatch_find(d, event.job);
		if (r == NULL)
			continue;
		if (event.kind == POOL_RESULT || event.kind == POOL_GONE) {
			r->overdue_ms = UINT64_MAX;
			const struct run_result *result = &event.message.result;
			bool done = event.kind == POOL_RESULT && result->outcome == OUTCOME_SUCCEEDED;
			if (event.kind == POOL_RESULT && !run_result_never_began(result))
				d->dispatch.ran_ms = result->ran_ms;
			ahead_ended(d, r, done ? result->ran_ms : UINT64_MAX);
		}
		switch (event.kind) {
		case POOL_STARTED: on_started(d, r, event.message.started_ms); break;
		case POOL_PROGRESS: on_progress(r, &event.message.progress); break;
		case POOL_RESULT: dispatch_result(d, r->user, &event.message.result); break;
		case POOL_GONE: dispatch_gone(d, r, event.waited); break;
		}
	}
	standby_start_some(d);
}

int dispatch_cancel(struct daemon *d, uint64_t job, const char *by)
{
	struct running *r = dispatch_find(d, job);
	if (r == NULL)
		return -ESRCH;
	r->cancel = true;
	free(r->cancel_text);
	r->cancel_text = strdup(by);
	if (standby_give_back(d, r) == 0)
		return 0;
	r->overdue_ms = d->steady_ms + r->grace_ms + DISPATCH_PATIENCE_MS;
	return pool_cancel(d->pool, job, false);
}

/* No more time to finish: what still runs is interrupted. */
static void interrupt_all(struct daemon *d)
{
	for (struct running *r = d->dispatch.running; r != NULL; r = r->hh.next) {
		pool_cancel(d->pool, r->job, true);
		r->overdue_ms = d->steady_ms + r->grace_ms + DISPATCH_PATIENCE_MS;
	}
}

/* Timeouts are the workers' to keep: one that somebody stopped keeps none. */
static void wake_overdue(struct daemon *d)
{
	for (struct running *r = d->dispatch.running; r != NULL; r = r->hh.next) {
		if (d->steady_ms < r->overdue_ms)
			continue;
		if (!r->grumbled)
			log_warning("user %s: the worker of job %" PRIu64 " says nothing although it should "
			            "have; in case it was stopped, it is sent SIGCONT", r->user->name,
			            r->job);
		r->grumbled = true;
		r->overdue_ms = d->steady_ms + DISPATCH_PATIENCE_MS;
		pool_wake(d->pool, r->job);
	}
}

/* A handler whose mount does not answer cannot go on, nor be ended: its place is
 * another one's meanwhile. */
static void make_up_for_silent(struct daemon *d)
{
	uint32_t n = 0;
	for (const struct running *r = d->dispatch.running; r != NULL; r = r->hh.next)
		n += r->user->silent && !r->ahead && r->standby == NULL;
	if (n == d->dispatch.silent)
		return;
	d->dispatch.silent = n;
	sched_set_limit(d->sched, d->config->max_concurrent + n);
	pool_set_max(d->pool, d->config->max_concurrent + n);
}

void dispatch_tick(struct daemon *d)
{
	make_up_for_silent(d);
	if (d->stopping && !d->stop_forced && d->steady_ms >= d->stop_by_ms) {
		d->stop_forced = true;
		if (d->dispatch.running != NULL)
			log_notice("the time to finish is over: interrupting %u running job%s",
			           HASH_COUNT(d->dispatch.running),
			           HASH_COUNT(d->dispatch.running) == 1 ? "" : "s");
		interrupt_all(d);
	}
	wake_overdue(d);
	pool_set_spare(d->pool, d->dispatch.running == NULL ? 0 : standby_room(d));
	standby_start_some(d);
	result_move_again(d);
}

uint64_t dispatch_next(const struct daemon *d)
{
	const struct heap_node *node = heap_first(&d->dispatch.unmoved_due);
	uint64_t next = node == NULL ? UINT64_MAX : node->key;
	if (d->stopping && !d->stop_forced)
		next = due_min(next, d->stop_by_ms);
	for (const struct running *r = d->dispatch.running; r != NULL; r = r->hh.next)
		next = due_min(next, r->overdue_ms);
	uint64_t backoff = sched_next_ms(d->sched);
	if (backoff != UINT64_MAX && !d->unmounted) {
		uint64_t wait = backoff > d->wall_ms ? backoff - d->wall_ms : 0;
		/* A backoff that is over waits for a worker, not for time. */
		if (wait > 0)
			next = due_min(next, d->steady_ms + due_min(wait, 60000));
	}
	return next;
}

void dispatch_clear(struct daemon *d)
{
	struct running *r, *tmp;
	standby_clear(d);
	HASH_ITER(hh, d->dispatch.running, r, tmp) {
		HASH_DEL(d->dispatch.running, r);
		running_free(r);
	}
	struct unmoved *m, *next;
	HASH_ITER(hh, d->dispatch.unmoved, m, next) {
		HASH_DEL(d->dispatch.unmoved, m);
		free(m);
	}
	heap_clear(&d->dispatch.unmoved_due);
}
