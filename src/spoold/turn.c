#include "spoold/turn.h"

#include "base/human.h"
#include "base/log.h"
#include "spoold/daemon.h"
#include "spoold/hints.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

/* Each doubles the map. */
enum { MAP_TRIES = 3 };
/* Moves of so many files are 1 ms as a rule, and a second where a disk is slow. */
enum { FINISH_GATHER = 32 };

void turn_add(struct daemon *d, struct change *c)
{
	DL_APPEND(d->turn.changes, c);
}

void turn_add_rider(struct daemon *d, struct change *c)
{
	if (d->turn.riders == NULL)
		d->turn.riders_ms = d->steady_ms + TURN_RIDE_MS;
	DL_APPEND(d->turn.riders, c);
}

bool turn_stalled(const struct daemon *d)
{
	return d->turn.error != 0;
}

/* What is beyond a turn's size stays for the next one. Riders are fewer than
 * there are workers. */
static struct change *take_turn(struct daemon *d)
{
	struct change *turn = d->turn.riders;
	d->turn.riders = NULL;
	for (unsigned n = 0; n < TURN_CHANGES_MAX && d->turn.changes != NULL; n++) {
		struct change *c = d->turn.changes;
		DL_DELETE(d->turn.changes, c);
		DL_APPEND(turn, c);
	}
	return turn;
}

/* *ret_failed is the one that did. */
static int apply_all(struct daemon *d, struct change *turn, struct change **ret_failed)
{
	for (struct change *c = turn; c != NULL; c = c->next) {
		int r = c->apply(d, c);
		if (r < 0) {
			*ret_failed = c;
			return r;
		}
	}
	return 0;
}

/* The claims come on top; they are what turn_add() has got meanwhile. */
static int commit_once(struct daemon *d, struct change *turn, struct change **ret_failed)
{
	*ret_failed = NULL;
	int r = index_begin(d->index);
	if (r < 0)
		return r;
	r = apply_all(d, turn, ret_failed);
	if (r == 0)
		r = users_refresh(d);
	if (r == 0)
		r = dispatch_claim_some(d);
	if (r < 0) {
		index_abort(d->index);
		return r;
	}
	r = index_commit(d->index);
	d->turn.commits += r == 0;
	return r;
}

/* What is in the index, before files move: the log tells it, and what a worker keeps it would leave in the
 * private directory of its job when we die, and the same job may run there again. Most
 * of it a worker hears with its next order. */
static void tell(struct daemon *d, const struct change *turn)
{
	for (const struct change *c = turn; c != NULL; c = c->next)
		if (c->committed != NULL)
			c->committed(d, c);
	log_flush(&d->turn.lines);
	pool_flush(d->pool, false);
}

static void finish_all(struct daemon *d, struct change *turn, int error)
{
	struct change *kept = NULL;
	for (unsigned n = 1; turn != NULL; n++) {
		struct change *c = turn;
		if (n % FINISH_GATHER == 0)
			hints_gather(d);
		DL_DELETE(turn, c);
		if (error != 0 && c->keep)
			DL_APPEND(kept, c);
		else
			c->finish(d, c, error);
	}
	/* In front of what came since: facts keep their order. */
	DL_CONCAT(kept, d->turn.changes);
	d->turn.changes = kept;
}

/* These have changed nothing, and will come again in every try. */
static bool is_refusal(int r)
{
	return r == -EINVAL || r == -ENOENT || r == -EEXIST;
}

/* A mistake of ours, or of what was found on the disk: it must not keep all
 * others waiting for ever. */
static void leave_out(struct daemon *d, struct change **turn, struct change *c, int error)
{
	log_error("the index refuses a change (%s): it is left out, and looked at again at the next "
	          "start. Please report this, with the lines before", strerror(-error));
	DL_DELETE(*turn, c);
	c->finish(d, c, error);
}

static void give_back_claims(struct daemon *d, int error)
{
	struct change *claims = d->turn.changes;
	d->turn.changes = NULL;
	users_turn_ended(d, true);
	finish_all(d, claims, error);
}

/* Returns the outcome; *ret_turn is all that took part, claims included. */
static int commit(struct daemon *d, struct change **ret_turn)
{
	struct change *turn = take_turn(d), *rest = d->turn.changes;
	d->turn.changes = NULL;
	struct change *failed;
	int r = commit_once(d, turn, &failed);
	for (int grown = 0;;) {
		bool refused = failed != NULL && is_refusal(r);
		/* A full map is grown by the next begin. */
		if (!refused && (r != -ENOSPC || !index_map_was_full(d->index) || grown++ == MAP_TRIES))
			break;
		give_back_claims(d, r);
		if (refused)
			leave_out(d, &turn, failed, r);
		/* What came of that is for the next turn. */
		DL_CONCAT(rest, d->turn.changes);
		d->turn.changes = NULL;
		r = commit_once(d, turn, &failed);
	}
	struct change *claims = d->turn.changes;
	DL_CONCAT(turn, claims);
	d->turn.changes = rest;
	*ret_turn = turn;
	return r;
}

/* A damaged index is rebuilt by a start; a service manager makes one. */
static void note_damage(struct daemon *d)
{
	log_error("the index %s is damaged, or was moved away: spoold ends, so that it is started "
	          "again and rebuilds it from the directories. Files are safe where they are; workers "
	          "finish what they run, and keep the results", d->config->index);
	d->damaged = true;
}

static void note_outcome(struct daemon *d, int error)
{
	if (error == -EBADMSG && d->turn.error != error)
		note_damage(d);
	else if (error != 0 && d->turn.error != error)
		log_error("the index cannot be written: %s; %s %s. Files are safe where they are, work "
		          "goes on by itself when this is over",
		          strerror(-error), human_remedy(error), d->config->index);
	if (error == 0 && d->turn.error != 0)
		log_notice("the index can be written again");
	d->turn.error = error;
	d->turn.retry_ms = error == 0 ? 0 : d->steady_ms + TURN_RETRY_MS;
}

void turn_run(struct daemon *d)
{
	/* Rooms that only ask pass over it: what they ask about just never happens. */
	if (index_is_damaged(d->index)) {
		note_outcome(d, -EBADMSG);
		return;
	}
	if (turn_stalled(d) && d->steady_ms < d->turn.retry_ms)
		return;
	bool ride = d->turn.riders != NULL && d->steady_ms >= d->turn.riders_ms;
	if (d->turn.changes == NULL && !ride && !turn_stalled(d)) {
		/* Views may have changed without a change: a lock, a reload. */
		if (users_refresh(d) < 0 || !dispatch_ready(d))
			return;
	}
	struct change *turn;
	int r = commit(d, &turn);
	note_outcome(d, r);
	users_turn_ended(d, r < 0);
	if (r == 0)
		tell(d, turn);
	finish_all(d, turn, r);
	/* Not of a turn that failed: what was acknowledged for it is not in the index. */
	if (r == 0)
		pool_flush(d->pool, true);
	if (r == 0 && index_reopened(d->index)) {
		log_notice("the index was opened again after an error; comparing it with the directories");
		recover_all(d);
	}
	if (users_refresh(d) < 0)
		log_error("the index cannot be read");
}

uint64_t turn_next(const struct daemon *d)
{
	if (turn_stalled(d))
		return d->turn.retry_ms;
	if (d->turn.changes != NULL)
		return 0;
	return d->turn.riders != NULL ? d->turn.riders_ms : UINT64_MAX;
}

void turn_clear(struct daemon *d)
{
	DL_CONCAT(d->turn.riders, d->turn.changes);
	d->turn.changes = NULL;
	while (d->turn.riders != NULL) {
		struct change *c = d->turn.riders;
		DL_DELETE(d->turn.riders, c);
		c->finish(d, c, -ECANCELED);
	}
}
