/* The recovery table: what the index says against where the file is. Pure. */
#pragma once

#include "core/job.h"

enum seen {            /* where the file is, as found */
	SEEN_INCOMING,     /* the same file that was accepted; for final jobs to the
	                      very ctime: not one that somebody put there again */
	SEEN_INCOMING_OTHER, /* another file of that name, or changed since */
	SEEN_PROCESSING,
	SEEN_RESULT,       /* in processing, with a worker's result beside it */
	SEEN_FINAL_DONE,
	SEEN_FINAL_FAILED,
	SEEN_NOWHERE,
	SEENS
};

enum remedy {
	REMEDY_NOTHING,
	REMEDY_JUDGE_AGAIN,   /* cancel as replaced; what is there is a new upload */
	REMEDY_WITHDRAWN,     /* cancel: the uploader took it away */
	REMEDY_INTERRUPTED,   /* it may have run: by on_crash */
	REMEDY_PARK,          /* lies in its private directory already: record the place */
	REMEDY_RECORD_DONE,   /* finished outside: record it */
	REMEDY_RECORD_FAILED,
	REMEDY_CLAIM_AGAIN,   /* between two attempts: the next claim finds it in incoming again */
	REMEDY_APPLY_RESULT,
	REMEDY_WAIT,          /* somebody holds the user's lock: it still runs */
	REMEDY_VANISHED,      /* fail: "file vanished" */
	REMEDY_MOVE_FINAL,    /* redo the final rename */
	REMEDY_MOVE_BACK,     /* redo the move out of done or failed after a retry */
	REMEDY_NEW_UPLOAD,    /* the completeness rules apply */
	REMEDY_ADOPT,         /* a file in processing nobody knows: into the line as interrupted */
	REMEDY_LEAVE,         /* not ours to touch */
	REMEDIES
};

/* For a job of the index. SEEN_RESULT counts only for a result that is not yet
 * in the index. `lock_held`: another process has the user's lock.
 * `place` is the record's (struct job). */
enum remedy reconcile_job(enum job_state state, enum place place, enum seen seen, bool lock_held);

/* For a file without a job. */
enum remedy reconcile_file(enum seen seen, bool lock_held);

const char *remedy_name(enum remedy remedy);
const char *seen_name(enum seen seen);
