/* What a handler left in its private directory reaches the disk before its
 * success is told: a job that is done keeps its output through a power cut. */
#include "io/runner_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	DEPTH_MAX = 64,  /* what lies deeper is left to syncfs() */
	SLACK_MS = 20,   /* the clock of files lags behind */
};

struct syncing {
	const char *name;   /* of the upload */
	bool fresh;         /* nothing was in its output directory then */
	uint64_t since_ms;
	dev_t dev;
};

static bool is_since(const struct syncing *s, const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000 + (uint64_t)t->tv_nsec / 1000000 + SLACK_MS >= s->since_ms;
}

/* The upload was synced when it was accepted, and its rename is redone. */
static bool is_written(const struct syncing *s, const char *name, const struct stat *st, int depth)
{
	bool upload = depth == 0 && strcmp(name, s->name) == 0;
	return is_since(s, upload ? &st->st_mtim : &st->st_ctim);
}

/* 1: something in it was there to be kept; 0: nothing; or a negative errno. */
static int sync_directory(const struct syncing *s, int dirfd, int depth);

/* Returns the same. */
static int sync_entry(const struct syncing *s, int dirfd, const char *name, int depth)
{
	struct stat st;
	if (depth == 0 && strcmp(name, name_log(s->name)) == 0)
		return 0;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	bool dir = S_ISDIR(st.st_mode);
	/* What is made in a directory changes it, too. */
	if (dir && depth == 0 && s->fresh && strcmp(name, name_output(s->name)) == 0 &&
	    !is_since(s, &st.st_ctim))
		return 0;
	if (!dir && !is_written(s, name, &st, depth))
		return 0;
	if (st.st_dev != s->dev || (!dir && !S_ISREG(st.st_mode)))
		return 1;
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd = openat(dirfd, name, dir ? flags | O_DIRECTORY : flags);
	int r = fd < 0 ? -errno : 1;
	if (r == 1 && dir && depth < DEPTH_MAX)
		r = sync_directory(s, fd, depth + 1);
	else if (r == -EACCES || (r == 1 && dir))
		r = syncfs(dirfd) < 0 ? -errno : 1;
	else if (r == 1)
		r = fsync(fd) < 0 ? -errno : 1;
	fd_close(fd);
	return r;
}

static int sync_entries(const struct syncing *s, DIR *dir, int dirfd, int depth)
{
	int kept = 0;
	for (;;) {
		errno = 0;
		const struct dirent *e = readdir(dir);
		if (e == NULL)
			return errno != 0 ? -errno : kept;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int r = sync_entry(s, dirfd, e->d_name, depth);
		if (r < 0)
			return r;
		kept |= r;
	}
}

/* Files first, then the directory of their names. */
static int sync_directory(const struct syncing *s, int dirfd, int depth)
{
	int r, copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (dir == NULL) {
		r = -errno;
		fd_close(copy);
		return r;
	}
	r = sync_entries(s, dir, dirfd, depth);
	closedir(dir);
	return r > 0 && fsync(dirfd) < 0 ? -errno : r;
}

int runner_sync(int job_dirfd, const struct run_order *order, uint64_t since_ms)
{
	struct stat st;
	/* Its handler may have closed it to its account, which may be ours. */
	int r = fd_permit(job_dirfd);
	if (r == 0 && fstat(job_dirfd, &st) < 0)
		r = -errno;
	if (r != 0)
		return r;
	const struct syncing s = {.name = order->name, .fresh = order->fresh, .since_ms = since_ms, .dev = st.st_dev};
	r = sync_directory(&s, job_dirfd, 0);
	return r < 0 ? r : 0;
}
