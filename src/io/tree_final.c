/* The last move of a job: from its private directory to done or failed. Every step can be repeated, so a crash between
 * two of them is made good by calling tree_finish() again. */
#include "io/tree_ending.h"

#include "base/dir.h"
#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Inode numbers are used again: unchanged it must be, too. */
static bool is_upload_elsewhere(const struct ending *e, const char *name)
{
	struct file_ident now;
	enum entry_kind kind;
	return tree_ident_at(e->fd, name, &now, &kind) == 0 && tree_is_same(e->f->ident, &now, kind);
}

static int note_entry(void *ctx, const char *name, uint64_t ino)
{
	struct ending *e = ctx;
	if (strcmp(name, e->base) == 0 &&
	    fstatat(e->fd, name, &e->file, AT_SYMLINK_NOFOLLOW) == 0 &&
	    tree_fits(e->f->ident, S_ISDIR(e->file.st_mode)))
		e->has_file = true;
	else if (e->elsewhere == NULL && ino == e->f->ident->ino && is_upload_elsewhere(e, name))
		return (e->elsewhere = strdup(name)) == NULL ? -ENOMEM : 0;
	else if (strcmp(name, name_log(e->base)) == 0)
		e->log = true;
	else if (strcmp(name, name_output(e->base)) == 0)
		e->output = true;
	else if (strcmp(name, NAME_RESULT) == 0)
		e->result = true;
	else if (e->voucher == NULL && tree_voucher_suffix(name) != NULL)
		return (e->voucher = strdup(name)) == NULL ? -ENOMEM : 0;
	else if (!tree_is_certainly_ours(name))
		e->more = true;
	else
		e->litter = true;
	return 0;
}

/* A handler may have put anything under our names: that is its own then. */
static bool is_odd(const struct ending *e, const char *name, mode_t type)
{
	struct stat st;
	return fstatat(e->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       ((st.st_mode & S_IFMT) != type || (type == S_IFREG && st.st_nlink != 1));
}

static void set_aside_if_odd(struct ending *e, bool *there, const char *name, mode_t type)
{
	if (!*there || !is_odd(e, name, type))
		return;
	int r = tree_move_aside(e->fd, name, e->fd, e->f->id);
	if (r < 0)
		tree_ending_warn(e->f, "what its handler made of its log or output could not be set aside", r);
	else
		*there = false;
	e->more = true;
}

/* Removes what is not kept, as far as it is known without a second look. */
static void drop_unwanted(struct ending *e)
{
	bool want_log = e->f->keep_log || e->f->reason != NULL;
	if (e->log && !want_log && unlinkat(e->fd, name_log(e->base), 0) == 0)
		e->log = false;
	set_aside_if_odd(e, &e->log, name_log(e->base), S_IFREG);
	e->spare_output = e->output && e->f->hand_on &&
	                  tree_is_spare_output(e->t, e->f->user, e->f->id, e->fd, name_output(e->base));
	if (e->spare_output || (e->output && unlinkat(e->fd, name_output(e->base), AT_REMOVEDIR) == 0))
		e->output = false;
	set_aside_if_odd(e, &e->output, name_output(e->base), S_IFDIR);
	if (e->log)
		fd_permit_at(e->fd, name_log(e->base));
	if (e->output)
		fd_permit_at(e->fd, name_output(e->base));
}

/* Never on another name of a file outside. */
static void put_owner_back(const struct ending *e, const char *name)
{
	const struct file_ident *ident = e->f->ident;
	if ((e->file.st_uid == ident->uid && e->file.st_gid == ident->gid) || geteuid() != 0 ||
	    (S_ISREG(e->file.st_mode) && e->file.st_nlink != 1))
		return;
	if (fchownat(e->fd, name, ident->uid, ident->gid, AT_SYMLINK_NOFOLLOW) < 0)
		tree_ending_warn(e->f, "its owner could not be put back", -errno);
}

static int move_file(struct ending *e, char **ret_name)
{
	const struct tree_finish *f = e->f;
	struct tree_move m = {
		.dirfd = e->fd,
		.name = e->has_file ? e->base : e->elsewhere,
		.path = f->path,
		.id = f->id,
		.log = e->log && (f->keep_log || f->reason != NULL),
		.output = f->keep_output && (e->output || e->more),
		.voucher_suffix = e->voucher == NULL ? NULL : tree_voucher_suffix(e->voucher),
	};
	if (!e->has_file) {
		struct stat st;
		if (fstatat(e->fd, m.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		e->file = st;
	}
	put_owner_back(e, m.name);
	/* A directory carries it always: nothing else's file is put into it. */
	if (e->file.st_ino != f->ident->ino || f->ident->whole != 0)
		tree_note_job(e->t, e->fd, m.name, f->id);
	return tree_move_final(e->t, f->user, f->to, &m, ret_name);
}

static int check_place(struct tree *t, const char *user, enum place place)
{
	int fd = tree_open_place(t, user, place);
	fd_close(fd);
	return fd < 0 ? fd : 0;
}

/* *ret_name is NULL where it is nowhere; where directories are missing, that
 * is not known. */
static int find_moved(struct tree *t, const struct tree_finish *f, char **ret_name)
{
	char *name = NULL;
	int r = check_place(t, f->user, PLACE_PROCESSING);
	r = r < 0 ? r : check_place(t, f->user, f->to);
	if (r < 0)
		return r;
	r = tree_search_final(t, f->user, f->to, f->path, f->id, f->ident, &name);
	if (r < 0 && r != -ENOENT)
		return r;
	*ret_name = name;
	return 0;
}

/* A handler's own name for its upload within its output, where that is not
 * kept: no reason to remove an upload. */
static int bring_from_output(struct ending *e)
{
	struct ending inner = {.t = e->t, .f = e->f, .base = ""};
	inner.fd = openat(e->fd, name_output(e->base),
	                  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = inner.fd < 0 ? -errno : dir_walk(inner.fd, note_entry, &inner);
	if (r == 0 && inner.elsewhere != NULL)
		r = tree_rename(inner.fd, inner.elsewhere, e->fd, e->base);
	if (r == 0 && inner.elsewhere != NULL)
		e->has_file = fstatat(e->fd, e->base, &e->file, AT_SYMLINK_NOFOLLOW) == 0;
	free(inner.elsewhere);
	free(inner.voucher);
	fd_close(inner.fd);
	return r;
}

static int finish_private(struct ending *e, char **ret_name)
{
	const struct tree_finish *f = e->f;
	char *name = NULL;
	int r = dir_walk(e->fd, note_entry, e);
	if (r < 0)
		return r;
	e->more |= e->has_file && e->elsewhere != NULL;
	drop_unwanted(e);
	bool here = e->has_file || e->elsewhere != NULL;
	if (!here && e->output && !f->keep_output) {
		r = bring_from_output(e);
		here = e->has_file;
	}
	if (r == 0 && !here)
		r = find_moved(e->t, f, &name);
	if (r == 0 && f->reason != NULL)
		tree_ending_reason(e, name);
	if (r == 0 && here)
		r = move_file(e, &name);
	if (r < 0) {
		free(name);
		return r;
	}
	tree_ending_close(e, name);
	*ret_name = name;
	return 0;
}

static int finish_processing(struct tree *t, const struct tree_finish *f, char **ret_name)
{
	struct ending e = {.t = t, .f = f, .base = name_base(f->path)};
	e.fd = tree_open_to_end(t, f->user, f->id);
	if (e.fd == -ENOENT)
		return find_moved(t, f, ret_name);
	/* A crash may have come between the file and it. */
	int bring = e.fd < 0 ? 0 : tree_bring_voucher(t, f, e.fd);
	if (bring < 0)
		tree_ending_warn(f, "its marker or checksum stays in incoming", bring);
	int r = e.fd < 0 ? e.fd : finish_private(&e, ret_name);
	free(e.elsewhere);
	free(e.voucher);
	fd_close(e.fd);
	return r;
}

/* A job that was canceled before its turn. By way of its private directory, as
 * any other: what lies there is found again after a crash. */
static int finish_incoming(struct tree *t, const struct tree_finish *f, char **ret_name)
{
	int r = tree_take_in(t, f);
	return r < 0 && r != -ENOENT ? r : finish_processing(t, f, ret_name);
}

int tree_finish(struct tree *t, const struct tree_finish *f, char **ret_name)
{
	if (f->from == PLACE_INCOMING)
		return finish_incoming(t, f, ret_name);
	return finish_processing(t, f, ret_name);
}
