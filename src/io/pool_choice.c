/* Which worker gets a job, and how many there are. */
#include "io/pool_private.h"

#include <string.h>

/* A dead worker's place is taken until what it left behind is gone. */
static bool is_busy(const struct worker *w)
{
	return w->state == WORKER_BUSY || w->owes;
}

uint32_t pool_busy(const struct pool *p)
{
	uint32_t n = 0;
	for (const struct worker *w = p->workers; w != NULL; w = w->next)
		n += is_busy(w);
	return n;
}

uint32_t pool_free_places(const struct pool *p)
{
	uint32_t busy = pool_busy(p);
	return p->max > busy ? p->max - busy : 0;
}

static void let_go(struct pool *p, struct worker *w)
{
	struct message quit = {.type = MESSAGE_QUIT};
	int r = w->acked_n == 0 ? 0 : pool_send_acks(w);
	if (r < 0 || pool_worker_send(w, &quit, NULL, 0) < 0)
		pool_worker_kill(p, w);
	else
		w->state = WORKER_LEAVING;
}

/* The more it would be missed, the later an idle worker is taken for another
 * handler: first those without one, the last busy first, as its memory is still
 * in the caches; then the one whose handler has waited longest. */
static bool is_missed_more(const struct worker *a, const struct worker *b)
{
	if ((a->handler == NULL) != (b->handler == NULL))
		return a->handler != NULL;
	return a->handler == NULL ? a->turn < b->turn : a->turn > b->turn;
}

static struct worker *least_missed(const struct pool *p)
{
	struct worker *least = NULL;
	for (struct worker *w = p->workers; w != NULL; w = w->next)
		if (w->state == WORKER_IDLE && (least == NULL || is_missed_more(least, w)))
			least = w;
	return least;
}

/* The one whose handler fits; else, one with an old handler of the user. */
static struct worker *find_fitting(const struct pool *p, const char *user, const char *handler)
{
	struct worker *outdated = NULL;
	for (struct worker *w = p->workers; w != NULL; w = w->next) {
		if (w->state != WORKER_IDLE || w->handler == NULL)
			continue;
		if (handler != NULL && strcmp(handler, w->handler) == 0)
			return w;
		if (w->outdated && strcmp(user, w->user) == 0)
			outdated = w;
	}
	return outdated;
}

static uint64_t count_serving(const struct pool *p)
{
	uint64_t n = 0;
	for (const struct worker *w = p->workers; w != NULL; w = w->next)
		n += w->state == WORKER_IDLE || w->state == WORKER_TOLD || is_busy(w);
	return n;
}

static uint64_t most_serving(const struct pool *p)
{
	return (uint64_t)p->max + p->spare + p->idle;
}

void pool_shrink(struct pool *p)
{
	uint64_t n = count_serving(p), bare = 0, places = pool_free_places(p) + p->spare;
	for (const struct worker *w = p->workers; w != NULL; w = w->next)
		bare += w->state == WORKER_IDLE && w->handler == NULL;
	struct worker *w;
	while ((w = least_missed(p)) != NULL &&
	       (n > most_serving(p) || (w->handler == NULL && bare > places))) {
		bare -= w->handler == NULL;
		n--;
		let_go(p, w);
	}
}

void pool_set_max(struct pool *p, uint32_t max)
{
	p->max = max;
	pool_shrink(p);
}

void pool_set_spare(struct pool *p, uint32_t spare)
{
	bool fewer = spare < p->spare;
	p->spare = spare;
	if (fewer)
		pool_shrink(p);
}

void pool_set_idle(struct pool *p, uint32_t handlers)
{
	p->idle = handlers;
	pool_shrink(p);
}

int pool_find_or_start(struct pool *p, const char *user, const char *handler, struct worker **ret)
{
	struct worker *w = find_fitting(p, user, handler);
	if (w == NULL) {
		w = least_missed(p);
		bool full = count_serving(p) >= most_serving(p);
		if (w == NULL || (w->handler != NULL && !full))
			return pool_worker_start(p, ret);
	}
	*ret = w;
	return 0;
}
