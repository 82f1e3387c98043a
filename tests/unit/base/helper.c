/* Promises: what is given is done in order and in turns, given back once, freed once, and
 * told of once for all that is done; who gives it never waits for it. */
#include "base/helper.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LIMIT_MS = 60000, TASKS_MAX = 1000 };

struct piece {
	struct helper_task task;
	int turns;         /* that it takes */
	bool hold;         /* each turn waits for `go`, after posting `arrived` */
	_Atomic int taken; /* turns */
};

static struct {
	sem_t arrived, go;
	uint64_t order[TASKS_MAX]; /* of the turns, while they are few */
	_Atomic int turns, freed, writes;
	bool no_thread, go_at_join;
	sigset_t blocked;
	void *ctx;
} seen;

static struct helper *h;

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
typedef int join_fn(pthread_t, void **);

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	if (seen.no_thread)
		return EAGAIN;
	create_fn *real = (create_fn *)dlsym(RTLD_NEXT, "pthread_create");
	return real(thread, attr, run, arg);
}

/* By now it was told to stop: it may end its turn. */
int pthread_join(pthread_t thread, void **ret)
{
	join_fn *real = (join_fn *)dlsym(RTLD_NEXT, "pthread_join");
	if (seen.go_at_join)
		sem_post(&seen.go);
	return real(thread, ret);
}

int eventfd_write(int fd, uint64_t value)
{
	seen.writes++;
	return write(fd, &value, sizeof value) == sizeof value ? 0 : -1;
}

static bool work(void *ctx, struct helper_task *task)
{
	struct piece *p = (struct piece *)task;
	int turn = seen.turns++;
	if (turn < TASKS_MAX)
		seen.order[turn] = task->tag;
	seen.ctx = ctx;
	pthread_sigmask(SIG_SETMASK, NULL, &seen.blocked);
	if (p->hold) {
		sem_post(&seen.arrived);
		sem_wait(&seen.go);
	}
	return ++p->taken >= p->turns;
}

static void piece_free(struct helper_task *task)
{
	seen.freed++;
	free(task);
}

static const struct helper_kind kind = {.work = work, .free = piece_free};

static void begin(void)
{
	sem_init(&seen.arrived, 0, 0);
	sem_init(&seen.go, 0, 0);
	cr_assert_eq(helper_new(&kind, &seen, &h), 0);
}

static void end(void)
{
	helper_free(h);
	h = NULL;
}

TestSuite(helper, .init = begin, .fini = end, .timeout = 240);

static struct piece *piece(int turns, bool hold)
{
	struct piece *p = calloc(1, sizeof *p);
	cr_assert_not_null(p);
	p->turns = turns;
	p->hold = hold;
	return p;
}

static void add(uint64_t tag, int turns, bool hold)
{
	struct piece *p = piece(turns, hold);
	cr_assert_eq(helper_add(h, &p->task, tag), 0);
}

static bool is_ready(int timeout_ms)
{
	struct pollfd p = {.fd = helper_fd(h), .events = POLLIN};
	return poll(&p, 1, timeout_ms) == 1;
}

/* The tag of the next one that is done. */
static uint64_t next(void)
{
	struct helper_task *task;
	while ((task = helper_next(h)) == NULL)
		cr_assert(is_ready(LIMIT_MS), "nothing is done");
	uint64_t tag = task->tag;
	free(task);
	return tag;
}

/* All given so far has left the line: a held one stands at work. */
static void hold_the_thread(uint64_t tag)
{
	add(tag, 1, true);
	sem_wait(&seen.arrived);
}

Test(helper, first_in_first_out)
{
	for (uint64_t tag = 1; tag <= TASKS_MAX; tag++)
		add(tag, 1, false);
	for (uint64_t tag = 1; tag <= TASKS_MAX; tag++)
		cr_assert_eq(next(), tag);
	for (uint64_t i = 0; i < TASKS_MAX; i++)
		cr_assert_eq(seen.order[i], i + 1);
	cr_expect_null(helper_next(h));
	cr_expect_not(is_ready(0), "readable though nothing waits");
	cr_expect_eq(seen.ctx, (void *)&seen);
	cr_expect_eq(seen.freed, 0, "they were the taker's");
}

Test(helper, what_is_not_done_goes_to_the_end_of_the_line)
{
	hold_the_thread(9);
	add(1, 3, false);
	add(2, 1, false);
	add(3, 2, false);
	sem_post(&seen.go);
	static const uint64_t turns[] = {9, 1, 2, 3, 1, 3, 1}, done[] = {9, 2, 3, 1};
	for (size_t i = 0; i < sizeof done / sizeof *done; i++)
		cr_assert_eq(next(), done[i], "the %zu. that was done", i);
	for (size_t i = 0; i < sizeof turns / sizeof *turns; i++)
		cr_assert_eq(seen.order[i], turns[i], "turn %zu", i);
}

Test(helper, who_gives_and_asks_is_not_kept_waiting)
{
	hold_the_thread(1);
	add(2, 1, false);
	cr_expect_null(helper_next(h));
	cr_expect_not_null(helper_find(h, 1), "at work");
	cr_expect_not_null(helper_find(h, 2), "in line");
	cr_expect_null(helper_find(h, 3));
	sem_post(&seen.go);
	cr_assert(is_ready(LIMIT_MS));
	cr_expect_not_null(helper_find(h, 1), "done, and not taken");
	cr_assert_eq(next(), 1);
	cr_expect_null(helper_find(h, 1));
	cr_assert_eq(next(), 2);
}

Test(helper, told_once_for_all_that_are_done)
{
	enum { MANY = 50 };
	hold_the_thread(100);
	for (uint64_t tag = 1; tag <= MANY; tag++)
		add(tag, 1, false);
	add(101, 1, true);
	sem_post(&seen.go);
	sem_wait(&seen.arrived);
	cr_assert(is_ready(0), "all but the last are done");
	cr_expect_eq(seen.writes, 1);
	cr_expect_eq(next(), 100);
	for (uint64_t tag = 1; tag <= MANY; tag++) {
		cr_assert(is_ready(0), "%d wait to be taken", (int)(MANY + 1 - tag));
		cr_assert_eq(next(), tag);
	}
	cr_expect_not(is_ready(0), "all were taken");
	sem_post(&seen.go);
	cr_assert_eq(next(), 101);
	cr_expect_eq(seen.writes, 2, "and told anew of the next");
}

Test(helper, cancel_of_what_waits)
{
	hold_the_thread(1);
	add(2, 1, false);
	add(3, 1, false);
	helper_cancel(h, 2);
	cr_expect_eq(seen.freed, 1, "at once");
	cr_expect_null(helper_find(h, 2));
	helper_cancel(h, 2);
	helper_cancel(h, 77);
	sem_post(&seen.go);
	cr_assert_eq(next(), 1);
	cr_assert_eq(next(), 3);
	cr_expect_eq(seen.turns, 2, "it had no turn");
	cr_expect_eq(seen.freed, 1);
}

Test(helper, cancel_of_what_is_at_work)
{
	add(1, 5, true);
	sem_wait(&seen.arrived);
	helper_cancel(h, 1);
	cr_expect_eq(seen.freed, 0, "its turn is not over");
	cr_expect_null(helper_find(h, 1));
	helper_cancel(h, 1);
	add(2, 1, false);
	sem_post(&seen.go);
	cr_assert_eq(next(), 2);
	cr_expect_eq(seen.turns, 2, "it had no further turn");
	cr_expect_eq(seen.freed, 1);
	cr_expect_null(helper_next(h));
}

Test(helper, cancel_of_what_is_done)
{
	hold_the_thread(1);
	add(2, 1, false);
	add(3, 1, true);
	sem_post(&seen.go);
	sem_wait(&seen.arrived);
	helper_cancel(h, 1);
	cr_expect(is_ready(0), "another is done");
	helper_cancel(h, 2);
	cr_expect_not(is_ready(0), "its end was taken back");
	cr_expect_eq(seen.freed, 2);
	cr_expect_null(helper_next(h));
	sem_post(&seen.go);
	cr_assert_eq(next(), 3);
}

Test(helper, ends_with_work_left)
{
	add(1, 1, false);
	cr_assert(is_ready(LIMIT_MS));
	add(2, 1000, true);
	sem_wait(&seen.arrived);
	for (uint64_t tag = 3; tag <= 20; tag++)
		add(tag, 1, false);
	seen.go_at_join = true;
	helper_free(h);
	h = NULL;
	cr_expect_eq(seen.freed, 20, "done, at work, and in line");
	cr_expect_eq(seen.turns, 2, "nothing new was begun");
}

Test(helper, ends_while_the_canceled_one_is_at_work)
{
	hold_the_thread(1);
	helper_cancel(h, 1);
	seen.go_at_join = true;
	helper_free(h);
	h = NULL;
	cr_expect_eq(seen.freed, 1);
}

Test(helper, ends_without_ever_having_begun)
{
	helper_free(h);
	h = NULL;
	helper_free(NULL);
}

Test(helper, no_thread_is_said_and_nothing_taken)
{
	struct piece *p = piece(1, false);
	seen.no_thread = true;
	cr_expect_eq(helper_start(h), -EAGAIN);
	cr_expect_eq(helper_add(h, &p->task, 1), -EAGAIN);
	cr_expect_null(helper_find(h, 1));
	cr_expect_eq(seen.freed, 0, "it is the caller's still");
	seen.no_thread = false;
	cr_expect_eq(helper_add(h, &p->task, 1), 0, "tried again");
	cr_expect_eq(next(), 1);
	cr_expect_eq(helper_start(h), 0);
}

Test(helper, no_descriptor_is_said)
{
	struct helper *none = (struct helper *)&seen;
	struct rlimit limit, low;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	int lowest = dup(0);
	low.rlim_cur = (rlim_t)lowest;
	fd_close(lowest);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	cr_expect_eq(helper_new(&kind, NULL, &none), -EMFILE);
	cr_expect_eq(none, (struct helper *)&seen, "untouched");
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

Test(helper, signals_stay_away_from_the_thread)
{
	static const int some[] = {SIGTERM, SIGHUP, SIGCHLD, SIGINT, SIGIO, SIGUSR1};
	sigset_t own;
	add(1, 1, false);
	cr_assert_eq(next(), 1);
	for (size_t i = 0; i < sizeof some / sizeof *some; i++)
		cr_expect_eq(sigismember(&seen.blocked, some[i]), 1, "%d", some[i]);
	pthread_sigmask(SIG_SETMASK, NULL, &own);
	cr_expect_eq(sigismember(&own, SIGTERM), 0);
}
