/* One walk: everything in a directory, at all depths, directories after what is in
 * them. */
#include "io/wholes_private.h"

#include "base/clock.h"
#include "base/fd.h"
#include "core/name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

struct level {
	DIR *dir;
	size_t path_n; /* length of its path */
};

struct wholes_walk {
	struct wholes_result result;
	struct level levels[WHOLES_DEPTH_MAX];
	int depth;      /* levels open; the last one is being read */
	int dirfd;      /* until it begins */
	bool over;
	bool probe, sync, sync_all, by_disk, give;
	uid_t uid;
	gid_t gid;
	char **ignore;
	dev_t dev;
	struct timespec top_ctime;
	char path[JOB_PATH_MAX + 1];
};

static void free_patterns(char **list)
{
	for (char **p = list; p != NULL && *p != NULL; p++)
		free(*p);
	free(list);
}

/* The configuration they are from may be gone before the walk is over. */
static char **copy_patterns(const char *const *list)
{
	size_t n = 0;
	while (list != NULL && list[n] != NULL)
		n++;
	char **copy = calloc(n + 1, sizeof *copy);
	for (size_t i = 0; i < n && copy != NULL; i++) {
		copy[i] = strdup(list[i]);
		if (copy[i] == NULL) {
			free_patterns(copy);
			copy = NULL;
		}
	}
	return copy;
}

static struct file_ident ident_of(const struct stat *st)
{
	return (struct file_ident){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.ctime_ns = clock_stamp_ns(st->st_ctim.tv_sec, st->st_ctim.tv_nsec),
		.mtime_ns = clock_stamp_ns(st->st_mtim.tv_sec, st->st_mtim.tv_nsec),
		.uid = st->st_uid,
		.gid = st->st_gid,
	};
}

static void fail(struct wholes_walk *w, int error)
{
	w->result.error = error;
	w->over = true;
}

static void note_unsynced(struct wholes_walk *w, int error)
{
	if (w->result.unsynced == 0)
		w->result.unsynced = error;
}

/* Somebody is at it: what was found is not what will be there. */
static void note_writer(struct wholes_walk *w)
{
	w->result.whole.writer = true;
	w->over = w->probe;
}

static void refuse(struct wholes_walk *w, const char *problem)
{
	whole_note_flaw(&w->result.whole, WHOLE_REFUSED, problem, w->path);
	w->over = !w->give;
}

/* By its descriptor, so that it is what was looked at: never another name of a file
 * outside. */
static void give(struct wholes_walk *w, int dirfd, const char *name)
{
	struct stat st;
	int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	bool ours = fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == w->dev &&
	            (S_ISDIR(st.st_mode) || (S_ISREG(st.st_mode) && st.st_nlink == 1));
	if (ours && (st.st_uid != w->uid || st.st_gid != w->gid) &&
	    fchownat(fd, "", w->uid, w->gid, AT_EMPTY_PATH) < 0)
		w->result.error = -errno;
	fd_close(fd);
}

/* On others, syncfs() may write back without asking what is behind it to keep it. */
static bool syncfs_is_durable(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 && (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC ||
	                                 fs.f_type == BTRFS_SUPER_MAGIC);
}

/* After syncfs() a file is only asked for errors of its own, which an earlier
 * writeback may have had. */
static void sync_file(struct wholes_walk *w, int fd)
{
	int r = w->by_disk ? sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE) : fsync(fd);
	if (r < 0)
		note_unsynced(w, -errno);
}

struct wholes_walk *wholes_walk_new(int dirfd, const struct wholes_order *order)
{
	struct wholes_walk *w = calloc(1, sizeof *w);
	if (w == NULL || (w->ignore = copy_patterns(order->ignore)) == NULL) {
		free(w);
		fd_close(dirfd);
		return NULL;
	}
	w->dirfd = dirfd;
	w->probe = order->probe;
	w->give = order->give;
	w->uid = order->uid;
	w->gid = order->gid;
	w->sync_all = order->sync_all;
	w->sync = order->sync || order->sync_all;
	return w;
}

static void begin(struct wholes_walk *w)
{
	struct stat st;
	int fd = w->dirfd;
	w->dirfd = -1;
	w->by_disk = w->sync_all && syncfs_is_durable(fd) && syncfs(fd) == 0;
	DIR *dir = fstat(fd, &st) < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		fail(w, -errno);
		fd_close(fd);
		return;
	}
	if (w->give && fchown(fd, w->uid, w->gid) < 0)
		w->result.error = -errno;
	/* The descriptor may have been read from before. */
	rewinddir(dir);
	w->levels[w->depth++].dir = dir;
	w->dev = st.st_dev;
	w->top_ctime = st.st_ctim;
	struct file_ident top = ident_of(&st);
	whole_begin(&w->result.whole, &top);
}

/* Writes the path of an entry; false where it is too long. */
static bool set_path(struct wholes_walk *w, const char *name)
{
	size_t at = w->levels[w->depth - 1].path_n, n = strlen(name), slash = at > 0 ? 1 : 0;
	if (at + slash + n > JOB_PATH_MAX)
		return false;
	if (slash > 0)
		w->path[at] = '/';
	memcpy(w->path + at + slash, name, n + 1);
	return true;
}

static void add(struct wholes_walk *w, bool directory, const struct stat *st)
{
	struct file_ident ident = ident_of(st);
	whole_add(&w->result.whole, w->path, directory, &ident);
}

/* It is not any more what it was a moment ago: it is being worked on. */
static bool is_change(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ESTALE;
}

static void not_opened(struct wholes_walk *w, int error)
{
	/* EAGAIN: somebody has a lease on it. */
	if (is_change(error) || error == EAGAIN)
		note_writer(w);
	else
		fail(w, -error);
}

static void enter(struct wholes_walk *w, int dirfd, const char *name)
{
	if (w->depth == WHOLES_DEPTH_MAX) {
		refuse(w, "is nested too deep");
		return;
	}
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		not_opened(w, errno);
		fd_close(fd);
		return;
	}
	w->levels[w->depth++] = (struct level){.dir = dir, .path_n = strlen(w->path)};
}

/* A read lease is granted only while nobody has the file open for writing; it is given
 * back at once. */
static bool has_writer(int fd)
{
	bool got = fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
	if (got)
		fcntl(fd, F_SETLEASE, F_UNLCK);
	return !got && errno == EAGAIN;
}

/* The writers first: what is seen without any is what the last one left. */
static void look_closely(struct wholes_walk *w, int dirfd, const char *name)
{
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0) {
		not_opened(w, errno);
		return;
	}
	if (w->probe && has_writer(fd))
		note_writer(w);
	if (w->sync)
		sync_file(w, fd);
	if (fstat(fd, &st) < 0)
		fail(w, -errno);
	else if (!S_ISREG(st.st_mode))
		note_writer(w);
	else
		add(w, false, &st);
	fd_close(fd);
}

static void take_file(struct wholes_walk *w, int dirfd, const char *name, const struct stat *st)
{
	if (st->st_nlink != 1)
		refuse(w, "has more than one name (hard links)");
	else if (w->probe || w->sync)
		look_closely(w, dirfd, name);
	else
		add(w, false, st);
}

static void take(struct wholes_walk *w, int dirfd, const char *name)
{
	struct stat st;
	if (!set_path(w, name)) {
		refuse(w, "has a path that is too long");
		return;
	}
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		not_opened(w, errno);
		return;
	}
	if (w->give)
		give(w, dirfd, name);
	if (whole_is_unfinished(name, (const char *const *)w->ignore))
		whole_note_flaw(&w->result.whole, WHOLE_UNFINISHED,
		                "has a name that transfer programs use for what is not whole yet", w->path);
	if (S_ISLNK(st.st_mode))
		refuse(w, "is a symbolic link");
	else if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		refuse(w, "is a FIFO, socket or device");
	else if (st.st_dev != w->dev)
		refuse(w, "is a mount point");
	else if (S_ISDIR(st.st_mode))
		enter(w, dirfd, name);
	else
		take_file(w, dirfd, name, &st);
}

static void end_walk(struct wholes_walk *w, const struct stat *st)
{
	if (st->st_ctim.tv_sec != w->top_ctime.tv_sec || st->st_ctim.tv_nsec != w->top_ctime.tv_nsec)
		w->result.whole.writer = true;
	w->over = true;
}

/* With the directory that holds it: its name is to last, too. */
static void sync_top(struct wholes_walk *w, int fd)
{
	int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Descriptors may be short: nothing is lost by that. */
	if (up < 0)
		w->result.error = -errno;
	else if (fsync(fd) < 0 || fsync(up) < 0)
		note_unsynced(w, -errno);
	fd_close(up);
}

/* The end of the directory at hand: now it counts itself. */
static void leave(struct wholes_walk *w)
{
	struct stat st;
	const struct level *here = &w->levels[w->depth - 1];
	int fd = dirfd(here->dir);
	if (w->sync && w->depth == 1)
		sync_top(w, fd);
	else if (w->sync && !w->by_disk && fsync(fd) < 0)
		note_unsynced(w, -errno);
	w->path[here->path_n] = '\0';
	if (fstat(fd, &st) < 0)
		fail(w, -errno);
	else if (w->depth == 1)
		end_walk(w, &st);
	else
		add(w, true, &st);
	closedir(here->dir);
	w->depth--;
}

static void step(struct wholes_walk *w)
{
	DIR *dir = w->levels[w->depth - 1].dir;
	errno = 0;
	const struct dirent *e = readdir(dir);
	if (e == NULL && errno != 0)
		fail(w, -errno);
	else if (e == NULL)
		leave(w);
	else if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
		take(w, dirfd(dir), e->d_name);
}

bool wholes_walk_step(struct wholes_walk *w, int budget)
{
	if (w->dirfd >= 0)
		begin(w);
	for (int n = 0; n < budget && !w->over; n++)
		step(w);
	if (w->over)
		whole_end(&w->result.whole);
	return !w->over;
}

const struct wholes_result *wholes_walk_result(const struct wholes_walk *w)
{
	return &w->result;
}

void wholes_walk_free(struct wholes_walk *w)
{
	if (w == NULL)
		return;
	while (w->depth > 0)
		closedir(w->levels[--w->depth].dir);
	fd_close(w->dirfd);
	free_patterns(w->ignore);
	free(w);
}
