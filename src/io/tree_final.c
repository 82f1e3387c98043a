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

/* A private directory that ends. */
struct ending {
	struct tree *t;
	const struct tree_finish *f;
	const char *base;
	int fd;
	struct stat file;
	bool has_file;    /* under its own name; a directory is none, but where it is the job */
	char *elsewhere;  /* the upload under a name that its handler gave it, or NULL */
	bool log, output, result;
	char *voucher;    /* its name here, or NULL */
	bool more;        /* what the handler left in its working directory */
	bool litter;      /* of ours, of no use any more */
	bool spare_output; /* empty, left for the next job; `output` is false */
	bool stuck;       /* something could not be kept: nothing is removed */
};

static void warn(const struct tree_finish *f, const char *what, int error)
{
	char *shown = escape_str(f->path);
	log_warning("user %s: job %" PRIu64 " (%s): %s: %s", f->user, f->id,
	            shown == NULL ? "?" : shown, what, strerror(-error));
	free(shown);
}

int tree_walk(int dirfd, int (*each)(void *ctx, const char *name, uint64_t ino), void *ctx)
{
	char buffer[4096] __attribute__((aligned(__alignof__(struct dirent64))));
	if (lseek(dirfd, 0, SEEK_SET) < 0)
		return -errno;
	for (;;) {
		ssize_t n = getdents64(dirfd, buffer, sizeof buffer);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *e = (const void *)(buffer + at);
			bool dots = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
			int r = dots ? 0 : each(ctx, e->d_name, e->d_ino);
			if (r != 0)
				return r;
			at += e->d_reclen;
		}
	}
}

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

/* Moves an entry to the first free name in `to`; another one than its own. */
static int move_aside(int from, const char *name, int to, uint64_t id)
{
	int r = -EEXIST;
	/* A directory that moves is written to: its way up changes. */
	fd_permit_at(from, name);
	for (unsigned n = from == to ? 1 : 0; n < 100 && r == -EEXIST; n++) {
		char *free_name = name_candidate(name, id, n);
		r = free_name == NULL ? -ENOMEM : tree_rename(from, name, to, free_name);
		free(free_name);
	}
	return r;
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
	int r = move_aside(e->fd, name, e->fd, e->f->id);
	if (r < 0)
		warn(e->f, "what its handler made of its log or output could not be set aside", r);
	else
		*there = false;
	e->more = true;
}

/* The path whose neighbours the log and the output become. An upload that its
 * handler removed leaves its name to others. */
static char *name_of_rest(const struct ending *e, const char *final)
{
	return final != NULL ? strdup(final) : name_with_id(e->f->path, e->f->id);
}

static bool is_reason_kept(const struct ending *e, const char *final)
{
	const char *base;
	char *rest = name_of_rest(e, final);
	char *log = rest == NULL ? NULL : tree_beside(rest, ".log");
	int placefd = tree_open_place(e->t, e->f->user, e->f->to);
	int dirfd = placefd < 0 || log == NULL ? -1 : tree_open_parent(placefd, log, 0, &base);
	bool kept = dirfd >= 0 && tree_is_our_log(dirfd, base) &&
	            tree_has_reason(dirfd, base, e->f->reason);
	fd_close(dirfd);
	fd_close(placefd);
	free(log);
	free(rest);
	return kept;
}

/* `final` is where the file was moved to by an earlier call. */
static void write_reason(struct ending *e, const char *final)
{
	const char *log = name_log(e->base);
	if (!e->has_file && e->elsewhere == NULL && !e->log && is_reason_kept(e, final))
		return;
	/* A reason that an earlier call wrote is behind no other log. */
	if (!e->f->keep_log && e->log && !tree_has_reason(e->fd, log, e->f->reason) &&
	    unlinkat(e->fd, log, 0) == 0)
		e->log = false;
	int r = tree_write_reason(e->fd, log, e->f->reason, e->f->ident->gid);
	if (r < 0)
		warn(e->f, "the reason could not be written beside it", r);
	else
		e->log = true;
}

/* Removes what is not kept, as far as it is known without a second look. */
static void drop_unwanted(struct ending *e)
{
	bool want_log = e->f->keep_log || e->f->reason != NULL;
	if (e->log && !want_log && unlinkat(e->fd, name_log(e->base), 0) == 0)
		e->log = false;
	set_aside_if_odd(e, &e->log, name_log(e->base), S_IFREG);
	e->spare_output = e->output && e->f->hand_on &&
	                  tree_is_spare_output(e->fd, name_output(e->base));
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
		warn(e->f, "its owner could not be put back", -errno);
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

/* Puts one of our own things beside the final file: <final><suffix>. */
static int keep_beside(const struct ending *e, const char *name, const char *final,
                       const char *suffix)
{
	char *kept = NULL, *beside = tree_beside(final, suffix);
	int r = beside == NULL ? -ENOMEM
	                       : tree_rename_final(e->t, e->f->user, e->f->to, e->fd, name, beside,
	                                           e->f->id, &kept);
	free(beside);
	free(kept);
	return r;
}

static void keep_log(struct ending *e, const char *final)
{
	const char *log = name_log(e->base);
	int r = tree_mark_log(e->fd, log, e->f->ident->gid);
	if (r < 0)
		warn(e->f, "its log could not be marked", r);
	r = keep_beside(e, log, final, ".log");
	e->stuck |= r < 0;
	if (r < 0)
		warn(e->f, "its log could not be kept", r);
}

struct gathering {
	const struct ending *e;
	int to;
	int error;
};

static int gather_entry(void *ctx, const char *name, uint64_t ino)
{
	struct gathering *g = ctx;
	(void)ino;
	if (tree_is_ours(name, g->e->base))
		return 0;
	int r = move_aside(g->e->fd, name, g->to, g->e->f->id);
	if (r < 0 && g->error == 0)
		g->error = r;
	return 0;
}

struct looking {
	const struct ending *e;
	bool found;
};

static int look_for_more(void *ctx, const char *name, uint64_t ino)
{
	struct looking *l = ctx;
	(void)ino;
	l->found |= !tree_is_ours(name, l->e->base);
	return l->found;
}

/* What the handler wrote into its working directory joins its output. */
static int gather(struct ending *e)
{
	const char *output = name_output(e->base);
	struct looking l = {.e = e};
	struct gathering g = {.e = e};
	int r = tree_walk(e->fd, look_for_more, &l);
	if (r < 0 || !l.found)
		return r;
	if (mkdirat(e->fd, output, 0700) < 0 && errno != EEXIST)
		return -errno;
	e->output = true;
	g.to = openat(e->fd, output, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = g.to < 0 ? -errno : tree_walk(e->fd, gather_entry, &g);
	fd_close(g.to);
	return r < 0 ? r : g.error;
}

static void keep_output(struct ending *e, const char *final)
{
	const char *output = name_output(e->base);
	int r = e->more ? gather(e) : 0;
	if (r < 0) {
		warn(e->f, "what its handler wrote could not be gathered", r);
		e->stuck = true;
	}
	if (!e->output)
		return;
	r = tree_mark_output(e->fd, output, e->f->ident->gid);
	if (r == 0)
		r = keep_beside(e, output, final, ".output");
	if (r < 0) {
		warn(e->f, "its output could not be kept beside it", r);
		e->stuck = true;
	}
}

static void keep_voucher(struct ending *e, const char *final)
{
	int r = keep_beside(e, e->voucher, final, tree_voucher_suffix(e->voucher));
	e->stuck |= r < 0;
	if (r < 0)
		warn(e->f, "its marker or checksum could not be kept beside it", r);
}

static int sweep_entry(void *ctx, const char *name, uint64_t ino)
{
	const struct ending *e = ctx;
	struct stat st;
	(void)ino;
	if (tree_voucher_suffix(name) != NULL)
		return 0;
	/* With what is kept gone, a stranger is not ours to remove. */
	if (e->f->keep_output && !tree_is_ours(name, e->base))
		return 0;
	if (strcmp(name, e->base) == 0 && fstatat(e->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    tree_fits(e->f->ident, S_ISDIR(st.st_mode)))
		return 0; /* never the uploader's file */
	int r = tree_remove(e->fd, name);
	if (r < 0)
		warn(e->f, "what its handler wrote could not be removed", r);
	return 0;
}

static int drop_private(const struct ending *e)
{
	char name[32];
	int fd = tree_borrow_place(e->t, e->f->user, PLACE_PROCESSING);
	if (fd < 0)
		return fd;
	snprintf(name, sizeof name, "%" PRIu64, e->f->id);
	int r = unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
	tree_return_place(e->t, e->f->user, fd);
	return r;
}

/* Nothing is left in it, and it may serve the next job. */
static bool is_spared(const struct ending *e, bool want_log)
{
	bool empty = !e->more && !e->litter && !e->output && (!e->log || want_log) && !e->stuck;
	return empty && e->spare_output && tree_keep_spare(e->t, e->f->user, e->f->id, e->fd);
}

static void drop_spare_output(struct ending *e)
{
	tree_unspare(e->t, e->f->user, e->f->id);
	if (e->spare_output)
		unlinkat(e->fd, name_output(e->base), AT_REMOVEDIR);
	e->spare_output = false;
}

/* Must the index be told? Until it was, the private directory stays: it is what
 * a start after a crash finds. */
static bool is_news(const struct ending *e, const char *final)
{
	const char *known = e->f->known;
	return known != NULL && (final == NULL || strcmp(final, known) != 0);
}

/* What is kept goes beside the final file, the rest is ours and goes away. */
static void end_private(struct ending *e, const char *final)
{
	bool want_log = e->log && (e->f->keep_log || e->f->reason != NULL);
	bool want_output = e->f->keep_output && (e->output || e->more);
	bool want_any = want_log || want_output || e->voucher != NULL;
	char *rest = want_any ? name_of_rest(e, final) : NULL;
	if (e->voucher != NULL && rest != NULL)
		keep_voucher(e, rest);
	if (want_log && rest != NULL)
		keep_log(e, rest);
	if (want_output && rest != NULL)
		keep_output(e, rest);
	if (want_any && rest == NULL)
		e->stuck = true;
	free(rest);
	if (e->result && !e->stuck && unlinkat(e->fd, NAME_RESULT, 0) < 0)
		e->litter = true;
	if (!is_news(e, final) && is_spared(e, want_log))
		return;
	drop_spare_output(e);
	if (!e->stuck && is_news(e, final)) {
		tree_walk(e->fd, sweep_entry, e);
		return;
	}
	int r = e->stuck ? -ENOTEMPTY : drop_private(e);
	if ((r == -ENOTEMPTY || r == -EEXIST) && !e->stuck) {
		tree_walk(e->fd, sweep_entry, e);
		r = drop_private(e);
	}
	if (r < 0)
		warn(e->f, "its private directory stays", r);
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
	int r = inner.fd < 0 ? -errno : tree_walk(inner.fd, note_entry, &inner);
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
	int r = tree_walk(e->fd, note_entry, e);
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
		write_reason(e, name);
	if (r == 0 && here)
		r = move_file(e, &name);
	if (r < 0) {
		free(name);
		return r;
	}
	end_private(e, name);
	*ret_name = name;
	return 0;
}

static int finish_processing(struct tree *t, const struct tree_finish *f, char **ret_name)
{
	struct ending e = {.t = t, .f = f, .base = name_base(f->path)};
	e.fd = tree_open_private(t, f->user, f->id);
	if (e.fd == -ENOENT)
		return find_moved(t, f, ret_name);
	/* A crash may have come between the file and it. */
	int bring = e.fd < 0 ? 0 : tree_bring_voucher(t, f, e.fd);
	if (bring < 0)
		warn(f, "its marker or checksum stays in incoming", bring);
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
