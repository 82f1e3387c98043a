/* From a claim that is in the index to a worker. */
#pragma once

#include "core/job.h"
#include "spoold/user.h"

struct daemon;

struct handover {
	struct user *user;
	struct job job;      /* as claimed; owned */
	enum place from;
	uint64_t after;      /* waits for this one, in the same worker; or 0 */
};

/* Takes the file out of incoming, where it is there, and gives the job to a worker. Where
 * that fails the claim is undone, or the job has ended; -errno. */
int handover_do(struct daemon *d, const struct handover *over);
