#include "spoold/fault.h"

#include "base/log.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A signal's handler is given nothing of ours. */
static char index_path[PATH_MAX];

/* Both come from an access of this thread, to memory that no lock of the C
 * library guards: writing a line is safe. */
static void on_bus(int number)
{
	(void)number;
	log_error("the index %s cannot be read any more: it was cut off while it was open, or its "
	          "disk fails. spoold ends; files are safe where they are. When it starts again, it "
	          "sets a damaged index aside and rebuilds it from the directories", index_path);
	_exit(EXIT_FAILURE);
}

static void on_segv(int number)
{
	log_error("spoold ends on a memory fault: either the index %s was damaged while it was open, "
	          "or this is a mistake in spoold. When it starts again, it checks the index, and "
	          "rebuilds it where it is damaged", index_path);
	/* Its handler is the default again: for the exit status, and for a core file. */
	raise(number);
}

void fault_explain(const char *index)
{
	struct sigaction bus = {.sa_handler = on_bus};
	struct sigaction segv = {.sa_handler = on_segv, .sa_flags = (int)SA_RESETHAND};
	snprintf(index_path, sizeof index_path, "%s", index);
	sigemptyset(&bus.sa_mask);
	sigemptyset(&segv.sa_mask);
	sigaction(SIGBUS, &bus, NULL);
	/* The address sanitizer has more to say. */
#ifndef __SANITIZE_ADDRESS__
	sigaction(SIGSEGV, &segv, NULL);
#else
	(void)segv;
#endif
}
