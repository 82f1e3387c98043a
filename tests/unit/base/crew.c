/* Promises: every piece that is needed is done, once, by us or by a thread beside us; what
 * was ended is left alone, and nothing of it goes on. */
#include "base/crew.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

enum { ROUNDS = 3000, LIMIT = 100000000 };

static struct {
	_Atomic int done[CREW_PIECES_MAX];
	_Atomic int at_work, all;
	_Atomic int by_us, strange;
	size_t held;      /* that piece waits for `go` where a thread has it */
	sem_t arrived, go;
	pthread_t us;
	sigset_t blocked;
	bool few;
	int threads_left; /* that may be made, where few; then there is none */
} seen;

static struct crew *c;

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	if (seen.few && seen.threads_left-- <= 0)
		return EAGAIN;
	create_fn *real = (create_fn *)dlsym(RTLD_NEXT, "pthread_create");
	return real(thread, attr, run, arg);
}

static void begin(void)
{
	seen.held = CREW_PIECES_MAX;
	seen.us = pthread_self();
	sem_init(&seen.arrived, 0, 0);
	sem_init(&seen.go, 0, 0);
}

static void end(void)
{
	crew_free(c);
	cr_assert_eq(seen.strange, 0);
}

TestSuite(crew, .init = begin, .fini = end, .timeout = 240);

static void work(void *ctx, size_t piece)
{
	bool ours = pthread_equal(pthread_self(), seen.us);
	atomic_fetch_add(&seen.at_work, 1);
	atomic_fetch_add(&seen.strange, ctx != &seen);
	if (!ours && piece == seen.held) {
		pthread_sigmask(SIG_SETMASK, NULL, &seen.blocked);
		sem_post(&seen.arrived);
		sem_wait(&seen.go);
	}
	atomic_fetch_add(&seen.by_us, ours);
	atomic_fetch_add(&seen.done[piece], 1);
	atomic_fetch_add(&seen.all, 1);
	atomic_fetch_sub(&seen.at_work, 1);
}

static void nothing_done(void)
{
	for (size_t i = 0; i < CREW_PIECES_MAX; i++)
		seen.done[i] = 0;
}

Test(crew, each_needed_piece_is_done_once)
{
	cr_assert_eq(crew_new(3, &c), 0);
	for (int round = 0; round < ROUNDS; round++) {
		size_t pieces = (size_t)round % (CREW_PIECES_MAX + 1);
		nothing_done();
		crew_begin(c, work, &seen, pieces);
		for (size_t i = 0; i < pieces; i++) {
			crew_need(c, i);
			cr_assert_eq(seen.done[i], 1, "%zu of %zu", i, pieces);
		}
		crew_end(c);
		for (size_t i = 0; i < CREW_PIECES_MAX; i++)
			cr_assert_eq(seen.done[i], i < pieces, "%zu of %zu", i, pieces);
	}
}

Test(crew, in_whatever_order_they_are_needed)
{
	cr_assert_eq(crew_new(2, &c), 0);
	for (int round = 0; round < ROUNDS; round++) {
		crew_end(c);
		nothing_done();
		crew_begin(c, work, &seen, CREW_PIECES_MAX);
		size_t last = (size_t)round % CREW_PIECES_MAX;
		crew_need(c, last);
		cr_assert_eq(seen.done[last], 1);
		crew_need(c, 0);
		cr_assert_eq(seen.done[0], 1);
	}
}

Test(crew, goes_on_without_us)
{
	cr_assert_eq(crew_new(1, &c), 0);
	crew_begin(c, work, &seen, CREW_PIECES_MAX);
	for (int i = 0; i < LIMIT && seen.all < CREW_PIECES_MAX; i++)
		sched_yield();
	cr_assert_eq(seen.all, CREW_PIECES_MAX);
	cr_assert_eq(seen.by_us, 0);
}

Test(crew, does_others_while_one_is_at_work)
{
	cr_assert_eq(crew_new(1, &c), 0);
	seen.held = 0;
	crew_begin(c, work, &seen, CREW_PIECES_MAX);
	sem_wait(&seen.arrived);
	crew_need(c, 1);
	crew_need(c, CREW_PIECES_MAX - 1);
	cr_assert_eq(seen.by_us, CREW_PIECES_MAX - 1);
	cr_assert_eq(seen.done[0], 0);
	sem_post(&seen.go);
	crew_need(c, 0);
	cr_assert_eq(seen.done[0], 1);
}

static void *let_go(void *arg)
{
	(void)arg;
	/* By then the caller most likely waits; what is asserted does not depend on it. */
	for (int i = 0; i < 1000; i++)
		sched_yield();
	sem_post(&seen.go);
	return NULL;
}

Test(crew, end_leaves_what_was_not_begun_and_waits_for_what_was)
{
	pthread_t helper;
	cr_assert_eq(crew_new(1, &c), 0);
	seen.held = 0;
	crew_begin(c, work, &seen, CREW_PIECES_MAX);
	sem_wait(&seen.arrived);
	cr_assert_eq(pthread_create(&helper, NULL, let_go, NULL), 0);
	crew_end(c);
	cr_assert_eq(seen.at_work, 0);
	cr_assert_eq(seen.all, 1, "only what was begun");
	pthread_join(helper, NULL);
	nothing_done();
	seen.held = CREW_PIECES_MAX;
	crew_begin(c, work, &seen, 2);
	crew_need(c, 1);
	crew_need(c, 0);
	cr_assert(seen.done[0] == 1 && seen.done[1] == 1 && seen.done[2] == 0);
}

Test(crew, free_in_the_middle)
{
	for (int round = 0; round < 300; round++) {
		cr_assert_eq(crew_new(2, &c), 0);
		crew_begin(c, work, &seen, CREW_PIECES_MAX);
		crew_free(c);
		c = NULL;
		cr_assert_eq(seen.at_work, 0);
	}
	crew_free(NULL);
}

Test(crew, signals_are_not_for_its_threads)
{
	cr_assert_eq(crew_new(1, &c), 0);
	seen.held = 0;
	crew_begin(c, work, &seen, 1);
	sem_wait(&seen.arrived);
	sem_post(&seen.go);
	crew_end(c);
	sigset_t mine;
	pthread_sigmask(SIG_SETMASK, NULL, &mine);
	cr_assert(sigismember(&seen.blocked, SIGTERM) && sigismember(&seen.blocked, SIGIO));
	cr_assert_not(sigismember(&mine, SIGTERM));
}

Test(crew, fewer_threads_are_to_be_had)
{
	seen.few = true;
	cr_assert_eq(crew_new(3, &c), -EAGAIN);
	cr_assert_null(c);
	seen.threads_left = 1;
	cr_assert_eq(crew_new(3, &c), 0);
	crew_begin(c, work, &seen, CREW_PIECES_MAX);
	for (size_t i = 0; i < CREW_PIECES_MAX; i++)
		crew_need(c, i);
	cr_assert_eq(seen.all, CREW_PIECES_MAX);
}
