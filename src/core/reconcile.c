#include "core/reconcile.h"

#include <assert.h>

/* Rows: what the index says. A job that waits can lie in incoming (never
 * claimed) or in its private directory (between two attempts): two rows. */
enum row { ROW_WAITS, ROW_WAITS_PARKED, ROW_QUEUED, ROW_PROCESSING, ROW_FINAL, ROW_WITHDRAWN, ROWS };

static const unsigned char table[ROWS][SEENS] = {
	[ROW_WAITS] = {
		[SEEN_INCOMING] = REMEDY_NOTHING,
		[SEEN_INCOMING_OTHER] = REMEDY_JUDGE_AGAIN,
		[SEEN_PROCESSING] = REMEDY_INTERRUPTED,
		[SEEN_RESULT] = REMEDY_APPLY_RESULT,
		[SEEN_FINAL_DONE] = REMEDY_RECORD_DONE,
		[SEEN_FINAL_FAILED] = REMEDY_RECORD_FAILED,
		[SEEN_NOWHERE] = REMEDY_WITHDRAWN,
	},
	/* Out of its uploader's reach: what is gone from there was not withdrawn. */
	[ROW_WAITS_PARKED] = {
		[SEEN_INCOMING] = REMEDY_CLAIM_AGAIN,
		[SEEN_INCOMING_OTHER] = REMEDY_VANISHED,
		[SEEN_PROCESSING] = REMEDY_NOTHING,
		[SEEN_RESULT] = REMEDY_APPLY_RESULT,
		[SEEN_FINAL_DONE] = REMEDY_MOVE_BACK,
		[SEEN_FINAL_FAILED] = REMEDY_MOVE_BACK,
		[SEEN_NOWHERE] = REMEDY_VANISHED,
	},
	/* In incoming although it may have run: a power cut undoes the rename, not
	 * the run. That its start is not in the index says nothing: that comes later. */
	[ROW_QUEUED] = {
		[SEEN_INCOMING] = REMEDY_INTERRUPTED,
		[SEEN_INCOMING_OTHER] = REMEDY_JUDGE_AGAIN,
		[SEEN_PROCESSING] = REMEDY_INTERRUPTED,
		[SEEN_RESULT] = REMEDY_APPLY_RESULT,
		[SEEN_FINAL_DONE] = REMEDY_RECORD_DONE,
		[SEEN_FINAL_FAILED] = REMEDY_RECORD_FAILED,
		[SEEN_NOWHERE] = REMEDY_VANISHED,
	},
	[ROW_PROCESSING] = {
		[SEEN_INCOMING] = REMEDY_INTERRUPTED,
		[SEEN_INCOMING_OTHER] = REMEDY_VANISHED,
		[SEEN_PROCESSING] = REMEDY_INTERRUPTED,
		[SEEN_RESULT] = REMEDY_APPLY_RESULT,
		[SEEN_FINAL_DONE] = REMEDY_RECORD_DONE,
		[SEEN_FINAL_FAILED] = REMEDY_RECORD_FAILED,
		[SEEN_NOWHERE] = REMEDY_VANISHED,
	},
	[ROW_FINAL] = {
		[SEEN_INCOMING] = REMEDY_MOVE_FINAL,
		[SEEN_INCOMING_OTHER] = REMEDY_NEW_UPLOAD,
		[SEEN_PROCESSING] = REMEDY_MOVE_FINAL,
		[SEEN_RESULT] = REMEDY_MOVE_FINAL,
		[SEEN_FINAL_DONE] = REMEDY_NOTHING,
		[SEEN_FINAL_FAILED] = REMEDY_NOTHING,
		[SEEN_NOWHERE] = REMEDY_NOTHING,
	},
	/* Canceled because the uploader took it away. */
	[ROW_WITHDRAWN] = {
		[SEEN_INCOMING] = REMEDY_NEW_UPLOAD,
		[SEEN_INCOMING_OTHER] = REMEDY_NEW_UPLOAD,
		[SEEN_PROCESSING] = REMEDY_MOVE_FINAL,
		[SEEN_RESULT] = REMEDY_MOVE_FINAL,
		[SEEN_FINAL_DONE] = REMEDY_NOTHING,
		[SEEN_FINAL_FAILED] = REMEDY_NOTHING,
		[SEEN_NOWHERE] = REMEDY_NOTHING,
	},
};

static enum row row_of(enum job_state state, enum place place)
{
	switch (state) {
	case JOB_PENDING:
	case JOB_HELD: return place == PLACE_PROCESSING ? ROW_WAITS_PARKED : ROW_WAITS;
	case JOB_QUEUED: return ROW_QUEUED;
	case JOB_PROCESSING: return ROW_PROCESSING;
	case JOB_DONE:
	case JOB_FAILED: return ROW_FINAL;
	case JOB_CANCELED: return place == PLACE_NOWHERE ? ROW_WITHDRAWN : ROW_FINAL;
	case JOB_STATES: break;
	}
	assert(!"a job has a state");
	return ROW_FINAL;
}

/* Whoever holds the lock may be about to change this file. */
static bool lock_matters(enum remedy remedy)
{
	return remedy == REMEDY_INTERRUPTED || remedy == REMEDY_CLAIM_AGAIN ||
	       remedy == REMEDY_MOVE_FINAL || remedy == REMEDY_MOVE_BACK ||
	       remedy == REMEDY_ADOPT;
}

enum remedy reconcile_job(enum job_state state, enum place place, enum seen seen, bool lock_held)
{
	assert(seen < SEENS);
	enum remedy remedy = (enum remedy)table[row_of(state, place)][seen];
	/* A held job does not come back into the line by a crash. */
	if (state == JOB_HELD && remedy == REMEDY_INTERRUPTED)
		remedy = REMEDY_PARK;
	/* It may be what the lock's holder runs: then only a result ends it. */
	bool may_run = job_state_is_active(state) && remedy != REMEDY_APPLY_RESULT;
	return lock_held && (may_run || lock_matters(remedy)) ? REMEDY_WAIT : remedy;
}

enum remedy reconcile_file(enum seen seen, bool lock_held)
{
	static const unsigned char remedies[SEENS] = {
		[SEEN_INCOMING] = REMEDY_NEW_UPLOAD,
		[SEEN_INCOMING_OTHER] = REMEDY_NEW_UPLOAD,
		[SEEN_PROCESSING] = REMEDY_ADOPT,
		[SEEN_RESULT] = REMEDY_APPLY_RESULT,
		[SEEN_FINAL_DONE] = REMEDY_LEAVE,
		[SEEN_FINAL_FAILED] = REMEDY_LEAVE,
		[SEEN_NOWHERE] = REMEDY_NOTHING,
	};
	assert(seen < SEENS);
	enum remedy remedy = (enum remedy)remedies[seen];
	return lock_held && lock_matters(remedy) ? REMEDY_WAIT : remedy;
}

const char *remedy_name(enum remedy remedy)
{
	static const char *const names[REMEDIES] = {
		[REMEDY_NOTHING] = "nothing to do",
		[REMEDY_JUDGE_AGAIN] = "replaced: judged as a new upload",
		[REMEDY_WITHDRAWN] = "withdrawn",
		[REMEDY_INTERRUPTED] = "interrupted",
		[REMEDY_PARK] = "place recorded",
		[REMEDY_RECORD_DONE] = "recorded as done",
		[REMEDY_RECORD_FAILED] = "recorded as failed",
		[REMEDY_CLAIM_AGAIN] = "to be claimed again",
		[REMEDY_APPLY_RESULT] = "result of its worker taken over",
		[REMEDY_WAIT] = "still running",
		[REMEDY_VANISHED] = "file vanished",
		[REMEDY_MOVE_FINAL] = "moved to its final place",
		[REMEDY_MOVE_BACK] = "taken back for its retry",
		[REMEDY_NEW_UPLOAD] = "new upload",
		[REMEDY_ADOPT] = "adopted",
		[REMEDY_LEAVE] = "left alone",
	};
	return names[remedy];
}

const char *seen_name(enum seen seen)
{
	static const char *const names[SEENS] = {
		[SEEN_INCOMING] = "in incoming",
		[SEEN_INCOMING_OTHER] = "in incoming, changed",
		[SEEN_PROCESSING] = "in processing",
		[SEEN_RESULT] = "in processing, with a result",
		[SEEN_FINAL_DONE] = "in done",
		[SEEN_FINAL_FAILED] = "in failed",
		[SEEN_NOWHERE] = "nowhere",
	};
	return names[seen];
}
