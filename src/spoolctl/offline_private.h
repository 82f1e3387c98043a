/* What the offline_*.c files share. */
#pragma once

#include "spoolctl/offline.h"

/* Opens the index and says on stderr that no daemon answers. 0 or an exit
 * code; *ret is NULL where there is no index yet. */
int offline_open(struct ctl *ctl, struct index **ret);
/* Says why the index cannot be read; returns the exit code. */
int offline_unreadable(struct ctl *ctl, int error);
/* Says it as the daemon does; returns `code`. */
int offline_say_no_job(struct ctl *ctl, uint64_t id, int code);
/* Closes the index and completes the answer with the daemon's state, or says
 * the error. */
int offline_finish(struct ctl *ctl, struct index *ix, int error, json_t *answer, json_t **ret);
