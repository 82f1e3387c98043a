/* Jobs that stand by: claimed, their files out of incoming, before a place is free.
 *
 * With durability full every turn waits for the disk. A place whose job ended would be
 * empty until the next claim is on the disk; instead it goes at once to a job that is
 * claimed already. These are queued in the index, like any claim, and no worker knows of
 * them: what must not wait there (a line that is held, no job is to start, one before it
 * that is due again) is given back, and pending again as it was.
 *
 * Only where jobs are short: who stands by can be neither withdrawn nor replaced by its
 * uploader. And only for users of one job at a time, each the next one whose turn it is:
 * nobody has more than one job that others wait for. */
#pragma once

#include "spoold/dispatch.h"
#include "spoold/handover.h"

struct daemon;

struct standby {
	struct handover over;
	struct standby *prev, *next;
};

/* How many may stand by now. */
uint32_t standby_room(const struct daemon *d);

/* Within a turn, when all places are taken: claims for those that are next. */
int standby_claim_some(struct daemon *d);
/* Its file is in its private directory; `over` is taken over. -ENOMEM. */
int standby_add(struct daemon *d, struct handover *over);

/* Gives places that are free to those that stand by. */
void standby_start_some(struct daemon *d);

/* It is pending again, or canceled, or held, as `r` says. -ESRCH: it does not stand by. */
int standby_give_back(struct daemon *d, struct running *r);
/* After a turn: gives back what must not wait any more. */
void standby_review(struct daemon *d);
void standby_clear(struct daemon *d);
