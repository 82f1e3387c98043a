#include "spoolctl/offline_private.h"

#include "base/clock.h"
#include "base/fault.h"
#include "core/shape.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int offline_unreadable(struct ctl *ctl, int error)
{
	char *path = ctl_escape(ctl->config->index), *why = ctl_why_down(ctl);
	if (error == -EBADMSG)
		ctl_error(ctl, "%s, and the index %s is damaged; spoold rebuilds it from the directories "
		               "when it starts", why, path);
	else if (error == -EPROTONOSUPPORT)
		ctl_error(ctl, "%s, and the index %s was written by a newer version", why, path);
	else
		ctl_error(ctl, "%s, and the index %s cannot be read: %s", why, path, strerror(-error));
	free(path);
	free(why);
	return CTL_NO_DAEMON;
}

static void say_fault(const char *text)
{
	fprintf(stderr, "spoolctl: %s\n", text);
}

static void say_fault_json(const char *object)
{
	puts(object);
	fflush(stdout);
}

static void explain_as(const struct ctl *ctl, const char *text)
{
	json_t *error = ctl_need(json_pack("{s:s}", "error", text));
	char *object = ctl_need(json_dumps(error, JSON_COMPACT));
	fault_explain(&(struct fault){.bus = ctl->json ? object : text, .status = CTL_NO_DAEMON,
	                              .say = ctl->json ? say_fault_json : say_fault});
	free(object);
	json_decref(error);
}

/* One that was closed properly is not looked through before: its file may have been cut off
 * since. */
static void explain_faults(struct ctl *ctl)
{
	char *path = ctl_escape(ctl->config->index), *why = ctl_why_down(ctl), *text = NULL;
	if (asprintf(&text, "%s, and the index %s cannot be read: it was cut off, or its disk fails; "
	             "spoold rebuilds it from the directories when it starts", why, path) >= 0)
		explain_as(ctl, text);
	free(text);
	free(path);
	free(why);
}

int offline_open(struct ctl *ctl, struct index **ret)
{
	const struct index_options options = {.read_only = true};
	int code = ctl_load_all(ctl);
	if (code != CTL_OK)
		return code;
	explain_faults(ctl);
	int r = index_open(ctl->config->index, &options, ret);
	/* A spool whose daemon never ran: nothing is known, and that is no mistake. */
	if (r == -ENOENT)
		*ret = NULL;
	else if (r < 0)
		return offline_unreadable(ctl, r);
	char *why = ctl_why_down(ctl);
	ctl_note(r == 0                    ? "%s; this is read from the index"
	         : ctl_has_no_marker(ctl) ? "%s"
	                                  : "%s, and has never run: there is no index yet", why);
	free(why);
	return CTL_OK;
}

static json_t *daemon_object(struct ctl *ctl)
{
	struct tree_daemon daemon = {0};
	bool held = ctl_lock_is_held(ctl, &daemon);
	json_t *o = json_pack("{s:b,s:n,s:n,s:n,s:o,s:b,s:b,s:b}", "running", (int)held, "pid", "version",
	                      "since", "root", shape_name(ctl->config->root), "starting", 0, "answers",
	                      0, "once", (int)daemon.once);
	if (o != NULL && daemon.pid != 0)
		ctl_put(o, "pid", json_integer(daemon.pid));
	return ctl_need(o);
}

/* What is arriving is in no index. */
static int append_user(json_t *users, json_t *user)
{
	if (user != NULL)
		ctl_put(user, "arriving", json_null());
	return json_array_append_new(users, user) < 0 ? -ENOMEM : 0;
}

static int add_user(struct ctl *ctl, struct index *ix, const char *user,
                    const struct user_row *row, json_t *users)
{
	json_t *o = NULL;
	int r = index_json_user(ix, user, row, clock_wall_ms(), &o);
	if (r < 0)
		return r;
	if (ctl->config->watch == WATCH_POLL)
		ctl_put(o, "watch", json_string("poll"));
	return append_user(users, o);
}

/* Who has no directory any more is only known by what is in the index. */
static void note_removed(struct ctl *ctl, const char *user, json_t *o)
{
	struct tree *tree = NULL;
	if (ctl_open_root(ctl, &tree) < 0)
		return;
	bool removed = tree_answers(tree, user, true) == 0 && !tree_has_user(tree, user);
	tree_close(tree);
	ctl_put(o, "removed", json_boolean(removed));
	if (removed)
		ctl_put(o, "problem", json_string(SHAPE_REMOVED));
}

static int add_users(struct ctl *ctl, struct index *ix, json_t *users)
{
	char *after = NULL;
	for (;;) {
		struct user_row row;
		char *user = NULL;
		int r = index_next_user(ix, after, &user, &row);
		free(after);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		after = user;
		r = add_user(ctl, ix, user, &row, users);
		user_row_clear(&row);
		if (r < 0) {
			free(after);
			return r;
		}
	}
}

/* Without an index there may be no spool either: then that is said, and true. */
static bool is_no_spool(struct ctl *ctl, const struct index *ix)
{
	struct tree *tree = NULL;
	if (ix != NULL)
		return false;
	bool none = ctl_open_tree(ctl, &tree) != CTL_OK;
	tree_close(tree);
	return none;
}

static int say_no_user(struct ctl *ctl, const char *user, const struct index *ix)
{
	char *escaped = ctl_escape(user);
	ctl_error(ctl, "there is no user %s in %s", escaped, ix == NULL ? "this spool" : "the index");
	free(escaped);
	return CTL_NO_DAEMON;
}

/* Without an index a user is somebody who has a directory. */
static bool has_directory(struct ctl *ctl, const char *user)
{
	struct tree *tree = NULL;
	if (ctl_open_tree(ctl, &tree) != CTL_OK)
		return false;
	bool has = tree_has_user(tree, user);
	tree_close(tree);
	return has;
}

static int add_directory(void *ctx, const char *user, const char *problem)
{
	const struct user_row row = {0};
	json_t *users = ctx;
	if (problem != NULL)
		return 0;
	return append_user(users, shape_user(user, &row));
}

/* The users of a spool without index are its directories. 0 or an exit code. */
static int add_directories(struct ctl *ctl, json_t *users)
{
	struct tree *tree = NULL;
	int code = ctl_open_tree(ctl, &tree);
	if (code != CTL_OK)
		return CTL_NO_DAEMON;
	int r = tree_each_user(tree, add_directory, users);
	if (r < 0)
		ctl_error(ctl, "the users cannot be listed: %s", strerror(-r));
	tree_close(tree);
	return r < 0 ? CTL_NO_DAEMON : CTL_OK;
}

static json_int_t take(const json_t *user, const char *key)
{
	return json_integer_value(json_object_get(user, key));
}

static bool is_idle(const json_t *user)
{
	return !json_is_true(json_object_get(user, "held")) && take(user, "pending") == 0 &&
	       take(user, "held_jobs") == 0 && take(user, "queued") == 0 &&
	       take(user, "processing") == 0;
}

/* Leaves busy users, and what all have together. */
static void sum_up(json_t *answer, json_t *users)
{
	json_int_t n = (json_int_t)json_array_size(users), pending = 0, running = 0, done = 0, failed = 0;
	json_t *busy = ctl_need(json_array());
	size_t i;
	json_t *user;
	json_array_foreach(users, i, user) {
		pending += take(user, "pending");
		running += take(user, "queued") + take(user, "processing");
		done += take(user, "done");
		failed += take(user, "failed");
		if (!is_idle(user))
			json_array_append(busy, user);
	}
	json_int_t idle = n - (json_int_t)json_array_size(busy);
	ctl_put(answer, "users", busy);
	ctl_put(answer, "totals",
	        json_pack("{s:I,s:I,s:i,s:I,s:I,s:n,s:I,s:I}", "users", n, "idle", idle,
	                  "busy_left_out", 0, "running", running, "pending", pending, "arriving",
	                  "done", done, "failed", failed));
}

int offline_status(struct ctl *ctl, const char *user, int64_t idle_max, json_t **ret)
{
	struct index *ix = NULL;
	int code = offline_open(ctl, &ix);
	if (code != CTL_OK)
		return code;
	if (user != NULL && is_no_spool(ctl, ix))
		return CTL_NO_DAEMON;
	json_t *users = ctl_need(json_array());
	struct user_row row;
	int r;
	if (ix == NULL && user == NULL) {
		code = add_directories(ctl, users);
		if (code != CTL_OK) {
			json_decref(users);
			return code;
		}
		r = 0;
	} else if (ix == NULL) {
		const struct user_row none = {0};
		r = has_directory(ctl, user) ? append_user(users, shape_user(user, &none)) : -ENOENT;
	} else if (user == NULL) {
		r = add_users(ctl, ix, users);
	} else if ((r = index_get_user(ix, user, &row)) == 0) {
		r = add_user(ctl, ix, user, &row, users);
		user_row_clear(&row);
		if (r == 0)
			note_removed(ctl, user, json_array_get(users, 0));
	}
	if (r == -ENOENT)
		code = say_no_user(ctl, user, ix);
	index_close(ix);
	if (r == 0) {
		*ret = ctl_need(json_pack("{s:o,s:o}", "daemon", daemon_object(ctl), "users", users));
		if (user == NULL && idle_max >= 0 && (int64_t)json_array_size(users) > idle_max)
			sum_up(*ret, users);
		return CTL_NO_DAEMON;
	}
	json_decref(users);
	return r == -ENOENT ? code : offline_unreadable(ctl, r);
}

int offline_finish(struct ctl *ctl, struct index *ix, int error, json_t *answer, json_t **ret)
{
	index_close(ix);
	if (error < 0)
		return offline_unreadable(ctl, error);
	ctl_put(answer, "daemon", daemon_object(ctl));
	*ret = answer;
	return CTL_NO_DAEMON;
}

/* The rest of a long list, up to its limit. */
static int add_pages(struct index *ix, const struct index_json_filter *filter, json_t *answer)
{
	json_t *jobs = json_object_get(answer, "jobs");
	for (;;) {
		struct index_json_filter rest = *filter;
		json_t *page = NULL;
		size_t have = json_array_size(jobs);
		rest.after = json_string_value(json_object_get(answer, "next"));
		if (rest.after == NULL || (filter->limit > 0 && have >= filter->limit))
			return 0;
		rest.limit = filter->limit > 0 ? filter->limit - have : 0;
		int r = index_json_list(ix, &rest, &page);
		if (r < 0)
			return r;
		size_t got = json_array_size(json_object_get(page, "jobs"));
		json_int_t more = json_integer_value(json_object_get(answer, "more"));
		json_array_extend(jobs, json_object_get(page, "jobs"));
		ctl_put(answer, "next", json_incref(json_object_get(page, "next")));
		ctl_put(answer, "more", json_integer(more - (json_int_t)got));
		json_decref(page);
	}
}

int offline_list(struct ctl *ctl, const struct index_json_filter *filter, json_t **ret)
{
	struct index *ix = NULL;
	json_t *answer = NULL;
	int code = offline_open(ctl, &ix);
	if (code != CTL_OK)
		return code;
	if (is_no_spool(ctl, ix))
		return CTL_NO_DAEMON;
	bool unknown = ix == NULL && filter->user != NULL && !has_directory(ctl, filter->user);
	int r = unknown ? -ENOENT : ix == NULL ? 0 : index_json_list(ix, filter, &answer);
	if (ix == NULL && r == 0)
		answer = ctl_need(json_pack("{s:[],s:i,s:n}", "jobs", "more", 0, "next"));
	if (r == -ENOENT) {
		code = say_no_user(ctl, filter->user, ix);
		index_close(ix);
		return code;
	}
	if (r == 0)
		r = add_pages(ix, filter, answer);
	return offline_finish(ctl, ix, r, answer, ret);
}

int offline_say_no_job(struct ctl *ctl, uint64_t id, int code)
{
	ctl_error(ctl, "there is no job %" PRIu64 "; 'spoolctl list' shows the jobs", id);
	return code;
}

static int job_answer(struct ctl *ctl, uint64_t id,
                      int (*ask)(struct ctl *, struct index *, uint64_t, json_t **), json_t **ret)
{
	struct index *ix = NULL;
	json_t *answer = NULL;
	int code = offline_open(ctl, &ix);
	if (code != CTL_OK)
		return code;
	if (is_no_spool(ctl, ix))
		return CTL_NO_DAEMON;
	int r = ix == NULL ? -ENOENT : ask(ctl, ix, id, &answer);
	if (r == -ENOENT) {
		index_close(ix);
		return offline_say_no_job(ctl, id, CTL_NO_DAEMON);
	}
	return offline_finish(ctl, ix, r, answer, ret);
}

static int ask_show(struct ctl *ctl, struct index *ix, uint64_t id, json_t **ret)
{
	(void)ctl;
	return index_json_show(ix, id, ret);
}

int offline_show(struct ctl *ctl, uint64_t id, json_t **ret)
{
	return job_answer(ctl, id, ask_show, ret);
}

int offline_explain_job(struct ctl *ctl, uint64_t id, json_t **ret)
{
	return job_answer(ctl, id, offline_explain_one, ret);
}
