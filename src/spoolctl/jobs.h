/* Arguments of commands that take jobs or a user: JOB... | --user USER. */
#pragma once

#include "spoolctl/spoolctl.h"

struct job_list {
	uint64_t *ids; /* owned; free() */
	size_t n;
};

/* Takes one argument as the number of a job. For argp parsers: 0, or EINVAL
 * after argp_error(). */
error_t job_list_add(struct job_list *list, const char *arg, struct argp_state *state);
