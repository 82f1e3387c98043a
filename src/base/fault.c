#include "base/fault.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { TEXT_SIZE = PATH_MAX + 512 };

/* A signal's handler is given nothing of ours. */
static struct {
	char bus[TEXT_SIZE], segv[TEXT_SIZE];
	int status;
	void (*say)(const char *text);
} explained;

/* Both come from an access of this thread, to memory that no lock of the C
 * library guards: writing a line is safe. */
static void on_bus(int number)
{
	(void)number;
	explained.say(explained.bus);
	_exit(explained.status);
}

static void on_segv(int number)
{
	explained.say(explained.segv);
	/* Its handler is the default again: for the exit status, and for a core file. */
	raise(number);
}

void fault_explain(const struct fault *fault)
{
	struct sigaction bus = {.sa_handler = on_bus};
	struct sigaction segv = {.sa_handler = on_segv, .sa_flags = (int)SA_RESETHAND};
	snprintf(explained.bus, sizeof explained.bus, "%s", fault->bus);
	snprintf(explained.segv, sizeof explained.segv, "%s", fault->segv == NULL ? "" : fault->segv);
	explained.status = fault->status;
	explained.say = fault->say;
	sigemptyset(&bus.sa_mask);
	sigemptyset(&segv.sa_mask);
	sigaction(SIGBUS, &bus, NULL);
	/* The address sanitizer has more to say. */
#ifndef __SANITIZE_ADDRESS__
	if (fault->segv != NULL)
		sigaction(SIGSEGV, &segv, NULL);
#else
	(void)segv;
#endif
}
