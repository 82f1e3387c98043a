/* Jobs that are handed to a worker ahead of their turn.
 *
 * All that runs or waits in the worker of a user of one job at a time is its
 * chain: the first runs, each of the others waits for the success of the one
 * before (core/message.h says how the worker keeps that). Waiting ones are
 * queued in the index, like any claim; for the scheduler they are nobody's
 * place (user->ahead of them), and whenever it wants none there (sched_ahead())
 * they are asked back. What comes back was never begun: it is pending again,
 * as it was. A chain that lost one of its links gets no further ones; the next
 * begins when all of it has come to an end. */
#pragma once

#include "spoold/dispatch.h"

struct daemon;

/* Running and queued jobs of a user, as they count for its limit. */
uint32_t ahead_active(const struct user *u, uint64_t active);

/* Within a turn: claims what may be handed ahead to the users it is about. */
int ahead_claim_some(struct daemon *d);
/* A claim at the user's own turn may begin a chain. */
void ahead_begin(struct user *u, const struct job *job);
/* May it go ahead of its turn? A stream handler is not ended for that. */
bool ahead_fits(const struct user *u, const struct job *job);
/* It was handed over. */
void ahead_add(struct user *u, struct running *r, bool waits);
/* It came to nothing. */
void ahead_claim_failed(struct daemon *d, struct user *u, bool waits);
/* Its worker told the end of it: how long a success took, or UINT64_MAX. */
void ahead_ended(struct daemon *d, struct running *r, uint64_t ran_ms);

/* After a turn: asks back what must not wait there any more. */
void ahead_review(struct daemon *d);
/* Does one of its user that was released, or is due again, come before it? */
bool ahead_is_passing(const struct daemon *d, const struct running *r);
/* All of it: other settings hold from now on. */
void ahead_recall_all(struct daemon *d);
/* What waits in the worker of this user. */
void ahead_recall(struct daemon *d, struct user *u);
/* A job that waits there is to be held: it is asked back, and `client` is answered
 * when it is known whether it had begun. -ESRCH: it does not wait there. */
int ahead_hold(struct daemon *d, uint64_t job, uint64_t client, const char *by);
