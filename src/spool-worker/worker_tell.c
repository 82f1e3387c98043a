/* What the worker tells the daemon. */
#include "spool-worker/worker_private.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SEND_EVERY_MS = 50,         /* tries to send what the kernel refused */
	STARTED_AFTER_MS = 20,      /* the result of a shorter run tells of its start as well */
};

static void drop_packet(struct packet *packet)
{
	free(packet->data);
	*packet = (struct packet){0};
}

void worker_drop_packets(struct worker *w)
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

void worker_flush(struct worker *w)
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

bool worker_wants_to_send(const struct worker *w)
{
	for (enum slot s = 0; s < SLOTS; s++)
		if (w->out[s].data != NULL)
			return true;
	for (const struct task *t = w->tasks; t != NULL; t = t->next)
		if (t->packet != NULL)
			return true;
	return false;
}

uint64_t worker_started_due(const struct worker *w)
{
	return w->now == NULL || w->started || w->sock < 0 ? UINT64_MAX
	                                                   : w->began_ms + STARTED_AFTER_MS;
}

void worker_tell_started(struct worker *w)
{
	if (clock_steady_ms() < worker_started_due(w) || w->now == NULL)
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

void worker_tell_progress(struct worker *w, const struct run_progress *progress)
{
	struct message m = {.type = MESSAGE_PROGRESS, .progress = *progress};
	queue(w, SLOT_PROGRESS, &m);
}

void worker_tell_result(struct worker *w, const struct run_result *result)
{
	bool done = result->outcome == OUTCOME_SUCCEEDED;
	task_settle(w->now, result);
	w->last_done = done ? w->now->order.job : 0;
	w->now = NULL;
	if (!done)
		worker_give_back(w);
}

/* Short of something that every handler needs, it begins none. */
void worker_tell_trouble(struct worker *w, int error)
{
	bool unready = error == -ENOMEM || error == -EMFILE || error == -ENFILE;
	struct run_result result = {.job = w->now->order.job, .attempt = w->now->order.attempt,
	                            .outcome = unready ? OUTCOME_INTERRUPTED : OUTCOME_FAILED,
	                            .unready = unready, .exit_code = EXIT_CODE_NONE,
	                            .records = RECORDS_NONE, .finished_ms = clock_wall_ms()};
	char text[200];
	snprintf(text, sizeof text, "the worker cannot run a handler: %s", strerror(-error));
	result.error = text;
	worker_tell_result(w, &result);
}

void worker_tell_stale(struct worker *w)
{
	char text[] = "its directory was changed after it was accepted, or is still written";
	struct run_result result = {.job = w->now->order.job, .attempt = w->now->order.attempt,
	                            .outcome = OUTCOME_INTERRUPTED, .stale = true,
	                            .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE,
	                            .finished_ms = clock_wall_ms(), .error = text};
	worker_tell_result(w, &result);
}
