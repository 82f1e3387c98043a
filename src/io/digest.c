#include "io/digest.h"

#include "base/fd.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

_Static_assert(DIGEST_SIZE == SHA256_DIGEST_SIZE, "one kind of digest");

enum { BUFFER = 256 * 1024 };

struct item {
	struct item *prev, *next;
	uint64_t tag;
	int fd;
	uint64_t size, done; /* bytes; `done` under the lock */
	int error;
	bool canceled;       /* while at work */
	struct sha256_ctx sha;
	uint8_t sum[DIGEST_SIZE];
};

struct digest {
	pthread_t thread;
	bool started;
	int ready;            /* eventfd: not zero while `ended` has an item */
	unsigned char *buffer;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t more;
	struct item *waiting, *ended;
	struct item *at_work; /* in none of the lists */
	bool stop;
};

static void item_free(struct item *item)
{
	fd_close(item->fd);
	free(item);
}

static ssize_t read_some(int fd, void *buffer, size_t size)
{
	ssize_t n;
	do
		n = read(fd, buffer, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* One turn. Returns whether the file was read to its end. */
static bool work(struct digest *g, struct item *item, uint64_t *ret_read)
{
	uint64_t left = item->size - item->done, turn = 0;
	while (left > 0 && turn < DIGEST_SLICE) {
		ssize_t n = read_some(item->fd, g->buffer, left < BUFFER ? (size_t)left : BUFFER);
		if (n < 0)
			item->error = (int)n;
		if (n <= 0) {
			left = 0;
			break;
		}
		sha256_update(&item->sha, (size_t)n, g->buffer);
		turn += (uint64_t)n;
		left -= (uint64_t)n;
	}
	*ret_read = turn;
	if (left > 0)
		return false;
	sha256_digest(&item->sha, DIGEST_SIZE, item->sum);
	return true;
}

/* Under the lock: the next file, or NULL when it is time to stop. */
static struct item *wait_for_item(struct digest *g)
{
	while (g->waiting == NULL && !g->stop)
		pthread_cond_wait(&g->more, &g->lock);
	if (g->stop)
		return NULL;
	struct item *item = g->waiting;
	DL_DELETE(g->waiting, item);
	return item;
}

static void put_back(struct digest *g, struct item *item, bool ended)
{
	if (item->canceled) {
		item_free(item);
	} else if (ended) {
		DL_APPEND(g->ended, item);
		eventfd_write(g->ready, 1);
	} else {
		DL_APPEND(g->waiting, item);
	}
}

static void *run(void *arg)
{
	struct digest *g = arg;
	pthread_mutex_lock(&g->lock);
	while ((g->at_work = wait_for_item(g)) != NULL) {
		uint64_t n;
		pthread_mutex_unlock(&g->lock);
		bool ended = work(g, g->at_work, &n);
		pthread_mutex_lock(&g->lock);
		struct item *item = g->at_work;
		g->at_work = NULL;
		item->done += n;
		put_back(g, item, ended);
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

/* Signals are the daemon's: none may be delivered to this thread. */
static int start(struct digest *g)
{
	sigset_t all, before;
	if (g->started)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = pthread_create(&g->thread, NULL, run, g);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	g->started = r == 0;
	return -r;
}

static void destroy(struct digest *g)
{
	fd_close(g->ready);
	pthread_cond_destroy(&g->more);
	pthread_mutex_destroy(&g->lock);
	free(g->buffer);
	free(g);
}

int digest_new(struct digest **ret)
{
	struct digest *g = calloc(1, sizeof *g);
	if (g == NULL)
		return -ENOMEM;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->more, NULL);
	g->ready = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int r = g->ready < 0 ? -errno : 0;
	g->buffer = malloc(BUFFER);
	if (r == 0 && g->buffer == NULL)
		r = -ENOMEM;
	if (r < 0) {
		destroy(g);
		return r;
	}
	*ret = g;
	return 0;
}

static void items_free(struct item *head)
{
	struct item *item, *next;
	DL_FOREACH_SAFE(head, item, next)
		item_free(item);
}

void digest_free(struct digest *g)
{
	if (g == NULL)
		return;
	pthread_mutex_lock(&g->lock);
	g->stop = true;
	pthread_cond_signal(&g->more);
	pthread_mutex_unlock(&g->lock);
	if (g->started)
		pthread_join(g->thread, NULL);
	items_free(g->waiting);
	items_free(g->ended);
	destroy(g);
}

int digest_fd(const struct digest *g)
{
	return g->ready;
}

int digest_add(struct digest *g, uint64_t tag, int fd, uint64_t size)
{
	struct item *item = calloc(1, sizeof *item);
	int r = item == NULL ? -ENOMEM : start(g);
	if (r < 0) {
		free(item);
		return r;
	}
	item->tag = tag;
	item->fd = fd;
	item->size = size;
	sha256_init(&item->sha);
	pthread_mutex_lock(&g->lock);
	DL_APPEND(g->waiting, item);
	pthread_cond_signal(&g->more);
	pthread_mutex_unlock(&g->lock);
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
static struct item *take_ended(struct digest *g, struct item *item)
{
	if (item == NULL)
		return NULL;
	DL_DELETE(g->ended, item);
	if (g->ended == NULL) {
		/* Under the lock, so that a file that ends now is not read away. */
		eventfd_t count;
		eventfd_read(g->ready, &count);
	}
	return item;
}

void digest_cancel(struct digest *g, uint64_t tag)
{
	pthread_mutex_lock(&g->lock);
	struct item *item = find(g->waiting, tag);
	if (item != NULL)
		DL_DELETE(g->waiting, item);
	else
		item = take_ended(g, find(g->ended, tag));
	if (item == NULL && g->at_work != NULL && g->at_work->tag == tag)
		g->at_work->canceled = true;
	pthread_mutex_unlock(&g->lock);
	if (item != NULL)
		item_free(item);
}

uint64_t digest_progress(struct digest *g, uint64_t tag)
{
	pthread_mutex_lock(&g->lock);
	const struct item *item = g->at_work != NULL && g->at_work->tag == tag ? g->at_work
	                                                                       : find(g->waiting, tag);
	if (item == NULL)
		item = find(g->ended, tag);
	uint64_t done = item == NULL ? 0 : item->done;
	pthread_mutex_unlock(&g->lock);
	return done;
}

int digest_next(struct digest *g, uint64_t *ret_tag, int *ret_error,
                uint8_t ret_sum[DIGEST_SIZE])
{
	pthread_mutex_lock(&g->lock);
	struct item *item = take_ended(g, g->ended);
	pthread_mutex_unlock(&g->lock);
	if (item == NULL)
		return 0;
	*ret_tag = item->tag;
	*ret_error = item->error;
	for (size_t i = 0; i < DIGEST_SIZE; i++)
		ret_sum[i] = item->sum[i];
	item_free(item);
	return 1;
}

int digest_whole(int fd, uint8_t ret_sum[DIGEST_SIZE])
{
	struct sha256_ctx sha;
	ssize_t n;
	unsigned char *buffer = malloc(BUFFER);
	if (buffer == NULL)
		return -ENOMEM;
	sha256_init(&sha);
	while ((n = read_some(fd, buffer, BUFFER)) > 0)
		sha256_update(&sha, (size_t)n, buffer);
	free(buffer);
	if (n == 0)
		sha256_digest(&sha, DIGEST_SIZE, ret_sum);
	return (int)n;
}
