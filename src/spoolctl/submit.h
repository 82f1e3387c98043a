/* Puts one file into a user's incoming. */
#pragma once

#include "spoolctl/spoolctl.h"

struct submit {
	struct ctl *ctl;
	struct tree *tree;
	const char *user;
	const char *file;       /* path, or "-" */
	const char *name;       /* name to give it, or NULL: its own */
};

/* 0 with the name it got in *ret_name (free), or -1 with the reason, a
 * sentence, in *ret_why (free). */
int submit_file(const struct submit *s, char **ret_name, char **ret_why);
