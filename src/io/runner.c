#include "io/runner_private.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
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

void runner_enter(struct runner *r, enum phase phase)
{
	r->phase = phase;
	r->phase_ms = clock_steady_ms();
}

static uint64_t next_due(const struct runner *r)
{
	uint64_t now = clock_steady_ms();
	uint64_t due = NEVER;
	switch (r->phase) {
	case PHASE_RUNNING:
		due = runner_later(now, REAP_EVERY_MS);
		if (r->timeout_ms > 0 && runner_later(r->began_ms, r->timeout_ms) < due)
			due = runner_later(r->began_ms, r->timeout_ms);
		if (r->exited)
			due = now;
		break;
	case PHASE_ENDING:
		due = runner_later(r->phase_ms, r->kill_grace_ms);
		if (r->exited && runner_later(now, LINGER_MS) < due)
			due = runner_later(now, LINGER_MS);
		break;
	case PHASE_KILLING:
		return runner_later(now, now - r->phase_ms < KILL_PATIENCE_MS ? KILL_MS : KILL_SLOW_MS);
	case PHASE_ENDED:
		return now;
	}
	return r->report.news && r->report_due_ms < due ? r->report_due_ms : due;
}

static void arm(struct runner *r)
{
	uint64_t due = next_due(r);
	/* 0 would disarm it. */
	struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due / 1000),
	                                     .tv_nsec = (long)(due % 1000) * 1000000 + 1}};
	if (due == NEVER)
		at = (struct itimerspec){0};
	timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static int watch(struct runner *r, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	return epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void advance(struct runner *r)
{
	uint64_t now = clock_steady_ms();
	if (r->phase == PHASE_RUNNING && r->exited)
		runner_enter(r, PHASE_KILLING);
	else if (r->phase == PHASE_RUNNING && r->timeout_ms > 0 &&
	         now >= runner_later(r->began_ms, r->timeout_ms))
		runner_begin_ending(r, OUTCOME_TIMED_OUT);
	if (r->phase == PHASE_ENDING && (r->alone || now >= runner_later(r->phase_ms, r->kill_grace_ms)))
		runner_enter(r, PHASE_KILLING);
	if (r->phase == PHASE_KILLING && !r->alone)
		runner_kill_more(r);
	if (r->phase == PHASE_KILLING && r->alone)
		runner_finish(r);
}

int runner_step(struct runner *r, struct runner_event *ret)
{
	uint64_t ticks;
	if (read(r->timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	runner_read_pipe(r, &r->output, SIZE_MAX);
	runner_read_pipe(r, &r->report_fd, SIZE_MAX);
	if (r->phase != PHASE_ENDED) {
		runner_reap(r);
		if (r->exited)
			r->pidfd = fd_close(r->pidfd);
		advance(r);
	}
	*ret = (struct runner_event){.ended = r->phase == PHASE_ENDED};
	uint64_t now = clock_steady_ms();
	if (r->report.news && (ret->ended || now >= r->report_due_ms)) {
		ret->progress = true;
		r->report.news = false;
		r->report_due_ms = runner_later(now, REPORT_EVERY_MS);
	}
	ret->report = r->report.now;
	ret->result = r->result;
	arm(r);
	return 0;
}

void runner_cancel(struct runner *r, bool interrupt)
{
	if (r->phase == PHASE_ENDED)
		return;
	runner_reap(r);
	if (r->phase == PHASE_RUNNING && !r->exited)
		runner_begin_ending(r, interrupt ? OUTCOME_INTERRUPTED : OUTCOME_CANCELED);
	else if (r->reason != OUTCOME_NONE && !interrupt)
		r->reason = OUTCOME_CANCELED;
	arm(r);
}

int runner_fd(const struct runner *r)
{
	return r->epoll;
}

uint64_t runner_started_ms(const struct runner *r)
{
	return r->result.started_ms;
}

/* The attempt is over before it began. */
static void refuse(struct runner *r, int error, char *text)
{
	r->result.outcome = OUTCOME_FAILED;
	r->result.error = text != NULL ? text : runner_text("cannot be started: %s", strerror(-error));
	r->result.finished_ms = clock_wall_ms();
	runner_enter(r, PHASE_ENDED);
}

static int make_pipe(int *ret_read, int *ret_write)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	int r = fd_set_nonblock(ends[0], true);
	if (r < 0) {
		fd_close(ends[0]);
		fd_close(ends[1]);
		return r;
	}
	*ret_read = ends[0];
	*ret_write = ends[1];
	return 0;
}

static int watch_handler(struct runner *r)
{
	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	int e = r->pidfd < 0 ? -errno : watch(r, r->pidfd);
	if (e == 0)
		e = watch(r, r->output);
	return e < 0 ? e : watch(r, r->report_fd);
}

static void open_log(struct runner *r, const struct run_order *order, int job_dirfd)
{
	int e = runner_log_open(&r->log, job_dirfd, order);
	if (e < 0)
		log_warning("job %llu: its log cannot be opened, the handler's output is dropped: %s",
		            (unsigned long long)order->job, strerror(-e));
}

/* 0 also where the handler could not be started: *ret_error then says why. */
static int launch(struct runner *r, const struct run_order *order, int job_dirfd, char **ret_error)
{
	struct runner_account account = {0};
	struct spawn spawn = {.order = order, .account = &account, .job_dirfd = job_dirfd,
	                      .output = -1, .report = -1};
	char *error = NULL;
	int e = runner_account_find(order->run_as, &account, &error);
	if (e == 0)
		e = runner_account_prepare(&account, order, job_dirfd, &error);
	if (e == 0)
		e = make_pipe(&r->output, &spawn.output);
	if (e == 0)
		e = make_pipe(&r->report_fd, &spawn.report);
	if (e == 0) {
		open_log(r, order, job_dirfd);
		r->result.started_ms = clock_wall_ms();
		r->began_ms = clock_steady_ms();
		e = runner_spawn(&spawn, &r->pid, &error);
	}
	if (e < 0)
		r->result.started_ms = 0;
	fd_close(spawn.output);
	fd_close(spawn.report);
	runner_account_clear(&account);
	*ret_error = error;
	return e;
}

int runner_start(const struct run_order *order, int job_dirfd, struct runner **ret)
{
	char *error = NULL;
	struct runner *r = calloc(1, sizeof *r);
	if (r == NULL)
		return -ENOMEM;
	r->pidfd = r->output = r->report_fd = r->log.fd = -1;
	r->job_dirfd = job_dirfd;
	r->timeout_ms = order->timeout_ms;
	r->kill_grace_ms = order->kill_grace_ms;
	r->limits = order->limits;
	r->report.now = (struct run_progress){.job = order->job, .progress = -1, .records = RECORDS_NONE};
	r->result = (struct run_result){.job = order->job, .attempt = order->attempt,
	                                .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE};
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int e = r->epoll < 0 || r->timer < 0 ? -errno : watch(r, r->timer);
	if (e == 0 && order->sync && (r->sync_name = strdup(order->name)) == NULL)
		e = -ENOMEM;
	if (e < 0)
		goto fail;
	e = launch(r, order, job_dirfd, &error);
	if (e == -ENOMEM || e == -EMFILE || e == -ENFILE) {
		free(error);
		goto fail;
	}
	if (e < 0)
		refuse(r, e, error);
	else if ((e = watch_handler(r)) < 0)
		goto fail;
	arm(r);
	*ret = r;
	return 0;
fail:
	runner_free(r);
	return e;
}

void runner_free(struct runner *r)
{
	if (r == NULL)
		return;
	if (r->pid > 0 && r->phase != PHASE_ENDED)
		runner_end_hard(r);
	runner_log_close(&r->log);
	fd_close(r->output);
	fd_close(r->report_fd);
	fd_close(r->pidfd);
	fd_close(r->timer);
	fd_close(r->epoll);
	free(r->sync_name);
	free(r->report.now.message);
	run_result_clear(&r->result);
	free(r);
}
