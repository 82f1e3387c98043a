/* SHA-256 of uploads, without keeping the daemon waiting: one thread that reads
 * files in turns of DIGEST_SLICE bytes, so that a large one does not hold up the
 * small ones of others. It is started with the first file.
 *
 * All functions belong to the one thread that made it; the thread behind it
 * blocks all signals. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct digest;

enum { DIGEST_SIZE = 32, DIGEST_SLICE = 8 * 1024 * 1024 };

/* -EMFILE, -ENOMEM. */
int digest_new(struct digest **ret);
/* Waits for the turn at work; nothing more comes of any file. */
void digest_free(struct digest *g);
int digest_fd(const struct digest *g); /* readable while a result waits to be taken */

/* Reads `size` bytes, or to the end where that comes first. The descriptor is
 * ours from now on, and closed. `tag` (no two alike) comes back with the
 * result. -ENOMEM, -EAGAIN (no thread to be had): nothing was taken. */
int digest_add(struct digest *g, uint64_t tag, int fd, uint64_t size);
/* No result is wanted any more, and none comes. Nothing where there is no such. */
void digest_cancel(struct digest *g, uint64_t tag);
/* Bytes read so far; 0 where there is no such. */
uint64_t digest_progress(struct digest *g, uint64_t tag);
/* The next result: 1, with its tag and 0 or the negative errno of the read;
 * 0 when there is none. */
int digest_next(struct digest *g, uint64_t *ret_tag, int *ret_error,
                uint8_t ret_sum[DIGEST_SIZE]);

/* The same for one file, waited for: from where `fd` stands to the end. */
int digest_whole(int fd, uint8_t ret_sum[DIGEST_SIZE]);
