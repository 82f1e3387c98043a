/* The private directories of jobs: what is in them, whose they are. */
#include "io/tree_private.h"

#include "base/dir.h"
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

enum { RESULT_MAX = 64 * 1024 }; /* bytes */

/* A handler may have made something else of its name. */
static int open_result(int dirfd)
{
	struct stat st;
	int fd = openat(dirfd, NAME_RESULT, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ELOOP || errno == ENXIO ? -EBADMSG : -errno;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	fd_close(fd);
	return -EBADMSG;
}

int tree_read_result(struct tree *t, const char *user, uint64_t id, char **ret_data,
                     size_t *ret_size)
{
	int dirfd = tree_open_private(t, user, id);
	if (dirfd < 0)
		return dirfd;
	int fd = open_result(dirfd);
	int r = fd < 0 ? fd : fd_read_all(fd, RESULT_MAX, ret_data, ret_size);
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
	struct tree *t;
	uint64_t id;
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

/* A directory that is a job as a whole says so; or it is older than the one that was made
 * for it, or somebody else's. Those that handlers make are nothing of that. */
static bool may_be_whole(const struct upload_search *s, const char *name, const struct statx *st)
{
	bool output = strcmp(name, name_output("")) == 0 || strcmp(name, "output.spoold") == 0;
	return S_ISDIR(st->stx_mode) && !output &&
	       (st->stx_uid != s->dir.stx_uid || is_earlier(st, &s->dir) ||
	        tree_is_claimed(s->t, s->dirfd, name, s->id));
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
		s->ident.whole = WHOLE_UNKNOWN;
	free(s->name);
	s->name = strdup(name);
	s->score = points;
	s->best = st;
	return s->name == NULL ? -ENOMEM : 0;
}

static int find_upload(struct tree *t, uint64_t id, int dirfd, char **ret_name,
                       struct file_ident *ret_ident)
{
	struct stat st;
	struct upload_search s = {.t = t, .id = id, .dirfd = dirfd};
	s.log_moved = fstatat(dirfd, "log.spoold", &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (statx(dirfd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &s.dir) < 0)
		return -errno;
	int r = dir_walk(dirfd, look_for_upload, &s);
	if (r < 0) {
		free(s.name);
		return r;
	}
	*ret_name = s.name;
	*ret_ident = s.ident;
	return 0;
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
	uint64_t *ids;
	size_t n, room;
	bool beside; /* something else is there */
};

static int note_number(void *ctx, const char *name, uint64_t ino)
{
	struct numbers *all = ctx;
	uint64_t id;
	(void)ino;
	if (!parse_id(name, &id)) {
		all->beside = true;
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
                 void *ctx, bool *ret_beside)
{
	char *upload = NULL;
	struct file_ident ident;
	int dirfd = tree_open_private(t, user, id);
	if (dirfd == -ENOTDIR || dirfd == -ELOOP)
		*ret_beside = true;
	if (dirfd == -ENOENT || dirfd == -ENOTDIR || dirfd == -ELOOP)
		return 0;
	int r = dirfd < 0 ? dirfd : find_upload(t, id, dirfd, &upload, &ident);
	fd_close(dirfd);
	if (r == 0)
		r = each(ctx, id, upload, upload == NULL ? NULL : &ident);
	free(upload);
	return r;
}

int tree_each_processing(struct tree *t, const char *user,
                         int (*each)(void *ctx, uint64_t id, const char *path,
                                     const struct file_ident *ident),
                         void *ctx, bool *ret_beside)
{
	struct numbers all = {0};
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	int r = fd < 0 ? fd : dir_walk(fd, note_number, &all);
	fd_close(fd);
	for (size_t i = 0; i < all.n && r == 0; i++)
		r = visit(t, user, all.ids[i], each, ctx, &all.beside);
	free(all.ids);
	if (ret_beside != NULL)
		*ret_beside = all.beside;
	return r;
}

struct beside_jobs {
	int (*each)(void *ctx, const char *path, uint64_t job);
	void *ctx;
	int dirfd;
	const char *dir; /* its path */
};

static bool is_directory(int dirfd, const char *name)
{
	struct stat st;
	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? S_ISDIR(st.st_mode)
	                                                           : errno == ENOENT;
}

static int tell_beside(void *ctx, const char *name, uint64_t ino)
{
	const struct beside_jobs *b = ctx;
	bool removed = strncmp(name, TREE_REMOVED, sizeof TREE_REMOVED - 1) == 0;
	uint64_t id = 0;
	char *path;
	(void)ino;
	bool known = parse_id(removed ? name + sizeof TREE_REMOVED - 1 : name, &id) &&
	             is_directory(b->dirfd, name);
	if (known && !removed)
		return 0;
	if (asprintf(&path, "%s/%s", b->dir, name) < 0)
		return -ENOMEM;
	int r = b->each(b->ctx, path, known ? id : 0);
	free(path);
	return r;
}

int tree_each_beside_jobs(struct tree *t, const char *user,
                          int (*each)(void *ctx, const char *path, uint64_t job), void *ctx)
{
	char *dir = NULL;
	if (asprintf(&dir, "%s/%s/%s", t->root, user, tree_place_dir(PLACE_PROCESSING)) < 0)
		return -ENOMEM;
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	struct beside_jobs b = {.each = each, .ctx = ctx, .dirfd = fd, .dir = dir};
	int r = fd < 0 ? fd : dir_walk(fd, tell_beside, &b);
	fd_close(fd);
	free(dir);
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
