/* Users whose directory is a mount of its own. That it is one is noted on the side
 * of the root, so that the empty directory beneath, once the mount is gone, is not
 * taken for theirs. */
#include "io/tree_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK ".lock"

static bool note_path(const char *user, char *out, size_t size)
{
	int n = snprintf(out, size, "%s/%s", TREE_MOUNTS, user);
	return n > 0 && (size_t)n < size;
}

/* 1 = noted, 0 = not, or a negative errno. */
static int is_noted(struct tree *t, const char *user)
{
	char path[300];
	if (!note_path(user, path, sizeof path))
		return -ENAMETOOLONG;
	int fd = fd_open_beneath(t->rootfd, path, O_PATH, 0);
	fd_close(fd);
	return fd >= 0 ? 1 : fd == -ENOENT ? 0 : fd;
}

int tree_note_mount(struct tree *t, const char *user)
{
	static const char text[] = "The directory of this user is a mount of its own. Remove this file "
	                           "when it is to be one no more.\n";
	int userfd = fd_open_beneath(t->rootfd, user, O_RDONLY | O_DIRECTORY, 0);
	int lock = userfd < 0 ? userfd
	                      : fd_open_beneath(userfd, LOCK,
	                                        O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
	fd_close(userfd);
	fd_close(lock);
	if (lock < 0)
		return lock;
	if (mkdirat(t->rootfd, TREE_MOUNTS, 0755) < 0 && errno != EEXIST)
		return -errno;
	int fd = fd_open_beneath(t->rootfd, TREE_MOUNTS, O_RDONLY | O_DIRECTORY, 0);
	int r = fd < 0 ? fd : fd_write_file(fd, user, text, sizeof text - 1, 0644);
	fd_close(fd);
	return r;
}

/* What tells a mount that was ours before from another one. */
static int judge_mount(int userfd)
{
	struct stat st;
	if (fstatat(userfd, LOCK, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? -ENODEV : -errno;
}

int tree_user_mounted(struct tree *t, const char *user)
{
	struct stat root, st;
	int answers = tree_answers(t, user, true);
	if (answers < 0)
		return answers;
	int noted = is_noted(t, user);
	int userfd = fd_open_beneath(t->rootfd, user, O_RDONLY | O_DIRECTORY, 0);
	/* A whole directory that is gone was no mount. */
	int r = userfd == -ENOENT ? (noted > 0 ? -ENODEV : 0) : userfd < 0 ? userfd : noted;
	if (r >= 0 && userfd >= 0) {
		if (fstat(t->rootfd, &root) < 0 || fstat(userfd, &st) < 0)
			r = -errno;
		else if (st.st_dev != root.st_dev)
			r = noted > 0 ? judge_mount(userfd) : 1;
		else
			r = noted > 0 ? -ENODEV : 0;
	}
	fd_close(userfd);
	if (r != 0)
		tree_forget_kept(t);
	return r == -ENOTCONN || r == -ESTALE ? -ENODEV : r;
}
