#include "spoold/mend.h"

#include "base/escape.h"
#include "base/log.h"
#include "spoold/daemon.h"
#include "spoold/result.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What is to be done about one job. */
struct mend {
	struct change change;
	struct user *user;
	uint64_t job;
	enum remedy remedy;
	char *final_name;
	struct job after; /* id 0: nothing was to be done */
};

static void to_processing(struct job *job)
{
	if (job->state == JOB_HELD)
		job_step(job, JOB_EV_RELEASE);
	if (job->state == JOB_PENDING)
		job_step(job, JOB_EV_CLAIM);
	if (job->state == JOB_QUEUED)
		job_step(job, JOB_EV_STARTED);
}

static void to_waiting(struct job *job)
{
	/* The attempt keeps its number: a power cut may have undone the claim's
	 * rename after a handler had seen it. */
	if (job_state_is_active(job->state))
		job_step(job, JOB_EV_INTERRUPTED);
}

static int cancel_as(struct daemon *d, struct job *job, const char *why)
{
	to_waiting(job);
	job_step(job, JOB_EV_GONE);
	job->place = PLACE_NOWHERE;
	job->finished_ms = d->wall_ms;
	return job_set_text(&job->error, why);
}

static int end_outside(struct daemon *d, struct mend *m, struct job *job, bool done)
{
	to_processing(job);
	job_step(job, done ? JOB_EV_SUCCEEDED : JOB_EV_FAIL);
	job->place = done ? PLACE_DONE : PLACE_FAILED;
	job->finished_ms = d->wall_ms;
	free(job->final_name);
	job->final_name = m->final_name == NULL ? NULL : strdup(m->final_name);
	return job_set_text(&job->error, done ? NULL : "it was moved to failed by somebody else");
}

/* Its log, and what else is left of it, go to failed. */
static int vanished(struct daemon *d, struct job *job)
{
	to_processing(job);
	job_step(job, JOB_EV_FAIL);
	job->place = PLACE_FAILED;
	job->finished_ms = d->wall_ms;
	return job_set_text(&job->error,
	                    "file vanished: it was removed from its place in processing");
}

static int mend_as(struct daemon *d, struct mend *m, struct job *job)
{
	switch (m->remedy) {
	case REMEDY_JUDGE_AGAIN:
		return cancel_as(d, job, "replaced or changed by its uploader before its turn");
	case REMEDY_WITHDRAWN:
		return cancel_as(d, job, "withdrawn: the file was taken out of incoming");
	case REMEDY_CLAIM_AGAIN:
		to_waiting(job);
		job->place = PLACE_INCOMING;
		return 0;
	case REMEDY_PARK:
		job->place = PLACE_PROCESSING;
		return 0;
	case REMEDY_RECORD_DONE: return end_outside(d, m, job, true);
	case REMEDY_RECORD_FAILED: return end_outside(d, m, job, false);
	case REMEDY_VANISHED:
		return vanished(d, job);
	default:
		return 0;
	}
}

static int mend_apply(struct daemon *d, struct change *c)
{
	struct mend *m = (struct mend *)c;
	struct job job = {0};
	job_clear(&m->after);
	int r = index_get_job(d->index, m->job, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!job_state_is_final(job.state)) {
		r = mend_as(d, m, &job);
		if (r == 0)
			r = index_put_job(d->index, &job);
		if (r == 0)
			r = job_copy(&job, &m->after);
	}
	job_clear(&job);
	user_touch(d, m->user);
	return r;
}

static void mend_finish(struct daemon *d, struct change *c, int error)
{
	struct mend *m = (struct mend *)c;
	if (error == 0 && m->after.id != 0 && job_state_is_final(m->after.state)) {
		char *shown = escape_str(m->after.path);
		log_info("user %s: job %" PRIu64 " (%s) is %s%s%s", m->user->name, m->job,
		         shown == NULL ? "?" : shown, job_state_name(m->after.state),
		         m->after.error == NULL ? "" : ": ",
		         m->after.error == NULL ? "" : m->after.error);
		free(shown);
		int r = m->after.place == PLACE_NOWHERE
		                ? tree_drop_job(d->tree, m->user->name, m->job, m->after.path) : 0;
		/* Where that could not be done nobody else would do it before the next start. */
		if (r < 0 && r != -ENOTEMPTY)
			recover_later(d, m->user, r);
		result_ended(d, m->user, &m->after, PLACE_NOWHERE);
		user_unlock_idle(d, m->user);
	}
	job_clear(&m->after);
	free(m->final_name);
	free(m);
}

void mend_job(struct daemon *d, struct user *u, const struct job *job, enum remedy remedy,
              const char *final_name)
{
	struct mend *m = calloc(1, sizeof *m);
	if (m == NULL) {
		log_error("memory is out: job %" PRIu64 " waits for the next start", job->id);
		return;
	}
	m->change = (struct change){.apply = mend_apply, .finish = mend_finish, .keep = true};
	m->user = u;
	m->job = job->id;
	m->remedy = remedy;
	m->final_name = final_name == NULL ? NULL : strdup(final_name);
	turn_add(d, &m->change);
}
