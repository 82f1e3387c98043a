#include "spoold/busy.h"

#include "spoold/daemon.h"

#include <utlist.h>

void busy_look(struct daemon *d, struct user *u)
{
	bool wrong = u->unreadable != 0 && !u->removed;
	bool busy = u->busy_row || u->uploads != NULL || u->away || wrong;
	if (busy == u->busy)
		return;
	u->busy = busy;
	if (busy)
		DL_APPEND2(d->busy.users, u, busy_prev, busy_next);
	else
		DL_DELETE2(d->busy.users, u, busy_prev, busy_next);
	d->busy.n += busy ? 1 : -1U;
}

static uint32_t capped(uint64_t n)
{
	return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

void busy_note(struct daemon *d, struct user *u, const struct user_row *row)
{
	struct busy *b = &d->busy;
	uint32_t pending = capped(row->count[JOB_PENDING]);
	uint32_t done = capped(row->count[JOB_DONE]), failed = capped(row->count[JOB_FAILED]);
	b->pending += (uint64_t)pending - u->pending;
	b->done += (uint64_t)done - u->done;
	b->failed += (uint64_t)failed - u->failed;
	u->pending = pending;
	u->done = done;
	u->failed = failed;
	u->busy_row = row->held || pending > 0 || row->count[JOB_HELD] > 0 ||
	              row->count[JOB_QUEUED] > 0 || row->count[JOB_PROCESSING] > 0;
	busy_look(d, u);
}
