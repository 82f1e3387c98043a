/* A turn: everything that happened since the last one becomes one commit.
 *
 * Rooms do not write to the index: they add changes. turn_run() applies all of
 * them in one transaction, lets the scheduler add the next claims to it,
 * commits, and only then lets each change act on files, workers and clients.
 * So a commit always comes before its rename, and many cost as much as one.
 *
 * A transaction that fails is taken back whole. Changes that report a fact
 * (`keep`) wait for the next try; the others are told, and end. A change that
 * the index refuses, which it would in every try, is told and ends alone. */
#pragma once

#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

struct daemon;

struct change {
	/* Within the transaction. A negative errno means that the index failed and
	 * the turn is taken back; a change that finds that it no longer applies
	 * changes nothing and returns 0. May be called again after a failed turn. */
	int (*apply)(struct daemon *d, struct change *c);
	/* After the commit, before anybody acts on files; or NULL. What it says in
	 * turn.lines is written before these act. */
	void (*committed)(struct daemon *d, const struct change *c);
	/* After the commit (error 0), or when the change is given up. Frees `c`. */
	void (*finish)(struct daemon *d, struct change *c, int error);
	bool keep;
	struct change *prev, *next;
};

struct turn {
	struct change *changes;
	struct change *riders; /* wait for a commit that is made for another reason ... */
	uint64_t riders_ms;    /* ... until then; steady */
	uint64_t retry_ms;    /* steady; no try before, after a failure */
	int error;            /* of the last try, 0 = none */
	uint64_t commits;     /* for status */
	struct log_lines lines; /* of what was committed */
};

/* After a failed commit the next try comes this much later: room may be made,
 * a disk may come back; each try is cheap. */
enum { TURN_RETRY_MS = 1000 };
/* Changes of one transaction: it stays far from what LMDB can hold in one, and
 * takes some 20 ms. */
enum { TURN_CHANGES_MAX = 2048 };

/* News that can wait for this long do not cost a commit of their own: that a
 * job has started is told by its result as well. */
enum { TURN_RIDE_MS = 100 };

void turn_add(struct daemon *d, struct change *c);
/* A change that rides along with the next commit, or makes one after
 * TURN_RIDE_MS. It is applied before all that turn_add() brought since. */
void turn_add_rider(struct daemon *d, struct change *c);
/* Is the index failing? Then nothing new should be taken in. */
bool turn_stalled(const struct daemon *d);
void turn_run(struct daemon *d);
uint64_t turn_next(const struct daemon *d);
/* Gives up what is left, at the end. */
void turn_clear(struct daemon *d);
