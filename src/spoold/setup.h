/* From the command line to a daemon that can run, and the actions that are
 * over at once. Every failure is said in words. */
#pragma once

#include <stdbool.h>

struct daemon;

enum setup_action {
	SETUP_RUN,
	SETUP_INIT,
	SETUP_CHECK,
	SETUP_PRINT,
	SETUP_SCHEMA,
	SETUP_ROFF,
	SETUP_MARKDOWN,
};

struct setup {
	enum setup_action action;
	const char *config_path; /* or NULL */
	bool once;
	double interval_minutes; /* 0: the configuration's */
};

/* Does one of the short actions; returns the exit status. */
int setup_act(const struct setup *setup);

/* Opens everything a daemon needs. 0, or -1 when it was said why not (and
 * nothing is left open). */
int setup_daemon(const struct setup *setup, struct daemon *d);
void setup_clear(struct daemon *d);
