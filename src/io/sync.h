/* Makes uploads durable without keeping the daemon waiting: one thread that
 * syncs files and their directories, in batches, in order. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct sync;

int sync_new(struct sync **ret);
/* Waits for the batch at work; later ones are dropped. */
void sync_free(struct sync *s);
int sync_fd(const struct sync *s); /* readable when a batch ended */

/* Queues descriptors to be synced (they are ours from now on, and closed).
 * `tag` comes back with the result. -ENOMEM: nothing was taken. */
int sync_add(struct sync *s, uint64_t tag, const int *fds, size_t n);

/* The next batch that ended: 1, with its tag and the first error (0 = all is
 * durable); 0 when there is none. */
int sync_next(struct sync *s, uint64_t *ret_tag, int *ret_error);
