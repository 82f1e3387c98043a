#include "core/shape.h"

#include "base/clock.h"
#include "base/escape.h"
#include "base/text.h"
#include "core/name.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *take_string(char *text)
{
	json_t *value = text == NULL ? NULL : json_string(text);
	free(text);
	return value;
}

json_t *shape_name(const char *bytes)
{
	return bytes == NULL ? json_null() : take_string(escape_str(bytes));
}

json_t *shape_text(const char *text)
{
	return text == NULL ? json_null() : take_string(text_printable(text, strlen(text), ""));
}

json_t *shape_time(uint64_t wall_ms)
{
	char when[CLOCK_RFC3339_SIZE];
	return wall_ms == 0 ? json_null() : json_string(clock_rfc3339(wall_ms, when));
}

json_t *shape_seconds(uint64_t ms)
{
	return json_real((double)ms / 1000);
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

json_t *shape_bytes(const void *bytes, size_t n)
{
	const unsigned char *in = bytes;
	char *text = malloc(2 * n + 1);
	if (text == NULL)
		return NULL;
	size_t used = 0;
	for (size_t i = 0; i < n; i++) {
		if (in[i] < 0x80) {
			text[used++] = (char)in[i];
		} else {
			text[used++] = (char)(0xc0 | in[i] >> 6);
			text[used++] = (char)(0x80 | (in[i] & 0x3f));
		}
	}
	json_t *string = json_stringn(text, used);
	free(text);
	return string;
}

json_t *shape_log(const void *bytes, size_t n, uint64_t offset, bool ended)
{
	return json_pack("{s:o, s:o, s:b}", "data", shape_bytes(bytes, n), "next", number(offset + n),
	                 "final", (int)(ended && n == 0));
}

static json_t *exit_code(int32_t code)
{
	return code == EXIT_CODE_NONE ? json_null() : json_integer(code);
}

static json_t *records(uint64_t n)
{
	return n == RECORDS_NONE ? json_null() : number(n);
}

/* JSON has no infinity. */
static json_t *fraction(double progress)
{
	return progress >= 0 ? json_real(progress < 1 ? progress : 1) : json_null();
}

/* Sets a field; where memory is out, drops the object, which is NULL from
 * then on. */
static void put(json_t **object, const char *key, json_t *value)
{
	if (*object == NULL) {
		json_decref(value);
	} else if (json_object_set_new(*object, key, value) < 0) {
		json_decref(*object);
		*object = NULL;
	}
}

char *shape_job_path(const struct job *job, const char *user, int *ret_error)
{
	char *path = NULL;
	int n;
	if (job->place == PLACE_NOWHERE) {
		*ret_error = 0;
		return NULL;
	}
	if (job->place == PLACE_PROCESSING)
		n = asprintf(&path, "%s/%s/%" PRIu64 "/%s", user, place_name(job->place), job->id,
		             name_base(job->path));
	else
		n = asprintf(&path, "%s/%s/%s", user, place_name(job->place),
		             job->place != PLACE_INCOMING && job->final_name != NULL ? job->final_name
		                                                                     : job->path);
	if (n < 0) {
		*ret_error = -ENOMEM;
		return NULL;
	}
	return path;
}

static json_t *job_path(const struct job *job, const char *user)
{
	int error = 0;
	char *path = shape_job_path(job, user, &error);
	json_t *value = path == NULL && error < 0 ? NULL : shape_name(path);
	free(path);
	return value;
}

json_t *shape_job(const struct job *job, const char *user)
{
	json_t *o = json_object();
	put(&o, "job", number(job->id));
	put(&o, "user", shape_name(user));
	put(&o, "name", shape_name(job->path));
	put(&o, "state", json_string(job_state_name(job->state)));
	put(&o, "place", json_string(place_name(job->place)));
	put(&o, "path", job_path(job, user));
	put(&o, "attempt", number(job->attempt));
	put(&o, "failures", number(job->failures));
	put(&o, "interruptions", number(job->interruptions));
	put(&o, "size", number(job->ident.size));
	if (job->ident.whole != 0)
		put(&o, "directory", json_true());
	put(&o, "arrived_at", shape_time(job->arrived_ms));
	put(&o, "accepted_at", shape_time(job->accepted_ms));
	put(&o, "claimed_at", shape_time(job->claimed_ms));
	put(&o, "started_at", shape_time(job->started_ms));
	put(&o, "finished_at", shape_time(job->finished_ms));
	put(&o, "not_before", shape_time(job->not_before_ms));
	put(&o, "spent_seconds", shape_seconds(job->spent_ms));
	put(&o, "exit_code", job->attempt == 0 ? json_null() : exit_code(job->exit_code));
	put(&o, "records", job->attempt == 0 ? json_null() : records(job->records));
	put(&o, "error", shape_text(job->error));
	return o;
}

json_t *shape_attempt(const struct attempt *attempt)
{
	json_t *o = json_object();
	put(&o, "number", number(attempt->number));
	put(&o, "claimed_at", shape_time(attempt->claimed_ms));
	put(&o, "started_at", shape_time(attempt->started_ms));
	put(&o, "finished_at", shape_time(attempt->finished_ms));
	put(&o, "outcome", json_string(outcome_name(attempt->outcome)));
	put(&o, "exit_code", exit_code(attempt->exit_code));
	put(&o, "records", records(attempt->records));
	put(&o, "error", shape_text(attempt->error));
	put(&o, "message", shape_text(attempt->message));
	return o;
}

json_t *shape_running(const struct job *job, uint64_t now_wall_ms,
                      const struct run_progress *progress)
{
	bool runs = job->state == JOB_PROCESSING && job->started_ms != 0;
	uint64_t since_ms = runs ? job->started_ms : job->claimed_ms;
	json_t *o = json_object();
	put(&o, "job", number(job->id));
	put(&o, "name", shape_name(job->path));
	put(&o, "state", json_string(job_state_name(job->state)));
	put(&o, "attempt", number(job->attempt));
	/* The wall clock may have been set back meanwhile. */
	put(&o, "elapsed_seconds", shape_seconds(now_wall_ms > since_ms ? now_wall_ms - since_ms : 0));
	put(&o, "progress", fraction(progress != NULL ? progress->progress : -1));
	put(&o, "records", records(progress != NULL ? progress->records : RECORDS_NONE));
	put(&o, "message", shape_text(progress != NULL ? progress->message : NULL));
	return o;
}

json_t *shape_user(const char *user, const struct user_row *row)
{
	json_t *o = json_object();
	put(&o, "user", shape_name(user));
	put(&o, "watch", json_null());
	put(&o, "held", json_boolean(row->held));
	put(&o, "held_reason", shape_text(row->held_reason));
	put(&o, "arriving", number(0));
	for (int s = 0; s < JOB_STATES; s++)
		put(&o, s == JOB_HELD ? "held_jobs" : job_state_name((enum job_state)s),
		    number(row->count[s]));
	put(&o, "oldest_pending_seconds", json_null());
	put(&o, "running", json_array());
	return o;
}
