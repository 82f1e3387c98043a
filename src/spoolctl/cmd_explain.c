#include "spoolctl/offline.h"
#include "spoolctl/view.h"

#include "core/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error_t parse(int key, char *arg, struct argp_state *state)
{
	const char **what = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		if (*what != NULL)
			return ARGP_ERR_UNKNOWN;
		*what = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "explain which file or job?");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "FILE|JOB",
	.doc = "Tells why a file or a job is where it is, and what it waits for. A number is a job, "
	       "unless there is a file of that name here.\v"
	       "Example: spoolctl explain /srv/spool/alice/incoming/report.csv",
};

/* The file need not exist: only the working directory is put before it. */
static char *absolute(const char *path)
{
	char *out = NULL;
	if (path[0] == '/')
		return ctl_need(strdup(path));
	char *here = getcwd(NULL, 0);
	if (here == NULL)
		return ctl_need(strdup(path));
	while (strncmp(path, "./", 2) == 0)
		path += 2;
	if (asprintf(&out, "%s/%s", strcmp(here, "/") == 0 ? "" : here, path) < 0)
		out = NULL;
	free(here);
	return ctl_need(out);
}

static int explain_job(struct ctl *ctl, uint64_t id, json_t **ret)
{
	int code = ctl_connect(ctl);
	if (code == CTL_NO_DAEMON)
		return offline_explain_job(ctl, id, ret);
	if (code != CTL_OK)
		return code;
	json_t *request = ctl_request("explain");
	ctl_put(request, "job", json_integer((json_int_t)id));
	return ctl_ask(ctl, request, ASK_SOON, ret);
}

static int explain_path(struct ctl *ctl, const char *file, json_t **ret)
{
	char *path = absolute(file);
	int code = ctl_connect(ctl);
	if (code == CTL_NO_DAEMON) {
		code = offline_explain_path(ctl, path, ret);
	} else if (code == CTL_OK) {
		json_t *request = ctl_request("explain");
		ctl_put_name(request, "path", path);
		code = ctl_ask(ctl, request, ASK_SOON, ret);
	}
	free(path);
	return code;
}

/* A word that is no file here but a user of the spool: said so, false else. */
static bool is_user(struct ctl *ctl, const char *what)
{
	char *path = NULL;
	struct stat st;
	if (name_user_problem(what) != NULL || lstat(what, &st) == 0 || ctl_load(ctl) != CTL_OK ||
	    ctl->config == NULL || mounts_ask(ctl_mounts(ctl), ctl->root, NULL, true) < 0)
		return false;
	ctl_need(asprintf(&path, "%s/%s", ctl->root, what) < 0 ? NULL : path);
	bool is = lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
	free(path);
	if (is)
		ctl_error(ctl, "there is no file %s here; \"spoolctl status %s\" shows that user", what, what);
	return is;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	const char *what = NULL;
	json_t *answer = NULL;
	struct stat st;
	uint64_t id;
	if (!ctl_parse(ctl, &argp, argc, argv, &what))
		return CTL_USAGE;
	bool is_job = ctl_parse_job(what, &id) && lstat(what, &st) < 0;
	if (!is_job && is_user(ctl, what))
		return CTL_NO;
	int code = is_job ? explain_job(ctl, id, &answer) : explain_path(ctl, what, &answer);
	if (answer == NULL)
		return code;
	const char *state = json_string_value(json_object_get(answer, "state"));
	if (code == CTL_OK && state != NULL && strcmp(state, "unknown") == 0)
		code = CTL_NO;
	if (ctl->json) {
		ctl_print_json(ctl, answer);
	} else {
		view_explanation(ctl, answer, stdout);
		json_decref(answer);
	}
	return code;
}

const struct cmd cmd_explain = {
	.name = "explain",
	.args = "FILE|JOB",
	.summary = "why it is where it is, and what it waits for",
	.run = run,
};
