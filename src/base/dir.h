/* What lies in a directory, by its descriptor. All return a negative errno. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Walks a directory (O_RDONLY) in one go, from its beginning, whatever `each` does to it.
 * "." and ".." are left out. A nonzero return of `each` ends the walk and is returned. */
int dir_walk(int dirfd, int (*each)(void *ctx, const char *name, uint64_t ino), void *ctx);

/* 1: nothing is in it; 0: something is. */
int dir_is_empty(int dirfd);

/* Is that a directory as this process's mkdirat(..., 0700) makes it: its owner, and closed
 * to others? */
bool dir_is_as_made(const struct stat *st);

/* Is the directory `name` in `dirfd` both? Links are not followed. *ret is what it was just
 * before that was asked (where it is). */
bool dir_is_unused(int dirfd, const char *name, struct stat *ret);
