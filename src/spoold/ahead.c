#include "spoold/ahead.h"

#include "core/name.h"
#include "spoold/claim.h"
#include "spoold/daemon.h"
#include "spoold/standby.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

uint32_t ahead_active(const struct user *u, uint64_t active)
{
	if (active > u->ahead)
		return (uint32_t)(active - u->ahead);
	return active > 0;
}

void ahead_begin(struct user *u, const struct job *job)
{
	u->chain_end = u->chain == NULL && u->ahead == 0 ? job->id : 0;
	u->chain_handler = settings_handler(u->settings, name_base(job->path));
}

/* One that was here before waits for its own turn: there may be more to look at. */
bool ahead_fits(const struct user *u, const struct job *job)
{
	return job->state == JOB_PENDING && job->place == PLACE_INCOMING && job->attempt == 0 &&
	       job->ident.whole == 0 &&
	       settings_handler(u->settings, name_base(job->path)) == u->chain_handler;
}

/* Where machine or daemon and worker go down, all that is queued may have run: not
 * where that costs a job more than a repetition. */
static uint32_t most_ahead(const struct daemon *d, const struct user *u)
{
	const struct user_settings *s = u->settings;
	uint32_t most = s->retry.on_crash == ON_CRASH_RETRY ? s->prefetch : 0;
	return sched_ahead(d->sched, u->number, d->wall_ms, u->ran_ms, most);
}

/* In batches: fewer turns serve more. */
static int claim_for(struct daemon *d, struct user *u)
{
	uint32_t most = most_ahead(d, u);
	struct sched_pick pick;
	bool claimed = u->ahead <= most / 2;
	int r = 0;
	while (claimed && r >= 0 &&
	       sched_pick_ahead(d->sched, u->number, d->wall_ms, u->ahead, most, &pick)) {
		r = claim_ahead(d, u, pick.job, &claimed);
		if (r >= 0)
			r = users_refresh(d);
	}
	return r;
}

int ahead_claim_some(struct daemon *d)
{
	for (struct user *u = d->users.in_turn; u != NULL; u = u->in_turn_next) {
		int r = u->chain_end == 0 ? 0 : claim_for(d, u);
		if (r < 0)
			return r;
	}
	return 0;
}

void ahead_add(struct user *u, struct running *r, bool waits)
{
	r->ahead = waits;
	r->chained = true;
	DL_APPEND2(u->chain, r, chain_prev, chain_next);
}

void ahead_claim_failed(struct daemon *d, struct user *u, bool waits)
{
	u->chain_end = 0;
	if (waits)
		u->ahead--;
	user_touch(d, u);
}

static void no_longer_ahead(struct running *r)
{
	if (r->ahead)
		r->user->ahead--;
	r->ahead = false;
}

void ahead_ended(struct daemon *d, struct running *r, uint64_t ran_ms)
{
	struct user *u = r->user;
	bool succeeded = ran_ms != UINT64_MAX;
	if (!r->chained)
		return;
	u->ran_ms = ran_ms;
	r->chained = false;
	DL_DELETE2(u->chain, r, chain_prev, chain_next);
	no_longer_ahead(r);
	if (!succeeded || u->chain_end == r->job)
		u->chain_end = 0;
	if (succeeded && u->chain != NULL && u->chain->ahead) {
		no_longer_ahead(u->chain);
		u->chain->overdue_ms = d->steady_ms + DISPATCH_PATIENCE_MS;
	}
	user_touch(d, u);
}

void ahead_recall(struct daemon *d, struct user *u)
{
	bool asked = false;
	u->chain_end = 0;
	for (struct running *r = u->chain; r != NULL; r = r->chain_next) {
		if (!r->ahead)
			continue;
		if (!asked)
			pool_recall(d->pool, r->job);
		asked = r->recalled = true;
	}
}

int ahead_hold(struct daemon *d, uint64_t job, uint64_t client, const char *by)
{
	struct running *r = dispatch_find(d, job);
	if (r == NULL || (!r->ahead && r->standby == NULL) || r->cancel || r->hold != NULL)
		return -ESRCH;
	r->hold = strdup(by);
	if (r->hold == NULL)
		return -ENOMEM;
	r->hold_client = client;
	if (standby_give_back(d, r) < 0)
		ahead_recall(d, r->user);
	return 0;
}

bool ahead_is_passing(const struct daemon *d, const struct running *r)
{
	const struct user *u = r->user;
	return u->head_seq != 0 && u->head_seq < r->seq && u->head_due_ms <= d->wall_ms;
}

void ahead_review(struct daemon *d)
{
	for (struct running *r = d->dispatch.running; r != NULL; r = r->hh.next) {
		struct user *u = r->user;
		if (r->ahead && !r->recalled &&
		    (ahead_is_passing(d, r) || most_ahead(d, u) == 0))
			ahead_recall(d, u);
	}
}

void ahead_recall_all(struct daemon *d)
{
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next)
		ahead_recall(d, u);
}
