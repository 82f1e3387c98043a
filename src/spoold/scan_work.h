/* The scan of one user, step by step: a walk through its incoming, what was found
 * fed to intake, then the look for jobs whose file is gone. */
#pragma once

#include "core/found.h"
#include "spoold/user.h"

#include <stddef.h>

struct daemon;
struct tree_scan;

/* SCAN_MORE: it ended, but another walk finds the rest. */
enum scan_phase { SCAN_IDLE, SCAN_WALK, SCAN_FEED, SCAN_WITHDRAWN, SCAN_MORE };

/* A scan at work on one user. */
struct scan_work {
	struct user *user;
	enum scan_phase phase;
	struct tree_scan *walk;
	struct found found;
	size_t fed;             /* of these */
	uint64_t seen;          /* entries of this walk */
	int64_t tick_ns;        /* found with such a ctime, or a later one: perhaps changed during the walk */
	uint64_t hints;         /* a mark behind those that tell of that; see hints.h */
	bool ordered;           /* those of the same moment are in the order of their events */
	bool kept;              /* found by an earlier walk: see scan_kept.h */
	bool more;              /* not all was kept, or fed: walk again */
	bool unsorted;          /* the user was, when it began */
	bool no_jobs;           /* the user had none when the walk began: nothing to look up */
	bool unclear;           /* what was found could not be compared with the index */
	unsigned tidied;        /* empty directories that this walk removed */
	uint64_t known;         /* files that are jobs in place */
	uint64_t after_seq;     /* SCAN_WITHDRAWN: how far in the line */
	size_t feeding;         /* entries of this scan that are not accepted yet */
	uint64_t again_ms;      /* steady; no slice before that */
};

void scan_work_begin(struct daemon *d, struct scan_work *w, struct user *u);
/* One step, of at most that many entries, or with `feed` on their way at a time.
 * Returns what it took; 0: it waits for intake. */
int scan_work_step(struct daemon *d, struct scan_work *w, int budget, size_t feed);
/* What was found but not fed is left for later: some of it is kept, the rest found by another
 * walk. */
void scan_work_leave_rest(struct daemon *d, struct scan_work *w);
/* Ends it, wherever it is; nothing of it is on its way. */
void scan_work_break_off(struct scan_work *w);
void scan_work_clear(struct scan_work *w);
