#include "spoolctl/jobs.h"

#include <errno.h>
#include <stdlib.h>

error_t job_list_add(struct job_list *list, const char *arg, struct argp_state *state)
{
	uint64_t id;
	if (!ctl_parse_job(arg, &id)) {
		char *escaped = ctl_escape(arg);
		argp_error(state, "\"%s\" is no number of a job; spoolctl list shows them", escaped);
		free(escaped);
		return EINVAL;
	}
	list->ids = ctl_need(reallocarray(list->ids, list->n + 1, sizeof *list->ids));
	list->ids[list->n++] = id;
	return 0;
}
