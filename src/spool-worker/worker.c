#include "spool-worker/worker.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"
#include "spool-worker/worker_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <utlist.h>

enum {
	LOOK_EVERY_MS = 1000, /* for NAME_CANCEL, without a daemon */
	CALM_MS = 3,          /* in a backlog the next order comes sooner */
};

struct task *worker_next_task(const struct worker *w)
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

void worker_give_back(struct worker *w)
{
	struct task *t;
	while ((t = worker_next_task(w)) != NULL)
		task_give_back(t, OUTCOME_INTERRUPTED, "it was given back before its turn");
}

void worker_forget_task(struct worker *w, struct task *t)
{
	DL_DELETE(w->tasks, t);
	task_free(t);
}

static bool all_told(const struct worker *w)
{
	return w->now == NULL && worker_next_task(w) == NULL;
}

static void lose_daemon(struct worker *w)
{
	w->sock = fd_close(w->sock);
	w->quit = true;
	worker_give_back(w);
}

static void step(struct worker *w)
{
	struct runner_event event;
	int r = runner_step(w->runner, &event);
	if (w->now == NULL)
		return;
	if (r < 0) {
		worker_tell_trouble(w, r);
		return;
	}
	if (event.progress) {
		/* After its start. */
		w->began_ms = 0;
		worker_tell_progress(w, &event.report);
	}
	if (event.ended)
		worker_tell_result(w, &event.result);
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
		worker_tell_stale(w);
		return;
	}
	if (r == 0)
		r = task_note_seen(t);
	if (r == 0)
		r = runner_start(w->runner, &t->order, t->jobdir);
	if (r < 0)
		worker_tell_trouble(w, r);
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
		worker_give_back(w);
	else
		task_give_back(t, OUTCOME_CANCELED, "it was canceled before it began");
}

static void forget_acknowledged(struct worker *w, const uint64_t *jobs)
{
	for (; jobs != NULL && *jobs != 0; jobs++) {
		struct task *t = find_task(w, *jobs);
		if (t != NULL && t->told)
			worker_forget_task(w, t);
	}
}

/* False where the daemon says what no daemon of ours would say. */
static bool obey(struct worker *w, struct message *m, int *fds)
{
	switch (m->type) {
	case MESSAGE_RUN:
		forget_acknowledged(w, m->order.acked);
		return take_order(w, &m->order, fds);
	case MESSAGE_CANCEL:
		cancel(w, m->job, m->interrupt);
		return true;
	case MESSAGE_RECALL:
		worker_give_back(w);
		return true;
	case MESSAGE_ACK:
		forget_acknowledged(w, m->jobs);
		return true;
	case MESSAGE_QUIT:
		w->quit = true;
		worker_give_back(w);
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
	return w->sock >= 0 && w->now == NULL && !worker_wants_to_send(w);
}

/* What the daemon said before counts, and it is told of all that ended before:
 * so, whatever becomes of us, it knows that nobody after the first one it has
 * no result of was begun. */
static struct task *ready_task(struct worker *w)
{
	struct task *t = NULL;
	do {
		worker_flush(w);
		t = may_begin(w) ? worker_next_task(w) : NULL;
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
	worker_give_back(w);
}

static int wait_ms(const struct worker *w)
{
	uint64_t due = worker_started_due(w), now = clock_steady_ms();
	if (may_begin(w) && worker_next_task(w) != NULL)
		return 0;
	if (due != UINT64_MAX)
		return due > now ? (int)(due - now) : 0;
	return w->sock < 0 && w->now != NULL ? LOOK_EVERY_MS : -1;
}

static void wait_and_serve(struct worker *w)
{
	struct pollfd fds[] = {
		{.fd = w->sock, .events = (short)(POLLIN | (worker_wants_to_send(w) ? POLLOUT : 0))},
		{.fd = runner_fd(w->runner), .events = POLLIN},
		{.fd = w->signals, .events = POLLIN},
	};
	int limit_ms = wait_ms(w);
	bool idle = w->now == NULL && !w->quit && limit_ms < 0;
	bool more = idle && runner_prepare(w->runner, false);
	int n = poll(fds, sizeof fds / sizeof *fds, more ? CALM_MS : limit_ms);
	if (n < 0)
		return;
	if (n == 0 && more)
		runner_prepare(w->runner, true);
	if (fds[2].revents != 0)
		take_signal(w);
	if (fds[1].revents != 0)
		step(w);
	worker_tell_started(w);
	worker_flush(w);
	if (w->sock >= 0 && (fds[0].revents & ~POLLOUT) != 0)
		listen_once(w);
	look_for_cancel(w);
	struct task *next = ready_task(w);
	if (next != NULL)
		begin(w, next);
	worker_flush(w);
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
	/* Each message would interrupt the daemon, which has more to say to others. */
	runner_give_way(w.runner);
	while (!(w.quit && w.tasks == NULL)) {
		wait_and_serve(&w);
		if (w.sock < 0 && all_told(&w))
			status = worker_leave_results(&w);
	}
	worker_refuse_rest(&w);
	worker_end_handler(&w);
out:
	runner_free(w.runner);
	worker_drop_packets(&w);
	fd_close(w.signals);
	fd_close(w.sock);
	free(w.buffer);
	return status;
}
