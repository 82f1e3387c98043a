/* What happens to files in done and failed: an operator's retry, retention. */
#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "a/b/x" → removes a/b and a where they are empty now. */
static void remove_empty_parents(int placefd, const char *name)
{
	char *path = strdup(name);
	for (char *slash = path == NULL ? NULL : strrchr(path, '/'); slash != NULL;
	     slash = strrchr(path, '/')) {
		const char *base;
		*slash = '\0';
		int dirfd = tree_open_parent(placefd, path, 0, &base);
		bool stays = dirfd == -ENOENT ? false
		             : dirfd < 0      ? true
		                              : unlinkat(dirfd, base, AT_REMOVEDIR) < 0 && errno != ENOENT;
		fd_close(dirfd);
		if (stays)
			break;
	}
	free(path);
}

static bool is_there(int dirfd, const char *name)
{
	struct stat st;
	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A directory of that name is that of other uploads, unless it is the job. */
static int take_file(int dirfd, const char *base, int privfd, const char *name, bool whole)
{
	struct stat st;
	if (fstatat(dirfd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) != whole ? -ENOENT : tree_rename(dirfd, base, privfd, name);
}

/* The log and the output go on where they ended, as between two attempts. */
static void take_rest(int dirfd, const char *base, int privfd, const char *name)
{
	char *log = tree_beside(base, ".log"), *output = tree_beside(base, ".output");
	if (log != NULL && tree_is_our_log(dirfd, log))
		tree_rename(dirfd, log, privfd, name_log(name));
	if (output != NULL && tree_is_our_output(dirfd, output) &&
	    (unlinkat(privfd, name_output(name), AT_REMOVEDIR) == 0 || errno == ENOENT) &&
	    tree_rename(dirfd, output, privfd, name_output(name)) == 0) {
		int fd = fd_open_beneath(privfd, name_output(name), O_RDONLY | O_DIRECTORY, 0);
		if (fd >= 0)
			unlinkat(fd, TREE_OUTPUT_MARK, 0);
		fd_close(fd);
	}
	free(log);
	free(output);
}

static int take_back(int privfd, int placefd, const struct job *job, const char *name)
{
	const char *base, *own = name_base(job->path);
	bool taken = is_there(privfd, own);
	int dirfd = tree_open_parent(placefd, name, 0, &base);
	int r = dirfd < 0 ? dirfd : 0;
	if (!taken && r == 0)
		r = take_file(dirfd, base, privfd, own, job->ident.whole != 0);
	/* Taken by an earlier call: what has its name since is another job's. */
	if (r == 0 && !is_there(dirfd, base))
		take_rest(dirfd, base, privfd, own);
	fd_close(dirfd);
	if (r == 0 || taken)
		remove_empty_parents(placefd, name);
	return taken ? 0 : r;
}

int tree_take_back(struct tree *t, const char *user, const struct job *job, enum place from,
                   const char *name)
{
	char dir[32];
	int processing = tree_open_place(t, user, PLACE_PROCESSING);
	int placefd = tree_open_place(t, user, from);
	int r = processing < 0 ? processing : placefd < 0 ? placefd : 0;
	tree_unspare(t, user, job->id);
	snprintf(dir, sizeof dir, "%" PRIu64, job->id);
	if (r == 0 && mkdirat(processing, dir, 0700) < 0 && errno != EEXIST)
		r = -errno;
	int privfd = r < 0 ? r : tree_open_private(t, user, job->id);
	if (r == 0)
		r = privfd < 0 ? privfd : take_back(privfd, placefd, job, name);
	if (r == 0 && (fsync(privfd) < 0 || fsync(processing) < 0))
		r = -errno;
	if (r < 0 && processing >= 0)
		unlinkat(processing, dir, AT_REMOVEDIR);
	fd_close(privfd);
	fd_close(placefd);
	fd_close(processing);
	return r;
}

/* Its mark went last, and then a crash came: an empty directory is nobody's. */
static void purge_emptied(int dirfd, const char *base)
{
	char *name = tree_beside(base, ".output");
	if (name != NULL)
		unlinkat(dirfd, name, AT_REMOVEDIR);
	free(name);
}

static int purge_beside(int dirfd, const char *base, const char *suffix,
                        int (*judge)(int dirfd, const char *name))
{
	char *name = tree_beside(base, suffix);
	int r = name == NULL ? -ENOMEM : judge(dirfd, name);
	if (r > 0)
		r = tree_remove(dirfd, name);
	free(name);
	return r;
}

int tree_purge(struct tree *t, const char *user, enum place from, const char *name)
{
	const char *base;
	int placefd = tree_open_place(t, user, from);
	if (placefd < 0)
		return placefd == -ENOENT ? 0 : placefd;
	int dirfd = tree_open_parent(placefd, name, 0, &base);
	int r = dirfd;
	if (dirfd >= 0) {
		r = purge_beside(dirfd, base, ".output", tree_judge_output);
		purge_emptied(dirfd, base);
		int log = purge_beside(dirfd, base, ".log", tree_judge_log);
		r = r < 0 ? r : log;
		/* A directory in its place is that of other uploads: it was gone. */
		if (unlinkat(dirfd, base, 0) < 0 && errno != ENOENT && errno != EISDIR)
			r = -errno;
	}
	fd_close(dirfd);
	if (r == 0 || r == -ENOENT)
		remove_empty_parents(placefd, name);
	fd_close(placefd);
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
}

static bool is_name_taken(struct tree *t, const char *user, enum place place, const char *name)
{
	const char *base;
	int placefd = tree_open_place(t, user, place);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, name, 0, &base);
	bool taken = dirfd >= 0 && is_there(dirfd, base);
	fd_close(dirfd);
	fd_close(placefd);
	return taken;
}

/* The handler removed its file: what was kept of the job lies beside the name
 * with its number, unless that is another file's. */
static int purge_rest(struct tree *t, const char *user, const struct job *job)
{
	enum place place = job_final_place(job->state);
	char *name = name_with_id(job->path, job->id);
	int r = name == NULL                          ? -ENOMEM
	        : is_name_taken(t, user, place, name) ? 0
	                                              : tree_purge(t, user, place, name);
	free(name);
	return r;
}

int tree_open_final(struct tree *t, const char *user, enum place place, const char *name)
{
	int placefd = tree_open_place(t, user, place);
	int fd = placefd < 0 ? placefd
	                     : fd_open_beneath(placefd, name, O_RDONLY | O_DIRECTORY, 0);
	fd_close(placefd);
	return fd;
}

int tree_open_to_sync(struct tree *t, const char *user, enum place place)
{
	return tree_open_place(t, user, place);
}

static void aside_name(uint64_t id, char *out, size_t size)
{
	snprintf(out, size, TREE_REMOVED "%" PRIu64, id);
}

/* Goes on with what put_aside() began: 0 when nothing is left of it. */
static int purge_aside(struct tree *t, const char *user, uint64_t id)
{
	char aside[sizeof TREE_REMOVED + 20];
	int processing = tree_open_place(t, user, PLACE_PROCESSING);
	if (processing < 0)
		return processing == -ENOENT ? 0 : processing;
	aside_name(id, aside, sizeof aside);
	int r = tree_remove_some(processing, aside, TREE_PURGE_SLICE);
	fd_close(processing);
	return r;
}

static int put_aside(struct tree *t, const char *user, enum place place, const char *name,
                     uint64_t id)
{
	const char *base;
	char aside[sizeof TREE_REMOVED + 20];
	int processing = tree_open_place(t, user, PLACE_PROCESSING);
	int placefd = tree_open_place(t, user, place);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, name, 0, &base);
	int r = processing < 0 ? processing : dirfd < 0 ? dirfd : 0;
	aside_name(id, aside, sizeof aside);
	if (r == 0) {
		fd_permit_at(dirfd, base);
		r = tree_rename(dirfd, base, processing, aside);
	}
	if (r == 0)
		remove_empty_parents(placefd, name);
	fd_close(dirfd);
	fd_close(placefd);
	fd_close(processing);
	return r;
}

/* A directory that was a job goes in portions, and nobody may take what is left of it for
 * the whole: so first, by a rename, it is the job's no more. What is beside it goes before,
 * as long as the name tells whose it is. */
static int purge_whole(struct tree *t, const char *user, const struct job *job, const char *name)
{
	int beside = tree_purge(t, user, job->place, name);
	int r = put_aside(t, user, job->place, name, job->id);
	if (r == 0)
		r = purge_aside(t, user, job->id);
	return r < 0 ? r : beside;
}

int tree_purge_job(struct tree *t, const char *user, const struct job *job)
{
	int r = job->ident.whole != 0 ? purge_aside(t, user, job->id) : 0;
	if (r < 0)
		return r;
	if (job->place == PLACE_NOWHERE)
		return purge_rest(t, user, job);
	const char *name = job->final_name != NULL ? job->final_name : job->path;
	char *own = NULL;
	r = tree_search_final(t, user, job->place, name, job->id, &job->ident, &own);
	if (r == 0)
		r = tree_purge_voucher(t, user, job, own);
	if (r == 0)
		r = job->ident.whole != 0 ? purge_whole(t, user, job, own)
		                          : tree_purge(t, user, job->place, own);
	else if (r == -ENOENT)
		r = is_name_taken(t, user, job->place, name) ? 0
		                                             : tree_purge(t, user, job->place, name);
	free(own);
	return r;
}
