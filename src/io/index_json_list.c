#include "io/index_json_private.h"

#include "base/escape.h"
#include "core/shape.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const stage_words[STAGES] = {
	[STAGE_ACTIVE] = "active", [STAGE_LINE] = "line",   [STAGE_DELAYED] = "delayed",
	[STAGE_HELD] = "held",     [STAGE_FINAL] = "final",
};

static const struct position beginning = {.stage = STAGE_ACTIVE};

bool list_wants(const struct list_walk *w, enum job_state state)
{
	return w->filter->any_state || w->filter->state == state;
}

int list_give(struct list_walk *w, const struct job *job, const char *user,
              const struct position *at)
{
	if (json_array_size(w->jobs) == w->limit) {
		w->full = true;
		return 1;
	}
	if (json_array_append_new(w->jobs, shape_job(job, user)) < 0)
		return -ENOMEM;
	char *copy = strdup(user);
	if (copy == NULL)
		return -ENOMEM;
	free(w->last.user);
	w->last = *at;
	w->last.user = copy;
	return 0;
}

static int walk_active(struct list_walk *w)
{
	uint32_t only = w->row.number;
	bool resumes = w->start.stage == STAGE_ACTIVE && w->start.user != NULL;
	struct position at = {
		.stage = STAGE_ACTIVE,
		.a = resumes ? w->start.a : only,
		.b = resumes ? w->start.b : 0,
	};
	for (;;) {
		struct job job;
		char *user = NULL;
		int r = index_next_active(w->ix, only, (uint32_t)at.a, at.b, &job);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		at.a = job.user;
		at.b = job.id;
		if (list_wants(w, job.state)) {
			r = index_user_name(w->ix, job.user, &user);
			if (r == 0)
				r = list_give(w, &job, user, &at);
		}
		free(user);
		job_clear(&job);
		if (r != 0)
			return r == -ENOENT ? -EBADMSG : r;
	}
}

static int walk_line(struct list_walk *w, uint32_t number, const char *user, uint64_t after_seq)
{
	struct position at = {.stage = STAGE_LINE, .a = after_seq};
	for (;;) {
		struct job job;
		int r = index_next_in_line(w->ix, number, at.a, &job);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		at.a = job.seq;
		r = list_give(w, &job, user, &at);
		job_clear(&job);
		if (r != 0)
			return r;
	}
}

static int walk_delayed(struct list_walk *w, uint32_t number, const char *user, uint64_t after_ms,
                        uint64_t after_id)
{
	struct position at = {.stage = STAGE_DELAYED, .a = after_ms, .b = after_id};
	for (;;) {
		struct job job;
		int r = index_next_delayed(w->ix, number, at.a, at.b, &job);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		at.a = job.not_before_ms;
		at.b = job.id;
		r = list_give(w, &job, user, &at);
		job_clear(&job);
		if (r != 0)
			return r;
	}
}

static int pending_of(struct list_walk *w, uint32_t number, const char *user,
                      const struct position *from)
{
	if (from->stage == STAGE_DELAYED)
		return walk_delayed(w, number, user, from->a, from->b);
	int r = walk_line(w, number, user, from->stage == STAGE_LINE ? from->a : 0);
	return r != 0 ? r : walk_delayed(w, number, user, 0, 0);
}

static int held_of(struct list_walk *w, uint32_t number, const char *user,
                   const struct position *from)
{
	struct position at = {.stage = STAGE_HELD, .a = from->stage == STAGE_HELD ? from->a : 0};
	for (;;) {
		struct job job;
		int r = index_next_held(w->ix, number, at.a, &job);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		at.a = job.id;
		r = list_give(w, &job, user, &at);
		job_clear(&job);
		if (r != 0)
			return r;
	}
}

/* A part of the list that goes user by user, in the order of names. */
struct part {
	enum job_state state;
	enum stage first, last;
	int (*next_user)(struct index *, const char *, char **, struct user_row *);
	int (*of)(struct list_walk *, uint32_t, const char *, const struct position *);
};

static int resume(struct list_walk *w, const struct part *part)
{
	struct user_row row;
	int r = index_get_user(w->ix, w->start.user, &row);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = part->of(w, row.number, w->start.user, &w->start);
	user_row_clear(&row);
	return r;
}

static int each_user(struct list_walk *w, const struct part *part)
{
	bool resumes = w->start.stage >= part->first && w->start.stage <= part->last;
	if (w->filter->user != NULL)
		return part->of(w, w->row.number, w->filter->user, resumes ? &w->start : &beginning);
	int r = resumes ? resume(w, part) : 0;
	char *after = NULL;
	if (r == 0 && resumes && (after = strdup(w->start.user)) == NULL)
		r = -ENOMEM;
	while (r == 0) {
		struct user_row row;
		char *user = NULL;
		r = part->next_user(w->ix, after, &user, &row);
		if (r < 0)
			break;
		free(after);
		after = user;
		if (row.count[part->state] > 0)
			r = part->of(w, row.number, user, &beginning);
		user_row_clear(&row);
	}
	free(after);
	return r == -ENOENT ? 0 : r;
}

static int walk_all(struct list_walk *w)
{
	static const struct part pending = {JOB_PENDING, STAGE_LINE, STAGE_DELAYED,
	                                    index_next_user_pending, pending_of};
	static const struct part held = {JOB_HELD, STAGE_HELD, STAGE_HELD, index_next_user, held_of};
	int r = 0;
	if (w->start.stage <= STAGE_ACTIVE &&
	    (list_wants(w, JOB_QUEUED) || list_wants(w, JOB_PROCESSING)))
		r = walk_active(w);
	if (r == 0 && w->start.stage <= STAGE_DELAYED && list_wants(w, JOB_PENDING))
		r = each_user(w, &pending);
	if (r == 0 && w->start.stage <= STAGE_HELD && list_wants(w, JOB_HELD))
		r = each_user(w, &held);
	if (r == 0 && (w->filter->any_state || job_state_is_final(w->filter->state)))
		r = list_walk_final(w);
	return r < 0 ? r : 0;
}

static uint64_t count_wanted(const struct list_walk *w, const struct user_row *row)
{
	uint64_t n = 0;
	for (int s = 0; s < JOB_STATES; s++)
		if (list_wants(w, (enum job_state)s))
			n += row->count[s];
	return n;
}

static int count_total(struct list_walk *w, uint64_t *ret_total)
{
	char *after = NULL;
	uint64_t total = 0;
	int r = 0;
	if (w->filter->user != NULL) {
		*ret_total = count_wanted(w, &w->row);
		return 0;
	}
	for (;;) {
		struct user_row row;
		char *user = NULL;
		r = index_next_user(w->ix, after, &user, &row);
		free(after);
		if (r < 0)
			break;
		after = user;
		total += count_wanted(w, &row);
		user_row_clear(&row);
	}
	if (r != -ENOENT)
		return r;
	*ret_total = total;
	return 0;
}

static int add_more(struct list_walk *w, json_t *o)
{
	uint64_t total = 0, given = json_array_size(w->jobs);
	if (w->full && w->filter->after != NULL)
		return json_object_set_new(o, "more", json_null());
	int r = w->full ? count_total(w, &total) : 0;
	if (r < 0)
		return r;
	json_int_t more = total > given ? (json_int_t)(total - given) : 0;
	return json_object_set_new(o, "more", json_integer(more)) < 0 ? -ENOMEM : 0;
}

/* "line 17 0 alice" */
static json_t *position_write(const struct position *p)
{
	char *user = escape_str(p->user), *text = NULL;
	json_t *value = NULL;
	if (user != NULL && asprintf(&text, "%s %" PRIu64 " %" PRIu64 " %s", stage_words[p->stage],
	                             p->a, p->b, user) >= 0) {
		value = json_string(text);
		free(text);
	}
	free(user);
	return value;
}

static int position_read(const char *text, struct position *ret)
{
	char word[16];
	uint64_t a, b;
	int used = 0, stage = 0;
	if (sscanf(text, "%15s %" SCNu64 " %" SCNu64 " %n", word, &a, &b, &used) != 3 || used == 0)
		return -EINVAL;
	while (stage < STAGES && strcmp(word, stage_words[stage]) != 0)
		stage++;
	if (stage == STAGES || text[used] == '\0' || (stage == STAGE_ACTIVE && a > UINT32_MAX))
		return -EINVAL;
	char *user = unescape_name(text + used);
	if (user == NULL)
		return errno == EINVAL ? -EINVAL : -ENOMEM;
	*ret = (struct position){.stage = (enum stage)stage, .a = a, .b = b, .user = user};
	return 0;
}

static int answer(struct list_walk *w, json_t **ret)
{
	json_t *o = json_object();
	int r = o == NULL || json_object_set(o, "jobs", w->jobs) < 0 ? -ENOMEM : add_more(w, o);
	if (r == 0 && json_object_set_new(o, "next", w->full ? position_write(&w->last)
	                                                     : json_null()) < 0)
		r = -ENOMEM;
	if (r < 0)
		json_decref(o);
	else
		*ret = o;
	return r;
}

int index_json_list(struct index *ix, const struct index_json_filter *filter, json_t **ret)
{
	bool capped = filter->limit == 0 || filter->limit > INDEX_JSON_LIMIT_MAX;
	struct list_walk w = {
		.ix = ix,
		.filter = filter,
		.limit = capped ? INDEX_JSON_LIMIT_MAX : filter->limit,
		.start = beginning,
		.jobs = json_array(),
	};
	int r = w.jobs == NULL ? -ENOMEM : 0;
	if (r == 0 && filter->after != NULL)
		r = position_read(filter->after, &w.start);
	if (r == 0 && filter->user != NULL)
		r = index_get_user(ix, filter->user, &w.row);
	if (r == 0)
		r = walk_all(&w);
	if (r == 0)
		r = answer(&w, ret);
	user_row_clear(&w.row);
	json_decref(w.jobs);
	free(w.start.user);
	free(w.last.user);
	return r;
}
