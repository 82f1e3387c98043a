#include "spoolctl/spoolctl.h"

#include <stdlib.h>
#include <string.h>

static int run(struct ctl *ctl, int argc, char **argv)
{
	static char help_option[] = "--help";
	if (argc < 2 || argv[1][0] == '-') {
		ctl_print_overview(stdout);
		return CTL_OK;
	}
	for (const struct cmd *const *c = ctl_commands; *c != NULL; c++) {
		char *help_argv[] = {argv[1], help_option, NULL};
		if (strcmp((*c)->name, argv[1]) == 0 && *c != &cmd_help)
			return (*c)->run(ctl, 2, help_argv);
	}
	char *name = ctl_escape(argv[1]);
	ctl_error(ctl, "there is no command \"%s\"; spoolctl help lists them", name);
	free(name);
	return CTL_USAGE;
}

const struct cmd cmd_help = {
	.name = "help",
	.args = "[COMMAND]",
	.summary = "this, or the help of a command",
	.run = run,
};
