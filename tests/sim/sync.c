/* io/sync.h: batches that become durable after a while, in order. */
#include "world.h"

#include "io/sync.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int fd_close(int fd);

int sync_add(struct sync *s, uint64_t tag, const int *fds, size_t n, int *errors)
{
	(void)s;
	io_step("queue a batch");
	assert(world->batches_n < BATCHES_MAX && n <= 2 * UPLOADS_MAX);
	struct sim_batch *b = &world->batches[world->batches_n++];
	*b = (struct sim_batch){.tag = tag, .n = (int)n, .due_ms = world->now_ms + dice_roll(40), .errors = errors};
	memcpy(b->fds, fds, n * sizeof fds[0]);
	b->done = broken("told-before-synced");
	return 0;
}

static struct sim_batch *first_at_work(void)
{
	for (int i = 0; i < world->batches_n; i++)
		if (!world->batches[i].done)
			return &world->batches[i];
	return NULL;
}

uint64_t sync_due(void)
{
	const struct sim_batch *b = first_at_work();
	return b == NULL ? FAR : b->due_ms;
}

static void sync_one(int fd)
{
	const struct sim_fd *f = &world->fds[fd - 1000];
	if (f->kind == FD_FILE && !broken("file-not-synced"))
		fs_sync_file(f->inode);
	if (f->kind == FD_DIRECTORY && !broken("directory-not-synced"))
		fs_sync_dir(f->user, f->place, f->dir);
}

/* One batch; an error leaves some of it as it was. Errors of files are of the
 * kind that passes: what the kernel could not write is for tests/fault. */
void sync_work(void)
{
	struct sim_batch *b = first_at_work();
	bool fails = world->faulty && world->profile.error_1_of > 0 && one_of(4);
	for (int i = 0; i < b->n; i++) {
		bool whole = !fails || one_of(2);
		bool is_file = world->fds[b->fds[i] - 1000].kind == FD_FILE;
		b->errors[i] = whole || broken("sync-error-ignored") ? 0 : is_file ? -ENOMEM : -EIO;
		if (whole)
			sync_one(b->fds[i]);
		fd_close(b->fds[i]);
	}
	b->n = 0;
	b->error = fails && !broken("sync-error-ignored") ? -EIO : 0;
	b->done = true;
	if (fails)
		went_wrong();
	say("sync: batch %llu is %s", (unsigned long long)b->tag, fails ? "failed" : "durable");
}

bool sync_ready(void)
{
	return world->batches_n > 0 && world->batches[0].done;
}

int sync_next(struct sync *s, uint64_t *ret_tag, int *ret_error)
{
	(void)s;
	if (!sync_ready())
		return 0;
	struct sim_batch *b = &world->batches[0];
	*ret_tag = b->tag;
	*ret_error = b->error;
	for (int i = 0; i < b->n; i++)
		fd_close(b->fds[i]);
	memmove(b, b + 1, (size_t)--world->batches_n * sizeof *b);
	return 1;
}

void sync_forget(void)
{
	world->batches_n = 0;
}
