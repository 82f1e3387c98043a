/* What handlers left behind when both their daemon and their worker were
 * killed: found by its cookie, and ended before anything of its user runs. */
#pragma once

#include "core/job.h"
#include "spoold/user.h"

struct daemon;

/* Users of whose stream handlers something was left when the daemon started. */
struct strays {
	struct stray *users;
	uint64_t wake_ms; /* steady: earlier workers are not woken before that again */
};

enum { STRAY_WAKE_MS = 5000 };

/* At the start, before any handler of ours runs. A handler that an idle worker
 * of an earlier daemon is just letting go is among them: it has no job. */
void stray_look(struct daemon *d);
/* The user's lock is ours: an earlier worker is gone. */
void stray_end_user(struct daemon *d, const struct user *u);
/* The job was active under an earlier worker. */
void stray_end_job(struct daemon *d, const struct user *u, const struct job *job);
/* A user's lock is an earlier worker's. One that is stopped, by its own handler for one, would
 * keep it for ever: all such are woken, every STRAY_WAKE_MS at most. */
void stray_wake_workers(struct daemon *d);
void stray_clear(struct daemon *d);

/* The mark of all processes of a job, and of those of stream handlers, which
 * serve all jobs of a user (free). */
char *stray_cookie(const struct daemon *d, uint64_t job);
char *stray_stream_cookie(const struct daemon *d, const char *user);
