/* Linked into programs whose coverage is measured: children that leave by
 * _exit(), and tests that want an assertion to end them, write down what they
 * ran too (-Wl,--wrap=...). */
#include <pthread.h>
#include <unistd.h>

void __gcov_dump(void);
void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));

void __real___assert_fail(const char *text, const char *file, unsigned line, const char *function)
	__attribute__((noreturn));
void __wrap___assert_fail(const char *text, const char *file, unsigned line, const char *function)
	__attribute__((noreturn));

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

void __wrap___assert_fail(const char *text, const char *file, unsigned line, const char *function)
{
	if (owner == getpid())
		__gcov_dump();
	__real___assert_fail(text, file, line, function);
}
