#include "spoolctl/offline_private.h"

#include "base/clock.h"
#include "core/beside.h"
#include "core/name.h"
#include "core/shape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int find_in_place(struct index *ix, uint32_t user, enum place place, const char *path,
                         struct job *ret)
{
	if (place == PLACE_DONE || place == PLACE_FAILED)
		return index_find_final(ix, user, place, path, ret);
	int r = place == PLACE_PROCESSING ? index_get_job(ix, strtoull(path, NULL, 10), ret)
	                                  : index_find_path(ix, user, path, ret);
	if (r == 0 && ret->place != place) {
		job_clear(ret);
		r = -ENOENT;
	}
	return r;
}

static int find_job(struct index *ix, const char *user, enum place place, const char *path,
                    struct job *ret)
{
	struct user_row row;
	int r = index_get_user(ix, user, &row);
	if (r < 0)
		return r;
	r = find_in_place(ix, row.number, place, path, ret);
	user_row_clear(&row);
	return r;
}

struct where {
	struct tree *tree;
	struct index *ix;
	const char *user;
	enum place place;
};

static bool find_there(void *ctx, const char *own, bool output, const char *name, struct job *ret)
{
	const struct where *w = ctx;
	return tree_is_beside(w->tree, w->user, w->place, own, output) &&
	       find_job(w->ix, w->user, w->place, name, ret) == 0;
}

/* The log of a job, or what its handler left: or NULL. */
static json_t *explain_beside(struct ctl *ctl, const struct where *where, const char *outside,
                              const char *path)
{
	const struct user_settings *settings = config_user(ctl->config, where->user);
	struct where w = *where;
	struct beside b = {0};
	json_t *answer = NULL;
	if (w.ix == NULL || (w.place != PLACE_DONE && w.place != PLACE_FAILED) ||
	    !tree_is_there(w.tree, w.user, w.place, path) || !beside_find(path, find_there, &w, &b))
		return NULL;
	/* Where the other is there, this one is an earlier job's. */
	if (b.numbered == NULL || !tree_is_beside(w.tree, w.user, w.place, b.numbered, b.output))
		answer = ctl_need(beside_explain(&b, outside,
		                                 w.place == PLACE_DONE ? settings->keep_done_ms
		                                                       : settings->keep_failed_ms,
		                                 clock_wall_ms()));
	beside_clear(&b);
	return answer;
}

static const char *ignored_by(const struct config *config, const char *user, const char *path)
{
	char **ignore = config_user(config, user)->ignore;
	for (; ignore != NULL && *ignore != NULL; ignore++) {
		const char *one[] = {*ignore, NULL};
		if (name_path_matches(path, one))
			return *ignore;
	}
	return NULL;
}

static json_t *file_answer(const char *path, const char *state, const char *because,
                           const char *next)
{
	return ctl_need(json_pack("{s:o,s:n,s:s,s:o,s:o}", "path", shape_name(path), "job", "state",
	                          state, "because", shape_text(because), "next", shape_text(next)));
}

/* A file that is no job. */
static json_t *explain_stranger(struct ctl *ctl, struct tree *tree, const char *outside,
                                const char *user, enum place place, const char *path)
{
	struct file_ident ident;
	enum entry_kind kind;
	const char *pattern = ignored_by(ctl->config, user, path);
	char text[400];
	if (place != PLACE_INCOMING)
		return file_answer(outside, "unknown", "the index knows of no job with this file",
		                   "it is left alone");
	int r = tree_look(tree, user, path, &ident, &kind);
	if (r < 0) {
		snprintf(text, sizeof text, "%s", r == -ENOENT ? "there is no such file" : strerror(-r));
		return file_answer(outside, "unknown", text, NULL);
	}
	if (pattern != NULL) {
		snprintf(text, sizeof text, "its name, or that of a directory above it, matches "
		         "\"%s\" of spool.ignore", pattern);
		return file_answer(outside, "ignored", text,
		                   "it becomes a job when it is renamed so that none matches");
	}
	bool whole = config_user(ctl->config, user)->directories == DIRECTORIES_JOB;
	if (whole && strchr(path, '/') != NULL)
		return file_answer(outside, "arriving", "it lies in a directory that is one job with all in "
		                   "it (directories \"job\")", "that is looked at when spoold runs");
	if (kind == ENTRY_DIRECTORY && !whole)
		return file_answer(outside, "directory", "the files in it become jobs, one each", NULL);
	if (kind != ENTRY_FILE && kind != ENTRY_DIRECTORY) {
		snprintf(text, sizeof text, "it %s: only plain files with one name become jobs",
		         entry_kind_problem(kind));
		return file_answer(outside, "refused", text, "it is left alone");
	}
	char *why = ctl_why_down(ctl);
	json_t *answer = file_answer(outside, "arriving", why, "it is looked at when spoold runs");
	free(why);
	return answer;
}

static int say_elsewhere(struct ctl *ctl, int error, const char *path)
{
	char *escaped = ctl_escape(path);
	if (error == -EXDEV)
		ctl_error(ctl, "%s is not below this spool (%s)", escaped, ctl->root);
	else if (error == -EINVAL)
		ctl_error(ctl, "%s is in none of the directories incoming, processing, done and failed of "
		               "a user", escaped);
	else
		ctl_error(ctl, "%s cannot be looked at: %s", escaped, strerror(-error));
	free(escaped);
	return CTL_NO_DAEMON;
}

/* Whose turn it is says nothing about when, while nobody gives any. */
static void add_that_it_is_down(struct ctl *ctl, json_t *answer)
{
	const char *state = json_string_value(json_object_get(answer, "state"));
	const char *because = json_string_value(json_object_get(answer, "because"));
	const char *next = json_string_value(json_object_get(answer, "next"));
	bool waits = strcmp(state, "pending") == 0;
	bool works = strcmp(state, "queued") == 0 || strcmp(state, "processing") == 0;
	struct tree_daemon daemon;
	char *what = NULL, *then = NULL;
	if (because == NULL || next == NULL || (!waits && !works))
		return;
	if (ctl_has_no_marker(ctl) || ctl_lock_is_held(ctl, &daemon))
		return;
	char *why = ctl_why_down(ctl);
	int n = waits ? asprintf(&what, "%s, and %s", why, because)
	              : asprintf(&what, "%s; the last that is known: %s", why, because);
	int m = waits ? asprintf(&then, "when spoold runs: %s", next)
	              : asprintf(&then, "when spoold runs, it takes the result that is there then, or "
	                         "does with the job what on_crash says");
	ctl_put(answer, "because", json_string(ctl_need(n < 0 ? NULL : what)));
	ctl_put(answer, "next", json_string(ctl_need(m < 0 ? NULL : then)));
	free(what);
	free(then);
	free(why);
}

int offline_explain_one(struct ctl *ctl, struct index *ix, uint64_t id, json_t **ret)
{
	int r = index_json_explain(ix, id, clock_wall_ms(), ret);
	if (r == 0)
		add_that_it_is_down(ctl, *ret);
	return r;
}

int offline_explain_path(struct ctl *ctl, const char *outside, json_t **ret)
{
	struct tree *tree = NULL;
	struct index *ix = NULL;
	char *user = NULL, *path = NULL;
	json_t *answer = NULL;
	enum place place;
	struct job job = {0};
	int code = ctl_open_tree(ctl, &tree);
	if (code != CTL_OK)
		return code;
	int r = tree_locate(tree, outside, &user, &place, &path);
	code = r < 0 ? say_elsewhere(ctl, r, outside) : offline_open(ctl, &ix);
	if (r < 0 || code != CTL_OK)
		goto out;
	r = ix == NULL ? -ENOENT : find_job(ix, user, place, path, &job);
	if (r == 0) {
		r = offline_explain_one(ctl, ix, job.id, &answer);
	} else if (r == -ENOENT) {
		const struct where where = {.tree = tree, .ix = ix, .user = user, .place = place};
		answer = explain_beside(ctl, &where, outside, path);
		if (answer == NULL)
			answer = explain_stranger(ctl, tree, outside, user, place, path);
	}
	r = r == -ENOENT && answer != NULL ? 0 : r;
	code = offline_finish(ctl, ix, r, answer, ret);
out:
	job_clear(&job);
	tree_close(tree);
	free(user);
	free(path);
	return code;
}
