#include "spoolctl/progress.h"
#include "spoolctl/submit.h"
#include "spoolctl/view.h"

#include "base/clock.h"
#include "core/job.h"
#include "core/name.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 250 };

struct args {
	const char *user, *name;
	bool wait;
	char **files;   /* within argv */
	int files_n;
};

static const struct argp_option options[] = {
	{"user", 'u', "USER", 0, "Into the incoming directory of this user (you)", 0},
	{"name", 'n', "NAME", 0, "Under this name", 0},
	{"wait", 'w', NULL, 0, "Wait until the jobs have ended; the exit code is theirs", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	switch (key) {
	case 'u':
		args->user = arg;
		return 0;
	case 'n':
		args->name = arg;
		return 0;
	case 'w':
		args->wait = true;
		return 0;
	case ARGP_KEY_ARG:
		return ARGP_ERR_UNKNOWN;
	case ARGP_KEY_ARGS:
		args->files = state->argv + state->next;
		args->files_n = state->argc - state->next;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (args->files_n > 0 && (args->files_n == 1 || args->name == NULL))
			return 0;
		argp_error(state, args->files_n == 0 ? "which file? \"-\" is standard input"
		                                     : "--name is for one file");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "FILE...",
	.doc = "Puts copies of files into the incoming directory of a user, each complete at once and "
	       "safe against a power cut. FILE \"-\" is standard input (with --name).\v"
	       "Example: spoolctl submit report.csv --user alice --wait",
};

struct submission {
	struct ctl *ctl;
	const struct args *args;
	struct tree *tree;
	const char *user;
	json_t *jobs;       /* as they became known, in the order of the files */
	json_t *errors;     /* {"file", "error"} */
	int code;
};

static void fail(struct submission *s, const char *file, const char *error, int code)
{
	char *escaped = ctl_escape(file);
	if (!s->ctl->json)
		ctl_note("%s: %s", escaped, error);
	json_t *o = ctl_need(json_pack("{s:s,s:o}", "file", escaped, "error", json_string(error)));
	json_array_append_new(s->errors, o);
	free(escaped);
	s->code = code;
}

/* Without a daemon nothing is lost: the file is there when it starts. */
static void left_waiting(struct submission *s, const char *name)
{
	struct tree_daemon daemon = {0};
	char *why = ctl_why_down(s->ctl), *text = NULL;
	int n = asprintf(&text, "it is in incoming, but %s; it is taken %s", why,
	                 ctl_lock_is_held(s->ctl, &daemon) ? "all the same" : "when spoold runs");
	fail(s, name, ctl_need(n < 0 ? NULL : text), CTL_NO_DAEMON);
	free(text);
	free(why);
}

static void print_job(const struct submission *s, const json_t *job)
{
	const char *error = view_text(job, "error");
	if (s->ctl->json)
		return;
	printf("job %lld  %s  %s%s%s\n", (long long)view_number(job, "job"), view_text(job, "name"),
	       view_text(job, "state"), *error == '\0' ? "" : ": ", error);
	fflush(stdout);
}

/* The daemon's job of a file that is in incoming now. */
static void find_job(struct submission *s, const char *name, uint64_t since_ms)
{
	json_t *answer = NULL, *request;
	bool refused = false;
	int code = ctl_connect(s->ctl);
	if (code != CTL_OK) {
		if (code == CTL_NO_DAEMON)
			left_waiting(s, name);
		else
			s->code = code;
		return;
	}
	request = ctl_request("submitted");
	ctl_put_name(request, "user", s->user);
	ctl_put_name(request, "name", name);
	ctl_put(request, "since", json_integer((json_int_t)since_ms));
	code = ctl_ask_try(s->ctl, request, s->args->wait ? ASK_THROUGH_RESTARTS : ASK_WITHOUT_LIMIT,
	                   &answer, &refused);
	if (refused) {
		fail(s, name, view_text(answer, "error"), code);
	} else if (code == CTL_OK) {
		json_array_append(s->jobs, json_object_get(answer, "job"));
		if (!s->args->wait)
			print_job(s, json_object_get(answer, "job"));
	} else {
		s->code = code;
	}
	json_decref(answer);
}

static void submit_one(struct submission *s, const char *file)
{
	const struct submit submit = {
		.ctl = s->ctl,
		.tree = s->tree,
		.user = s->user,
		.file = file,
		.name = s->args->name,
	};
	char *name = NULL, *reason = NULL;
	uint64_t since_ms = clock_wall_ms();
	if (strcmp(file, "-") == 0 && s->args->name == NULL) {
		fail(s, file, "standard input needs a name: give one with --name", CTL_USAGE);
	} else if (submit_file(&submit, &name, &reason) < 0) {
		fail(s, file, reason, CTL_NO);
	} else {
		find_job(s, name, since_ms);
	}
	free(name);
	free(reason);
}

static int ask_job(struct ctl *ctl, json_int_t id, json_t **ret)
{
	json_t *answer = NULL, *request = ctl_request("show");
	ctl_put(request, "job", json_integer(id));
	int code = ctl_ask(ctl, request, ASK_THROUGH_RESTARTS, &answer);
	if (code != CTL_OK)
		return code;
	*ret = json_incref(json_object_get(answer, "job"));
	json_decref(answer);
	return code;
}

/* What the status has of it, where it runs. */
static int find_running(const struct submission *s, const json_t *job, json_t **ret)
{
	json_t *answer = NULL, *request = ctl_request("status");
	json_t *running;
	size_t i;
	ctl_put(request, "user", json_string(view_text(job, "user")));
	int code = ctl_ask(s->ctl, request, ASK_THROUGH_RESTARTS, &answer);
	if (code != CTL_OK)
		return code;
	const json_t *user = json_array_get(json_object_get(answer, "users"), 0);
	json_array_foreach(json_object_get(user, "running"), i, running)
		if (view_number(running, "job") == view_number(job, "job"))
			*ret = json_incref(running);
	json_decref(answer);
	return CTL_OK;
}

static int explain(const struct submission *s, const json_t *job, json_t **ret)
{
	json_t *request = ctl_request("explain");
	bool refused = false;
	ctl_put(request, "job", json_integer(view_number(job, "job")));
	int code = ctl_ask_try(s->ctl, request, ASK_THROUGH_RESTARTS, ret, &refused);
	return refused ? CTL_OK : code;
}

/* Draws how far the job is, or what it waits for. */
static int show_progress(const struct submission *s, const json_t *job)
{
	json_t *running = NULL, *answer = NULL;
	int code = find_running(s, job, &running);
	if (code == CTL_OK && running == NULL)
		code = explain(s, job, &answer);
	if (code == CTL_OK) {
		char *line = view_progress(s->ctl, job, running, view_text(answer, "because"));
		progress_show(s->ctl, line);
		free(line);
	}
	json_decref(answer);
	json_decref(running);
	return code;
}

/* Where nobody sees it drawn, what went wrong with it is said each time it is something else. */
static void note_trouble(const json_t *job, char **said)
{
	const char *error = view_text(job, "error");
	if (*error == '\0' || (*said != NULL && strcmp(*said, error) == 0))
		return;
	ctl_note("job %lld (%s) waits: %s", (long long)view_number(job, "job"),
	         view_text(job, "name"), error);
	free(*said);
	*said = ctl_need(strdup(error));
}

static int show_wait(const struct submission *s, const json_t *job, char **said)
{
	if (s->ctl->json)
		return CTL_OK;
	if (s->ctl->progress)
		return show_progress(s, job);
	if (strcmp(view_text(job, "state"), job_state_name(JOB_PENDING)) == 0)
		note_trouble(job, said);
	return CTL_OK;
}

static bool is_final(const json_t *job)
{
	enum job_state state;
	return !job_state_parse(view_text(job, "state"), &state) || job_state_is_final(state);
}

static int wait_for_one(struct submission *s, size_t i)
{
	const struct timespec pause = {.tv_nsec = POLL_MS * 1000 * 1000};
	json_int_t id = view_number(json_array_get(s->jobs, i), "job");
	json_t *job = NULL;
	char *said = NULL;
	int code;
	while ((code = ask_job(s->ctl, id, &job)) == CTL_OK && !is_final(job)) {
		code = show_wait(s, job, &said);
		json_decref(job);
		if (code != CTL_OK)
			break;
		nanosleep(&pause, NULL);
	}
	free(said);
	if (code != CTL_OK)
		return code;
	progress_end(s->ctl);
	print_job(s, job);
	if (strcmp(view_text(job, "state"), job_state_name(JOB_DONE)) != 0)
		s->code = CTL_NO;
	json_array_set_new(s->jobs, i, job);
	return CTL_OK;
}

static void wait_for_all(struct submission *s)
{
	for (size_t i = 0; i < json_array_size(s->jobs); i++) {
		int code = wait_for_one(s, i);
		if (code != CTL_OK) {
			s->code = code;
			return;
		}
	}
}

/* One file: its job, or {"error"}; several: {"jobs", "errors"}. */
static void print_json(const struct submission *s)
{
	const json_t *first = json_array_get(s->errors, 0);
	if (s->args->files_n > 1) {
		ctl_print_json(s->ctl, json_pack("{s:O,s:O}", "jobs", s->jobs, "errors", s->errors));
	} else if (first != NULL) {
		ctl_print_json(s->ctl, json_incref(json_array_get(s->errors, 0)));
	} else if (json_array_size(s->jobs) > 0) {
		ctl_print_json(s->ctl, json_incref(json_array_get(s->jobs, 0)));
	}
}

static const char *caller(void)
{
	const struct passwd *account = getpwuid(getuid());
	return account == NULL ? NULL : account->pw_name;
}

static int check_user(struct ctl *ctl, const char *user)
{
	const char *problem = user == NULL ? NULL : name_user_problem(user);
	if (user == NULL)
		ctl_error(ctl, "your account has no name; say for which user with --user");
	if (problem != NULL) {
		char *escaped = ctl_escape(user);
		ctl_error(ctl, "\"%s\" is no name of a user: it %s", escaped, problem);
		free(escaped);
	}
	return user == NULL || problem != NULL ? CTL_USAGE : CTL_OK;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct args args = {0};
	struct submission s = {.ctl = ctl, .args = &args};
	if (!ctl_parse(ctl, &argp, argc, argv, &args))
		return CTL_USAGE;
	char *user = args.user != NULL ? ctl_need(strdup(args.user)) : NULL;
	if (user == NULL && caller() != NULL)
		user = ctl_need(strdup(caller()));
	s.user = user;
	s.code = check_user(ctl, user);
	if (s.code == CTL_OK)
		s.code = ctl_open_tree(ctl, &s.tree);
	if (s.code == CTL_OK) {
		s.jobs = ctl_need(json_array());
		s.errors = ctl_need(json_array());
		for (int i = 0; i < args.files_n; i++)
			submit_one(&s, args.files[i]);
		if (args.wait)
			wait_for_all(&s);
		if (ctl->json)
			print_json(&s);
		tree_close(s.tree);
	}
	json_decref(s.jobs);
	json_decref(s.errors);
	free(user);
	return s.code;
}

const struct cmd cmd_submit = {
	.name = "submit",
	.args = "FILE... [--user U] [--wait]",
	.summary = "put files into incoming",
	.run = run,
};
