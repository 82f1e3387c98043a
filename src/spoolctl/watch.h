/* The status, refreshed in place. */
#pragma once

#include "spoolctl/spoolctl.h"

/* Idle users are listed where there are no more users than this. */
enum { STATUS_IDLE_MAX = 50 };

/* The question for all users (or one); `idle_max` as STATUS_IDLE_MAX, -1 = any. */
json_t *status_request(const char *user, int64_t idle_max);

/* Shows the status of all users (or one) every second until SIGINT or
 * SIGTERM. Goes on while no daemon answers, and says so. */
int watch_status(struct ctl *ctl, const char *user, int64_t idle_max);
