/* The final jobs of a list: newest first, of all users in one row. */
#include "io/index_json_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The newest final jobs seen so far, newest first. */
struct newest {
	struct job *jobs[INDEX_JSON_LIMIT_MAX + 1];
	size_t n, room;
};

static bool is_newer(const struct job *a, const struct job *b)
{
	return a->finished_ms != b->finished_ms ? a->finished_ms > b->finished_ms : a->id > b->id;
}

static void job_free(struct job *job)
{
	job_clear(job);
	free(job);
}

/* Takes the job over. 1: it is too old, and so is all that is older. */
static int newest_add(struct newest *top, struct job *job)
{
	size_t at = top->n;
	while (at > 0 && is_newer(job, top->jobs[at - 1]))
		at--;
	if (at == top->room) {
		job_clear(job);
		return 1;
	}
	struct job *kept = malloc(sizeof *kept);
	if (kept == NULL) {
		job_clear(job);
		return -ENOMEM;
	}
	*kept = *job;
	if (top->n == top->room)
		job_free(top->jobs[--top->n]);
	memmove(&top->jobs[at + 1], &top->jobs[at], (top->n - at) * sizeof top->jobs[0]);
	top->jobs[at] = kept;
	top->n++;
	return 0;
}

static int collect(struct list_walk *w, uint32_t number, enum job_state state, struct newest *top)
{
	uint64_t ms = UINT64_MAX, id = UINT64_MAX;
	if (w->start.stage == STAGE_FINAL) {
		ms = w->start.a;
		id = w->start.b;
	}
	for (;;) {
		struct job job;
		int r = index_prev_final(w->ix, number, state, ms, id, &job);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		ms = job.finished_ms;
		id = job.id;
		r = newest_add(top, &job);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

static int collect_user(struct list_walk *w, const struct user_row *row, struct newest *top)
{
	int r = 0;
	for (int s = 0; r == 0 && s < JOB_STATES; s++) {
		enum job_state state = (enum job_state)s;
		if (job_state_is_final(state) && list_wants(w, state) && row->count[state] > 0)
			r = collect(w, row->number, state, top);
	}
	return r;
}

static int collect_all(struct list_walk *w, struct newest *top)
{
	char *after = NULL;
	int r = 0;
	while (r == 0) {
		struct user_row row;
		char *user = NULL;
		r = index_next_user(w->ix, after, &user, &row);
		if (r < 0)
			break;
		free(after);
		after = user;
		r = collect_user(w, &row, top);
		user_row_clear(&row);
	}
	free(after);
	return r == -ENOENT ? 0 : r;
}

static int give_newest(struct list_walk *w, const struct newest *top)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < top->n; i++) {
		const struct job *job = top->jobs[i];
		struct position at = {.stage = STAGE_FINAL, .a = job->finished_ms, .b = job->id};
		char *user = NULL;
		r = index_user_name(w->ix, job->user, &user);
		if (r == 0)
			r = list_give(w, job, user, &at);
		free(user);
	}
	return r == -ENOENT ? -EBADMSG : r;
}

int list_walk_final(struct list_walk *w)
{
	struct newest *top = calloc(1, sizeof *top);
	if (top == NULL)
		return -ENOMEM;
	/* One more than there is room for tells whether there is more. */
	top->room = w->limit - json_array_size(w->jobs) + 1;
	int r = w->filter->user != NULL ? collect_user(w, &w->row, top) : collect_all(w, top);
	if (r == 0)
		r = give_newest(w, top);
	for (size_t i = 0; i < top->n; i++)
		job_free(top->jobs[i]);
	free(top);
	return r;
}
