/* A private directory that no job needs any more. */
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
	int r = fd < 0 ? fd : dir_walk(d.dirfd, check_ours, &d);
	struct rescue rescue = {.t = t, .user = user, .path = path, .id = id, .dirfd = d.dirfd};
	if (r == 0)
		r = dir_walk(d.dirfd, rescue_voucher, &rescue);
	if (r == 0)
		r = dir_walk(d.dirfd, remove_output, &d);
	if (r == 0)
		r = dir_walk(d.dirfd, remove_file, &d);
	snprintf(name, sizeof name, "%" PRIu64, id);
	if (r == 0 && unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = errno == EEXIST ? -ENOTEMPTY : -errno;
	fd_close(fd);
	fd_close(d.dirfd);
	return r;
}
