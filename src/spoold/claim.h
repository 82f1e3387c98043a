/* Claims: a job that the scheduler picked becomes its user's active one, in the
 * transaction of the turn; after the commit its file is taken out of incoming and
 * handed to a worker. */
#pragma once

#include "core/job.h"
#include "core/sched.h"
#include "spoold/user.h"

struct daemon;

/* Within a turn. 0 also where the job cannot be had just now: another process
 * has the user's lock, it is no longer pending, or where its file lies cannot be
 * found out (its user waits then). */
int claim_one(struct daemon *d, const struct sched_pick *pick);

/* The same without a place: it stands by (standby.h) until there is one. */
int claim_for_standby(struct daemon *d, const struct sched_pick *pick);

/* Within a turn: the next job of a user whose worker is busy, to be handed to
 * that ahead of its turn. *ret_claimed: false where it is none for that. */
int claim_ahead(struct daemon *d, struct user *u, uint64_t id, bool *ret_claimed);

/* For recovery, without a worker that would look: takes the file of a job out of
 * incoming, where a crash left its claim half done or a power cut undid it, and
 * compares what is in the private directory then with what was accepted, a directory
 * in all its parts. -ESTALE: it is another one, and is in incoming again, or kept in
 * failed. */
int claim_and_compare(struct daemon *d, const struct user *u, const struct job *job);

/* Brings the file of a job that waits between two attempts, or for an operator's
 * retry, durably into its private directory: out of done or failed, where it
 * lies there, by what it is and not by its name, which may be another job's.
 * Asked for when an operator retries, and before each claim: a crash may have
 * come before, and what runs must not be found in done as if it had ended. */
int claim_bring_back(struct daemon *d, struct user *u, const struct job *job);
