/* Numbers of jobs are given once in the life of a spool, whatever becomes of its
 * index: a private directory, a result or a log of an earlier job never bears the
 * number of a later one, and an operator's note means the same job for ever.
 *
 * The spool itself keeps a number that none has reached yet; it is raised, on the
 * disk, before the index gets there. An index that does not know what was given
 * (it is new; or a power cut may have taken its last commits) goes on from it. */
#pragma once

#include <stdint.h>

struct daemon;

struct numbers {
	uint64_t below;    /* what the spool keeps; 0 until it could be written */
	uint64_t last;     /* the largest one that this daemon gave */
	uint64_t retry_ms; /* steady; where it could not be written */
};

enum {
	NUMBERS_AHEAD = 4096,     /* at least so many are left for a turn: two for each change */
	NUMBERS_RETRY_MS = 1000,
};

/* Before the first turn. A negative errno where index or spool cannot be read. */
int numbers_start(struct daemon *d);
/* Raises what the spool keeps, when that is due. */
void numbers_tick(struct daemon *d);
uint64_t numbers_next(const struct daemon *d);
/* After an orderly end, when all commits are durable: the next start goes on
 * from there without a gap. */
void numbers_end(struct daemon *d);

/* This one was given before, by whatever index. */
void numbers_met(struct daemon *d, uint64_t id);
/* A number for a new job, within a transaction. -ENOSPC: the spool could not keep
 * that it is given. */
int numbers_new(struct daemon *d, uint64_t *ret_id);
