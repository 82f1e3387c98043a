#include "spoolctl/client.h"
#include "spoolctl/offline.h"
#include "spoolctl/view.h"
#include "spoolctl/watch.h"

struct args {
	const char *user;
	bool watch;
};

static const struct argp_option options[] = {
	{"watch", 'w', NULL, 0, "Show it anew every second, until Ctrl-C", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	switch (key) {
	case 'w':
		args->watch = true;
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
	.doc = "Shows, for each user or one: what is running and how far it is, what waits and for how "
	       "long, what is done and what failed.\v"
	       "Example: spoolctl status alice --watch",
};

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct args args = {0};
	json_t *answer = NULL;
	if (!ctl_parse(ctl, &argp, argc, argv, &args))
		return CTL_USAGE;
	if (args.watch && ctl->json) {
		ctl_error(ctl, "--watch is for people: leave out --json, or ask again and again");
		return CTL_USAGE;
	}
	if (args.watch)
		return watch_status(ctl, args.user);
	int code = ctl_connect(ctl);
	if (code == CTL_NO_DAEMON) {
		code = offline_status(ctl, args.user, &answer);
	} else if (code == CTL_OK) {
		json_t *request = ctl_request("status");
		if (args.user != NULL)
			ctl_put_name(request, "user", args.user);
		code = ctl_ask(ctl, request, ASK_SOON, &answer);
	}
	if (answer == NULL)
		return code;
	if (ctl->json) {
		ctl_print_json(ctl, answer);
	} else {
		view_status(ctl, answer, 0, stdout);
		json_decref(answer);
	}
	return code;
}

const struct cmd cmd_status = {
	.name = "status",
	.args = "[USER] [--watch]",
	.summary = "what runs, what waits, and for how long",
	.run = run,
};
