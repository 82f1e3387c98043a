/* What spoold says when the kernel ends it.
 *
 * The index is read through a map: where its file is cut off while it is open,
 * or its disk fails, reading is no error but a signal. Going on is impossible
 * then, but not in silence. */
#pragma once

/* From now on SIGBUS is said, with the path of the index, and ends the process
 * with status 1, so that a service manager starts it again; SIGSEGV is said,
 * and ends it as it would have. */
void fault_explain(const char *index);
