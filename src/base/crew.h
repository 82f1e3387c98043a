/* Threads that do the pieces of one piece of work together with their caller: for many
 * small things of a kind, each of which may have to wait (for a disk), or takes a CPU.
 *
 * One piece of work at a time. Its pieces are begun in order, each by one thread, which
 * may be the caller's: crew_need() does others while the one that is needed is not done.
 * The threads block all signals: those are for the thread that owns the process.
 *
 * All functions belong to the one thread that made the crew. */
#pragma once

#include <stddef.h>

struct crew;

enum { CREW_PIECES_MAX = 64 };

/* `threads` (at least 1) beside the caller's own; fewer where no more are to be had.
 * -EAGAIN: there is none at all; -ENOMEM. */
int crew_new(unsigned threads, struct crew **ret);
/* Like crew_end(), and the threads end. NULL is nothing. */
void crew_free(struct crew *c);

/* Begins work(ctx, i) for each i below `pieces` (at most CREW_PIECES_MAX), after
 * crew_end(). No lock is held in `work`. */
void crew_begin(struct crew *c, void (*work)(void *ctx, size_t piece), void *ctx, size_t pieces);
/* Returns when piece i of what was begun last, which was not ended, is done; what it wrote
 * may be read then. */
void crew_need(struct crew *c, size_t i);
/* What is not begun is left; returns when nothing is being done. */
void crew_end(struct crew *c);
