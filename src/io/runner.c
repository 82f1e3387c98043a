#include "io/runner_private.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
	EVENTS = 8,
	REPORT_EVERY_MS = 100,
	REAP_EVERY_MS = 5000, /* orphans that end by themselves while the handler runs */
	LINGER_MS = 20,       /* between two looks at a tree that is ending */
	KILL_MS = 5,
	KILL_SLOW_MS = 500,
	KILL_PATIENCE_MS = 5000,
};

uint64_t runner_later(uint64_t from, uint64_t by)
{
	return by > NEVER - from ? NEVER : from + by;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void runner_enter(struct runner *r, enum phase phase)
{
	r->phase = phase;
	r->phase_ms = clock_steady_ms();
}

bool runner_attempt_runs(const struct runner *r)
{
	return r->attempt == ATTEMPT_RUNNING;
}

static uint64_t timeout_due(const struct runner *r)
{
	return runner_attempt_runs(r) && r->timeout_ms > 0 ? runner_later(r->began_ms, r->timeout_ms)
	                                                   : NEVER;
}

static uint64_t next_due(const struct runner *r)
{
	uint64_t now = clock_steady_ms();
	uint64_t due = NEVER;
	if (r->attempt == ATTEMPT_ENDED && !r->told)
		return now;
	switch (r->phase) {
	case PHASE_NONE:
		break;
	case PHASE_RUNNING:
		if (r->exited)
			return now;
		due = sooner(timeout_due(r), runner_stream_due(r));
		if (runner_attempt_runs(r))
			due = sooner(due, runner_later(now, REAP_EVERY_MS));
		break;
	case PHASE_LEAVING:
	case PHASE_ENDING:
		due = runner_later(r->phase_ms, r->kill_grace_ms);
		if (r->exited)
			due = sooner(due, runner_later(now, LINGER_MS));
		break;
	case PHASE_KILLING:
		return runner_later(now, now - r->phase_ms < KILL_PATIENCE_MS ? KILL_MS : KILL_SLOW_MS);
	}
	return r->report.news ? sooner(r->report_due_ms, due) : due;
}

/* A timer that fires too early costs one look, which is less than to set it
 * each time. */
static void arm(struct runner *r)
{
	uint64_t due = next_due(r);
	if (r->armed_ms <= due)
		return;
	/* 0 would disarm it. */
	struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due / 1000),
	                                     .tv_nsec = (long)(due % 1000) * 1000000 + 1}};
	timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &at, NULL);
	r->armed_ms = due;
}

/* The attempt is over before it began: `unready`, there was none. */
static void refuse(struct runner *r, int error, bool unready, char *text)
{
	r->result.outcome = unready ? OUTCOME_INTERRUPTED : OUTCOME_FAILED;
	r->result.unready = unready;
	r->result.error = text != NULL ? text : runner_text("cannot be started: %s", strerror(-error));
	r->result.started_ms = 0;
	r->result.finished_ms = clock_wall_ms();
	runner_log_close(&r->log);
	r->attempt = ATTEMPT_ENDED;
}

static void open_log(struct runner *r)
{
	int e = runner_log_open(&r->log, r->job_dirfd, r->order);
	if (e < 0)
		log_warning("job %llu: its log cannot be opened, the handler's output is dropped: %s",
		            (unsigned long long)r->order->job, strerror(-e));
}

static int prepare(struct runner *r, struct runner_account *account, bool *ret_unready,
                   char **ret_error)
{
	int e = runner_account_prepare(account, r->order, r->job_dirfd, ret_error);
	if (e < 0)
		return e;
	open_log(r);
	r->result.started_ms = clock_wall_ms();
	r->began_ms = clock_steady_ms();
	if (r->phase == PHASE_NONE)
		e = runner_launch(r, account, ret_unready, ret_error);
	if (e < 0)
		return e;
	r->attempt = ATTEMPT_RUNNING;
	return r->order->stream ? runner_stream_send(r) : 0;
}

/* The handler is there and fits, or there is none. 0 also where it cannot be
 * started: then the attempt has ended. */
static int begin(struct runner *r)
{
	char *error = NULL;
	const char *run_as = r->order->run_as;
	bool as_we_do = run_as == NULL || run_as[0] == '\0';
	struct runner_account account = {0};
	int e = as_we_do ? 0 : runner_account_find(run_as, &account, &error);
	bool unready = e < 0;
	if (e == 0)
		e = prepare(r, as_we_do ? &r->own : &account, &unready, &error);
	runner_account_clear(&account);
	if (e == -ENOMEM || e == -EMFILE || e == -ENFILE) {
		free(error);
		runner_log_close(&r->log);
		r->attempt = ATTEMPT_NONE;
		return e;
	}
	if (e < 0)
		refuse(r, e, unready, error);
	return 0;
}

static void clear_attempt(struct runner *r)
{
	runner_log_close(&r->log);
	free(r->report.now.message);
	run_result_clear(&r->result);
	r->attempt = ATTEMPT_NONE;
	r->told = false;
	r->reason = OUTCOME_NONE;
	r->left_behind = 0;
	r->report_due_ms = 0;
	r->last_line.line_n = r->last_line.pending_n = 0;
	r->report.used = 0;
	r->report.too_long = r->report.complained = r->report.news = false;
	r->report.now = (struct run_progress){.progress = -1, .records = RECORDS_NONE};
}

int runner_start(struct runner *r, const struct run_order *order, int job_dirfd)
{
	clear_attempt(r);
	r->order = order;
	r->job_dirfd = job_dirfd;
	r->timeout_ms = order->timeout_ms;
	r->kill_grace_ms = order->kill_grace_ms;
	r->limits = order->limits;
	r->report.now.job = order->job;
	r->result = (struct run_result){.job = order->job, .attempt = order->attempt,
	                                .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE};
	int e = 0;
	if (r->phase == PHASE_NONE || runner_stream_fits(r, order)) {
		e = begin(r);
	} else {
		runner_stream_leave(r);
		r->attempt = ATTEMPT_WAITING;
	}
	arm(r);
	return e;
}

/* Nothing is left of the handler; the attempt it had, if any, ends with it. */
static void bury(struct runner *r)
{
	/* Its answer may still be in the pipe. */
	if (r->stream.handler != NULL)
		runner_drain_pipe(r, &r->report_fd);
	bool again = runner_stream_unread(r);
	if (runner_attempt_runs(r) && !again)
		runner_finish(r);
	runner_process_clear(r);
	if (!again)
		return;
	/* It left before it knew of the attempt: that is for the next one. */
	runner_log_close(&r->log);
	r->attempt = ATTEMPT_WAITING;
}

static void advance(struct runner *r)
{
	uint64_t now = clock_steady_ms();
	if ((r->phase == PHASE_RUNNING || r->phase == PHASE_LEAVING) && r->exited)
		runner_enter(r, PHASE_KILLING);
	else if (r->phase == PHASE_RUNNING && now >= timeout_due(r))
		runner_begin_ending(r, OUTCOME_TIMED_OUT);
	else if (r->phase == PHASE_RUNNING && now >= runner_stream_due(r))
		runner_stream_advance(r, now);
	if ((r->phase == PHASE_ENDING && r->alone) ||
	    ((r->phase == PHASE_ENDING || r->phase == PHASE_LEAVING) &&
	     now >= runner_later(r->phase_ms, r->kill_grace_ms)))
		runner_enter(r, PHASE_KILLING);
	if (r->phase == PHASE_KILLING && !r->alone)
		runner_kill_more(r);
	if (r->phase == PHASE_KILLING && r->alone)
		bury(r);
}

static void take_timer(struct runner *r)
{
	uint64_t ticks;
	if (read(r->timer, &ticks, sizeof ticks) > 0)
		r->armed_ms = NEVER;
}

static void take_reports(struct runner *r)
{
	runner_read_pipe(r, &r->report_fd, SIZE_MAX);
	if (r->report_fd < 0 && r->stream.handler != NULL)
		runner_stream_silent(r);
}

/* What there is to read. Returns whether the processes are to be looked at. */
static bool take_events(struct runner *r)
{
	struct epoll_event events[EVENTS];
	bool look = r->phase != PHASE_RUNNING;
	int n = epoll_wait(r->epoll, events, EVENTS, 0);
	for (int i = 0; i < n; i++) {
		int fd = events[i].data.fd;
		if (fd == r->timer || fd == r->pidfd)
			look = true;
		if (fd == r->timer)
			take_timer(r);
		else if (r->launcher.ready.pid != 0 && fd == r->launcher.ready.pidfd)
			runner_lose_ready(r);
		else if (fd == r->output && r->stream.handler != NULL && !runner_attempt_runs(r))
			runner_stream_mute(r, true);
		else if (fd == r->output)
			runner_read_pipe(r, &r->output, SIZE_MAX);
		else if (fd == r->report_fd)
			take_reports(r);
		else if (fd == r->input && (events[i].events & EPOLLERR) != 0)
			runner_stream_deaf(r);
		else if (fd == r->input)
			runner_stream_send_more(r);
	}
	return look;
}

static void tell(struct runner *r, struct runner_event *ret)
{
	uint64_t now = clock_steady_ms();
	*ret = (struct runner_event){.ended = r->attempt == ATTEMPT_ENDED};
	if (r->report.news && (ret->ended || now >= r->report_due_ms)) {
		ret->progress = true;
		r->report.news = false;
		r->report_due_ms = runner_later(now, REPORT_EVERY_MS);
	}
	ret->report = r->report.now;
	ret->result = r->result;
	r->told = r->told || ret->ended;
}

int runner_step(struct runner *r, struct runner_event *ret)
{
	int e = 0;
	if (take_events(r) && r->phase != PHASE_NONE) {
		runner_reap(r);
		if (r->exited)
			r->pidfd = fd_close(r->pidfd);
		advance(r);
	}
	if (r->phase == PHASE_NONE && r->attempt == ATTEMPT_WAITING)
		e = begin(r);
	tell(r, ret);
	arm(r);
	return e;
}

void runner_cancel(struct runner *r, bool interrupt)
{
	enum outcome reason = interrupt ? OUTCOME_INTERRUPTED : OUTCOME_CANCELED;
	if (r->attempt == ATTEMPT_WAITING) {
		r->reason = reason;
		runner_finish(r);
	} else if (runner_attempt_runs(r)) {
		runner_reap(r);
		if (r->phase == PHASE_RUNNING && !r->exited)
			runner_begin_ending(r, reason);
		else if (r->reason != OUTCOME_NONE && !interrupt)
			r->reason = OUTCOME_CANCELED;
	}
	arm(r);
}

void runner_dismiss(struct runner *r)
{
	if (!runner_attempt_runs(r))
		runner_stream_leave(r);
	arm(r);
}

bool runner_is_empty(const struct runner *r)
{
	return r->phase == PHASE_NONE;
}

int runner_fd(const struct runner *r)
{
	return r->epoll;
}

uint64_t runner_started_ms(const struct runner *r)
{
	return r->result.started_ms;
}

int runner_new(struct runner **ret)
{
	char *error = NULL;
	struct runner *r = calloc(1, sizeof *r);
	if (r == NULL)
		return -ENOMEM;
	r->spare.output = r->spare.errors = r->spare.report_fd = r->spare.report = -1;
	r->launcher.ready.orders = r->launcher.ready.order = -1;
	r->timer = r->launcher.null_fd = r->input = r->pidfd = r->output = r->report_fd = r->log.fd = -1;
	r->armed_ms = NEVER;
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	int e = r->epoll < 0 ? -errno : 0;
	if (e == 0) {
		r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		e = r->timer < 0 ? -errno : runner_watch(r, r->timer, EPOLLIN);
	}
	if (e == 0)
		e = runner_launcher_init(&r->launcher);
	if (e == 0)
		e = runner_account_find(NULL, &r->own, &error);
	if (e < 0) {
		free(error);
		runner_free(r);
		return e;
	}
	clear_attempt(r);
	*ret = r;
	return 0;
}

void runner_give_way(struct runner *r)
{
	runner_launcher_give_way(&r->launcher);
}

void runner_free(struct runner *r)
{
	if (r == NULL)
		return;
	if (r->phase != PHASE_NONE)
		runner_end_hard(r);
	runner_process_clear(r);
	runner_spare_clear(r);
	clear_attempt(r);
	runner_account_clear(&r->own);
	runner_launcher_clear(&r->launcher);
	fd_close(r->timer);
	fd_close(r->epoll);
	free(r);
}
