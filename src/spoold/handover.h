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
	bool stands_by;      /* waits for a place */
};

/* Takes the file out of incoming, where it is there, and gives the job to a worker. Where
 * that fails the claim is undone, or the job has ended; -errno. The job is taken over
 * where it has to stand by. */
int handover_do(struct daemon *d, struct handover *over);
/* The second half of it, for one that stood by. */
int handover_to_worker(struct daemon *d, const struct handover *over);
