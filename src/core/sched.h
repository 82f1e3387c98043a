/* The scheduler: which jobs start now, and when must I ask again?
 *
 * A pure question over one small view per user: the head of its line, how
 * many attempts it has running, its limit. It never sees the backlog. Users
 * take turns: who was served goes to the end of the round.
 *
 * Caveats: the caller refreshes a user's view after each change that touches
 * it; a pick is only a proposal until the claim is committed, but counts as
 * active within the same sched_pick() call. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sched;

struct sched_view {
	uint64_t head_job;      /* id of the first job of the line, 0 = none */
	uint64_t head_not_before_ms; /* wall clock; 0 = at once */
	uint32_t active;        /* queued and processing, without what was handed ahead */
	uint32_t limit;         /* running attempts allowed; 0 = no limit */
	bool held;              /* the user's line is held */
	bool blocked;           /* somebody else has the user's lock, or the user's
	                           directories are being reconciled */
};

/* Why a user's head does not start. */
enum sched_reason {
	SCHED_READY,     /* it is next, as soon as a worker is free */
	SCHED_EMPTY,
	SCHED_HELD,
	SCHED_BLOCKED,
	SCHED_LIMIT,     /* the user's own running jobs */
	SCHED_BACKOFF,   /* not before a time */
	SCHED_STOPPED,   /* spoolctl stop, or auto_start_processing false */
};

struct sched_pick {
	uint32_t user;
	uint64_t job;
};

/* NULL when memory is out. */
struct sched *sched_new(void);
void sched_free(struct sched *s);

/* Global limit of running attempts (at least 1) and whether jobs may start. */
void sched_set_limit(struct sched *s, uint32_t max_active);
void sched_set_running(struct sched *s, bool running);
bool sched_running(const struct sched *s);

/* Tells the user's view; a new user joins at the end of the round. -ENOMEM. */
int sched_set_user(struct sched *s, uint32_t user, const struct sched_view *view);
/* It was picked, and that came to nothing: when it is ready again, it goes where it was, and
 * not behind the others. */
void sched_keep_turn(struct sched *s, uint32_t user);
void sched_forget_user(struct sched *s, uint32_t user);

/* Proposes up to `n` jobs, at most one per user, in turn. Returns how many.
 * Each picked user counts one more active and has no head until
 * sched_set_user() tells its next one: so several jobs of one user come from
 * pick, claim, refresh, pick again. */
size_t sched_pick(struct sched *s, uint64_t now_wall_ms, struct sched_pick *picks, size_t n);

/* The job that would be proposed next if there were a place; false: none. */
bool sched_peek(struct sched *s, uint64_t now_wall_ms, struct sched_pick *ret);
/* Takes that one from its user as sched_pick() would, though all places are taken. */
void sched_pick_beyond(struct sched *s);

/* A job that took longer gains nothing by a next one that is at hand; its uploader
 * loses: what is handed over can be neither withdrawn nor replaced any more. */
enum {
	SCHED_SHORT_MS = 20,
	SCHED_AHEAD_MS = 160, /* what waits there takes about that long, at most */
	/* All users together, or one each: each job that waits there takes a private
	 * directory of its own, and what many have to begin with is dearer than what it saves. */
	SCHED_AHEAD_ALL = 512,
};

/* How many jobs of a user may wait in the hands of the worker that runs one for
 * it: `most`, or less where that takes longer than SCHED_AHEAD_MS, or is more than its share
 * of SCHED_AHEAD_ALL; or 0, also for what waits there already, where its last job, which
 * took `ran_ms`, was not short, or where that could pass somebody: a user of
 * several workers, one whose line does not move, and whoever waits for a place. */
uint32_t sched_ahead(const struct sched *s, uint32_t user, uint64_t now_wall_ms, uint64_t ran_ms,
                     uint32_t most);
/* Proposes the head of its line, where fewer than `most` wait there. It counts
 * as waiting, not as active, in the view the caller tells next. */
bool sched_pick_ahead(struct sched *s, uint32_t user, uint64_t now_wall_ms, uint32_t waiting,
                      uint32_t most, struct sched_pick *ret);

/* Would sched_pick() propose any? */
bool sched_ready(const struct sched *s, uint64_t now_wall_ms);

/* Wall clock time of the earliest backoff among users that nothing else
 * keeps waiting; UINT64_MAX when there is none. */
uint64_t sched_next_ms(const struct sched *s);

enum sched_reason sched_explain(const struct sched *s, uint32_t user, uint64_t now_wall_ms);
uint32_t sched_active(const struct sched *s); /* all users together */
/* Of blocked users: these run in workers of an earlier daemon, which take places as well. */
uint32_t sched_active_elsewhere(const struct sched *s);
