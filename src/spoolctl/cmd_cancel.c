#include "spoolctl/jobs.h"

#include <errno.h>
#include <stdlib.h>

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct job_list *jobs = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		return job_list_add(jobs, arg, state);
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which job? \"spoolctl list\" shows their numbers");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "JOB...",
	.doc = "Cancels jobs: their files go to failed, running handlers are ended. Comes back when "
	       "they have ended.\v"
	       "Example: spoolctl cancel 42 43",
};

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct job_list jobs = {0};
	int code = CTL_USAGE;
	if (ctl_parse(ctl, &argp, argc, argv, &jobs))
		code = ctl_each_job(ctl, "cancel", jobs.ids, jobs.n, ASK_WITHOUT_LIMIT, "is canceled");
	free(jobs.ids);
	return code;
}

const struct cmd cmd_cancel = {
	.name = "cancel",
	.args = "JOB...",
	.summary = "take jobs out of the line, end running ones",
	.run = run,
};
