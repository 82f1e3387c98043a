/* Requests to the daemon, and what there is to say where they fail. */
#include "spoolctl/client.h"
#include "spoolctl/progress.h"
#include "spoolctl/view.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_TIMEOUT_MS = 30 * 1000, COMES_BACK_MS = 120 * 1000, COMES_BACK_LOOK_MS = 250 };
enum { ERRORS_INDENT = 2 };

static int say_unreachable(struct ctl *ctl, int error)
{
	char *socket = ctl_escape(ctl->socket);
	if (error == -EACCES || error == -EPERM)
		ctl_error(ctl, "no permission to talk to spoold at %s; root and members of the group "
		               "\"spool\" may", socket);
	else if (error == -ENAMETOOLONG)
		ctl_error(ctl, "the path of the socket is too long (%s); set spool.socket to a shorter "
		               "one, of at most 107 bytes", socket);
	else
		ctl_error(ctl, "spoold cannot be reached at %s: %s", socket, strerror(-error));
	free(socket);
	return CTL_NO;
}

int ctl_connect(struct ctl *ctl)
{
	if (ctl->client != NULL)
		return CTL_OK;
	int code = ctl_load(ctl);
	if (code != CTL_OK)
		return code;
	int r = ctl->config == NULL ? 0 : mounts_ask(ctl_mounts(ctl), ctl->socket, NULL, true);
	if (r == 0)
		r = client_open(ctl->socket, &ctl->client);
	if (r == 0)
		return CTL_OK;
	if (r == -ENOENT || r == -ECONNREFUSED || r == -ENOTDIR || r == -ENOTSOCK)
		return CTL_NO_DAEMON;
	return say_unreachable(ctl, r);
}

int ctl_say_down(struct ctl *ctl)
{
	char *socket = ctl_escape(ctl->socket), *why = ctl_why_down(ctl), *mend = ctl_mend_down(ctl);
	bool named = strstr(why, socket) != NULL;
	ctl_error(ctl, "%s%s%s%s%s%s", why, named ? "" : " (no answer on ", named ? "" : socket,
	          named ? "" : ")", mend == NULL ? "" : "; ", mend == NULL ? "" : mend);
	free(socket);
	free(why);
	free(mend);
	return CTL_NO_DAEMON;
}

static int say_lost(struct ctl *ctl, int error)
{
	if (error == 0)
		return ctl_say_down(ctl);
	if (error == -ETIMEDOUT)
		ctl_error(ctl, "spoold has not answered for %d seconds; it may be busy, or stuck: "
		               "see its log", ANSWER_TIMEOUT_MS / 1000);
	else if (error == -EBADMSG)
		ctl_error(ctl, "spoold gave an answer that cannot be understood; is it of another "
		               "version?");
	else
		ctl_error(ctl, "spoold went away before it answered");
	return error == -ECONNRESET || error == -EPIPE ? CTL_NO_DAEMON : CTL_NO;
}

/* CTL_NO_DAEMON is not said yet: *ret_error is 0 where nobody is there, else how it
 * went away. */
static int try_once(struct ctl *ctl, json_t *request, enum patience patience, json_t **ret,
                    int *ret_error)
{
	*ret_error = 0;
	int code = ctl_connect(ctl);
	if (code != CTL_OK)
		return code;
	int r = client_call(ctl->client, request,
	                    patience == ASK_WITHOUT_LIMIT ? -1 : ANSWER_TIMEOUT_MS, ret);
	if (r == 0)
		return CTL_OK;
	client_free(ctl->client);
	ctl->client = NULL;
	*ret_error = r;
	return r == -ECONNRESET || r == -EPIPE ? CTL_NO_DAEMON : say_lost(ctl, r);
}

/* Jobs outlive a restart of spoold: so does who waits for one. */
static int try_until_back(struct ctl *ctl, json_t *request, enum patience patience, json_t **ret,
                          int *ret_error)
{
	uint64_t until_ms = clock_steady_ms() + COMES_BACK_MS;
	int code = CTL_NO_DAEMON;
	fflush(stdout);
	progress_end(ctl);
	ctl_note("spoold %s; the job is safe. Waiting for spoold to come back, for up to %d s ...",
	         *ret_error == 0 ? "does not answer" : "went away", COMES_BACK_MS / 1000);
	while (code == CTL_NO_DAEMON && clock_steady_ms() < until_ms) {
		clock_pause_ms(COMES_BACK_LOOK_MS);
		code = try_once(ctl, request, patience, ret, ret_error);
	}
	if (code == CTL_OK)
		ctl_note("spoold is back");
	return code;
}

int ctl_ask_try(struct ctl *ctl, json_t *request, enum patience patience, json_t **ret,
                bool *ret_refused)
{
	json_t *answer = NULL;
	int error;
	int code = try_once(ctl, request, patience, &answer, &error);
	if (code == CTL_NO_DAEMON && patience == ASK_THROUGH_RESTARTS)
		code = try_until_back(ctl, request, patience, &answer, &error);
	json_decref(request);
	if (code == CTL_NO_DAEMON)
		say_lost(ctl, error);
	if (code != CTL_OK)
		return code;
	*ret_refused = !json_is_true(json_object_get(answer, "ok"));
	json_object_del(answer, "ok");
	*ret = answer;
	if (!*ret_refused)
		return CTL_OK;
	json_int_t exit_code = json_integer_value(json_object_get(answer, "exit"));
	json_object_del(answer, "exit");
	return exit_code > 0 && exit_code < 126 ? (int)exit_code : CTL_NO;
}

static void say_refused(struct ctl *ctl, json_t *answer)
{
	const char *error = json_string_value(json_object_get(answer, "error"));
	const json_t *line;
	size_t i;
	if (error == NULL)
		error = "spoold refuses, and does not say why";
	if (ctl->json) {
		ctl_put(answer, "error", json_string(error));
		ctl_print_json(ctl, json_incref(answer));
		return;
	}
	ctl_note("%s", error);
	json_array_foreach(json_object_get(answer, "errors"), i, line)
		ctl_say(ERRORS_INDENT, json_is_string(line) ? json_string_value(line) : "?");
}

int ctl_ask(struct ctl *ctl, json_t *request, enum patience patience, json_t **ret)
{
	json_t *answer = NULL;
	bool refused = false;
	int code = ctl_ask_try(ctl, request, patience, &answer, &refused);
	if (refused) {
		say_refused(ctl, answer);
		json_decref(answer);
	} else if (code == CTL_OK) {
		*ret = answer;
	}
	return code;
}

int ctl_ask_message(struct ctl *ctl, json_t *request)
{
	json_t *answer = NULL;
	const json_t *warning;
	size_t i;
	int code = ctl_ask(ctl, request, ASK_SOON, &answer);
	if (code != CTL_OK)
		return code;
	if (ctl->json) {
		ctl_print_json(ctl, answer);
		return code;
	}
	const char *message = json_string_value(json_object_get(answer, "message"));
	json_array_foreach(json_object_get(answer, "warnings"), i, warning)
		fprintf(stderr, "warning: %s\n",
		        json_is_string(warning) ? json_string_value(warning) : "?");
	view_print(&ctl->look, 0, message == NULL ? "done" : message, stdout);
	json_decref(answer);
	return code;
}

static void show_waiting(const struct ctl *ctl, uint64_t job)
{
	char line[64];
	snprintf(line, sizeof line, "waiting for job %" PRIu64 " to end ...", job);
	progress_show(ctl, line);
}

/* What was done and what was refused, of several jobs. */
struct tally {
	struct ctl *ctl;
	json_t *jobs, *errors;
	int code;
};

static void refused_one(struct tally *t, uint64_t job, const json_t *answer)
{
	const char *error = json_string_value(json_object_get(answer, "error"));
	if (error == NULL)
		error = "spoold refuses, and does not say why";
	json_t *o = json_pack("{s:I,s:s}", "job", (json_int_t)job, "error", error);
	json_array_append_new(t->errors, ctl_need(o));
	if (!t->ctl->json)
		ctl_note("%s", error);
}

/* False: nothing more can be had, and it has been said. */
static bool ask_one(struct tally *t, const char *command, uint64_t job, enum patience patience,
                    const char *done)
{
	json_t *request = ctl_request(command), *answer = NULL;
	bool refused = false;
	ctl_put(request, "job", json_integer((json_int_t)job));
	if (patience == ASK_WITHOUT_LIMIT)
		show_waiting(t->ctl, job);
	int code = ctl_ask_try(t->ctl, request, patience, &answer, &refused);
	if (patience == ASK_WITHOUT_LIMIT)
		progress_end(t->ctl);
	if (refused) {
		refused_one(t, job, answer);
	} else if (code == CTL_OK) {
		const char *message = json_string_value(json_object_get(answer, "message"));
		json_array_append_new(t->jobs, json_integer((json_int_t)job));
		if (!t->ctl->json && message != NULL)
			puts(message);
		else if (!t->ctl->json)
			printf("job %" PRIu64 " %s\n", job, done);
	}
	if (code != CTL_OK)
		t->code = code;
	json_decref(answer);
	return code == CTL_OK || refused;
}

static void print_tally(const struct tally *t)
{
	const json_t *first = json_array_get(t->errors, 0);
	if (first == NULL)
		ctl_print_json(t->ctl, json_pack("{s:O}", "jobs", t->jobs));
	else
		ctl_print_json(t->ctl, json_pack("{s:O,s:O,s:O}", "error", json_object_get(first, "error"),
		                                 "jobs", t->jobs, "errors", t->errors));
}

int ctl_each_job(struct ctl *ctl, const char *command, const uint64_t *jobs, size_t n,
                 enum patience patience, const char *done)
{
	struct tally t = {
		.ctl = ctl,
		.jobs = ctl_need(json_array()),
		.errors = ctl_need(json_array()),
	};
	bool more = true;
	for (size_t i = 0; more && i < n; i++)
		more = ask_one(&t, command, jobs[i], patience, done);
	if (ctl->json && more)
		print_tally(&t);
	json_decref(t.jobs);
	json_decref(t.errors);
	return t.code;
}
