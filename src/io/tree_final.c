/* The last move of a job: from its private directory to done or failed, with
 * what is kept beside the file. Every step can be repeated, so a crash between
 * two of them is made good by calling tree_finish() again. */
#include "io/tree_private.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOG_READ_MAX = 128 * 1024 * 1024 }; /* bytes: above the largest log limit */

/* Directories of a relative path in done and failed. */
enum { FINAL_DIR_MODE = 0750 };

bool tree_is_ours(const char *name, const char *base)
{
	return strcmp(name, name_log(base)) == 0 || strcmp(name, name_output(base)) == 0 ||
	       strcmp(name, NAME_RESULT) == 0 || strcmp(name, NAME_RESULT ".new") == 0 ||
	       strcmp(name, NAME_CANCEL) == 0 || strcmp(name, NAME_CANCEL ".new") == 0;
}

bool tree_is_our_log(int dirfd, const char *name)
{
	char tail[sizeof TREE_LOG_MARK + 1] = "";
	const off_t n = (off_t)sizeof TREE_LOG_MARK; /* with a newline for the NUL */
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool ours = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= n &&
	            pread(fd, tail, (size_t)n, st.st_size - n) == n &&
	            strcmp(tail, TREE_LOG_MARK "\n") == 0;
	fd_close(fd);
	return ours;
}

bool tree_is_our_output(int dirfd, const char *name)
{
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool ours = fd >= 0 && fstatat(fd, TREE_OUTPUT_MARK, &st, AT_SYMLINK_NOFOLLOW) == 0;
	fd_close(fd);
	return ours;
}

/* The n-th name to try for a final path: its own, with the id, then with more. */
static char *candidate(const char *path, uint64_t id, unsigned n)
{
	if (n == 0)
		return strdup(path);
	char *named = name_with_id(path, id);
	if (n == 1 || named == NULL)
		return named;
	char *numbered = name_with_id(named, n);
	free(named);
	return numbered;
}

/* Renames to the first free name. A directory that is the kept output of
 * another job is not a place for uploads: it goes with that job. */
static int rename_free(int placefd, int old_dirfd, const char *old_name, const char *path,
                       uint64_t id, char **ret_name)
{
	for (unsigned n = 0; n < 1000; n++) {
		const char *base;
		char *name = candidate(path, id, n);
		if (name == NULL)
			return -ENOMEM;
		int dirfd = tree_open_parent(placefd, name, FINAL_DIR_MODE, &base);
		struct stat st;
		bool foreign = dirfd >= 0 && base != name &&
		               fstatat(dirfd, TREE_OUTPUT_MARK, &st, AT_SYMLINK_NOFOLLOW) == 0;
		int r = dirfd;
		if (dirfd >= 0)
			r = foreign ? -ENOTDIR : tree_rename(old_dirfd, old_name, dirfd, base);
		fd_close(dirfd);
		if (r == 0) {
			*ret_name = name;
			return 0;
		}
		free(name);
		if (r == -ENOTDIR || r == -ELOOP) {
			/* A file stands where a directory is needed: without directories, then. */
			if (name_base(path) == path)
				return r;
			return rename_free(placefd, old_dirfd, old_name, name_base(path), id, ret_name);
		}
		if (r != -EEXIST)
			return r;
	}
	return -EEXIST;
}

int tree_rename_final(struct tree *t, const char *user, enum place to, int old_dirfd,
                      const char *old_name, const char *path, uint64_t id, char **ret_name)
{
	int placefd = tree_open_place(t, user, to);
	if (placefd < 0)
		return placefd;
	int r = rename_free(placefd, old_dirfd, old_name, path, id, ret_name);
	fd_close(placefd);
	return r;
}

static int read_log(int dirfd, const char *name, char **ret_data, size_t *ret_size)
{
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = fd_read_all(fd, LOG_READ_MAX, ret_data, ret_size);
	fd_close(fd);
	return r;
}

static int write_log(int dirfd, const char *name, const char *reason, const char *old,
                     size_t old_n, gid_t gid)
{
	char aside[NAME_FILE_MAX + 1];
	snprintf(aside, sizeof aside, "%.*s.new", NAME_FILE_MAX - 4, name);
	int fd = openat(dirfd, aside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	int r = fd_write_all(fd, reason, strlen(reason));
	if (r == 0 && old_n > 0)
		r = fd_write_all(fd, "\n", 1);
	if (r == 0 && old_n > 0)
		r = fd_write_all(fd, old, old_n);
	if (r == 0 && geteuid() == 0 && fchown(fd, (uid_t)-1, gid) < 0)
		r = -errno;
	fd_close(fd);
	if (r == 0 && renameat(dirfd, aside, dirfd, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, aside, 0);
	return r;
}

int tree_write_reason(int dirfd, const char *log_name, const char *reason, gid_t gid)
{
	char *old = NULL;
	size_t old_n = 0, n = strlen(reason);
	int r = read_log(dirfd, log_name, &old, &old_n);
	if (r < 0 && r != -ENOENT)
		return r;
	/* Written before a crash already? */
	bool there = old != NULL && old_n >= n && memcmp(old, reason, n) == 0;
	r = there ? 0 : write_log(dirfd, log_name, reason, old, old_n, gid);
	free(old);
	return r;
}

static void warn(const struct tree_finish *f, const char *what, int error)
{
	char *shown = escape_str(f->path);
	log_warning("user %s: job %" PRIu64 " (%s): %s: %s", f->user, f->id,
	            shown == NULL ? "?" : shown, what, strerror(-error));
	free(shown);
}

static int mark_log(int dirfd, const char *name, gid_t gid)
{
	int fd = openat(dirfd, name, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = fd_write_all(fd, TREE_LOG_MARK "\n", sizeof TREE_LOG_MARK);
	if (r == 0 && fchmod(fd, 0640) < 0)
		r = -errno;
	if (r == 0 && geteuid() == 0 && fchown(fd, geteuid(), gid) < 0)
		r = -errno;
	fd_close(fd);
	return r;
}

/* Puts one of our own things beside the final file: <final><suffix>. */
static int keep_beside(struct tree *t, const struct tree_finish *f, int dirfd, const char *name,
                       const char *final, const char *suffix)
{
	char *kept = NULL;
	char *beside = name_with_suffix(final, suffix);
	int r = beside == NULL ? -ENOMEM
	                       : tree_rename_final(t, f->user, f->to, dirfd, name, beside, f->id, &kept);
	free(beside);
	free(kept);
	return r;
}

static void keep_log(struct tree *t, const struct tree_finish *f, int privfd, const char *final)
{
	const char *log = name_log(name_base(f->path));
	struct stat st;
	if (fstatat(privfd, log, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return;
	int r = 0;
	if (!tree_is_our_log(privfd, log))
		r = mark_log(privfd, log, f->ident->gid);
	if (r < 0)
		warn(f, "its log could not be marked", r);
	r = keep_beside(t, f, privfd, log, final, ".log");
	if (r < 0)
		warn(f, "its log could not be kept", r);
}

static int mark_output(int privfd, const char *output, gid_t gid)
{
	int fd = openat(privfd, output, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int mark = openat(fd, TREE_OUTPUT_MARK, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
	int r = mark < 0 ? -errno : 0;
	if (r == 0 && geteuid() == 0 && fchown(fd, geteuid(), gid) < 0)
		r = -errno;
	if (r == 0 && fchmod(fd, 0750) < 0)
		r = -errno;
	fd_close(mark);
	fd_close(fd);
	return r;
}

/* What the handler wrote into its working directory joins its output. */
static int gather(int privfd, const char *base)
{
	const char *output = name_output(base);
	if (mkdirat(privfd, output, 0700) < 0 && errno != EEXIST)
		return -errno;
	int outfd = openat(privfd, output, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int copy = outfd < 0 ? -1 : openat(privfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	int r = dir == NULL ? -errno : 0;
	for (const struct dirent *e = dir == NULL ? NULL : readdir(dir); e != NULL; e = readdir(dir)) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, base) == 0 || tree_is_ours(e->d_name, base))
			continue;
		int moved = tree_rename(privfd, e->d_name, outfd, e->d_name);
		if (moved < 0 && r == 0)
			r = moved;
	}
	if (dir != NULL)
		closedir(dir);
	else
		fd_close(copy);
	fd_close(outfd);
	return r;
}

static void keep_output(struct tree *t, const struct tree_finish *f, int privfd, const char *final)
{
	const char *output = name_output(name_base(f->path));
	int r = mark_output(privfd, output, f->ident->gid);
	if (r == 0)
		r = keep_beside(t, f, privfd, output, final, ".output");
	if (r < 0)
		warn(f, "its output could not be kept beside it", r);
}

static int drop_private(struct tree *t, const char *user, uint64_t id)
{
	char name[32];
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	if (fd < 0)
		return fd;
	snprintf(name, sizeof name, "%" PRIu64, id);
	int r = unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
	fd_close(fd);
	return r;
}

/* Ends the private directory: what is kept goes beside the final file, the
 * rest is ours and goes away. The common case is empty but for a log. */
static int end_private(struct tree *t, const struct tree_finish *f, int privfd, const char *final)
{
	const char *base = name_base(f->path);
	if (f->keep_log)
		keep_log(t, f, privfd, final);
	unlinkat(privfd, name_log(base), 0);
	unlinkat(privfd, NAME_RESULT, 0);
	unlinkat(privfd, NAME_CANCEL, 0);
	unlinkat(privfd, name_output(base), AT_REMOVEDIR);
	int r = drop_private(t, f->user, f->id);
	if (r != -ENOTEMPTY && r != -EEXIST)
		return r;
	struct stat st;
	if (fstatat(privfd, base, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST; /* never with the uploader's file in it */
	if (f->keep_output) {
		r = gather(privfd, base);
		if (r < 0)
			warn(f, "what its handler wrote could not be gathered", r);
		keep_output(t, f, privfd, final);
	} else {
		char name[32];
		int fd = tree_open_place(t, f->user, PLACE_PROCESSING);
		snprintf(name, sizeof name, "%" PRIu64, f->id);
		r = fd < 0 ? fd : tree_remove(fd, name);
		fd_close(fd);
		if (r < 0)
			warn(f, "what its handler wrote could not be removed", r);
	}
	return drop_private(t, f->user, f->id);
}

/* The name under which the file lies in its final place already. */
static char *already_there(struct tree *t, const struct tree_finish *f)
{
	int placefd = tree_open_place(t, f->user, f->to);
	char *found = NULL;
	for (unsigned n = 0; placefd >= 0 && found == NULL && n < 8; n++) {
		const char *base;
		struct file_ident ident;
		enum entry_kind kind;
		char *name = candidate(f->path, f->id, n);
		int dirfd = name == NULL ? -ENOMEM : tree_open_parent(placefd, name, 0, &base);
		if (dirfd >= 0 && tree_ident_at(dirfd, base, &ident, &kind) == 0 &&
		    file_ident_same_inode(&ident, f->ident)) {
			found = name;
			name = NULL;
		}
		fd_close(dirfd);
		free(name);
	}
	fd_close(placefd);
	return found;
}

static void put_owner_back(struct tree *t, const struct tree_finish *f, int dirfd, const char *name)
{
	struct stat st;
	(void)t;
	if (geteuid() != 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (st.st_uid == f->ident->uid && st.st_gid == f->ident->gid))
		return;
	if (fchownat(dirfd, name, f->ident->uid, f->ident->gid, AT_SYMLINK_NOFOLLOW) < 0)
		warn(f, "its owner could not be put back", -errno);
}

static int finish_processing(struct tree *t, const struct tree_finish *f, char **ret_name)
{
	const char *base = name_base(f->path);
	char *name = NULL;
	struct stat st;
	int privfd = tree_open_private(t, f->user, f->id);
	if (privfd == -ENOENT) {
		*ret_name = already_there(t, f);
		return 0;
	}
	if (privfd < 0)
		return privfd;
	int r = 0;
	bool here = fstatat(privfd, base, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (f->reason != NULL) {
		if (!f->keep_log)
			unlinkat(privfd, name_log(base), 0);
		r = tree_write_reason(privfd, name_log(base), f->reason, f->ident->gid);
		if (r < 0)
			warn(f, "the reason could not be written beside it", r);
	}
	if (here) {
		put_owner_back(t, f, privfd, base);
		r = tree_rename_final(t, f->user, f->to, privfd, base, f->path, f->id, &name);
	} else {
		name = already_there(t, f);
		r = 0;
	}
	if (r == 0) {
		struct tree_finish kept = *f;
		kept.keep_log = f->keep_log || f->reason != NULL;
		r = end_private(t, &kept, privfd, name == NULL ? f->path : name);
		if (r < 0)
			warn(f, "its private directory stays", r);
		*ret_name = name;
		name = NULL;
		r = 0;
	}
	free(name);
	fd_close(privfd);
	return r;
}

static void write_reason_beside(struct tree *t, const struct tree_finish *f, const char *final)
{
	char *log = name_with_suffix(final, ".log");
	const char *base;
	int placefd = tree_open_place(t, f->user, f->to);
	int dirfd = placefd < 0 || log == NULL ? -ENOMEM : tree_open_parent(placefd, log, 0, &base);
	struct stat st;
	int r = dirfd < 0 ? dirfd : 0;
	if (r == 0 && fstatat(dirfd, base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		r = tree_write_reason(dirfd, base, f->reason, f->ident->gid);
		if (r == 0)
			r = mark_log(dirfd, base, f->ident->gid);
	}
	if (r < 0)
		warn(f, "the reason could not be written beside it", r);
	fd_close(dirfd);
	fd_close(placefd);
	free(log);
}

/* Straight from incoming: a job that was canceled before its turn. */
static int finish_incoming(struct tree *t, const struct tree_finish *f, char **ret_name)
{
	const char *base;
	struct file_ident ident;
	enum entry_kind kind;
	char *name = NULL;
	int placefd = tree_open_place(t, f->user, PLACE_INCOMING);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, f->path, 0, &base);
	int r = dirfd < 0 ? dirfd : tree_ident_at(dirfd, base, &ident, &kind);
	if (r == 0 && file_ident_same_inode(&ident, f->ident))
		r = tree_rename_final(t, f->user, f->to, dirfd, base, f->path, f->id, &name);
	else if (r == 0 || r == -ENOENT) {
		name = already_there(t, f);
		r = 0;
	}
	if (r == 0 && name != NULL && f->reason != NULL)
		write_reason_beside(t, f, name);
	if (r == 0)
		*ret_name = name;
	fd_close(dirfd);
	fd_close(placefd);
	return r;
}

int tree_finish(struct tree *t, const struct tree_finish *f, char **ret_name)
{
	if (f->from == PLACE_INCOMING)
		return finish_incoming(t, f, ret_name);
	return finish_processing(t, f, ret_name);
}

int tree_take_back(struct tree *t, const char *user, uint64_t id, const char *path,
                   enum place from, const char *name)
{
	char dir[32];
	const char *base;
	int processing = tree_open_place(t, user, PLACE_PROCESSING);
	int placefd = tree_open_place(t, user, from);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, name, 0, &base);
	int r = processing < 0 ? processing : dirfd < 0 ? dirfd : 0;
	snprintf(dir, sizeof dir, "%" PRIu64, id);
	if (r == 0 && mkdirat(processing, dir, 0700) < 0 && errno != EEXIST)
		r = -errno;
	int privfd = r < 0 ? r : tree_open_private(t, user, id);
	if (r == 0)
		r = privfd < 0 ? privfd : tree_rename(dirfd, base, privfd, name_base(path));
	struct stat st;
	if (r == -ENOENT && privfd >= 0 &&
	    fstatat(privfd, name_base(path), &st, AT_SYMLINK_NOFOLLOW) == 0)
		r = 0;
	char *log = r < 0 ? NULL : name_with_suffix(base, ".log");
	if (log != NULL && tree_is_our_log(dirfd, log))
		tree_rename(dirfd, log, privfd, name_log(name_base(path)));
	free(log);
	if (r < 0)
		unlinkat(processing, dir, AT_REMOVEDIR);
	fd_close(privfd);
	fd_close(dirfd);
	fd_close(placefd);
	fd_close(processing);
	return r;
}

/* "a/b/x" → removes a/b and a where they are empty now. */
static void remove_empty_parents(int placefd, const char *name)
{
	char *path = strdup(name);
	for (char *slash = path == NULL ? NULL : strrchr(path, '/'); slash != NULL;
	     slash = strrchr(path, '/')) {
		const char *base;
		*slash = '\0';
		int dirfd = tree_open_parent(placefd, path, 0, &base);
		int r = dirfd < 0 ? dirfd : unlinkat(dirfd, base, AT_REMOVEDIR);
		fd_close(dirfd);
		if (r < 0)
			break;
	}
	free(path);
}

static int purge_beside(int dirfd, const char *base, const char *suffix,
                        bool (*is_ours)(int dirfd, const char *name))
{
	char *name = name_with_suffix(base, suffix);
	int r = name == NULL ? -ENOMEM : is_ours(dirfd, name) ? tree_remove(dirfd, name) : 0;
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
		r = purge_beside(dirfd, base, ".output", tree_is_our_output);
		int log = purge_beside(dirfd, base, ".log", tree_is_our_log);
		r = r < 0 ? r : log;
		if (unlinkat(dirfd, base, 0) < 0 && errno != ENOENT)
			r = -errno;
	}
	fd_close(dirfd);
	if (r >= 0)
		remove_empty_parents(placefd, name);
	fd_close(placefd);
	return r == -ENOENT || r > 0 ? 0 : r;
}
