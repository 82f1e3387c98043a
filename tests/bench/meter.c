/* Runs a program, tells what it and all it started have used, and leaves none of it.
 *
 *   meter OUT GRACE_S PROGRAM ARGUMENTS...
 *
 * Passes SIGTERM on, to all that stayed in its process group: a shell waits for the rest
 * of its pipeline. What is there GRACE_S seconds later is killed, wherever it went. The
 * end of who started the meter counts as SIGTERM; who starts it with that blocked can send
 * it at once. Writes "CPU_SECONDS" to OUT when
 * nothing is left. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AGAIN_US = 20000 };

static pid_t program;
static long grace_s;

/* Whoever loses its parent becomes our child: so these, again and again, are all. */
static void kill_children(int sig)
{
	static char buffer[4096];
	int before = errno;
	ssize_t n;
	pid_t pid = 0;
	(void)sig;
	int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (buffer[i] >= '0' && buffer[i] <= '9') {
				pid = pid * 10 + buffer[i] - '0';
				continue;
			}
			if (pid > 0)
				kill(pid, SIGKILL);
			pid = 0;
		}
	if (fd >= 0)
		close(fd);
	errno = before;
}

static void pass_on(int sig)
{
	struct itimerval later = {.it_interval.tv_usec = AGAIN_US,
	                          .it_value = {.tv_sec = grace_s, .tv_usec = 1}};
	kill(-program, sig);
	setitimer(ITIMER_REAL, &later, NULL);
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void spawn(char **argv)
{
	posix_spawnattr_t attributes;
	sigset_t none;
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &none);
	errno = posix_spawnp(&program, argv[0], NULL, &attributes, argv, environ);
	if (errno != 0) {
		perror(argv[0]);
		exit(2);
	}
	signal(SIGALRM, kill_children);
	signal(SIGTERM, pass_on);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

int main(int argc, char **argv)
{
	int status = 0, code = 1;
	pid_t pid;
	struct rusage used;
	/* Counts when it ends, too, where its parent did not wait for it. */
	if (argc < 4 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		return 2;
	grace_s = atol(argv[2]);
	spawn(argv + 3);
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
