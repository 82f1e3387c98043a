#include "spoold/turn.h"

#include "base/log.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

void turn_add(struct daemon *d, struct change *c)
{
	DL_APPEND(d->turn.changes, c);
}

bool turn_stalled(const struct daemon *d)
{
	return d->turn.error != 0;
}

static int apply_all(struct daemon *d)
{
	for (struct change *c = d->turn.changes; c != NULL; c = c->next) {
		int r = c->apply(d, c);
		if (r < 0)
			return r;
	}
	return 0;
}

static int commit(struct daemon *d)
{
	int r = index_begin(d->index);
	if (r < 0)
		return r;
	r = apply_all(d);
	if (r == 0)
		r = users_refresh(d);
	if (r == 0)
		r = dispatch_claim_some(d);
	if (r < 0) {
		index_abort(d->index);
		return r;
	}
	d->turn.commits++;
	return index_commit(d->index);
}

static void finish_all(struct daemon *d, int error)
{
	struct change *changes = d->turn.changes;
	d->turn.changes = NULL;
	while (changes != NULL) {
		struct change *c = changes;
		DL_DELETE(changes, c);
		if (error != 0 && c->keep)
			DL_APPEND(d->turn.changes, c);
		else
			c->finish(d, c, error);
	}
}

static const char *hint(int error)
{
	switch (error) {
	case -ENOSPC: return "make room where the index lies";
	case -EROFS: return "it lies on a file system that is mounted read-only";
	case -EBADMSG: return "it is damaged; stop spoold and start it again, it will be rebuilt";
	default: return "see the system's log";
	}
}

static void note_outcome(struct daemon *d, int error)
{
	if (error != 0 && d->turn.error != error)
		log_error("the index cannot be written: %s; %s. Files are safe where they are, work "
		          "goes on by itself when this is over",
		          strerror(-error), hint(error));
	if (error == 0 && d->turn.error != 0)
		log_notice("the index can be written again");
	d->turn.error = error;
	d->turn.retry_ms = error == 0 ? 0 : d->steady_ms + TURN_RETRY_MS;
}

void turn_run(struct daemon *d)
{
	if (turn_stalled(d) && d->steady_ms < d->turn.retry_ms)
		return;
	if (d->turn.changes == NULL && !turn_stalled(d)) {
		/* Views may have changed without a change: a lock, a reload. */
		if (users_refresh(d) < 0 || !dispatch_ready(d))
			return;
	}
	int r = commit(d);
	note_outcome(d, r);
	users_turn_ended(d, r < 0);
	finish_all(d, r);
	if (users_refresh(d) < 0)
		log_error("the index cannot be read");
}

uint64_t turn_next(const struct daemon *d)
{
	if (turn_stalled(d))
		return d->turn.retry_ms;
	return d->turn.changes != NULL ? 0 : UINT64_MAX;
}

void turn_clear(struct daemon *d)
{
	while (d->turn.changes != NULL) {
		struct change *c = d->turn.changes;
		DL_DELETE(d->turn.changes, c);
		c->finish(d, c, -ECANCELED);
	}
}
