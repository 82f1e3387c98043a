#include "spoold/claim.h"

#include "spoold/ahead.h"
#include "spoold/daemon.h"
#include "spoold/handover.h"
#include "spoold/result.h"

#include <errno.h>
#include <stdlib.h>

struct claim {
	struct change change;
	struct handover over;
};

static int claim_apply(struct daemon *d, struct change *c)
{
	struct handover *over = &((struct claim *)c)->over;
	struct job *job = &over->job;
	over->from = job->place;
	job_step(job, JOB_EV_CLAIM);
	job->place = PLACE_PROCESSING;
	job->attempt++;
	job->retaken = over->from == PLACE_INCOMING && job->attempt > 1;
	job->claimed_ms = d->wall_ms;
	job->started_ms = 0;
	job->not_before_ms = 0;
	job->yields = false;
	return index_put_job(d->index, job);
}

static void claim_finish(struct daemon *d, struct change *c, int error)
{
	struct claim *claim = (struct claim *)c;
	struct handover *over = &claim->over;
	bool waits = over->stands_by;
	d->dispatch.claims -= over->after == 0 && !waits;
	if (error != 0 || handover_do(d, over) < 0) {
		d->dispatch.standby_n -= waits;
		ahead_claim_failed(d, over->user, over->after != 0);
	}
	job_clear(&over->job);
	free(claim);
}

/* Takes the job over. Applied here, once: claims come on top of a turn. */
static int take_job(struct daemon *d, struct user *u, struct job *job, uint64_t after,
                    bool stands_by)
{
	struct claim *claim = calloc(1, sizeof *claim);
	if (claim == NULL)
		return -ENOMEM;
	claim->change = (struct change){.apply = claim_apply, .finish = claim_finish};
	claim->over = (struct handover){.user = u, .job = *job, .after = after,
	                                 .stands_by = stands_by};
	*job = (struct job){0};
	d->dispatch.claims += after == 0 && !stands_by;
	d->dispatch.standby_n += stands_by;
	u->ahead += after != 0;
	turn_add(d, &claim->change);
	return claim_apply(d, &claim->change);
}

int claim_and_compare(struct daemon *d, const struct user *u, const struct job *job)
{
	char *kept = NULL;
	int r = tree_claim(d->tree, u->name, job->id, job->path, &job->ident, &kept);
	if (r == 0)
		r = whole_confirm_taken(d, u, job, &kept);
	free(kept);
	return r;
}

static int take_back(struct daemon *d, const struct user *u, const struct job *job,
                     const struct tree_found *found)
{
	int r = tree_take_back(d->tree, u->name, job, found->place, found->final_name);
	return r < 0 ? r : tree_take_voucher(d->tree, u->name, job, found->place, found->final_name);
}

int claim_bring_back(struct daemon *d, struct user *u, const struct job *job)
{
	struct tree_found found = {0};
	int r = tree_find(d->tree, u->name, job, &found);
	if (r == 0 && found.place == PLACE_NOWHERE && !user_still_there(d, u))
		r = -ENODEV;
	bool ended = found.place == PLACE_DONE || found.place == PLACE_FAILED;
	bool fresh = found.place == PLACE_PROCESSING && job->failures == 0;
	if (r == 0 && ended && !result_is_of_later(d, u, job))
		r = take_back(d, u, job, &found);
	else if (r == 0 && fresh && d->config->durability == DURABILITY_FULL)
		r = tree_sync_job(d->tree, u->name, job->id);
	free(found.final_name);
	return r;
}

static int claim_picked(struct daemon *d, const struct sched_pick *pick, bool stands_by)
{
	struct user *u = user_by_number(d, pick->user);
	struct job job = {0};
	user_touch(d, u);
	if (user_gone(d, u))
		return 0;
	/* A lock that somebody else has blocks the user; users_tick() goes on. */
	if (user_lock(d, u) < 0)
		return 0;
	int r = index_get_job(d->index, pick->job, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	/* The turn may have changed it since it was seen at the head of the line. */
	bool waits = job.state == JOB_PENDING;
	int unclear = waits && job.place == PLACE_PROCESSING ? claim_bring_back(d, u, &job) : 0;
	if (unclear < 0) {
		r = recover_later(d, u, unclear);
	} else if (waits) {
		ahead_begin(u, &job);
		/* Its chain begins when it has a worker. */
		if (stands_by)
			u->chain_end = 0;
		r = take_job(d, u, &job, 0, stands_by);
	}
	job_clear(&job);
	return r;
}

int claim_one(struct daemon *d, const struct sched_pick *pick)
{
	return claim_picked(d, pick, false);
}

int claim_for_standby(struct daemon *d, const struct sched_pick *pick)
{
	return claim_picked(d, pick, true);
}

int claim_ahead(struct daemon *d, struct user *u, uint64_t id, bool *ret_claimed)
{
	struct job job = {0};
	*ret_claimed = false;
	int r = index_get_job(d->index, id, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (u->lock_fd >= 0 && ahead_fits(u, &job)) {
		uint64_t after = u->chain_end;
		u->chain_end = id;
		user_touch(d, u);
		r = take_job(d, u, &job, after, false);
		*ret_claimed = true;
	}
	job_clear(&job);
	return r;
}
