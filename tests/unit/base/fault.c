#include "base/fault.h"

#include "base/fd.h"
#include "scratch.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

TestSuite(fault, .init = scratch_make, .fini = scratch_remove);

enum { STATUS = 7, SIZE = 8192 };

static int said;

static void say(const char *text)
{
	cr_assert_eq(fd_write_all(said, text, strlen(text)), 0);
}

static void read_what_was_cut_off(void)
{
	int fd = openat(dirfd_, "map", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, SIZE) < 0)
		_exit(99);
	const volatile char *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || ftruncate(fd, 0) < 0)
		_exit(99);
	_exit(map[SIZE - 1]);
}

/* How a child of ours ended; what it said is in `text`. */
static int end_of(void (*meet)(void), const char *segv, char text[200])
{
	int status;
	said = openat(dirfd_, "said", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert_geq(said, 0);
	pid_t child = fork();
	if (child == 0) {
		const struct rlimit none = {0};
		char bus[] = "it was cut off";
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL); /* the test framework's */
		fault_explain(&(struct fault){.bus = bus, .status = STATUS, .segv = segv, .say = say});
		memset(bus, 'x', sizeof bus - 1); /* it was copied */
		meet();
		_exit(98);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	ssize_t n = pread(said, text, 199, 0);
	cr_assert_geq(n, 0);
	text[n] = '\0';
	close(said);
	return status;
}

Test(fault, what_was_cut_off_is_said_and_ends_it)
{
	char text[200];
	int status = end_of(read_what_was_cut_off, NULL, text);
	cr_expect(WIFEXITED(status));
	cr_expect_eq(WEXITSTATUS(status), STATUS);
	cr_expect_str_eq(text, "it was cut off");
}

#ifndef __SANITIZE_ADDRESS__
static void fault_memory(void)
{
	raise(SIGSEGV);
}

Test(fault, a_memory_fault_is_said_and_ends_it_as_ever)
{
	char text[200];
	int status = end_of(fault_memory, "a mistake", text);
	cr_expect(WIFSIGNALED(status));
	cr_expect_eq(WTERMSIG(status), SIGSEGV);
	cr_expect_str_eq(text, "a mistake");
	status = end_of(fault_memory, NULL, text);
	cr_expect(WIFSIGNALED(status));
	cr_expect_str_eq(text, "", "nothing is to be said");
}
#endif
