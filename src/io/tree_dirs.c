#include "io/tree_private.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

const char *tree_place_dir(enum place place)
{
	return place_name(place);
}

/* One component: what a rename or a look takes, so that no symlink on the way
 * is followed. */
static bool is_component(const char *name, size_t n)
{
	if (n == 0 || memchr(name, '/', n) != NULL)
		return false;
	return !(name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')));
}

int tree_open_place(struct tree *t, const char *user, enum place place)
{
	char path[300];
	if (!is_component(user, strlen(user)))
		return -EINVAL;
	int n = snprintf(path, sizeof path, "%s/%s", user, tree_place_dir(place));
	if (n < 0 || (size_t)n >= sizeof path)
		return -ENAMETOOLONG;
	int answers = tree_answers(t, user, true);
	return answers < 0 ? answers : fd_open_beneath(t->rootfd, path, O_RDONLY | O_DIRECTORY, 0);
}

int tree_open_private(struct tree *t, const char *user, uint64_t id)
{
	char name[32];
	int processing = tree_borrow_place(t, user, PLACE_PROCESSING);
	if (processing < 0)
		return processing;
	snprintf(name, sizeof name, "%" PRIu64, id);
	/* A handler of our own account may have closed it to itself, and so to us. */
	fd_permit_at(processing, name);
	int fd = fd_open_beneath(processing, name, O_RDONLY | O_DIRECTORY, 0);
	tree_return_place(t, user, processing);
	return fd;
}

/* A directory that was just made gets its mode, whatever the umask, and the
 * owner of its model or at least the group, as far as we may. Only what is ours
 * is touched: where the uploader may write as well, the name may lead to
 * another directory by now. */
static void settle_made(int fd, mode_t mode, int model_fd)
{
	struct stat st, model;
	if (fstat(fd, &st) < 0 || fstat(model_fd, &model) < 0 || st.st_uid != geteuid())
		return;
	int r = fchmod(fd, mode);
	if (r == 0)
		r = fchown(fd, model.st_uid, model.st_gid);
	if (r < 0)
		r = fchown(fd, (uid_t)-1, model.st_gid);
	(void)r;
}

/* Opens the directory `name` in `dirfd`, made where it is missing. */
static int open_or_make(int dirfd, const char *name, mode_t mode, int model_fd)
{
	int fd = fd_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd != -ENOENT || mode == 0)
		return fd;
	bool made = mkdirat(dirfd, name, mode) == 0;
	if (!made && errno != EEXIST)
		return -errno;
	fd = fd_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0 && made)
		settle_made(fd, mode, model_fd);
	return fd;
}

int tree_open_parent(int dirfd, const char *path, mode_t make_mode, const char **ret_base)
{
	int fd = fd_open_beneath(dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
	for (;;) {
		const char *slash = strchr(path, '/');
		size_t n = slash == NULL ? strlen(path) : (size_t)(slash - path);
		char name[NAME_MAX + 1];
		if (fd < 0)
			return fd;
		if (!is_component(path, n) || n > NAME_MAX) {
			fd_close(fd);
			return n > NAME_MAX ? -ENAMETOOLONG : -EINVAL;
		}
		if (slash == NULL)
			break;
		memcpy(name, path, n);
		name[n] = '\0';
		int next = open_or_make(fd, name, make_mode, dirfd);
		fd_close(fd);
		fd = next;
		path = slash + 1;
	}
	*ret_base = path;
	return fd;
}

static void read_stat(const struct stat *st, struct file_ident *ident, enum entry_kind *kind)
{
	*ident = (struct file_ident){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.ctime_ns = clock_stamp_ns(st->st_ctim.tv_sec, st->st_ctim.tv_nsec),
		.mtime_ns = clock_stamp_ns(st->st_mtim.tv_sec, st->st_mtim.tv_nsec),
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

static bool is_fuse(const struct statfs *fs)
{
	return ((unsigned long)fs->f_type & 0xffffffffUL) == FUSE_SUPER_MAGIC;
}

void tree_numbers_of(int dirfd, struct tree_numbers *ret)
{
	struct stat st;
	struct statfs fs;
	*ret = (struct tree_numbers){0};
	if (fstat(dirfd, &st) == 0 && fstatfs(dirfd, &fs) == 0)
		*ret = (struct tree_numbers){.dev = st.st_dev, .last = !is_fuse(&fs)};
}

/* FUSE gives a file another number after a remount, or when it had forgotten it:
 * there it is known by its size and its time of change alone. Where the server has
 * just gone, attributes still come from a cache but this does not: then nothing is
 * known, or the file would look like another one. */
static int settle_number(int fd, struct file_ident *ident)
{
	struct statfs fs;
	if (major(ident->dev) != 0)
		return 0;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (!is_fuse(&fs))
		return 0;
	uint64_t hash = (UINT64_C(14695981039346656037) ^ ident->size) * UINT64_C(1099511628211);
	hash = (hash ^ (uint64_t)ident->mtime_ns) * UINT64_C(1099511628211);
	ident->ino = hash | TREE_INO_MADE_UP;
	return 0;
}

int tree_ident_at(int dirfd, const char *name, struct file_ident *ret_ident,
                  enum entry_kind *ret_kind)
{
	return tree_ident_in(dirfd, &(struct tree_numbers){0}, name, ret_ident, ret_kind);
}

int tree_ident_in(int dirfd, const struct tree_numbers *numbers, const char *name,
                  struct file_ident *ret_ident, enum entry_kind *ret_kind)
{
	struct stat st;
	if (!is_component(name, strlen(name)))
		return -EINVAL;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	struct file_ident ident;
	read_stat(&st, &ident, ret_kind);
	int r = numbers->last && numbers->dev == st.st_dev ? 0 : settle_number(dirfd, &ident);
	if (r == 0)
		*ret_ident = ident;
	return r;
}

int tree_ident_fd(int fd, struct file_ident *ret_ident, enum entry_kind *ret_kind)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	struct file_ident ident;
	read_stat(&st, &ident, ret_kind);
	int r = settle_number(fd, &ident);
	if (r == 0)
		*ret_ident = ident;
	return r;
}

bool tree_is_same(const struct file_ident *ident, const struct file_ident *now,
                  enum entry_kind kind)
{
	if (ident->whole != 0)
		return kind == ENTRY_DIRECTORY && file_ident_same_top(ident, now);
	return kind == ENTRY_FILE && file_ident_same(ident, now);
}

bool tree_fits(const struct file_ident *ident, bool directory)
{
	return directory == (ident->whole != 0);
}

/* Was this rename begun by link_and_unlink() and cut in two? Then both names
 * lead to the one file. A name is never taken for its own double. */
static bool is_half_renamed(int old_dirfd, const char *old_name, int new_dirfd,
                            const char *new_name)
{
	struct stat old, new, old_dir, new_dir;
	if (fstatat(old_dirfd, old_name, &old, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fstatat(new_dirfd, new_name, &new, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fstat(old_dirfd, &old_dir) < 0 || fstat(new_dirfd, &new_dir) < 0)
		return false;
	if (strcmp(old_name, new_name) == 0 && old_dir.st_dev == new_dir.st_dev &&
	    old_dir.st_ino == new_dir.st_ino)
		return false;
	return S_ISREG(old.st_mode) && old.st_nlink > 1 && old.st_dev == new.st_dev &&
	       old.st_ino == new.st_ino;
}

/* link() does not replace either; between the two calls the file has two
 * names, and is in no moment without one. */
static int link_and_unlink(int old_dirfd, const char *old_name, int new_dirfd,
                           const char *new_name)
{
	if (linkat(old_dirfd, old_name, new_dirfd, new_name, 0) < 0)
		return -errno;
	if (unlinkat(old_dirfd, old_name, 0) == 0)
		return 0;
	int r = -errno;
	unlinkat(new_dirfd, new_name, 0);
	return r;
}

/* A directory cannot be linked; but it never replaces a file, nor a directory
 * with something in it. */
static int rename_directory(int old_dirfd, const char *old_name, int new_dirfd,
                            const char *new_name)
{
	if (renameat(old_dirfd, old_name, new_dirfd, new_name) == 0)
		return 0;
	return errno == ENOTEMPTY || errno == ENOTDIR ? -EEXIST : -errno;
}

int tree_rename(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name)
{
	struct stat st;
	if (!is_component(old_name, strlen(old_name)) || !is_component(new_name, strlen(new_name)))
		return -EINVAL;
	if (renameat2(old_dirfd, old_name, new_dirfd, new_name, RENAME_NOREPLACE) == 0)
		return 0;
	int r = -errno;
	if (r == -EINVAL || r == -ENOSYS) {
		if (fstatat(old_dirfd, old_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		r = S_ISDIR(st.st_mode)
		            ? rename_directory(old_dirfd, old_name, new_dirfd, new_name)
		            : link_and_unlink(old_dirfd, old_name, new_dirfd, new_name);
	}
	if (r == -EEXIST && is_half_renamed(old_dirfd, old_name, new_dirfd, new_name))
		r = unlinkat(old_dirfd, old_name, 0) < 0 ? -errno : 0;
	return r;
}
