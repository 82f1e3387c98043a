#include "spoolctl/jobs.h"
#include "spoolctl/view.h"

#include "core/job.h"
#include "io/index_json.h"

#include <errno.h>
#include <stdlib.h>

struct args {
	const char *user;
	struct job_list jobs;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	switch (key) {
	case 'u':
		args->user = arg;
		return 0;
	case ARGP_KEY_ARG:
		return job_list_add(&args->jobs, arg, state);
	case ARGP_KEY_END:
		if ((args->user != NULL) != (args->jobs.n > 0))
			return 0;
		argp_error(state, args->user == NULL ? "which job? \"spoolctl list\" shows their numbers"
		                                     : "either jobs, or all of a user with --user");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"user", 'u', "USER", 0, "All jobs of this user that have not ended", 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "JOB...\n--user USER",
	.doc = "Cancels jobs: their files go to failed, running handlers are ended. Comes back when "
	       "they have ended. The last ones in line go first, so that none of them is begun "
	       "meanwhile.\v"
	       "Example: spoolctl cancel 42 43\n         spoolctl cancel --user alice",
};

static void add_all(struct job_list *list, const json_t *jobs)
{
	const json_t *job;
	size_t i;
	json_array_foreach(jobs, i, job) {
		list->ids = ctl_need(reallocarray(list->ids, list->n + 1, sizeof *list->ids));
		list->ids[list->n++] = (uint64_t)view_number(job, "job");
	}
}

/* Of one state, page by page. */
static int find_state(struct ctl *ctl, enum job_state state, const struct args *args,
                      struct job_list *ret)
{
	json_t *page = NULL, *next = NULL;
	int code = CTL_OK;
	do {
		json_t *request = ctl_request("list");
		ctl_put_name(request, "user", args->user);
		ctl_put(request, "state", json_string(job_state_name(state)));
		ctl_put(request, "limit", json_integer(INDEX_JSON_LIMIT_MAX));
		if (next != NULL)
			ctl_put(request, "after", next);
		next = NULL;
		code = ctl_ask(ctl, request, ASK_SOON, &page);
		if (code != CTL_OK)
			break;
		add_all(ret, json_object_get(page, "jobs"));
		if (json_is_string(json_object_get(page, "next")) &&
		    json_array_size(json_object_get(page, "jobs")) > 0)
			next = json_incref(json_object_get(page, "next"));
		json_decref(page);
	} while (next != NULL);
	return code;
}

/* In the order in which a job goes through these: none is missed meanwhile. */
static int find_all(struct ctl *ctl, const struct args *args, struct job_list *ret)
{
	static const enum job_state states[] = {JOB_HELD, JOB_PENDING, JOB_QUEUED, JOB_PROCESSING};
	int code = CTL_OK;
	for (size_t i = 0; code == CTL_OK && i < sizeof states / sizeof *states; i++)
		code = find_state(ctl, states[i], args, ret);
	return code;
}

static int compare_last(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x == y ? 0 : x > y ? -1 : 1;
}

/* Each once, the last in line first. */
static void sort(struct job_list *list)
{
	size_t to = 0;
	if (list->n > 1)
		qsort(list->ids, list->n, sizeof *list->ids, compare_last);
	for (size_t i = 0; i < list->n; i++)
		if (to == 0 || list->ids[to - 1] != list->ids[i])
			list->ids[to++] = list->ids[i];
	list->n = to;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct args args = {0};
	int code = CTL_USAGE;
	if (ctl_parse(ctl, &argp, argc, argv, &args))
		code = args.user == NULL ? CTL_OK : find_all(ctl, &args, &args.jobs);
	if (code == CTL_OK) {
		sort(&args.jobs);
		code = ctl_each_job(ctl, "cancel", args.jobs.ids, args.jobs.n, ASK_WITHOUT_LIMIT,
		                    "is canceled");
		if (args.jobs.n == 0 && !ctl->json)
			puts("no job is waiting or running");
	}
	free(args.jobs.ids);
	return code;
}

const struct cmd cmd_cancel = {
	.name = "cancel",
	.args = "JOB... | --user USER",
	.summary = "take jobs out of the line, end running ones",
	.run = run,
};
