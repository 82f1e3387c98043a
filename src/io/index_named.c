/* The job whose file got a name in done or failed. */
#include "io/index.h"

#include "core/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Jobs of a state that are looked through: a file that is no job's shall not cost more. */
enum { NAMED_MAX = 10000 };

static bool is_named(const struct job *job, uint32_t user, enum place place, const char *path)
{
	const char *name = job->final_name != NULL ? job->final_name : job->path;
	return job->user == user && job->place == place && strcmp(name, path) == 0;
}

/* Its number stands in a name that is not its own ("report.42.csv"). */
static int find_by_number(struct index *ix, uint32_t user, enum place place, const char *path,
                          struct job *ret)
{
	for (const char *dot = strchr(name_base(path), '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
		uint64_t id = strtoull(dot + 1, NULL, 10);
		int r = id == 0 ? -ENOENT : index_get_job(ix, id, ret);
		if (r == 0 && is_named(ret, user, place, path))
			return 0;
		if (r == 0)
			job_clear(ret);
		else if (r != -ENOENT)
			return r;
	}
	return -ENOENT;
}

/* One of several of the same path, whose files were taken away before the next came. */
static int find_in_state(struct index *ix, uint32_t user, enum job_state state, enum place place,
                         const char *path, struct job *ret)
{
	uint64_t before_ms = UINT64_MAX, before_id = UINT64_MAX;
	for (int n = 0; n < NAMED_MAX; n++) {
		int r = index_prev_final(ix, user, state, before_ms, before_id, ret);
		if (r < 0 || is_named(ret, user, place, path))
			return r;
		before_ms = ret->finished_ms;
		before_id = ret->id;
		job_clear(ret);
	}
	return -ENOENT;
}

int index_find_final(struct index *ix, uint32_t user, enum place place, const char *path,
                     struct job *ret)
{
	static const enum job_state states[] = {JOB_DONE, JOB_FAILED, JOB_CANCELED};
	struct job job = {0};
	int r = index_find_path(ix, user, path, &job);
	if (r == 0 && !is_named(&job, user, place, path)) {
		job_clear(&job);
		r = -ENOENT;
	}
	if (r == -ENOENT)
		r = find_by_number(ix, user, place, path, &job);
	for (size_t i = 0; i < sizeof states / sizeof *states && r == -ENOENT; i++)
		r = find_in_state(ix, user, states[i], place, path, &job);
	if (r == 0)
		*ret = job;
	return r;
}
