/* The notice in incoming, where its user may write, too: nothing there can be
 * trusted, and nothing of the user's may be overwritten. So names are only
 * exchanged or moved, never replaced, and what was got in return is looked at
 * before it is removed. */
#include "io/tree_private.h"

#include "base/fd.h"
#include "core/notice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ignored as an upload, whatever the patterns say. */
#define ASIDE ".spoold-notice"

enum { RETURN_TRIES = 100 };

enum whose { WHOSE_NOBODYS, WHOSE_OURS, WHOSE_OTHERS };

static bool begins_with_mark(int fd)
{
	char head[sizeof NOTICE_MARK];
	ssize_t n = pread(fd, head, sizeof head - 1, 0);
	return n == sizeof head - 1 && memcmp(head, NOTICE_MARK, sizeof head - 1) == 0;
}

/* Empty: of a power cut, which left the name without the bytes. */
static enum whose whose(int dirfd, const char *name, bool or_empty)
{
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? WHOSE_NOBODYS : WHOSE_OTHERS;
	bool ours = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	            (begins_with_mark(fd) || (or_empty && st.st_size == 0));
	fd_close(fd);
	return ours ? WHOSE_OURS : WHOSE_OTHERS;
}

bool tree_is_notice(struct tree *t, const char *user, const char *path)
{
	if (strcmp(path, NOTICE_NAME) != 0)
		return false;
	int dirfd = tree_open_place(t, user, PLACE_INCOMING);
	bool is = dirfd >= 0 && whose(dirfd, NOTICE_NAME, false) == WHOSE_OURS;
	fd_close(dirfd);
	return is;
}

/* What lies aside and is not ours was its user's a moment ago, and gets its
 * name back, or one like it. */
static int give_back(int dirfd)
{
	int r = tree_rename(dirfd, ASIDE, dirfd, NOTICE_NAME);
	for (int n = 1; r == -EEXIST && n < RETURN_TRIES; n++) {
		char name[64];
		snprintf(name, sizeof name, "SPOOLD-NOTICE.%d.txt", n);
		r = tree_rename(dirfd, ASIDE, dirfd, name);
	}
	return r < 0 ? r : -EEXIST;
}

/* 0: nothing is there any more. */
static int clear_aside(int dirfd)
{
	switch (whose(dirfd, ASIDE, true)) {
	case WHOSE_NOBODYS: return 0;
	case WHOSE_OURS: return unlinkat(dirfd, ASIDE, 0) < 0 ? -errno : 0;
	case WHOSE_OTHERS: break;
	}
	struct stat st;
	if (fstatat(dirfd, ASIDE, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Anything else somebody put there to be in our way. */
	return S_ISREG(st.st_mode) ? give_back(dirfd) : -EEXIST;
}

static int withdraw(int dirfd)
{
	int r = clear_aside(dirfd);
	if (r == 0)
		r = tree_rename(dirfd, NOTICE_NAME, dirfd, ASIDE);
	return r < 0 ? r : clear_aside(dirfd);
}

/* Who may list incoming may read it; who may only pass may not learn names. */
static int settle(int dirfd, int fd)
{
	struct stat dir;
	if (fstat(dirfd, &dir) < 0)
		return -errno;
	bool only_pass = (dir.st_mode & 05) == 01;
	if (geteuid() == 0 && fchown(fd, 0, dir.st_gid) < 0)
		return -errno;
	return fchmod(fd, only_pass ? 0640 : 0644) < 0 ? -errno : 0;
}

static int write_aside(int dirfd, const char *text)
{
	int r = clear_aside(dirfd);
	if (r < 0)
		return r;
	int fd = openat(dirfd, ASIDE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, text, strlen(text));
	if (r == 0)
		r = settle(dirfd, fd);
	/* An empty one would be taken for an upload after a power cut. */
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	fd_close(fd);
	if (r < 0)
		unlinkat(dirfd, ASIDE, 0);
	return r;
}

/* The notice was ours when we looked; what was exchanged may be another file. */
static int exchange(int dirfd)
{
	if (renameat2(dirfd, ASIDE, dirfd, NOTICE_NAME, RENAME_EXCHANGE) < 0)
		return -errno;
	if (whose(dirfd, ASIDE, false) != WHOSE_OTHERS)
		return clear_aside(dirfd);
	if (renameat2(dirfd, ASIDE, dirfd, NOTICE_NAME, RENAME_EXCHANGE) < 0)
		return give_back(dirfd);
	int r = clear_aside(dirfd);
	return r < 0 ? r : -EEXIST;
}

static int replace(int dirfd, const char *text)
{
	int r = write_aside(dirfd, text);
	if (r == 0)
		r = exchange(dirfd);
	if (r != -EINVAL && r != -ENOSYS)
		return r;
	/* Where the file system cannot exchange, there is none for a moment. */
	r = withdraw(dirfd);
	if (r == 0)
		r = write_aside(dirfd, text);
	return r == 0 ? tree_rename(dirfd, ASIDE, dirfd, NOTICE_NAME) : r;
}

static int put_first(int dirfd, const char *text)
{
	int r = write_aside(dirfd, text);
	if (r == 0)
		r = tree_rename(dirfd, ASIDE, dirfd, NOTICE_NAME);
	if (r < 0)
		clear_aside(dirfd);
	return r;
}

static bool says(int dirfd, const char *text)
{
	char *data = NULL;
	size_t n = 0;
	int fd = openat(dirfd, NOTICE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	bool same = fd >= 0 && fd_read_all(fd, strlen(text), &data, &n) == 0 && n == strlen(text) &&
	            memcmp(data, text, n) == 0;
	free(data);
	fd_close(fd);
	return same;
}

int tree_put_notice(struct tree *t, const char *user, const char *text)
{
	int dirfd = tree_open_place(t, user, PLACE_INCOMING);
	if (dirfd < 0)
		return dirfd;
	int r = 0;
	switch (whose(dirfd, NOTICE_NAME, false)) {
	case WHOSE_NOBODYS: r = text == NULL ? 0 : put_first(dirfd, text); break;
	case WHOSE_OTHERS: r = text == NULL ? 0 : -EEXIST; break;
	case WHOSE_OURS:
		if (text == NULL)
			r = withdraw(dirfd);
		else if (!says(dirfd, text))
			r = replace(dirfd, text);
		break;
	}
	fd_close(dirfd);
	return r;
}
