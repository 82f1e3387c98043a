/* The log of a job: in its private directory, or beside what became of its file. */
#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Nothing of ours can be there. Any other error says nothing of the log. */
static bool is_no_way(int error)
{
	return error == -ENOTDIR || error == -ELOOP || error == -ENAMETOOLONG || error == -EINVAL;
}

static int open_our_log(struct tree *t, const char *user, enum place place, const char *path)
{
	const char *base;
	int placefd = tree_open_place(t, user, place);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, path, 0, &base);
	int ours = dirfd < 0 ? dirfd : tree_judge_log(dirfd, base);
	int fd = ours < 0 ? ours : -ENOENT;
	if (ours > 0) {
		fd = openat(dirfd, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	}
	fd_close(dirfd);
	fd_close(placefd);
	return is_no_way(fd) ? -ENOENT : fd;
}

/* The names a log may have got, those with the job's number first: without it,
 * a log may be that of an earlier job whose file had the same name. */
static char *log_name_of(const struct job *job, int n)
{
	const char *final = job->final_name != NULL ? job->final_name : job->path;
	char *rest = n == 0 ? name_with_id(job->path, job->id) : strdup(final);
	char *log = rest == NULL ? NULL : tree_beside(rest, ".log");
	char *numbered = log == NULL || n != 1 ? NULL : name_with_id(log, job->id);
	free(rest);
	if (n != 1)
		return log;
	free(log);
	return numbered;
}

/* Opens the log of a job that ended: beside its final file. */
static int open_final_log(struct tree *t, const char *user, const struct job *job)
{
	int fd = -ENOENT;
	for (int n = 0; n < 3 && fd == -ENOENT; n++) {
		char *name = log_name_of(job, n);
		fd = name == NULL ? -ENOMEM
		                  : open_our_log(t, user, job_final_place(job->state), name);
		free(name);
	}
	return fd;
}

int tree_read_log(struct tree *t, const char *user, const struct job *job, uint64_t offset,
                  void *out, size_t size, size_t *ret_n)
{
	int dirfd = tree_open_private(t, user, job->id);
	int fd = dirfd < 0 ? dirfd : openat(dirfd, name_log(name_base(job->path)),
	                                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (dirfd >= 0 && fd < 0)
		fd = -errno;
	fd_close(dirfd);
	/* Who reads without spoold may see what is beside the file, and not its private directory. */
	if ((fd == -ENOENT || fd == -EACCES) && job_state_is_final(job->state)) {
		int beside = open_final_log(t, user, job);
		fd = beside == -ENOENT ? fd : beside;
	}
	if (fd < 0)
		return fd;
	ssize_t n = pread(fd, out, size, (off_t)offset);
	int r = n < 0 ? -errno : 0;
	fd_close(fd);
	if (r == 0)
		*ret_n = (size_t)n;
	return r;
}
