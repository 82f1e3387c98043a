/* From incoming into the private directory of a job, and back. */
#include "io/tree_private.h"

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

/* Opens the private directory, made where it is missing: then nothing is in it (but
 * the output directory of an earlier job). */
static int make_private(struct tree *t, const char *user, uint64_t id, const char *path,
                        bool *ret_made)
{
	char name[32];
	int processing = tree_borrow_place(t, user, PLACE_PROCESSING);
	if (processing < 0)
		return processing;
	snprintf(name, sizeof name, "%" PRIu64, id);
	tree_unspare(t, user, id);
	int r = tree_use_spare(t, user, id, name_base(path), processing);
	if (r < 0)
		r = mkdirat(processing, name, 0700) < 0 ? -errno : 0;
	*ret_made = r == 0;
	if (r == 0)
		r = fd_open_beneath(processing, name, O_RDONLY | O_DIRECTORY, 0);
	else if (r == -EEXIST)
		r = tree_open_private(t, user, id);
	tree_return_place(t, user, processing);
	return r;
}

/* Where the file did not come into it. */
static void drop_empty(struct tree *t, const char *user, uint64_t id, int privfd)
{
	char name[32];
	int processing = tree_borrow_place(t, user, PLACE_PROCESSING);
	snprintf(name, sizeof name, "%" PRIu64, id);
	tree_unspare(t, user, id);
	if (processing >= 0 && unlinkat(processing, name, AT_REMOVEDIR) < 0 &&
	    tree_is_unhanded(privfd, id)) {
		unlinkat(privfd, name_output(""), AT_REMOVEDIR);
		unlinkat(processing, name, AT_REMOVEDIR);
	}
	tree_return_place(t, user, processing);
}

/* It is out of the uploader's reach now: is it what was accepted, and is nobody
 * left who writes it? Where that cannot be asked just now, it is no other file. */
static int check_taken(int privfd, const char *base, const struct file_ident *ident)
{
	struct file_ident now;
	enum entry_kind kind;
	int asked;
	int r = tree_look_at(privfd, base, &now, &kind, &asked);
	if (r < 0)
		return r;
	if (!tree_is_same(ident, &now, kind) || asked == -EAGAIN)
		return -ESTALE;
	return tree_is_shortage(asked) ? asked : 0;
}

/* Says beside the kept file why it is there; what an uploader named alike is
 * left alone. */
static int explain_kept(struct tree *t, const char *user, const char *kept, gid_t gid)
{
	static const char reason[] =
		"This file is not the one that was waiting here: it was changed or put in its place\n"
		"while spoold was taking it, and by then its name in incoming was taken or gone.\n"
		"It was not processed. To have it processed, upload it again.\n" TREE_LOG_MARK "\n";
	struct stat st;
	const char *base;
	char *log = name_with_suffix(kept, ".log");
	int placefd = log == NULL ? -ENOMEM : tree_open_place(t, user, PLACE_FAILED);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, log, 0, &base);
	int r = dirfd < 0 ? dirfd : 0;
	if (r == 0 && fstatat(dirfd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = tree_write_reason(dirfd, base, reason, gid);
	fd_close(dirfd);
	fd_close(placefd);
	free(log);
	return r;
}

/* Not the file that was accepted: back to where it was; where that is not
 * possible any more, to failed, with the reason. Durably back: a job that is
 * canceled for it must not find the other file as its own after a power cut. */
static int put_back(struct tree *t, const char *user, uint64_t id, const char *path, int privfd,
                    int dirfd, char **ret_kept)
{
	const char *base = name_base(path);
	struct file_ident now;
	enum entry_kind kind;
	int r = dirfd < 0 ? dirfd : tree_rename(privfd, base, dirfd, base);
	if (r == 0)
		return fsync(dirfd) < 0 ? -errno : 0;
	r = tree_ident_at(privfd, base, &now, &kind);
	/* Or the job would find it there as its own, where we do not come to say so. */
	if (r == 0 && (kind == ENTRY_FILE || kind == ENTRY_DIRECTORY))
		tree_note_stranger(t, privfd, base, id);
	if (r == 0)
		r = tree_rename_final(t, user, PLACE_FAILED, privfd, base, path, id, ret_kept);
	if (r < 0)
		return r;
	r = explain_kept(t, user, *ret_kept, tree_readers(t, user, PLACE_FAILED, &now));
	if (r < 0)
		log_warning("user %s: the reason could not be written beside a file in failed: %s", user,
		            strerror(-r));
	return 0;
}

/* Like tree_rename(), but into the private directory, where nobody else makes
 * names: so a look beforehand decides as well, where the file system cannot.
 * A link would be worse there: network file systems give it another inode
 * number, and a new upload of the name could be unlinked instead. */
static int rename_in(int dirfd, const char *base, int privfd)
{
	struct stat st;
	if (renameat2(dirfd, base, privfd, base, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (fstatat(privfd, base, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	return errno != ENOENT || renameat(dirfd, base, privfd, base) < 0 ? -errno : 0;
}

/* No handler gets it, so whoever writes it or has linked it may go on. */
static int is_unchanged(int dirfd, const char *base, const struct file_ident *ident)
{
	struct file_ident now;
	enum entry_kind kind;
	int r = tree_ident_at(dirfd, base, &now, &kind);
	return r < 0 ? r : tree_is_same(ident, &now, kind == ENTRY_HARDLINKED ? ENTRY_FILE : kind);
}

/* Into the private directory, which is made; -ENOENT: it is not there. What was put in
 * its place at that moment is another upload. */
static int take_in(struct tree *t, const struct tree_finish *f, int dirfd, const char *base)
{
	bool made;
	char *kept = NULL;
	int privfd = make_private(t, f->user, f->id, f->path, &made);
	if (privfd < 0)
		return privfd;
	int r = rename_in(dirfd, base, privfd);
	int same = r < 0 ? r : is_unchanged(privfd, base, f->ident);
	if (r == 0 && same == 0) {
		r = put_back(t, f->user, f->id, f->path, privfd, dirfd, &kept);
		r = r < 0 ? r : -ENOENT;
	} else if (r == 0 && same < 0) {
		/* It stays, and is compared when this is tried again. */
		r = same;
	}
	if (r < 0)
		drop_empty(t, f->user, f->id, privfd);
	free(kept);
	fd_close(privfd);
	return r;
}

int tree_take_in(struct tree *t, const struct tree_finish *f)
{
	const char *base;
	int dirfd = tree_borrow_holder(t, f->user, f->path, &base);
	int r = dirfd < 0 ? dirfd : is_unchanged(dirfd, base, f->ident);
	r = r < 0 ? r : r == 0 ? -ENOENT : 0;
	if (r == 0)
		r = take_in(t, f, dirfd, base);
	tree_return_place(t, f->user, dirfd);
	return r == -ENOTDIR || r == -ELOOP ? -ENOENT : r;
}

static int take(struct tree *t, uint64_t id, int dirfd, const char *base,
                const struct file_ident *ident, int privfd)
{
	struct file_ident now;
	enum entry_kind kind;
	int r = tree_ident_at(dirfd, base, &now, &kind);
	if (r < 0)
		return r;
	if (!tree_is_same(ident, &now, kind))
		return -ESTALE;
	r = rename_in(dirfd, base, privfd);
	/* Afterwards: a power cut that undoes the rename undoes its new ctime, too. */
	if (r == 0 && ident->whole != 0)
		tree_note_claimed(t, privfd, base, id);
	return r;
}

/* A file in the private directory was taken before: by us, before a crash. */
static int take_and_check(struct tree *t, const char *user, uint64_t id, const char *path,
                          const struct file_ident *ident, int privfd, bool made, char **ret_kept)
{
	const char *base = name_base(path), *same_base;
	int dirfd = tree_borrow_holder(t, user, path, &same_base);
	int r = made ? -ENOENT : check_taken(privfd, base, ident);
	if (r == -ENOENT) {
		r = dirfd < 0 ? dirfd : take(t, id, dirfd, base, ident, privfd);
		if (r < 0)
			goto out;
		r = check_taken(privfd, base, ident);
	} else if (r != -ESTALE) {
		/* Done before; or not to be known, which is no reason to move it. */
		goto out;
	}
	/* Another error tells nothing of it: it stays, and is looked at again. */
	if (r == -ESTALE) {
		int back = put_back(t, user, id, path, privfd, dirfd, ret_kept);
		r = back < 0 ? back : r;
	}
out:
	tree_return_place(t, user, dirfd);
	return r;
}

/* A missing processing is not a missing upload. */
static int why_no_private(struct tree *t, const char *user, const char *path, int error)
{
	struct file_ident ident;
	enum entry_kind kind;
	if (error != -ENOENT && error != -ELOOP && error != -EINVAL)
		return error;
	return tree_look(t, user, path, &ident, &kind) == -ENOENT ? -ENOENT : -ENOTDIR;
}

int tree_claim(struct tree *t, const char *user, uint64_t id, const char *path,
               const struct file_ident *ident, char **ret_kept)
{
	bool made;
	*ret_kept = NULL;
	int privfd = make_private(t, user, id, path, &made);
	if (privfd < 0)
		return why_no_private(t, user, path, privfd);
	int r = take_and_check(t, user, id, path, ident, privfd, made, ret_kept);
	if (r < 0) {
		drop_empty(t, user, id, privfd);
		fd_close(privfd);
	} else {
		tree_keep_job(t, user, id, privfd);
	}
	return r;
}

int tree_open_taken(struct tree *t, const char *user, uint64_t id, const char *path)
{
	int privfd = tree_open_private(t, user, id);
	int fd = privfd < 0 ? privfd
	                    : fd_open_beneath(privfd, name_base(path), O_RDONLY | O_DIRECTORY, 0);
	fd_close(privfd);
	return fd;
}

int tree_put_back(struct tree *t, const char *user, uint64_t id, const char *path, char **ret_kept)
{
	const char *base;
	*ret_kept = NULL;
	int privfd = tree_open_private(t, user, id);
	if (privfd < 0)
		return privfd;
	int dirfd = tree_borrow_holder(t, user, path, &base);
	int r = put_back(t, user, id, path, privfd, dirfd, ret_kept);
	tree_return_place(t, user, dirfd);
	fd_close(privfd);
	return r;
}

static int name_again(int privfd, const char *base, const struct file_ident *ident)
{
	char *name = NULL;
	int r = tree_find_renamed(privfd, ident, &name);
	if (r == 0)
		r = tree_rename(privfd, name, privfd, base);
	free(name);
	return r;
}

static int find_again(int privfd, const char *base, const struct file_ident *ident)
{
	struct stat st;
	int r = fstatat(privfd, base, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	return r == -ENOENT ? name_again(privfd, base, ident) : r;
}

static int give_output(struct tree *t, const char *user, uint64_t id, int privfd,
                       const char *base)
{
	if (!tree_came_with_output(t, user, id)) {
		if (mkdirat(privfd, name_output(base), 0700) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return tree_note_handed(t, user, id, privfd);
}

int tree_open_job(struct tree *t, const char *user, uint64_t id, const char *path,
                  const struct file_ident *ident)
{
	const char *base = name_base(path);
	int r = 0, fd = tree_take_kept_job(t, user, id);
	/* Not just claimed: an attempt may have been here. */
	if (fd < 0) {
		fd = tree_open_private(t, user, id);
		r = fd < 0 ? fd : find_again(fd, base, ident);
	}
	if (fd < 0)
		return fd;
	if (r == 0)
		r = give_output(t, user, id, fd, base);
	if (r < 0)
		fd_close(fd);
	return r < 0 ? r : fd;
}

bool tree_has_job(struct tree *t, const char *user, uint64_t id)
{
	int fd = tree_open_private(t, user, id);
	fd_close(fd);
	return fd != -ENOENT;
}

int tree_sync_job(struct tree *t, const char *user, uint64_t id)
{
	int fd = tree_open_private(t, user, id);
	int r = fd < 0 ? fd : fsync(fd) < 0 ? -errno : 0;
	fd_close(fd);
	return r;
}

int tree_let_pass(struct tree *t, const char *user)
{
	struct stat st;
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	if (fd < 0)
		return fd;
	int r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && (st.st_mode & 0011) != 0011 && fchmod(fd, (st.st_mode & 0777) | 0011) < 0)
		r = -errno;
	fd_close(fd);
	return r;
}

char *tree_job_path(struct tree *t, const char *user, uint64_t id)
{
	char *path = NULL;
	int n = asprintf(&path, "%s/%s/%s/%" PRIu64, t->root, user,
	                 tree_place_dir(PLACE_PROCESSING), id);
	return n < 0 ? NULL : path;
}
