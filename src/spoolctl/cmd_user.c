#include "spoolctl/may.h"
#include "spoolctl/view.h"

#include "base/shell.h"
#include "core/name.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_UID = 256, KEY_GID };
enum { MEND_INDENT = 4 };

struct args {
	const char *verb, *name;
	uid_t uid;
	gid_t gid;
	bool has_uid, has_gid;
};

static const struct argp_option options[] = {
	{"uid", KEY_UID, "UID", 0, "add: the uploader's account, by name or number (NAME's)", 0},
	{"gid", KEY_GID, "GID", 0, "add: the uploader's group, by name or number (the account's)", 0},
	{0},
};

/* A number, or the name of an account or group. */
static bool parse_id(const char *text, bool group, uint32_t *ret)
{
	uint64_t id = 0;
	const struct passwd *account = group ? NULL : getpwnam(text);
	const struct group *entry = group ? getgrnam(text) : NULL;
	if (account != NULL)
		id = account->pw_uid;
	else if (entry != NULL)
		id = entry->gr_gid;
	else if (strcmp(text, "0") != 0 && (!ctl_parse_job(text, &id) || text[0] == '#'))
		return false;
	if (id >= UINT32_MAX)
		return false;
	*ret = (uint32_t)id;
	return true;
}

static error_t parse_word(struct args *args, const char *arg)
{
	if (args->verb == NULL)
		args->verb = arg;
	else if (args->name == NULL)
		args->name = arg;
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

static error_t parse_end(const struct args *args, struct argp_state *state)
{
	const char *verb = args->verb == NULL ? "" : args->verb;
	bool adds = strcmp(verb, "add") == 0, lists = strcmp(verb, "list") == 0;
	if (!adds && !lists && strcmp(verb, "check") != 0)
		argp_error(state, "user add, user list or user check?");
	else if (adds && args->name == NULL)
		argp_error(state, "which user shall be added?");
	else if (lists && args->name != NULL)
		argp_error(state, "user list takes no name");
	else
		return 0;
	return EINVAL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	switch (key) {
	case KEY_UID:
		args->has_uid = parse_id(arg, false, &args->uid);
		if (!args->has_uid)
			argp_error(state, "there is no account \"%s\"", arg);
		return args->has_uid ? 0 : EINVAL;
	case KEY_GID:
		args->has_gid = parse_id(arg, true, &args->gid);
		if (!args->has_gid)
			argp_error(state, "there is no group \"%s\"", arg);
		return args->has_gid ? 0 : EINVAL;
	case ARGP_KEY_ARG:
		return parse_word(args, arg);
	case ARGP_KEY_END:
		return parse_end(args, state);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "add NAME\nlist\ncheck [NAME]",
	.doc = "Makes the directories of a user of the spool with the right owners and modes, lists "
	       "the users, or checks their directories. Works without spoold.\v"
	       "Example: spoolctl user add alice",
};

static int refuse_name(struct ctl *ctl, const char *name)
{
	const char *problem = name_user_problem(name);
	if (problem == NULL)
		return CTL_OK;
	char *escaped = ctl_escape(name);
	ctl_error(ctl, "\"%s\" cannot be the name of a user: it %s", escaped, problem);
	free(escaped);
	return CTL_USAGE;
}

/* Whose incoming it will be: as asked; the account of that name; else the
 * caller's. */
static void choose_owner(const struct args *args, uid_t *ret_uid, gid_t *ret_gid)
{
	const struct passwd *account = args->has_uid ? getpwuid(args->uid) : getpwnam(args->name);
	*ret_uid = args->has_uid ? args->uid : account != NULL ? account->pw_uid : getuid();
	*ret_gid = args->has_gid ? args->gid : account != NULL ? account->pw_gid : getgid();
}

static void say_made(const struct ctl *ctl, const char *name, unsigned made, uid_t uid)
{
	const struct passwd *account = getpwuid(uid);
	printf("made %u director%s of %s; ", made, made == 1 ? "y" : "ies", name);
	if (account != NULL)
		printf("%s", account->pw_name);
	else
		printf("uid %u", (unsigned)uid);
	printf(" uploads to %s/%s/incoming\n", ctl->root, name);
}

/* The configuration may have mistakes: then nothing is known of run_as. */
static bool runs_as_user(const struct ctl *ctl, const char *name)
{
	return ctl->config != NULL && settings_run_as_user(config_user(ctl->config, name));
}

/* A slip in the name looks just like a user of a share, who needs no account. */
static void note_no_account(const struct ctl *ctl, const struct args *args, uid_t uid)
{
	const char *name = args->name;
	if (getpwnam(name) != NULL)
		return;
	if (!args->has_uid && !args->has_gid && uid == 0)
		ctl_note("there is no account %s, so root owns its incoming; if that is not meant, remove "
		         "%s/%s, then add the right name, or make the account and add this one again: "
		         "useradd %s", name, ctl->root, name, name);
	if (runs_as_user(ctl, name))
		ctl_note("handlers run as the user (run_as \"{user}\"): the jobs of %s cannot run until "
		         "there is such an account: useradd %s", name, name);
}

static int add(struct ctl *ctl, struct tree *tree, const struct args *args)
{
	unsigned made = 0;
	uid_t uid;
	gid_t gid;
	int code = refuse_name(ctl, args->name);
	if (code != CTL_OK)
		return code;
	choose_owner(args, &uid, &gid);
	int r = tree_make_user(tree, args->name, uid, gid, &made);
	if (r < 0) {
		ctl_error(ctl, "the directories of %s cannot be made: %s%s", args->name, strerror(-r),
		          r == -EACCES || r == -EPERM ? "; this is for root or the account of spoold" : "");
		return CTL_NO;
	}
	if (ctl->json)
		ctl_print_json(ctl, json_pack("{s:s,s:i,s:I,s:I}", "user", args->name, "made", (int)made,
		                              "uid", (json_int_t)uid, "gid", (json_int_t)gid));
	else if (made == 0)
		printf("%s is there already; \"spoolctl user check %s\" looks whether all is well\n",
		       args->name, args->name);
	else
		say_made(ctl, args->name, made, uid);
	if (made > 0)
		note_no_account(ctl, args, uid);
	return CTL_OK;
}

struct listing {
	char **users, **refused; /* escaped */
	size_t users_n, refused_n;
};

static int list_one(void *ctx, const char *user, const char *problem)
{
	struct listing *l = ctx;
	char ***names = problem == NULL ? &l->users : &l->refused;
	size_t *n = problem == NULL ? &l->users_n : &l->refused_n;
	*names = ctl_need(reallocarray(*names, *n + 1, sizeof **names));
	(*names)[(*n)++] = ctl_escape(user);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;
	return strcmp(*x, *y);
}

/* Sorts and frees them. */
static json_t *to_array(char **names, size_t n)
{
	json_t *array = ctl_need(json_array());
	if (n > 1)
		qsort(names, n, sizeof *names, by_name);
	for (size_t i = 0; i < n; i++) {
		json_array_append_new(array, json_string(names[i]));
		free(names[i]);
	}
	free(names);
	return array;
}

static int say_unwalkable(struct ctl *ctl, int error)
{
	ctl_error(ctl, "the users cannot be listed: %s", strerror(-error));
	return CTL_NO;
}

static int list(struct ctl *ctl, struct tree *tree)
{
	struct listing l = {0};
	const json_t *name;
	size_t i;
	int r = tree_each_user(tree, list_one, &l);
	json_t *users = to_array(l.users, l.users_n), *refused = to_array(l.refused, l.refused_n);
	if (r == 0 && ctl->json) {
		ctl_print_json(ctl, json_pack("{s:O,s:O}", "users", users, "refused", refused));
	} else if (r == 0) {
		json_array_foreach(users, i, name)
			puts(json_string_value(name));
		json_array_foreach(refused, i, name)
			ctl_note("the directory \"%s\" is no user: \"spoolctl user check\" tells why",
			         json_string_value(name));
	}
	json_decref(users);
	json_decref(refused);
	return r < 0 ? say_unwalkable(ctl, r) : CTL_OK;
}

struct checking {
	const struct ctl *ctl;
	struct tree *tree;
	const char *user;
	json_t *findings;
	unsigned users;
	bool one; /* who was named */
};

static void found(void *ctx, bool fatal, const char *what, const char *mend)
{
	struct checking *c = ctx;
	json_t *o = json_pack("{s:s,s:s,s:s,s:s?}", "user", c->user, "level",
	                      fatal ? "error" : "warning", "what", what, "mend", mend);
	json_array_append_new(c->findings, ctl_need(o));
	if (c->ctl->json)
		return;
	char *line = NULL;
	ctl_need(asprintf(&line, "%s: %s: %s", c->user, fatal ? "error" : "warning", what) < 0 ? NULL
	                                                                                  : line);
	view_print(&c->ctl->look, 0, line, stdout);
	if (mend != NULL)
		view_print(&c->ctl->look, MEND_INDENT, mend, stdout);
	free(line);
}

/* Can root alone upload? By its mode, which is all that counts nearly everywhere. */
static bool is_roots_alone(const struct ctl *ctl, const char *user)
{
	struct stat st;
	char *path = NULL;
	ctl_need(asprintf(&path, "%s/%s/%s", ctl->root, user, place_name(PLACE_INCOMING)) < 0 ? NULL
	                                                                                     : path);
	bool alone = lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 &&
	             (st.st_mode & 0002) == 0 && (st.st_gid == 0 || (st.st_mode & 0020) == 0);
	free(path);
	return alone;
}

/* Users of a share have none, and need none: but then incoming is not root's. Where root
 * itself brings the files, all is well; so that is told only of who was asked for. */
static void check_has_account(struct checking *c, const char *user)
{
	if (getpwnam(user) != NULL)
		return;
	char *mend = ctl_need(shell_command("useradd", user));
	if (c->one && is_roots_alone(c->ctl, user))
		found(c, false, "there is no account of that name, so root owns incoming and nobody else "
		      "can upload", mend);
	if (runs_as_user(c->ctl, user))
		found(c, true, "there is no account of that name for handlers to run as (run_as): its jobs "
		      "cannot run", mend);
	free(mend);
}

static int check_one(void *ctx, const char *user, const char *problem)
{
	struct checking *c = ctx;
	char *escaped = ctl_escape(user);
	char *why = NULL;
	c->user = escaped;
	c->users++;
	if (problem == NULL) {
		int r = tree_check_user(c->tree, user, found, c);
		if (r < 0)
			found(c, true, strerror(-r), NULL);
		if (tree_has_user(c->tree, user))
			check_has_account(c, user);
		if (tree_answers(c->tree, user, true) == 0)
			may_check_uploader(c->ctl->config->root, user, found, c);
	} else {
		ctl_need(asprintf(&why, "the directory is no user: its name %s", problem) < 0 ? NULL : why);
		found(c, false, why, NULL);
	}
	free(why);
	free(escaped);
	return 0;
}

static int check(struct ctl *ctl, struct tree *tree, const char *name)
{
	struct checking c = {.ctl = ctl, .tree = tree, .one = name != NULL,
	                     .findings = ctl_need(json_array())};
	int code = name == NULL ? CTL_OK : refuse_name(ctl, name);
	if (code != CTL_OK) {
		json_decref(c.findings);
		return code;
	}
	int r = name == NULL ? tree_each_user(tree, check_one, &c) : check_one(&c, name, NULL);
	size_t n = json_array_size(c.findings);
	if (r < 0)
		code = say_unwalkable(ctl, r);
	else if (ctl->json)
		ctl_print_json(ctl, json_pack("{s:O}", "findings", c.findings));
	else if (n == 0)
		printf("%u user%s checked: all is well\n", c.users, c.users == 1 ? "" : "s");
	json_decref(c.findings);
	return code != CTL_OK ? code : n > 0 ? CTL_NO : CTL_OK;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct args args = {0};
	struct tree *tree = NULL;
	if (!ctl_parse(ctl, &argp, argc, argv, &args))
		return CTL_USAGE;
	int code = ctl_open_tree(ctl, &tree);
	if (code != CTL_OK)
		return code;
	if (strcmp(args.verb, "add") == 0)
		code = add(ctl, tree, &args);
	else if (strcmp(args.verb, "list") == 0)
		code = list(ctl, tree);
	else
		code = check(ctl, tree, args.name);
	tree_close(tree);
	return code;
}

const struct cmd cmd_user = {
	.name = "user",
	.args = "add|list|check [NAME]",
	.summary = "make and check the directories of users",
	.run = run,
};
