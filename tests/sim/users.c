/* Users: they upload slowly or aside, give up, overwrite, replace and take
 * away, also in the middle of what the daemon does. */
#include "world.h"

#include "io/watch.h"

#include <stdio.h>
#include <string.h>

uint64_t uploader_due(int user)
{
	return world->uploaders[user].due_ms;
}

void upload_later(int user, uint64_t ms)
{
	world->uploaders[user].due_ms = world->now_ms + 1 + dice_roll(ms);
}

static void arrive(int user)
{
	world->uploaders[user].there = true;
	say("user %s is there", user_name(user));
	hint_add(NONE, WATCH_DIRECTORY, user_name(user));
}

static int inode_of(int upload)
{
	for (int i = 0; i < world->fs.inodes_n; i++)
		if (world->fs.inodes[i].upload == upload && world->fs.inodes[i].kind == INODE_UPLOAD)
			return i;
	return NONE;
}

static int slot_of_inode(int inode)
{
	for (int i = 0; i < world->fs.slots_n; i++)
		if (world->fs.slots[i].used && world->fs.slots[i].inode == inode)
			return i;
	return NONE;
}

void upload_gone(int upload, enum fate fate)
{
	/* Also what was past its time, and a power cut brought back. */
	if (upload != NONE && (world->uploads[upload].fate == FATE_WHOLE ||
	                       world->uploads[upload].fate == FATE_PURGED))
		world->uploads[upload].fate = fate;
}

int upload_new(int user, const char *name, bool renamed)
{
	int upload = world->uploads_n++;
	world->uploads[upload] = (struct ledger_entry){
		.fate = FATE_WRITING, .user = user, .renamed = renamed};
	strcpy(world->uploads[upload].name, name);
	return upload;
}

static void touch(struct inode *inode)
{
	inode->mtime_ns = inode->ctime_ns = stamp_ns();
	inode->synced = inode->synced && inode->size == inode->synced_size;
	inode->dirty_ms = world->now_ms;
}

/* open(O_CREAT | O_TRUNC) */
static void open_name(int user, const char *name, int upload)
{
	int slot = fs_find(user, PLACE_INCOMING, 0, name);
	if (slot == NONE) {
		slot = fs_link(user, PLACE_INCOMING, 0, name, fs_new_inode(INODE_UPLOAD));
		hint_add(user, WATCH_CHANGED, name);
	}
	struct inode *inode = &world->fs.inodes[world->fs.slots[slot].inode];
	upload_gone(inode->upload, FATE_REPLACED);
	inode->upload = upload;
	inode->size = 0;
	inode->synced = false;
	inode->synced_size = 0;
	inode->writing = true;
	touch(inode);
}

static int some_file(int user)
{
	int slots[SLOTS_MAX], n = 0;
	for (int i = 0; i < world->fs.slots_n; i++)
		if (world->fs.slots[i].used && world->fs.slots[i].user == user &&
		    world->fs.slots[i].place == PLACE_INCOMING)
			slots[n++] = i;
	return n == 0 ? NONE : slots[dice_roll((uint64_t)n)];
}

static bool is_directory(int slot)
{
	return slot != NONE && world->fs.inodes[world->fs.slots[slot].inode].directory;
}

/* One of few names, often one that is there: that may be what a power cut brought back. */
static void choose_name(int user, char *name)
{
	bool one_there = one_of(3) != world->profile.backlog;
	int slot = one_there ? some_file(user) : NONE;
	if (slot != NONE && world->fs.slots[slot].name[0] != '.')
		strcpy(name, world->fs.slots[slot].name);
	else
		snprintf(name, NAME_ROOM, "%c.csv", (int)('a' + dice_roll(5)));
}

/* Whatever has the name; of a directory, `rm -r`. */
void make_way(int user, const char *name)
{
	int slot = fs_find(user, PLACE_INCOMING, 0, name);
	if (slot == NONE)
		return;
	upload_gone(world->fs.inodes[world->fs.slots[slot].inode].upload, FATE_WITHDRAWN);
	fs_remove_upload(slot);
	hint_add(user, WATCH_LEFT, name);
}

static void begin_upload(int user)
{
	struct uploader *p = &world->uploaders[user];
	char name[NAME_ROOM], aside[NAME_ROOM + 8];
	choose_name(user, name);
	if (is_directory(fs_find(user, PLACE_INCOMING, 0, name))) {
		folder_change(user, fs_find(user, PLACE_INCOMING, 0, name));
		return;
	}
	if (world->settings.wholes && !one_of(3)) {
		folder_begin(user, name);
		return;
	}
	p->aside = one_of(3);
	p->goal = 1 + dice_roll(5000);
	p->slot_upload = upload_new(user, name, p->aside);
	p->left--;
	snprintf(aside, sizeof aside, ".%s.part", name);
	if (p->aside && is_directory(fs_find(user, PLACE_INCOMING, 0, aside)))
		make_way(user, aside);
	open_name(user, p->aside ? aside : name, p->slot_upload);
	say("user %s begins %s (upload %d)", user_name(user), p->aside ? aside : name, p->slot_upload);
	upload_later(user, 400);
}

void upload_becomes_whole(int upload, int inode)
{
	struct ledger_entry *e = &world->uploads[upload];
	struct file_ident ident;
	fs_ident(inode, &ident);
	if (world->fs.inodes[inode].directory) {
		struct whole whole;
		fs_whole(inode, &whole);
		ident = whole.ident;
	}
	e->fate = FATE_WHOLE;
	e->number = ident.ino;
	e->size = ident.size;
	e->mtime_ns = ident.mtime_ns;
	e->digest = ident.whole;
	e->whole_ms = world->now_ms;
	say("user %s: %s (upload %d) is whole: %llu bytes", user_name(e->user), e->name, upload,
	    (unsigned long long)e->size);
}

static void rename_in(int user, int slot, const char *name)
{
	char old[NAME_ROOM];
	strcpy(old, world->fs.slots[slot].name);
	int there = fs_find(user, PLACE_INCOMING, 0, name);
	if (is_directory(there)) {
		/* That cannot be: it gives up. */
		upload_gone(world->fs.inodes[world->fs.slots[slot].inode].upload, FATE_WITHDRAWN);
		fs_unlink(slot);
		hint_add(user, WATCH_LEFT, old);
		return;
	}
	if (there != NONE) {
		struct inode *replaced = &world->fs.inodes[world->fs.slots[there].inode];
		upload_gone(replaced->upload, FATE_REPLACED);
	}
	fs_rename(slot, user, PLACE_INCOMING, 0, name);
	hint_add(user, WATCH_LEFT, old);
	hint_add(user, WATCH_RENAMED_IN, name);
}

static void end_upload(int user)
{
	struct uploader *p = &world->uploaders[user];
	int upload = p->slot_upload, inode = inode_of(upload);
	p->slot_upload = NONE;
	if (inode == NONE)
		return;
	int slot = slot_of_inode(inode);
	world->fs.inodes[inode].writing = false;
	bool here = slot != NONE && world->fs.slots[slot].place == PLACE_INCOMING;
	upload_becomes_whole(upload, inode);
	if (slot == NONE)
		world->uploads[upload].fate = FATE_WITHDRAWN;
	if (!here)
		return;
	hint_add(user, WATCH_CLOSED, world->fs.slots[slot].name);
	if (p->aside)
		rename_in(user, slot, world->uploads[upload].name);
}

static void write_on(int user)
{
	struct uploader *p = &world->uploaders[user];
	int inode = inode_of(p->slot_upload);
	if (inode == NONE) {
		p->slot_upload = NONE;
		return;
	}
	struct inode *i = &world->fs.inodes[inode];
	i->size += 1 + dice_roll(p->goal);
	touch(i);
	/* A transfer that is given up is closed like one that is whole. */
	if (i->size >= p->goal || (!p->aside && one_of(12)))
		end_upload(user);
}

void uploader_drop(int user, const char *name)
{
	int upload = upload_new(user, name, true), inode = fs_new_inode(INODE_UPLOAD);
	fs_link(user, PLACE_INCOMING, 0, name, inode);
	world->fs.inodes[inode].upload = upload;
	world->fs.inodes[inode].size = 100;
	touch(&world->fs.inodes[inode]);
	upload_becomes_whole(upload, inode);
	hint_add(user, WATCH_RENAMED_IN, name);
}

/* Many at once: they wait in a worker, ahead of their turn. While they do, another
 * user comes. */
static void burst(int user)
{
	struct uploader *p = &world->uploaders[user];
	bool many = user == 0;
	unsigned n = many ? 8 : 1;
	for (; n > 0 && p->left > 0 && world->uploads_n + USERS_MAX < UPLOADS_MAX; n--) {
		char name[NAME_ROOM];
		snprintf(name, sizeof name, "%d.csv", world->uploads_n);
		uploader_drop(user, name);
		p->left--;
	}
	p->due_ms = many ? p->due_ms + 1000 : FAR;
	if (many)
		world->uploaders[1].due_ms = world->now_ms + 50 + dice_roll(100);
}

/* Some at once; and some more, over some of these as well, when the daemon may have ended
 * again. */
static void heap_on(int user)
{
	struct uploader *p = &world->uploaders[user];
	bool room = true;
	do {
		char name[NAME_ROOM];
		room = p->left > 0 && world->uploads_n + USERS_MAX < UPLOADS_MAX;
		if (!room)
			break;
		snprintf(name, sizeof name, "%d.csv", world->uploads_n);
		uploader_drop(user, name);
		p->left--;
		p->heap--;
	} while (p->heap > 0 && !world->profile.spread);
	if (!room)
		p->heap = 0;
	upload_later(user, p->heap > 0 ? 200 : one_of(3) ? 20000 : 1000);
	/* So that it is clear who was first. */
	if (p->heap > 0)
		p->due_ms += ORDER_SLACK_MS;
}

static void heap_up(int user)
{
	world->uploaders[user].heap = 2 + dice_roll(5);
	heap_on(user);
}

static void take_away(int user)
{
	char name[NAME_ROOM];
	int slot = some_file(user);
	if (slot == NONE)
		return;
	struct inode *inode = &world->fs.inodes[world->fs.slots[slot].inode];
	strcpy(name, world->fs.slots[slot].name);
	if (inode->upload != NONE && world->uploads[inode->upload].fate == FATE_WRITING)
		return;
	upload_gone(inode->upload, FATE_WITHDRAWN);
	fs_remove_upload(slot);
	hint_add(user, WATCH_LEFT, name);
	say("user %s takes %s away (upload %d)", user_name(user), name, inode->upload);
}

void uploader_act(int user)
{
	struct uploader *p = &world->uploaders[user];
	upload_later(user, one_of(4) ? 5000 : world->profile.short_runs ? 3 : 300);
	if (!p->there)
		arrive(user);
	else if (p->folder)
		folder_act(user);
	else if (p->slot_upload != NONE)
		write_on(user);
	else if (p->heap > 0)
		heap_on(user);
	else if (one_of(14))
		take_away(user);
	else if (p->left > 0 && world->profile.bursts)
		burst(user);
	else if (p->left > 0 && world->profile.backlog && one_of(3))
		heap_up(user);
	else if (p->left > 0 && world->uploads_n + USERS_MAX < UPLOADS_MAX)
		begin_upload(user);
	else
		upload_later(user, 20000);
}

/* Somebody acts while the daemon is in the middle of something. */
void users_race(void)
{
	int user = (int)dice_roll((uint64_t)world->profile.users);
	if (!world->mounted || world->draining || !world->uploaders[user].there)
		return;
	world->in_daemon = false;
	uploader_act(user);
	world->in_daemon = true;
}

/* The history nears its end: what was begun is closed. */
void uploader_finish_all(void)
{
	for (int u = 0; u < world->profile.users; u++) {
		if (!world->uploaders[u].there)
			arrive(u);
		if (world->uploaders[u].folder)
			folder_end(u);
		else if (world->uploaders[u].slot_upload != NONE)
			end_upload(u);
		world->uploaders[u].due_ms = FAR;
	}
}
