/* Makes uploads durable without keeping the daemon waiting: one thread that
 * syncs files and their directories, in batches, in order.
 *
 * Within a batch files come before directories, and each inode is synced once,
 * however often it was queued. Where a batch has more than SYNC_FILES_EACH
 * files on a local disk, one syncfs() takes the place of their fsync()s: it
 * also writes what others have written there, but many small files become
 * durable in one journal commit instead of one each. Each file is still asked
 * for its own write errors.
 *
 * All functions belong to the one thread that made it; the worker thread
 * behind it blocks all signals. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct sync;

enum { SYNC_FILES_EACH = 64 };

/* -EMFILE, -ENOMEM, -EAGAIN: no descriptor, memory or thread to be had. */
int sync_new(struct sync **ret);
/* Waits for the batch at work; later ones are dropped. */
void sync_free(struct sync *s);
int sync_fd(const struct sync *s); /* readable while a batch that ended waits to be taken */

/* Queues descriptors to be synced (they are ours from now on, and closed).
 * `tag` comes back with the result. -ENOMEM: nothing was taken. Descriptors
 * opened with O_PATH, pipes and sockets cannot be synced: an error of the
 * batch. A batch of no descriptors ends at once. `errors` (n of them, or NULL)
 * belongs to us until the batch was taken or the sync is freed: it gets 0 or
 * the error of each descriptor. */
int sync_add(struct sync *s, uint64_t tag, const int *fds, size_t n, int *errors);

/* The next batch that ended: 1, with its tag and the first error (0 = all is
 * durable, else a negative errno: at least one file may not be); 0 when there
 * is none. An error does not keep the rest of its batch from being synced. */
int sync_next(struct sync *s, uint64_t *ret_tag, int *ret_error);
