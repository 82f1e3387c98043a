/* What else lies in the private directory of a job that ends: its log, its output, its
 * marker or checksum go beside the final file, or away. */
#include "io/tree_ending.h"

#include "base/dir.h"
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
#include <unistd.h>

void tree_ending_warn(const struct tree_finish *f, const char *what, int error)
{
	char *shown = escape_str(f->path);
	log_warning("user %s: job %" PRIu64 " (%s): %s: %s", f->user, f->id,
	            shown == NULL ? "?" : shown, what, strerror(-error));
	free(shown);
}

int tree_move_aside(int from, const char *name, int to, uint64_t id)
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

static gid_t readers(const struct ending *e)
{
	return tree_readers(e->t, e->f->user, e->f->to, e->f->ident);
}

void tree_ending_reason(struct ending *e, const char *final)
{
	const char *log = name_log(e->base);
	if (!e->has_file && e->elsewhere == NULL && !e->log && is_reason_kept(e, final))
		return;
	/* A reason that an earlier call wrote is behind no other log. */
	if (!e->f->keep_log && e->log && !tree_has_reason(e->fd, log, e->f->reason) &&
	    unlinkat(e->fd, log, 0) == 0)
		e->log = false;
	int r = tree_write_reason(e->fd, log, e->f->reason, readers(e));
	if (r < 0)
		tree_ending_warn(e->f, "the reason could not be written beside it", r);
	else
		e->log = true;
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
	int r = tree_mark_log(e->fd, log, readers(e));
	if (r < 0)
		tree_ending_warn(e->f, "its log could not be marked", r);
	r = keep_beside(e, log, final, ".log");
	e->stuck |= r < 0;
	if (r < 0)
		tree_ending_warn(e->f, "its log could not be kept", r);
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
	int r = tree_move_aside(g->e->fd, name, g->to, g->e->f->id);
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
	int r = dir_walk(e->fd, look_for_more, &l);
	if (r < 0 || !l.found)
		return r;
	if (mkdirat(e->fd, output, 0700) < 0 && errno != EEXIST)
		return -errno;
	e->output = true;
	g.to = openat(e->fd, output, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = g.to < 0 ? -errno : dir_walk(e->fd, gather_entry, &g);
	fd_close(g.to);
	return r < 0 ? r : g.error;
}

static void keep_output(struct ending *e, const char *final)
{
	const char *output = name_output(e->base);
	int r = e->more ? gather(e) : 0;
	if (r < 0) {
		tree_ending_warn(e->f, "what its handler wrote could not be gathered", r);
		e->stuck = true;
	}
	if (!e->output)
		return;
	r = tree_mark_output(e->fd, output, readers(e));
	if (r == 0)
		r = keep_beside(e, output, final, ".output");
	if (r < 0) {
		tree_ending_warn(e->f, "its output could not be kept beside it", r);
		e->stuck = true;
	}
}

static void keep_voucher(struct ending *e, const char *final)
{
	int r = keep_beside(e, e->voucher, final, tree_voucher_suffix(e->voucher));
	e->stuck |= r < 0;
	if (r < 0)
		tree_ending_warn(e->f, "its marker or checksum could not be kept beside it", r);
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
		tree_ending_warn(e->f, "what its handler wrote could not be removed", r);
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
static bool is_spared(struct ending *e, bool want_log)
{
	bool empty = !e->more && !e->litter && !e->output && (!e->log || want_log) && !e->stuck;
	return empty && e->spare_output && tree_keep_spare(e->t, e->f->user, e->f->id, &e->fd);
}

/* A stream handler that answered first and wrote then may have put something into it. */
static void drop_spare_output(struct ending *e, const char *final)
{
	tree_unspare(e->t, e->f->user, e->f->id);
	bool late = e->spare_output && unlinkat(e->fd, name_output(e->base), AT_REMOVEDIR) < 0 &&
	            (errno == ENOTEMPTY || errno == EEXIST);
	e->spare_output = false;
	if (!late || !e->f->keep_output)
		return;
	char *rest = name_of_rest(e, final);
	e->output = true;
	if (rest != NULL)
		keep_output(e, rest);
	e->stuck |= rest == NULL;
	free(rest);
}

/* Must the index be told? Until it was, the private directory stays: it is what
 * a start after a crash finds. */
static bool is_news(const struct ending *e, const char *final)
{
	const char *known = e->f->known;
	return known != NULL && (final == NULL || strcmp(final, known) != 0);
}

void tree_ending_close(struct ending *e, const char *final)
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
	drop_spare_output(e, final);
	if (!e->stuck && is_news(e, final)) {
		dir_walk(e->fd, sweep_entry, e);
		return;
	}
	int r = e->stuck ? -ENOTEMPTY : drop_private(e);
	if ((r == -ENOTEMPTY || r == -EEXIST) && !e->stuck) {
		dir_walk(e->fd, sweep_entry, e);
		r = drop_private(e);
	}
	if (r < 0)
		tree_ending_warn(e->f, "its private directory stays", r);
}
