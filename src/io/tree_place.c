/* Names in done and failed: which one a file gets, and which one it got. */
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
#include <sys/xattr.h>
#include <unistd.h>

enum {
	FINAL_DIR_MODE = 0750, /* directories of a relative path in done and failed */
	CANDIDATES_MAX = 1000,
	CANDIDATES_SURE = 4,   /* looked at even where an earlier one is free (again) */
	BESIDE_TRIES = 4,      /* names that are given up for what is kept beside them */
};

/* Opens the directory of `name`: mostly the place itself. */
static int open_holder(int placefd, const char *name, mode_t make_mode, const char **ret_base)
{
	*ret_base = name;
	return strchr(name, '/') == NULL ? placefd
	                                 : tree_open_parent(placefd, name, make_mode, ret_base);
}

static void close_holder(int dirfd, int placefd)
{
	if (dirfd != placefd)
		fd_close(dirfd);
}

/* A file that a handler put in the place of the upload has another inode: it
 * carries the number of its job, so that it is known again after a crash. So does a
 * directory that is a job as a whole. */
#define JOB_ATTRIBUTE "user.spoold.job"

/* The kept output of another job, at whatever depth, is no place for uploads:
 * it is removed with that job. Nor is one that is a job itself. */
static bool leads_into_job(int placefd, const char *path)
{
	for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		struct stat st;
		char *prefix = strndup(path, (size_t)(slash - path));
		int fd = prefix == NULL ? -ENOMEM : fd_open_beneath(placefd, prefix, O_DIRECTORY, 0);
		bool of_job = fd >= 0 &&
		              (fstatat(fd, TREE_OUTPUT_MARK, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
		               fgetxattr(fd, JOB_ATTRIBUTE, NULL, 0) > 0);
		free(prefix);
		fd_close(fd);
		if (of_job)
			return true;
		if (fd < 0)
			return false;
	}
	return false;
}

static bool is_taken(int dirfd, const char *base, const char *suffix)
{
	struct stat st;
	char *name = tree_beside(base, suffix);
	bool taken = name != NULL && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	free(name);
	return taken;
}

static int try_name(int placefd, const struct tree_move *m, const char *name, unsigned n)
{
	const char *base;
	int dirfd = open_holder(placefd, name, FINAL_DIR_MODE, &base);
	if (dirfd < 0)
		return dirfd;
	int r = 0;
	if (strcmp(base, TREE_OUTPUT_MARK) == 0)
		r = -EEXIST; /* would turn the directory into an output of ours */
	else if (n < BESIDE_TRIES && ((m->log && is_taken(dirfd, base, ".log")) ||
	                              (m->output && is_taken(dirfd, base, ".output")) ||
	                              (m->voucher_suffix != NULL &&
	                               is_taken(dirfd, base, m->voucher_suffix))))
		r = -EEXIST;
	else
		r = tree_rename(m->dirfd, m->name, dirfd, base);
	close_holder(dirfd, placefd);
	return r;
}

static int rename_free(int placefd, const struct tree_move *m, const char *path, char **ret_name)
{
	for (unsigned n = 0; n < CANDIDATES_MAX; n++) {
		char *name = name_candidate(path, m->id, n);
		int r = name == NULL ? -ENOMEM : try_name(placefd, m, name, n);
		if (r == 0) {
			*ret_name = name;
			return 0;
		}
		free(name);
		if (r != -EEXIST)
			return r;
	}
	return -EEXIST;
}

int tree_move_final(struct tree *t, const char *user, enum place to, const struct tree_move *m,
                    char **ret_name)
{
	const char *base = name_base(m->path);
	int placefd = tree_borrow_place(t, user, to);
	if (placefd < 0)
		return placefd;
	int r = -ENOTDIR;
	if (base == m->path || !leads_into_job(placefd, m->path))
		r = rename_free(placefd, m, m->path, ret_name);
	/* Something else stands where a directory is needed: without directories. */
	if ((r == -ENOTDIR || r == -ELOOP) && base != m->path)
		r = rename_free(placefd, m, base, ret_name);
	tree_return_place(t, user, placefd);
	return r;
}

int tree_rename_final(struct tree *t, const char *user, enum place to, int old_dirfd,
                      const char *old_name, const char *path, uint64_t id, char **ret_name)
{
	struct tree_move m = {.dirfd = old_dirfd, .name = old_name, .path = path, .id = id};
	return tree_move_final(t, user, to, &m, ret_name);
}

/* One that its uploader wrote into while it was taken has the same inode, and was not
 * run: it carries the number of the job that it is not. */
#define STRANGER_ATTRIBUTE "user.spoold.not-job"

/* A directory that was claimed: so it is known again where the index is lost. */
#define CLAIMED_ATTRIBUTE "user.spoold.claimed"

static void job_text(const struct tree *t, uint64_t id, char *out, size_t size)
{
	snprintf(out, size, "%016" PRIx64 " %" PRIu64, t->id, id);
}

static int open_plain(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void note(struct tree *t, int dirfd, const char *name, const char *attribute, uint64_t id)
{
	char text[64];
	int fd = open_plain(dirfd, name);
	job_text(t, id, text, sizeof text);
	if (fd >= 0)
		fsetxattr(fd, attribute, text, strlen(text), 0);
	fd_close(fd);
}

void tree_note_job(struct tree *t, int dirfd, const char *name, uint64_t id)
{
	note(t, dirfd, name, JOB_ATTRIBUTE, id);
}

void tree_note_stranger(struct tree *t, int dirfd, const char *name, uint64_t id)
{
	note(t, dirfd, name, STRANGER_ATTRIBUTE, id);
}

void tree_note_claimed(struct tree *t, int dirfd, const char *name, uint64_t id)
{
	note(t, dirfd, name, CLAIMED_ATTRIBUTE, id);
}

static bool is_noted(struct tree *t, int dirfd, const char *name, const char *attribute,
                     uint64_t id)
{
	char want[64], have[64];
	int fd = open_plain(dirfd, name);
	job_text(t, id, want, sizeof want);
	ssize_t n = fd < 0 ? -1 : fgetxattr(fd, attribute, have, sizeof have);
	fd_close(fd);
	return n == (ssize_t)strlen(want) && memcmp(have, want, (size_t)n) == 0;
}

bool tree_is_claimed(struct tree *t, int dirfd, const char *name, uint64_t id)
{
	return is_noted(t, dirfd, name, CLAIMED_ATTRIBUTE, id);
}

/* Inode numbers do not last on network mounts. */
static bool is_file_of(struct tree *t, const char *user, int dirfd, const char *name, uint64_t id,
                       const struct file_ident *ident, const struct file_ident *now)
{
	if (file_ident_same_inode(ident, now))
		return !is_noted(t, dirfd, name, STRANGER_ATTRIBUTE, id);
	if (is_noted(t, dirfd, name, JOB_ATTRIBUTE, id))
		return true;
	return ident->size == now->size && ident->mtime_ns == now->mtime_ns &&
	       tree_is_network(t, user) > 0;
}

struct search {
	struct tree *t;
	const char *user;
	int placefd;
	uint64_t id;
	const struct file_ident *ident;
};

/* 1 = it is, 0 = another file is there. */
static int look(const struct search *s, const char *name)
{
	const char *base;
	struct file_ident now;
	enum entry_kind kind;
	int dirfd = open_holder(s->placefd, name, 0, &base);
	int r = dirfd < 0 ? dirfd : tree_ident_at(dirfd, base, &now, &kind);
	if (r == 0)
		r = tree_fits(s->ident, kind == ENTRY_DIRECTORY) &&
		    is_file_of(s->t, s->user, dirfd, base, s->id, s->ident, &now);
	close_holder(dirfd, s->placefd);
	return r == -ENOTDIR || r == -ELOOP ? -ENOENT : r;
}

static int search(const struct search *s, const char *path, char **ret_name)
{
	int r = 0;
	for (unsigned n = 0; n < CANDIDATES_MAX && (n < CANDIDATES_SURE || r == 0); n++) {
		char *name = name_candidate(path, s->id, n);
		r = name == NULL ? -ENOMEM : look(s, name);
		if (r > 0) {
			*ret_name = name;
			return 0;
		}
		free(name);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return -ENOENT;
}

int tree_search_final(struct tree *t, const char *user, enum place place, const char *path,
                      uint64_t id, const struct file_ident *ident, char **ret_name)
{
	struct search s = {.t = t, .user = user, .id = id, .ident = ident};
	s.placefd = tree_open_place(t, user, place);
	if (s.placefd < 0)
		return s.placefd;
	int r = search(&s, path, ret_name);
	if (r == -ENOENT && name_base(path) != path)
		r = search(&s, name_base(path), ret_name);
	fd_close(s.placefd);
	return r;
}
