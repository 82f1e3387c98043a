/* What of a worker's results is in the index, and how it learns of that. */
#include "io/pool_private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

void pool_ack(struct pool *p, uint64_t job, bool at_once)
{
	struct worker *w = pool_find_job(p, job, true);
	struct pool_task *t = w == NULL ? NULL : pool_task_find(w, job);
	if (t == NULL || t->acked)
		return;
	t->acked = true;
	w->acked_n++;
	w->ack_at_once = w->ack_at_once || at_once;
	pool_task_set_state(w);
}

/* A new list, ended by 0. */
static uint64_t *list_acked(const struct worker *w)
{
	size_t n = 0;
	uint64_t *jobs = calloc(w->acked_n + 1, sizeof *jobs);
	for (const struct pool_task *t = w->tasks; jobs != NULL && t != NULL; t = t->next)
		if (t->acked)
			jobs[n++] = t->job;
	return jobs;
}

static void forget_acked(struct worker *w)
{
	for (struct pool_task *t = w->tasks, *next; t != NULL; t = next) {
		next = t->next;
		if (t->acked)
			pool_task_remove(w, t->job);
	}
	w->acked_n = 0;
	w->ack_at_once = false;
}

int pool_send_acks(struct worker *w)
{
	struct message ack = {.type = MESSAGE_ACK, .jobs = list_acked(w)};
	int r = ack.jobs == NULL ? -ENOMEM : pool_worker_send(w, &ack, NULL, 0);
	free(ack.jobs);
	if (r == 0)
		forget_acked(w);
	return r;
}

int pool_send_with_acks(struct worker *w, const struct message *order, const int *fds, size_t n)
{
	struct message m = *order;
	if (w->acked_n == 0)
		return pool_worker_send(w, order, fds, n);
	m.order.acked = list_acked(w);
	int r = m.order.acked == NULL ? -ENOMEM : pool_worker_send(w, &m, fds, n);
	free(m.order.acked);
	if (r == 0)
		forget_acked(w);
	if (r != -EMSGSIZE)
		return r;
	r = pool_send_acks(w);
	return r < 0 ? r : pool_worker_send(w, order, fds, n);
}

static void flush(struct pool *p, struct worker *w)
{
	int r = pool_send_acks(w);
	if (r < 0 && w->state != WORKER_BUSY) {
		pool_worker_kill(p, w);
		return;
	}
	/* What it said of its other jobs is still to be read. */
	if (r < 0 && !w->reaped)
		kill(w->pid, SIGKILL);
	forget_acked(w);
	pool_task_set_state(w);
}

void pool_flush(struct pool *p, bool all)
{
	bool any = false;
	for (struct worker *w = p->workers; w != NULL; w = w->next) {
		bool wanted = w->ack_at_once || (all && w->acked_n > 0);
		if (!wanted || w->sock < 0 || w->state == WORKER_LEAVING)
			continue;
		flush(p, w);
		any = true;
	}
	if (any)
		pool_shrink(p);
}
