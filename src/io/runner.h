/* Runs one attempt of a handler and leaves nothing of it behind.
 *
 * Used by spool-worker, which is a subreaper. The handler gets a session of
 * its own, clean descriptors, limits and credentials; its output goes to a
 * bounded log in the job's private directory; its report descriptor is read
 * while it runs. On its end, on timeout and on cancel the whole tree of
 * processes is ended. `local` is the one kind of runner today; what is above
 * sees no process ids.
 *
 * All children of the calling process are taken to be the handler's: they are
 * reaped, and killed at its end. So one runner at a time, in a process made
 * for it. */
#pragma once

#include "core/message.h"

struct runner;

struct runner_event {
	bool progress;              /* `report` is news */
	bool ended;                 /* `result` is final */
	struct run_progress report; /* owned by the runner until the next call */
	struct run_result result;   /* owned by the runner until runner_free() */
};

/* Starts it. Where the handler cannot be started, that is a result like any
 * other (the next runner_step() tells it); an error is returned only where
 * nothing is known about the attempt (-ENOMEM, -EMFILE). The descriptor stays
 * the caller's and must outlive the runner. */
int runner_start(const struct run_order *order, int job_dirfd, struct runner **ret);
/* Asks it to end (SIGTERM, after the grace time SIGKILL, for the whole tree). */
void runner_cancel(struct runner *r, bool interrupt);
/* An epoll descriptor: readable when runner_step() has something to do;
 * timeouts included. */
int runner_fd(const struct runner *r);
/* Wall clock; 0 where the handler could not be started. */
uint64_t runner_started_ms(const struct runner *r);
/* Does what is due and says what happened; after the end it says that again. */
int runner_step(struct runner *r, struct runner_event *ret);
/* Ends what is left, hard, and frees. */
void runner_free(struct runner *r);

/* Kills every process of this machine that carries `cookie` in its
 * environment (SPOOL_COOKIE): what an attempt left behind when both its
 * daemon and its worker were killed. Waits until they are gone. Returns how
 * many, or a negative errno; -EBUSY: some do not die (within 10 s). */
int runner_kill_strays(const char *cookie);
