/* Jobs that end because their file left incoming, or is another one by now. */
#include "spoold/accept.h"

#include "base/escape.h"
#include "base/log.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <stdlib.h>

struct departure {
	struct change change;
	struct user *user;
	uint64_t job;
	const char *why; /* static */
	struct job ended;
};

static int gone_apply(struct daemon *d, struct change *c)
{
	struct departure *dep = (struct departure *)c;
	job_clear(&dep->ended);
	struct job job = {0};
	int r = index_get_job(d->index, dep->job, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (job.place == PLACE_INCOMING && job_next_state(job.state, JOB_EV_GONE) >= 0) {
		job_step(&job, JOB_EV_GONE);
		job.place = PLACE_NOWHERE;
		job.finished_ms = d->wall_ms;
		r = job_set_text(&job.error, dep->why);
		if (r == 0)
			r = index_put_job(d->index, &job);
		if (r == 0)
			r = job_copy(&job, &dep->ended);
	}
	job_clear(&job);
	user_touch(d, dep->user);
	return r;
}

static void gone_finish(struct daemon *d, struct change *c, int error)
{
	struct departure *dep = (struct departure *)c;
	if (error == 0 && dep->ended.id != 0) {
		char *shown = escape_str(dep->ended.path);
		log_info("user %s: job %llu (%s) is canceled: %s", dep->user->name,
		         (unsigned long long)dep->job, shown == NULL ? "?" : shown, dep->why);
		free(shown);
		/* Of a claim whose rename a power cut undid, its directory may be there. */
		if (dep->ended.attempt > 0)
			tree_drop_job(d->tree, dep->user->name, dep->job, dep->ended.path);
		retention_note(d, dep->user, dep->ended.finished_ms, dep->user->settings->keep_failed_ms);
		request_job_ended(d, &dep->ended);
	}
	job_clear(&dep->ended);
	free(dep);
}

void accept_gone(struct daemon *d, struct user *u, const struct job *job, const char *why)
{
	if (job_next_state(job->state, JOB_EV_GONE) < 0)
		return;
	struct departure *dep = calloc(1, sizeof *dep);
	if (dep == NULL) {
		scan_want(d, u);
		return;
	}
	dep->change = (struct change){.apply = gone_apply, .finish = gone_finish, .keep = true};
	dep->user = u;
	dep->job = job->id;
	dep->why = why;
	turn_add(d, &dep->change);
}
