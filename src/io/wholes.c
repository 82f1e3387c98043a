#include "io/wholes_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <utlist.h>

struct item {
	struct item *prev, *next;
	uint64_t tag;
	struct wholes_walk *walk;
	bool canceled;              /* while at work */
};

struct wholes {
	pthread_t thread;
	bool started;
	int ready;            /* eventfd: not zero while `ended` has an item */
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t more;
	struct item *waiting, *ended;
	struct item *at_work; /* in none of the lists */
	bool stop;
};

static void item_free(struct item *item)
{
	wholes_walk_free(item->walk);
	free(item);
}

/* Under the lock: the next one, or NULL when it is time to stop. */
static struct item *wait_for_item(struct wholes *w)
{
	while (w->waiting == NULL && !w->stop)
		pthread_cond_wait(&w->more, &w->lock);
	if (w->stop)
		return NULL;
	struct item *item = w->waiting;
	DL_DELETE(w->waiting, item);
	return item;
}

static void put_back(struct wholes *w, struct item *item, bool ended)
{
	if (item->canceled) {
		item_free(item);
	} else if (ended) {
		DL_APPEND(w->ended, item);
		eventfd_write(w->ready, 1);
	} else {
		DL_APPEND(w->waiting, item);
	}
}

static void *run(void *arg)
{
	struct wholes *w = arg;
	pthread_mutex_lock(&w->lock);
	while ((w->at_work = wait_for_item(w)) != NULL) {
		pthread_mutex_unlock(&w->lock);
		bool ended = !wholes_walk_step(w->at_work->walk, WHOLES_SLICE);
		pthread_mutex_lock(&w->lock);
		struct item *item = w->at_work;
		w->at_work = NULL;
		put_back(w, item, ended);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Signals are the daemon's: none may be delivered to this thread. */
static int start(struct wholes *w)
{
	sigset_t all, before;
	if (w->started)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	w->started = r == 0;
	return -r;
}

static void destroy(struct wholes *w)
{
	fd_close(w->ready);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int wholes_new(struct wholes **ret)
{
	struct wholes *w = calloc(1, sizeof *w);
	if (w == NULL)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	w->ready = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->ready < 0) {
		int r = -errno;
		destroy(w);
		return r;
	}
	*ret = w;
	return 0;
}

static void items_free(struct item *head)
{
	struct item *item, *next;
	DL_FOREACH_SAFE(head, item, next)
		item_free(item);
}

void wholes_free(struct wholes *w)
{
	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
	if (w->started)
		pthread_join(w->thread, NULL);
	items_free(w->waiting);
	items_free(w->ended);
	destroy(w);
}

int wholes_fd(const struct wholes *w)
{
	return w->ready;
}

int wholes_add(struct wholes *w, uint64_t tag, int dirfd, const struct wholes_order *order)
{
	struct item *item = calloc(1, sizeof *item);
	int r = item == NULL ? -ENOMEM : start(w);
	int copy = r < 0 ? -1 : fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (r == 0 && copy < 0)
		r = -errno;
	if (r == 0 && (item->walk = wholes_walk_new(copy, order)) == NULL)
		r = -ENOMEM;
	if (r < 0) {
		free(item);
		return r;
	}
	fd_close(dirfd);
	item->tag = tag;
	pthread_mutex_lock(&w->lock);
	DL_APPEND(w->waiting, item);
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

/* Under the lock. */
static struct item *find(struct item *head, uint64_t tag)
{
	struct item *item;
	DL_SEARCH_SCALAR(head, item, tag, tag);
	return item;
}

/* Under the lock: takes the first result, or the one given. */
static struct item *take_ended(struct wholes *w, struct item *item)
{
	if (item == NULL)
		return NULL;
	DL_DELETE(w->ended, item);
	if (w->ended == NULL) {
		/* Under the lock, so that a walk that ends now is not read away. */
		eventfd_t count;
		eventfd_read(w->ready, &count);
	}
	return item;
}

void wholes_cancel(struct wholes *w, uint64_t tag)
{
	pthread_mutex_lock(&w->lock);
	struct item *item = find(w->waiting, tag);
	if (item != NULL)
		DL_DELETE(w->waiting, item);
	else
		item = take_ended(w, find(w->ended, tag));
	if (item == NULL && w->at_work != NULL && w->at_work->tag == tag)
		w->at_work->canceled = true;
	pthread_mutex_unlock(&w->lock);
	if (item != NULL)
		item_free(item);
}

int wholes_next(struct wholes *w, uint64_t *ret_tag, struct wholes_result *ret)
{
	pthread_mutex_lock(&w->lock);
	struct item *item = take_ended(w, w->ended);
	pthread_mutex_unlock(&w->lock);
	if (item == NULL)
		return 0;
	*ret_tag = item->tag;
	*ret = *wholes_walk_result(item->walk);
	item_free(item);
	return 1;
}

void wholes_look(int dirfd, const struct wholes_order *order, struct wholes_result *ret)
{
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct wholes_walk *walk = copy < 0 ? NULL : wholes_walk_new(copy, order);
	if (walk == NULL) {
		*ret = (struct wholes_result){.error = copy < 0 ? -errno : -ENOMEM};
		return;
	}
	while (wholes_walk_step(walk, INT_MAX))
		;
	*ret = *wholes_walk_result(walk);
	wholes_walk_free(walk);
}
