/* io/wholes.h: walks that go on one entry at a time, while others act. */
#include "world.h"

#include "io/wholes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int fd_close(int fd);

int wholes_add(struct wholes *w, uint64_t tag, int dirfd, const struct wholes_order *order)
{
	(void)w;
	int r = io_may_fail("walk through a directory", -ENOMEM, -EAGAIN);
	if (r < 0)
		return r;
	assert(world->walks_n < WALKS_MAX);
	world->walks[world->walks_n++] = (struct sim_walk){
		.tag = tag, .fd = dirfd, .due_ms = world->now_ms + dice_roll(20),
		.probe = order->probe, .sync = order->sync || order->sync_all, .give = order->give};
	return 0;
}

static void forget(int i)
{
	struct sim_walk *w = &world->walks[i];
	if (!w->done)
		fd_close(w->fd);
	memmove(w, w + 1, (size_t)(--world->walks_n - i) * sizeof *w);
}

void wholes_cancel(struct wholes *w, uint64_t tag)
{
	(void)w;
	for (int i = 0; i < world->walks_n; i++)
		if (world->walks[i].tag == tag)
			forget(i--);
}

int wholes_next(struct wholes *w, uint64_t *ret_tag, struct wholes_result *ret)
{
	(void)w;
	for (int i = 0; i < world->walks_n; i++) {
		const struct sim_walk *walk = &world->walks[i];
		if (!walk->done)
			continue;
		*ret_tag = walk->tag;
		*ret = (struct wholes_result){.whole = walk->whole, .error = walk->error};
		forget(i);
		return 1;
	}
	return 0;
}

void wholes_look(int dirfd, const struct wholes_order *order, struct wholes_result *ret)
{
	(void)order;
	int r = io_may_fail("look through a directory", -EIO, -EMFILE);
	*ret = (struct wholes_result){.error = r};
	if (r == 0)
		fs_whole(world->fds[dirfd - 1000].inode, &ret->whole);
}

void walks_forget(void)
{
	world->walks_n = 0;
}

bool walk_ready(void)
{
	for (int i = 0; i < world->walks_n; i++)
		if (world->walks[i].done)
			return true;
	return false;
}

static struct sim_walk *first_at_work(void)
{
	for (int i = 0; i < world->walks_n; i++)
		if (!world->walks[i].done)
			return &world->walks[i];
	return NULL;
}

uint64_t walk_due(void)
{
	const struct sim_walk *w = first_at_work();
	return w == NULL ? FAR : w->due_ms;
}

static void end(struct sim_walk *w)
{
	whole_end(&w->whole);
	w->fd = fd_close(w->fd);
	w->done = true;
}

static void begin(struct sim_walk *w, int inode)
{
	struct file_ident top;
	fs_ident(inode, &top);
	w->top_ctime_ns = top.ctime_ns;
	w->begun = true;
	whole_begin(&w->whole, &top);
}

/* Where it is by now: its own name is to last, too. */
static void sync_top(int inode)
{
	const struct fs *fs = &world->fs;
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->slots[i].inode == inode)
			fs_sync_dir(fs->slots[i].user, fs->slots[i].place, fs->slots[i].dir);
}

static void finish(struct sim_walk *w, int inode, int user)
{
	if (w->sync && !broken("whole-directory-not-synced")) {
		fs_sync_dir(user, PLACE_WITHIN, fs_within(inode));
		sync_top(inode);
	}
	if (world->fs.inodes[inode].ctime_ns != w->top_ctime_ns)
		w->whole.writer = true;
	end(w);
}

static void take(struct sim_walk *w, int slot)
{
	struct file_ident ident;
	int inode = world->fs.slots[slot].inode;
	w->at = slot + 1;
	if (w->probe && world->fs.inodes[inode].writing && !broken("whole-writers-not-asked")) {
		w->whole.writer = true;
		end(w);
		return;
	}
	if (w->sync && !broken("whole-file-not-synced"))
		fs_sync_file(inode);
	fs_ident(inode, &ident);
	whole_add(&w->whole, world->fs.slots[slot].name, false, &ident);
}

/* An error leaves some of it as it was. What the kernel could not write is for
 * tests/fault. */
static bool fails(struct sim_walk *w)
{
	if (!world->faulty || world->profile.error_1_of == 0 || !one_of(8))
		return false;
	went_wrong();
	w->error = broken("whole-error-ignored") ? 0 : one_of(2) ? -EIO : -EMFILE;
	end(w);
	return true;
}

static void last(struct sim_walk *w)
{
	struct sim_walk moved = *w;
	int i = (int)(w - world->walks);
	memmove(w, w + 1, (size_t)(world->walks_n - i - 1) * sizeof *w);
	world->walks[world->walks_n - 1] = moved;
}

/* One entry of the first one; then it is the others' turn. */
void walk_act(void)
{
	struct sim_walk *w = first_at_work();
	assert(w != NULL);
	struct sim_fd fd = world->fds[w->fd - 1000];
	if (!w->begun)
		begin(w, fd.inode);
	if (w->give) {
		end(w);
		return;
	}
	if (fails(w))
		return;
	int slot = fs_next_within(fd.inode, w->at);
	if (slot == NONE)
		finish(w, fd.inode, fd.user);
	else
		take(w, slot);
	if (!w->done) {
		w->due_ms = world->now_ms + dice_roll(12);
		last(w);
	}
}
