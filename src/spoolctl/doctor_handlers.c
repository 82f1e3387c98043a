/* Can the handlers be run, and as whom? Each finding is told once, of the first who has
 * it: routes and users mostly share their handlers. */
#include "spoolctl/doctor.h"
#include "spoolctl/view.h"

#include "base/interpreter.h"
#include "base/shell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 0, or an errno. */
static int find_fault(const char *program)
{
	struct stat st;
	if (stat(program, &st) < 0)
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	return access(program, X_OK) < 0 ? errno : 0;
}

/* What keeps this account out may let the daemon's in. */
static bool may_be_ours_alone(const struct doctor *d, const char *program, int error)
{
	struct stat st;
	bool for_nobody = stat(program, &st) == 0 && (st.st_mode & 0111) == 0;
	return error == EACCES && !for_nobody && !doctor_is_daemons_account(d);
}

static void say_fault(struct doctor *d, const char *program, const char *of, int error)
{
	char *path = ctl_escape(program);
	char *mend = ctl_need(error == EACCES ? shell_command("chmod a+rx", program)
	                                      : strdup("correct handler.command, or install it"));
	doctor_say(d, may_be_ours_alone(d, program, error) ? FINDING_WARNING : FINDING_ERROR, mend,
	           "the handler%s %s cannot be run: %s", of, path, strerror(error));
	free(mend);
	free(path);
}

static bool say_unnamed(struct doctor *d, const char *program, const char *of)
{
	char *path = ctl_escape(program);
	doctor_say(d, FINDING_WARNING, "write the interpreter into its first line, #!/bin/sh for one",
	           "the handler%s %s is a text without a first line like #!/bin/sh: the kernel does not run "
	           "it, though a shell would", of, path);
	free(path);
	return false;
}

static bool check_interpreter(struct doctor *d, const char *program, const char *of)
{
	struct interpreter_problem problem;
	if (interpreter_is_unnamed(program))
		return say_unnamed(d, program, of);
	if (!interpreter_find_problem(program, HANDLER_PATH, &problem))
		return true;
	char *path = ctl_escape(program), *name = ctl_escape(problem.name);
	doctor_say(d, FINDING_ERROR, problem.mend,
	           "the handler%s %s cannot be run: its first line names \"%s\", %s", of, path, name,
	           problem.what);
	free(name);
	free(path);
	return false;
}

static bool check_program(struct doctor *d, const char *program, const char *of)
{
	int error = find_fault(program);
	if (error == 0)
		return check_interpreter(d, program, of);
	if (error != EACCES || doctor_exec_mount(d, program))
		say_fault(d, program, of, error);
	return false;
}

static bool check_handler(struct doctor *d, const struct handler *handler, const char *of)
{
	if (handler->command == NULL || handler->command[0] == NULL)
		return true;
	char *key = ctl_escape(handler->command[0]);
	const json_t *before = json_object_get(d->known, key);
	bool good = before != NULL ? json_is_true(before) : check_program(d, handler->command[0], of);
	if (before == NULL)
		json_object_set_new(d->known, key, ctl_need(json_boolean(good)));
	free(key);
	return good;
}

/* By its process; without one, by what it left: it makes the index itself. */
static bool daemon_is_root(const struct doctor *d)
{
	struct stat st;
	char path[64];
	snprintf(path, sizeof path, "/proc/%lld", (long long)view_number(d->daemon, "pid"));
	return stat(d->daemon != NULL ? path : d->ctl->config->index, &st) == 0 && st.st_uid == 0;
}

/* What uploaders send is read by a program that may do everything. */
static void say_as_root(struct doctor *d)
{
	doctor_say(d, FINDING_NOTE,
	           "set handler.run_as to an account made for them, or to \"{user}\", and run: "
	           "spoolctl reload",
	           "handlers run as root, as spoold does (handler.run_as is empty): an upload that tricks "
	           "one can do everything here");
}

static void check_one(struct doctor *d, const struct handler *handler, const char *user,
                      const char *of)
{
	d->as_daemon = d->as_daemon || handler->run_as[0] == '\0';
	if (check_handler(d, handler, of))
		doctor_handler_account(d, handler, user);
}

/* Of this user, or NULL: of users that have none of their own. */
static void check_settings(struct doctor *d, const struct user_settings *settings,
                           const char *user, const char *of, const char *of_route)
{
	check_one(d, &settings->handler, user, of);
	for (size_t i = 0; i < settings->routes_n; i++)
		check_one(d, &settings->routes[i].handler, user, of_route);
}

static int check_user_handlers(void *ctx, const char *user, const char *problem)
{
	struct doctor *d = ctx;
	const struct user_settings *settings = config_user(d->ctl->config, user);
	char *of = NULL;
	if (problem != NULL ||
	    (settings == &d->ctl->config->defaults && !settings_run_as_user(settings)))
		return 0;
	ctl_need(asprintf(&of, " of user %s", user) < 0 ? NULL : of);
	check_settings(d, settings, user, of, of);
	free(of);
	return 0;
}

void doctor_handlers(struct doctor *d)
{
	unsigned before = d->errors + d->warnings;
	doctor_kind(d);
	check_settings(d, &d->ctl->config->defaults, NULL, "", " of a route");
	if (d->tree != NULL)
		tree_each_user(d->tree, check_user_handlers, d);
	doctor_kind_end(d);
	if (d->errors + d->warnings == before)
		doctor_say(d, FINDING_OK, NULL, "the handlers can be run");
	if (d->as_daemon && daemon_is_root(d))
		say_as_root(d);
}
