/* Markers and checksums on their way along with their job. Only the very file
 * that spoke for the job is moved or removed: what an uploader has put in its
 * place since belongs to the next upload of the name. */
#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *tree_voucher_suffix(const char *name)
{
	size_t n = sizeof NAME_VOUCHER - 1;
	return strncmp(name, NAME_VOUCHER, n) == 0 && name[n] != '\0' ? name + n : NULL;
}

/* Inode numbers do not last on network mounts. */
static bool is_it(struct tree *t, const char *user, int dirfd, const char *name,
                  const struct file_ident *voucher)
{
	struct file_ident now;
	enum entry_kind kind;
	if (tree_ident_at(dirfd, name, &now, &kind) < 0 || kind != ENTRY_FILE)
		return false;
	return file_ident_same(&now, voucher) ||
	       (now.size == voucher->size && now.mtime_ns == voucher->mtime_ns &&
	        tree_is_network(t, user) > 0);
}

/* Opens the directory of the voucher beside `file`; *ret_name is its base name
 * there (free). */
static int open_voucher(struct tree *t, const char *user, enum place place, const char *file,
                        const char *suffix, char **ret_name)
{
	const char *base;
	/* In incoming it is called as the uploader called it, whole. */
	char *path = place == PLACE_INCOMING ? NULL : tree_beside(file, suffix);
	if (place == PLACE_INCOMING && asprintf(&path, "%s%s", file, suffix) < 0)
		path = NULL;
	if (path == NULL)
		return -ENOMEM;
	int placefd = tree_open_place(t, user, place);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, path, 0, &base);
	if (dirfd >= 0 && (*ret_name = strdup(base)) == NULL) {
		fd_close(dirfd);
		dirfd = -ENOMEM;
	}
	fd_close(placefd);
	free(path);
	return dirfd;
}

/* A move that begins in `from` at the path `file`. */
struct way {
	struct tree *t;
	const char *user;
	const struct file_ident *voucher;
	const char *suffix;
	enum place from;
	const char *file;
};

/* What came in its place while it was moved goes back; where its name is taken
 * by now it stays here and goes along. */
static int move_in(const struct way *w, int dirfd, const char *name, int privfd)
{
	char own[NAME_FILE_MAX + 1];
	int n = snprintf(own, sizeof own, NAME_VOUCHER "%s", w->suffix);
	if (n < 0 || (size_t)n >= sizeof own)
		return -ENAMETOOLONG;
	if (!is_it(w->t, w->user, dirfd, name, w->voucher))
		return 0;
	int r = tree_rename(dirfd, name, privfd, own);
	if (r == 0 && !is_it(w->t, w->user, privfd, own, w->voucher))
		tree_rename(privfd, own, dirfd, name);
	return r;
}

static int go(const struct way *w, int privfd)
{
	char *base = NULL;
	if (w->voucher == NULL || w->voucher->ino == 0 || w->suffix == NULL)
		return 0;
	int dirfd = open_voucher(w->t, w->user, w->from, w->file, w->suffix, &base);
	int r = dirfd < 0 ? dirfd : move_in(w, dirfd, base, privfd);
	fd_close(dirfd);
	free(base);
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
}

int tree_take_voucher(struct tree *t, const char *user, const struct job *job, enum place from,
                      const char *name)
{
	const struct way way = {.t = t, .user = user, .voucher = &job->voucher,
	                        .suffix = job->voucher_suffix, .from = from, .file = name};
	if (job->voucher_suffix == NULL)
		return 0;
	int privfd = tree_open_private(t, user, job->id);
	int r = privfd < 0 ? privfd : go(&way, privfd);
	fd_close(privfd);
	return r == -ENOENT ? 0 : r;
}

int tree_bring_voucher(struct tree *t, const struct tree_finish *f, int privfd)
{
	const struct way way = {.t = t, .user = f->user, .voucher = f->voucher,
	                        .suffix = f->voucher_suffix, .from = PLACE_INCOMING,
	                        .file = f->path};
	return go(&way, privfd);
}

int tree_purge_voucher(struct tree *t, const char *user, const struct job *job, const char *final)
{
	char *base = NULL;
	if (job->voucher.ino == 0 || job->voucher_suffix == NULL)
		return 0;
	int dirfd = open_voucher(t, user, job->place, final, job->voucher_suffix, &base);
	int r = dirfd < 0 ? dirfd : 0;
	if (r == 0 && is_it(t, user, dirfd, base, &job->voucher) &&
	    unlinkat(dirfd, base, 0) < 0 && errno != ENOENT)
		r = -errno;
	fd_close(dirfd);
	free(base);
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
}
