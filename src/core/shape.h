/* The JSON of the contract: what `spoolctl --json` and the control socket say
 * about jobs, attempts and users.
 *
 * Every function returns a new reference, or NULL when memory is out. Names
 * are escaped (base/escape.h), texts are made printable, times are RFC 3339 in
 * UTC and null where they have not come yet. Fields may be added, never
 * renamed. */
#pragma once

#include "core/message.h"
#include "core/record.h"
#include <jansson.h>

/* A name or path, escaped; null for NULL. */
json_t *shape_name(const char *bytes);
/* A sentence (an error, a handler's message): control characters and bytes
 * that are no UTF-8 are escaped, backslashes stay. null for NULL. */
json_t *shape_text(const char *text);
/* null for 0. */
json_t *shape_time(uint64_t wall_ms);
/* A number of seconds with three digits after the point. */
json_t *shape_seconds(uint64_t ms);

/* Bytes of whatever kind: one character each, U+0000 to U+00FF. */
json_t *shape_bytes(const void *bytes, size_t n);

/* What was read of a log from `offset`: {"data", "next", "final"}. `next` is where to
 * go on; `final`: the job has ended, and nothing more comes. */
json_t *shape_log(const void *bytes, size_t n, uint64_t offset, bool ended);

/* Where the job's file is, from the root of the spool: a new string
 * ("alice/done/report.42.csv", "alice/processing/42/report.csv"; free), or
 * NULL with *ret_error 0 where it is nowhere, else -ENOMEM. */
char *shape_job_path(const struct job *job, const char *user, int *ret_error);

/* {"job", "user", "name", "state", "attempt", "size", "accepted_at",
 *  "started_at", "finished_at", "exit_code", "records", "error", "not_before"}
 * and {"place", "path", "arrived_at", "claimed_at", "failures",
 * "interruptions", "spent_seconds"}. `name` is the path the upload had below
 * incoming; `path` where it is now, below the spool's root, or null. */
json_t *shape_job(const struct job *job, const char *user);

/* {"number", "claimed_at", "started_at", "finished_at", "outcome",
 *  "exit_code", "records", "error", "message"} */
json_t *shape_attempt(const struct attempt *attempt);

/* A job at work, as in a user's status: {"job", "name", "state", "attempt",
 * "elapsed_seconds", "progress", "records", "message"}. Elapsed counts from
 * the start of the handler, before that from the claim. `progress`: what its
 * handler last reported, or NULL. */
json_t *shape_running(const struct job *job, uint64_t now_wall_ms,
                      const struct run_progress *progress);

/* A user's status from its counters, with nothing alive in it yet: {"user",
 * "watch": null, "held", "held_reason", "arriving": 0, a counter for
 * each state ("pending" ... "canceled") and "held_jobs",
 * "oldest_pending_seconds": null, "running": []}. */
json_t *shape_user(const char *user, const struct user_row *row);
/* The problem of one whose directory was removed ("removed": true). */
#define SHAPE_REMOVED "its directory is gone: there is no such user any more"
