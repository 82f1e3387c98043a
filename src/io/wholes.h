/* Walks over directories that are one job each, without keeping the daemon waiting:
 * one thread that goes through them in turns of WHOLES_SLICE entries, so that a large
 * one does not hold up those of others. It is started with the first one.
 *
 * A walk follows no symlink, enters no other file system, and opens nothing but
 * directories and plain files. All it needs is the descriptor of the directory.
 *
 * All functions belong to the one thread that made it; the thread behind it blocks all
 * signals. */
#pragma once

#include "core/whole.h"

struct wholes;

enum {
	WHOLES_SLICE = 512,      /* entries */
	WHOLES_DEPTH_MAX = 32,   /* directories in each other, the first one included */
	WHOLES_FILES_EACH = 64,  /* more are synced by one syncfs(), on disks where that holds */
};

struct wholes_order {
	const char *const *ignore; /* patterns of ignored names, or NULL; not kept */
	bool probe;    /* ask of each file whether somebody writes it: the walk ends at the first */
	bool sync;     /* make all of it durable: each file, then its directory; at last the one
	                  that holds it */
	bool give;     /* give it and all in it to `uid` and `gid`; nothing is refused */
	uid_t uid;
	gid_t gid;
	bool sync_all; /* the same, for many: by one syncfs() where it can be */
};

/* How a walk ended. An `error` says that nothing is known of the directory: it could
 * not be read. `unsynced`: part of it may not be on the disk. Negative errno, or 0. */
struct wholes_result {
	struct whole whole;
	int error, unsynced;
};

/* -EMFILE, -ENOMEM. */
int wholes_new(struct wholes **ret);
/* Waits for the turn at work; nothing more comes of any walk. */
void wholes_free(struct wholes *w);
int wholes_fd(const struct wholes *w); /* readable while a result waits to be taken */

/* Walks through an open directory. The descriptor is ours from now on, and closed.
 * `tag` (no two alike) comes back with the result. -ENOMEM, -EAGAIN (no thread to be
 * had): nothing was taken. */
int wholes_add(struct wholes *w, uint64_t tag, int dirfd, const struct wholes_order *order);
/* No result is wanted any more, and none comes. Nothing where there is no such. */
void wholes_cancel(struct wholes *w, uint64_t tag);
/* The next result: 1, or 0 when there is none. */
int wholes_next(struct wholes *w, uint64_t *ret_tag, struct wholes_result *ret);

/* The same for one, waited for; `dirfd` stays the caller's. */
void wholes_look(int dirfd, const struct wholes_order *order, struct wholes_result *ret);
