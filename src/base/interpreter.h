/* The interpreter of a script, looked for before the script is started. The kernel
 * says "No such file or directory" of it, as if the script itself were missing. */
#pragma once

#include <stdbool.h>

enum { INTERPRETER_NAME_SIZE = 256, INTERPRETER_WHAT_SIZE = 160 };

struct interpreter_problem {
	char name[INTERPRETER_NAME_SIZE]; /* as the script's first line has it: any bytes */
	char what[INTERPRETER_WHAT_SIZE]; /* "which is not there" */
	const char *mend;                 /* what to do about it */
};

/* Does the first line of `program` ("#!...") name what cannot be run? Then true. `search`
 * is the PATH that the program will be started with: /usr/bin/env looks there. False, too,
 * where it cannot be told: no script, one that may not be read, options of env that
 * change more than the name. */
bool interpreter_find_problem(const char *program, const char *search,
                              struct interpreter_problem *ret);
/* Is it a text without such a line? A shell would run it, the kernel refuses it. */
bool interpreter_is_unnamed(const char *program);
