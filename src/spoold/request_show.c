#include "base/escape.h"
#include "base/human.h"
#include "core/beside.h"
#include "core/name.h"
#include "core/shape.h"
#include "io/index_json.h"
#include "spoold/request_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bytes of a log in one answer: each may take six characters of JSON. */
enum { LOG_CHUNK = 64 * 1024 };
/* Users in a status that sums up the idle ones. */
enum { STATUS_BUSY_MAX = 1000, STATUS_RUNNING_MAX = 64 };

static json_t *daemon_status(const struct daemon *d)
{
	json_t *root = shape_name(tree_root(d->tree));
	json_t *since = shape_time(d->since_ms);
	json_t *object = json_pack(
		"{s:b, s:i, s:s, s:o, s:o, s:b, s:b, s:b, s:b, s:i, s:i, s:i}", "running", 1, "pid",
		(int)getpid(), "version", SPOOLD_VERSION, "since", since, "root", root, "starting",
		(int)d->starting, "stopped", (int)!sched_running(d->sched), "stopping",
		(int)d->stopping, "mounted", (int)!d->unmounted, "workers",
		(int)d->config->max_concurrent, "active", (int)sched_active(d->sched), "overflows",
		(int)d->intake.overflows);
	if (object != NULL && d->turn.error != 0)
		json_object_set_new(object, "problem",
		                    json_sprintf("the index cannot be written: %s; %s %s",
		                                 strerror(-d->turn.error),
		                                 human_remedy(d->turn.error), d->config->index));
	else if (object != NULL && d->unmounted)
		json_object_set_new(object, "problem",
		                    json_string(d->silent ? "the mount that holds the spool does not answer: "
		                                            "nothing is taken in until it does"
		                                          : "the spool is not mounted: nothing is taken in "
		                                            "until it is back"));
	return object;
}

/* What the index cannot know of a running job: how far its handler says it is, or
 * that it waits in its worker for the one before. */
static void add_progress(const struct daemon *d, json_t *running)
{
	uint64_t id = (uint64_t)json_integer_value(json_object_get(running, "job"));
	const struct running *r = dispatch_find(d, id);
	if (r == NULL)
		return;
	if (r->ahead)
		json_object_set_new(running, "ahead", json_true());
	if (r->standby != NULL)
		json_object_set_new(running, "standby", json_true());
	if (r->progress >= 0)
		json_object_set_new(running, "progress", json_real(r->progress));
	if (r->records != RECORDS_NONE)
		json_object_set_new(running, "records", json_integer((json_int_t)r->records));
	if (r->message != NULL)
		json_object_set_new(running, "message", shape_text(r->message));
}

static json_t *user_status(struct daemon *d, const struct user *u)
{
	struct user_row row = {0};
	json_t *object = NULL;
	if (index_get_user(d->index, u->name, &row) < 0)
		return NULL;
	if (index_json_user(d->index, u->name, &row, d->wall_ms, &object) == 0) {
		size_t i;
		json_t *running;
		json_array_foreach(json_object_get(object, "running"), i, running)
			add_progress(d, running);
		json_object_set_new(object, "watch", json_string(u->polled ? "poll" : "inotify"));
		add_waiting(d, u, &row, object);
		json_object_set_new(object, "mounted", json_boolean(!u->away && !d->unmounted));
		json_object_set_new(object, "answers", json_boolean(!u->silent && !d->silent));
	}
	user_row_clear(&row);
	return object;
}

static int by_name(const void *a, const void *b)
{
	const struct user *const *x = a, *const *y = b;
	return strcmp((*x)->name, (*y)->name);
}

/* Users that are to be shown. */
struct shown {
	struct user **users;
	size_t n;
	uint64_t left_out; /* who are busy, but too many */
	char *next;        /* more follow after this one (free); or NULL */
};

static bool is_shown(const struct user *u)
{
	return !u->removed || u->busy;
}

/* All users that the asker may see, in order of names. */
static void show_all(const struct daemon *d, const struct asker *a, struct shown *shown)
{
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next)
		if (u->number != 0 && is_shown(u) && may(a, u->name))
			shown->users[shown->n++] = u;
	if (shown->n > 1)
		qsort(shown->users, shown->n, sizeof *shown->users, by_name);
}

static bool has(const struct shown *shown, size_t n, const struct user *u)
{
	for (size_t i = 0; i < n; i++)
		if (shown->users[i] == u)
			return true;
	return false;
}

/* Those with something to be done: some whose jobs run, then who waits for longest. */
static void show_busy(const struct daemon *d, struct shown *shown)
{
	const struct running *r = d->dispatch.running;
	for (; r != NULL && shown->n < STATUS_RUNNING_MAX; r = r->hh.next)
		if (r->user->busy && !has(shown, shown->n, r->user))
			shown->users[shown->n++] = r->user;
	size_t running = shown->n;
	for (struct user *u = d->busy.users; u != NULL && shown->n < STATUS_BUSY_MAX; u = u->busy_next)
		if (!has(shown, running, u))
			shown->users[shown->n++] = u;
	shown->left_out = d->busy.n - shown->n;
	if (shown->n > 1)
		qsort(shown->users, shown->n, sizeof *shown->users, by_name);
}

/* A page, in order of names: the index has that order. */
static void show_page(struct daemon *d, const struct asker *a, const char *after, uint64_t limit,
                      struct shown *shown)
{
	char *name = after == NULL ? NULL : strdup(after);
	struct user_row row;
	for (;;) {
		char *next = NULL;
		if (shown->n == limit) {
			shown->next = name;
			return;
		}
		int r = index_next_user(d->index, name, &next, &row);
		free(name);
		if (r < 0)
			return;
		user_row_clear(&row);
		name = next;
		struct user *u = user_find(d, name);
		if (u != NULL && is_shown(u) && may(a, name))
			shown->users[shown->n++] = u;
	}
}

/* `running` are those that run or start; `queued` wait in their workers, or for a place. */
static json_t *totals(const struct daemon *d, const struct shown *shown)
{
	uint64_t arriving = 0, running = dispatch_running(d);
	uint64_t users = HASH_COUNT(d->users.by_name) - d->users.removed;
	for (size_t i = 0; i < shown->n; i++)
		arriving += upload_count_arriving(shown->users[i]);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "users",
	                 (json_int_t)users, "idle",
	                 (json_int_t)(users > d->busy.n ? users - d->busy.n : 0), "busy_left_out",
	                 (json_int_t)shown->left_out, "running",
	                 (json_int_t)running, "queued",
	                 (json_int_t)(HASH_COUNT(d->dispatch.running) - running), "pending",
	                 (json_int_t)d->busy.pending, "arriving", (json_int_t)arriving, "done",
	                 (json_int_t)d->busy.done, "failed", (json_int_t)d->busy.failed);
}

static void answer_shown(struct daemon *d, const struct asker *a, const struct shown *shown,
                         bool sums)
{
	json_t *list = json_array();
	for (size_t i = 0; i < shown->n; i++) {
		json_t *object = user_status(d, shown->users[i]);
		if (object != NULL)
			json_array_append_new(list, object);
	}
	json_t *object = json_pack("{s:o, s:o}", "daemon", daemon_status(d), "users", list);
	if (object != NULL && sums)
		json_object_set_new(object, "totals", totals(d, shown));
	if (object != NULL && shown->next != NULL)
		json_object_set_new(object, "next", shape_name(shown->next));
	answer(d, a, object);
}

void request_status(struct daemon *d, const struct asker *a)
{
	struct user *only = NULL;
	struct shown shown = {0};
	uint64_t limit, idle_max;
	size_t n = HASH_COUNT(d->users.by_name);
	const char *after = json_string_value(json_object_get(a->body, "after"));
	if (!ask_number(d, a, "limit", 0, &limit) ||
	    !ask_number(d, a, "idle_max", UINT64_MAX, &idle_max) ||
	    (json_object_get(a->body, "user") != NULL && !ask_user(d, a, &only)))
		return;
	bool sums = a->admin && only == NULL && n > idle_max;
	shown.users = calloc(n + 1, sizeof(struct user *));
	if (shown.users != NULL && only != NULL)
		shown.users[shown.n++] = only;
	else if (shown.users != NULL && limit > 0)
		show_page(d, a, after, limit, &shown);
	else if (shown.users != NULL && sums)
		show_busy(d, &shown);
	else if (shown.users != NULL)
		show_all(d, a, &shown);
	answer_shown(d, a, &shown, sums);
	free(shown.users);
	free(shown.next);
}

void request_list(struct daemon *d, const struct asker *a)
{
	struct user *u;
	struct index_json_filter filter = {.any_state = true};
	const char *state = json_string_value(json_object_get(a->body, "state"));
	uint64_t limit;
	if (!ask_user(d, a, &u) || !ask_number(d, a, "limit", 0, &limit))
		return;
	if (state != NULL && strcmp(state, "arriving") == 0) {
		request_arriving(d, a, u, limit);
		return;
	}
	if (state != NULL) {
		filter.any_state = false;
		if (!job_state_parse(state, &filter.state)) {
			answer_no(d, a, ANSWER_USAGE,
			          "expected a state: arriving, pending, held, queued, processing, done, failed "
			          "or canceled");
			return;
		}
	}
	filter.user = u == NULL ? NULL : u->name;
	filter.limit = limit < INDEX_JSON_LIMIT_MAX ? (size_t)limit : INDEX_JSON_LIMIT_MAX;
	filter.after = json_string_value(json_object_get(a->body, "after"));
	json_t *object = NULL;
	int r = index_json_list(d->index, &filter, &object);
	if (r < 0)
		answer_no(d, a, ANSWER_NO, "the jobs cannot be listed: %s", strerror(-r));
	else
		answer(d, a, object);
}

void request_show(struct daemon *d, const struct asker *a)
{
	struct job job = {0};
	struct user *u;
	if (!ask_job(d, a, &job, &u))
		return;
	json_t *object = NULL;
	int r = index_json_show(d->index, job.id, &object);
	if (r < 0) {
		answer_no(d, a, ANSWER_NO, "job %llu cannot be read: %s", (unsigned long long)job.id,
		          strerror(-r));
	} else {
		const struct running *running = dispatch_find(d, job.id);
		if (running != NULL && running->progress >= 0)
			json_object_set_new(object, "progress", json_real(running->progress));
		if (running != NULL && running->records != RECORDS_NONE)
			json_object_set_new(object, "records", json_integer((json_int_t)running->records));
		if (running != NULL && running->message != NULL)
			json_object_set_new(object, "message", shape_text(running->message));
		answer(d, a, json_pack("{s:o}", "job", object));
	}
	job_clear(&job);
}

/* Of a job that ended. */
static void answer_no_log(struct daemon *d, const struct asker *a, const struct user *u,
                          const struct job *job)
{
	const struct handler *h = settings_handler(u->settings, name_base(job->path));
	char *why = beside_no_log(job, keep_logs_name(h->keep_logs));
	answer_no(d, a, ANSWER_NO, "%s", why == NULL ? "spoold is out of memory" : why);
	free(why);
}

void request_log(struct daemon *d, const struct asker *a)
{
	struct job job = {0};
	struct user *u;
	uint64_t offset;
	size_t n = 0;
	if (!ask_number(d, a, "offset", 0, &offset) || !ask_job(d, a, &job, &u))
		return;
	unsigned char *chunk = malloc(LOG_CHUNK);
	int r = chunk == NULL ? -ENOMEM : tree_read_log(d->tree, u->name, &job, offset, chunk,
	                                                LOG_CHUNK, &n);
	bool final = job_state_is_final(job.state);
	/* Who read it while the job ran has come to its end. */
	bool followed = json_is_true(json_object_get(a->body, "followed"));
	if (r == -ENOENT && final && !followed)
		answer_no_log(d, a, u, &job);
	else if (r < 0 && r != -ENOENT)
		answer_no(d, a, ANSWER_NO, "the log of job %llu cannot be read: %s",
		          (unsigned long long)job.id, strerror(-r));
	else
		answer(d, a, shape_log(chunk, n, offset, final));
	free(chunk);
	job_clear(&job);
}
