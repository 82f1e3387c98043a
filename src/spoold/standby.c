#include "spoold/standby.h"

#include "spoold/ahead.h"
#include "spoold/claim.h"
#include "spoold/daemon.h"
#include "spoold/result.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

uint32_t standby_room(const struct daemon *d)
{
	bool useful = d->config->durability == DURABILITY_FULL && d->dispatch.ran_ms <= SCHED_SHORT_MS;
	bool possible = sched_running(d->sched) && !d->unmounted && sched_active_elsewhere(d->sched) == 0;
	return useful && possible ? d->config->max_concurrent : 0;
}

/* As with what is handed ahead: where the machine goes down, what is queued may have
 * run. One that was here before waits for its own turn: there may be more to look at. */
static bool fits(const struct user *u, const struct job *job)
{
	return u->settings->max_running == 1 && u->settings->retry.on_crash == ON_CRASH_RETRY &&
	       job->state == JOB_PENDING && job->place == PLACE_INCOMING &&
	       job->attempt == 0 && job->ident.whole == 0;
}

/* Is the next one of all lines one that may? Nobody passes it, whether or not. */
static int look_at_next(struct daemon *d, struct sched_pick *ret_pick, bool *ret_fits)
{
	struct job job = {0};
	*ret_fits = false;
	if (!sched_peek(d->sched, d->wall_ms, ret_pick))
		return 0;
	struct user *u = user_by_number(d, ret_pick->user);
	int r = u == NULL ? -ENOENT : index_get_job(d->index, ret_pick->job, &job);
	if (r == 0)
		*ret_fits = fits(u, &job);
	job_clear(&job);
	return r == -ENOENT ? 0 : r;
}

int standby_claim_some(struct daemon *d)
{
	while (d->dispatch.standby_n < standby_room(d)) {
		struct sched_pick pick;
		bool may;
		int r = look_at_next(d, &pick, &may);
		if (r < 0 || !may)
			return r;
		sched_pick_beyond(d->sched);
		r = claim_for_standby(d, &pick);
		if (r == 0)
			r = users_refresh(d);
		if (r < 0)
			return r;
	}
	return 0;
}

int standby_add(struct daemon *d, struct handover *over)
{
	struct standby *s = malloc(sizeof *s);
	struct running *r = s == NULL ? NULL : dispatch_remember(d, over->user, &over->job);
	if (r == NULL) {
		free(s);
		return -ENOMEM;
	}
	s->over = *over;
	*over = (struct handover){.user = over->user};
	r->overdue_ms = UINT64_MAX;
	r->standby = s;
	DL_APPEND(d->dispatch.standby, s);
	return 0;
}

static void leave(struct daemon *d, struct standby *s)
{
	struct running *r = dispatch_find(d, s->over.job.id);
	if (r != NULL)
		r->standby = NULL;
	DL_DELETE(d->dispatch.standby, s);
	d->dispatch.standby_n--;
}

static void standby_free(struct standby *s)
{
	job_clear(&s->over.job);
	free(s);
}

void standby_start_some(struct daemon *d)
{
	/* A claim of this turn that has a place keeps it. */
	while (d->dispatch.standby != NULL && standby_room(d) > 0 &&
	       pool_free_places(d->pool) > d->dispatch.claims) {
		struct standby *s = d->dispatch.standby;
		leave(d, s);
		dispatch_forget(d, s->over.job.id);
		ahead_begin(s->over.user, &s->over.job);
		if (handover_to_worker(d, &s->over) < 0)
			ahead_claim_failed(d, s->over.user, false);
		standby_free(s);
	}
}

int standby_give_back(struct daemon *d, struct running *r)
{
	struct standby *s = r->standby;
	if (s == NULL)
		return -ESRCH;
	leave(d, s);
	standby_free(s);
	sched_keep_turn(d->sched, r->user->number);
	dispatch_gone(d, r, true);
	return 0;
}

static bool must_go(const struct daemon *d, const struct running *r)
{
	enum sched_reason reason = sched_explain(d->sched, r->user->number, d->wall_ms);
	return standby_room(d) == 0 || reason == SCHED_HELD || reason == SCHED_BLOCKED ||
	       ahead_is_passing(d, r);
}

void standby_review(struct daemon *d)
{
	struct standby *s, *next;
	DL_FOREACH_SAFE(d->dispatch.standby, s, next) {
		struct running *r = dispatch_find(d, s->over.job.id);
		if (r != NULL && must_go(d, r))
			standby_give_back(d, r);
	}
}

void standby_clear(struct daemon *d)
{
	struct standby *s, *next;
	DL_FOREACH_SAFE(d->dispatch.standby, s, next) {
		DL_DELETE(d->dispatch.standby, s);
		standby_free(s);
	}
}
