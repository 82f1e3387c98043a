/* Hints: "look there". One inotify instance for all users.
 *
 * A hint proves nothing: each may be missing, doubled or stale. Whoever gets
 * one looks at the file. WATCH_OVERFLOW and WATCH_LOST mean: scan. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watch;

enum watch_kind {
	WATCH_CHANGED,   /* created, written, attributes: being worked on */
	WATCH_CLOSED,    /* a writer closed it */
	WATCH_RENAMED_IN,/* it has this name by a rename */
	WATCH_LEFT,      /* this name is gone: removed or renamed away */
	WATCH_DIRECTORY, /* a directory of this name came (created or moved in) */
	WATCH_OVERFLOW,  /* hints were lost, of anybody: scan all (no user, no name) */
	WATCH_LOST,      /* this directory is no longer watched: removed, moved, unmounted */
};

struct watch_hint {
	enum watch_kind kind;
	uint32_t user;        /* as given to watch_add(); 0 = the root, or none */
	const char *dir;      /* as given to watch_add(): "" or a path below incoming */
	const char *name;     /* base name; "" where the directory itself is meant */
};

/* -EMFILE: no inotify instance to be had. */
int watch_new(struct watch **ret);
void watch_free(struct watch *w);
int watch_fd(const struct watch *w);

/* Watches an open directory. `user` 0: the root (new users). `dir` is its
 * path below the user's incoming ("" = incoming itself). Watching it again is
 * no error. -ENOSPC: the system's limit of watches is reached. */
int watch_add(struct watch *w, int dirfd, uint32_t user, const char *dir);
/* Drops all watches of a user. */
void watch_forget(struct watch *w, uint32_t user);
size_t watch_count(const struct watch *w);

/* The next hint that is there. 1: *ret is filled, valid until the next call;
 * 0: no more now. */
int watch_next(struct watch *w, struct watch_hint *ret);
