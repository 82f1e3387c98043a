#include "base/dir.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int dir_walk(int dirfd, int (*each)(void *ctx, const char *name, uint64_t ino), void *ctx)
{
	char buffer[4096] __attribute__((aligned(__alignof__(struct dirent64))));
	if (lseek(dirfd, 0, SEEK_SET) < 0)
		return -errno;
	for (;;) {
		ssize_t n = getdents64(dirfd, buffer, sizeof buffer);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *e = (const void *)(buffer + at);
			bool dots = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
			int r = dots ? 0 : each(ctx, e->d_name, e->d_ino);
			if (r != 0)
				return r;
			at += e->d_reclen;
		}
	}
}

static int any_entry(void *ctx, const char *name, uint64_t ino)
{
	(void)ctx, (void)name, (void)ino;
	return 1;
}

int dir_is_empty(int dirfd)
{
	int r = dir_walk(dirfd, any_entry, NULL);
	return r < 0 ? r : r == 0;
}

bool dir_is_as_made(const struct stat *st)
{
	return S_ISDIR(st->st_mode) && st->st_uid == geteuid() &&
	       (st->st_mode & 07777 & ~(mode_t)S_ISGID) == 0700;
}

bool dir_is_unused(int dirfd, const char *name, struct stat *ret)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool unused = fd >= 0 && fstat(fd, ret) == 0 && dir_is_as_made(ret) && dir_is_empty(fd) == 1;
	fd_close(fd);
	return unused;
}
