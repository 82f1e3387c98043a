/* A job: a complete upload with a place in its user's line; and the one table
 * of what may happen to it.
 *
 * Events update states; what has to be done about it (renames, kills) is the
 * business of the caller and never changes a state by itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum job_state {
	JOB_PENDING,    /* waits for its turn, or for not_before_ms */
	JOB_HELD,       /* set aside by an operator; keeps its place */
	JOB_QUEUED,     /* claimed for a worker, not yet running */
	JOB_PROCESSING, /* its handler runs */
	JOB_DONE,
	JOB_FAILED,
	JOB_CANCELED,
	JOB_STATES
};

enum job_event {
	JOB_EV_CLAIM,       /* a worker is free for it */
	JOB_EV_STARTED,     /* its handler runs */
	JOB_EV_SUCCEEDED,   /* exit 0 */
	JOB_EV_RETRY,       /* an attempt failed, another is allowed */
	JOB_EV_FAIL,        /* an attempt failed for good */
	JOB_EV_INTERRUPTED, /* no result: crash or shutdown; the job is to be repeated */
	JOB_EV_HOLD,
	JOB_EV_RELEASE,
	JOB_EV_CANCEL,      /* by an operator; after the kill where it was running */
	JOB_EV_GONE,        /* the uploader took the file away or replaced it */
	JOB_EV_REQUEUE,     /* operator's retry of a final job: a new place at the end */
	JOB_EVENTS
};

/* The four directories (and none of them). */
enum place {
	PLACE_NOWHERE,
	PLACE_INCOMING,
	PLACE_PROCESSING,
	PLACE_DONE,
	PLACE_FAILED,
	PLACES
};

enum { WHOLE_UNKNOWN = 1 };

/* Which file: the same upload has the same identity. */
struct file_ident {
	uint64_t dev;      /* as it was numbered at the time; not compared */
	uint64_t ino;
	uint64_t size;     /* bytes */
	int64_t ctime_ns;  /* the kernel's; never trust mtime for age */
	int64_t mtime_ns;  /* only to tell a change of content from one of mode or owner */
	uint32_t uid;      /* owner at acceptance, put back at the end */
	uint32_t gid;
	uint64_t whole;    /* of a directory that is one job: a digest of all in it, see whole.h; its
	                      size is that of all files then, the rest its own. 0: a plain file;
	                      WHOLE_UNKNOWN: it was found, and what was accepted is not known */
};

enum outcome {
	OUTCOME_NONE,        /* still running */
	OUTCOME_SUCCEEDED,
	OUTCOME_FAILED,      /* exit code, signal, or its file is none to start a handler for */
	OUTCOME_TIMED_OUT,
	OUTCOME_INTERRUPTED, /* worker or daemon ended before a result was known */
	OUTCOME_CANCELED,
	OUTCOMES
};

/* Value of exit_code where there is none. */
enum { EXIT_CODE_NONE = -1 };
/* Value of `records` where the handler reported none. */
#define RECORDS_NONE UINT64_MAX

enum {
	JOB_PATH_MAX = 4095,   /* bytes, relative to incoming */
	JOB_TEXT_MAX = 1000,   /* bytes of an error or message */
	JOB_MAX_INTERRUPTIONS = 10, /* a job that takes its worker down each time must not block its line for ever */
};

/* Strings are owned by the job; job_clear() frees them. Times are wall clock
 * milliseconds, 0 = not yet. */
struct job {
	uint64_t id;          /* 1 and up, never reused */
	uint32_t user;        /* the index's number for the user */
	enum job_state state;
	enum place place;     /* where the last commit wants the file to be */
	uint64_t seq;         /* place in the line; grows with each arrival */
	char *path;           /* relative to incoming: "report.csv", "2026/report.csv" */
	char *final_name;     /* path below done or failed where it differs from `path`, or NULL */
	struct file_ident ident;
	uint64_t arrived_ms;  /* first seen */
	uint64_t accepted_ms;
	uint64_t claimed_ms;  /* of the last attempt, like the next; 0 also since one came to nothing */
	uint64_t started_ms;
	uint64_t finished_ms; /* when it became final */
	uint64_t not_before_ms; /* a retry waits until then; 0 = at once */
	bool yields;          /* while it waits for that, others go ahead (retry_position "back") */
	uint64_t spent_ms;    /* run time of all ended attempts */
	uint32_t attempt;     /* number of the last attempt started, 0 = none */
	bool retaken;         /* queued, ended: it was in incoming once more, after an attempt
	                         before, so no handler saw it as it is unless a worker got it since */
	uint32_t failures;    /* attempts that failed: what max_retries counts */
	uint32_t interruptions;
	int32_t exit_code;    /* of the last attempt; EXIT_CODE_NONE; 128+N for signal N */
	uint64_t records;     /* of the last attempt, or RECORDS_NONE */
	char *error;          /* why it failed or was canceled, or NULL */
	struct file_ident voucher; /* the marker or checksum that said it is complete; ino 0: none */
	char *voucher_suffix; /* its name is `path` plus this, and it goes where the file goes;
	                         NULL: a list for others, too, which stays */
};

/* One run of the handler. */
struct attempt {
	uint32_t number;      /* 1 and up */
	uint64_t claimed_ms;
	uint64_t started_ms;
	uint64_t finished_ms;
	enum outcome outcome;
	int32_t exit_code;
	uint64_t records;
	char *error;          /* or NULL */
	char *message;        /* the handler's last message, or NULL */
};

/* The state that follows, or -1 where the table says the event cannot happen. */
int job_next_state(enum job_state state, enum job_event event);

/* Applies an event to job->state. An impossible one is a bug in the caller
 * and aborts: ask job_next_state() first where the event comes from outside. */
void job_step(struct job *job, enum job_event event);

bool job_state_is_final(enum job_state state);
bool job_state_is_active(enum job_state state); /* queued or processing */

/* "pending", "processing" ...: the words of the contract. */
const char *job_state_name(enum job_state state);
const char *job_event_name(enum job_event event);
const char *outcome_name(enum outcome outcome);
const char *place_name(enum place place);
/* Parses a state's name; false where there is no such state. */
bool job_state_parse(const char *name, enum job_state *ret);

/* What stands behind "held" where the line of a user is, of its reason: ": printer is out of
 * paper", " by alice: until noon", or "". Two parts, the first of them static. */
struct held_why {
	const char *sign, *text;
};
struct held_why held_why(const char *reason);

/* The directory in which a job of this state that is at rest belongs. */
enum place job_final_place(enum job_state state);

/* Does it wait since it could not be started, which counts as no attempt? */
bool job_is_unready(const struct job *job);

void job_clear(struct job *job);
/* Deep copy; -ENOMEM. `ret` is cleared on failure. */
int job_copy(const struct job *job, struct job *ret);
/* Replaces an owned string by a copy cut to JOB_TEXT_MAX; -ENOMEM. NULL unsets. */
int job_set_text(char **field, const char *text);

void attempt_clear(struct attempt *attempt);

/* Same content at the same place in the file system? A mere change of mode,
 * owner or links (ctime alone) is no new upload. The device is not asked: its
 * number may be another one after every mount. */
bool file_ident_same(const struct file_ident *a, const struct file_ident *b);
/* The same directory, with the same names in it, as far as a look at it alone tells:
 * `seen` comes from one, and so has no digest. False for plain files. */
bool file_ident_same_top(const struct file_ident *whole, const struct file_ident *seen);
/* Same inode, whatever was written to it. */
bool file_ident_same_inode(const struct file_ident *a, const struct file_ident *b);
