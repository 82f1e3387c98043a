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
/* Why a job is where it is, with what the index knows and with what it means that nobody runs it.
 * 0 or a negative errno; *ret is the caller's. */
int offline_explain_one(struct ctl *ctl, struct index *ix, uint64_t id, json_t **ret);
/* Closes the index and completes the answer with the daemon's state, or says
 * the error. */
int offline_finish(struct ctl *ctl, struct index *ix, int error, json_t *answer, json_t **ret);
