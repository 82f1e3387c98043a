/* The process of a handler: its start, its descriptors (made before there is an order, where
 * there is time), what is forgotten when it is gone. How it ends is in runner_end.c. */
#include "io/runner_private.h"

#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

int runner_watch(struct runner *r, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	return epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void clear_spare(struct spare_pipes *p)
{
	p->output = fd_close(p->output);
	p->errors = fd_close(p->errors);
	p->report_fd = fd_close(p->report_fd);
	p->report = fd_close(p->report);
}

static int make_spare(struct runner *r)
{
	struct spare_pipes *p = &r->spare;
	int e = runner_pipe_read_end(&p->output, &p->errors);
	if (e == 0)
		e = runner_pipe_read_end(&p->report_fd, &p->report);
	if (e == 0)
		e = runner_watch(r, p->output, EPOLLIN);
	if (e == 0)
		e = runner_watch(r, p->report_fd, EPOLLIN);
	if (e < 0)
		clear_spare(p);
	return e;
}

static int get_ready(struct runner *r)
{
	struct ready *ready = &r->launcher.ready;
	int e = runner_launcher_get_ready(&r->launcher);
	if (e == 0)
		e = runner_watch(r, ready->pidfd, EPOLLIN);
	if (e < 0)
		runner_ready_clear(ready);
	return e;
}

/* Whatever ended it may end the next one, too: that is made with the order. */
void runner_lose_ready(struct runner *r)
{
	runner_ready_clear(&r->launcher.ready);
	r->spare.wanted = false;
}

bool runner_prepare(struct runner *r, bool calm)
{
	if (r->phase != PHASE_NONE || !r->spare.wanted)
		return false;
	/* What there is too little of now may be there when it is needed. */
	if (r->spare.output < 0)
		(void)make_spare(r);
	if (calm && r->launcher.ready.pid == 0 && get_ready(r) < 0)
		r->spare.wanted = false;
	return r->spare.wanted && r->launcher.ready.pid == 0;
}

void runner_spare_clear(struct runner *r)
{
	clear_spare(&r->spare);
	r->spare.wanted = false;
}

static int open_pipes(struct runner *r, struct spawn *spawn)
{
	struct spare_pipes *p = &r->spare;
	int e = p->output >= 0 ? 0 : make_spare(r);
	if (e < 0)
		return e;
	r->output = p->output;
	r->report_fd = p->report_fd;
	spawn->errors = p->errors;
	spawn->report = p->report;
	p->output = p->errors = p->report_fd = p->report = -1;
	p->wanted = true;
	return 0;
}

static int open_stream_pipes(struct runner *r, struct spawn *spawn)
{
	runner_spare_clear(r);
	int e = runner_pipe_read_end(&r->output, &spawn->errors);
	if (e == 0)
		e = runner_pipe_read_end(&r->report_fd, &spawn->output);
	if (e == 0)
		e = runner_pipe_write_end(&spawn->input, &r->input);
	if (e == 0)
		e = runner_watch(r, r->output, EPOLLIN);
	if (e == 0)
		e = runner_watch(r, r->report_fd, EPOLLIN);
	/* Only its errors, see runner_stream_deaf(). */
	return e == 0 ? runner_watch(r, r->input, 0) : e;
}

int runner_launch(struct runner *r, const struct runner_account *account, bool *ret_unready,
                  char **ret_error)
{
	struct spawned spawned = {.pidfd = -1};
	struct spawn spawn = {.launcher = &r->launcher, .order = r->order, .account = account,
	                      .job_dirfd = r->job_dirfd,
	                      .input = -1, .output = -1, .errors = -1, .report = -1};
	bool stream = r->order->stream;
	int e = stream ? open_stream_pipes(r, &spawn) : open_pipes(r, &spawn);
	if (e == 0 && stream)
		e = runner_stream_begin(r);
	*ret_unready = e < 0;
	if (e == 0) {
		e = runner_spawn(&spawn, &spawned);
		*ret_unready = spawned.unready;
		*ret_error = spawned.error;
	}
	fd_close(spawn.input);
	fd_close(spawn.output);
	fd_close(spawn.errors);
	fd_close(spawn.report);
	if (e == 0) {
		r->pid = spawned.pid;
		r->pidfd = spawned.pidfd;
		runner_enter(r, PHASE_RUNNING);
		e = spawned.watched ? 0 : runner_watch(r, r->pidfd, EPOLLIN);
	}
	/* It was there: an attempt, whatever it is short of. */
	if (e < 0 && r->phase != PHASE_NONE) {
		runner_end_hard(r);
		*ret_error = runner_text("was started, and ended since it cannot be watched: %s",
		                         strerror(-e));
		e = -EIO;
	}
	if (e < 0)
		runner_process_clear(r);
	return e;
}

void runner_process_clear(struct runner *r)
{
	runner_stream_end(r);
	r->input = fd_close(r->input);
	r->output = fd_close(r->output);
	r->report_fd = fd_close(r->report_fd);
	r->pidfd = fd_close(r->pidfd);
	r->pid = 0;
	r->status = 0;
	r->exited = r->alone = r->grumbled = false;
	r->left_behind = 0;
	r->phase = PHASE_NONE;
}
