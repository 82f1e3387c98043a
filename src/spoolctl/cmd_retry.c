#include "spoolctl/jobs.h"
#include "spoolctl/view.h"

#include <errno.h>
#include <stdlib.h>

struct args {
	bool failed;
	const char *user;
	struct job_list jobs;
};

static const struct argp_option options[] = {
	{"failed", 'f', NULL, 0, "All failed jobs, or those of USER", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	switch (key) {
	case 'f':
		args->failed = true;
		return 0;
	case ARGP_KEY_ARG:
		/* All options were parsed before. */
		if (!args->failed)
			return job_list_add(&args->jobs, arg, state);
		if (args->user != NULL)
			return ARGP_ERR_UNKNOWN;
		args->user = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		if (args->failed)
			return 0;
		argp_error(state, "which job? Or --failed for all that failed");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "JOB...\n--failed [USER]",
	.doc = "Puts jobs that ended back into the line of their user, at its end.\v"
	       "Example: spoolctl retry 42\n         spoolctl retry --failed alice",
};

static int retry_failed(struct ctl *ctl, const char *user)
{
	json_t *answer = NULL, *request = ctl_request("retry");
	ctl_put(request, "failed", json_true());
	if (user != NULL)
		ctl_put_name(request, "user", user);
	int code = ctl_ask(ctl, request, ASK_WITHOUT_LIMIT, &answer);
	if (code != CTL_OK)
		return code;
	if (ctl->json) {
		json_object_del(answer, "job");
		ctl_print_json(ctl, answer);
		return code;
	}
	size_t n = json_array_size(json_object_get(answer, "jobs"));
	if (n == 0)
		puts("there is no failed job");
	else
		printf("%zu failed job%s put into the line again\n", n, n == 1 ? "" : "s");
	json_decref(answer);
	return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct args args = {0};
	int code = CTL_USAGE;
	if (ctl_parse(ctl, &argp, argc, argv, &args))
		code = args.failed ? retry_failed(ctl, args.user)
		                   : ctl_each_job(ctl, "retry", args.jobs.ids, args.jobs.n, ASK_SOON,
		                                  "is put into the line again");
	free(args.jobs.ids);
	return code;
}

const struct cmd cmd_retry = {
	.name = "retry",
	.args = "JOB... | --failed [USER]",
	.summary = "put ended jobs into the line again",
	.run = run,
};
