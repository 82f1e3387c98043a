/* Uploads that are directories: dropped with all that is in them, or grown file by file
 * where the daemon can see it, and changed while they wait. Whenever no file of one is
 * open it may be all that will come; so each change makes another upload of it. */
#include "world.h"

#include "io/watch.h"

#include <stdio.h>
#include <string.h>

static int directory_of(int upload)
{
	for (int i = 0; i < world->fs.inodes_n; i++)
		if (world->fs.inodes[i].directory && world->fs.inodes[i].upload == upload)
			return i;
	return NONE;
}

static int slot_of(int inode)
{
	for (int i = 0; i < world->fs.slots_n; i++)
		if (world->fs.slots[i].used && world->fs.slots[i].inode == inode)
			return i;
	return NONE;
}

static void touch(struct inode *inode)
{
	inode->mtime_ns = inode->ctime_ns = stamp_ns();
	inode->synced = inode->synced && inode->size == inode->synced_size;
	inode->dirty_ms = world->now_ms;
}

/* The user sees it under its name in incoming, or not at all any more. */
static int in_reach(int user)
{
	int inode = directory_of(world->uploaders[user].slot_upload);
	int slot = inode == NONE ? NONE : slot_of(inode);
	return slot != NONE && world->fs.slots[slot].place == PLACE_INCOMING ? slot : NONE;
}

static void leave(int user)
{
	struct uploader *p = &world->uploaders[user];
	p->slot_upload = p->inner = NONE;
	p->folder = false;
}

/* What it was before is nowhere any more. */
static void begin_change(int user, int inode)
{
	struct uploader *p = &world->uploaders[user];
	int before = world->fs.inodes[inode].upload;
	if (before != NONE && world->uploads[before].fate == FATE_WRITING)
		return;
	upload_gone(before, FATE_REPLACED);
	p->slot_upload = upload_new(user, before == NONE ? "?" : world->uploads[before].name, false);
	world->fs.inodes[inode].upload = p->slot_upload;
}

static bool has_files(int inode)
{
	return fs_next_within(inode, 0) != NONE;
}

static void end_change(int user, int inode)
{
	struct uploader *p = &world->uploaders[user];
	p->inner = NONE;
	if (!p->aside && has_files(inode))
		upload_becomes_whole(p->slot_upload, inode);
}

static bool has_room(void)
{
	return world->uploads_n + USERS_MAX < UPLOADS_MAX;
}

static void open_inner(int user, int slot, const char *name)
{
	struct uploader *p = &world->uploaders[user];
	int directory = world->fs.slots[slot].inode;
	uint64_t dir = fs_within(directory);
	int there = fs_find(user, PLACE_WITHIN, dir, name);
	begin_change(user, directory);
	if (there == NONE)
		there = fs_link(user, PLACE_WITHIN, dir, name, fs_new_inode(INODE_INNER));
	p->inner = world->fs.slots[there].inode;
	struct inode *inode = &world->fs.inodes[p->inner];
	inode->size = inode->synced_size = 0;
	inode->synced = false;
	inode->writing = true;
	touch(inode);
	say("user %s writes %s in %s (upload %d)", user_name(user), name, world->fs.slots[slot].name,
	    p->slot_upload);
}

static void close_inner(int user)
{
	struct uploader *p = &world->uploaders[user];
	struct inode *inode = &world->fs.inodes[p->inner];
	inode->size += 1 + dice_roll(3000);
	touch(inode);
	inode->writing = false;
	int directory = directory_of(p->slot_upload);
	if (directory == NONE)
		leave(user);
	else
		end_change(user, directory);
}

static void remove_inner(int user, int slot)
{
	int directory = world->fs.slots[slot].inode, first = fs_next_within(directory, 0);
	if (first == NONE)
		return;
	begin_change(user, directory);
	say("user %s removes %s from %s (upload %d)", user_name(user), world->fs.slots[first].name,
	    world->fs.slots[slot].name, world->uploaders[user].slot_upload);
	fs_unlink(first);
	end_change(user, directory);
}

static void rename_in(int user, int slot)
{
	struct uploader *p = &world->uploaders[user];
	const char *name = world->uploads[p->slot_upload].name;
	int inode = world->fs.slots[slot].inode;
	make_way(user, name);
	upload_becomes_whole(p->slot_upload, inode);
	fs_rename(slot, user, PLACE_INCOMING, 0, name);
	hint_add(user, WATCH_DIRECTORY_IN, name);
}

static int make(int user, const char *name, int upload)
{
	int inode = fs_new_inode(INODE_UPLOAD);
	struct inode *i = &world->fs.inodes[inode];
	i->directory = i->synced = true;
	i->upload = upload;
	fs_link(user, PLACE_INCOMING, 0, name, inode);
	hint_add(user, WATCH_DIRECTORY, name);
	return inode;
}

void folder_begin(int user, const char *name)
{
	struct uploader *p = &world->uploaders[user];
	char aside[NAME_ROOM + 8];
	p->folder = true;
	p->inner = NONE;
	p->aside = one_of(2);
	p->inner_left = 1 + (unsigned)dice_roll(INNER_MAX);
	p->slot_upload = upload_new(user, name, p->aside);
	p->left--;
	snprintf(aside, sizeof aside, ".%s.part", name);
	make_way(user, p->aside ? aside : name);
	make(user, p->aside ? aside : name, p->slot_upload);
	say("user %s makes the directory %s (upload %d)", user_name(user), p->aside ? aside : name,
	    p->slot_upload);
	upload_later(user, 200);
}

/* It lies there already: one more file, another one of the same name, or one less. */
void folder_change(int user, int slot)
{
	struct uploader *p = &world->uploaders[user];
	char name[NAME_ROOM];
	if (!has_room() || world->fs.slots[slot].name[0] == '.')
		return;
	p->folder = true;
	p->aside = false;
	p->inner = NONE;
	p->inner_left = 0;
	p->slot_upload = world->fs.inodes[world->fs.slots[slot].inode].upload;
	snprintf(name, sizeof name, "%u.tif", 1 + (unsigned)dice_roll(INNER_MAX));
	if (one_of(4)) {
		remove_inner(user, slot);
		leave(user);
	} else {
		open_inner(user, slot, name);
		upload_later(user, one_of(3) ? 3000 : 300);
	}
}

/* The next file, or the end. */
void folder_act(int user)
{
	struct uploader *p = &world->uploaders[user];
	char name[NAME_ROOM];
	int slot = in_reach(user);
	if (p->inner != NONE) {
		close_inner(user);
		return;
	}
	if (slot == NONE || (p->inner_left == 0 && !p->aside) || !has_room()) {
		leave(user);
		return;
	}
	if (p->inner_left == 0) {
		rename_in(user, slot);
		leave(user);
		return;
	}
	snprintf(name, sizeof name, "%u.tif", p->inner_left--);
	open_inner(user, slot, name);
}

void folder_end(int user)
{
	struct uploader *p = &world->uploaders[user];
	if (p->inner != NONE)
		close_inner(user);
	int slot = p->slot_upload == NONE ? NONE : in_reach(user);
	if (slot != NONE && p->aside && has_files(world->fs.slots[slot].inode))
		rename_in(user, slot);
	leave(user);
}
