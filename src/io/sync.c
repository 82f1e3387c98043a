#include "io/sync.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <utlist.h>

struct item {
	int fd;
	size_t place; /* in what was given to sync_add() */
	bool is_dir;
	dev_t dev;
	ino_t ino;
};

struct batch {
	struct batch *prev, *next;
	uint64_t tag;
	int error;
	int *errors; /* the caller's, or NULL */
	size_t n;
	struct item items[];
};

struct sync {
	pthread_t thread;
	int ready; /* eventfd: not zero while `ended` has a batch */
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t more;
	struct batch *waiting, *ended;
	bool stop;
};

static void note(struct batch *b, const struct item *item, int error)
{
	if (b->error == 0)
		b->error = error;
	if (b->errors != NULL && b->errors[item->place] == 0)
		b->errors[item->place] = error;
}

static void batch_free(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		fd_close(b->items[i].fd);
	free(b);
}

static int by_order_of_work(const void *left, const void *right)
{
	const struct item *a = left, *b = right;
	if (a->is_dir != b->is_dir)
		return a->is_dir ? 1 : -1;
	if (a->dev != b->dev)
		return a->dev < b->dev ? -1 : 1;
	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

static bool is_same(const struct item *a, const struct item *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

/* Looks at each descriptor; what cannot be looked at is left out. */
static void identify(struct batch *b)
{
	size_t kept = 0;
	for (size_t i = 0; i < b->n; i++) {
		struct item *item = &b->items[i];
		struct stat st;
		if (fstat(item->fd, &st) < 0) {
			note(b, item, -errno);
			fd_close(item->fd);
			continue;
		}
		item->is_dir = S_ISDIR(st.st_mode);
		item->dev = st.st_dev;
		item->ino = st.st_ino;
		b->items[kept++] = *item;
	}
	b->n = kept;
	if (kept > 1)
		qsort(b->items, kept, sizeof *b->items, by_order_of_work);
}

/* On others, syncfs() may write back without asking the server or the disk
 * behind it to keep it. */
static bool syncfs_is_durable(int fd)
{
	struct statfs fs;
	if (fstatfs(fd, &fs) < 0)
		return false;
	return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC ||
	       fs.f_type == BTRFS_SUPER_MAGIC;
}

static void sync_each(struct batch *b, size_t from, size_t to)
{
	int r = 0;
	for (size_t i = from; i < to; i++) {
		if (i == from || !is_same(&b->items[i], &b->items[i - 1]))
			r = fsync(b->items[i].fd) < 0 ? -errno : 0;
		if (r < 0)
			note(b, &b->items[i], r);
	}
}

static void sync_whole_disk(struct batch *b, size_t from, size_t to)
{
	int r = syncfs(b->items[from].fd) < 0 ? -errno : 0;
	for (size_t i = from; i < to && r < 0; i++)
		note(b, &b->items[i], r);
	/* Everything is written; this asks for errors of the file's own, which an
	 * earlier writeback may have had. */
	for (size_t i = from; i < to; i++)
		if (sync_file_range(b->items[i].fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE) < 0)
			note(b, &b->items[i], -errno);
}

static void work(struct batch *b)
{
	identify(b);
	size_t to;
	for (size_t from = 0; from < b->n; from = to) {
		const struct item *first = &b->items[from];
		for (to = from + 1; to < b->n; to++)
			if (b->items[to].is_dir != first->is_dir || b->items[to].dev != first->dev)
				break;
		if (!first->is_dir && to - from > SYNC_FILES_EACH && syncfs_is_durable(first->fd))
			sync_whole_disk(b, from, to);
		else
			sync_each(b, from, to);
	}
	for (size_t i = 0; i < b->n; i++)
		fd_close(b->items[i].fd);
	b->n = 0;
}

/* Under the lock: the next batch, or NULL when it is time to stop. */
static struct batch *wait_for_batch(struct sync *s)
{
	while (s->waiting == NULL && !s->stop)
		pthread_cond_wait(&s->more, &s->lock);
	if (s->stop)
		return NULL;
	struct batch *b = s->waiting;
	DL_DELETE(s->waiting, b);
	return b;
}

static void *run(void *arg)
{
	struct sync *s = arg;
	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct batch *b = wait_for_batch(s);
		if (b == NULL)
			break;
		pthread_mutex_unlock(&s->lock);
		work(b);
		pthread_mutex_lock(&s->lock);
		DL_APPEND(s->ended, b);
		eventfd_write(s->ready, 1);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Signals are the daemon's: none may be delivered to this thread. */
static int start(struct sync *s)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int sync_new(struct sync **ret)
{
	struct sync *s = calloc(1, sizeof *s);
	if (s == NULL)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	s->ready = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int r = s->ready < 0 ? -errno : start(s);
	if (r < 0) {
		fd_close(s->ready);
		pthread_cond_destroy(&s->more);
		pthread_mutex_destroy(&s->lock);
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

static void batches_free(struct batch *head)
{
	struct batch *b, *next;
	DL_FOREACH_SAFE(head, b, next)
		batch_free(b);
}

void sync_free(struct sync *s)
{
	if (s == NULL)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	batches_free(s->waiting);
	batches_free(s->ended);
	fd_close(s->ready);
	pthread_cond_destroy(&s->more);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int sync_fd(const struct sync *s)
{
	return s->ready;
}

int sync_add(struct sync *s, uint64_t tag, const int *fds, size_t n, int *errors)
{
	struct batch *b = calloc(1, sizeof *b + n * sizeof b->items[0]);
	if (b == NULL)
		return -ENOMEM;
	b->tag = tag;
	b->n = n;
	b->errors = errors;
	for (size_t i = 0; i < n; i++) {
		b->items[i].fd = fds[i];
		b->items[i].place = i;
		if (errors != NULL)
			errors[i] = 0;
	}
	pthread_mutex_lock(&s->lock);
	DL_APPEND(s->waiting, b);
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int sync_next(struct sync *s, uint64_t *ret_tag, int *ret_error)
{
	pthread_mutex_lock(&s->lock);
	struct batch *b = s->ended;
	if (b != NULL)
		DL_DELETE(s->ended, b);
	if (b != NULL && s->ended == NULL) {
		/* Under the lock, so that a batch that ends now is not read away. */
		eventfd_t count;
		eventfd_read(s->ready, &count);
	}
	pthread_mutex_unlock(&s->lock);
	if (b == NULL)
		return 0;
	*ret_tag = b->tag;
	*ret_error = b->error;
	batch_free(b);
	return 1;
}
