/* What a program says when the kernel ends it over a file that it reads through a map.
 *
 * Where such a file is cut off while it is open, or its disk fails, reading is no error
 * but a signal. Going on is impossible then, but not in silence. */
#pragma once

struct fault {
	const char *bus;               /* said on SIGBUS, which ends the process with `status` */
	int status;
	const char *segv;              /* said on SIGSEGV, which ends it as it would have; or NULL */
	void (*say)(const char *text); /* called by the handler, in the thread that met it */
};

/* From now on. The texts are copied, and cut at about 4,600 bytes. */
void fault_explain(const struct fault *fault);
