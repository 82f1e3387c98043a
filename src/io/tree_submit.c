#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes between two words on the progress. */
enum { COPY_CHUNK = 1024 * 1024 };

static ssize_t copy_by_hand(int from, int to)
{
	char buffer[64 * 1024];
	ssize_t n;
	do
		n = read(from, buffer, sizeof buffer);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	int r = fd_write_all(to, buffer, (size_t)n);
	return r < 0 ? r : n;
}

static ssize_t copy_some(int from, int to, bool *by_hand)
{
	if (!*by_hand) {
		ssize_t n = copy_file_range(from, NULL, to, NULL, COPY_CHUNK, 0);
		if (n > 0)
			return n;
		/* Not for pipes, nor between all file systems; and some special files
		 * end early. */
		*by_hand = true;
	}
	return copy_by_hand(from, to);
}

static int copy(int from, int to, void (*each)(void *ctx, uint64_t bytes), void *ctx)
{
	bool by_hand = false;
	uint64_t total = 0;
	for (;;) {
		ssize_t n = copy_some(from, to, &by_hand);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return 0;
		total += (uint64_t)n;
		if (each != NULL)
			each(ctx, total);
	}
}

static int open_aside(int dirfd, const char *name, char *out, size_t size)
{
	uint64_t random;
	if (getrandom(&random, sizeof random, 0) != sizeof random)
		return -EIO;
	snprintf(out, size, ".spoold-part.%.200s.%016llx", name, (unsigned long long)random);
	int fd = openat(dirfd, out, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	return fd;
}

/* As if its user had put it there. */
static int give_to_owner(int dirfd, int fd)
{
	struct stat st;
	if (geteuid() != 0)
		return 0;
	if (fstat(dirfd, &st) < 0 || fchown(fd, st.st_uid, st.st_gid) < 0)
		return -errno;
	return 0;
}

int tree_submit(struct tree *t, const char *user, int fd, const char *name,
                void (*each)(void *ctx, uint64_t bytes), void *ctx)
{
	char aside[NAME_FILE_MAX + 1];
	struct stat st;
	if (name_user_problem(user) != NULL || name[0] == '\0' || strchr(name, '/') != NULL ||
	    strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	if (strlen(name) > NAME_FILE_MAX)
		return -ENAMETOOLONG;
	int dirfd = tree_open_place(t, user, PLACE_INCOMING);
	if (dirfd < 0)
		return dirfd;
	/* Said before the copy; the rename decides. */
	bool taken = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	int out = taken ? -EEXIST : open_aside(dirfd, name, aside, sizeof aside);
	int r = out < 0 ? out : give_to_owner(dirfd, out);
	if (r >= 0)
		r = copy(fd, out, each, ctx);
	if (r == 0 && fsync(out) < 0)
		r = -errno;
	if (r == 0)
		r = tree_rename(dirfd, aside, dirfd, name);
	if (out >= 0 && r < 0)
		unlinkat(dirfd, aside, 0);
	if (r == 0 && fsync(dirfd) < 0)
		r = -errno;
	fd_close(out);
	fd_close(dirfd);
	return r;
}

/* Appends the components of `rest`, without empty ones and dots. What is not
 * there has no parent to go back to. */
static int append_rest(char *out, size_t size, const char *rest)
{
	size_t used = strlen(out);
	for (;;) {
		rest += strspn(rest, "/");
		size_t n = strcspn(rest, "/");
		if (n == 0)
			return 0;
		if (n == 2 && memcmp(rest, "..", 2) == 0)
			return -ENOENT;
		bool dot = n == 1 && rest[0] == '.';
		if (!dot && used + n + 2 > size)
			return -ENAMETOOLONG;
		if (!dot)
			used += (size_t)snprintf(out + used, size - used, "/%.*s", (int)n, rest);
		rest += n;
	}
}

static bool is_dots(const char *name, size_t n)
{
	return (n == 1 && name[0] == '.') || (n == 2 && name[0] == '.' && name[1] == '.');
}

/* Start of the last component, trailing slashes aside. */
static size_t last_component(const char *path, size_t n)
{
	while (n > 0 && path[n - 1] == '/')
		n--;
	while (n > 0 && path[n - 1] != '/')
		n--;
	return n;
}

/* The real path of what exists, with the rest as it was written. The last
 * component is not resolved: it may be a symlink that lies in the spool. */
static int real_path(const char *outside, char *out, size_t size)
{
	char resolved[PATH_MAX];
	size_t n = strlen(outside), at = last_component(outside, n);
	if (n == 0)
		return -ENOENT;
	if (!is_dots(outside + at, strcspn(outside + at, "/")))
		n = at;
	for (;;) {
		char *parent = n == 0 ? strdup(".") : strndup(outside, n);
		bool there = parent != NULL && realpath(parent, resolved) != NULL;
		int r = parent == NULL ? -ENOMEM : there ? 0 : -errno;
		free(parent);
		if (there) {
			/* Of "/" nothing but the slash before the rest. */
			const char *dir = strcmp(resolved, "/") == 0 ? "" : resolved;
			int len = snprintf(out, size, "%s", dir);
			return len < 0 || (size_t)len >= size ? -ENAMETOOLONG
			                                      : append_rest(out, size, outside + n);
		}
		if ((r != -ENOENT && r != -ENOTDIR) || n == 0)
			return r;
		n = last_component(outside, n);
	}
}

static bool parse_place(const char *name, size_t n, enum place *ret)
{
	for (int p = PLACE_INCOMING; p < PLACES; p++) {
		const char *dir = tree_place_dir((enum place)p);
		if (strlen(dir) == n && memcmp(dir, name, n) == 0) {
			*ret = (enum place)p;
			return true;
		}
	}
	return false;
}

int tree_locate(struct tree *t, const char *outside, char **ret_user, enum place *ret_place,
                char **ret_path)
{
	char path[PATH_MAX * 2], root[PATH_MAX];
	int r = tree_answers(t, NULL, true);
	/* As it is written: its links are not followed before this. */
	if (r == 0 && t->guard.ask != NULL && outside[0] == '/')
		r = t->guard.ask(t->guard.ctx, outside, NULL, true);
	if (r == -ETIMEDOUT) {
		path[0] = '\0';
		snprintf(root, sizeof root, "%s", t->root);
		r = append_rest(path, sizeof path, outside);
	} else if (r == 0) {
		r = realpath(t->root, root) == NULL ? -errno : real_path(outside, path, sizeof path);
	}
	if (r < 0)
		return r;
	size_t n = strlen(root);
	if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return -EXDEV;
	const char *user = path + n + strspn(path + n, "/");
	size_t user_n = strcspn(user, "/");
	const char *dir = user + user_n + strspn(user + user_n, "/");
	size_t dir_n = strcspn(dir, "/");
	const char *rest = dir + dir_n + strspn(dir + dir_n, "/");
	enum place place;
	if (user_n == 0 || dir_n == 0 || rest[0] == '\0' || !parse_place(dir, dir_n, &place))
		return -EINVAL;
	char *name = strndup(user, user_n), *below = strdup(rest);
	if (name == NULL || below == NULL) {
		free(name);
		free(below);
		return -ENOMEM;
	}
	*ret_user = name;
	*ret_place = place;
	*ret_path = below;
	return 0;
}
