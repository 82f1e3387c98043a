/* The status, refreshed in place. */
#pragma once

#include "spoolctl/spoolctl.h"

/* Shows the status of all users (or one) every second until SIGINT or
 * SIGTERM. Goes on while no daemon answers, and says so. */
int watch_status(struct ctl *ctl, const char *user);
