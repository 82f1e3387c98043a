#include "spoolctl/client.h"
#include "spoolctl/spoolctl.h"

#include "base/text.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

const char *argp_program_version = "spoolctl " SPOOLD_VERSION;

const struct cmd *const ctl_commands[] = {
	&cmd_status, &cmd_list, &cmd_show,    &cmd_log,   &cmd_explain, &cmd_submit,
	&cmd_retry,  &cmd_cancel, &cmd_hold,  &cmd_release, &cmd_start, &cmd_stop,
	&cmd_rescan, &cmd_reload, &cmd_user,  &cmd_doctor, &cmd_help,   NULL,
};

void ctl_print_overview(FILE *out)
{
	fprintf(out, "Usage: spoolctl [--config FILE] [--json] COMMAND ...\n\n"
	             "Shows and steers spoold, the daemon that works off the files in a spool.\n\n");
	for (const struct cmd *const *c = ctl_commands; *c != NULL; c++)
		fprintf(out, "  %-8s %-34s %s\n", (*c)->name, (*c)->args, (*c)->summary);
	fprintf(out,
	        "\nOptions, before or after the command:\n\n"
	        "  -c, --config FILE   the configuration ($SPOOLD_CONFIG, ./config.json,\n"
	        "                      /etc/spoold/config.json)\n"
	        "  -j, --json          one JSON object instead of text\n"
	        "      --color WHEN    auto, always or never\n"
	        "      --socket PATH   the daemon's socket, instead of the configured one\n"
	        "  -?, --help          this, or after a command: its own help\n"
	        "  -V, --version       the version\n"
	        "\nExit codes: 0; 1 the answer is no or a job failed; 2 wrong usage; 3 no daemon.\n");
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
	struct ctl *ctl = state->input;
	switch (key) {
	case 'c':
		ctl->config_option = arg;
		return 0;
	case 's':
		ctl->socket_option = arg;
		return 0;
	case 'j':
		ctl->json = true;
		return 0;
	case 'C':
		if (strcmp(arg, "auto") == 0)
			ctl->color = COLOR_AUTO;
		else if (strcmp(arg, "always") == 0)
			ctl->color = COLOR_ALWAYS;
		else if (strcmp(arg, "never") == 0)
			ctl->color = COLOR_NEVER;
		else {
			argp_error(state, "--color is auto, always or never, not \"%s\"", arg);
			return EINVAL;
		}
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option common_options[] = {
	{"config", 'c', "FILE", 0, "The configuration file", -2},
	{"json", 'j', NULL, 0, "Print one JSON object", -2},
	{"color", 'C', "WHEN", 0, "auto, always or never", -2},
	{"socket", 's', "PATH", 0, "The daemon's socket", -2},
	{0},
};

const struct argp ctl_common_argp = {.options = common_options, .parser = parse_common};

/* The global part: its first argument is the command, the rest is its. */
struct global {
	struct ctl *ctl;
	int command_at; /* index in argv, 0 = none */
};

static error_t parse_global(int key, char *arg, struct argp_state *state)
{
	struct global *global = state->input;
	(void)arg;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = global->ctl;
		return 0;
	case ARGP_KEY_ARG:
		global->command_at = state->next - 1;
		state->next = state->argc;
		return 0;
	case '?':
		ctl_print_overview(stdout);
		exit(CTL_OK);
	case 'V':
		puts(argp_program_version);
		exit(CTL_OK);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option global_options[] = {
	{"help", '?', NULL, 0, "Give this help list", -1},
	{"version", 'V', NULL, 0, "Print the version", -1},
	{0},
};

void ctl_measure(struct ctl *ctl)
{
	struct winsize size = {0};
	ctl->terminal = isatty(STDOUT_FILENO) == 1;
	ctl->progress = isatty(STDERR_FILENO) == 1;
	ctl->look.width = 0;
	if (ctl->terminal) {
		bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
		ctl->look.width = known ? size.ws_col : 80;
	}
	ctl->look.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static void choose_color(struct ctl *ctl)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	bool refused = (no_color != NULL && no_color[0] != '\0') ||
	               (term != NULL && strcmp(term, "dumb") == 0);
	ctl->look.colored = ctl->color == COLOR_ALWAYS ||
	                    (ctl->color == COLOR_AUTO && ctl->terminal && !refused);
}

static const struct cmd *find_command(const char *name)
{
	for (const struct cmd *const *c = ctl_commands; *c != NULL; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}

static int unknown_command(struct ctl *ctl, const char *name)
{
	const char *names[sizeof ctl_commands / sizeof *ctl_commands] = {NULL};
	for (size_t i = 0; ctl_commands[i] != NULL; i++)
		names[i] = ctl_commands[i]->name;
	const char *nearest = text_nearest(name, names);
	char *escaped = ctl_escape(name);
	if (nearest != NULL)
		ctl_error(ctl, "there is no command \"%s\"; did you mean \"%s\"?", escaped, nearest);
	else
		ctl_error(ctl, "there is no command \"%s\"; spoolctl help lists them", escaped);
	free(escaped);
	return CTL_USAGE;
}

/* What argp, and getopt below it, say on stderr: with --json it is the error, too. */
struct said {
	FILE *stderr_before; /* NULL: nothing is caught */
	char *text;
	size_t n;
};

static void said_begin(struct said *said, bool wanted)
{
	*said = (struct said){0};
	FILE *catch = wanted ? open_memstream(&said->text, &said->n) : NULL;
	if (catch == NULL)
		return;
	said->stderr_before = stderr;
	stderr = catch;
}

/* Its first line, without the name of the program before it: a new string, or NULL. It is
 * on stderr as well then. */
static char *said_end(struct said *said, const char *program)
{
	if (said->stderr_before == NULL)
		return NULL;
	fclose(stderr);
	stderr = said->stderr_before;
	fputs(said->text, stderr);
	size_t skip = strlen(program);
	bool named = strncmp(said->text, program, skip) == 0 && strncmp(said->text + skip, ": ", 2) == 0;
	const char *reason = said->text + (named ? skip + 2 : 0);
	size_t n = strcspn(reason, "\n");
	char *line = n == 0 ? NULL : ctl_need(text_printable(reason, n, ""));
	free(said->text);
	return line;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	const struct argp_child children[] = {{&ctl_common_argp, 0, NULL, 0}, {0}};
	const struct argp argp = {
		.options = global_options,
		.parser = parse_global,
		.children = children,
	};
	struct global global = {.ctl = ctl};
	unsigned flags = ARGP_IN_ORDER | ARGP_NO_HELP | (ctl->json ? ARGP_NO_EXIT : 0);
	struct said said;
	said_begin(&said, ctl->json);
	error_t r = argp_parse(&argp, argc, argv, flags, NULL, &global);
	char *reason = said_end(&said, argv[0]);
	if (r != 0)
		ctl_error(ctl, "%s; spoolctl help tells the right one",
		          reason == NULL ? "wrong usage" : reason);
	free(reason);
	if (r != 0)
		return CTL_USAGE;
	if (global.command_at == 0) {
		if (ctl->json)
			ctl_error(ctl, "which command? spoolctl help lists them");
		else
			ctl_print_overview(stderr);
		return CTL_USAGE;
	}
	const char *name = argv[global.command_at];
	const struct cmd *cmd = find_command(name);
	if (cmd == NULL)
		return unknown_command(ctl, name);
	return cmd->run(ctl, argc - global.command_at, argv + global.command_at);
}

bool ctl_parse_job(const char *text, uint64_t *ret)
{
	uint64_t id = 0;
	if (*text == '#')
		text++;
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		unsigned digit = (unsigned)(unsigned char)*text - '0';
		if (digit > 9 || id > ((uint64_t)INT64_MAX - digit) / 10)
			return false;
		id = id * 10 + digit;
	}
	if (id == 0)
		return false;
	*ret = id;
	return true;
}

struct parsing {
	struct ctl *ctl;
	void *input;
};

static error_t parse_both(int key, char *arg, struct argp_state *state)
{
	const struct parsing *parsing = state->input;
	(void)arg;
	if (key != ARGP_KEY_INIT)
		return ARGP_ERR_UNKNOWN;
	state->child_inputs[0] = parsing->input;
	state->child_inputs[1] = parsing->ctl;
	return 0;
}

/* With --json a mistake is answered on stdout too, so argp must come back. */
static unsigned parse_flags(const struct ctl *ctl, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-?") == 0 ||
		    strcmp(argv[i], "--usage") == 0 || strcmp(argv[i], "--version") == 0 ||
		    strcmp(argv[i], "-V") == 0)
			return 0;
	return ctl->json ? ARGP_NO_EXIT : 0;
}

bool ctl_parse(struct ctl *ctl, const struct argp *argp, int argc, char **argv, void *input)
{
	struct argp own = *argp;
	const struct argp_child children[] = {
		{&own, 0, NULL, 0},
		{&ctl_common_argp, 0, "Options of all commands:", 1},
		{0},
	};
	const struct argp both = {
		.parser = parse_both,
		.children = children,
		.args_doc = argp->args_doc,
		.doc = argp->doc,
	};
	struct parsing parsing = {.ctl = ctl, .input = input};
	char name[64];
	/* They are the whole's: argp would print them twice. */
	/* cppcheck-suppress unreadVariable ; argp reads them through "children" */
	own.args_doc = own.doc = NULL;
	snprintf(name, sizeof name, "spoolctl %s", argv[0]);
	argv[0] = name;
	unsigned flags = parse_flags(ctl, argc, argv);
	struct said said;
	/* For --help argp does not come back. */
	said_begin(&said, (flags & ARGP_NO_EXIT) != 0);
	error_t r = argp_parse(&both, argc, argv, flags, NULL, &parsing);
	char *reason = said_end(&said, name);
	choose_color(ctl);
	if (r != 0)
		ctl_error(ctl, "%s; %s --help tells the right one",
		          reason == NULL ? "wrong usage" : reason, name);
	free(reason);
	return r == 0;
}

static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-j") == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static char program[] = "spoolctl";
	struct ctl ctl = {0};
	setlocale(LC_CTYPE, "");
	argp_err_exit_status = CTL_USAGE;
	if (argc > 0)
		argv[0] = program;
	ctl.json = wants_json(argc, argv);
	ctl_measure(&ctl);
	int code = run(&ctl, argc, argv);
	client_free(ctl.client);
	mounts_free(ctl.mounts);
	config_free(ctl.config);
	free(ctl.config_path);
	free(ctl.root);
	free(ctl.socket);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		ctl_note("the output could not be written: %m");
		return code == CTL_OK ? CTL_NO : code;
	}
	return code;
}
