#include "spool-worker/worker.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/message.h"
#include "core/name.h"
#include "io/runner.h"
#include "spool-worker/task.h"

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
#include <utlist.h>

enum {
	LOOK_EVERY_MS = 1000,       /* for NAME_CANCEL, without a daemon */
	SEND_EVERY_MS = 50,         /* tries to send what the kernel refused */
	LEAVE_EVERY_MS = 1000,      /* tries to leave the results */
	LEAVE_PATIENCE_MS = 60000,
	STARTED_AFTER_MS = 20,      /* the result of a shorter run tells of its start as well */
};

/* What waits to be sent before the results, in this order; only the last
 * progress counts. */
enum slot { SLOT_STARTED, SLOT_PROGRESS, SLOTS };

struct packet {
	char *data;
	size_t size;
};

struct worker {
	int sock;              /* -1: the daemon is gone */
	int signals;
	bool quit;             /* no more jobs */
	struct runner *runner;
	struct task *tasks;
	struct task *now;      /* its attempt has not ended; or NULL */
	uint64_t began_ms;     /* steady */
	uint64_t last_done;    /* the job that ended last, where it succeeded; or 0 */
	bool started;          /* the start of `now` was told */
	struct packet out[SLOTS];
	char *buffer;          /* MESSAGE_MAX */
};

static void drop_packet(struct packet *packet)
{
	free(packet->data);
	*packet = (struct packet){0};
}

static void drop_packets(struct worker *w)
{
	for (enum slot s = 0; s < SLOTS; s++)
		drop_packet(&w->out[s]);
}

/* All of our messages fit: texts are cut where they are made. */
static void queue(struct worker *w, enum slot slot, const struct message *message)
{
	struct packet packet = {0};
	int r = message_encode(message, &packet.data, &packet.size);
	if (r < 0) {
		log_error("a message to the daemon is lost: %s", strerror(-r));
		return;
	}
	drop_packet(&w->out[slot]);
	w->out[slot] = packet;
}

/* The first that waits for its turn. */
static struct task *next_task(const struct worker *w)
{
	struct task *t = w->tasks;
	while (t != NULL && (t->told || t->begun))
		t = t->next;
	return t;
}

static struct task *find_task(const struct worker *w, uint64_t job)
{
	struct task *t = w->tasks;
	while (t != NULL && t->order.job != job)
		t = t->next;
	return t;
}

static bool all_told(const struct worker *w)
{
	return w->now == NULL && next_task(w) == NULL;
}

static void forget_task(struct worker *w, struct task *t)
{
	DL_DELETE(w->tasks, t);
	task_free(t);
}

/* In their order. */
static void give_back(struct worker *w)
{
	struct task *t;
	while ((t = next_task(w)) != NULL)
		task_give_back(t, OUTCOME_INTERRUPTED, "it was given back before its turn");
}

static void lose_daemon(struct worker *w)
{
	w->sock = fd_close(w->sock);
	w->quit = true;
	give_back(w);
}

/* Sends and frees. False: not now. Where the daemon is gone, its last words are
 * still to be read: the end of file after them tells us. */
static bool flush_packet(const struct worker *w, char **data, size_t size)
{
	if (*data == NULL)
		return true;
	int r = fd_send(w->sock, *data, size, NULL, 0);
	if (r == -EAGAIN)
		return false;
	if (r < 0 && r != -EPIPE && r != -ECONNRESET) {
		/* The kernel has no memory for it: no reason to lose a result. */
		clock_pause_ms(SEND_EVERY_MS);
		return false;
	}
	free(*data);
	*data = NULL;
	return true;
}

static void flush(struct worker *w)
{
	if (w->sock < 0)
		return;
	for (enum slot s = 0; s < SLOTS; s++)
		if (!flush_packet(w, &w->out[s].data, w->out[s].size))
			return;
	for (struct task *t = w->tasks; t != NULL; t = t->next)
		if (!flush_packet(w, &t->packet, t->packet_n))
			return;
}

static bool wants_to_send(const struct worker *w)
{
	for (enum slot s = 0; s < SLOTS; s++)
		if (w->out[s].data != NULL)
			return true;
	for (const struct task *t = w->tasks; t != NULL; t = t->next)
		if (t->packet != NULL)
			return true;
	return false;
}

/* When the start of what runs is worth a message; steady. */
static uint64_t started_due(const struct worker *w)
{
	return w->now == NULL || w->started || w->sock < 0 ? UINT64_MAX
	                                                   : w->began_ms + STARTED_AFTER_MS;
}

static void tell_started(struct worker *w)
{
	if (clock_steady_ms() < started_due(w) || w->now == NULL)
		return;
	struct message m = {.type = MESSAGE_STARTED, .job = w->now->order.job,
	                    .started_ms = runner_started_ms(w->runner)};
	if (m.started_ms == 0) {
		w->began_ms = clock_steady_ms();
		return;
	}
	queue(w, SLOT_STARTED, &m);
	w->started = true;
}

static void tell_progress(struct worker *w, const struct run_progress *progress)
{
	struct message m = {.type = MESSAGE_PROGRESS, .progress = *progress};
	queue(w, SLOT_PROGRESS, &m);
}

/* Whatever is no success stops what comes after it. */
static void tell_result(struct worker *w, const struct run_result *result)
{
	bool done = result->outcome == OUTCOME_SUCCEEDED;
	task_settle(w->now, result);
	w->last_done = done ? w->now->order.job : 0;
	w->now = NULL;
	if (!done)
		give_back(w);
}

/* Something is wrong with us, not with the handler; the retry comes later,
 * when there may be memory and descriptors again. */
static void tell_trouble(struct worker *w, int error)
{
	struct run_result result = {.job = w->now->order.job, .attempt = w->now->order.attempt,
	                            .outcome = OUTCOME_FAILED, .exit_code = EXIT_CODE_NONE,
	                            .records = RECORDS_NONE, .finished_ms = clock_wall_ms()};
	char text[200];
	snprintf(text, sizeof text, "the worker cannot run a handler: %s", strerror(-error));
	result.error = text;
	tell_result(w, &result);
}

/* No handler sees it. */
static void tell_stale(struct worker *w)
{
	char text[] = "its directory was changed after it was accepted, or is still written";
	struct run_result result = {.job = w->now->order.job, .attempt = w->now->order.attempt,
	                            .outcome = OUTCOME_INTERRUPTED, .stale = true,
	                            .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE,
	                            .finished_ms = clock_wall_ms(), .error = text};
	tell_result(w, &result);
}

static void step(struct worker *w)
{
	struct runner_event event;
	int r = runner_step(w->runner, &event);
	if (w->now == NULL)
		return;
	if (r < 0) {
		tell_trouble(w, r);
		return;
	}
	if (event.progress) {
		/* After its start. */
		w->began_ms = 0;
		tell_progress(w, &event.report);
	}
	if (event.ended)
		tell_result(w, &event.result);
}

static void begin(struct worker *w, struct task *t)
{
	w->now = t;
	t->begun = true;
	w->started = false;
	w->began_ms = clock_steady_ms();
	task_clear_names(t);
	/* Not sealed before: one that is still being uploaded goes back as it is. */
	int r = task_compare(t);
	if (r == 0)
		r = runner_seal(&t->order, t->jobdir);
	if (r > 0)
		r = task_compare(t);
	if (r == -ESTALE) {
		tell_stale(w);
		return;
	}
	if (r == 0)
		r = runner_start(w->runner, &t->order, t->jobdir);
	if (r < 0)
		tell_trouble(w, r);
}

/* Is the job that has to succeed before the last one here that is not known to
 * have ended otherwise? */
static bool follows(const struct worker *w, uint64_t after)
{
	const struct task *last = w->now;
	for (const struct task *t = w->tasks; t != NULL; t = t->next)
		if (!t->told)
			last = t;
	return last == NULL ? w->last_done == after : last->order.job == after;
}

/* Takes the order over. False where no daemon of ours would give it. */
static bool take_order(struct worker *w, struct run_order *order, int *fds)
{
	bool ahead = order->after != 0;
	if (fds[0] < 0 || fds[1] < 0 || (!ahead && w->tasks != NULL))
		return false;
	bool refused = w->quit || (ahead && !follows(w, order->after));
	struct task *t = task_new(order, fds[0], fds[1]);
	if (t == NULL) {
		log_error("spool-worker is out of memory");
		return false;
	}
	fds[0] = fds[1] = -1;
	DL_APPEND(w->tasks, t);
	if (refused)
		task_give_back(t, OUTCOME_INTERRUPTED, "its worker could not begin it");
	return true;
}

static void cancel(struct worker *w, uint64_t job, bool interrupt)
{
	struct task *t = find_task(w, job);
	if (t == NULL || t->told)
		return;
	if (t == w->now)
		runner_cancel(w->runner, interrupt);
	else if (interrupt)
		give_back(w);
	else
		task_give_back(t, OUTCOME_CANCELED, "it was canceled before it began");
}

static void forget_acknowledged(struct worker *w, const uint64_t *jobs)
{
	for (; *jobs != 0; jobs++) {
		struct task *t = find_task(w, *jobs);
		if (t != NULL && t->told)
			forget_task(w, t);
	}
}

/* False where the daemon says what no daemon of ours would say. */
static bool obey(struct worker *w, struct message *m, int *fds)
{
	switch (m->type) {
	case MESSAGE_RUN:
		return take_order(w, &m->order, fds);
	case MESSAGE_CANCEL:
		cancel(w, m->job, m->interrupt);
		return true;
	case MESSAGE_RECALL:
		give_back(w);
		return true;
	case MESSAGE_ACK:
		forget_acknowledged(w, m->jobs);
		return true;
	case MESSAGE_QUIT:
		w->quit = true;
		give_back(w);
		return true;
	default:
		return false;
	}
}

/* One message. False where there is none now. */
static bool listen_once(struct worker *w)
{
	struct message message = {0};
	int fds[FD_PASS_MAX];
	size_t size;
	int r = fd_recv(w->sock, w->buffer, MESSAGE_MAX, &size, fds);
	/* The daemon left without reading all we said; what it said is still there. */
	if (r == -ECONNRESET)
		r = fd_recv(w->sock, w->buffer, MESSAGE_MAX, &size, fds);
	if (r == -EAGAIN)
		return false;
	if (r < 0 || size == 0) {
		lose_daemon(w);
		return false;
	}
	r = message_decode(w->buffer, size, &message);
	if (r < 0 || !obey(w, &message, fds)) {
		log_error("spool-worker got a message it does not understand; it takes no more jobs");
		lose_daemon(w);
	}
	message_clear(&message);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(fds[i]);
	return w->sock >= 0;
}

static bool may_begin(const struct worker *w)
{
	return w->sock >= 0 && w->now == NULL && !wants_to_send(w);
}

/* What the daemon said before counts, and it is told of all that ended before:
 * so, whatever becomes of us, it knows that nobody after the first one it has
 * no result of was begun. */
static struct task *ready_task(struct worker *w)
{
	struct task *t = NULL;
	do {
		flush(w);
		t = may_begin(w) ? next_task(w) : NULL;
	} while (t != NULL && listen_once(w));
	/* What was said last may have taken it back. */
	return t != NULL && w->sock >= 0 ? t : NULL;
}

static void look_for_cancel(struct worker *w)
{
	if (w->sock < 0 && w->now != NULL &&
	    faccessat(w->now->jobdir, NAME_CANCEL, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		runner_cancel(w->runner, false);
}

static void take_signal(struct worker *w)
{
	struct signalfd_siginfo info;
	if (read(w->signals, &info, sizeof info) != (ssize_t)sizeof info)
		return;
	w->quit = true;
	if (w->now != NULL)
		runner_cancel(w->runner, true);
	give_back(w);
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

static int leave_result(const struct task *t, uint64_t give_up_ms)
{
	uint64_t job = t->order.job;
	bool said = false;
	int r;
	/* -ENOENT: the directory was removed; nobody waits for the result. */
	while ((r = task_leave_result(t)) < 0 && r != -ENOENT && clock_steady_ms() < give_up_ms) {
		if (!said)
			log_warning("job %" PRIu64 ": its result cannot be left in its directory, "
			            "trying again for a minute: %s", job, strerror(-r));
		said = true;
		clock_pause_ms(LEAVE_EVERY_MS);
	}
	if (r < 0)
		log_error("job %" PRIu64 ": its result is lost, the attempt will count as "
		          "interrupted: %s", job, strerror(-r));
	return r;
}

/* For the next daemon, which gets the lock when nothing runs here any more. */
static int leave_results(struct worker *w)
{
	uint64_t give_up_ms = clock_steady_ms() + LEAVE_PATIENCE_MS;
	int status = 0;
	for (const struct task *t = w->tasks; t != NULL; t = t->next)
		if (leave_result(t, give_up_ms) < 0)
			status = 1;
	end_handler(w);
	while (w->tasks != NULL)
		forget_task(w, w->tasks);
	return status;
}

static int wait_ms(const struct worker *w)
{
	uint64_t due = started_due(w), now = clock_steady_ms();
	if (may_begin(w) && next_task(w) != NULL)
		return 0;
	if (due != UINT64_MAX)
		return due > now ? (int)(due - now) : 0;
	return w->sock < 0 && w->now != NULL ? LOOK_EVERY_MS : -1;
}

static void wait_and_serve(struct worker *w)
{
	struct pollfd fds[] = {
		{.fd = w->sock, .events = (short)(POLLIN | (wants_to_send(w) ? POLLOUT : 0))},
		{.fd = runner_fd(w->runner), .events = POLLIN},
		{.fd = w->signals, .events = POLLIN},
	};
	if (poll(fds, sizeof fds / sizeof *fds, wait_ms(w)) < 0)
		return;
	if (fds[2].revents != 0)
		take_signal(w);
	if (fds[1].revents != 0)
		step(w);
	tell_started(w);
	flush(w);
	if (w->sock >= 0 && (fds[0].revents & ~POLLOUT) != 0)
		listen_once(w);
	look_for_cancel(w);
	struct task *next = ready_task(w);
	if (next != NULL)
		begin(w, next);
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
static void leave(const struct worker *w)
{
	struct message message = {0};
	int fds[FD_PASS_MAX];
	size_t size;
	if (w->sock < 0 || shutdown(w->sock, SHUT_RD) < 0)
		return;
	while (fd_recv(w->sock, w->buffer, MESSAGE_MAX, &size, fds) == 0 && size > 0) {
		for (size_t i = 0; i < FD_PASS_MAX; i++)
			fd_close(fds[i]);
		if (message_decode(w->buffer, size, &message) < 0)
			continue;
		if (message.type == MESSAGE_RUN)
			refuse(w, &message.order);
		message_clear(&message);
		message = (struct message){0};
	}
}

int worker_serve(int sock)
{
	struct worker w = {.sock = sock, .signals = -1};
	int status = 0, r;
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	w.buffer = malloc(MESSAGE_MAX);
	w.signals = signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
	r = w.buffer == NULL ? -ENOMEM : w.signals < 0 ? -errno : runner_new(&w.runner);
	if (r < 0) {
		log_error("spool-worker cannot set itself up: %s", strerror(-r));
		status = 1;
		goto out;
	}
	while (!(w.quit && w.tasks == NULL)) {
		wait_and_serve(&w);
		if (w.sock < 0 && all_told(&w))
			status = leave_results(&w);
	}
	leave(&w);
	end_handler(&w);
out:
	runner_free(w.runner);
	drop_packets(&w);
	fd_close(w.signals);
	fd_close(w.sock);
	free(w.buffer);
	return status;
}
