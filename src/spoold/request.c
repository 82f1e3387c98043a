#include "spoold/request.h"

#include "base/escape.h"
#include "base/log.h"
#include "core/shape.h"
#include "spoold/request_private.h"
#include "spoold/why.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

static const struct {
	const char *name;
	request_fn *run;
	bool admin_only;
} commands[] = {
	{"status", request_status, false},   {"list", request_list, false},
	{"show", request_show, false},       {"log", request_log, false},
	{"explain", request_explain, false}, {"submitted", request_submitted, false},
	{"retry", request_retry, false},     {"cancel", request_cancel, false},
	{"hold", request_hold, false},       {"release", request_release, false},
	{"start", request_start, true},      {"stop", request_stop, true},
	{"rescan", request_rescan, false},   {"reload", request_reload, true},
};

void answer(struct daemon *d, const struct asker *a, json_t *object)
{
	if (object != NULL && json_object_set_new(object, "ok", json_true()) < 0) {
		json_decref(object);
		object = NULL;
	}
	if (object == NULL)
		answer_no(d, a, ANSWER_NO, "spoold is out of memory");
	else
		control_answer(d->control, a->client, object);
}

/* Names in it may be long: it is cut at a whole character, since half of one
 * cannot be sent. */
static json_t *sentence(const char *format, va_list args)
{
	char text[1024];
	int n = vsnprintf(text, sizeof text, format, args);
	if (n >= (int)sizeof text) {
		size_t end = sizeof text - sizeof "...";
		while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
			end--;
		strcpy(text + end, "...");
	}
	return json_string(text);
}

void answer_no(struct daemon *d, const struct asker *a, int exit_code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	json_t *text = sentence(format, args);
	va_end(args);
	/* NULL is answered too: nobody waits for ever. */
	control_answer(d->control, a->client,
	               json_pack("{s:b, s:o, s:i}", "ok", 0, "error", text, "exit", exit_code));
}

void answer_message(struct daemon *d, const struct asker *a, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	json_t *text = sentence(format, args);
	va_end(args);
	answer(d, a, json_pack("{s:o}", "message", text));
}

bool may(const struct asker *a, const char *user)
{
	return a->admin || (a->user != NULL && strcmp(a->user, user) == 0);
}

bool ask_user(struct daemon *d, const struct asker *a, struct user **ret)
{
	const json_t *arg = json_object_get(a->body, "user");
	const char *name = arg == NULL ? (a->admin ? NULL : a->user) : json_string_value(arg);
	if (name == NULL && (arg != NULL || !a->admin)) {
		answer_no(d, a, ANSWER_USAGE, "expected the name of a user of the spool");
		return false;
	}
	struct user *u = name == NULL ? NULL : user_find(d, name);
	if (name != NULL && (u == NULL || u->number == 0)) {
		char *shown = escape_str(name);
		answer_no(d, a, ANSWER_NO,
		          "there is no user %s in this spool; 'spoolctl user list' shows them, "
		          "'spoolctl user add' makes one", shown == NULL ? "?" : shown);
		free(shown);
		return false;
	}
	if (u != NULL && !may(a, u->name)) {
		answer_no(d, a, ANSWER_NO, "the jobs of %s are not yours to see or to steer", u->name);
		return false;
	}
	*ret = u;
	return true;
}

bool ask_number(struct daemon *d, const struct asker *a, const char *name, uint64_t otherwise,
                uint64_t *ret)
{
	const json_t *arg = json_object_get(a->body, name);
	bool fine = arg == NULL || (json_is_integer(arg) && json_integer_value(arg) >= 0);
	if (fine)
		*ret = arg == NULL ? otherwise : (uint64_t)json_integer_value(arg);
	else
		answer_no(d, a, ANSWER_USAGE, "\"%s\": expected a whole number from 0 up", name);
	return fine;
}

bool ask_job(struct daemon *d, const struct asker *a, struct job *ret, struct user **ret_user)
{
	uint64_t id;
	if (!ask_number(d, a, "job", 0, &id))
		return false;
	if (id == 0) {
		answer_no(d, a, ANSWER_USAGE, "expected the number of a job");
		return false;
	}
	struct job job = {0};
	int r = index_get_job(d->index, id, &job);
	struct user *u = r < 0 ? NULL : user_by_number(d, job.user);
	/* Numbers of other people's jobs are not told from those of none. */
	if (u == NULL || !may(a, u->name)) {
		job_clear(&job);
		if (r < 0 && r != -ENOENT)
			answer_no(d, a, ANSWER_NO, "the index cannot be read: %s", strerror(-r));
		else
			answer_no(d, a, ANSWER_NO, "there is no job %llu; 'spoolctl list' shows the jobs",
			          (unsigned long long)id);
		return false;
	}
	*ret = job;
	*ret_user = u;
	return true;
}

static bool in_group_spool(const struct control_request *request)
{
	const struct group *group = getgrnam("spool");
	return group != NULL && control_peer_in_group(request, group->gr_gid);
}

static void dispatch_request(struct daemon *d, const struct asker *a)
{
	const char *name = json_string_value(json_object_get(a->body, "command"));
	for (size_t i = 0; name != NULL && i < sizeof commands / sizeof *commands; i++) {
		if (strcmp(commands[i].name, name) != 0)
			continue;
		if (commands[i].admin_only && !a->admin)
			answer_no(d, a, ANSWER_NO,
			          "only root, the account that spoold runs as and members of the group "
			          "\"spool\" may %s", name);
		else
			commands[i].run(d, a);
		return;
	}
	answer_no(d, a, ANSWER_USAGE, "expected {\"command\": ...} with one of status, list, show, "
	                              "log, explain, submitted, retry, cancel, hold, release, start, "
	                              "stop, rescan, reload");
}

static void read_some(struct daemon *d)
{
	struct control_request request;
	d->requests.look_ms = d->steady_ms + REQUEST_LOOK_MS;
	/* Bounded, so that a client that asks without end keeps nothing else waiting. */
	for (int n = 0; n < 256 && control_next(d->control, d->steady_ms, &request) > 0; n++) {
		const struct passwd *account = getpwuid(request.uid);
		struct asker a = {
			.client = request.client,
			.admin = request.uid == 0 || request.uid == geteuid() ||
			         in_group_spool(&request),
			.user = account == NULL ? NULL : strdup(account->pw_name),
			.body = request.body,
		};
		dispatch_request(d, &a);
		free(a.user);
	}
}

void request_read_all(struct daemon *d)
{
	/* Long enough for every client that is silent now to be found so. */
	d->requests.look_until_ms = d->steady_ms + CONTROL_IDLE_MS + 2 * REQUEST_LOOK_MS;
	read_some(d);
}

static struct waiter *wait_new(struct daemon *d, const struct asker *a, uint64_t limit_ms)
{
	struct waiter *w = calloc(1, sizeof *w);
	if (w == NULL) {
		answer_no(d, a, ANSWER_NO, "spoold is out of memory");
		return NULL;
	}
	w->client = a->client;
	w->until_ms = d->steady_ms + limit_ms;
	DL_APPEND(d->requests.waiters, w);
	return w;
}

static void wait_over(struct daemon *d, struct waiter *w)
{
	DL_DELETE(d->requests.waiters, w);
	free(w->path);
	free(w);
}

void wait_for_job(struct daemon *d, const struct asker *a, uint64_t job)
{
	struct waiter *w = wait_new(d, a, REQUEST_CANCEL_MS);
	if (w != NULL)
		w->job = job;
}

void wait_for_upload(struct daemon *d, const struct asker *a, struct user *u, const char *path)
{
	struct waiter *w = wait_new(d, a, REQUEST_SUBMITTED_MS);
	if (w == NULL)
		return;
	w->user = u;
	w->path = strdup(path);
}

void request_job_ended(struct daemon *d, const struct job *job)
{
	struct waiter *w, *tmp;
	DL_FOREACH_SAFE(d->requests.waiters, w, tmp) {
		if (w->job != job->id)
			continue;
		const struct asker a = {.client = w->client};
		if (job->state == JOB_CANCELED)
			answer(d, &a, json_pack("{s:I, s:s}", "job", (json_int_t)job->id, "state",
			                        job_state_name(job->state)));
		else
			answer_no(d, &a, ANSWER_NO, "job %llu ended by itself before: it is %s",
			          (unsigned long long)job->id, job_state_name(job->state));
		wait_over(d, w);
	}
}

void request_accepted(struct daemon *d, const struct user *u, const struct job *job)
{
	struct waiter *w, *tmp;
	DL_FOREACH_SAFE(d->requests.waiters, w, tmp) {
		if (w->user != u || w->path == NULL || strcmp(w->path, job->path) != 0)
			continue;
		const struct asker a = {.client = w->client};
		answer(d, &a, json_pack("{s:o}", "job", shape_job(job, u->name)));
		wait_over(d, w);
	}
}

/* Of one that is known to wait, what for. */
static void answer_waits(struct daemon *d, const struct waiter *w)
{
	const struct asker a = {.client = w->client};
	struct explanation e = {0};
	const struct upload_entry *entry = w->path == NULL ? NULL : upload_find(w->user, w->path);
	if (entry == NULL) {
		answer_no(d, &a, ANSWER_NO, "the file is in incoming but not yet accepted; 'spoolctl explain' "
		          "says what it waits for");
		return;
	}
	why_waits(d, entry, &e);
	answer_no(d, &a, ANSWER_NO, "the file is in incoming, but no job yet: %s%s%s", e.because,
	          e.next[0] == '\0' ? "" : "; ", e.next);
}

void request_upload_stays(struct daemon *d, const struct upload_entry *entry)
{
	struct waiter *w, *tmp;
	DL_FOREACH_SAFE(d->requests.waiters, w, tmp) {
		if (w->user != entry->user || w->path == NULL || strcmp(w->path, entry->path) != 0)
			continue;
		answer_waits(d, w);
		wait_over(d, w);
	}
}

void request_keep_socket(struct daemon *d)
{
	int r = d->control == NULL ? 0 : control_renew(d->control, d->steady_ms);
	if (r > 0)
		log_notice("the control socket was gone, and was made anew");
	else if (r < 0)
		log_warning("the control socket is gone and cannot be made anew: %s", strerror(-r));
}

void request_tick(struct daemon *d)
{
	struct waiter *w, *tmp;
	/* Also late, when the process was stopped for a while: request_next() asks
	 * for as long as a look is owed. */
	if (d->requests.look_ms <= d->steady_ms && d->requests.look_ms < d->requests.look_until_ms)
		read_some(d);
	DL_FOREACH_SAFE(d->requests.waiters, w, tmp) {
		bool late = w->until_ms <= d->steady_ms;
		if (!late && control_alive(d->control, w->client))
			continue;
		const struct asker a = {.client = w->client};
		if (late && w->job != 0)
			answer_no(d, &a, ANSWER_NO, "job %llu has not ended yet",
			          (unsigned long long)w->job);
		else if (late)
			answer_waits(d, w);
		wait_over(d, w);
	}
}

uint64_t request_next(const struct daemon *d)
{
	const struct waiter *w;
	uint64_t next = UINT64_MAX;
	if (d->requests.look_ms < d->requests.look_until_ms)
		next = d->requests.look_ms;
	DL_FOREACH(d->requests.waiters, w)
		next = due_min(next, w->until_ms);
	return next;
}

void requests_clear(struct daemon *d)
{
	struct waiter *w, *tmp;
	DL_FOREACH_SAFE(d->requests.waiters, w, tmp)
		wait_over(d, w);
}
