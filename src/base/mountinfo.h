/* The mounts of this process, as /proc/self/mountinfo lists them: nothing is asked
 * of the file systems themselves, which may not answer. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mountinfo {
	uint64_t id;      /* given again when it is gone and nobody is in it any more */
	const char *path; /* where it is mounted */
	bool network;     /* its files are another machine's, or another process's (FUSE) */
};

/* Calls `each` for every mount; a later one may lie over an earlier one. A nonzero
 * return of `each` ends it and is returned. Errors: those of open() and read(). */
int mountinfo_each(int (*each)(void *ctx, const struct mountinfo *m), void *ctx);
/* Does this absolute path, as it is written, lie at or below that one? */
bool mountinfo_is_below(const char *path, const char *above);
/* Is it on a network mount? False also where that cannot be told. */
bool mountinfo_is_network(const char *path);
