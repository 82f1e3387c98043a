#include "io/index_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"

#define WRITER_LOCK "writer.lock"
#define CLEAN_MARK "clean"

/* What LMDB makes of its default of 126 readers. */
enum { READER_TABLE_SIZE = 8192 };
/* Bytes free. The pages of one commit, about. */
enum { FULL_BELOW = 1 << 20 };
enum { SET_ASIDE_TRIES = 1000 };
enum { MARK_SIZE = 128 };

bool ix_dir_is_remote(uint32_t f_type)
{
	static const uint32_t remote[] = {
		0x00006969, /* NFS */
		0x0000517b, 0xff534d42, 0xfe534d42, /* SMB, CIFS, SMB 2 */
		0x65735546, /* FUSE: sshfs, GlusterFS, s3fs; a local one cannot be told apart */
		0x01021997, /* 9P */
		0x00c36400, /* Ceph */
		0x5346414f, 0x6b414653, /* AFS */
		0x73757245, /* Coda */
		0x0000564c, /* NCP */
		0x7461636f, /* OCFS2 */
		0x01161970, /* GFS2 */
		0x0bd00bd0, /* Lustre */
		0x47504653, /* GPFS */
		0x20030528, /* OrangeFS */
		0x19830326, /* BeeGFS */
		0x786f4256, /* VirtualBox shared folders */
	};
	for (size_t i = 0; i < sizeof remote / sizeof *remote; i++) {
		if (remote[i] == f_type)
			return true;
	}
	return false;
}

static int sync_parent(const char *path)
{
	char *copy = strdup(path);
	if (copy == NULL)
		return -ENOMEM;
	const char *parent = dirname(copy);
	int r = 0, fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		r = -errno;
	fd_close(fd);
	free(copy);
	return r;
}

static int make_dir(const char *dir)
{
	if (mkdir(dir, 0750) < 0)
		return errno == EEXIST ? 0 : -errno;
	return sync_parent(dir);
}

int ix_dir_open(struct index *ix, bool create)
{
	struct statfs fs;
	int r = create ? make_dir(ix->dir) : 0;
	if (r < 0)
		return r;
	ix->dirfd = open(ix->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ix->dirfd < 0 || fstatfs(ix->dirfd, &fs) < 0)
		return -errno;
	return ix_dir_is_remote((uint32_t)fs.f_type) ? -EREMOTE : 0;
}

static int set_lock(int fd, short type)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

int ix_dir_lock(struct index *ix)
{
	ix->lock_fd = openat(ix->dirfd, WRITER_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (ix->lock_fd < 0)
		return -errno;
	int r = set_lock(ix->lock_fd, F_WRLCK);
	if (r < 0)
		ix->lock_fd = fd_close(ix->lock_fd);
	return r;
}

void ix_dir_unlock(struct index *ix)
{
	/* Said, not left to close(): a child of ours may still have a copy. */
	if (ix->lock_fd >= 0)
		set_lock(ix->lock_fd, F_UNLCK);
	ix->lock_fd = fd_close(ix->lock_fd);
}

bool ix_dir_has_writer(const struct index *ix)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	int fd = openat(ix->dirfd, WRITER_LOCK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno != ENOENT;
	int r = fcntl(fd, F_OFD_GETLK, &lock);
	fd_close(fd);
	return r < 0 || lock.l_type != F_UNLCK;
}

static int reserve(int fd)
{
	if (fallocate(fd, 0, 0, READER_TABLE_SIZE) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	/* Zeros only where the file ends: a reader may have its place before. */
	static const char zeros[READER_TABLE_SIZE];
	off_t end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	return end < READER_TABLE_SIZE ? fd_write_all(fd, zeros, (size_t)(READER_TABLE_SIZE - end)) :
	                                 0;
}

int ix_dir_reserve(struct index *ix)
{
	int fd = openat(ix->dirfd, INDEX_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	int r = reserve(fd);
	fd_close(fd);
	return r;
}

bool ix_dir_may_register(const struct index *ix)
{
	struct stat st;
	/* Without all of its blocks, or made by us as another user, it would
	 * harm the writer's next start. */
	return faccessat(ix->dirfd, INDEX_LOCK, R_OK | W_OK, AT_EACCESS) == 0 &&
	       fstatat(ix->dirfd, INDEX_LOCK, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode) && st.st_size >= READER_TABLE_SIZE &&
	       st.st_blocks * 512 >= READER_TABLE_SIZE;
}

bool ix_dir_is_in_place(const struct index *ix)
{
	struct stat st;
	return lstat(ix->data, &st) == 0 && st.st_ino == ix->data_ino && st.st_dev == ix->data_dev;
}

bool ix_dir_is_full(const struct index *ix)
{
	struct statfs fs;
	return fstatfs(ix->dirfd, &fs) == 0 &&
	       (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < FULL_BELOW;
}

/* What the data file looked like when it was closed: any later write, and any
 * copy put in its place, looks different. */
static int describe(const struct index *ix, char out[MARK_SIZE])
{
	struct stat st;
	if (fstatat(ix->dirfd, INDEX_DATA, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	snprintf(out, MARK_SIZE, "1 %ju %jd %jd.%09ld\n", (uintmax_t)st.st_ino, (intmax_t)st.st_size,
	         (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return 0;
}

bool ix_dir_is_clean(const struct index *ix)
{
	char now[MARK_SIZE], *then;
	size_t size;
	int fd = openat(ix->dirfd, CLEAN_MARK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return false;
	int r = fd_read_all(fd, MARK_SIZE, &then, &size);
	fd_close(fd);
	if (r < 0)
		return false;
	bool same = describe(ix, now) == 0 && strcmp(now, then) == 0;
	free(then);
	return same;
}

int ix_dir_mark_clean(const struct index *ix)
{
	char now[MARK_SIZE];
	int r = describe(ix, now);
	return r < 0 ? r : fd_write_file(ix->dirfd, CLEAN_MARK, now, strlen(now), 0640);
}

int ix_dir_unmark(const struct index *ix)
{
	if (unlinkat(ix->dirfd, CLEAN_MARK, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return fsync(ix->dirfd) < 0 ? -errno : 0;
}

static char *damaged_name(const char *dir, size_t size, uint64_t wall_ms, int n)
{
	char *name;
	int r = n == 0 ? asprintf(&name, "%.*s.damaged-%" PRIu64, (int)size, dir, wall_ms) :
	                 asprintf(&name, "%.*s.damaged-%" PRIu64 ".%d", (int)size, dir, wall_ms, n);
	return r < 0 ? NULL : name;
}

int index_set_aside(const char *dir, uint64_t wall_ms, char **ret_path)
{
	size_t size = strlen(dir);
	while (size > 1 && dir[size - 1] == '/')
		size--;
	for (int n = 0; n < SET_ASIDE_TRIES; n++) {
		char *name = damaged_name(dir, size, wall_ms, n);
		if (name == NULL)
			return -ENOMEM;
		if (renameat2(AT_FDCWD, dir, AT_FDCWD, name, RENAME_NOREPLACE) == 0) {
			/* Undone by a power cut, it is found damaged once more. */
			sync_parent(name);
			*ret_path = name;
			return 0;
		}
		int r = -errno;
		free(name);
		if (r != -EEXIST)
			return r;
	}
	return -EEXIST;
}
