/* start, stop, rescan and reload: requests that concern the whole spool. */
#include "spoolctl/spoolctl.h"

static error_t parse_nothing(int key, char *arg, struct argp_state *state)
{
	(void)key;
	(void)arg;
	(void)state;
	return ARGP_ERR_UNKNOWN;
}

static error_t parse_user(int key, char *arg, struct argp_state *state)
{
	const char **user = state->input;
	if (key != ARGP_KEY_ARG || *user != NULL)
		return ARGP_ERR_UNKNOWN;
	*user = arg;
	return 0;
}

static int ask(struct ctl *ctl, const struct argp *argp, const char *command, int argc,
               char **argv)
{
	const char *user = NULL;
	if (!ctl_parse(ctl, argp, argc, argv, &user))
		return CTL_USAGE;
	json_t *request = ctl_request(command);
	if (user != NULL)
		ctl_put_name(request, "user", user);
	return ctl_ask_message(ctl, request);
}

static int run_start(struct ctl *ctl, int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse_nothing,
		.doc = "Lets jobs start, after \"spoolctl stop\" or with auto_start_processing off.\v"
		       "Example: spoolctl start",
	};
	return ask(ctl, &argp, "start", argc, argv);
}

static int run_stop(struct ctl *ctl, int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse_nothing,
		.doc = "Lets no further job start. Running ones go on, uploads are still accepted; spoold "
		       "itself goes on too.\v"
		       "Example: spoolctl stop",
	};
	return ask(ctl, &argp, "stop", argc, argv);
}

static int run_rescan(struct ctl *ctl, int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse_user,
		.args_doc = "[USER]",
		.doc = "Has spoold look through incoming again now, of all users or one.\v"
		       "Example: spoolctl rescan alice",
	};
	return ask(ctl, &argp, "rescan", argc, argv);
}

static int run_reload(struct ctl *ctl, int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse_nothing,
		.doc = "Has spoold read its configuration again. One with mistakes is refused, with all "
		       "of them, and the old settings stay in force.\v"
		       "Example: spoolctl reload",
	};
	return ask(ctl, &argp, "reload", argc, argv);
}

const struct cmd cmd_start = {
	.name = "start",
	.args = "",
	.summary = "let jobs start",
	.run = run_start,
};

const struct cmd cmd_stop = {
	.name = "stop",
	.args = "",
	.summary = "let no further job start",
	.run = run_stop,
};

const struct cmd cmd_rescan = {
	.name = "rescan",
	.args = "[USER]",
	.summary = "look through incoming again",
	.run = run_rescan,
};

const struct cmd cmd_reload = {
	.name = "reload",
	.args = "",
	.summary = "read the configuration again",
	.run = run_reload,
};
