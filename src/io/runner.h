/* Runs attempts of handlers, one at a time, and leaves nothing of them behind.
 *
 * Used by spool-worker, which is a subreaper. The handler gets a session of
 * its own, clean descriptors, limits and credentials; its output goes to a
 * bounded log in the job's private directory; its reports are read while it
 * runs. On its end, on timeout and on cancel the whole tree of processes is
 * ended. `local` is the one kind of runner today; what is above sees no process
 * ids.
 *
 * A stream handler (order->stream) outlives its attempts: it waits for the next
 * one that it fits. One that it does not fit, and what makes it unfit itself,
 * ends it first: its input is closed, and after the grace time it is killed.
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
	struct run_result result;   /* owned by the runner until the next start */
};

/* Once for all attempts. -ENOMEM, -EMFILE ... */
int runner_new(struct runner **ret);
/* From now on the calling process does not push off its processor whoever sends it something, in
 * the middle of its work (SCHED_BATCH, see sched(7)). Its handlers keep what it had. Where that is
 * not the usual policy (SCHED_OTHER), or the kernel refuses, nothing changes. */
void runner_give_way(struct runner *r);
/* While there is nothing else to do: makes what the next attempt will need, as far as the last
 * one tells, so that it starts sooner. `calm`: that has been so for a moment; its process, too,
 * which costs more than it brings where orders follow each other. Returns whether there is
 * something left to make then. */
bool runner_prepare(struct runner *r, bool calm);
/* Begins an attempt; the one before has ended. Where the handler cannot be
 * started, that is a result like any other (the next runner_step() tells it),
 * `unready` where it could not for any file; an error is returned only where
 * nothing is known about the attempt (-ENOMEM, -EMFILE), and there is none then.
 * Order and descriptor stay the caller's and must outlive the attempt. */
int runner_start(struct runner *r, const struct run_order *order, int job_dirfd);
/* Before an attempt, as root: takes the directories of a directory that is one job from
 * its uploader, who may hold them open, so that nothing is put into them any more. 1: they
 * are, and what they were until then is to be looked at again; 0: there is none. */
int runner_seal(const struct run_order *order, int job_dirfd);
/* Asks the attempt to end (SIGTERM, after the grace time SIGKILL, for the whole
 * tree). */
void runner_cancel(struct runner *r, bool interrupt);
/* An epoll descriptor: readable when runner_step() has something to do;
 * timeouts included. */
int runner_fd(const struct runner *r);
/* Wall clock; 0 where the handler could not be started, or not yet: another
 * one may have to end before. */
uint64_t runner_started_ms(const struct runner *r);
/* Does what is due and says what happened; after the end it says that again.
 * Also without an attempt: a stream handler may end, or misbehave. Errors as
 * from runner_start(). */
int runner_step(struct runner *r, struct runner_event *ret);
/* Asks a stream handler that waits for its next job to go. */
void runner_dismiss(struct runner *r);
/* Nothing of a handler is there. */
bool runner_is_empty(const struct runner *r);
/* Ends what is left, hard, and frees. */
void runner_free(struct runner *r);

/* Kills every process of this machine that carries `cookie` in its
 * environment (SPOOL_COOKIE): what an attempt left behind when both its
 * daemon and its worker were killed. Waits until they are gone. Returns how
 * many, or a negative errno; -EBUSY: some do not die (within 10 s). */
int runner_kill_strays(const char *cookie);
/* Tells of each process of this machine whose cookie begins with `prefix` what
 * follows that. A negative errno where /proc cannot be read. */
int runner_find_strays(const char *prefix, void (*found)(void *ctx, const char *rest), void *ctx);
/* Wakes each stopped process of this machine that has a file open of which `is_it` says
 * that it is one. How many, or a negative errno. */
int runner_wake_holders(bool (*is_it)(void *ctx, const char *path), void *ctx);
