#include "spoold/result.h"

#include "base/escape.h"
#include "base/human.h"
#include "base/log.h"
#include "core/name.h"
#include "spoold/daemon.h"
#include "spoold/unclaim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An attempt that ended. */
struct settlement {
	struct change change;
	struct user *user;
	struct run_result result;
	bool recovered;
	enum place place;      /* of the file, where recovered */
	char *canceled_by;     /* or NULL */
	char *hold;            /* by whom, where it is to be held if it never began; or NULL */
	uint64_t hold_client;
	bool back;             /* it never began */
	bool news;             /* since its handler cannot be started, and that was not said yet */
	bool anew;             /* it was tried with the settings that are in force */
	uint32_t random;       /* the same in every try of the turn */
	struct job after;      /* id 0: nothing was to be done */
};

static int copy_text(const char *text, char **ret)
{
	*ret = text == NULL ? NULL : strdup(text);
	return text != NULL && *ret == NULL ? -ENOMEM : 0;
}

static int result_copy(const struct run_result *result, struct run_result *ret)
{
	*ret = *result;
	ret->error = ret->message = NULL;
	if (copy_text(result->error, &ret->error) < 0 ||
	    copy_text(result->message, &ret->message) < 0) {
		run_result_clear(ret);
		return -ENOMEM;
	}
	return 0;
}

/* Steps a job that recovery found further than the index knew. */
static void catch_up(struct job *job, const struct settlement *s)
{
	if (s->recovered && job->state == JOB_HELD)
		job_step(job, JOB_EV_RELEASE);
	if (s->recovered && job->state == JOB_PENDING) {
		job_step(job, JOB_EV_CLAIM);
		job->place = PLACE_PROCESSING;
	}
	/* Also of one that was adopted: its earlier attempts are lost with the index. */
	if (s->recovered && job->attempt < s->result.attempt)
		job->attempt = s->result.attempt;
	if (job->state == JOB_QUEUED && s->result.started_ms != 0) {
		job_step(job, JOB_EV_STARTED);
		job->started_ms = s->result.started_ms;
	}
}

static int put_attempt(struct daemon *d, const struct job *job, const struct settlement *s,
                       char *why)
{
	const struct run_result *result = &s->result;
	struct attempt attempt = {
		.number = job->attempt,
		.claimed_ms = job->claimed_ms,
		.started_ms = result->started_ms,
		.finished_ms = result->finished_ms,
		.outcome = result->outcome,
		.exit_code = result->exit_code,
		.records = result->records,
		.error = why,
		.message = result->message,
	};
	return index_put_attempt(d->index, job->id, &attempt);
}

static bool is_permanent(const struct user *u, const struct job *job, int32_t exit_code)
{
	const struct handler *h = settings_handler(u->settings, name_base(job->path));
	for (size_t i = 0; i < h->permanent_exit_codes_n; i++)
		if (h->permanent_exit_codes[i] == exit_code)
			return true;
	return false;
}

static int wait_for_retry(struct daemon *d, struct job *job, const struct settlement *s)
{
	const struct retry_policy *policy = &s->user->settings->retry;
	job_step(job, JOB_EV_RETRY);
	job->failures++;
	job->not_before_ms = d->wall_ms + retry_delay_ms(policy, job->failures, s->random);
	if (policy->position == RETRY_FRONT)
		return 0;
	job->yields = true;
	return index_new_seq(d->index, &job->seq);
}

/* A crash of the machine or of the daemon says nothing about the job; a worker
 * that dies under it again and again may. */
static void repeat(struct daemon *d, struct job *job, const struct settlement *s)
{
	bool crash = !d->stopping && job->state == JOB_PROCESSING;
	job_step(job, JOB_EV_INTERRUPTED);
	if (crash)
		job->interruptions++;
	if (crash && !s->recovered)
		job->not_before_ms = d->wall_ms + retry_delay_ms(&s->user->settings->retry,
		                                                 job->interruptions, s->random);
	if (s->recovered)
		job->place = s->place;
}

static void end_as(struct daemon *d, struct job *job, enum job_event event)
{
	if (event == JOB_EV_SUCCEEDED && job->state == JOB_QUEUED)
		job_step(job, JOB_EV_STARTED);
	job_step(job, event);
	job->place = job_final_place(job->state);
	job->retaken = false;
	job->finished_ms = d->wall_ms;
}

int result_hold_line(struct daemon *d, const struct user *u, const struct job *job)
{
	char *reason = NULL, *shown;
	if (u->settings->on_final_failure == FINAL_FAILURE_CONTINUE)
		return 0;
	shown = escape_str(job->path);
	int n = asprintf(&reason, "job %" PRIu64 " failed for good (on_final_failure: hold; 'spoolctl "
	                          "retry %" PRIu64 "' puts it into the line again): %s", job->id, job->id,
	                 shown == NULL ? "?" : shown);
	free(shown);
	if (n < 0)
		return -ENOMEM;
	int r = index_put_user_held(d->index, u->name, true, reason);
	free(reason);
	return r;
}

static int follow_verdict(struct daemon *d, struct job *job, struct settlement *s,
                          enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_DONE: end_as(d, job, JOB_EV_SUCCEEDED); return 0;
	case VERDICT_CANCEL: end_as(d, job, JOB_EV_CANCEL); return 0;
	case VERDICT_RETRY: return wait_for_retry(d, job, s);
	case VERDICT_REPEAT: repeat(d, job, s); return 0;
	case VERDICT_HOLD:
		repeat(d, job, s);
		job_step(job, JOB_EV_HOLD);
		return 0;
	case VERDICT_FAIL:
		job->failures++;
		end_as(d, job, JOB_EV_FAIL);
		return result_hold_line(d, s->user, job);
	}
	return 0;
}

/* Its worker was leaving, it waited there for another one's success, or its handler cannot
 * be started: it waits again as it did before its claim. A crash may have come after that
 * was in the index, or before its claim was. */
static bool never_began(const struct settlement *s, const struct job *job)
{
	bool waits = s->recovered && (job->state == JOB_PENDING || job->state == JOB_HELD);
	return run_result_never_began(&s->result) && (job->state == JOB_QUEUED || waits);
}

static uint64_t handler_delay_ms(const struct daemon *d, const struct user *u)
{
	uint64_t delay_ms = (uint64_t)DISPATCH_HANDLER_RETRY_MS << u->unready_tries;
	return d->once ? DISPATCH_HANDLER_MOST_MS : due_min(delay_ms, DISPATCH_HANDLER_MOST_MS);
}

/* That is no fault of the file, and nothing that another attempt at once would mend: it
 * keeps its place, and its user's line waits for whoever sees to the handler. */
static int wait_for_handler(const struct daemon *d, struct settlement *s, struct job *job)
{
	const char *why = s->result.error == NULL ? "its handler cannot be started" : s->result.error;
	s->news = s->news || s->user->anew || job->error == NULL || strcmp(job->error, why) != 0;
	if (s->anew)
		s->user->anew = false;
	job->claimed_ms = job->started_ms = 0;
	job->not_before_ms = d->wall_ms + handler_delay_ms(d, s->user);
	return job_set_text(&job->error, why);
}

static int wait_again(struct daemon *d, struct settlement *s, struct job *job)
{
	uint32_t before = s->result.attempt - 1;
	if (job->state == JOB_QUEUED) {
		job_step(job, JOB_EV_INTERRUPTED);
		job->attempt = before;
	} else if (job->attempt < before) {
		job->attempt = before;
	}
	if (s->hold != NULL)
		job_step(job, JOB_EV_HOLD);
	if (s->recovered)
		job->place = s->place;
	int r = s->result.unready ? wait_for_handler(d, s, job) : 0;
	s->back = true;
	return r < 0 ? r : index_put_job(d->index, job);
}

static int settle(struct daemon *d, struct settlement *s, struct job *job)
{
	const struct run_result *result = &s->result;
	bool was_held = job->state == JOB_HELD;
	if (never_began(s, job))
		return wait_again(d, s, job);
	catch_up(job, s);
	char *why = result->outcome == OUTCOME_CANCELED && s->canceled_by != NULL ? s->canceled_by
	                                                                          : result->error;
	int r = put_attempt(d, job, s, why);
	if (r < 0)
		return r;
	enum verdict verdict =
		retry_judge(&s->user->settings->retry, job, result->outcome,
	                    result->permanent || is_permanent(s->user, job, result->exit_code),
	                    result->ran_ms);
	job->spent_ms += result->ran_ms;
	job->exit_code = result->exit_code;
	job->records = result->records;
	r = job_set_text(&job->error, result->outcome == OUTCOME_SUCCEEDED ? NULL : why);
	if (r == 0)
		r = follow_verdict(d, job, s, verdict);
	if (was_held && job->state == JOB_PENDING)
		job_step(job, JOB_EV_HOLD);
	if (r == 0)
		r = index_put_job(d->index, job);
	return r;
}

/* A commit that failed may be there all the same, and others that followed it: by then this
 * may be the result of an attempt before. */
static bool is_awaited(const struct settlement *s, const struct job *job)
{
	if (s->recovered)
		return !job_state_is_final(job->state);
	return job_state_is_active(job->state) && job->attempt == s->result.attempt;
}

static int settlement_apply(struct daemon *d, struct change *c)
{
	struct settlement *s = (struct settlement *)c;
	struct job job = {0};
	job_clear(&s->after);
	s->back = false;
	int r = index_get_job(d->index, s->result.job, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (is_awaited(s, &job)) {
		r = settle(d, s, &job);
		if (r == 0)
			r = job_copy(&job, &s->after);
	}
	job_clear(&job);
	user_touch(d, s->user);
	return r;
}

static void log_result(struct log_lines *lines, const struct user *u, const struct job *job,
                       uint64_t ran_ms)
{
	char took[HUMAN_SIZE], records[48] = "";
	char *shown = escape_str(job->path);
	const char *name = shown == NULL ? "?" : shown;
	if (job->records != RECORDS_NONE)
		snprintf(records, sizeof records, ", %" PRIu64 " record%s", job->records,
		         job->records == 1 ? "" : "s");
	human_duration(ran_ms, took);
	if (job->state == JOB_DONE)
		log_add(lines, LOG_LEVEL_INFO, "user %s: job %" PRIu64 " (%s) is done after %s%s",
		        u->name, job->id, name, took, records);
	else if (job_state_is_final(job->state))
		log_add(lines, LOG_LEVEL_WARNING,
		        "user %s: job %" PRIu64 " (%s) %s after %u attempt%s: %s", u->name, job->id, name,
		        job->state == JOB_FAILED ? "failed" : "was canceled", job->attempt,
		        job->attempt == 1 ? "" : "s",
		        job->error == NULL ? "no reason given" : job->error);
	else
		log_add(lines, LOG_LEVEL_NOTICE,
		        "user %s: job %" PRIu64 " (%s), attempt %u: %s; it is %s", u->name, job->id, name,
		        job->attempt, job->error == NULL ? "interrupted" : job->error,
		        job->state == JOB_HELD ? "held" : "to be repeated");
	free(shown);
}

/* Said once, and after a start or reload: it is tried again and again. */
static void log_unready(struct log_lines *lines, const struct user *u, const struct job *job)
{
	char *shown = escape_str(job->path);
	log_add(lines, LOG_LEVEL_ERROR,
	        "user %s: job %" PRIu64 " (%s) waits in its place: %s; it is tried again by itself, and "
	        "at once after a reload", u->name, job->id, shown == NULL ? "?" : shown, job->error);
	free(shown);
}

/* What was given back without a try tells nothing of the handler. */
static void note_try(const struct settlement *s)
{
	struct user *u = s->user;
	if (!s->back)
		u->unready_tries = 0;
	else if (s->result.unready && DISPATCH_HANDLER_RETRY_MS << u->unready_tries < DISPATCH_HANDLER_MOST_MS)
		u->unready_tries++;
}

/* What follows a final one in its directory is another job's, which its worker can tell. */
static void settlement_committed(struct daemon *d, const struct change *c)
{
	const struct settlement *s = (const struct settlement *)c;
	bool ended = s->after.id != 0 && job_state_is_final(s->after.state);
	note_try(s);
	if (s->after.id != 0 && s->news)
		log_unready(&d->turn.lines, s->user, &s->after);
	else if (s->after.id != 0 && !s->back)
		log_result(&d->turn.lines, s->user, &s->after, s->result.ran_ms);
	pool_ack(d->pool, s->result.job, !ended);
}

static void settlement_finish(struct daemon *d, struct change *c, int error)
{
	struct settlement *s = (struct settlement *)c;
	if (error == 0) {
		uint64_t id = s->result.job;
		if (s->after.id != 0 && job_state_is_final(s->after.state))
			result_ended(d, s->user, &s->after,
			             s->recovered ? PLACE_NOWHERE : PLACE_PROCESSING);
		if (s->hold != NULL)
			request_held(d, s->hold_client, id, s->back);
		dispatch_forget(d, id);
		user_unlock_idle(d, s->user);
	}
	run_result_clear(&s->result);
	job_clear(&s->after);
	free(s->canceled_by);
	free(s->hold);
	free(s);
}

/* A directory that is not what was accepted: back to incoming, to be judged again.
 * Durably there, it is no attempt's any more. */
static void put_back(struct daemon *d, struct user *u, uint64_t id)
{
	struct job job = {0};
	char *kept = NULL;
	int found = index_get_job(d->index, id, &job);
	if (found == 0) {
		int r = tree_put_back(d->tree, u->name, id, job.path, &kept);
		bool back = r == 0 || r == -ENOENT;
		if (r == 0)
			whole_give_back(d, u, &job, kept == NULL ? PLACE_INCOMING : PLACE_FAILED,
			                kept == NULL ? job.path : kept);
		unclaim_job(d, u, &job, back ? -ESTALE : r, back ? PLACE_INCOMING : PLACE_PROCESSING);
	}
	if (kept != NULL) {
		char *shown = escape_str(kept);
		log_warning("user %s: the directory of job %" PRIu64 " changed while it was taken and "
		            "cannot go back; it is kept as failed/%s", u->name, id,
		            shown == NULL ? "?" : shown);
		free(shown);
	}
	free(kept);
	job_clear(&job);
	dispatch_forget(d, id);
	/* Else when that is in the index. */
	if (found == -ENOENT)
		pool_ack(d->pool, id, true);
}

static void add_settlement(struct daemon *d, struct user *u, const struct run_result *result,
                           bool recovered, enum place place)
{
	if (result->stale) {
		put_back(d, u, result->job);
		return;
	}
	struct settlement *s = calloc(1, sizeof *s);
	if (s == NULL || result_copy(result, &s->result) < 0) {
		/* The worker keeps its result; it is found when the daemon starts again. */
		log_error("memory is out: the result of job %" PRIu64 " waits", result->job);
		free(s);
		return;
	}
	struct running *r = dispatch_find(d, result->job);
	s->anew = r != NULL && r->anew;
	s->change = (struct change){.apply = settlement_apply, .committed = settlement_committed,
	                            .finish = settlement_finish, .keep = true};
	s->user = u;
	s->recovered = recovered;
	s->place = place;
	s->random = (uint32_t)(d->wall_ms * UINT64_C(2654435761) + result->job * 40503);
	if (r != NULL && r->cancel_text != NULL)
		s->canceled_by = strdup(r->cancel_text);
	if (r != NULL && r->hold != NULL) {
		s->hold = r->hold;
		s->hold_client = r->hold_client;
		r->hold = NULL;
	}
	/* Its worker left before it could obey. */
	if (r != NULL && r->cancel && result->outcome == OUTCOME_INTERRUPTED)
		s->result.outcome = OUTCOME_CANCELED;
	turn_add(d, &s->change);
}

void dispatch_result(struct daemon *d, struct user *u, const struct run_result *result)
{
	add_settlement(d, u, result, false, PLACE_PROCESSING);
}

void result_recovered(struct daemon *d, struct user *u, const struct run_result *result,
                      enum place place)
{
	add_settlement(d, u, result, true, place);
}
