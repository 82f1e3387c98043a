#include "base/escape.h"
#include "core/shape.h"
#include "spoold/ahead.h"
#include "spoold/claim.h"
#include "spoold/request_private.h"
#include "spoold/result.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Its file was taken away, by its uploader or its retention time, or a later run
 * has it. */
static bool is_without_file(struct daemon *d, const struct user *u, const struct job *job)
{
	struct tree_found found = {0};
	if (job->place == PLACE_NOWHERE || retention_removes(d, u, job) ||
	    result_is_of_later(d, u, job))
		return true;
	/* Where that cannot be told now, its claim finds out. In incoming may lie a newer one
	 * of its name. */
	int r = tree_find(d->tree, u->name, job, &found);
	if (r < 0)
		return retention_is_due(d, u, job);
	bool gone = found.place == PLACE_NOWHERE ||
	            (found.place == PLACE_INCOMING && !found.same);
	free(found.final_name);
	return gone;
}

/* Where `job` cannot take the event, says so. */
static bool possible(struct daemon *d, const struct asker *a, const struct job *job,
                     enum job_event event, const char *verb, const char *states)
{
	if (job_next_state(job->state, event) >= 0)
		return true;
	answer_no(d, a, ANSWER_NO, "job %" PRIu64 " is %s: only %s jobs can be %s", job->id,
	          job_state_name(job->state), states, verb);
	return false;
}

/* True where it is answered later. */
static bool hold_ahead(struct daemon *d, const struct asker *a, const struct job *job)
{
	char *by = job->state == JOB_QUEUED ? by_whom("held", a) : NULL;
	bool waits = by != NULL && ahead_hold(d, job->id, a->client, by) == 0;
	free(by);
	return waits;
}

/* What is asked for is so already: said, and no mistake. */
static bool is_so_already(struct daemon *d, const struct asker *a, const struct job *job, bool hold)
{
	json_int_t id = (json_int_t)job->id;
	if (job->state != (hold ? JOB_HELD : JOB_PENDING))
		return false;
	json_t *message = json_sprintf("job %" PRIu64 " is %s", job->id,
	                               hold ? "held already" : "not held: it waits already");
	answer(d, a, json_pack("{s:[I], s:I, s:o}", "jobs", id, "job", id, "message", message));
	return true;
}

/* The same of a whole line: its reason stays, where no other is given. */
static bool is_line_so_already(struct daemon *d, const struct asker *a, const struct user *u,
                               bool hold)
{
	struct user_row row = {0};
	if ((hold && json_object_get(a->body, "reason") != NULL) ||
	    index_get_user(d->index, u->name, &row) < 0)
		return false;
	bool so = row.held == hold;
	user_row_clear(&row);
	if (so)
		answer_message(d, a, "the line of %s is %s", u->name, hold ? "held already" : "not held");
	return so;
}

static void hold_or_release(struct daemon *d, const struct asker *a, bool hold)
{
	enum job_event event = hold ? JOB_EV_HOLD : JOB_EV_RELEASE;
	const char *what = hold ? "held" : "released";
	struct user *u;
	if (json_object_get(a->body, "job") == NULL) {
		if (json_object_get(a->body, "user") == NULL)
			answer_no(d, a, ANSWER_USAGE, "expected a job or a user");
		else if (ask_user(d, a, &u) && !is_line_so_already(d, a, u, hold))
			steer(d, a, event, what, u, NULL, 0);
		return;
	}
	struct job job = {0};
	if (ask_job(d, a, &job, &u) && !is_so_already(d, a, &job, hold) &&
	    !(hold && hold_ahead(d, a, &job)) &&
	    possible(d, a, &job, event, what, hold ? "pending" : "held"))
		steer_single(d, a, &job, event, what);
	job_clear(&job);
}

void request_held(struct daemon *d, uint64_t client, uint64_t job, bool held)
{
	const struct asker a = {.client = client};
	json_int_t id = (json_int_t)job;
	if (held)
		answer(d, &a, json_pack("{s:[I], s:I}", "jobs", id, "job", id));
	else
		answer_no(d, &a, ANSWER_NO, "job %" PRIu64 " had begun already", job);
}

void request_hold(struct daemon *d, const struct asker *a)
{
	hold_or_release(d, a, true);
}

void request_release(struct daemon *d, const struct asker *a)
{
	hold_or_release(d, a, false);
}

static void cancel_active(struct daemon *d, const struct asker *a, const struct user *u,
                          const struct job *job)
{
	char *by = by_whom("canceled", a);
	int r = by == NULL ? -ENOMEM : dispatch_cancel(d, job->id, by);
	free(by);
	/* No other worker can have it: its claim is being undone, and comes first. */
	if (r == -ESRCH && u->lock_fd >= 0) {
		steer_single(d, a, job, JOB_EV_CANCEL, "canceled");
		return;
	}
	if (r == -ESRCH)
		r = tree_ask_cancel(d->tree, u->name, job->id);
	if (r < 0)
		answer_no(d, a, ANSWER_NO, "job %" PRIu64 " cannot be canceled: %s", job->id,
		          strerror(-r));
	else
		wait_for_job(d, a, job->id);
}

/* Where it was to run once more it may lie in done or failed still: whoever cancels it then
 * would leave it there as what it is not. */
static void cancel_waiting(struct daemon *d, const struct asker *a, struct user *u,
                           const struct job *job)
{
	int r = job->place == PLACE_PROCESSING ? claim_bring_back(d, u, job) : 0;
	if (r < 0)
		answer_no(d, a, ANSWER_NO, "the file of job %" PRIu64 " cannot be taken back for its retry, nor "
		          "moved to failed: %s", job->id, strerror(-r));
	else
		steer_single(d, a, job, JOB_EV_CANCEL, "canceled");
}

void request_cancel(struct daemon *d, const struct asker *a)
{
	struct job job = {0};
	struct user *u;
	if (ask_job(d, a, &job, &u) &&
	    possible(d, a, &job, JOB_EV_CANCEL, "canceled", "pending, held, queued and processing")) {
		if (job_state_is_active(job.state))
			cancel_active(d, a, u, &job);
		else
			cancel_waiting(d, a, u, &job);
	}
	job_clear(&job);
}

/* Most jobs that one `retry --failed` takes: what is more is said. */
enum { RETRY_MAX = 100000 };

static int add_failed(struct daemon *d, const struct user *u, uint64_t **jobs, size_t *n)
{
	struct job job = {0};
	uint64_t after_ms = 0, after_id = 0;
	while (*n < RETRY_MAX && index_next_final(d->index, u->number, JOB_FAILED, after_ms, after_id,
	                                          &job) == 0) {
		after_ms = job.finished_ms;
		after_id = job.id;
		if ((*n & (*n + 1)) == 0 || *n == 0) {
			uint64_t *more = reallocarray(*jobs, 2 * *n + 2, sizeof *more);
			if (more == NULL) {
				job_clear(&job);
				return -ENOMEM;
			}
			*jobs = more;
		}
		if (!is_without_file(d, u, &job))
			(*jobs)[(*n)++] = job.id;
		job_clear(&job);
	}
	return 0;
}

static void retry_failed(struct daemon *d, const struct asker *a)
{
	struct user *only;
	uint64_t *jobs = NULL;
	size_t n = 0;
	if (!ask_user(d, a, &only))
		return;
	for (const struct user *u = d->users.by_name; u != NULL; u = u->hh.next)
		if (u->number != 0 && (only == NULL || only == u) && add_failed(d, u, &jobs, &n) < 0)
			break;
	steer(d, a, JOB_EV_REQUEUE, "put into the line again", NULL, jobs, n);
}

static const char *why_unmoved(const struct daemon *d, const struct job *job)
{
	int error = dispatch_unmoved(d, job->id);
	return error == 0 ? "the directories of its user are not compared with the index yet"
	                  : strerror(-error);
}

void request_retry(struct daemon *d, const struct asker *a)
{
	if (json_is_true(json_object_get(a->body, "failed"))) {
		retry_failed(d, a);
		return;
	}
	struct job job = {0};
	struct user *u;
	if (ask_job(d, a, &job, &u) &&
	    possible(d, a, &job, JOB_EV_REQUEUE, "put into the line again",
	             "done, failed and canceled")) {
		if (is_without_file(d, u, &job))
			answer_no(d, a, ANSWER_NO, "the file of job %" PRIu64 " is gone%s; upload it again",
			          job.id, retention_is_due(d, u, &job) ? ", or is being removed" : "");
		else if (is_uncompared(d, u, &job))
			answer_no(d, a, ANSWER_NO, "the file of job %" PRIu64 " cannot be moved to %s yet "
			          "(%s); when that is done, the job can be put into the line again", job.id,
			          place_name(job_final_place(job.state)), why_unmoved(d, &job));
		else
			steer_single(d, a, &job, JOB_EV_REQUEUE, "put into the line again");
	}
	job_clear(&job);
}

/* The job that this upload became already: its event came before this request.
 * One that is over counts too, where the client says since when. */
static bool find_submitted(struct daemon *d, const struct user *u, const char *path,
                           uint64_t since_ms, struct job *ret)
{
	if (index_find_path(d->index, u->number, path, ret) < 0)
		return false;
	bool newer = since_ms > 0 && ret->accepted_ms >= since_ms;
	if (newer || (!job_state_is_final(ret->state) && upload_find(u, path) == NULL))
		return true;
	job_clear(ret);
	return false;
}

static void await_upload(struct daemon *d, const struct asker *a, struct user *u,
                         const char *path, uint64_t since_ms)
{
	struct job job = {0};
	if (find_submitted(d, u, path, since_ms, &job)) {
		answer(d, a, json_pack("{s:o}", "job", shape_job(&job, u->name)));
	} else {
		wait_for_upload(d, a, u, path);
		intake_look(d, u, path, WATCH_RENAMED_IN);
		/* Its event came before this request, and it was told then, to nobody. */
		const struct upload_entry *e = upload_find(u, path);
		if (e != NULL && e->state == UPLOAD_OVER && e->lacks == QUOTA_TOO_LARGE)
			request_upload_stays(d, e);
	}
	job_clear(&job);
}

void request_submitted(struct daemon *d, const struct asker *a)
{
	struct user *u;
	uint64_t since_ms;
	const char *escaped = json_string_value(json_object_get(a->body, "name"));
	char *path = escaped == NULL ? NULL : unescape_name(escaped);
	if (path == NULL)
		answer_no(d, a, ANSWER_USAGE, "expected the name of the file that was put into incoming");
	else if (ask_number(d, a, "since", 0, &since_ms) && ask_user(d, a, &u)) {
		if (u == NULL)
			answer_no(d, a, ANSWER_USAGE, "expected a user");
		else
			await_upload(d, a, u, path, since_ms);
	}
	free(path);
}
