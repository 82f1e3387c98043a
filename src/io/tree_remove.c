#include "io/tree_private.h"

#include "base/dir.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a handler wrote may be nested on purpose: what lies deeper than this is
 * moved up first, so that neither the stack nor the descriptors run out. */
enum { REMOVE_DEPTH_MAX = 64 };

struct removal {
	dev_t dev;
	int topfd;      /* of the directory to be removed */
	unsigned moved; /* directories moved up into it */
	bool again;     /* some of them since its walk began */
	unsigned left;  /* how many entries may still go; see tree_remove_some() */
};

static int remove_below(struct removal *rm, int dirfd, int depth);

static int move_up(struct removal *rm, int dirfd, const char *name)
{
	char free_name[48];
	int r = -EEXIST;
	for (int tries = 0; tries < 100 && r == -EEXIST; tries++) {
		snprintf(free_name, sizeof free_name, ".spoold-moved-up.%u", ++rm->moved);
		r = tree_rename(dirfd, name, rm->topfd, free_name);
	}
	rm->again |= r == 0;
	return r;
}

static int remove_directory(struct removal *rm, int dirfd, const char *name, int depth)
{
	struct stat st;
	fd_permit_at(dirfd, name);
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && st.st_dev != rm->dev)
		r = -EXDEV;
	bool too_deep = r == 0 && depth == REMOVE_DEPTH_MAX;
	if (depth == 0)
		rm->topfd = fd;
	if (r == 0 && !too_deep)
		r = remove_below(rm, fd, depth);
	fd_close(fd);
	if (too_deep)
		return move_up(rm, dirfd, name);
	return r == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? -errno : r;
}

/* Symlinks are removed, not followed; a mount point inside stays. */
static int remove_entry(struct removal *rm, int dirfd, const char *name, int depth)
{
	if (rm->left == 0)
		return -EAGAIN;
	rm->left--;
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	return remove_directory(rm, dirfd, name, depth);
}

struct walk {
	struct removal *rm;
	int dirfd;
	int depth;
	int first; /* error */
	bool mark;
};

static int remove_one(void *ctx, const char *name, uint64_t ino)
{
	struct walk *w = ctx;
	(void)ino;
	/* The mark goes last: as long as something is left, it is known as ours. */
	if (w->depth == 0 && strcmp(name, TREE_OUTPUT_MARK) == 0) {
		w->mark = true;
		return 0;
	}
	int r = remove_entry(w->rm, w->dirfd, name, w->depth + 1);
	if (r < 0 && w->first == 0)
		w->first = r;
	return w->rm->left == 0;
}

/* Goes on after a failure, and returns the first one. */
static int remove_below(struct removal *rm, int dirfd, int depth)
{
	struct walk w = {.rm = rm, .dirfd = dirfd, .depth = depth};
	int r;
	do {
		if (depth == 0)
			rm->again = false;
		r = dir_walk(dirfd, remove_one, &w);
	} while (r == 0 && w.first == 0 && depth == 0 && rm->again);
	r = r < 0 ? r : w.first;
	return r == 0 && w.mark ? remove_entry(rm, dirfd, TREE_OUTPUT_MARK, depth + 1) : r;
}

int tree_remove_some(int dirfd, const char *name, unsigned n)
{
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	struct removal rm = {.dev = st.st_dev, .left = n};
	int r = remove_entry(&rm, dirfd, name, 0);
	/* Broken off just before a directory was empty. */
	return r == -ENOTEMPTY && rm.left == 0 ? -EAGAIN : r;
}

int tree_remove(int dirfd, const char *name)
{
	return tree_remove_some(dirfd, name, UINT_MAX);
}
