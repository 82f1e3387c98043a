/* How the worker ends. */
#include "spool-worker/worker_private.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	LEAVE_EVERY_MS = 1000,      /* tries to leave the results */
	LEAVE_PATIENCE_MS = 60000,
};

void worker_end_handler(struct worker *w)
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

int worker_leave_results(struct worker *w)
{
	uint64_t give_up_ms = clock_steady_ms() + LEAVE_PATIENCE_MS;
	int status = 0;
	for (const struct task *t = w->tasks; t != NULL; t = t->next)
		if (leave_result(t, give_up_ms) < 0)
			status = 1;
	worker_end_handler(w);
	while (w->tasks != NULL)
		worker_forget_task(w, w->tasks);
	return status;
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

void worker_refuse_rest(const struct worker *w)
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
