/* hold and release: the same question, asked either way. */
#include "spoolctl/jobs.h"

#include <errno.h>
#include <stdlib.h>

struct args {
	const char *user, *reason;
	struct job_list jobs;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	switch (key) {
	case 'u':
		args->user = arg;
		return 0;
	case 'r':
		args->reason = arg;
		return 0;
	case ARGP_KEY_ARG:
		return job_list_add(&args->jobs, arg, state);
	case ARGP_KEY_END:
		if ((args->user != NULL) == (args->jobs.n > 0)) {
			argp_error(state, "either jobs, or the whole line of a user with --user");
			return EINVAL;
		}
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option hold_options[] = {
	{"user", 'u', "USER", 0, "Hold the whole line of this user", 0},
	{"reason", 'r', "TEXT", 0, "Shown in the status (with --user)", 0},
	{0},
};

static const struct argp_option release_options[] = {
	{"user", 'u', "USER", 0, "Release the whole line of this user", 0},
	{0},
};

static const struct argp hold_argp = {
	.options = hold_options,
	.parser = parse,
	.args_doc = "JOB...\n--user USER",
	.doc = "Sets waiting jobs aside, or keeps all jobs of a user from starting. They keep their "
	       "place; what runs goes on; uploads are still accepted.\v"
	       "Example: spoolctl hold 42\n         spoolctl hold --user alice --reason \"until noon\"",
};

static const struct argp release_argp = {
	.options = release_options,
	.parser = parse,
	.args_doc = "JOB...\n--user USER",
	.doc = "Lets held jobs, or the held line of a user, go on.\v"
	       "Example: spoolctl release --user alice",
};

static int ask_line(struct ctl *ctl, const char *command, const struct args *args,
                    const char *done)
{
	json_t *answer = NULL, *request = ctl_request(command);
	ctl_put_name(request, "user", args->user);
	if (args->reason != NULL)
		ctl_put_name(request, "reason", args->reason);
	int code = ctl_ask(ctl, request, ASK_SOON, &answer);
	if (code != CTL_OK)
		return code;
	char *user = ctl_escape(args->user);
	if (ctl->json) {
		ctl_put(answer, "user", json_string(user));
		ctl_print_json(ctl, answer);
	} else {
		const char *message = json_string_value(json_object_get(answer, "message"));
		if (message != NULL)
			puts(message);
		else
			printf("the line of %s %s\n", user, done);
		json_decref(answer);
	}
	free(user);
	return code;
}

static int run_either(struct ctl *ctl, const struct argp *argp, const char *command,
                      const char *done, int argc, char **argv)
{
	struct args args = {0};
	int code = CTL_USAGE;
	if (ctl_parse(ctl, argp, argc, argv, &args))
		code = args.user != NULL ? ask_line(ctl, command, &args, done)
		                         : ctl_each_job(ctl, command, args.jobs.ids, args.jobs.n,
		                                        ASK_SOON, done);
	free(args.jobs.ids);
	return code;
}

static int run_hold(struct ctl *ctl, int argc, char **argv)
{
	return run_either(ctl, &hold_argp, "hold", "is held", argc, argv);
}

static int run_release(struct ctl *ctl, int argc, char **argv)
{
	return run_either(ctl, &release_argp, "release", "is released", argc, argv);
}

const struct cmd cmd_hold = {
	.name = "hold",
	.args = "JOB... | --user USER",
	.summary = "set jobs, or the line of a user, aside",
	.run = run_hold,
};

const struct cmd cmd_release = {
	.name = "release",
	.args = "JOB... | --user USER",
	.summary = "let them go on",
	.run = run_release,
};
