/* What lies beside a result in done and failed, its log and what its handler left in its
 * output directory: whose is it, or why is it not there? Names only; whether it is spoold's own
 * is told by the tree. */
#pragma once

#include "core/job.h"
#include <jansson.h>

struct beside {
	bool output;    /* it is, or lies in, an output directory; else it is a log */
	char *own;      /* path of that log or directory, below done or failed */
	char *numbered; /* the same with the number of its job before the suffix; NULL: it is that */
	struct job job;
};

/* Where `own` is spoold's own (a log, an output directory), the job whose file has this name;
 * both in the place that `ctx` stands for. Asked for each part of a path that looks like it:
 * whether it is ours should be told first where looking for a job is dear. */
typedef bool beside_find_fn(void *ctx, const char *own, bool output, const char *name,
                            struct job *ret);

/* Fills `ret` (to be cleared) and returns true where a path is named after the result of a
 * job that `find` knows. False: no such job, or memory is out. */
bool beside_find(const char *path, beside_find_fn *find, void *ctx, struct beside *ret);
void beside_clear(struct beside *b);

/* {"path", "job", "state": "log" or "output", "because", "next"}: as explain says it.
 * `keep_ms` is how long such jobs are kept, 0 = for ever. NULL when memory is out. */
json_t *beside_explain(const struct beside *b, const char *path, uint64_t keep_ms,
                       uint64_t now_wall_ms);

/* Why a job that ended has no log, as a sentence; `keep_logs` is the word of its handler's
 * setting. A new string, NULL when memory is out. */
char *beside_no_log(const struct job *job, const char *keep_logs);
