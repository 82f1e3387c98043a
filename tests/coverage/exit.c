/* Linked into programs whose coverage is measured: children that leave by
 * _exit() write down what they ran too (-Wl,--wrap=_exit). */
#include <pthread.h>
#include <unistd.h>

void __gcov_dump(void);
void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));

static pid_t owner;

static void own(void)
{
	owner = getpid();
}

__attribute__((constructor)) static void begin(void)
{
	own();
	pthread_atfork(NULL, NULL, own);
}

/* A child that shares its parent's memory has counted there. */
void __wrap__exit(int status)
{
	if (owner == getpid())
		__gcov_dump();
	__real__exit(status);
}
