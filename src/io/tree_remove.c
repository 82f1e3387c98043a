#include "io/tree_private.h"

#include "base/fd.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a handler wrote may be nested on purpose: no deeper than this, so that
 * neither the stack nor the descriptors run out. */
enum { REMOVE_DEPTH_MAX = 64 };

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int remove_below(int dirfd, dev_t dev, int depth);

/* Symlinks are removed, not followed; a mount point inside stays. */
static int remove_entry(int dirfd, const char *name, dev_t dev, int depth)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	struct stat st;
	int r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && st.st_dev != dev)
		r = -EXDEV;
	if (r == 0 && depth == REMOVE_DEPTH_MAX)
		r = -ELOOP;
	if (r == 0)
		r = remove_below(fd, dev, depth + 1);
	fd_close(fd);
	if (r == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0)
		r = -errno;
	return r;
}

/* Goes on after a failure, and returns the first one. */
static int remove_below(int dirfd, dev_t dev, int depth)
{
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	int first = 0;
	if (dir == NULL) {
		int r = -errno;
		fd_close(copy);
		return r;
	}
	for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
		if (is_dots(e->d_name))
			continue;
		int r = remove_entry(dirfd, e->d_name, dev, depth);
		if (r < 0 && first == 0)
			first = r;
	}
	closedir(dir);
	return first;
}

int tree_remove(int dirfd, const char *name)
{
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return remove_entry(dirfd, name, st.st_dev, 0);
}
