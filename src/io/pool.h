/* The pool of worker processes, seen from the daemon.
 *
 * Workers are started when they are needed and kept for the next job. Each
 * runs one job at a time; further ones may wait with it, see core/message.h. A worker that has a stream handler waiting gets the
 * jobs which fit that, as long as there are others for the rest. The descriptor of the user's lock goes along with
 * the job, so the lock lives as long as daemon or worker has work for the
 * user. When a worker is gone without a result, what its handler left behind
 * is killed before POOL_GONE is told.
 *
 * The process becomes a subreaper, and all of its children are taken to be
 * workers or what workers left behind: it must have no others. */
#pragma once

#include "core/message.h"

struct pool;

enum pool_event_kind {
	POOL_STARTED,
	POOL_PROGRESS,
	POOL_RESULT,  /* to be acknowledged with pool_ack() once it is committed */
	POOL_GONE,    /* the worker died with the job unfinished: one for each, in their order */
};

struct pool_event {
	enum pool_event_kind kind;
	uint64_t job;
	bool waited; /* POOL_GONE: it was handed over ahead of its turn and never begun */
	struct message message; /* as received; empty for POOL_GONE. Cleared by the pool
	                           at the next pool_next() or pool_free() */
};

/* `worker_path`: the spool-worker program. `max`: most workers at a time. */
int pool_new(const char *worker_path, uint32_t max, struct pool **ret);
/* Lets go of all workers: those with a job finish it by themselves. */
void pool_free(struct pool *p);
void pool_set_max(struct pool *p, uint32_t max);
/* How many workers beyond free places may be at hand, for those whose results are not in
 * the index yet; 0 at first. */
void pool_set_spare(struct pool *p, uint32_t spare);
/* How many workers beyond `max` may be there while their stream handlers wait
 * for the next job; 0 at first. Beyond that the one that waited longest serves
 * somebody else. */
void pool_set_idle(struct pool *p, uint32_t handlers);
/* There may be other handlers from now on: each user's next job meets what is
 * left of the old ones, and ends it where it does not fit. */
void pool_outdate(struct pool *p);
int pool_fd(const struct pool *p); /* readable when pool_next() has something */

/* Jobs that could be handed over now. A place is free when the result is told. */
uint32_t pool_free_places(const struct pool *p);
uint32_t pool_busy(const struct pool *p);

/* Hands over a job. The descriptors stay the caller's. -EAGAIN: no place;
 * -errno where no worker could be started. Where order->after is set, to the
 * worker that has that job last, and for the same handler; -ESRCH where there is none any
 * more. */
int pool_run(struct pool *p, const struct run_order *order, int lock_fd, int job_dirfd);
/* Asks the worker that has this job for what it has not begun. */
void pool_recall(struct pool *p, uint64_t job);
/* Ends a running job; its result says canceled, or interrupted. -ESRCH: not
 * running here. */
int pool_cancel(struct pool *p, uint64_t job, bool interrupt);
/* Lets a worker that was stopped (SIGSTOP) go on; no other notices. */
void pool_wake(struct pool *p, uint64_t job);
/* The result is in the index: the worker may forget it, and serve others. It hears
 * of that with its next order, or by pool_flush(). `at_once`: by the first of them, because
 * the same job may run again: what a worker keeps it leaves in the private directory, if
 * that is still the one of this job. */
void pool_ack(struct pool *p, uint64_t job, bool at_once);
/* Tells the workers what was acknowledged, each in one message: what has to be told at
 * once, or all. */
void pool_flush(struct pool *p, bool all);

/* The next thing that happened: 1, or 0 when there is nothing more now. */
int pool_next(struct pool *p, struct pool_event *ret);
