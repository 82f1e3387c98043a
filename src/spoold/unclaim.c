#include "spoold/unclaim.h"

#include "base/escape.h"
#include "base/human.h"
#include "base/log.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unclaim {
	struct change change;
	struct user *user;
	uint64_t job;
	int error;
	enum place place;
	bool gone;
	struct job after;
};

static int undo_claim(struct daemon *d, struct unclaim *u, struct job *job)
{
	char text[JOB_TEXT_MAX + 1];
	job_step(job, JOB_EV_INTERRUPTED);
	job->attempt--;
	job->place = u->place;
	/* It came too late to be handed ahead. */
	if (u->error == 0)
		return 0;
	if (u->gone) {
		job_step(job, JOB_EV_GONE);
		job->place = PLACE_NOWHERE;
		job->finished_ms = d->wall_ms;
		return job_set_text(&job->error,
		                    u->error == -ENOENT
		                            ? "withdrawn: the file was taken out of incoming"
		                            : "replaced or changed by its uploader before its turn");
	}
	job->not_before_ms = d->wall_ms + DISPATCH_CLAIM_RETRY_MS;
	job->claimed_ms = 0;
	u->user->anew = false;
	if (u->error == -ENOSPC || u->error == -EDQUOT || u->error == -EROFS)
		snprintf(text, sizeof text,
		         "it could not be started: %s; %s %s/%s",
		         strerror(-u->error), human_remedy(u->error), tree_root(d->tree), u->user->name);
	else
		snprintf(text, sizeof text, "it could not be started: %s",
		         strerror(-u->error));
	return job_set_text(&job->error, text);
}

static int unclaim_apply(struct daemon *d, struct change *c)
{
	struct unclaim *u = (struct unclaim *)c;
	struct job job = {0};
	job_clear(&u->after);
	int r = index_get_job(d->index, u->job, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	/* One that was adopted, the index being lost, counts as begun. */
	if (job_state_is_active(job.state) && job.attempt > 0) {
		r = undo_claim(d, u, &job);
		if (r == 0)
			r = index_put_job(d->index, &job);
		if (r == 0)
			r = job_copy(&job, &u->after);
	}
	job_clear(&job);
	user_touch(d, u->user);
	return r;
}

/* A worker may have refused it, and keeps that result until then. */
static void unclaim_committed(struct daemon *d, const struct change *c)
{
	pool_ack(d->pool, ((const struct unclaim *)c)->job, true);
}

static void unclaim_finish(struct daemon *d, struct change *c, int error)
{
	struct unclaim *u = (struct unclaim *)c;
	if (error == 0 && u->after.id != 0 && u->error != 0) {
		char *shown = escape_str(u->after.path);
		log_notice("user %s: job %" PRIu64 " (%s): %s", u->user->name, u->job,
		           shown == NULL ? "?" : shown, u->after.error);
		free(shown);
		int r = tree_drop_job(d->tree, u->user->name, u->job, u->after.path);
		/* What a worker had already is not bare any more: nobody else would remove it. */
		if (r < 0 && r != -ENOTEMPTY && u->gone && u->after.ident.whole != 0)
			recover_later(d, u->user, r);
		if (u->gone) {
			retention_note(d, u->user, u->after.finished_ms, u->user->settings->keep_failed_ms);
			request_job_ended(d, &u->after);
			/* How what is there now came is not known, unless its event is to come. */
			scan_want(d, u->user);
		}
		user_unlock_idle(d, u->user);
	}
	job_clear(&u->after);
	free(u);
}

void unclaim_job(struct daemon *d, struct user *user, const struct job *job, int error,
                 enum place place)
{
	struct unclaim *u = calloc(1, sizeof *u);
	if (u == NULL) {
		log_error("memory is out: job %" PRIu64 " waits for the next start", job->id);
		return;
	}
	u->change = (struct change){.apply = unclaim_apply, .committed = unclaim_committed,
	                            .finish = unclaim_finish, .keep = true};
	u->user = user;
	u->job = job->id;
	u->error = error;
	u->place = place;
	u->gone = (error == -ENOENT || error == -ESTALE || error == -ELOOP || error == -EINVAL) &&
	          place == PLACE_INCOMING && user_still_there(d, user);
	turn_add(d, &u->change);
}
