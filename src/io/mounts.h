/* Do network mounts answer? A look at one whose server is gone waits in the kernel
 * for as long as that likes, cannot be broken off, and keeps even a process that
 * was killed. So somebody else looks first: for each mount one process that has
 * nothing else to lose asks it with statfs(), which no cache answers. One that
 * waits there is not followed by another.
 *
 * An answer counts for MOUNTS_FRESH_MS. What hangs within that time of an answer,
 * or under the very access that follows one, is not seen in time.
 *
 * Mounts are known by the list of the kernel (/proc/self/mountinfo), and paths as
 * they are written: a symbolic link that leads to a mount is not followed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mounts;

enum { MOUNTS_FRESH_MS = 100 };

/* `patience_ms`: so long a mount has to answer. -EMFILE, -ENOMEM, -ENOENT (no /proc). */
int mounts_new(uint64_t patience_ms, struct mounts **ret);
void mounts_free(struct mounts *m);
void mounts_set_patience(struct mounts *m, uint64_t patience_ms);

/* May `root`, or `user` in it (may be NULL), be looked at (absolute paths)? 0: it is
 * on no network mount, or that answers, or cannot be asked (no process to be had);
 * -ETIMEDOUT: it does not. With `wait` this takes up to what is left of patience
 * since it was asked; without, -EAGAIN says that it was asked, and is to be called
 * again soon. `mounts` may be NULL: 0. (A tree_guard.) */
int mounts_ask(void *mounts, const char *root, const char *user, bool wait);
