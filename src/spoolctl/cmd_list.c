#include "spoolctl/offline.h"
#include "spoolctl/view.h"

#include "core/job.h"

#include <stdlib.h>
#include <string.h>

enum { LIMIT_DEFAULT = 50, KEY_STATE = 256 };

struct args {
	const char *user;
	const char *state;
	bool arriving;  /* uploads that are no jobs yet */
	uint64_t limit; /* 0 = all */
};

static const struct argp_option options[] = {
	{"state", KEY_STATE, "STATE", 0,
	 "Only pending, held, queued, processing, done, failed or canceled jobs; or arriving: uploads "
	 "that are no jobs yet, and why", 0},
	{"limit", 'n', "N", 0, "At most N (50; 0 = all)", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	enum job_state job_state;
	switch (key) {
	case KEY_STATE:
		args->arriving = strcmp(arg, "arriving") == 0;
		if (!args->arriving && !job_state_parse(arg, &job_state)) {
			argp_error(state, "--state is arriving, pending, held, queued, processing, done, failed or "
			                  "canceled, not \"%s\"", arg);
			return EINVAL;
		}
		args->state = arg;
		return 0;
	case 'n':
		if (strcmp(arg, "0") == 0) {
			args->limit = 0;
		} else if (!ctl_parse_job(arg, &args->limit) || arg[0] == '#') {
			argp_error(state, "--limit is a number, 0 for all, not \"%s\"", arg);
			return EINVAL;
		}
		return 0;
	case ARGP_KEY_ARG:
		if (args->user != NULL)
			return ARGP_ERR_UNKNOWN;
		args->user = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[USER]",
	.doc = "Lists jobs: first those at work, then those that wait, in the order of their line, "
	       "then those held, then those that ended, newest first. Of several users the waiting "
	       "ones come user by user, the ended ones in one row. Uploads that are no jobs yet are only "
	       "listed with --state arriving, with what each waits for.\v"
	       "Examples: spoolctl list alice --state failed; spoolctl list --state arriving",
};

/* One page: what is left of the limit, from where the one before ended. */
static json_t *page_request(const struct args *args, size_t have, const char *after)
{
	json_t *request = ctl_request("list");
	uint64_t limit = INDEX_JSON_LIMIT_MAX;
	if (args->limit > 0 && args->limit - have < limit)
		limit = args->limit - have;
	ctl_put(request, "limit", json_integer((json_int_t)limit));
	if (args->user != NULL)
		ctl_put_name(request, "user", args->user);
	if (args->state != NULL)
		ctl_put(request, "state", json_string(args->state));
	if (after != NULL)
		ctl_put(request, "after", json_string(after));
	return request;
}

static const char *key(const struct args *args)
{
	return args->arriving ? "uploads" : "jobs";
}

static int ask_pages(struct ctl *ctl, const struct args *args, json_t **ret)
{
	json_t *all = NULL;
	int code = ctl_ask(ctl, page_request(args, 0, NULL), ASK_SOON, &all);
	if (code != CTL_OK)
		return code;
	json_t *jobs = json_object_get(all, key(args));
	json_int_t total = (json_int_t)json_array_size(jobs) + view_number(all, "more");
	for (;;) {
		json_t *page = NULL;
		const char *next = json_string_value(json_object_get(all, "next"));
		size_t have = json_array_size(jobs);
		if (next == NULL || (args->limit > 0 && have >= args->limit))
			break;
		code = ctl_ask(ctl, page_request(args, have, next), ASK_SOON, &page);
		if (code != CTL_OK)
			break;
		json_array_extend(jobs, json_object_get(page, key(args)));
		if (view_true(page, "unseen"))
			ctl_put(all, "unseen", json_true());
		ctl_put(all, "next", json_incref(json_object_get(page, "next")));
		json_decref(page);
		/* A page without jobs is the last one, whatever it says. */
		if (json_array_size(jobs) == have)
			break;
	}
	if (code != CTL_OK) {
		json_decref(all);
		return code;
	}
	/* They may have come and gone between the pages. */
	json_int_t more = total - (json_int_t)json_array_size(jobs);
	bool ended = json_string_value(json_object_get(all, "next")) == NULL;
	ctl_put(all, "more", json_integer(ended || more < 0 ? 0 : more));
	*ret = all;
	return CTL_OK;
}

/* What is not a job yet is in no index. */
static int say_unknown(struct ctl *ctl)
{
	int code = ctl_load(ctl);
	if (code != CTL_OK)
		return code;
	char *why = ctl_why_down(ctl);
	ctl_error(ctl, "%s, and only a running spoold knows what is arriving; \"spoolctl list\" shows the "
	               "jobs", why);
	free(why);
	return CTL_NO_DAEMON;
}

static int ask_offline(struct ctl *ctl, const struct args *args, json_t **ret)
{
	if (args->arriving)
		return say_unknown(ctl);
	struct index_json_filter filter = {
		.user = args->user,
		.any_state = args->state == NULL,
		.limit = args->limit,
	};
	if (args->state != NULL)
		job_state_parse(args->state, &filter.state);
	return offline_list(ctl, &filter, ret);
}

static void print(const struct ctl *ctl, const struct args *args, const json_t *answer)
{
	const json_t *rows = json_object_get(answer, key(args));
	json_int_t more = view_number(answer, "more");
	if (json_array_size(rows) == 0)
		puts(args->arriving ? "nothing is arriving" : args->state == NULL ? "no jobs" : "no such jobs");
	else if (args->arriving)
		view_arriving(ctl, rows, args->user == NULL, stdout);
	else
		view_list(ctl, rows, args->user == NULL, stdout);
	if (more > 0)
		printf("and %lld more; --limit 0 shows all\n", (long long)more);
	if (view_true(answer, "unseen"))
		view_print(&ctl->look, 0,
		           "more may be in incoming: it has not been looked through to its end yet", stdout);
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct args args = {.limit = LIMIT_DEFAULT};
	json_t *answer = NULL;
	if (!ctl_parse(ctl, &argp, argc, argv, &args))
		return CTL_USAGE;
	int code = ctl_connect(ctl);
	if (code == CTL_NO_DAEMON)
		code = ask_offline(ctl, &args, &answer);
	else if (code == CTL_OK)
		code = ask_pages(ctl, &args, &answer);
	if (answer == NULL)
		return code;
	if (!ctl->json) {
		print(ctl, &args, answer);
		json_decref(answer);
		return code;
	}
	json_object_del(answer, "next");
	ctl_print_json(ctl, answer);
	return code;
}

const struct cmd cmd_list = {
	.name = "list",
	.args = "[USER] [--state S] [--limit N]",
	.summary = "jobs, in the order of their line",
	.run = run,
};
