/* What is kept beside a final file: its log with the reason in it, and its
 * output directory; and how they are told from uploads that are named alike. */
#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Head of the names of half-written logs. */
#define ASIDE ".spoold-log."

enum { MARK_SIZE = sizeof TREE_LOG_MARK }; /* bytes: a newline for the NUL */

bool tree_is_ours(const char *name, const char *base)
{
	return strcmp(name, name_log(base)) == 0 || strcmp(name, name_output(base)) == 0 ||
	       tree_is_certainly_ours(name);
}

bool tree_is_certainly_ours(const char *name)
{
	return strcmp(name, NAME_RESULT) == 0 || strcmp(name, NAME_RESULT ".new") == 0 ||
	       strcmp(name, NAME_CANCEL) == 0 || strcmp(name, NAME_CANCEL ".new") == 0 ||
	       strncmp(name, ASIDE, sizeof ASIDE - 1) == 0 || tree_voucher_suffix(name) != NULL;
}

/* Uploads keep their owner in done and failed; what is ours belongs to whom
 * the directory belongs. */
static bool has_owner_of(const struct stat *st, int dirfd)
{
	struct stat dir;
	return fstat(dirfd, &dir) == 0 && st->st_uid == dir.st_uid;
}

/* *ret_last is the last byte, or a newline where there is none. */
static bool has_mark(int fd, off_t size, char *ret_last)
{
	char tail[MARK_SIZE];
	const off_t n = size < MARK_SIZE ? size : MARK_SIZE;
	*ret_last = '\n';
	if (n == 0 || pread(fd, tail, (size_t)n, size - n) != n)
		return false;
	*ret_last = tail[n - 1];
	return size >= MARK_SIZE && memcmp(tail, TREE_LOG_MARK "\n", MARK_SIZE) == 0;
}

/* Another kind of thing, or nothing, is not ours; any other error tells nothing. */
static int open_to_judge(int dirfd, const char *name, int flags)
{
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags);
	if (fd >= 0)
		return fd;
	bool other = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENXIO;
	return other ? -ENOENT : -errno;
}

int tree_judge_log(int dirfd, const char *name)
{
	struct stat st;
	char last;
	int fd = open_to_judge(dirfd, name, 0);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	errno = 0;
	int r = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && has_owner_of(&st, dirfd) &&
	        has_mark(fd, st.st_size, &last);
	if (r == 0 && errno != 0)
		r = -errno;
	fd_close(fd);
	return r;
}

bool tree_is_our_log(int dirfd, const char *name)
{
	return tree_judge_log(dirfd, name) > 0;
}

int tree_judge_output(int dirfd, const char *name)
{
	struct stat st, mark;
	int fd = open_to_judge(dirfd, name, O_DIRECTORY);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	errno = 0;
	int r = fstat(fd, &st) == 0 && has_owner_of(&st, dirfd) &&
	        fstatat(fd, TREE_OUTPUT_MARK, &mark, AT_SYMLINK_NOFOLLOW) == 0 &&
	        S_ISREG(mark.st_mode) && mark.st_uid == st.st_uid;
	if (r == 0 && errno != 0 && errno != ENOENT)
		r = -errno;
	fd_close(fd);
	return r;
}

bool tree_is_our_output(int dirfd, const char *name)
{
	return tree_judge_output(dirfd, name) > 0;
}

bool tree_is_beside(struct tree *t, const char *user, enum place place, const char *own,
                    bool output)
{
	const char *base;
	int placefd = tree_open_place(t, user, place);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, own, 0, &base);
	bool ours = dirfd >= 0 &&
	            (output ? tree_is_our_output(dirfd, base) : tree_is_our_log(dirfd, base));
	fd_close(dirfd);
	fd_close(placefd);
	return ours;
}

bool tree_is_there(struct tree *t, const char *user, enum place place, const char *path)
{
	struct stat st;
	const char *base;
	int placefd = tree_open_place(t, user, place);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, path, 0, &base);
	bool there = dirfd >= 0 && fstatat(dirfd, base, &st, AT_SYMLINK_NOFOLLOW) == 0;
	fd_close(dirfd);
	fd_close(placefd);
	return there;
}

char *tree_beside(const char *final, const char *suffix)
{
	const char *base = name_base(final);
	size_t n = strlen(base), dirs = (size_t)(base - final);
	if (n + strlen(suffix) <= NAME_FILE_MAX)
		return name_with_suffix(final, suffix);
	/* Cut alone, long names that differ in their tails would share a log. */
	uint32_t hash = 2166136261;
	for (const char *p = base; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619;
	int stem = (int)(NAME_FILE_MAX - strlen(suffix) - strlen("~00000000"));
	char *out = NULL;
	n = (size_t)asprintf(&out, "%.*s%.*s~%08" PRIx32 "%s", (int)dirs, final, stem, base, hash,
	                     suffix);
	return n == (size_t)-1 ? NULL : out;
}

gid_t tree_readers(struct tree *t, const char *user, enum place place, const struct file_ident *ident)
{
	struct stat st;
	int fd = tree_open_place(t, user, place);
	bool closed = fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & S_IXOTH) == 0;
	fd_close(fd);
	return closed ? st.st_gid : (gid_t)ident->gid;
}

/* For the eyes of the uploader, and out of reach for changes. Without the
 * right to give it away it keeps the group of its directory. */
static int show(int fd, mode_t mode, gid_t gid)
{
	int r = fchown(fd, geteuid() == 0 ? 0 : (uid_t)-1, gid);
	if (r < 0 && geteuid() == 0)
		return -errno;
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

/* The place does not matter, but no upload may be called so. */
static int open_aside(int dirfd, char *out, size_t size)
{
	uint64_t random;
	if (getrandom(&random, sizeof random, 0) != sizeof random)
		return -EIO;
	snprintf(out, size, ASIDE "%016" PRIx64, random);
	int fd = openat(dirfd, out, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	return fd;
}

static int append(int from, int to)
{
	char buffer[16 * 1024];
	for (;;) {
		ssize_t n = read(from, buffer, sizeof buffer);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		int r = fd_write_all(to, buffer, (size_t)n);
		if (r < 0)
			return r;
	}
}

/* A mark in a line of its own. */
static int write_mark(int fd, char last)
{
	int r = last == '\n' ? 0 : fd_write_all(fd, "\n", 1);
	return r < 0 ? r : fd_write_all(fd, TREE_LOG_MARK "\n", MARK_SIZE);
}

static int write_reason(int to, const char *reason, int old)
{
	struct stat st = {0};
	size_t n = strlen(reason);
	char last = n == 0 ? '\n' : reason[n - 1];
	bool marked = false;
	if (old >= 0 && fstat(old, &st) < 0)
		return -errno;
	int r = fd_write_all(to, reason, n);
	if (r == 0 && st.st_size > 0) {
		r = fd_write_all(to, "\n", 1);
		r = r < 0 ? r : append(old, to);
		marked = has_mark(old, st.st_size, &last);
	}
	return r < 0 || marked ? r : write_mark(to, last);
}

static bool begins_with(int fd, const char *text)
{
	size_t n = strlen(text);
	char *head = malloc(n + 1);
	bool same = head != NULL && pread(fd, head, n, 0) == (ssize_t)n && memcmp(head, text, n) == 0;
	free(head);
	return same;
}

/* An empty log says nothing: it is written. */
static bool has_reason(int fd, const char *reason)
{
	struct stat st;
	return fstat(fd, &st) == 0 && st.st_size > 0 && begins_with(fd, reason);
}

bool tree_has_reason(int dirfd, const char *log_name, const char *reason)
{
	int fd = openat(dirfd, log_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool there = fd >= 0 && has_reason(fd, reason);
	fd_close(fd);
	return there;
}

int tree_write_reason(int dirfd, const char *log_name, const char *reason, gid_t gid)
{
	char aside[sizeof ASIDE + 16];
	int old = openat(dirfd, log_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (old < 0 && errno != ENOENT)
		return -errno;
	if (old >= 0 && has_reason(old, reason)) {
		fd_close(old);
		return 0;
	}
	int fd = open_aside(dirfd, aside, sizeof aside);
	int r = fd < 0 ? fd : write_reason(fd, reason, old);
	if (r == 0)
		r = show(fd, 0640, gid);
	if (r == 0 && old >= 0)
		r = renameat(dirfd, aside, dirfd, log_name) < 0 ? -errno : 0;
	else if (r == 0)
		r = tree_rename(dirfd, aside, dirfd, log_name);
	if (fd >= 0 && r < 0)
		unlinkat(dirfd, aside, 0);
	fd_close(fd);
	fd_close(old);
	return r;
}

int tree_mark_log(int dirfd, const char *name, gid_t gid)
{
	struct stat st;
	char last;
	int fd = openat(dirfd, name, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = fstat(fd, &st) < 0 ? -errno : 0;
	/* Another name of some file outside is not ours to write into. */
	if (r == 0 && (!S_ISREG(st.st_mode) || st.st_nlink != 1))
		r = -EINVAL;
	if (r == 0 && !has_mark(fd, st.st_size, &last))
		r = write_mark(fd, last);
	if (r == 0)
		r = show(fd, 0640, gid);
	fd_close(fd);
	return r;
}

static int create_mark(int dirfd)
{
	int fd = openat(dirfd, TREE_OUTPUT_MARK, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	                0640);
	if (fd < 0)
		return -errno;
	return fd;
}

int tree_mark_output(int dirfd, const char *name, gid_t gid)
{
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int mark = create_mark(fd);
	int r = mark;
	if (r == -EEXIST && fstatat(fd, TREE_OUTPUT_MARK, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == geteuid()) {
		r = 0;
	} else if (r == -EEXIST) {
		/* The handler made something of that name. */
		r = tree_remove(fd, TREE_OUTPUT_MARK);
		mark = r < 0 ? r : create_mark(fd);
		r = mark;
	}
	if (r >= 0)
		r = show(fd, 0750, gid);
	fd_close(mark);
	fd_close(fd);
	return r;
}
