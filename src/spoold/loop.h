/* The event loop: the one place that waits. */
#pragma once

struct daemon;

/* Runs the daemon until it is finished. 0, or a negative errno where the loop
 * itself failed. SIGTERM and SIGINT stop it, SIGHUP loads the configuration
 * again. */
int loop_run(struct daemon *d);
