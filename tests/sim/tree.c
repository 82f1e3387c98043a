/* io/tree.h, the looking half: what is there, who holds which lock, walks. The
 * moving half is tree_move.c. */
#include "world.h"

#include "core/name.h"
#include "io/mounts.h"
#include "io/tree.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const users[USERS_MAX] = {"alice", "bob", "carol", "dave"};

const char *user_name(int user)
{
	return users[user];
}

int user_index(const char *name)
{
	for (int i = 0; i < USERS_MAX; i++)
		if (strcmp(users[i], name) == 0)
			return i;
	return NONE;
}

/* Descriptors. */

int open_fd(struct sim_fd fd)
{
	int i = 0;
	while (i < FDS_MAX && world->fds[i].kind != FD_FREE)
		i++;
	assert(i < FDS_MAX);
	world->fds[i] = fd;
	return i + 1000;
}

void lock_unref(int lock)
{
	assert(world->locks[lock].refs > 0);
	world->locks[lock].refs--;
}

int fd_close(int fd);
int fd_close(int fd)
{
	if (fd < 0)
		return -1;
	struct sim_fd *f = &world->fds[fd - 1000];
	assert(f->kind != FD_FREE);
	if (f->kind == FD_LOCK)
		lock_unref(f->lock);
	f->kind = FD_FREE;
	return -1;
}

void fds_close_all(void)
{
	for (int i = 0; i < FDS_MAX; i++)
		if (world->fds[i].kind != FD_FREE)
			fd_close(i + 1000);
}

/* The spool. */

int tree_open(const char *root, struct tree **ret)
{
	(void)root;
	io_step("open the spool");
	if (!world->mounted)
		return -ENODEV;
	*ret = calloc(1, sizeof **ret);
	return *ret == NULL ? -ENOMEM : 0;
}

void tree_close(struct tree *t)
{
	free(t);
}

/* All is local. */
int tree_answers(const struct tree *t, const char *user, bool wait)
{
	(void)t, (void)user, (void)wait;
	return 0;
}

void tree_set_guard(struct tree *t, struct tree_guard guard)
{
	(void)t, (void)guard;
}

struct tree_guard tree_get_guard(const struct tree *t)
{
	(void)t;
	return (struct tree_guard){0};
}

void mounts_set_patience(struct mounts *m, uint64_t patience_ms)
{
	(void)m, (void)patience_ms;
}

/* Its directories cannot be told from their names. */
uint64_t tree_turn(struct tree *t, uint64_t now_ms)
{
	(void)t, (void)now_ms;
	return UINT64_MAX;
}

bool tree_wants_owner(struct tree *t, const char *user)
{
	(void)t, (void)user;
	return false;
}

void tree_forget_kept(struct tree *t)
{
	(void)t;
}

uint64_t tree_id(const struct tree *t)
{
	(void)t;
	return 42;
}

const char *tree_root(const struct tree *t)
{
	(void)t;
	return "/spool";
}

int tree_open_root(const struct tree *t)
{
	(void)t;
	return open_fd((struct sim_fd){.kind = FD_ROOT});
}

uint64_t tree_copy_id(const struct tree *t)
{
	return tree_id(t);
}

int tree_mounted(struct tree *t)
{
	(void)t;
	io_step("look for the marker");
	return world->mounted || broken("marker-not-looked-for") ? 0 : -ENODEV;
}

int tree_user_mounted(struct tree *t, const char *user)
{
	(void)t, (void)user;
	return 0;
}

int tree_note_mount(struct tree *t, const char *user)
{
	(void)t, (void)user;
	return 0;
}

int tree_is_network(struct tree *t, const char *user)
{
	(void)t, (void)user;
	return 0;
}

/* OFD locks: a second description conflicts also in the same process. */
int tree_lock_user(struct tree *t, const char *user)
{
	(void)t;
	int u = user_index(user), free_lock = NONE;
	int r = io_may_fail("lock a user", -EIO, -EMFILE);
	if (r < 0)
		return r;
	if (!world->mounted)
		return -ENOENT;
	for (int i = 0; i < LOCKS_MAX; i++) {
		if (world->locks[i].refs == 0)
			free_lock = i;
		else if (world->locks[i].user == u && !broken("lock-not-asked"))
			return -EAGAIN;
	}
	assert(free_lock != NONE);
	world->locks[free_lock] = (struct sim_lock){.refs = 1, .user = u};
	return open_fd((struct sim_fd){.kind = FD_LOCK, .lock = free_lock});
}

/* Directories are not replaced here. */
bool tree_is_lock_in_place(struct tree *t, const char *user, int lockfd)
{
	(void)t, (void)user, (void)lockfd;
	return true;
}

int tree_each_user(struct tree *t, int (*each)(void *ctx, const char *user, const char *problem),
                   void *ctx)
{
	(void)t;
	int r = io_may_fail("list the users", -EIO, -EMFILE);
	for (int u = 0; r == 0 && world->mounted && u < world->profile.users; u++)
		if (world->uploaders[u].there)
			r = each(ctx, users[u], NULL);
	return r;
}

bool tree_has_user(struct tree *t, const char *user)
{
	(void)t;
	return world->mounted && world->uploaders[user_index(user)].there;
}

int tree_complete_user(struct tree *t, const char *user, uid_t uid, gid_t gid, unsigned *ret_made)
{
	(void)t, (void)user, (void)uid, (void)gid;
	*ret_made = 0;
	return world->mounted ? 0 : -ENOENT;
}

const char *entry_kind_problem(enum entry_kind kind)
{
	return kind == ENTRY_FILE ? NULL : "is no plain file";
}

/* Uploads. */

static enum entry_kind kind_of(int inode)
{
	return world->fs.inodes[inode].directory ? ENTRY_DIRECTORY : ENTRY_FILE;
}

static int look(const char *what, const char *user, const char *path)
{
	int r = io_may_fail(what, -EIO, -EMFILE);
	if (r < 0)
		return r;
	int slot = world->mounted ? fs_find(user_index(user), PLACE_INCOMING, 0, path) : NONE;
	return slot == NONE ? -ENOENT : slot;
}

int tree_look(struct tree *t, const char *user, const char *path, struct file_ident *ret_ident,
              enum entry_kind *ret_kind)
{
	(void)t;
	int slot = look("look at an upload", user, path);
	if (slot < 0)
		return slot;
	fs_ident(world->fs.slots[slot].inode, ret_ident);
	*ret_kind = kind_of(world->fs.slots[slot].inode);
	return 0;
}

enum writers tree_probe_writer(struct tree *t, const char *user, const char *path)
{
	(void)t;
	int slot = look("probe for a writer", user, path);
	if (slot < 0)
		return slot == -ENOENT ? WRITERS_UNKNOWN : WRITERS_SOME;
	if (broken("writers-not-asked"))
		return WRITERS_NONE;
	return world->fs.inodes[world->fs.slots[slot].inode].writing ? WRITERS_SOME : WRITERS_NONE;
}

int tree_look_closely(struct tree *t, const char *user, const char *path,
                      struct file_ident *ret_ident, enum entry_kind *ret_kind,
                      enum writers *ret_writers)
{
	int r = tree_look(t, user, path, ret_ident, ret_kind);
	if (r < 0)
		return r;
	/* Without a step in between: it is looked at under the lease. */
	int slot = fs_find(user_index(user), PLACE_INCOMING, 0, path);
	bool writing = world->fs.inodes[world->fs.slots[slot].inode].writing;
	*ret_writers = writing && !broken("writers-not-asked") ? WRITERS_SOME : WRITERS_NONE;
	return 0;
}

static int open_upload(const char *user, const char *path, uint64_t ino)
{
	int slot = look("open an upload", user, path);
	if (slot < 0)
		return slot;
	if (world->fs.inodes[world->fs.slots[slot].inode].directory)
		return -EINVAL;
	if (ino != 0 && world->fs.inodes[world->fs.slots[slot].inode].number != ino)
		return -EAGAIN;
	return open_fd((struct sim_fd){.kind = FD_FILE, .inode = world->fs.slots[slot].inode});
}

int tree_open_upload(struct tree *t, const char *user, const char *path)
{
	(void)t;
	return open_upload(user, path, 0);
}

int tree_open_judged(struct tree *t, const char *user, const char *path,
                     const struct file_ident *ident)
{
	(void)t;
	return open_upload(user, path, ident->ino);
}

static int open_dir(int user, enum place place, uint64_t dir)
{
	return open_fd((struct sim_fd){
		.kind = FD_DIRECTORY, .user = user, .place = (uint8_t)place, .dir = dir});
}

int tree_open_incoming(struct tree *t, const char *user, const char *path)
{
	(void)t, (void)path;
	int r = io_may_fail("open incoming", -EIO, -EMFILE);
	if (r < 0)
		return r;
	return world->mounted ? open_dir(user_index(user), PLACE_INCOMING, 0) : -ENOENT;
}

int tree_open_holder(struct tree *t, const char *user, const char *path)
{
	return tree_open_incoming(t, user, path);
}

int tree_read_numbers(struct tree *t, uint64_t *ret_below)
{
	(void)t;
	int r = io_may_fail("read the numbers", -EIO, -EMFILE);
	if (r < 0 || world->numbers_below == 0 || broken("numbers-given-again"))
		return r < 0 ? r : -ENOENT;
	*ret_below = world->numbers_below;
	return 0;
}

int tree_write_numbers(struct tree *t, uint64_t below)
{
	(void)t;
	int r = io_may_fail("write the numbers", -EIO, -ENOSPC);
	if (r == 0)
		world->numbers_below = below;
	return r;
}

int tree_open_to_sync(struct tree *t, const char *user, enum place place)
{
	(void)t;
	int r = io_may_fail("open a directory to sync", -EIO, -EMFILE);
	if (r < 0)
		return r;
	if (!world->mounted || broken("removal-not-synced"))
		return -ENOENT;
	return open_dir(user_index(user), (uint8_t)place, 0);
}

/* No write is lost here but by a power cut: sync.c. */
int tree_mark_unsafe(struct tree *t, const char *user, const char *path,
                     const struct file_ident *ident, int error)
{
	(void)t, (void)user, (void)path, (void)ident, (void)error;
	return 0;
}

int tree_mark_unsafe_fd(int fd, const struct file_ident *ident, int error)
{
	(void)fd, (void)ident, (void)error;
	return 0;
}

/* Nobody asks for renames here. */
void tree_mark_unrenamed(struct tree *t, const char *user, const char *path)
{
	(void)t, (void)user, (void)path;
}

bool tree_is_unrenamed(struct tree *t, const char *user, const char *path)
{
	(void)t, (void)user, (void)path;
	return false;
}

static int open_upload_directory(const char *user, enum place place, uint64_t dir,
                                 const char *name)
{
	int u = user_index(user), r = io_may_fail("open a directory", -EIO, -EMFILE);
	int slot = world->mounted ? fs_find(u, (uint8_t)place, dir, name) : NONE;
	if (r < 0 || slot == NONE)
		return r < 0 ? r : -ENOENT;
	int inode = world->fs.slots[slot].inode;
	if (!world->fs.inodes[inode].directory)
		return -ENOTDIR;
	return open_fd((struct sim_fd){.kind = FD_DIRECTORY, .inode = inode, .user = u,
	                               .place = PLACE_WITHIN, .dir = fs_within(inode)});
}

int tree_open_final(struct tree *t, const char *user, enum place place, const char *name)
{
	(void)t;
	return open_upload_directory(user, place, 0, name);
}

int tree_open_taken(struct tree *t, const char *user, uint64_t id, const char *path)
{
	(void)t;
	return open_upload_directory(user, PLACE_PROCESSING, id, path);
}

int tree_open_whole(struct tree *t, const char *user, const char *path)
{
	(void)t;
	return open_upload_directory(user, PLACE_INCOMING, 0, path);
}

int tree_is_unsafe(int fd, const struct file_ident *ident)
{
	(void)fd, (void)ident;
	return 0;
}

/* Jobs. */

int tree_open_job(struct tree *t, const char *user, uint64_t id, const char *path,
                  const struct file_ident *ident)
{
	(void)t, (void)ident;
	int u = user_index(user);
	int r = io_may_fail("open a job's directory", -ENOSPC, -EMFILE);
	if (r < 0)
		return r;
	if (!world->mounted || fs_find(u, PLACE_PROCESSING, id, path) == NONE)
		return -ENOENT;
	if (fs_find(u, PLACE_PROCESSING, id, "output") == NONE)
		fs_link(u, PLACE_PROCESSING, id, "output", fs_new_inode(INODE_DIR));
	return open_dir(u, PLACE_PROCESSING, id);
}

int tree_sync_job(struct tree *t, const char *user, uint64_t id)
{
	(void)t;
	int r = io_may_fail("sync a private directory", -EIO, -EMFILE);
	if (r == 0 && world->mounted && !broken("take-back-not-synced"))
		fs_sync_dir(user_index(user), PLACE_PROCESSING, id);
	return r;
}

bool tree_has_job(struct tree *t, const char *user, uint64_t id)
{
	(void)t;
	io_step("look for a private directory");
	return world->mounted && fs_dir_exists(user_index(user), id);
}

int tree_let_pass(struct tree *t, const char *user)
{
	(void)t, (void)user;
	return 0;
}

char *tree_job_path(struct tree *t, const char *user, uint64_t id)
{
	char *path = NULL;
	(void)t;
	return asprintf(&path, "/spool/%s/processing/%llu", user, (unsigned long long)id) < 0 ? NULL
	                                                                                      : path;
}

static bool find_final(int user, const struct job *job, struct tree_found *found)
{
	const struct fs *fs = &world->fs;
	for (int i = 0; i < fs->slots_n; i++) {
		const struct slot *s = &fs->slots[i];
		if (!s->used || s->user != user || (s->place != PLACE_DONE && s->place != PLACE_FAILED) ||
		    fs->inodes[s->inode].number != job->ident.ino ||
		    fs->inodes[s->inode].stranger_of == job->id)
			continue;
		found->place = (enum place)s->place;
		found->final_name = strdup(s->name);
		return true;
	}
	return false;
}

static unsigned entries_in(int user, uint64_t dir)
{
	unsigned n = 0;
	for (int i = 0; i < world->fs.slots_n; i++)
		n += world->fs.slots[i].used && world->fs.slots[i].user == user &&
		     world->fs.slots[i].dir == dir && strcmp(world->fs.slots[i].name, NAME_CANCEL) != 0;
	return n;
}

int tree_find(struct tree *t, const char *user, const struct job *job, struct tree_found *ret)
{
	(void)t;
	int u = user_index(user);
	struct tree_found found = {.place = PLACE_NOWHERE};
	int r = io_may_fail("look for a job's file", -EIO, -EMFILE);
	if (r < 0)
		return r;
	if (world->mounted && fs_find(u, PLACE_PROCESSING, job->id, job->path) != NONE)
		found.place = PLACE_PROCESSING;
	found.bare = found.place == PLACE_PROCESSING && entries_in(u, job->id) == 1;
	found.result = world->mounted && fs_find(u, PLACE_PROCESSING, job->id, NAME_RESULT) != NONE;
	int slot = world->mounted ? fs_find(u, PLACE_INCOMING, 0, job->path) : NONE;
	if (found.place == PLACE_NOWHERE && slot != NONE) {
		struct file_ident now;
		fs_ident(world->fs.slots[slot].inode, &now);
		found.place = PLACE_INCOMING;
		found.same = fs_is_same(&job->ident, world->fs.slots[slot].inode) &&
		             (!job_state_is_final(job->state) || job->ident.ctime_ns == now.ctime_ns);
	}
	bool elsewhere = found.place == PLACE_NOWHERE || (found.place == PLACE_INCOMING && !found.same);
	if (world->mounted && elsewhere)
		find_final(u, job, &found);
	*ret = found;
	return 0;
}

int tree_read_result(struct tree *t, const char *user, uint64_t id, char **ret_data,
                     size_t *ret_size)
{
	(void)t;
	int r = io_may_fail("read a result", -EIO, -EMFILE);
	int slot = fs_find(user_index(user), PLACE_PROCESSING, id, NAME_RESULT);
	if (r < 0 || slot == NONE || !world->mounted)
		return r < 0 ? r : -ENOENT;
	return run_result_encode(&world->fs.inodes[world->fs.slots[slot].inode].result, ret_data,
	                         ret_size);
}

int tree_ask_cancel(struct tree *t, const char *user, uint64_t id)
{
	(void)t;
	int u = user_index(user);
	io_step("ask a worker to cancel");
	if (!world->mounted || !fs_dir_exists(u, id))
		return -ENOENT;
	if (fs_find(u, PLACE_PROCESSING, id, NAME_CANCEL) == NONE)
		fs_link(u, PLACE_PROCESSING, id, NAME_CANCEL, fs_new_inode(INODE_CANCEL));
	worker_cancel_orphan(id);
	return 0;
}

static int find_upload_in(int user, uint64_t id)
{
	const struct fs *fs = &world->fs;
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->slots[i].user == user && fs->slots[i].dir == id &&
		    fs->inodes[fs->slots[i].inode].kind == INODE_UPLOAD)
			return i;
	return NONE;
}

/* Nobody else puts anything there. */
int tree_each_beside_jobs(struct tree *t, const char *user,
                          int (*each)(void *ctx, const char *path, uint64_t job), void *ctx)
{
	(void)t, (void)user, (void)each, (void)ctx;
	return 0;
}

int tree_each_processing(struct tree *t, const char *user,
                         int (*each)(void *ctx, uint64_t id, const char *path,
                                     const struct file_ident *ident),
                         void *ctx, bool *ret_beside)
{
	const struct fs *fs = &world->fs;
	uint64_t ids[SLOTS_MAX];
	int n = 0, u = user_index(user);
	(void)t, (void)ret_beside;
	int r = io_may_fail("list processing", -EIO, -EMFILE);
	if (r < 0 || !world->mounted)
		return r < 0 ? r : -ENOENT;
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->slots[i].user == u && fs->slots[i].place == PLACE_PROCESSING &&
		    fs->slots[i].dir == 0 && fs->slots[i].name[0] != '.')
			ids[n++] = strtoull(fs->slots[i].name, NULL, 10);
	for (int i = 0; i < n && r == 0; i++) {
		struct file_ident ident = {0};
		char name[NAME_ROOM];
		io_step("visit a private directory");
		if (!fs_dir_exists(u, ids[i]))
			continue;
		int slot = find_upload_in(u, ids[i]);
		if (slot != NONE) {
			strcpy(name, fs->slots[slot].name);
			fs_ident(fs->slots[slot].inode, &ident);
			/* What it was like when it was accepted is not known any more. */
			ident.whole = fs->inodes[fs->slots[slot].inode].directory;
		}
		r = each(ctx, ids[i], slot == NONE ? NULL : name, slot == NONE ? NULL : &ident);
	}
	return r;
}

int tree_read_log(struct tree *t, const char *user, const struct job *job, uint64_t offset,
                  void *out, size_t size, size_t *ret_n)
{
	(void)t, (void)user, (void)job, (void)offset, (void)out, (void)size, (void)ret_n;
	return -ENOENT;
}

bool tree_is_lock(const struct tree *t, const char *path)
{
	(void)t, (void)path;
	return false;
}

/* Walks. */

struct looked {
	int slot; /* where the walk is when this is told */
	char path[NAME_ROOM];
	struct file_ident ident;
	enum entry_kind kind;
};

struct tree_scan {
	int user, at;
	int64_t began_ns;
	struct looked *ahead;
	size_t ahead_n, ahead_next;
	char path[NAME_ROOM];
};

int tree_scan_begin(struct tree *t, const char *user, struct tree_scan **ret)
{
	(void)t;
	int r = io_may_fail("begin a walk", -EIO, -EMFILE);
	if (r < 0 || !world->mounted)
		return r < 0 ? r : -ENOENT;
	struct tree_scan *s = calloc(1, sizeof *s);
	if (s == NULL)
		return -ENOMEM;
	world->disturbed_ms = world->now_ms;
	s->user = user_index(user);
	s->began_ns = stamp_ns();
	*ret = s;
	return 0;
}

/* What the walk comes to from slot `at` on. */
static bool walk_from(const struct tree_scan *s, int at, struct looked *ret)
{
	const struct fs *fs = &world->fs;
	for (; world->mounted && at < fs->slots_n; at++) {
		const struct slot *slot = &fs->slots[at];
		if (!slot->used || slot->user != s->user || slot->place != PLACE_INCOMING)
			continue;
		ret->slot = at;
		strcpy(ret->path, slot->name);
		fs_ident(slot->inode, &ret->ident);
		ret->kind = kind_of(slot->inode);
		return true;
	}
	return false;
}

/* All that was looked at is told as it was then, whatever became of it. */
void tree_scan_look_ahead(struct tree_scan *s, size_t n)
{
	struct looked l;
	size_t left = 0;
	for (int at = s->at; left < n && walk_from(s, at, &l); at = l.slot + 1)
		left++;
	free(s->ahead);
	s->ahead = left == 0 ? NULL : calloc(left, sizeof *s->ahead);
	s->ahead_n = s->ahead_next = 0;
	for (int at = s->at; s->ahead != NULL && s->ahead_n < left; at = l.slot + 1) {
		walk_from(s, at, &l);
		s->ahead[s->ahead_n++] = l;
	}
}

int tree_scan_next(struct tree_scan *s, const char **ret_path, struct file_ident *ret_ident,
                   enum entry_kind *ret_kind)
{
	struct looked here;
	int r = io_may_fail("walk on", -EIO, -EIO);
	if (r < 0)
		return r;
	if (s->ahead_next < s->ahead_n)
		here = s->ahead[s->ahead_next++];
	else if (!walk_from(s, s->at, &here))
		return -ENOENT;
	s->at = here.slot + 1;
	strcpy(s->path, here.path);
	*ret_path = s->path;
	*ret_ident = here.ident;
	*ret_kind = here.kind;
	return 0;
}

void tree_refresh(struct tree *t, const char *user, const char *path)
{
	(void)t, (void)user, (void)path;
}

void tree_scan_skip(struct tree_scan *s)
{
	(void)s;
}

void tree_scan_tidy(struct tree_scan *s, const struct tree_tidy *rule)
{
	(void)s, (void)rule;
}

uint64_t tree_scan_tidy_due_ms(const struct tree_scan *s)
{
	(void)s;
	return 0;
}

void tree_scan_end(struct tree_scan *s)
{
	if (s == NULL)
		return;
	free(s->ahead);
	free(s);
}

int64_t tree_scan_tick_ns(const struct tree_scan *s)
{
	return s->began_ns;
}

int64_t tree_scan_began_ns(const struct tree_scan *s)
{
	return s->began_ns;
}

/* The world has no notices, no directories in directories and endless room. */
bool tree_is_too_deep(const char *path, bool directory)
{
	(void)path;
	(void)directory;
	return false;
}

/* Nothing lies beside files here but their vouchers. */
bool tree_is_there(struct tree *t, const char *user, enum place place, const char *path)
{
	(void)t, (void)user, (void)place, (void)path;
	return false;
}

bool tree_is_beside(struct tree *t, const char *user, enum place place, const char *own,
                    bool output)
{
	(void)t, (void)user, (void)place, (void)own, (void)output;
	return false;
}

bool tree_is_notice(struct tree *t, const char *user, const char *path)
{
	(void)t;
	(void)user;
	(void)path;
	return false;
}

int tree_put_notice(struct tree *t, const char *user, const char *text)
{
	(void)t;
	(void)user;
	(void)text;
	return 0;
}

int tree_user_space(struct tree *t, const char *user, uint64_t *ret_bytes)
{
	(void)t;
	(void)user;
	*ret_bytes = UINT64_MAX;
	return 0;
}

/* "/spool/alice/incoming/a.csv" */
int tree_locate(struct tree *t, const char *outside, char **ret_user, enum place *ret_place,
                char **ret_path)
{
	char user[32], place[32], path[128];
	(void)t;
	if (sscanf(outside, "/spool/%31[^/]/%31[^/]/%127[^\n]", user, place, path) != 3)
		return -EINVAL;
	for (int p = PLACE_INCOMING; p < PLACES; p++) {
		if (strcmp(place, place_name((enum place)p)) != 0)
			continue;
		*ret_place = (enum place)p;
		*ret_user = strdup(user);
		*ret_path = strdup(path);
		return *ret_user == NULL || *ret_path == NULL ? -ENOMEM : 0;
	}
	return -EINVAL;
}
