#include "io/digest.h"

#include "base/fd.h"
#include "base/helper.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

_Static_assert(DIGEST_SIZE == SHA256_DIGEST_SIZE, "one kind of digest");

enum { BUFFER = 256 * 1024 };

struct item {
	struct helper_task task; /* first */
	int fd;
	uint64_t size;
	_Atomic uint64_t done; /* bytes */
	int error;
	struct sha256_ctx sha;
	uint8_t sum[DIGEST_SIZE];
};

struct digest {
	struct helper *helper;
	unsigned char *buffer; /* the thread's */
};

static ssize_t read_some(int fd, void *buffer, size_t size)
{
	ssize_t n;
	do
		n = read(fd, buffer, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* One turn. Returns whether the file was read to its end. */
static bool work(void *ctx, struct helper_task *task)
{
	struct item *item = (struct item *)task;
	unsigned char *buffer = ((struct digest *)ctx)->buffer;
	uint64_t left = item->size - item->done, turn = 0;
	while (left > 0 && turn < DIGEST_SLICE) {
		ssize_t n = read_some(item->fd, buffer, left < BUFFER ? (size_t)left : BUFFER);
		if (n < 0)
			item->error = (int)n;
		if (n <= 0) {
			left = 0;
			break;
		}
		sha256_update(&item->sha, (size_t)n, buffer);
		turn += (uint64_t)n;
		left -= (uint64_t)n;
	}
	item->done += turn;
	if (left > 0)
		return false;
	sha256_digest(&item->sha, DIGEST_SIZE, item->sum);
	return true;
}

static void item_free(struct helper_task *task)
{
	struct item *item = (struct item *)task;
	fd_close(item->fd);
	free(item);
}

static const struct helper_kind kind = {.work = work, .free = item_free};

int digest_new(struct digest **ret)
{
	struct digest *g = calloc(1, sizeof *g);
	if (g == NULL)
		return -ENOMEM;
	g->buffer = malloc(BUFFER);
	int r = g->buffer == NULL ? -ENOMEM : helper_new(&kind, g, &g->helper);
	if (r < 0) {
		digest_free(g);
		return r;
	}
	*ret = g;
	return 0;
}

void digest_free(struct digest *g)
{
	if (g == NULL)
		return;
	helper_free(g->helper);
	free(g->buffer);
	free(g);
}

int digest_fd(const struct digest *g)
{
	return helper_fd(g->helper);
}

int digest_add(struct digest *g, uint64_t tag, int fd, uint64_t size)
{
	struct item *item = calloc(1, sizeof *item);
	if (item == NULL)
		return -ENOMEM;
	item->fd = fd;
	item->size = size;
	sha256_init(&item->sha);
	int r = helper_add(g->helper, &item->task, tag);
	if (r < 0)
		free(item);
	return r;
}

void digest_cancel(struct digest *g, uint64_t tag)
{
	helper_cancel(g->helper, tag);
}

uint64_t digest_progress(struct digest *g, uint64_t tag)
{
	const struct helper_task *task = helper_find(g->helper, tag);
	return task == NULL ? 0 : ((const struct item *)task)->done;
}

int digest_next(struct digest *g, uint64_t *ret_tag, int *ret_error,
                uint8_t ret_sum[DIGEST_SIZE])
{
	struct helper_task *task = helper_next(g->helper);
	if (task == NULL)
		return 0;
	const struct item *item = (struct item *)task;
	*ret_tag = task->tag;
	*ret_error = item->error;
	for (size_t i = 0; i < DIGEST_SIZE; i++)
		ret_sum[i] = item->sum[i];
	item_free(task);
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
