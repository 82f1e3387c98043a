/* The private directories of jobs, and where a job's file is. */
#include "io/tree_private.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RESULT_MAX = 64 * 1024 }; /* bytes */

struct renamed_search {
	int dirfd;
	const struct file_ident *ident;
	char *name;
};

static int look_for_renamed(void *ctx, const char *name, uint64_t ino)
{
	struct renamed_search *s = ctx;
	struct file_ident now;
	enum entry_kind kind;
	/* Inode numbers are used again: unchanged it must be, too. */
	bool lasts = (s->ident->ino & TREE_INO_MADE_UP) == 0;
	if ((lasts && ino != s->ident->ino) || tree_ident_at(s->dirfd, name, &now, &kind) < 0 ||
	    !tree_is_same(s->ident, &now, kind))
		return 0;
	s->name = strdup(name);
	return s->name == NULL ? -ENOMEM : 1;
}

int tree_find_renamed(int privfd, const struct file_ident *ident, char **ret_name)
{
	struct renamed_search s = {.dirfd = privfd, .ident = ident};
	int r = tree_walk(privfd, look_for_renamed, &s);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret_name = s.name;
	return 0;
}

static bool is_in_private(int fd, const struct job *job)
{
	struct stat st;
	char *name = NULL;
	if (fstatat(fd, name_base(job->path), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    tree_fits(&job->ident, S_ISDIR(st.st_mode)))
		return true;
	bool renamed = tree_find_renamed(fd, &job->ident, &name) == 0;
	free(name);
	return renamed;
}

static int count_entry(void *ctx, const char *name, uint64_t ino)
{
	unsigned *n = ctx;
	(void)name, (void)ino;
	return ++*n > 1;
}

static bool holds_one_entry(int dirfd)
{
	unsigned n = 0;
	return tree_walk(dirfd, count_entry, &n) == 0 && n == 1;
}

static int find_in_processing(struct tree *t, const char *user, const struct job *job,
                              struct tree_found *found)
{
	struct stat st;
	int fd = tree_open_private(t, user, job->id);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	if (is_in_private(fd, job))
		found->place = PLACE_PROCESSING;
	found->bare = found->place == PLACE_PROCESSING &&
	              (holds_one_entry(fd) || tree_is_unhanded(fd, job->id));
	found->result = fstatat(fd, NAME_RESULT, &st, AT_SYMLINK_NOFOLLOW) == 0;
	fd_close(fd);
	return 0;
}

static int find_in_finals(struct tree *t, const char *user, const struct job *job,
                          struct tree_found *found)
{
	static const enum place places[] = {PLACE_DONE, PLACE_FAILED};
	int r = -ENOENT;
	for (size_t i = 0; i < 2 && r == -ENOENT; i++) {
		/* A final name may be one of an earlier end, or stem from a taken name. */
		if (job->final_name != NULL)
			r = tree_search_final(t, user, places[i], job->final_name, job->id, &job->ident,
			                      &found->final_name);
		if (r == -ENOENT)
			r = tree_search_final(t, user, places[i], job->path, job->id, &job->ident,
			                      &found->final_name);
		if (r == 0)
			found->place = places[i];
	}
	return r == -ENOENT ? 0 : r;
}

static int find_in_incoming(struct tree *t, const char *user, const struct job *job,
                            struct tree_found *found)
{
	struct file_ident ident;
	enum entry_kind kind;
	int r = tree_look(t, user, job->path, &ident, &kind);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
	found->place = PLACE_INCOMING;
	found->same = (job->ident.whole != 0 ? tree_is_same(&job->ident, &ident, kind)
	                                     : file_ident_same(&job->ident, &ident)) &&
	              (!job_state_is_final(job->state) || job->ident.ctime_ns == ident.ctime_ns);
	return 0;
}

int tree_find(struct tree *t, const char *user, const struct job *job, struct tree_found *ret)
{
	struct tree_found found = {.place = PLACE_NOWHERE};
	int r = find_in_processing(t, user, job, &found);
	if (r == 0 && found.place == PLACE_NOWHERE)
		r = find_in_incoming(t, user, job, &found);
	/* What waits in incoming under its name may be another upload. */
	if (r == 0 && (found.place == PLACE_NOWHERE ||
	               (found.place == PLACE_INCOMING && !found.same)))
		r = find_in_finals(t, user, job, &found);
	if (r == 0)
		*ret = found;
	else
		free(found.final_name);
	return r;
}

int tree_read_result(struct tree *t, const char *user, uint64_t id, char **ret_data,
                     size_t *ret_size)
{
	int dirfd = tree_open_private(t, user, id);
	if (dirfd < 0)
		return dirfd;
	int fd = openat(dirfd, NAME_RESULT, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int r = fd < 0 ? -errno : fd_read_all(fd, RESULT_MAX, ret_data, ret_size);
	fd_close(fd);
	fd_close(dirfd);
	return r;
}

int tree_ask_cancel(struct tree *t, const char *user, uint64_t id)
{
	int dirfd = tree_open_private(t, user, id);
	if (dirfd < 0)
		return dirfd;
	int r = fd_write_file(dirfd, NAME_CANCEL, "cancel\n", 7, 0600);
	fd_close(dirfd);
	return r;
}

/* The uploader's file among what lies in a private directory. */
struct upload_search {
	int dirfd;
	struct statx dir;
	bool log_moved; /* "log" is no name of ours here */
	int score;
	struct statx best;
	char *name;
	struct file_ident ident;
};

static bool is_earlier(const struct statx *a, const struct statx *b)
{
	const struct statx_timestamp *x = &a->stx_btime, *y = &b->stx_btime;
	if ((a->stx_mask & b->stx_mask & STATX_BTIME) == 0)
		return false;
	return x->tv_sec < y->tv_sec || (x->tv_sec == y->tv_sec && x->tv_nsec < y->tv_nsec);
}

/* The upload is older than the directory that was made for it; logs, and what
 * handlers write, are younger. Where the file system does not tell, or the
 * directory was one of an earlier job, it is whose it is that counts, and the name
 * at last. 0: not the upload. */
static int score(const struct upload_search *s, const char *name, const struct statx *st)
{
	bool log_like = strcmp(name, "log.spoold") == 0 || (strcmp(name, "log") == 0 && !s->log_moved);
	int points = log_like ? 0 : 1;
	if (st->stx_uid != s->dir.stx_uid)
		points += 2;
	return is_earlier(st, &s->dir) ? points + 4 : points;
}

/* A directory that is a job as a whole is older than the one that was made for it, or
 * somebody else's; those that handlers make are neither. */
static bool may_be_whole(const struct upload_search *s, const char *name, const struct statx *st)
{
	bool output = strcmp(name, name_output("")) == 0 || strcmp(name, "output.spoold") == 0;
	return S_ISDIR(st->stx_mode) && !output &&
	       (st->stx_uid != s->dir.stx_uid || is_earlier(st, &s->dir));
}

static int look_for_upload(void *ctx, const char *name, uint64_t ino)
{
	struct upload_search *s = ctx;
	struct statx st;
	enum entry_kind kind;
	(void)ino;
	if (tree_is_certainly_ours(name) ||
	    statx(s->dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) < 0 ||
	    !(S_ISREG(st.stx_mode) || may_be_whole(s, name, &st)))
		return 0;
	int points = score(s, name, &st);
	/* Among equals the one that was there first. */
	bool better = points > s->score ||
	              (points > 0 && points == s->score && is_earlier(&st, &s->best));
	if (!better || tree_ident_at(s->dirfd, name, &s->ident, &kind) < 0)
		return 0;
	/* What it was like when it was accepted is not known any more. */
	if (kind == ENTRY_DIRECTORY)
		s->ident.whole = 1;
	free(s->name);
	s->name = strdup(name);
	s->score = points;
	s->best = st;
	return s->name == NULL ? -ENOMEM : 0;
}

static int find_upload(int dirfd, char **ret_name, struct file_ident *ret_ident)
{
	struct stat st;
	struct upload_search s = {.dirfd = dirfd};
	s.log_moved = fstatat(dirfd, "log.spoold", &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (statx(dirfd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &s.dir) < 0)
		return -errno;
	int r = tree_walk(dirfd, look_for_upload, &s);
	if (r < 0) {
		free(s.name);
		return r;
	}
	*ret_name = s.name;
	*ret_ident = s.ident;
	return 0;
}

static void leave_alone(const char *user, const char *name)
{
	char *shown = escape_str(name);
	log_warning("user %s: processing/%s is not spoold's; it is left alone", user,
	            shown == NULL ? "?" : shown);
	free(shown);
}

static bool parse_id(const char *name, uint64_t *ret)
{
	char *end;
	if (name[0] < '1' || name[0] > '9')
		return false;
	errno = 0;
	*ret = strtoull(name, &end, 10);
	return errno == 0 && *end == '\0';
}

/* The numbers first: `each` may rename directories, and a walk would meet
 * them again. */
struct numbers {
	const char *user;
	uint64_t *ids;
	size_t n, room;
};

static int note_number(void *ctx, const char *name, uint64_t ino)
{
	struct numbers *all = ctx;
	uint64_t id;
	(void)ino;
	if (!parse_id(name, &id)) {
		leave_alone(all->user, name);
		return 0;
	}
	if (all->n == all->room) {
		size_t room = all->room == 0 ? 16 : all->room * 2;
		uint64_t *more = reallocarray(all->ids, room, sizeof *more);
		if (more == NULL)
			return -ENOMEM;
		all->ids = more;
		all->room = room;
	}
	all->ids[all->n++] = id;
	return 0;
}

static int visit(struct tree *t, const char *user, uint64_t id,
                 int (*each)(void *ctx, uint64_t id, const char *path,
                             const struct file_ident *ident),
                 void *ctx)
{
	char *upload = NULL;
	struct file_ident ident;
	int dirfd = tree_open_private(t, user, id);
	if (dirfd == -ENOENT)
		return 0;
	if (dirfd == -ENOTDIR || dirfd == -ELOOP) {
		char name[32];
		snprintf(name, sizeof name, "%" PRIu64, id);
		leave_alone(user, name);
		return 0;
	}
	int r = dirfd < 0 ? dirfd : find_upload(dirfd, &upload, &ident);
	fd_close(dirfd);
	if (r == 0)
		r = each(ctx, id, upload, upload == NULL ? NULL : &ident);
	free(upload);
	return r;
}

int tree_each_processing(struct tree *t, const char *user,
                         int (*each)(void *ctx, uint64_t id, const char *path,
                                     const struct file_ident *ident),
                         void *ctx)
{
	struct numbers all = {.user = user};
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	int r = fd < 0 ? fd : tree_walk(fd, note_number, &all);
	fd_close(fd);
	for (size_t i = 0; i < all.n && r == 0; i++)
		r = visit(t, user, all.ids[i], each, ctx);
	free(all.ids);
	return r;
}

int tree_rename_job(struct tree *t, const char *user, uint64_t old_id, uint64_t new_id)
{
	char old_name[32], new_name[32];
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	if (fd < 0)
		return fd;
	tree_unspare(t, user, old_id);
	tree_unspare(t, user, new_id);
	snprintf(old_name, sizeof old_name, "%" PRIu64, old_id);
	snprintf(new_name, sizeof new_name, "%" PRIu64, new_id);
	int r = renameat2(fd, old_name, fd, new_name, RENAME_NOREPLACE) < 0 ? -errno : 0;
	/* Where that cannot be asked for: an existing directory of a job is not
	 * empty, and rename refuses those. */
	if (r == -EINVAL)
		r = renameat(fd, old_name, fd, new_name) < 0 ? -errno : 0;
	fd_close(fd);
	return r;
}

/* `base` is "" where the name of the upload is not known: then a log may be
 * one that the uploader named so, unless it says that it is ours. */
struct drop {
	int dirfd;
	const char *base;
};

static int check_ours(void *ctx, const char *name, uint64_t ino)
{
	const struct drop *d = ctx;
	struct stat st;
	(void)ino;
	if (fstatat(d->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	bool known = d->base[0] != '\0';
	bool output = strcmp(name, name_output(d->base)) == 0 ||
	              (!known && strcmp(name, "output.spoold") == 0);
	bool log = known ? strcmp(name, name_log(d->base)) == 0 : tree_is_our_log(d->dirfd, name);
	if (S_ISDIR(st.st_mode))
		return output ? 0 : -ENOTEMPTY;
	if (strcmp(name, d->base) == 0 || !S_ISREG(st.st_mode))
		return -ENOTEMPTY;
	return log || tree_is_certainly_ours(name) ? 0 : -ENOTEMPTY;
}

static int remove_output(void *ctx, const char *name, uint64_t ino)
{
	const struct drop *d = ctx;
	(void)ino;
	if (unlinkat(d->dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENOTDIR)
		return 0;
	return errno == EEXIST ? -ENOTEMPTY : -errno;
}

static int remove_file(void *ctx, const char *name, uint64_t ino)
{
	const struct drop *d = ctx;
	(void)ino;
	return unlinkat(d->dirfd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* Never lost: without its upload it is for failed. */
struct rescue {
	struct tree *t;
	const char *user, *path;
	uint64_t id;
	int dirfd;
};

static int rescue_voucher(void *ctx, const char *name, uint64_t ino)
{
	const struct rescue *s = ctx;
	const char *suffix = tree_voucher_suffix(name);
	(void)ino;
	if (suffix == NULL)
		return 0;
	char *kept = NULL, *wanted = tree_beside(s->path[0] == '\0' ? "unknown" : s->path, suffix);
	int r = wanted == NULL ? -ENOMEM
	                       : tree_rename_final(s->t, s->user, PLACE_FAILED, s->dirfd, name, wanted,
	                                           s->id, &kept);
	free(wanted);
	free(kept);
	return r;
}

int tree_drop_job(struct tree *t, const char *user, uint64_t id, const char *path)
{
	char name[32];
	struct drop d = {.base = name_base(path)};
	tree_unspare(t, user, id);
	d.dirfd = tree_open_private(t, user, id);
	if (d.dirfd < 0)
		return d.dirfd == -ENOENT ? 0 : d.dirfd;
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	int r = fd < 0 ? fd : tree_walk(d.dirfd, check_ours, &d);
	struct rescue rescue = {.t = t, .user = user, .path = path, .id = id, .dirfd = d.dirfd};
	if (r == 0)
		r = tree_walk(d.dirfd, rescue_voucher, &rescue);
	if (r == 0)
		r = tree_walk(d.dirfd, remove_output, &d);
	if (r == 0)
		r = tree_walk(d.dirfd, remove_file, &d);
	snprintf(name, sizeof name, "%" PRIu64, id);
	if (r == 0 && unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = errno == EEXIST ? -ENOTEMPTY : -errno;
	fd_close(fd);
	fd_close(d.dirfd);
	return r;
}

static int open_our_log(struct tree *t, const char *user, enum place place, const char *path)
{
	const char *base;
	int placefd = tree_open_place(t, user, place);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, path, 0, &base);
	int fd = -ENOENT;
	if (dirfd >= 0 && tree_is_our_log(dirfd, base)) {
		fd = openat(dirfd, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	}
	fd_close(dirfd);
	fd_close(placefd);
	return fd;
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
	if (fd == -ENOENT && job_state_is_final(job->state))
		fd = open_final_log(t, user, job);
	if (fd < 0)
		return fd;
	ssize_t n = pread(fd, out, size, (off_t)offset);
	int r = n < 0 ? -errno : 0;
	fd_close(fd);
	if (r == 0)
		*ret_n = (size_t)n;
	return r;
}
