#include "spoold/request_private.h"

#include "base/log.h"
#include "spoold/claim.h"
#include "spoold/known.h"
#include "spoold/result.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an operator does to jobs, as one change. */
struct steer {
	struct change change;
	uint64_t client;
	enum job_event event;
	struct user *user;     /* of the job; or whose line is meant */
	char *by;              /* "canceled by alice" */
	bool line;             /* hold or release the user's line */
	size_t n;
	uint64_t *jobs;
	struct job *after;     /* n of them; id 0: it was not possible any more */
	enum place *from;      /* where its file was */
};

static void steer_free(struct steer *s)
{
	for (size_t i = 0; s->after != NULL && i < s->n; i++)
		job_clear(&s->after[i]);
	free(s->after);
	free(s->from);
	free(s->jobs);
	free(s->by);
	free(s);
}

bool is_uncompared(struct daemon *d, struct user *u, const struct job *job)
{
	bool unseen = job->attempt == 0 || job->retaken;
	/* After a start its last move may be still to come. */
	return unseen && (dispatch_unmoved(d, job->id) != 0 || known_is_taken(d, u, job));
}

static int requeue(struct daemon *d, struct job *job)
{
	job->place = PLACE_PROCESSING;
	job->retaken = false;
	job->failures = job->interruptions = 0;
	job->spent_ms = 0;
	job->finished_ms = 0;
	/* Not within this turn: first its file is taken back. */
	job->not_before_ms = d->wall_ms + 1;
	job->yields = false;
	/* Its attempts keep what was. */
	int r = job_set_text(&job->error, NULL);
	return r < 0 ? r : index_new_seq(d->index, &job->seq);
}

static int steer_job(struct daemon *d, struct steer *s, struct job *job)
{
	int r = 0;
	job_step(job, s->event);
	if (s->event == JOB_EV_CANCEL) {
		job->retaken = job->place == PLACE_INCOMING && job->attempt > 0;
		job->place = PLACE_FAILED;
		job->finished_ms = d->wall_ms;
		r = job_set_text(&job->error, s->by);
	} else if (s->event == JOB_EV_REQUEUE) {
		r = requeue(d, job);
	}
	return r < 0 ? r : index_put_job(d->index, job);
}

static int steer_one(struct daemon *d, struct steer *s, size_t i)
{
	struct job job = {0};
	job_clear(&s->after[i]);
	int r = index_get_job(d->index, s->jobs[i], &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	struct user *u = user_by_number(d, job.user);
	bool takes = job_next_state(job.state, s->event) >= 0 &&
	             !(s->event == JOB_EV_CANCEL && job_state_is_active(job.state)) &&
	             !(s->event == JOB_EV_REQUEUE &&
	               (u == NULL || job.place == PLACE_NOWHERE || is_uncompared(d, u, &job) ||
	                retention_removes(d, u, &job)));
	s->from[i] = job.place;
	if (takes) {
		r = steer_job(d, s, &job);
		if (r == 0)
			r = job_copy(&job, &s->after[i]);
	}
	job_clear(&job);
	if (u != NULL)
		user_touch(d, u);
	return r;
}

static int steer_apply(struct daemon *d, struct change *c)
{
	struct steer *s = (struct steer *)c;
	if (s->line) {
		user_touch(d, s->user);
		return index_put_user_held(d->index, s->user->name, s->event == JOB_EV_HOLD, s->by);
	}
	for (size_t i = 0; i < s->n; i++) {
		int r = steer_one(d, s, i);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Brings the file of a job that is to run again out of done or failed. A crash
 * before is made good by recovery, which finds it pending but not in place. */
static void take_back(struct daemon *d, const struct job *job, enum place from)
{
	struct user *u = user_by_number(d, job->user);
	if (u == NULL || (from != PLACE_DONE && from != PLACE_FAILED))
		return;
	int r = claim_bring_back(d, u, job);
	if (r < 0)
		log_warning("user %s: the file of job %" PRIu64 " cannot be taken back from %s yet: %s",
		            u->name, job->id, place_name(from), strerror(-r));
}

static void act(struct daemon *d, struct steer *s, size_t i)
{
	const struct job *job = &s->after[i];
	struct user *u = user_by_number(d, job->user);
	if (job->id == 0 || u == NULL)
		return;
	if (s->event == JOB_EV_CANCEL)
		result_ended(d, u, job, s->from[i]);
	if (s->event == JOB_EV_REQUEUE)
		take_back(d, job, s->from[i]);
	log_info("user %s: job %" PRIu64 ": %s (%s)", u->name, job->id, job_event_name(s->event),
	         s->by);
}

static void answer_steer(struct daemon *d, const struct steer *s)
{
	const struct asker a = {.client = s->client};
	if (s->line) {
		answer(d, &a, json_pack("{s:s}", "user", s->user->name));
		return;
	}
	json_t *jobs = json_array();
	for (size_t i = 0; i < s->n; i++)
		if (s->after[i].id != 0)
			json_array_append_new(jobs, json_integer((json_int_t)s->after[i].id));
	bool none = json_array_size(jobs) == 0;
	if (none && s->n > 0) {
		json_decref(jobs);
		answer_no(d, &a, ANSWER_NO, "its state changed meanwhile, or its file is gone: 'spoolctl "
		          "show %" PRIu64 "' tells", s->jobs[0]);
		return;
	}
	json_t *job = none ? json_null() : json_integer((json_int_t)s->jobs[0]);
	answer(d, &a, json_pack("{s:o, s:o}", "jobs", jobs, "job", job));
}

static void steer_finish(struct daemon *d, struct change *c, int error)
{
	struct steer *s = (struct steer *)c;
	const struct asker a = {.client = s->client};
	if (error == 0) {
		for (size_t i = 0; i < s->n; i++)
			act(d, s, i);
		answer_steer(d, s);
	} else if (error != -ECANCELED) {
		answer_no(d, &a, ANSWER_NO, "the index cannot be written: %s; nothing was changed",
		          strerror(-error));
	}
	steer_free(s);
}

char *by_whom(const char *what, const struct asker *a)
{
	char *text = NULL;
	const char *who = a->user == NULL ? "an operator" : a->user;
	const char *reason = json_string_value(json_object_get(a->body, "reason"));
	int n = asprintf(&text, "%s by %s%s%s", what, who, reason == NULL ? "" : ": ",
	                 reason == NULL ? "" : reason);
	return n < 0 ? NULL : text;
}

void steer(struct daemon *d, const struct asker *a, enum job_event event, const char *what,
                  struct user *line, uint64_t *jobs, size_t n)
{
	struct steer *s = calloc(1, sizeof *s);
	if (s == NULL) {
		free(jobs);
		answer_no(d, a, ANSWER_NO, "spoold is out of memory");
		return;
	}
	s->change = (struct change){.apply = steer_apply, .finish = steer_finish};
	s->client = a->client;
	s->event = event;
	s->user = line;
	s->line = line != NULL;
	s->by = by_whom(what, a);
	s->n = n;
	s->jobs = jobs;
	s->after = calloc(n + 1, sizeof *s->after);
	s->from = calloc(n + 1, sizeof *s->from);
	if (s->by == NULL || s->after == NULL || s->from == NULL) {
		steer_free(s);
		answer_no(d, a, ANSWER_NO, "spoold is out of memory");
		return;
	}
	turn_add(d, &s->change);
}

void steer_single(struct daemon *d, const struct asker *a, const struct job *job,
                         enum job_event event, const char *what)
{
	uint64_t *jobs = malloc(sizeof *jobs);
	if (jobs != NULL)
		jobs[0] = job->id;
	steer(d, a, event, what, NULL, jobs, jobs == NULL ? 0 : 1);
}
