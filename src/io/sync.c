#include "io/sync.h"

#include "base/fd.h"
#include "base/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

struct item {
	int fd;
	size_t place; /* in what was given to sync_add() */
	bool is_dir;
	dev_t dev;
	ino_t ino;
};

struct batch {
	struct helper_task task; /* first */
	int error;
	int *errors; /* the caller's, or NULL */
	size_t n;
	struct item items[];
};

struct sync {
	struct helper *helper;
};

static void note(struct batch *b, const struct item *item, int error)
{
	if (b->error == 0)
		b->error = error;
	if (b->errors != NULL && b->errors[item->place] == 0)
		b->errors[item->place] = error;
}

static void batch_free(struct helper_task *task)
{
	struct batch *b = (struct batch *)task;
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

static bool work(void *ctx, struct helper_task *task)
{
	struct batch *b = (struct batch *)task;
	(void)ctx;
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
	return true;
}

static const struct helper_kind kind = {.work = work, .free = batch_free};

int sync_new(struct sync **ret)
{
	struct sync *s = calloc(1, sizeof *s);
	int r = s == NULL ? -ENOMEM : helper_new(&kind, NULL, &s->helper);
	if (r == 0)
		r = helper_start(s->helper);
	if (r < 0) {
		sync_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void sync_free(struct sync *s)
{
	if (s == NULL)
		return;
	helper_free(s->helper);
	free(s);
}

int sync_fd(const struct sync *s)
{
	return helper_fd(s->helper);
}

int sync_add(struct sync *s, uint64_t tag, const int *fds, size_t n, int *errors)
{
	struct batch *b = calloc(1, sizeof *b + n * sizeof b->items[0]);
	if (b == NULL)
		return -ENOMEM;
	b->n = n;
	b->errors = errors;
	for (size_t i = 0; i < n; i++) {
		b->items[i].fd = fds[i];
		b->items[i].place = i;
		if (errors != NULL)
			errors[i] = 0;
	}
	int r = helper_add(s->helper, &b->task, tag);
	if (r < 0)
		free(b);
	return r;
}

int sync_next(struct sync *s, uint64_t *ret_tag, int *ret_error)
{
	struct helper_task *task = helper_next(s->helper);
	if (task == NULL)
		return 0;
	*ret_tag = task->tag;
	*ret_error = ((const struct batch *)task)->error;
	batch_free(task);
	return 1;
}
