#include "io/pool_private.h"

#include <errno.h>
#include <stdlib.h>

int pool_task_add(struct worker *w, uint64_t job)
{
	struct pool_task **at = &w->tasks;
	struct pool_task *t = calloc(1, sizeof *t);
	if (t == NULL)
		return -ENOMEM;
	t->job = job;
	while (*at != NULL)
		at = &(*at)->next;
	*at = t;
	return 0;
}

void pool_task_remove(struct worker *w, uint64_t job)
{
	struct pool_task **at = &w->tasks;
	while (*at != NULL && (*at)->job != job)
		at = &(*at)->next;
	struct pool_task *t = *at;
	if (t == NULL)
		return;
	*at = t->next;
	free(t);
}

struct pool_task *pool_task_find(const struct worker *w, uint64_t job)
{
	struct pool_task *t = w->tasks;
	while (t != NULL && t->job != job)
		t = t->next;
	return t;
}

struct pool_task *pool_task_first(const struct worker *w)
{
	struct pool_task *t = w->tasks;
	while (t != NULL && t->told)
		t = t->next;
	return t;
}

struct pool_task *pool_task_last(const struct worker *w)
{
	struct pool_task *last = NULL;
	for (struct pool_task *t = w->tasks; t != NULL; t = t->next)
		if (!t->told)
			last = t;
	return last;
}

void pool_task_set_state(struct worker *w)
{
	if (w->state != WORKER_IDLE && w->state != WORKER_BUSY && w->state != WORKER_TOLD)
		return;
	const struct pool_task *open = w->tasks;
	while (open != NULL && open->acked)
		open = open->next;
	w->state = open == NULL               ? WORKER_IDLE
	           : pool_task_first(w) == NULL ? WORKER_TOLD
	                                        : WORKER_BUSY;
}
