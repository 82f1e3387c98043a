#include "spool-worker/worker.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/message.h"
#include "core/name.h"
#include "io/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	LOOK_EVERY_MS = 1000,       /* for NAME_CANCEL, without a daemon */
	SEND_EVERY_MS = 50,         /* tries to send what the kernel refused */
	LEAVE_EVERY_MS = 1000,      /* tries to leave the result */
	LEAVE_PATIENCE_MS = 60000,
};

/* What waits to be sent, in this order; only the last progress counts. */
enum slot { SLOT_STARTED, SLOT_PROGRESS, SLOT_RESULT, SLOTS };

struct packet {
	char *data;
	size_t size;
};

struct worker {
	int sock;              /* -1: the daemon is gone */
	int signals;
	bool quit;             /* no more jobs */
	bool told;             /* the result is made, its ACK not here yet */
	struct runner *runner;
	uint64_t job;          /* 0: idle */
	struct run_order order;
	int lock, jobdir;
	bool running;          /* the attempt has not ended */
	bool started;          /* its start was told */
	struct run_result result;
	struct packet out[SLOTS];
};

static void drop_packet(struct packet *packet)
{
	free(packet->data);
	*packet = (struct packet){0};
}

/* All of our messages fit: texts are cut where they are made. */
static void queue(struct worker *w, enum slot slot, const struct message *message)
{
	struct packet packet = {0};
	int r = message_encode(message, &packet.data, &packet.size);
	if (r < 0) {
		log_error("job %" PRIu64 ": a message to the daemon is lost: %s", w->job, strerror(-r));
		return;
	}
	drop_packet(&w->out[slot]);
	w->out[slot] = packet;
}

static void lose_daemon(struct worker *w)
{
	w->sock = fd_close(w->sock);
	w->quit = true;
}

/* Where the daemon is gone, its last words are still to be read: the end of
 * file after them tells us. */
static void flush(struct worker *w)
{
	for (enum slot s = 0; s < SLOTS && w->sock >= 0; s++) {
		if (w->out[s].data == NULL)
			continue;
		int r = fd_send(w->sock, w->out[s].data, w->out[s].size, NULL, 0);
		if (r == -EAGAIN)
			return;
		if (r < 0 && r != -EPIPE && r != -ECONNRESET) {
			/* The kernel has no memory for it: no reason to lose a result. */
			clock_pause_ms(SEND_EVERY_MS);
			return;
		}
		drop_packet(&w->out[s]);
	}
}

static bool wants_to_send(const struct worker *w)
{
	for (enum slot s = 0; s < SLOTS; s++)
		if (w->out[s].data != NULL)
			return true;
	return false;
}

/* The lock last: whoever gets it finds the job as we leave it. */
static void forget_job(struct worker *w)
{
	run_order_clear(&w->order);
	run_result_clear(&w->result);
	for (enum slot s = 0; s < SLOTS; s++)
		drop_packet(&w->out[s]);
	w->told = w->started = false;
	w->job = 0;
	w->jobdir = fd_close(w->jobdir);
	w->lock = fd_close(w->lock);
}

static void tell_started(struct worker *w)
{
	struct message m = {.type = MESSAGE_STARTED, .job = w->job,
	                    .started_ms = runner_started_ms(w->runner)};
	if (w->started || m.started_ms == 0)
		return;
	queue(w, SLOT_STARTED, &m);
	w->started = true;
}

static void tell_progress(struct worker *w, const struct run_progress *progress)
{
	struct message m = {.type = MESSAGE_PROGRESS, .progress = *progress};
	queue(w, SLOT_PROGRESS, &m);
}

static void tell_result(struct worker *w, const struct run_result *result)
{
	w->result = *result;
	w->result.error = result->error == NULL ? NULL : strdup(result->error);
	w->result.message = result->message == NULL ? NULL : strdup(result->message);
	struct message m = {.type = MESSAGE_RESULT, .result = w->result};
	queue(w, SLOT_RESULT, &m);
	w->told = true;
	w->running = false;
}

/* Something is wrong with us, not with the handler; the retry comes later,
 * when there may be memory and descriptors again. */
static void tell_trouble(struct worker *w, int error)
{
	struct run_result result = {.job = w->job, .attempt = w->order.attempt, .outcome = OUTCOME_FAILED,
	                            .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE,
	                            .finished_ms = clock_wall_ms()};
	char text[200];
	snprintf(text, sizeof text, "the worker cannot run a handler: %s", strerror(-error));
	result.error = text;
	tell_result(w, &result);
}

static void step(struct worker *w)
{
	struct runner_event event;
	int r = runner_step(w->runner, &event);
	if (!w->running)
		return;
	if (r < 0) {
		tell_trouble(w, r);
		return;
	}
	tell_started(w);
	if (event.progress)
		tell_progress(w, &event.report);
	if (event.ended)
		tell_result(w, &event.result);
}

/* The handler may have made anything under our names. */
static void clear_name(int jobdir, const char *name)
{
	char aside[64];
	if (unlinkat(jobdir, name, 0) == 0 || errno != EISDIR ||
	    unlinkat(jobdir, name, AT_REMOVEDIR) == 0)
		return;
	snprintf(aside, sizeof aside, "%s.%" PRIu64, name, clock_steady_ms());
	renameat(jobdir, name, jobdir, aside);
}

/* A result or a cancel of an earlier attempt would be taken for this one's. */
static void clear_names(int jobdir)
{
	static const char *const names[] = {NAME_RESULT, NAME_RESULT ".new", NAME_CANCEL};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		clear_name(jobdir, names[i]);
}

/* Takes the order over. */
static void run(struct worker *w, struct run_order *order, int lock, int jobdir)
{
	w->order = *order;
	*order = (struct run_order){0};
	w->job = w->order.job;
	w->lock = lock;
	w->jobdir = jobdir;
	if (!w->order.fresh) {
		fd_permit(jobdir);
		clear_names(jobdir);
	}
	w->running = true;
	int r = runner_start(w->runner, &w->order, jobdir);
	if (r < 0)
		tell_trouble(w, r);
	else
		tell_started(w);
}

/* False where the daemon says what no daemon of ours would say. */
static bool obey(struct worker *w, struct message *m, int *fds)
{
	switch (m->type) {
	case MESSAGE_RUN:
		if (w->job != 0 || fds[0] < 0 || fds[1] < 0)
			return false;
		run(w, &m->order, fds[0], fds[1]);
		fds[0] = fds[1] = -1;
		return true;
	case MESSAGE_CANCEL:
		if (w->job == m->job && w->running)
			runner_cancel(w->runner, m->interrupt);
		return true;
	case MESSAGE_ACK:
		if (w->told && w->job == m->job)
			forget_job(w);
		return true;
	case MESSAGE_QUIT:
		w->quit = true;
		return true;
	default:
		return false;
	}
}

static void listen_once(struct worker *w, char *buffer)
{
	struct message message = {0};
	int fds[FD_PASS_MAX];
	size_t size;
	int r = fd_recv(w->sock, buffer, MESSAGE_MAX, &size, fds);
	/* The daemon left without reading all we said; what it said is still there. */
	if (r == -ECONNRESET)
		r = fd_recv(w->sock, buffer, MESSAGE_MAX, &size, fds);
	if (r == -EAGAIN)
		return;
	if (r < 0 || size == 0) {
		lose_daemon(w);
		return;
	}
	r = message_decode(buffer, size, &message);
	if (r < 0 || !obey(w, &message, fds)) {
		log_error("spool-worker got a message it does not understand; it takes no more jobs");
		lose_daemon(w);
	}
	message_clear(&message);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(fds[i]);
}

static void look_for_cancel(struct worker *w)
{
	if (w->sock < 0 && w->running &&
	    faccessat(w->jobdir, NAME_CANCEL, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		runner_cancel(w->runner, false);
}

static void take_signal(struct worker *w)
{
	struct signalfd_siginfo info;
	if (read(w->signals, &info, sizeof info) != (ssize_t)sizeof info)
		return;
	w->quit = true;
	if (w->running)
		runner_cancel(w->runner, true);
}

static int write_result(struct worker *w)
{
	char *data;
	size_t size;
	int r = run_result_encode(&w->result, &data, &size);
	if (r < 0)
		return r;
	/* The handler may have closed it to its account, which may be ours. */
	fd_permit(w->jobdir);
	clear_names(w->jobdir);
	r = fd_write_file(w->jobdir, NAME_RESULT, data, size, 0600);
	free(data);
	return r;
}

/* A stream handler that waits for its next job. Told to stop, we do not wait
 * for it: runner_free() ends it. */
static void end_handler(struct worker *w)
{
	struct runner_event event;
	runner_dismiss(w->runner);
	while (!runner_is_empty(w->runner)) {
		struct pollfd fds[] = {
			{.fd = runner_fd(w->runner), .events = POLLIN},
			{.fd = w->signals, .events = POLLIN},
		};
		if (poll(fds, sizeof fds / sizeof *fds, -1) < 0)
			continue;
		if (fds[1].revents != 0)
			return;
		runner_step(w->runner, &event);
	}
}

/* For the next daemon, which gets the lock when nothing runs here any more. */
static int leave_result(struct worker *w)
{
	uint64_t give_up_ms = clock_steady_ms() + LEAVE_PATIENCE_MS;
	bool said = false;
	int r;
	/* -ENOENT: the directory was removed; nobody waits for the result. */
	while ((r = write_result(w)) < 0 && r != -ENOENT && clock_steady_ms() < give_up_ms) {
		if (!said)
			log_warning("job %" PRIu64 ": its result cannot be left in its directory, "
			            "trying again for a minute: %s", w->job, strerror(-r));
		said = true;
		clock_pause_ms(LEAVE_EVERY_MS);
	}
	if (r < 0)
		log_error("job %" PRIu64 ": its result is lost, the attempt will count as "
		          "interrupted: %s", w->job, strerror(-r));
	end_handler(w);
	forget_job(w);
	return r < 0 ? 1 : 0;
}

static void wait_and_serve(struct worker *w, char *buffer)
{
	struct pollfd fds[] = {
		{.fd = w->sock, .events = (short)(POLLIN | (wants_to_send(w) ? POLLOUT : 0))},
		{.fd = runner_fd(w->runner), .events = POLLIN},
		{.fd = w->signals, .events = POLLIN},
	};
	int timeout_ms = w->sock < 0 && w->running ? LOOK_EVERY_MS : -1;
	if (poll(fds, sizeof fds / sizeof *fds, timeout_ms) < 0)
		return;
	if (fds[2].revents != 0)
		take_signal(w);
	if (fds[1].revents != 0)
		step(w);
	if (w->sock >= 0 && (fds[0].revents & ~POLLOUT) != 0)
		listen_once(w, buffer);
	look_for_cancel(w);
	flush(w);
}

static void refuse(const struct worker *w, const struct run_order *order)
{
	char text[] = "its worker was told to stop before it could begin";
	struct message answer = {
		.type = MESSAGE_RESULT,
		.result = {.job = order->job, .attempt = order->attempt, .outcome = OUTCOME_INTERRUPTED,
		           .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE,
		           .finished_ms = clock_wall_ms(), .error = text},
	};
	char *data;
	size_t size;
	if (message_encode(&answer, &data, &size) < 0)
		return;
	fd_send(w->sock, data, size, NULL, 0);
	free(data);
}

/* A job that comes while we leave was never begun. Nothing more can be sent to
 * us first: the daemon notices, and takes another worker. */
static void leave(const struct worker *w, char *buffer)
{
	struct message message = {0};
	int fds[FD_PASS_MAX];
	size_t size;
	if (w->sock < 0 || shutdown(w->sock, SHUT_RD) < 0)
		return;
	while (fd_recv(w->sock, buffer, MESSAGE_MAX, &size, fds) == 0 && size > 0) {
		for (size_t i = 0; i < FD_PASS_MAX; i++)
			fd_close(fds[i]);
		if (message_decode(buffer, size, &message) < 0)
			continue;
		if (message.type == MESSAGE_RUN)
			refuse(w, &message.order);
		message_clear(&message);
		message = (struct message){0};
	}
}

int worker_serve(int sock)
{
	struct worker w = {.sock = sock, .signals = -1, .lock = -1, .jobdir = -1};
	int status = 0, r;
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	char *buffer = malloc(MESSAGE_MAX);
	w.signals = signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
	r = buffer == NULL ? -ENOMEM : w.signals < 0 ? -errno : runner_new(&w.runner);
	if (r < 0) {
		log_error("spool-worker cannot set itself up: %s", strerror(-r));
		status = 1;
		goto out;
	}
	while (!(w.quit && w.job == 0)) {
		wait_and_serve(&w, buffer);
		if (w.sock < 0 && w.told)
			status = leave_result(&w);
	}
	leave(&w, buffer);
	end_handler(&w);
out:
	runner_free(w.runner);
	fd_close(w.signals);
	fd_close(w.sock);
	free(buffer);
	return status;
}
