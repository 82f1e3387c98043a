#include "base/escape.h"
#include "base/human.h"
#include "core/name.h"
#include "core/shape.h"
#include "io/index_json.h"
#include "spoold/request_private.h"
#include "spoold/voucher.h"
#include "spoold/why.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many of the user's pending jobs go first; counted to a thousand. */
static unsigned jobs_ahead(struct daemon *d, const struct job *job)
{
	struct job other = {0};
	uint64_t after = 0;
	unsigned n = 0;
	while (n < 1000 && index_next_in_line(d->index, job->user, after, &other) == 0) {
		after = other.seq;
		bool here = other.seq >= job->seq;
		job_clear(&other);
		if (here)
			break;
		n++;
	}
	return n;
}

static bool behind_running(struct daemon *d, const struct user *u, unsigned ahead,
                           struct explanation *e)
{
	const struct running *first = NULL;
	for (const struct running *r = d->dispatch.running; r != NULL; r = r->hh.next)
		if (r->user == u && (first == NULL || r->job < first->job))
			first = r;
	if (first == NULL)
		return false;
	char *shown = escape_str(first->name);
	if (ahead == 0)
		why_say(e->because, "it waits behind %s (job %" PRIu64 "), which is being processed",
		        shown == NULL ? "?" : shown, first->job);
	else
		why_say(e->because,
		        "it waits behind %s (job %" PRIu64 "), which is being processed, and %u more job%s "
		        "of %s", shown == NULL ? "?" : shown, first->job, ahead, ahead == 1 ? "" : "s",
		        u->name);
	why_say(e->next, "it starts when its turn comes");
	free(shown);
	return true;
}

static void behind_line(struct daemon *d, const struct job *job, unsigned ahead,
                        struct explanation *e)
{
	struct job head = {0};
	if (index_next_in_line(d->index, job->user, 0, &head) < 0)
		return;
	char *shown = escape_str(head.path);
	char others[64] = "";
	if (ahead > 1)
		snprintf(others, sizeof others, " and %u more", ahead - 1);
	why_say(e->because, "it waits behind %s (job %" PRIu64 ")%s in the line of its user",
	        shown == NULL ? "?" : shown, head.id, others);
	why_say(e->next, "see 'spoolctl explain %" PRIu64 "' for what the first of them waits for", head.id);
	free(shown);
	job_clear(&head);
}

static void explain_backoff(const struct job *job, uint64_t now_wall_ms, struct explanation *e)
{
	char wait[HUMAN_SIZE];
	const char *why = job->error == NULL ? "interrupted" : job->error;
	/* One that could not be started has no number, or that of the attempt before. */
	if (job->started_ms == 0)
		why_say(e->because, "%s", why);
	else
		why_say(e->because, "attempt %u ended: %s", job->attempt, why);
	why_say(e->next, "it is tried again in %s (attempt %u)%s",
	        human_duration(job->not_before_ms - now_wall_ms, wait), job->attempt + 1,
	        job_is_unready(job) ? ", and after 'spoolctl reload'" : "");
}

static void explain_head(struct daemon *d, const struct user *u, struct explanation *e)
{
	struct user_row row = {0};
	switch (sched_explain(d->sched, u->number, d->wall_ms)) {
	case SCHED_STOPPED:
		why_say(e->because, d->stopping ? "spoold is stopping" : "no job starts at present");
		why_say(e->next, d->stopping ? "it starts when spoold runs again"
		                             : "'spoolctl start' lets them");
		break;
	case SCHED_HELD:
		if (index_get_user(d->index, u->name, &row) == 0) {
			struct held_why why = held_why(row.held_reason);
			why_say(e->because, "the line of %s is held%s%s", u->name, why.sign, why.text);
		}
		why_say(e->next, "'spoolctl release --user %s' lets it go on", u->name);
		user_row_clear(&row);
		break;
	case SCHED_BLOCKED:
		if (d->silent)
			why_say(e->because, "the mount that holds the spool does not answer");
		else if (d->unmounted)
			why_say(e->because, "the spool is not mounted");
		else if (u->silent)
			why_say(e->because, "the mount that is the directory of %s does not answer", u->name);
		else if (u->away)
			why_say(e->because, "the directory of %s, a mount of its own, is not there", u->name);
		else
			why_say(e->because, "a worker of an earlier spoold still runs a job of %s", u->name);
		why_say(e->next, "it goes on by itself when that is over");
		break;
	default:
		why_say(e->because, "it is the next of %s and waits for a free worker (%u of %u are busy)",
		        u->name, pool_busy(d->pool), d->config->max_concurrent);
		why_say(e->next, "it starts as soon as one is free; users take turns");
	}
}

static void explain_pending(struct daemon *d, const struct user *u, const struct job *job,
                            struct explanation *e)
{
	unsigned ahead = job->yields ? 0 : jobs_ahead(d, job);
	enum sched_reason reason = sched_explain(d->sched, u->number, d->wall_ms);
	bool spool_wide = reason == SCHED_STOPPED || reason == SCHED_HELD || reason == SCHED_BLOCKED;
	if (spool_wide && ahead == 0)
		explain_head(d, u, e);
	else if (job->not_before_ms > d->wall_ms)
		explain_backoff(job, d->wall_ms, e);
	else if (reason == SCHED_LIMIT && behind_running(d, u, ahead, e))
		return;
	else if (ahead > 0)
		behind_line(d, job, ahead, e);
	else
		explain_head(d, u, e);
}

static void explain_active(const struct daemon *d, const struct user *u, const struct job *job,
                           struct explanation *e)
{
	const struct running *r = dispatch_find(d, job->id);
	if (r == NULL)
		why_say(e->because, "a worker of an earlier spoold runs it");
	else if (r->cancel)
		why_say(e->because, "it is being ended: %s", r->cancel_text == NULL ? "" : r->cancel_text);
	else if (r->hold != NULL)
		why_say(e->because, "it is asked back from its user's worker, to be %s", r->hold);
	else if (r->ahead)
		why_say(e->because, "it waits with its user's worker, which begins it as soon as job %" PRIu64
		        " has succeeded", r->chain_prev->job);
	else if (r->standby != NULL)
		why_say(e->because, "it was claimed, and starts as soon as one of %u places is free",
		        d->config->max_concurrent);
	else if (job->state == JOB_QUEUED)
		why_say(e->because, "it was claimed and is being started (attempt %u)", job->attempt);
	else
		why_say(e->because, "its handler runs (attempt %u)%s%s", job->attempt,
		        r->message == NULL ? "" : ": ", r->message == NULL ? "" : r->message);
	why_say(e->next, "'spoolctl status %s' shows how far it is", u->name);
}

static void explain_live(struct daemon *d, const struct user *u, const struct job *job,
                         struct explanation *e)
{
	int error = dispatch_unmoved(d, job->id);
	if (turn_stalled(d) && !job_state_is_final(job->state))
		why_stalled(d, e);
	else if (job->state == JOB_PENDING)
		explain_pending(d, u, job, e);
	else if (job_state_is_active(job->state))
		explain_active(d, u, job, e);
	else if (error != 0) {
		why_say(e->because, "it is %s, but its file could not be moved to %s: %s",
		        job_state_name(job->state), place_name(job->place), strerror(-error));
		why_say(e->next, "it is tried again every few seconds; %s %s/%s", human_remedy(error),
		        tree_root(d->tree), u->name);
	}
}

static void explain_job(struct daemon *d, const struct asker *a, const struct user *u,
                        const struct job *job)
{
	json_t *object = NULL;
	struct explanation e = {0};
	int r = index_json_explain(d->index, job->id, d->wall_ms, &object);
	if (r < 0) {
		answer_no(d, a, ANSWER_NO, "job %" PRIu64 " cannot be read: %s", job->id, strerror(-r));
		return;
	}
	explain_live(d, u, job, &e);
	if (e.because[0] != '\0') {
		json_object_set_new(object, "because", shape_text(e.because));
		json_object_set_new(object, "next", e.next[0] == '\0' ? json_null() : shape_text(e.next));
	}
	answer(d, a, object);
}

static void answer_file(struct daemon *d, const struct asker *a, const char *path,
                        const char *state, const struct explanation *e)
{
	json_t *next = e->next[0] == '\0' ? json_null() : shape_text(e->next);
	answer(d, a, json_pack("{s:o, s:n, s:s, s:o, s:o}", "path", shape_name(path), "job", "state",
	                       state, "because", shape_text(e->because), "next", next));
}

/* It cannot be looked at. */
static void why_unseen(const struct user *u, int error, struct explanation *e)
{
	if (error == -ETIMEDOUT) {
		why_say(e->because, "the mount it lies on does not answer");
		why_say(e->next, "it is looked at when that does");
	} else if (error == -EACCES) {
		why_say(e->because, "spoold's account may not look at it (%s)", strerror(-error));
		why_say(e->next, "'spoolctl user check %s' says what it needs", u->name);
	} else if (error == -ENOENT) {
		why_say(e->because, "there is no such file");
	} else {
		why_say(e->because, "it cannot be looked at: %s", strerror(-error));
	}
}

/* A file in incoming that is no job. */
static void explain_upload(struct daemon *d, const struct asker *a, const struct user *u,
                           const char *outside, const char *path)
{
	struct explanation e = {0};
	struct file_ident ident;
	enum entry_kind kind;
	const struct upload_entry *entry = upload_find(u, path);
	int r = tree_look(d->tree, u->name, path, &ident, &kind);
	if (r < 0) {
		why_unseen(u, r, &e);
		answer_file(d, a, outside, "unknown", &e);
	} else if (d->unmounted) {
		why_unmounted(d, &e);
		answer_file(d, a, outside, "arriving", &e);
	} else if (!whole_is_inner(u, path) && tree_is_too_deep(path, kind == ENTRY_DIRECTORY)) {
		why_say(e.because, "its directories are nested too deep to be followed");
		why_say(e.next, "it becomes a job when it is moved further up");
		answer_file(d, a, outside, "refused", &e);
	} else if (name_path_matches(path, (const char *const *)u->settings->ignore)) {
		why_say(e.because, "its name, or that of a directory above it, matches one of the patterns of "
		                   "spool.ignore");
		why_say(e.next, "it becomes a job when it is renamed so that none does");
		answer_file(d, a, outside, "ignored", &e);
	} else if (entry != NULL && entry->whole != NULL) {
		why_waits(d, entry, &e);
		answer_file(d, a, outside, entry->state == UPLOAD_OVER      ? "over_limit"
		                           : entry->state == UPLOAD_REFUSED ? "refused"
		                                                            : "arriving", &e);
	} else if (whole_is_inner(u, path)) {
		why_say(e.because, "it lies in a directory that is one job with all in it (directories "
		                   "\"job\")");
		why_say(e.next, "see what 'spoolctl explain' says of that directory");
		answer_file(d, a, outside, "arriving", &e);
	} else if (kind == ENTRY_DIRECTORY && !whole_is(u, path)) {
		why_say(e.because, "it is a directory: the files in it become jobs, one each");
		answer_file(d, a, outside, "directory", &e);
	} else if (kind != ENTRY_FILE && kind != ENTRY_DIRECTORY) {
		why_refused(kind, &e);
		answer_file(d, a, outside, "refused", &e);
	} else if (entry == NULL && voucher_is_name(u, path)) {
		bool checksum = u->settings->settle.completion == COMPLETION_CHECKSUM;
		const char *what = checksum ? "checksum" : "marker";
		why_say(e.because, "it is a %s (completion \"%s\") and never a job", what, what);
		why_say(e.next, checksum
		                        ? "one that is named after an upload goes along with it to done or "
		                          "failed; a list for several stays"
		                        : "it goes along with its upload to done or failed");
		answer_file(d, a, outside, "ignored", &e);
	} else if (tree_is_notice(d->tree, u->name, path)) {
		why_say(e.because, "spoold wrote it: it tells its user what is not taken, and why");
		why_say(e.next, "it goes away when nothing is left to say");
		answer_file(d, a, outside, "notice", &e);
	} else if (entry != NULL && entry->state != UPLOAD_REFUSED) {
		why_waits(d, entry, &e);
		answer_file(d, a, outside, entry->state == UPLOAD_OVER ? "over_limit" : "arriving", &e);
	} else {
		why_say(e.because, "it was not noticed yet");
		why_say(e.next, "it is looked at now");
		scan_want(d, user_by_number(d, u->number));
		answer_file(d, a, outside, "arriving", &e);
	}
}

static bool find_live(struct daemon *d, const struct user *u, const char *path, struct job *job)
{
	if (index_find_path(d->index, u->number, path, job) < 0)
		return false;
	if (!job_state_is_final(job->state) && job->place == PLACE_INCOMING)
		return true;
	/* A job of that name is elsewhere: another file may be here by now. */
	struct file_ident ident;
	enum entry_kind kind;
	if (tree_look(d->tree, u->name, path, &ident, &kind) == -ENOENT)
		return true;
	job_clear(job);
	return false;
}

static bool find_job(struct daemon *d, const struct user *u, enum place place, const char *path,
                     struct job *job)
{
	switch (place) {
	case PLACE_INCOMING: return find_live(d, u, path, job);
	case PLACE_PROCESSING:
		return index_get_job(d->index, strtoull(path, NULL, 10), job) == 0;
	case PLACE_DONE:
	case PLACE_FAILED: return index_find_final(d->index, u->number, place, path, job) == 0;
	default: return false;
	}
}

/* The job that the directory is or was in which it lies: one right in its place. */
static bool find_around(struct daemon *d, const struct user *u, enum place place,
                        const char *path, struct job *job)
{
	size_t n = strcspn(path, "/");
	char *top = path[n] == '\0' ? NULL : strndup(path, n);
	bool found = top != NULL && find_job(d, u, place, top, job);
	free(top);
	if (found && job->ident.whole == 0) {
		job_clear(job);
		return false;
	}
	return found;
}

static void explain_place(struct daemon *d, const struct asker *a, const char *outside,
                          const struct user *u, enum place place, const char *path)
{
	struct job job = {0};
	if (find_job(d, u, place, path, &job) || find_around(d, u, place, path, &job)) {
		explain_job(d, a, u, &job);
	} else if (place == PLACE_INCOMING) {
		explain_upload(d, a, u, outside, path);
	} else if (!answer_beside(d, a, outside, u, place, path)) {
		struct explanation e = {0};
		why_say(e.because, "spoold did not put it into %s: it knows of no job with this file",
		        place_name(place));
		why_say(e.next, "it is left alone");
		answer_file(d, a, outside, "unknown", &e);
	}
	job_clear(&job);
}

static void explain_path(struct daemon *d, const struct asker *a, const char *outside)
{
	char *name = NULL, *path = NULL;
	enum place place;
	int r = tree_locate(d->tree, outside, &name, &place, &path);
	const struct user *u = r < 0 ? NULL : user_find(d, name);
	if (r == -EXDEV)
		answer_no(d, a, ANSWER_NO, "the file is not below this spool (%s)", tree_root(d->tree));
	else if (r == -ENAMETOOLONG)
		answer_no(d, a, ANSWER_NO, "the path is longer than %d bytes: no program finds a file by it; "
		          "shorten the names of its directories", PATH_MAX);
	else if (r < 0 && r != -EINVAL)
		answer_no(d, a, ANSWER_NO, "the file cannot be looked for: %s", strerror(-r));
	else if (r < 0)
		answer_no(d, a, ANSWER_NO,
		          "this path is below the spool, but in none of incoming, processing, done and "
		          "failed of a user; no file there is a job or becomes one");
	else if (u == NULL || u->number == 0 || !may(a, u->name))
		answer_no(d, a, ANSWER_NO, "there is no such user in this spool, or it is not you");
	else
		explain_place(d, a, outside, u, place, path);
	free(name);
	free(path);
}

void request_explain(struct daemon *d, const struct asker *a)
{
	const char *escaped = json_string_value(json_object_get(a->body, "path"));
	if (escaped == NULL) {
		struct job job = {0};
		struct user *u;
		if (ask_job(d, a, &job, &u))
			explain_job(d, a, u, &job);
		job_clear(&job);
		return;
	}
	char *outside = unescape_name(escaped);
	if (outside == NULL)
		answer_no(d, a, ANSWER_USAGE, "the path is not spelled in a way that can be read");
	else
		explain_path(d, a, outside);
	free(outside);
}
