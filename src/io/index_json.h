/* What operators ask of the index, as the JSON of the contract
 * (core/shape.h). Used by the daemon for its socket, and by spoolctl where no
 * daemon runs. Reads only.
 *
 * Every function returns 0 with a new reference in *ret, -ENOENT where the
 * user or job does not exist, -ENOMEM, or an error of the index. */
#pragma once

#include "io/index.h"
#include <jansson.h>

/* Jobs in one answer; the rest is asked for with `after`. Bounds the memory
 * and the time of an answer, whatever the backlog. */
enum { INDEX_JSON_LIMIT_MAX = 1000 };

struct index_json_filter {
	const char *user;     /* NULL = all users */
	bool any_state;
	enum job_state state; /* where any_state is not set */
	size_t limit;         /* 0 or beyond INDEX_JSON_LIMIT_MAX: that many */
	const char *after;    /* "next" of the answer before, or NULL */
};

/* {"jobs": [...], "more": N | null, "next": S | null}
 *
 * The order: active jobs, then pending ones in the order of their lines, then
 * held ones, then final ones, newest first. Among several users the active
 * come by the users' seniority, pending and held user by user in the order of
 * names, and the final ones of all users in one row. A pending job that lets
 * others go ahead while it waits for its retry stands behind its user's line.
 *
 * `more`: how many jobs the filter lets through beyond these; null in the
 * answers that follow an `after`. `next`: pass it as `after` for the rest;
 * null at the end. -EINVAL: `after` is none of ours.
 *
 * Cost: a look-up per job, and where final jobs are reached, one per user and
 * state. */
int index_json_list(struct index *ix, const struct index_json_filter *filter, json_t **ret);

/* One job as in the list, with "attempts": the last 100 of them, oldest first. */
int index_json_show(struct index *ix, uint64_t id, json_t **ret);

/* The status of one user (shape_user()) with "oldest_pending_seconds" and the
 * "running" jobs as the index knows them, without progress. Cost does not
 * depend on the backlog. */
int index_json_user(struct index *ix, const char *user, const struct user_row *row,
                    uint64_t now_wall_ms, json_t **ret);

/* {"path", "job", "state", "because", "next"}: why a job is where it is, as
 * far as the index knows. Counts at most 1000 jobs ahead of it. */
int index_json_explain(struct index *ix, uint64_t id, uint64_t now_wall_ms, json_t **ret);
