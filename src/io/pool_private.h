/* The parts of the pool. */
#pragma once

#include "io/pool.h"

#include <sys/types.h>

enum worker_state {
	WORKER_IDLE,    /* all that it told is in the index, which it may still have to be told */
	WORKER_BUSY,    /* has a job that it has not told the result of */
	WORKER_TOLD,    /* told all its results, which are not in the index yet */
	WORKER_LEAVING, /* asked to exit */
	WORKER_DYING,   /* killed, not yet reaped */
	WORKER_DEAD,    /* reaped; what it left behind is being killed */
};

struct pool_task {
	uint64_t job;
	bool told;     /* its result */
	bool acked;    /* and that is committed: gone when the worker is told so */
	struct pool_task *next;
};

struct worker {
	struct worker *next;
	enum worker_state state;
	pid_t pid;
	int sock;      /* -1 from WORKER_DYING on */
	struct pool_task *tasks; /* what it was ordered and is not acknowledged, in order */
	char *handler; /* the stream handler it should have, see run_order_handler(); or NULL */
	char *user;    /* whom that serves */
	bool outdated; /* it may be of settings that are no more */
	uint64_t turn; /* when it got its last job: counts jobs of the pool */
	bool garbled;  /* what it said last could not be understood */
	bool owes;     /* the end of a job was not told */
	unsigned acked_n; /* of its tasks */
	bool ack_at_once; /* not with its next order: before files move */
	unsigned gone_n; /* jobs it was told to be gone with */
	bool reaped;
};

struct pool {
	char *path;
	uint32_t max, spare, idle;
	uint64_t turns;
	int epoll;
	int timer;           /* runs while a worker, or what it left behind, is dying */
	unsigned quiet;      /* walks in a row that found nothing left behind */
	uint64_t sweep_ms;   /* steady clock: since when */
	bool grumbled;
	struct worker *workers;
	int talking;         /* socket of who told something just now and has more to tell; or -1 */
	struct message message;
	char buffer[MESSAGE_MAX];
};

/* pool.c */

/* The worker that has this job, and has told its result, or not. */
struct worker *pool_find_job(const struct pool *p, uint64_t job, bool told);

/* pool_ack.c: what is in the index. On failure it is still to be told. */

int pool_send_acks(struct worker *w);
/* With an order. */
int pool_send_with_acks(struct worker *w, const struct message *order, const int *fds, size_t n);

/* pool_worker.c: one worker process. */
int pool_worker_start(struct pool *p, struct worker **ret);
int pool_worker_send(struct worker *w, const struct message *message, const int *fds, size_t n);
/* Its socket is of no use any more: it is killed. */
void pool_worker_kill(struct pool *p, struct worker *w);
/* Unlinks and frees. */
void pool_worker_remove(struct pool *p, struct worker *w);

/* pool_choice.c: which worker. */

/* The one for a job of this user: that whose stream handler fits (NULL: none is asked
 * for), another idle one, or a new one. -ENOMEM, -errno of starting it. */
int pool_find_or_start(struct pool *p, const char *user, const char *handler,
                       struct worker **ret);
/* Idle workers beyond the limits leave. */
void pool_shrink(struct pool *p);

/* pool_task.c: what a worker has to do. */

int pool_task_add(struct worker *w, uint64_t job);
void pool_task_remove(struct worker *w, uint64_t job);
struct pool_task *pool_task_find(const struct worker *w, uint64_t job);
/* The first, and the last, whose result was not told; or NULL. Of several, no
 * other than the first can have begun. */
struct pool_task *pool_task_first(const struct worker *w);
struct pool_task *pool_task_last(const struct worker *w);
/* By what it has to do. */
void pool_task_set_state(struct worker *w);

/* pool_sweep.c: workers that die, and what they left behind. */
void pool_sweep_begin(struct pool *p);
/* True when nothing is left of the dead workers; else the timer runs on as
 * long as it has to. */
bool pool_sweep(struct pool *p);
