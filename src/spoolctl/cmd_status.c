#include "spoolctl/client.h"
#include "spoolctl/offline.h"
#include "spoolctl/view.h"
#include "spoolctl/watch.h"

/* Users in one answer. */
enum { PAGE = 1000 };

struct args {
	const char *user;
	bool watch, all, busy;
};

static const struct argp_option options[] = {
	{"watch", 'w', NULL, 0, "Show it anew every second, until Ctrl-C", 0},
	{"all", 'a', NULL, 0, "Show idle users as well, however many there are", 0},
	{"busy", 'b', NULL, 0, "Show busy users only, and sum up the idle ones", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	switch (key) {
	case 'w':
		args->watch = true;
		return 0;
	case 'a':
		args->all = true;
		return 0;
	case 'b':
		args->busy = true;
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
	       "long, what is done and what failed. Where there are more than 50 users, those who are "
	       "idle are summed up in one line; with --json they are not, unless --busy is given.\v"
	       "Example: spoolctl status alice --watch",
};

json_t *status_request(const char *user, int64_t idle_max)
{
	json_t *request = ctl_request("status");
	if (user != NULL)
		ctl_put_name(request, "user", user);
	else if (idle_max >= 0)
		ctl_put(request, "idle_max", json_integer(idle_max));
	return request;
}

static json_t *page_request(const json_t *all)
{
	json_t *request = ctl_request("status");
	ctl_put(request, "limit", json_integer(PAGE));
	if (all != NULL)
		ctl_put(request, "after", json_incref(json_object_get(all, "next")));
	return request;
}

/* All users, however many: page by page, so that no answer keeps spoold from
 * its work. */
static int ask_pages(struct ctl *ctl, json_t **ret)
{
	json_t *all = NULL;
	int code = ctl_ask(ctl, page_request(NULL), ASK_SOON, &all);
	while (code == CTL_OK && json_is_string(json_object_get(all, "next"))) {
		json_t *page = NULL, *users = json_object_get(all, "users");
		size_t have = json_array_size(users);
		code = ctl_ask(ctl, page_request(all), ASK_SOON, &page);
		if (code != CTL_OK)
			break;
		json_array_extend(users, json_object_get(page, "users"));
		json_t *next = json_object_get(page, "next");
		/* One without users, or that leads nowhere, is the last one. */
		bool last = next == NULL || json_equal(next, json_object_get(all, "next"));
		if (!last)
			ctl_put(all, "next", json_incref(next));
		json_decref(page);
		if (last || json_array_size(users) == have)
			break;
	}
	if (code != CTL_OK) {
		json_decref(all);
		return code;
	}
	json_object_del(all, "next");
	*ret = all;
	return CTL_OK;
}

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
	if (args.all && args.busy) {
		ctl_error(ctl, "--all and --busy say the opposite: give one of them");
		return CTL_USAGE;
	}
	int64_t idle_max = args.busy ? 0 : args.all ? -1 : STATUS_IDLE_MAX;
	bool pages = args.user == NULL && (args.all || (ctl->json && !args.busy));
	if (args.watch)
		return watch_status(ctl, args.user, idle_max);
	int code = ctl_connect(ctl);
	if (code == CTL_NO_DAEMON)
		code = offline_status(ctl, args.user, pages ? -1 : idle_max, &answer);
	else if (code == CTL_OK && pages)
		code = ask_pages(ctl, &answer);
	else if (code == CTL_OK)
		code = ctl_ask(ctl, status_request(args.user, idle_max), ASK_SOON, &answer);
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
	.args = "[USER] [--watch] [--all|--busy]",
	.summary = "what runs, what waits, and for how long",
	.run = run,
};
