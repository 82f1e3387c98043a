#include "base/helper.h"

#include "base/fd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <utlist.h>

struct helper {
	const struct helper_kind *kind;
	void *ctx;
	pthread_t thread;
	bool started;
	int ready;            /* eventfd: not zero while `ended` has a task */
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t more;
	struct helper_task *waiting, *ended;
	struct helper_task *at_work; /* in none of the lists */
	bool stop;
};

/* Under the lock: the next one, or NULL when it is time to stop. */
static struct helper_task *wait_for_task(struct helper *h)
{
	while (h->waiting == NULL && !h->stop)
		pthread_cond_wait(&h->more, &h->lock);
	if (h->stop)
		return NULL;
	struct helper_task *task = h->waiting;
	DL_DELETE(h->waiting, task);
	return task;
}

/* Under the lock. */
static void put_back(struct helper *h, struct helper_task *task, bool done)
{
	if (!done) {
		DL_APPEND(h->waiting, task);
		return;
	}
	if (h->ended == NULL)
		eventfd_write(h->ready, 1);
	DL_APPEND(h->ended, task);
}

static void *run(void *arg)
{
	struct helper *h = arg;
	pthread_mutex_lock(&h->lock);
	while ((h->at_work = wait_for_task(h)) != NULL) {
		struct helper_task *task = h->at_work;
		pthread_mutex_unlock(&h->lock);
		bool done = h->kind->work(h->ctx, task);
		pthread_mutex_lock(&h->lock);
		h->at_work = NULL;
		if (!task->canceled) {
			put_back(h, task, done);
			continue;
		}
		pthread_mutex_unlock(&h->lock);
		h->kind->free(task);
		pthread_mutex_lock(&h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

int helper_start(struct helper *h)
{
	sigset_t all, before;
	if (h->started)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = pthread_create(&h->thread, NULL, run, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	h->started = r == 0;
	return -r;
}

int helper_new(const struct helper_kind *kind, void *ctx, struct helper **ret)
{
	struct helper *h = calloc(1, sizeof *h);
	int ready = h == NULL ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ready < 0) {
		int r = h == NULL ? -ENOMEM : -errno;
		free(h);
		return r;
	}
	h->kind = kind;
	h->ctx = ctx;
	h->ready = ready;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->more, NULL);
	*ret = h;
	return 0;
}

static void free_all(const struct helper *h, struct helper_task *head)
{
	struct helper_task *task, *next;
	DL_FOREACH_SAFE(head, task, next)
		h->kind->free(task);
}

void helper_free(struct helper *h)
{
	if (h == NULL)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->more);
	pthread_mutex_unlock(&h->lock);
	if (h->started)
		pthread_join(h->thread, NULL);
	free_all(h, h->waiting);
	free_all(h, h->ended);
	fd_close(h->ready);
	pthread_cond_destroy(&h->more);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

int helper_fd(const struct helper *h)
{
	return h->ready;
}

int helper_add(struct helper *h, struct helper_task *task, uint64_t tag)
{
	int r = helper_start(h);
	if (r < 0)
		return r;
	task->tag = tag;
	task->canceled = false;
	pthread_mutex_lock(&h->lock);
	DL_APPEND(h->waiting, task);
	pthread_cond_signal(&h->more);
	pthread_mutex_unlock(&h->lock);
	return 0;
}

/* Under the lock. */
static struct helper_task *find(struct helper_task *head, uint64_t tag)
{
	struct helper_task *task;
	DL_SEARCH_SCALAR(head, task, tag, tag);
	return task;
}

/* Under the lock. */
static struct helper_task *find_at_work(const struct helper *h, uint64_t tag)
{
	struct helper_task *task = h->at_work;
	return task != NULL && task->tag == tag && !task->canceled ? task : NULL;
}

/* Under the lock: takes one that is done out, or NULL. */
static struct helper_task *take_ended(struct helper *h, struct helper_task *task)
{
	if (task == NULL)
		return NULL;
	DL_DELETE(h->ended, task);
	if (h->ended == NULL) {
		/* Under the lock, so that the end of another is not read away. */
		eventfd_t count;
		eventfd_read(h->ready, &count);
	}
	return task;
}

struct helper_task *helper_find(struct helper *h, uint64_t tag)
{
	pthread_mutex_lock(&h->lock);
	struct helper_task *task = find_at_work(h, tag);
	if (task == NULL)
		task = find(h->waiting, tag);
	if (task == NULL)
		task = find(h->ended, tag);
	pthread_mutex_unlock(&h->lock);
	return task;
}

void helper_cancel(struct helper *h, uint64_t tag)
{
	pthread_mutex_lock(&h->lock);
	struct helper_task *at_work = find_at_work(h, tag), *task = find(h->waiting, tag);
	if (at_work != NULL)
		at_work->canceled = true;
	else if (task != NULL)
		DL_DELETE(h->waiting, task);
	else
		task = take_ended(h, find(h->ended, tag));
	pthread_mutex_unlock(&h->lock);
	if (task != NULL)
		h->kind->free(task);
}

struct helper_task *helper_next(struct helper *h)
{
	pthread_mutex_lock(&h->lock);
	struct helper_task *task = take_ended(h, h->ended);
	pthread_mutex_unlock(&h->lock);
	return task;
}
