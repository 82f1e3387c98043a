/* Runs a program and tells what it and all it started have used.
 *
 *   meter OUT PROGRAM ARGUMENTS...
 *
 * Passes SIGTERM on, to all that stayed in its process group: a shell waits for the rest
 * of its pipeline. Writes "CPU_SECONDS" to OUT when nothing of it is left. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t program;

static void pass_on(int sig)
{
	kill(-program, sig);
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	int status = 0, code = 1;
	pid_t pid;
	struct rusage used;
	posix_spawnattr_t attributes;
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
	/* Whoever loses its parent becomes our child, and counts when it ends. */
	if (argc < 3 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ||
	    posix_spawnp(&program, argv[2], NULL, &attributes, argv + 2, environ) != 0)
		return 2;
	signal(SIGTERM, pass_on);
	while ((pid = wait(&status)) > 0 || errno == EINTR)
		if (pid == program)
			code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	getrusage(RUSAGE_CHILDREN, &used);
	FILE *out = fopen(argv[1], "w");
	if (out == NULL)
		return 2;
	fprintf(out, "%.3f\n", seconds(used.ru_utime) + seconds(used.ru_stime));
	return fclose(out) == 0 ? code : 2;
}
