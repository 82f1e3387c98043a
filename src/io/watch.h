/* Hints: "look there". One inotify instance for all users.
 *
 * A hint proves nothing: each may be missing, doubled or stale. Whoever gets
 * one looks at the file. WATCH_OVERFLOW and WATCH_LOST mean: scan.
 *
 * Caveats:
 * - Writing gives no hint, only the creation, the close, a rename and a change
 *   of attributes: a gigabyte in small writes would be a million wake-ups, and
 *   how long a file has been unchanged is read off its ctime when it is due.
 *   So truncate(2) of a closed file and stores into a mapping go unseen until
 *   the next look.
 * - A removed directory is only reported lost when nothing has it open any
 *   more; its parent reports WATCH_LEFT at once.
 * - A renamed directory is dropped with everything watched below it, for its
 *   path is another one now: watch it again while scanning.
 * - The kernel knows one watch per directory: where one is added under two
 *   names or for two users (bind mounts), the later one gets the hints. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watch;

enum watch_kind {
	WATCH_CHANGED,   /* created, attributes: being worked on */
	WATCH_CLOSED,    /* a writer closed it */
	WATCH_RENAMED_IN,/* it has this name by a rename */
	WATCH_LEFT,      /* this name is gone: removed or renamed away */
	WATCH_DIRECTORY, /* a directory of this name was made, or its rights changed */
	WATCH_DIRECTORY_IN, /* one has this name by a rename, with all that is in it */
	WATCH_OVERFLOW,  /* hints were lost, of anybody: scan all (no user, no name) */
	WATCH_LOST,      /* this directory is no longer watched: removed, moved, unmounted */
};

struct watch_hint {
	enum watch_kind kind;
	uint32_t user;        /* as given to watch_add(); 0 = the root, or none */
	const char *dir;      /* as given to watch_add(): "" or a path below incoming */
	const char *name;     /* base name; "" where the directory itself is meant */
};

/* -EMFILE: no inotify instance to be had. -ENOMEM. */
int watch_new(struct watch **ret);
void watch_free(struct watch *w);
int watch_fd(const struct watch *w);

/* Watches an open directory. `user` 0: the root (new users). `dir` is its
 * path below the user's incoming ("" = incoming itself). Watching it again is
 * no error. -ENOSPC: the system's limit of watches is reached; -ENOTDIR;
 * -ENAMETOOLONG: `dir` exceeds JOB_PATH_MAX; -EACCES, -ENOMEM. Needs /proc. */
int watch_add(struct watch *w, int dirfd, uint32_t user, const char *dir);
/* Drops all watches of a user. Hints of them that wait are dropped too. */
void watch_forget(struct watch *w, uint32_t user);
size_t watch_count(const struct watch *w);

/* Takes over what the kernel has to tell, so that it has room for more: some 130,000 hints wait
 * here. Hints that were told are no longer valid. 0, or a negative errno where inotify cannot be
 * read. */
int watch_gather(struct watch *w);
/* Was something gathered that was not told? No descriptor becomes readable for that. */
bool watch_waits(const struct watch *w);
/* A mark behind all that was gathered until now. */
uint64_t watch_mark(const struct watch *w);
/* Was all told that is before this mark? */
bool watch_is_past(const struct watch *w, uint64_t mark);
/* The next hint of what was gathered: *ret is filled, valid until the next call. False: no more. */
bool watch_next(struct watch *w, struct watch_hint *ret);
