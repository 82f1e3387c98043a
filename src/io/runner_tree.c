/* A directory that is one job changes hands with all in it. */
#include "io/runner_private.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 64 }; /* what a handler nested deeper stays as it is */

struct giving {
	uid_t uid;
	gid_t gid;
	dev_t dev;
};

static int give_directory(const struct giving *g, int fd, int depth);

/* By its descriptor, so that it is what was looked at: never another name of a file
 * outside, and nothing but files and directories. */
static int give_entry(const struct giving *g, int dirfd, const char *name, int depth)
{
	struct stat st;
	int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int r = fstat(fd, &st) < 0 ? -errno : 0;
	bool dir = S_ISDIR(st.st_mode), file = S_ISREG(st.st_mode) && st.st_nlink == 1;
	bool ours = r == 0 && st.st_dev == g->dev && (dir || file);
	if (ours && (st.st_uid != g->uid || st.st_gid != g->gid) &&
	    fchownat(fd, "", g->uid, g->gid, AT_EMPTY_PATH) < 0)
		r = -errno;
	if (r == 0 && ours && dir && depth < DEPTH_MAX)
		r = give_directory(g, fd, depth + 1);
	fd_close(fd);
	return r;
}

static int give_directory(const struct giving *g, int fd, int depth)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (dir == NULL) {
		r = -errno;
		fd_close(copy);
		return r;
	}
	const struct dirent *e;
	while (r == 0 && (e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = give_entry(g, dirfd(dir), e->d_name, depth);
	closedir(dir);
	return r;
}

int runner_tree_give(int job_dirfd, const char *name, uid_t uid, gid_t gid)
{
	struct stat st;
	if (fstat(job_dirfd, &st) < 0)
		return -errno;
	struct giving g = {.uid = uid, .gid = gid, .dev = st.st_dev};
	return give_entry(&g, job_dirfd, name, 0);
}

/* Whoever uploaded it may hold its directories open: what he can do in them is asked of
 * their owner and mode each time. */
static int seal_directory(int dirfd, const char *name, int depth)
{
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP || errno == ENOENT ? 0 : -errno;
	int r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && st.st_uid != geteuid() && fchown(fd, geteuid(), (gid_t)-1) < 0)
		r = -errno;
	if (r == 0 && (st.st_mode & 0022) != 0 && fchmod(fd, st.st_mode & 07755) < 0)
		r = -errno;
	int copy = r < 0 || depth == DEPTH_MAX ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *e;
	while (r == 0 && dir != NULL && (e = readdir(dir)) != NULL)
		if (e->d_type != DT_REG && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = seal_directory(fd, e->d_name, depth + 1);
	if (dir != NULL)
		closedir(dir);
	fd_close(fd);
	return r;
}

int runner_seal(const struct run_order *order, int job_dirfd)
{
	if (!order->directory || geteuid() != 0)
		return 0;
	int r = seal_directory(job_dirfd, order->name, 0);
	return r < 0 ? r : 1;
}
