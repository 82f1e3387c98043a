#include "base/crew.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct crew {
	pthread_mutex_t lock; /* of all up to `atomic`, which is written while nobody is busy */
	pthread_cond_t begun, done;
	uint64_t round;
	unsigned busy;        /* threads that may be at a piece of this round */
	bool stop;
	void (*work)(void *ctx, size_t piece);
	void *ctx;
	size_t pieces;

	atomic_size_t next;   /* the first piece that nobody began; or beyond all */
	atomic_bool is_done[CREW_PIECES_MAX];

	unsigned n_threads;
	pthread_t threads[];
};

/* Does the next piece, if there is one. */
static bool do_one(struct crew *c)
{
	size_t piece = atomic_fetch_add(&c->next, 1);
	if (piece >= c->pieces)
		return false;
	c->work(c->ctx, piece);
	atomic_store_explicit(&c->is_done[piece], true, memory_order_release);
	return true;
}

static void *run(void *arg)
{
	struct crew *c = arg;
	uint64_t seen = 0;
	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (c->round == seen && !c->stop)
			pthread_cond_wait(&c->begun, &c->lock);
		if (c->stop)
			break;
		seen = c->round;
		c->busy++;
		pthread_mutex_unlock(&c->lock);
		while (do_one(c))
			;
		pthread_mutex_lock(&c->lock);
		if (--c->busy == 0)
			pthread_cond_signal(&c->done);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static int start(struct crew *c, unsigned threads)
{
	sigset_t all, before;
	int r = 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (r == 0 && c->n_threads < threads) {
		r = pthread_create(&c->threads[c->n_threads], NULL, run, c);
		c->n_threads += r == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return c->n_threads > 0 ? 0 : -r;
}

int crew_new(unsigned threads, struct crew **ret)
{
	struct crew *c = calloc(1, sizeof *c + threads * sizeof c->threads[0]);
	if (c == NULL)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->begun, NULL);
	pthread_cond_init(&c->done, NULL);
	int r = start(c, threads);
	if (r < 0) {
		crew_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* Under the lock. */
static void wait_for_all(struct crew *c)
{
	while (c->busy > 0)
		pthread_cond_wait(&c->done, &c->lock);
}

/* Takes the lock; as long as it is held, no thread is at a piece. */
static void quiet(struct crew *c)
{
	atomic_store(&c->next, CREW_PIECES_MAX);
	pthread_mutex_lock(&c->lock);
	wait_for_all(c);
}

void crew_free(struct crew *c)
{
	if (c == NULL)
		return;
	quiet(c);
	c->stop = true;
	pthread_cond_broadcast(&c->begun);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < c->n_threads; i++)
		pthread_join(c->threads[i], NULL);
	pthread_cond_destroy(&c->done);
	pthread_cond_destroy(&c->begun);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void crew_begin(struct crew *c, void (*work)(void *ctx, size_t piece), void *ctx, size_t pieces)
{
	quiet(c);
	c->work = work;
	c->ctx = ctx;
	c->pieces = pieces;
	for (size_t i = 0; i < pieces; i++)
		atomic_store_explicit(&c->is_done[i], false, memory_order_relaxed);
	atomic_store(&c->next, 0);
	c->round++;
	pthread_cond_broadcast(&c->begun);
	pthread_mutex_unlock(&c->lock);
}

void crew_need(struct crew *c, size_t i)
{
	while (!atomic_load_explicit(&c->is_done[i], memory_order_acquire)) {
		if (do_one(c))
			continue;
		pthread_mutex_lock(&c->lock);
		wait_for_all(c);
		pthread_mutex_unlock(&c->lock);
	}
}

void crew_end(struct crew *c)
{
	quiet(c);
	pthread_mutex_unlock(&c->lock);
}
