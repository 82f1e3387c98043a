#include "io/tree_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *tree_place_dir(enum place place)
{
	return place_name(place);
}

int tree_open_place(struct tree *t, const char *user, enum place place)
{
	char path[300];
	int n = snprintf(path, sizeof path, "%s/%s", user, tree_place_dir(place));
	if (n < 0 || (size_t)n >= sizeof path)
		return -ENAMETOOLONG;
	return fd_open_beneath(t->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
}

int tree_open_private(struct tree *t, const char *user, uint64_t id)
{
	char path[300];
	int n = snprintf(path, sizeof path, "%s/%s/%" PRIu64, user, tree_place_dir(PLACE_PROCESSING),
	                 id);
	if (n < 0 || (size_t)n >= sizeof path)
		return -ENAMETOOLONG;
	return fd_open_beneath(t->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
}

/* Opens one directory below another, making it where asked. */
static int enter(int dirfd, const char *name, mode_t make_mode)
{
	int fd = fd_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd != -ENOENT || make_mode == 0)
		return fd;
	struct stat st;
	if (mkdirat(dirfd, name, make_mode) < 0 && errno != EEXIST)
		return -errno;
	fd = fd_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0 && geteuid() == 0 && fstat(dirfd, &st) == 0 &&
	    fchown(fd, st.st_uid, st.st_gid) < 0) {
		int r = -errno;
		fd_close(fd);
		return r;
	}
	return fd;
}

int tree_open_parent(int dirfd, const char *path, mode_t make_mode, const char **ret_base)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
		char name[256];
		size_t n = (size_t)(slash - path);
		int next = -ENAMETOOLONG;
		if (n > 0 && n < sizeof name) {
			memcpy(name, path, n);
			name[n] = '\0';
			next = enter(fd, name, make_mode);
		}
		fd_close(fd);
		if (next < 0)
			return next;
		fd = next;
	}
	*ret_base = path;
	return fd;
}

static int64_t to_ns(struct timespec ts)
{
	/* The years 1678 to 2262; beyond them order is all that is left. */
	const int64_t last = INT64_MAX / 1000000000 - 1;
	if (ts.tv_sec > last)
		return INT64_MAX;
	if (ts.tv_sec < -last)
		return INT64_MIN;
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void read_stat(const struct stat *st, struct file_ident *ident, enum entry_kind *kind)
{
	*ident = (struct file_ident){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.ctime_ns = to_ns(st->st_ctim),
		.mtime_ns = to_ns(st->st_mtim),
		.uid = st->st_uid,
		.gid = st->st_gid,
	};
	if (S_ISREG(st->st_mode))
		*kind = st->st_nlink == 1 ? ENTRY_FILE : ENTRY_HARDLINKED;
	else if (S_ISDIR(st->st_mode))
		*kind = ENTRY_DIRECTORY;
	else
		*kind = S_ISLNK(st->st_mode) ? ENTRY_SYMLINK : ENTRY_SPECIAL;
}

int tree_ident_at(int dirfd, const char *name, struct file_ident *ret_ident,
                  enum entry_kind *ret_kind)
{
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	read_stat(&st, ret_ident, ret_kind);
	return 0;
}

int tree_ident_fd(int fd, struct file_ident *ret_ident, enum entry_kind *ret_kind)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	read_stat(&st, ret_ident, ret_kind);
	return 0;
}

/* link() does not replace either; between the two calls the file has two
 * names, and is in no moment without one. */
static int link_and_unlink(int old_dirfd, const char *old_name, int new_dirfd,
                           const char *new_name)
{
	if (linkat(old_dirfd, old_name, new_dirfd, new_name, 0) < 0)
		return -errno;
	return unlinkat(old_dirfd, old_name, 0) < 0 ? -errno : 0;
}

int tree_rename(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name)
{
	if (renameat2(old_dirfd, old_name, new_dirfd, new_name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	return link_and_unlink(old_dirfd, old_name, new_dirfd, new_name);
}
