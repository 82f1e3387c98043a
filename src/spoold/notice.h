/* Notices: what an uploader without a shell reads in incoming about uploads that
 * are refused or wait for long, and about jobs that cannot be started.
 *
 * The rooms of intake say when an upload begins to wait for something that may
 * last, and when that is over; a while later one file per user says all that is
 * still true (core/notice, tree_put_notice). It is written only when its text
 * changes, at most every few seconds, and goes when nothing is left to say. What
 * scans find that is never looked at as an upload (names that are ignored,
 * directories that are nested too deep) is noted here, a bounded number of each
 * user. */
#pragma once

#include "core/job.h"
#include "spoold/upload.h"

struct daemon;

enum {
	NOTICE_STRAYS_MAX = 64,
	NOTICE_PAUSE_MS = 5000,   /* between two writes for a user */
	NOTICE_RETRY_MS = 60000,  /* after one that failed */
};

/* Its next job, accepted then, waits since it cannot be started; or (0) it does no longer. */
void notice_unready(struct daemon *d, struct user *u, uint64_t accepted_ms);

/* From now on, if it was not before, this upload waits for something that may
 * last. */
void notice_waits(struct daemon *d, struct upload_entry *e);
/* It does no longer, or is another upload now. */
void notice_over(struct daemon *d, struct upload_entry *e);

/* A walk over all of incoming begins, finds one that is never an upload, ends. */
void notice_walk_begins(struct user *u);
void notice_stray(struct user *u, const char *path, bool too_deep);
void notice_walk_ended(struct daemon *d, struct user *u);
/* This one may be gone. */
void notice_look_stray(struct daemon *d, struct user *u, const char *path);
/* Is it a notice, left by an earlier spoold or written by us? */
bool notice_is(struct daemon *d, struct user *u, const char *path);

/* After a reload. */
void notice_configure(struct daemon *d, struct user *u);
void notice_clear(struct user *u);

void notice_tick(struct daemon *d);
uint64_t notice_next(const struct daemon *d);
/* Nothing is to be written now (for once). */
bool notice_idle(const struct daemon *d);
