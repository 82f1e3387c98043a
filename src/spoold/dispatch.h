/* Dispatch: from the head of a line to a running handler, and from its result
 * back to the index. */
#pragma once

#include "base/heap.h"
#include "core/job.h"
#include "core/message.h"
#include "spoold/user.h"

#include <uthash.h>

struct daemon;

/* A job that is queued or processing under this daemon. */
struct running {
	uint64_t job;
	struct user *user;
	uint32_t attempt;
	uint64_t seq;           /* its place in the line */
	char *name;             /* base name */
	uint64_t started_ms;    /* wall, 0 = not yet */
	uint64_t started_steady_ms;
	double progress;        /* < 0: not reported */
	uint64_t records;
	char *message;
	uint64_t limit_ms;      /* of the attempt, its end included; 0 = none */
	uint64_t grace_ms;      /* from SIGTERM to SIGKILL */
	uint64_t overdue_ms;    /* steady; its worker should have told something by then */
	bool grumbled;          /* it was told that it did not */
	struct standby *standby; /* it waits for a place, with no worker (standby.h); or NULL */
	bool chained, ahead;    /* in its user's chain; it waits there (ahead.h) */
	bool recalled;          /* it was asked back */
	char *hold;             /* by whom it is to be held when it comes back from there, or NULL */
	uint64_t hold_client;   /* who waits for that */
	struct running *chain_prev, *chain_next;
	bool anew;              /* claimed while its user was, and its settings are in force still */
	bool cancel;            /* by an operator */
	char *cancel_text;      /* who */
	UT_hash_handle hh;
};

/* A final job whose file could not be moved yet (no space, I/O error). */
struct unmoved {
	uint64_t job;
	int error;
	struct heap_node retry; /* steady ms */
	UT_hash_handle hh;
};

struct dispatch {
	struct running *running;
	struct unmoved *unmoved;
	struct heap unmoved_due;
	uint32_t silent;         /* run where nothing answers, and take no place */
	uint32_t claims;        /* of this turn, not yet handed to a worker of its own */
	struct standby *standby; /* claimed, and without a place yet; the first is the next */
	uint32_t standby_n;      /* of these, with the claims of this turn */
	uint64_t ran_ms;         /* how long the last job took; UINT64_MAX: long */
};

enum {
	DISPATCH_MOVE_RETRY_MS = 5000, /* a move that failed is tried again */
	DISPATCH_CLAIM_RETRY_MS = 5000, /* so is a claim: no space, no worker */
	DISPATCH_HANDLER_RETRY_MS = 10000, /* and a handler that could not be started, then after */
	DISPATCH_HANDLER_MOST_MS = 60000,  /* twice as long, up to this: each try is written down;
	                                      at once this with --mode once, whose patience ends before */
	DISPATCH_PATIENCE_MS = 5000, /* with a worker that should have told something */
	DISPATCH_WHOLE_PATIENCE_MS = 120000, /* with one that has a directory to walk through first */
};

/* Within a turn: applies the claims that the scheduler proposes. */
int dispatch_claim_some(struct daemon *d);
/* Is there anything it would propose? (Then a turn is worth while.) */
bool dispatch_ready(struct daemon *d);

/* All that workers say. */
void dispatch_read_events(struct daemon *d);
/* Its worker is gone; `waited`: the job was never begun. Adds the change. */
void dispatch_gone(struct daemon *d, struct running *r, bool waited);
/* An attempt ended; from a worker, or from what one left behind. Adds the
 * change. `result` is copied. */
void dispatch_result(struct daemon *d, struct user *u, const struct run_result *result);

/* How many run or start; the others are queued, in a worker or for a place. */
uint32_t dispatch_running(const struct daemon *d);
struct running *dispatch_find(const struct daemon *d, uint64_t job);
/* It is about to be handed to a worker; NULL when memory is out. */
struct running *dispatch_remember(struct daemon *d, struct user *u, const struct job *job);
/* Ends a running job: 0, or -ESRCH where it does not run under this daemon. */
int dispatch_cancel(struct daemon *d, uint64_t job, const char *by);
/* Moves a final job's file where it belongs; on failure again later. */
void dispatch_move_final(struct daemon *d, struct user *u, const struct job *job);
/* Why a final job's file is not in its place: 0, or the errno. */
int dispatch_unmoved(const struct daemon *d, uint64_t job);

void dispatch_tick(struct daemon *d);
uint64_t dispatch_next(const struct daemon *d);
void dispatch_clear(struct daemon *d);
