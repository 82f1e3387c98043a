#include "io/index_json.h"

#include "base/human.h"
#include "core/shape.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ATTEMPTS_MAX = 100, AHEAD_MAX = 1000 };

static int add_attempts(struct index *ix, const struct job *job, json_t *array)
{
	uint32_t after = job->attempt > ATTEMPTS_MAX ? job->attempt - ATTEMPTS_MAX : 0;
	for (;;) {
		struct attempt attempt;
		int r = index_next_attempt(ix, job->id, after, &attempt);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		after = attempt.number;
		r = json_array_append_new(array, shape_attempt(&attempt));
		attempt_clear(&attempt);
		if (r < 0)
			return -ENOMEM;
	}
}

static int get_named(struct index *ix, uint64_t id, struct job *ret_job, char **ret_user)
{
	int r = index_get_job(ix, id, ret_job);
	if (r < 0)
		return r;
	r = index_user_name(ix, ret_job->user, ret_user);
	if (r < 0)
		job_clear(ret_job);
	/* A job without its user is damage, not a wrong question. */
	return r == -ENOENT ? -EBADMSG : r;
}

int index_json_show(struct index *ix, uint64_t id, json_t **ret)
{
	struct job job;
	char *user = NULL;
	int r = get_named(ix, id, &job, &user);
	if (r < 0)
		return r;
	json_t *o = shape_job(&job, user);
	json_t *attempts = json_array();
	r = o == NULL || attempts == NULL ? -ENOMEM : add_attempts(ix, &job, attempts);
	if (r == 0 && json_object_set(o, "attempts", attempts) < 0)
		r = -ENOMEM;
	json_decref(attempts);
	job_clear(&job);
	free(user);
	if (r < 0)
		json_decref(o);
	else
		*ret = o;
	return r;
}

static int add_running(struct index *ix, uint32_t user, uint64_t now_wall_ms, json_t *array)
{
	uint64_t after = 0;
	for (;;) {
		struct job job;
		int r = index_next_active(ix, user, user, after, &job);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		after = job.id;
		r = json_array_append_new(array, shape_running(&job, now_wall_ms, NULL));
		job_clear(&job);
		if (r < 0)
			return -ENOMEM;
	}
}

/* When the job that waits longest was accepted: the head of the line, or of
 * those that wait aside for their retry. 0 = nobody waits. */
static int oldest_pending(struct index *ix, uint32_t user, uint64_t *ret_ms)
{
	struct job job;
	uint64_t oldest = 0;
	int r = index_next_in_line(ix, user, 0, &job);
	if (r == 0) {
		oldest = job.accepted_ms;
		job_clear(&job);
	}
	if (r < 0 && r != -ENOENT)
		return r;
	r = index_next_delayed(ix, user, 0, 0, &job);
	if (r == 0) {
		if (oldest == 0 || job.accepted_ms < oldest)
			oldest = job.accepted_ms;
		job_clear(&job);
	}
	if (r < 0 && r != -ENOENT)
		return r;
	*ret_ms = oldest;
	return 0;
}

static int add_oldest(struct index *ix, uint32_t user, uint64_t now_wall_ms, json_t *o)
{
	uint64_t oldest_ms = 0;
	int r = oldest_pending(ix, user, &oldest_ms);
	if (r < 0 || oldest_ms == 0)
		return r;
	uint64_t age_ms = now_wall_ms > oldest_ms ? now_wall_ms - oldest_ms : 0;
	return json_object_set_new(o, "oldest_pending_seconds", shape_seconds(age_ms)) < 0 ? -ENOMEM
	                                                                                   : 0;
}

int index_json_user(struct index *ix, const char *user, const struct user_row *row,
                    uint64_t now_wall_ms, json_t **ret)
{
	json_t *o = shape_user(user, row);
	int r = o == NULL ? -ENOMEM : 0;
	/* Counters spare look-ups: with many users nearly all of them are idle. */
	if (r == 0 && row->count[JOB_PENDING] > 0)
		r = add_oldest(ix, row->number, now_wall_ms, o);
	if (r == 0 && row->count[JOB_QUEUED] + row->count[JOB_PROCESSING] > 0)
		r = add_running(ix, row->number, now_wall_ms, json_object_get(o, "running"));
	if (r < 0)
		json_decref(o);
	else
		*ret = o;
	return r;
}

struct reason {
	char *because, *next;
};

static int say(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int say(char **ret, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vasprintf(ret, format, args);
	va_end(args);
	if (n < 0)
		*ret = NULL;
	return n < 0 ? -ENOMEM : 0;
}

/* Jobs that stand before this one, counted up to AHEAD_MAX + 1. */
static int count_ahead(struct index *ix, const struct job *job, unsigned *ret_ahead)
{
	unsigned ahead = 0;
	uint64_t seq = 0;
	while (ahead <= AHEAD_MAX) {
		struct job other;
		int r = index_next_in_line(ix, job->user, seq, &other);
		if (r < 0 && r != -ENOENT)
			return r;
		bool before = r == 0 && other.seq < job->seq;
		seq = r == 0 ? other.seq : 0;
		if (r == 0)
			job_clear(&other);
		if (!before)
			break;
		ahead++;
	}
	*ret_ahead = ahead;
	return 0;
}

static int explain_place(struct index *ix, const struct job *job, const char *user,
                         struct reason *reason)
{
	unsigned ahead = 0;
	int r = count_ahead(ix, job, &ahead);
	if (r < 0)
		return r;
	if (ahead == 0)
		r = say(&reason->because, "it is the next of %s's line", user);
	else if (ahead > AHEAD_MAX)
		r = say(&reason->because, "more than %d jobs of %s are ahead of it", AHEAD_MAX, user);
	else
		r = say(&reason->because, "%u job%s of %s %s ahead of it", ahead, ahead == 1 ? "" : "s",
		        user, ahead == 1 ? "is" : "are");
	if (r < 0)
		return r;
	return say(&reason->next, "it starts when its turn has come and a worker is free");
}

static int explain_retry(const struct job *job, uint64_t now_wall_ms, struct reason *reason)
{
	char wait[HUMAN_SIZE];
	/* One that could not be started has no number, or that of the attempt before. */
	int r = job->started_ms == 0 && job->error != NULL
	                ? say(&reason->because, "%s", job->error)
	                : say(&reason->because, "attempt %u failed%s%s", job->attempt,
	                      job->error == NULL ? "" : ": ", job->error == NULL ? "" : job->error);
	return r < 0 ? r : say(&reason->next, "it is tried again in %s",
	                       human_duration(job->not_before_ms - now_wall_ms, wait));
}

static int explain_pending(struct index *ix, const struct job *job, const char *user,
                           uint64_t now_wall_ms, struct reason *reason)
{
	struct user_row row;
	int r = index_get_user(ix, user, &row);
	if (r < 0)
		return r;
	if (row.held) {
		struct held_why why = held_why(row.held_reason);
		r = say(&reason->because, "the line of %s is held%s%s", user, why.sign, why.text);
		if (r == 0)
			r = say(&reason->next, "it waits for: spoolctl release --user %s", user);
	} else if (job->not_before_ms > now_wall_ms) {
		r = explain_retry(job, now_wall_ms, reason);
	} else {
		r = explain_place(ix, job, user, reason);
	}
	user_row_clear(&row);
	return r;
}

static int explain_next_of_ended(const struct job *job, struct reason *reason)
{
	return say(&reason->next, "nothing, unless somebody asks for: spoolctl retry %" PRIu64, job->id);
}

static int explain_canceled(const struct job *job, struct reason *reason)
{
	const char *error = job->error;
	/* "canceled by alice" is half a sentence already. */
	int r = error != NULL && strncmp(error, "canceled", 8) == 0
	                ? say(&reason->because, "it was %s", error)
	                : say(&reason->because, "it was canceled%s%s", error == NULL ? "" : ": ",
	                      error == NULL ? "" : error);
	/* One that was withdrawn or replaced has no file to run once more. */
	return r < 0 || job->place == PLACE_NOWHERE ? r : explain_next_of_ended(job, reason);
}

static int explain_final(const struct job *job, struct reason *reason)
{
	const char *error = job->error;
	if (job->state == JOB_DONE)
		return say(&reason->because, "its handler succeeded");
	if (job->state == JOB_CANCELED)
		return explain_canceled(job, reason);
	/* One that never ran failed for a reason of its own. */
	int r = job->started_ms == 0 && error != NULL
	                ? say(&reason->because, "%s", error)
	                : say(&reason->because, "attempt %u failed%s%s", job->attempt,
	                      error == NULL ? "" : ": ", error == NULL ? "" : error);
	return r < 0 ? r : explain_next_of_ended(job, reason);
}

static int explain_job(struct index *ix, const struct job *job, const char *user,
                       uint64_t now_wall_ms, struct reason *reason)
{
	int r;
	switch (job->state) {
	case JOB_PENDING:
		return explain_pending(ix, job, user, now_wall_ms, reason);
	case JOB_HELD:
		r = say(&reason->because, "it is held");
		return r < 0 ? r : say(&reason->next, "it waits for: spoolctl release %" PRIu64, job->id);
	case JOB_QUEUED:
		r = say(&reason->because, "a worker has claimed it");
		return r < 0 ? r : say(&reason->next, "its handler starts");
	case JOB_PROCESSING:
		r = say(&reason->because, "attempt %u runs", job->attempt);
		return r < 0 ? r : say(&reason->next, "its handler ends");
	default:
		return explain_final(job, reason);
	}
}

static int put_new(json_t *o, const char *key, json_t *value)
{
	return json_object_set_new(o, key, value) < 0 ? -ENOMEM : 0;
}

static json_t *explanation(const struct job *job, const char *user, const struct reason *reason)
{
	int error = 0;
	char *path = shape_job_path(job, user, &error);
	json_t *o = json_object();
	if (o != NULL && error == 0)
		error = put_new(o, "path", shape_name(path != NULL ? path : job->path));
	if (o != NULL && error == 0)
		error = put_new(o, "job", json_integer((json_int_t)job->id));
	if (o != NULL && error == 0)
		error = put_new(o, "state", json_string(job_state_name(job->state)));
	if (o != NULL && error == 0)
		error = put_new(o, "because", shape_text(reason->because));
	if (o != NULL && error == 0)
		error = put_new(o, "next", shape_text(reason->next));
	free(path);
	if (error == 0)
		return o;
	json_decref(o);
	return NULL;
}

int index_json_explain(struct index *ix, uint64_t id, uint64_t now_wall_ms, json_t **ret)
{
	struct job job;
	struct reason reason = {0};
	char *user = NULL;
	int r = get_named(ix, id, &job, &user);
	if (r < 0)
		return r;
	r = explain_job(ix, &job, user, now_wall_ms, &reason);
	json_t *o = r < 0 ? NULL : explanation(&job, user, &reason);
	if (r == 0 && o == NULL)
		r = -ENOMEM;
	if (r == 0)
		*ret = o;
	free(reason.because);
	free(reason.next);
	free(user);
	job_clear(&job);
	return r;
}
