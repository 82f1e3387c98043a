/* The disk: names, inodes, and what of them a power cut leaves.
 *
 * Renames and the like go to the disk in their order, as in a journal: syncing
 * a directory makes durable what happened in it last and all before; a power
 * cut undoes some of what came later, the latest first. Data is durable only
 * where its file was synced. */
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { WRITE_BACK_MS = 30000 };

void fs_begin(void)
{
	struct fs *fs = &world->fs;
	fs->slots_n = fs->inodes_n = fs->undo_n = 0;
	fs->op = fs->durable_op = 0;
	fs->last_number = 100;
}

int fs_find(int user, uint8_t place, uint64_t dir, const char *name)
{
	const struct fs *fs = &world->fs;
	for (int i = 0; i < fs->slots_n; i++) {
		const struct slot *s = &fs->slots[i];
		if (s->used && s->user == user && s->place == place && s->dir == dir &&
		    strcmp(s->name, name) == 0)
			return i;
	}
	return NONE;
}

/* Undoing is for what is not on the disk yet. */
static void forget_durable(void)
{
	struct fs *fs = &world->fs;
	int n = 0;
	while (n < fs->undo_n && fs->undo[n].op <= fs->durable_op)
		n++;
	/* The kernel writes back by itself at last. */
	if (n == 0 && fs->undo_n == UNDO_MAX) {
		n = UNDO_MAX / 2;
		fs->durable_op = fs->undo[n - 1].op;
	}
	fs->undo_n -= n;
	memmove(fs->undo, fs->undo + n, (size_t)fs->undo_n * sizeof fs->undo[0]);
}

#define WITHIN_BIT (UINT64_C(1) << 40) /* no job has such a number */

uint64_t fs_within(int inode)
{
	return world->fs.inodes[inode].number | WITHIN_BIT;
}

/* Its own times change with the names in it. */
static int holder_of(const struct slot *s)
{
	const struct fs *fs = &world->fs;
	for (int i = 0; s->place == PLACE_WITHIN && i < fs->inodes_n; i++)
		if (fs->inodes[i].directory && fs_within(i) == s->dir)
			return i;
	return NONE;
}

static void note_holder(struct undo *u)
{
	u->holder = holder_of(u->after.used ? &u->after : &u->before);
	if (u->holder == NONE)
		return;
	struct inode *holder = &world->fs.inodes[u->holder];
	u->holder_mtime_ns = holder->mtime_ns;
	u->holder_ctime_ns = holder->ctime_ns;
	holder->mtime_ns = holder->ctime_ns = stamp_ns();
}

static void change(int slot, const struct slot *after)
{
	struct fs *fs = &world->fs;
	if (fs->undo_n == UNDO_MAX)
		forget_durable();
	int inode = after->used ? after->inode : fs->slots[slot].inode;
	fs->undo[fs->undo_n++] = (struct undo){
		.op = fs->op,
		.slot = slot,
		.before = fs->slots[slot],
		.after = *after,
		.ctime_ns = fs->inodes[inode].ctime_ns,
		.ms = world->now_ms,
	};
	note_holder(&fs->undo[fs->undo_n - 1]);
	fs->slots[slot] = *after;
	fs->inodes[inode].ctime_ns = stamp_ns();
}

static bool is_referred_to(int inode)
{
	const struct fs *fs = &world->fs;
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].inode == inode)
			return true;
	for (int i = 0; i < fs->undo_n; i++)
		if (fs->undo[i].before.inode == inode || fs->undo[i].after.inode == inode)
			return true;
	for (int i = 0; i < FDS_MAX; i++)
		if ((world->fds[i].kind == FD_FILE || world->fds[i].place == PLACE_WITHIN) &&
		    world->fds[i].kind != FD_FREE && world->fds[i].inode == inode)
			return true;
	return false;
}

static int free_inode(void)
{
	struct fs *fs = &world->fs;
	if (fs->inodes_n < INODES_MAX)
		return fs->inodes_n++;
	int i = 0;
	while (i < INODES_MAX && is_referred_to(i))
		i++;
	assert(i < INODES_MAX);
	return i;
}

int fs_new_inode(enum inode_kind kind)
{
	int inode = free_inode();
	int64_t now = stamp_ns();
	world->fs.inodes[inode] = (struct inode){.kind = kind, .number = ++world->fs.last_number,
	                                         .upload = NONE, .mtime_ns = now, .ctime_ns = now};
	return inode;
}

static int free_slot(void)
{
	struct fs *fs = &world->fs;
	for (int i = 0; i < fs->slots_n; i++)
		if (!fs->slots[i].used)
			return i;
	assert(fs->slots_n < SLOTS_MAX);
	fs->slots[fs->slots_n] = (struct slot){.inode = 0};
	return fs->slots_n++;
}

static struct slot make_slot(int user, uint8_t place, uint64_t dir, const char *name, int inode)
{
	struct slot s = {.used = true, .user = (uint8_t)user, .place = place, .dir = dir, .inode = inode};
	assert(strlen(name) < sizeof s.name);
	strcpy(s.name, name);
	return s;
}

int fs_link(int user, uint8_t place, uint64_t dir, const char *name, int inode)
{
	struct slot s = make_slot(user, place, dir, name, inode);
	int slot = free_slot();
	world->fs.op++;
	change(slot, &s);
	return slot;
}

void fs_unlink(int slot)
{
	struct slot none = {.inode = world->fs.slots[slot].inode};
	world->fs.op++;
	change(slot, &none);
}

/* As rename(2): what had the name is gone, in the same moment. */
void fs_rename(int slot, int user, uint8_t place, uint64_t dir, const char *name)
{
	struct slot s = make_slot(user, place, dir, name, world->fs.slots[slot].inode);
	int old = fs_find(user, place, dir, name);
	if (old == slot)
		return;
	world->fs.op++;
	if (old != NONE) {
		struct slot none = {.inode = world->fs.slots[old].inode};
		change(old, &none);
	}
	change(slot, &s);
}

static void dir_name(uint64_t dir, char out[NAME_ROOM])
{
	snprintf(out, NAME_ROOM, "%llu", (unsigned long long)dir);
}

bool fs_dir_exists(int user, uint64_t dir)
{
	char name[NAME_ROOM];
	dir_name(dir, name);
	return fs_find(user, PLACE_PROCESSING, 0, name) != NONE;
}

int fs_make_dir(int user, uint64_t dir)
{
	char name[NAME_ROOM];
	dir_name(dir, name);
	if (fs_find(user, PLACE_PROCESSING, 0, name) == NONE)
		fs_link(user, PLACE_PROCESSING, 0, name, fs_new_inode(INODE_DIR));
	return 0;
}

int fs_remove_dir(int user, uint64_t dir)
{
	char name[NAME_ROOM];
	const struct fs *fs = &world->fs;
	dir_name(dir, name);
	int slot = fs_find(user, PLACE_PROCESSING, 0, name);
	if (slot == NONE)
		return -ENOENT;
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->slots[i].user == user && fs->slots[i].dir == dir)
			return -ENOTEMPTY;
	fs_unlink(slot);
	return 0;
}

void fs_sync_file(int inode)
{
	struct inode *i = &world->fs.inodes[inode];
	i->synced = true;
	i->synced_size = i->size;
}

static bool lies_in(const struct slot *s, int user, uint8_t place, uint64_t dir)
{
	return s->used && s->user == user && s->place == place && s->dir == dir;
}

void fs_sync_dir(int user, uint8_t place, uint64_t dir)
{
	struct fs *fs = &world->fs;
	for (int i = fs->undo_n - 1; i >= 0; i--) {
		const struct undo *u = &fs->undo[i];
		if (lies_in(&u->before, user, place, dir) || lies_in(&u->after, user, place, dir)) {
			if (fs->durable_op < u->op)
				fs->durable_op = u->op;
			break;
		}
	}
	forget_durable();
}

/* Do this name and its data survive a power cut now? */
bool fs_is_durable(int slot)
{
	const struct fs *fs = &world->fs;
	const struct inode *inode = &fs->inodes[fs->slots[slot].inode];
	for (int i = 0; inode->directory && i < fs->undo_n; i++)
		if (fs->undo[i].holder == fs->slots[slot].inode && fs->undo[i].op > fs->durable_op)
			return false;
	for (int i = NONE; (i = fs_next_within(fs->slots[slot].inode, i + 1)) != NONE;)
		if (!fs_is_durable(i))
			return false;
	for (int i = 0; i < fs->undo_n; i++)
		if (fs->undo[i].slot == slot && fs->undo[i].op > fs->durable_op)
			return false;
	return inode->synced && inode->synced_size == inode->size;
}

/* The kernel writes everything by itself in half a minute. */
static void write_back(void)
{
	struct fs *fs = &world->fs;
	for (int i = 0; i < fs->undo_n; i++)
		if (fs->undo[i].ms + WRITE_BACK_MS < world->now_ms && fs->durable_op < fs->undo[i].op)
			fs->durable_op = fs->undo[i].op;
}

static void lose_data(struct inode *inode)
{
	/* Some of it may have been written back all the same. */
	bool old = inode->dirty_ms + WRITE_BACK_MS < world->now_ms;
	bool kept = inode->synced ? inode->synced_size == inode->size : old || one_of(2);
	if (!kept)
		inode->size = inode->synced_size;
	inode->synced = true;
	inode->synced_size = inode->size;
	inode->writing = false;
}

void fs_power_cut(void)
{
	struct fs *fs = &world->fs;
	write_back();
	uint64_t keep = fs->durable_op;
	if (!one_of(3))
		keep += dice_roll(fs->op - fs->durable_op + 1);
	for (int i = fs->undo_n - 1; i >= 0 && fs->undo[i].op > keep; i--) {
		const struct undo *u = &fs->undo[i];
		fs->slots[u->slot] = u->before;
		int inode = u->after.used ? u->after.inode : u->before.inode;
		fs->inodes[inode].ctime_ns = u->ctime_ns;
		if (u->holder != NONE) {
			fs->inodes[u->holder].mtime_ns = u->holder_mtime_ns;
			fs->inodes[u->holder].ctime_ns = u->holder_ctime_ns;
		}
	}
	fs->undo_n = 0;
	fs->op = fs->durable_op = keep;
	for (int i = 0; i < fs->inodes_n; i++) {
		lose_data(&fs->inodes[i]);
		if (fs->inodes[i].seen_op > keep)
			fs->inodes[i].seen_by = fs->inodes[i].seen_op = 0;
	}
}

void fs_ident(int inode, struct file_ident *ret)
{
	const struct inode *i = &world->fs.inodes[inode];
	*ret = (struct file_ident){
		.dev = 7,
		.ino = i->number,
		.size = i->size,
		.ctime_ns = i->ctime_ns,
		.mtime_ns = i->mtime_ns,
	};
}

int fs_next_within(int inode, int from)
{
	const struct fs *fs = &world->fs;
	uint64_t dir = fs_within(inode);
	for (int i = from; fs->inodes[inode].directory && i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->slots[i].place == PLACE_WITHIN && fs->slots[i].dir == dir)
			return i;
	return NONE;
}

void fs_remove_upload(int slot)
{
	int inode = world->fs.slots[slot].inode;
	for (int i = NONE; (i = fs_next_within(inode, i + 1)) != NONE;)
		fs_unlink(i);
	fs_unlink(slot);
}

bool fs_is_same(const struct file_ident *ident, int inode)
{
	struct file_ident now;
	fs_ident(inode, &now);
	if (world->fs.inodes[inode].directory != (ident->whole != 0))
		return false;
	return ident->whole != 0 ? file_ident_same_top(ident, &now) : file_ident_same(ident, &now);
}

/* An attribute: in the journal like a name. */
void fs_note_seen(int inode, uint64_t job)
{
	struct inode *i = &world->fs.inodes[inode];
	if (!i->directory || i->seen_by == job)
		return;
	i->seen_by = job;
	i->seen_op = ++world->fs.op;
}

void fs_whole(int inode, struct whole *ret)
{
	const struct fs *fs = &world->fs;
	struct file_ident ident;
	fs_ident(inode, &ident);
	whole_begin(ret, &ident);
	for (int i = NONE; (i = fs_next_within(inode, i + 1)) != NONE;) {
		fs_ident(fs->slots[i].inode, &ident);
		whole_add(ret, fs->slots[i].name, false, &ident);
		ret->writer |= fs->inodes[fs->slots[i].inode].writing;
	}
	whole_end(ret);
}
