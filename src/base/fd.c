#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OPEN_RACES_MAX = 16 };

int fd_close(int fd)
{
	int saved = errno;
	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

int fd_read_all(int fd, size_t limit, char **ret_data, size_t *ret_size)
{
	size_t room = 4096, used = 0;
	char *data = malloc(room);
	if (data == NULL)
		return -ENOMEM;
	for (;;) {
		ssize_t n = read(fd, data + used, room - used - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = -errno;
			free(data);
			return r;
		}
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > limit) {
			free(data);
			return -EFBIG;
		}
		if (room - used < 2) {
			char *more = realloc(data, room * 2);
			if (more == NULL) {
				free(data);
				return -ENOMEM;
			}
			data = more;
			room *= 2;
		}
	}
	data[used] = '\0';
	*ret_data = data;
	*ret_size = used;
	return 0;
}

int fd_write_all(int fd, const void *data, size_t size)
{
	const char *p = data;
	while (size > 0) {
		ssize_t n = write(fd, p, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

static int write_synced(int dirfd, const char *name, const void *data, size_t size, mode_t mode)
{
	/* What a crash or somebody else left there may be a FIFO or a link to
	 * another file: it is never opened. */
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	int r = fd_write_all(fd, data, size);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	fd_close(fd);
	return r;
}

int fd_write_file(int dirfd, const char *name, const void *data, size_t size, mode_t mode)
{
	char aside[300];
	int n = snprintf(aside, sizeof aside, "%s.new", name);
	if (n < 0 || (size_t)n >= sizeof aside)
		return -ENAMETOOLONG;
	int r = write_synced(dirfd, aside, data, size, mode);
	if (r == 0 && renameat(dirfd, aside, dirfd, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, aside, 0);
		return r;
	}
	return fsync(dirfd) < 0 ? -errno : 0;
}

int fd_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	/* O_TMPFILE has the bit of O_DIRECTORY in it. */
	bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = creates ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	for (int races = 0;;) {
		long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
		if (fd >= 0)
			return (int)fd;
		/* EAGAIN: a rename somewhere raced with the look-up of ".."; or, with
		 * O_NONBLOCK, somebody has a lease, and may keep it for a minute. */
		if (errno != EINTR && (errno != EAGAIN || ++races > OPEN_RACES_MAX))
			return -errno;
	}
}

/* 0 where nothing is missing. */
static mode_t missing_rights(const struct stat *st)
{
	mode_t wanted = S_ISDIR(st->st_mode)                        ? 0700
	                : S_ISREG(st->st_mode) && st->st_nlink == 1 ? 0600
	                                                            : 0;
	return wanted & ~st->st_mode;
}

int fd_permit(int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	mode_t missing = missing_rights(&st);
	return missing != 0 && fchmod(fd, (st.st_mode | missing) & 07777) < 0 ? -errno : 0;
}

int fd_permit_at(int dirfd, const char *name)
{
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	mode_t missing = missing_rights(&st);
	return missing != 0 && fchmodat(dirfd, name, (st.st_mode | missing) & 07777,
	                                AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int fd_send(int sock, const void *data, size_t size, const int *fds, size_t nfds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (nfds > FD_PASS_MAX)
		return -EINVAL;
	if (nfds > 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	for (;;) {
		if (sendmsg(sock, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

static void take_fds(struct msghdr *msg, int *fds)
{
	size_t taken = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
			if (taken < FD_PASS_MAX)
				fds[taken++] = fd;
			else
				fd_close(fd);
		}
	}
}

int fd_recv(int sock, void *data, size_t size, size_t *ret_size, int *fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = data, .iov_len = size};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof control.space,
	};
	ssize_t n;
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fds[i] = -1;
	take_fds(&msg, fds);
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		for (size_t i = 0; i < FD_PASS_MAX; i++)
			fds[i] = fd_close(fds[i]);
		return -EMSGSIZE;
	}
	*ret_size = (size_t)n;
	return 0;
}

int fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, wanted) < 0 ? -errno : 0;
}
