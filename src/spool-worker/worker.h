/* One worker: takes jobs from its daemon, one at a time, and tells how they
 * ended. A result is told until it is acknowledged; where the daemon is gone,
 * it is left beside the file, and the worker with it. */
#pragma once

/* Serves `sock` until there is no more to do; returns the exit status. The
 * caller has blocked SIGTERM and is a subreaper. */
int worker_serve(int sock);
