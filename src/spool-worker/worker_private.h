/* The parts of the worker. */
#pragma once

#include "core/message.h"
#include "io/runner.h"
#include "spool-worker/task.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What waits to be sent before the results, in this order; only the last
 * progress counts. */
enum slot { SLOT_STARTED, SLOT_PROGRESS, SLOTS };

struct packet {
	char *data;
	size_t size;
};

struct worker {
	int sock;              /* -1: the daemon is gone */
	int signals;
	bool quit;             /* no more jobs */
	struct runner *runner;
	struct task *tasks;
	struct task *now;      /* its attempt has not ended; or NULL */
	uint64_t began_ms;     /* steady */
	uint64_t last_done;    /* the job that ended last, where it succeeded; or 0 */
	bool started;          /* the start of `now` was told */
	struct packet out[SLOTS];
	char *buffer;          /* MESSAGE_MAX */
};

/* worker.c: what it has to do. */

/* The first that waits for its turn; or NULL. */
struct task *worker_next_task(const struct worker *w);
/* All that was not begun, in its order. */
void worker_give_back(struct worker *w);
/* Unlinks and frees. */
void worker_forget_task(struct worker *w, struct task *t);

/* worker_tell.c: what it tells the daemon. */

void worker_drop_packets(struct worker *w);
/* Sends what waits, as far as the kernel takes it. */
void worker_flush(struct worker *w);
bool worker_wants_to_send(const struct worker *w);
/* When the start of what runs is worth a message; steady, UINT64_MAX: not. */
uint64_t worker_started_due(const struct worker *w);
void worker_tell_started(struct worker *w);
void worker_tell_progress(struct worker *w, const struct run_progress *progress);
/* The end of `now`. Whatever is no success stops what comes after it. */
void worker_tell_result(struct worker *w, const struct run_result *result);
/* The end of `now` where something is wrong with us (`error`), not with its handler; the
 * retry comes later, when there may be memory and descriptors again. */
void worker_tell_trouble(struct worker *w, int error);
/* The end of `now` where no handler saw it: it is not what was accepted. */
void worker_tell_stale(struct worker *w);

/* worker_leave.c: how it ends. */

/* Leaves what was not acknowledged in the directories of the jobs, for the next daemon,
 * which gets the lock when nothing runs here any more. Returns the exit status. */
int worker_leave_results(struct worker *w);
/* Ends a stream handler that waits for its next job. Told to stop, we do not wait
 * for it: runner_free() ends it. */
void worker_end_handler(struct worker *w);
/* Refuses a job that comes while we leave: it was never begun. Nothing more can be sent to
 * us first: the daemon notices, and takes another worker. */
void worker_refuse_rest(const struct worker *w);
