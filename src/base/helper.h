/* A thread that does pieces of work beside the caller's own, so that nobody is kept
 * waiting for files.
 *
 * Work is done in turns, first in, first out: a piece that is not done after its turn goes
 * to the end of the line, so that a large one does not hold up the small ones. The thread
 * is started with the first piece, or by helper_start(). It blocks all signals: those are
 * for the thread that owns the process.
 *
 * Intrusive: a task is the first member of the caller's struct. What helper_add() took is
 * ours until helper_next() gives it back or helper_cancel() ends it; only `work` may write
 * to it meanwhile, and `free` gets it, in either thread, where nobody wants it any more.
 *
 * All functions belong to the one thread that made the helper. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct helper;

struct helper_task {
	struct helper_task *prev, *next;
	uint64_t tag;
	bool canceled; /* while at work */
};

struct helper_kind {
	/* One turn, in the thread, no lock held. Returns whether all is done. */
	bool (*work)(void *ctx, struct helper_task *task);
	void (*free)(struct helper_task *task);
};

/* `kind` and `ctx` stay the caller's, and must outlive the helper; `ctx` is for `work`
 * alone. -EMFILE, -ENFILE, -ENOMEM. */
int helper_new(const struct helper_kind *kind, void *ctx, struct helper **ret);
/* Waits for the turn at work, and frees all tasks: those that wait, and those whose end
 * nobody took. NULL is nothing. */
void helper_free(struct helper *h);
/* For who wants to know early that there is a thread. -EAGAIN: none is to be had. */
int helper_start(struct helper *h);
/* Readable while a task that is done waits to be taken. Told once for all that are done
 * before somebody takes them; it may be read by us alone. */
int helper_fd(const struct helper *h);

/* `tag` is how it is called from now on (no two alike, where helper_find() or
 * helper_cancel() are used). -EAGAIN: there is no thread, and the task stays the
 * caller's. */
int helper_add(struct helper *h, struct helper_task *task, uint64_t tag);
/* One that was neither taken nor canceled, or NULL. Of what `work` writes only what is
 * atomic may be read. */
struct helper_task *helper_find(struct helper *h, uint64_t tag);
/* It is freed: now, or, where it is at work, after its turn. It is not found nor given
 * back any more. Nothing where there is no such. */
void helper_cancel(struct helper *h, uint64_t tag);
/* The next one that is done, in the order in which they were: the caller's again. NULL
 * when there is none. */
struct helper_task *helper_next(struct helper *h);
