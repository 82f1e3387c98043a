#include "base/fd.h"
#include "base/log.h"
#include "spoold/daemon.h"
#include "spoold/loop.h"
#include "spoold/setup.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *argp_program_version = "spoold " SPOOLD_VERSION;

enum { HEAP_KEPT = 4 << 20 }; /* bytes */
enum { OPT_MODE = 0x100, OPT_CHECK, OPT_PRINT, OPT_INIT, OPT_SCHEMA, OPT_SETTINGS, OPT_DEBUG };

static const struct argp_option options[] = {
	{"config", 'c', "FILE", 0,
	 "configuration (else $SPOOLD_CONFIG, ./config.json, /etc/spoold/config.json)", 1},
	{"mode", OPT_MODE, "MODE", 0,
	 "continuous (the default), or once: take in what is there, work it off and end; the exit "
	 "status is 0 when all ended done, 1 when some failed", 1},
	{"interval", 'i', "MINUTES", 0, "look through all directories this often (0.01 to 1440)", 1},
	{"init", OPT_INIT, NULL, 0, "make the spool's root and its marker, and end", 2},
	{"check-config", OPT_CHECK, NULL, 0, "check the configuration, say all that is wrong, and end",
	 2},
	{"print-config", OPT_PRINT, NULL, 0, "print the settings in force as JSON, and end", 2},
	{"print-schema", OPT_SCHEMA, NULL, 0, "print the JSON schema of the configuration, and end", 2},
	{"print-settings", OPT_SETTINGS, "FORM", 0,
	 "print the table of all settings as 'markdown' or 'roff', and end", 2},
	{"debug", OPT_DEBUG, NULL, 0, "say more on stderr", 3},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct setup *s = state->input;
	char *end = NULL;
	switch (key) {
	case 'c': s->config_path = arg; return 0;
	case OPT_MODE:
		if (strcmp(arg, "continuous") != 0 && strcmp(arg, "once") != 0)
			argp_error(state, "--mode: expected 'continuous' or 'once', got '%s'", arg);
		s->once = strcmp(arg, "once") == 0;
		return 0;
	case 'i':
		s->interval_minutes = strtod(arg, &end);
		if (end == arg || *end != '\0' ||
		    !(s->interval_minutes >= 0.01 && s->interval_minutes <= 1440))
			argp_error(state, "--interval: expected minutes from 0.01 to 1440, got '%s'", arg);
		return 0;
	case OPT_INIT: s->action = SETUP_INIT; return 0;
	case OPT_CHECK: s->action = SETUP_CHECK; return 0;
	case OPT_PRINT: s->action = SETUP_PRINT; return 0;
	case OPT_SCHEMA: s->action = SETUP_SCHEMA; return 0;
	case OPT_SETTINGS:
		if (strcmp(arg, "markdown") != 0 && strcmp(arg, "roff") != 0)
			argp_error(state, "--print-settings: expected 'markdown' or 'roff', got '%s'", arg);
		s->action = strcmp(arg, "roff") == 0 ? SETUP_ROFF : SETUP_MARKDOWN;
		return 0;
	case OPT_DEBUG: log_set_level(LOG_LEVEL_DEBUG); return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' was not expected: spoold takes only options", arg);
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Turns drop folders into a job queue: takes the files that users put into "
	       "spool/USER/incoming, runs the configured handler on each, one at a time per user, and "
	       "moves them to done or failed.\v"
	       "Exit status: 0; 1 something failed, or jobs did with --mode once; 2 usage.",
};

/* Signals are read in the loop; threads inherit the mask. A closed pipe is an
 * error of write. */
static void prepare_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct setup setup = {.action = SETUP_RUN};
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &setup);
	if (setup.action != SETUP_RUN)
		return setup_act(&setup);
	prepare_signals();
	/* The pages of each commit come from the heap and go back to it: not to the
	 * kernel, which would clear them again for the next one. */
	mallopt(M_TRIM_THRESHOLD, HEAP_KEPT);
	struct daemon d;
	int status = 1;
	if (setup_daemon(&setup, &d) == 0) {
		int r = loop_run(&d);
		if (r < 0)
			log_error("the event loop failed: %s", strerror(-r));
		bool failed = d.damaged || d.gave_up || (d.once && d.failed_count > 0);
		status = r < 0 || failed ? 1 : 0;
		setup_clear(&d);
		log_notice("spoold ends");
	}
	return status;
}
