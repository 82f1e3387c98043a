/* io/tree.h, the moving half: claims, last moves, and what follows them. Each
 * rename is a step of its own, before which the daemon may end. */
#include "world.h"

#include "core/name.h"
#include "io/tree.h"
#include "io/watch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_free(int user, enum place place, const char *name)
{
	return fs_find(user, (uint8_t)place, 0, name) == NONE;
}

/* Moves into done or failed, under a name whose log is free, too. */
static int move_final(int slot, int user, enum place to, const char *path, uint64_t id, bool log,
                      char **ret_name)
{
	for (unsigned n = 0; n < 100; n++) {
		char *name = name_candidate(path, id, n), beside[NAME_ROOM];
		if (name == NULL)
			return -ENOMEM;
		snprintf(beside, sizeof beside, "%s.log", name);
		bool fits = is_free(user, to, name) && (!log || is_free(user, to, beside));
		if (fits || broken("final-rename-replaces")) {
			fs_rename(slot, user, (uint8_t)to, 0, name);
			*ret_name = name;
			return 0;
		}
		free(name);
	}
	return -EEXIST;
}

/* Where a file was put by an earlier call; NULL where it is nowhere. */
static char *find_moved(int user, enum place to, const struct file_ident *ident, uint64_t job)
{
	const struct fs *fs = &world->fs;
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->slots[i].user == user && fs->slots[i].place == to &&
		    fs->inodes[fs->slots[i].inode].number == ident->ino &&
		    fs->inodes[fs->slots[i].inode].stranger_of != job)
			return strdup(fs->slots[i].name);
	return NULL;
}

/* It is out of the uploader's reach: is it what was accepted, and does nobody
 * write it any more? Only that asks for a descriptor. */
static int check_taken(int user, uint64_t id, const char *path, const struct file_ident *ident)
{
	int slot = fs_find(user, PLACE_PROCESSING, id, path);
	if (slot == NONE)
		return -ENOENT;
	int inode = world->fs.slots[slot].inode;
	bool same = fs_is_same(ident, inode);
	if (world->profile.bad_moments && !world->draining && one_of(same ? 4 : 2)) {
		say("fails: look at what was taken");
		went_wrong();
		if (!same && world->fs.inodes[inode].upload != NONE)
			world->uploads[world->fs.inodes[inode].upload].unlooked = true;
		return same ? -EMFILE : -EIO;
	}
	same = same && !world->fs.inodes[inode].writing;
	return same || broken("claim-not-checked") ? 0 : -ESTALE;
}

static bool is_directory(int slot)
{
	return world->fs.inodes[world->fs.slots[slot].inode].directory;
}

static int put_back(int user, uint64_t id, const char *path, char **ret_kept)
{
	io_step("put a file back");
	int slot = fs_find(user, PLACE_PROCESSING, id, path);
	if (is_free(user, PLACE_INCOMING, path)) {
		fs_rename(slot, user, PLACE_INCOMING, 0, path);
		if (!broken("put-back-not-synced"))
			fs_sync_dir(user, PLACE_INCOMING, 0);
		hint_add(user, is_directory(slot) ? WATCH_DIRECTORY_IN : WATCH_RENAMED_IN, path);
		return 0;
	}
	world->fs.inodes[world->fs.slots[slot].inode].stranger_of = id;
	return move_final(slot, user, PLACE_FAILED, path, id, false, ret_kept);
}

static int take(int user, uint64_t id, const char *path, const struct file_ident *ident)
{
	int slot = fs_find(user, PLACE_INCOMING, 0, path);
	if (slot == NONE)
		return -ENOENT;
	if (!fs_is_same(ident, world->fs.slots[slot].inode) && !broken("claim-not-checked"))
		return -ESTALE;
	io_step("take a file");
	slot = fs_find(user, PLACE_INCOMING, 0, path);
	if (slot == NONE)
		return -ENOENT;
	fs_rename(slot, user, PLACE_PROCESSING, id, path);
	hint_add(user, WATCH_LEFT, path);
	return 0;
}

static void forget_spare(struct tree *t, int user, int i)
{
	uint64_t *spares = t->spares[user];
	memmove(spares + i, spares + i + 1, (size_t)(SPARES_MAX - 1 - i) * sizeof *spares);
	spares[SPARES_MAX - 1] = 0;
}

/* The directory of this job is its own again, or goes another way. */
static void unspare(struct tree *t, int user, uint64_t id)
{
	for (int i = 0; i < SPARES_MAX; i++)
		while (t->spares[user][i] == id && id != 0 && !broken("spare-not-forgotten"))
			forget_spare(t, user, i);
}

static void drop_spare(struct tree *t, int user)
{
	io_step("remove the directory for the next job");
	fs_remove_dir(user, t->spares[user][0]);
	forget_spare(t, user, 0);
}

static void add_spare(struct tree *t, int user, uint64_t id)
{
	int n = 0;
	if (t->spares[user][SPARES_MAX - 1] != 0)
		drop_spare(t, user);
	while (t->spares[user][n] != 0)
		n++;
	t->spares[user][n] = id;
}

/* The directory of an earlier job, or a new one. */
static void make_private(struct tree *t, int user, uint64_t id)
{
	char name[NAME_ROOM];
	unspare(t, user, id);
	uint64_t spare = t->spares[user][0];
	forget_spare(t, user, 0);
	if (spare == 0 || fs_dir_exists(user, id)) {
		fs_make_dir(user, id);
		return;
	}
	snprintf(name, sizeof name, "%llu", (unsigned long long)spare);
	int slot = fs_find(user, PLACE_PROCESSING, 0, name);
	if (slot == NONE) {
		fs_make_dir(user, id);
		return;
	}
	snprintf(name, sizeof name, "%llu", (unsigned long long)id);
	fs_rename(slot, user, PLACE_PROCESSING, 0, name);
	io_step("make a directory that of the next job");
}

void tree_drop_spare(struct tree *t, const char *user)
{
	int u = user_index(user);
	while (t->spares[u][0] != 0)
		drop_spare(t, u);
}

void tree_drop_spares(struct tree *t)
{
	for (int u = 0; u < USERS_MAX; u++)
		tree_drop_spare(t, user_name(u));
}

int tree_claim(struct tree *t, const char *user, uint64_t id, const char *path,
               const struct file_ident *ident, char **ret_kept)
{
	int u = user_index(user);
	*ret_kept = NULL;
	int r = io_may_fail("claim", -ENOSPC, -EMFILE);
	if (r < 0 || !world->mounted)
		return r < 0 ? r : -ENOENT;
	make_private(t, u, id);
	io_step("check a claim");
	r = check_taken(u, id, path, ident);
	/* Not to be known, which is no reason to move what was taken before. */
	if (r == -EMFILE || r == -EIO)
		return r;
	if (r == -ENOENT) {
		r = take(u, id, path, ident);
		if (r < 0) {
			fs_remove_dir(u, id);
			return r;
		}
		io_step("check what was taken");
		r = check_taken(u, id, path, ident);
	}
	if (r == -ESTALE) {
		int back = put_back(u, id, path, ret_kept);
		r = back < 0 ? back : r;
		fs_remove_dir(u, id);
	}
	return r;
}

/* The last move. */

struct finish {
	struct tree *t;
	const struct tree_finish *f;
	int user;
	bool log;
};

static void write_reason(struct finish *e)
{
	uint64_t id = e->f->id;
	io_step("write the reason");
	if (fs_find(e->user, PLACE_PROCESSING, id, "log") == NONE)
		fs_link(e->user, PLACE_PROCESSING, id, "log", fs_new_inode(INODE_LOG));
	e->log = true;
}

static void end_private(struct finish *e, const char *final)
{
	char beside[NAME_ROOM];
	uint64_t id = e->f->id;
	int slot = fs_find(e->user, PLACE_PROCESSING, id, "log");
	char *rest = final != NULL ? strdup(final) : name_with_id(e->f->path, id);
	snprintf(beside, sizeof beside, "%s.log", rest);
	free(rest);
	if (slot != NONE) {
		io_step("keep the log");
		if (e->log && is_free(e->user, e->f->to, beside))
			fs_rename(slot, e->user, (uint8_t)e->f->to, 0, beside);
		else
			fs_unlink(slot);
	}
	static const char *const ours[] = {NAME_RESULT, NAME_CANCEL, "output"};
	for (int i = 0; i < 3; i++) {
		slot = fs_find(e->user, PLACE_PROCESSING, id, ours[i]);
		if (slot != NONE) {
			io_step("remove what is ours");
			fs_unlink(slot);
		}
	}
	/* Until the index knows the name, it is what a start after a crash finds. */
	const char *known = e->f->known;
	if (known != NULL && (final == NULL || strcmp(final, known) != 0))
		return;
	if (e->f->hand_on) {
		add_spare(e->t, e->user, id);
		return;
	}
	io_step("remove a private directory");
	fs_remove_dir(e->user, id);
}

static int finish_processing(struct finish *e, char **ret_name)
{
	const struct tree_finish *f = e->f;
	char *name = NULL;
	int r = 0;
	if (!fs_dir_exists(e->user, f->id)) {
		*ret_name = find_moved(e->user, f->to, f->ident, f->id);
		return 0;
	}
	bool here = fs_find(e->user, PLACE_PROCESSING, f->id, f->path) != NONE;
	if (!here)
		name = find_moved(e->user, f->to, f->ident, f->id);
	if (f->reason != NULL && (here || name == NULL))
		write_reason(e);
	e->log |= f->reason != NULL || f->keep_log;
	if (here) {
		r = io_may_fail("move to its final place", -ENOSPC, -EIO);
		int slot = fs_find(e->user, PLACE_PROCESSING, f->id, f->path);
		if (r == 0)
			r = move_final(slot, e->user, f->to, f->path, f->id, e->log, &name);
	}
	if (r < 0)
		return r;
	end_private(e, name);
	*ret_name = name;
	return 0;
}

static void replace_now(int user, const char *name)
{
	int slot = fs_find(user, PLACE_INCOMING, 0, name);
	bool room = world->uploads_n + USERS_MAX < UPLOADS_MAX;
	if (slot == NONE || world->fs.inodes[world->fs.slots[slot].inode].writing || !room || !one_of(4))
		return;
	say("user %s puts another one in its place", user_name(user));
	make_way(user, name);
	uploader_drop(user, name);
}

/* Or what was put in its place at that moment, which goes back. */
static int take_out_of_incoming(struct finish *e)
{
	const struct tree_finish *f = e->f;
	char *kept = NULL;
	int r = 0;
	io_step("take a file that is not to be run");
	if (world->profile.bad_moments && !world->draining)
		replace_now(e->user, f->path);
	int slot = fs_find(e->user, PLACE_INCOMING, 0, f->path);
	if (slot != NONE) {
		bool same = fs_is_same(f->ident, world->fs.slots[slot].inode);
		fs_rename(slot, e->user, PLACE_PROCESSING, f->id, f->path);
		hint_add(e->user, WATCH_LEFT, f->path);
		if (!same && !broken("other-one-ends"))
			r = put_back(e->user, f->id, f->path, &kept);
	}
	if (fs_find(e->user, PLACE_PROCESSING, f->id, f->path) == NONE)
		fs_remove_dir(e->user, f->id);
	free(kept);
	return r;
}

/* By way of its private directory, as any other: what lies there is found again
 * after a crash. */
static int finish_incoming(struct finish *e, char **ret_name)
{
	const struct tree_finish *f = e->f;
	int r = io_may_fail("move out of incoming", -ENOSPC, -EIO);
	if (r < 0)
		return r;
	int slot = fs_find(e->user, PLACE_INCOMING, 0, f->path);
	if (slot != NONE && fs_is_same(f->ident, world->fs.slots[slot].inode)) {
		fs_make_dir(e->user, f->id);
		r = take_out_of_incoming(e);
		if (r < 0)
			return r;
		io_step("move on to its final place");
	}
	return finish_processing(e, ret_name);
}

int tree_finish(struct tree *t, const struct tree_finish *f, char **ret_name)
{
	struct finish e = {.t = t, .f = f, .user = user_index(f->user)};
	unspare(t, e.user, f->id);
	if (world->lines_held > 0)
		violation("job %llu is moved before the log tells what was committed",
		          (unsigned long long)f->id);
	int r = io_may_fail("end a job", -EIO, -EMFILE);
	if (r < 0 || !world->mounted)
		return r < 0 ? r : -ENOENT;
	return f->from == PLACE_INCOMING ? finish_incoming(&e, ret_name)
	                                 : finish_processing(&e, ret_name);
}

int tree_put_back(struct tree *t, const char *user, uint64_t id, const char *path, char **ret_kept)
{
	int u = user_index(user);
	(void)t;
	*ret_kept = NULL;
	int r = io_may_fail("undo a claim", -ENOSPC, -EMFILE);
	if (r < 0)
		return r;
	if (!world->mounted || fs_find(u, PLACE_PROCESSING, id, path) == NONE)
		return -ENOENT;
	return put_back(u, id, path, ret_kept);
}

int tree_take_back(struct tree *t, const char *user, const struct job *job, enum place from,
                   const char *name)
{
	int u = user_index(user);
	const char *path = job->path;
	uint64_t id = job->id;
	char beside[NAME_ROOM];
	unspare(t, u, id);
	int r = io_may_fail("take back", -ENOSPC, -EIO);
	if (r < 0 || !world->mounted)
		return r < 0 ? r : -ENOENT;
	fs_make_dir(u, id);
	bool taken = fs_find(u, PLACE_PROCESSING, id, path) != NONE;
	int slot = fs_find(u, (uint8_t)from, 0, name);
	if (!taken && slot == NONE) {
		fs_remove_dir(u, id);
		return -ENOENT;
	}
	io_step("take a final file back");
	if (!taken)
		fs_rename(slot, u, PLACE_PROCESSING, id, path);
	snprintf(beside, sizeof beside, "%s.log", name);
	slot = fs_find(u, (uint8_t)from, 0, beside);
	io_step("take its log back");
	if (slot != NONE && is_free(u, from, name))
		fs_rename(slot, u, PLACE_PROCESSING, id, "log");
	if (!broken("take-back-not-synced"))
		fs_sync_dir(u, PLACE_PROCESSING, id);
	return 0;
}

/* Its uploader may go on writing into it: that is no upload of its own. */
static void note_purged(int slot)
{
	int upload = world->fs.inodes[world->fs.slots[slot].inode].upload;
	if (upload != NONE)
		world->uploads[upload].fate = FATE_PURGED;
}

/* A directory that is removed goes out of its place first, and is nobody's by then. */
static void remove_all(int slot)
{
	note_purged(slot);
	for (int i; (i = fs_next_within(world->fs.slots[slot].inode, 0)) != NONE;) {
		fs_unlink(i);
		io_step("remove more of a final directory");
		note_purged(slot);
	}
	fs_unlink(slot);
}

static void remove_rest(int user, const char *aside)
{
	int slot = fs_find(user, PLACE_PROCESSING, 0, aside);
	if (slot != NONE)
		remove_all(slot);
}

int tree_purge_job(struct tree *t, const char *user, const struct job *job)
{
	(void)t;
	int u = user_index(user);
	char beside[NAME_ROOM], aside[NAME_ROOM];
	int r = io_may_fail("purge", -EIO, -EIO);
	if (r < 0 || !world->mounted)
		return r < 0 ? r : 0;
	snprintf(aside, sizeof aside, ".removed.%llu", (unsigned long long)job->id);
	remove_rest(u, aside);
	char *own = find_moved(u, job->place, &job->ident, job->id);
	if (own == NULL)
		return 0;
	int slot = fs_find(u, (uint8_t)job->place, 0, own);
	snprintf(beside, sizeof beside, "%s.log", own);
	free(own);
	int log = fs_find(u, (uint8_t)job->place, 0, beside);
	if (log != NONE)
		fs_unlink(log);
	io_step("remove a final file");
	check_purge(job->id, slot);
	if (!is_directory(slot)) {
		fs_unlink(slot);
		return 0;
	}
	bool in_place = broken("removed-in-place");
	if (!in_place)
		fs_rename(slot, u, PLACE_PROCESSING, 0, aside);
	world->fragile = true;
	io_step("remove what is in a final directory");
	if (in_place)
		remove_all(slot);
	else
		remove_rest(u, aside);
	return 0;
}

int tree_rename_job(struct tree *t, const char *user, uint64_t old_id, uint64_t new_id)
{
	int u = user_index(user);
	char old_name[NAME_ROOM], new_name[NAME_ROOM];
	unspare(t, u, old_id);
	unspare(t, u, new_id);
	struct fs *fs = &world->fs;
	io_step("rename a private directory");
	snprintf(old_name, sizeof old_name, "%llu", (unsigned long long)old_id);
	snprintf(new_name, sizeof new_name, "%llu", (unsigned long long)new_id);
	int slot = fs_find(u, PLACE_PROCESSING, 0, old_name);
	if (slot == NONE || fs_dir_exists(u, new_id))
		return slot == NONE ? -ENOENT : -EEXIST;
	fs_rename(slot, u, PLACE_PROCESSING, 0, new_name);
	/* What is in it moves along; in the journal as separate steps of which none
	 * is lost alone. */
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->slots[i].user == u && fs->slots[i].dir == old_id) {
			char name[NAME_ROOM];
			strcpy(name, fs->slots[i].name);
			fs_rename(i, u, PLACE_PROCESSING, new_id, name);
		}
	fs_sync_dir(u, PLACE_PROCESSING, new_id);
	return 0;
}

int tree_drop_job(struct tree *t, const char *user, uint64_t id, const char *path)
{
	(void)path;
	int u = user_index(user);
	struct fs *fs = &world->fs;
	unspare(t, u, id);
	int r = io_may_fail("drop a private directory", -EIO, -EIO);
	if (r < 0 || !world->mounted || !fs_dir_exists(u, id))
		return r;
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->slots[i].user == u && fs->slots[i].dir == id &&
		    fs->inodes[fs->slots[i].inode].kind == INODE_UPLOAD)
			return -ENOTEMPTY;
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->slots[i].user == u && fs->slots[i].dir == id)
			fs_unlink(i);
	return fs_remove_dir(u, id);
}
