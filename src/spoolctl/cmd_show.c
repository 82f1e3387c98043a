#include "spoolctl/jobs.h"
#include "spoolctl/offline.h"
#include "spoolctl/view.h"

#include <errno.h>
#include <stdlib.h>

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct job_list *jobs = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		return jobs->n > 0 ? ARGP_ERR_UNKNOWN : job_list_add(jobs, arg, state);
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which job? \"spoolctl list\" shows their numbers");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "JOB",
	.doc = "Shows one job: its state and times, where its file is, and its attempts.\v"
	       "Example: spoolctl show 42",
};

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct job_list jobs = {0};
	json_t *answer = NULL;
	int code = CTL_USAGE;
	if (!ctl_parse(ctl, &argp, argc, argv, &jobs))
		goto out;
	code = ctl_connect(ctl);
	if (code == CTL_NO_DAEMON) {
		code = offline_show(ctl, jobs.ids[0], &answer);
	} else if (code == CTL_OK) {
		json_t *request = ctl_request("show");
		ctl_put(request, "job", json_integer((json_int_t)jobs.ids[0]));
		code = ctl_ask(ctl, request, ASK_SOON, &answer);
	}
	if (answer == NULL)
		goto out;
	json_t *inner = json_object_get(answer, "job");
	json_t *job = json_incref(json_is_object(inner) ? inner : answer);
	if (ctl->json) {
		ctl_print_json(ctl, job);
	} else {
		view_job(ctl, job, stdout);
		json_decref(job);
	}
	json_decref(answer);
out:
	free(jobs.ids);
	return code;
}

const struct cmd cmd_show = {
	.name = "show",
	.args = "JOB",
	.summary = "one job, with its attempts and times",
	.run = run,
};
