#include "base/proc.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that waits, with `depth` generations below it; returns when all of
 * them are there. */
static pid_t family(int depth)
{
	int ready[2];
	char byte;
	cr_assert_eq(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < depth && fork() == 0; i++)
			setsid();
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	for (int i = 0; i <= depth; i++)
		cr_assert_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void kill_all(void)
{
	struct proc_tree tree = {.root = getpid()};
	do {
		cr_assert_geq(proc_signal_tree(&tree, SIGKILL), 0);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		usleep(2000);
	} while (waitpid(-1, NULL, WNOHANG) >= 0);
	cr_assert_eq(errno, ECHILD);
}

static void setup(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

TestSuite(proc, .init = setup, .timeout = 120);

Test(proc, a_tree_is_counted_and_ended)
{
	struct proc_tree tree = {.root = getpid()};
	cr_assert_eq(proc_signal_tree(&tree, 0), 0);
	family(3);
	cr_assert_eq(proc_signal_tree(&tree, 0), 4);
	kill_all();
	cr_assert_eq(proc_signal_tree(&tree, 0), 0);
}

Test(proc, what_is_spared_lives_with_all_below_it)
{
	pid_t spared[] = {family(2), family(0)};
	family(1);
	struct proc_tree tree = {.root = getpid(), .spare = spared, .spare_n = 2};
	struct proc_tree all = {.root = getpid()};
	cr_assert_eq(proc_signal_tree(&all, 0), 6);
	cr_assert_eq(proc_signal_tree(&tree, SIGKILL), 2);
	while (proc_signal_tree(&tree, SIGKILL) > 0)
		usleep(2000);
	cr_assert_eq(proc_signal_tree(&all, 0), 4);
	kill_all();
}

Test(proc, another_root_means_its_children_only)
{
	pid_t pid = family(2);
	family(1);
	struct proc_tree tree = {.root = pid};
	cr_assert_eq(proc_signal_tree(&tree, 0), 2);
	kill_all();
}

Test(proc, a_zombie_is_not_alive)
{
	struct proc_tree tree = {.root = getpid()};
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	siginfo_t info;
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	cr_assert_eq(proc_signal_tree(&tree, SIGKILL), 0);
	waitpid(pid, NULL, 0);
}

Test(proc, a_name_that_looks_like_a_stat_line_deceives_nobody)
{
	struct proc_tree tree = {.root = getpid()};
	int ready[2];
	char byte;
	cr_assert_eq(pipe(ready), 0);
	if (fork() == 0) {
		prctl(PR_SET_NAME, ") Z 1 (x)");
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	cr_assert_eq(proc_signal_tree(&tree, 0), 1);
	kill_all();
}

Test(proc, marked_ones_are_found_with_what_is_below_them)
{
	char entry[64], longer[80];
	snprintf(entry, sizeof entry, "PROC_TEST=%d", getpid());
	snprintf(longer, sizeof longer, "%sx", entry);
	int ready[2];
	char byte;
	cr_assert_eq(pipe(ready), 0);
	if (fork() == 0) {
		char *const environment[] = {(char[]){"A=b"}, entry, NULL};
		char *const argv[] = {(char[]){"sh"}, (char[]){"-c"},
			(char[]){"env -i sleep 60 & echo >&9; wait"}, NULL};
		dup2(ready[1], 9);
		execve("/bin/sh", argv, environment);
		_exit(1);
	}
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	cr_assert_eq(proc_signal_marked(longer, 0), 0);
	cr_assert_eq(proc_signal_marked("PROC_TEST=", 0), 0);
	cr_assert_eq(proc_signal_marked(entry, 0), 2);
	kill_all();
	cr_assert_eq(proc_signal_marked(entry, 0), 0);
}

static void note_mark(void *ctx, const char *rest)
{
	snprintf(ctx, 64, "%s", rest);
}

Test(proc, marks_are_told_with_what_follows)
{
	char mark[64], found[64] = "";
	snprintf(mark, sizeof mark, "MARK=%d-", getpid());
	cr_assert_eq(proc_each_mark(mark, note_mark, found), 0);
	cr_assert_str_eq(found, "");
	pid_t pid = fork();
	if (pid == 0) {
		char entry[80];
		snprintf(entry, sizeof entry, "%salice", mark);
		execle("/bin/sleep", "sleep", "60", NULL, (char *[]){entry, NULL});
		_exit(1);
	}
	while (found[0] == '\0')
		cr_assert_eq(proc_each_mark(mark, note_mark, found), 0);
	cr_assert_str_eq(found, "alice");
	kill_all();
}

static bool is_ours(void *ctx, const char *path)
{
	return strcmp(path, ctx) == 0;
}

/* A child that stops itself, with standard input from `path` and nothing else open. */
static pid_t stopped(const char *path)
{
	pid_t pid = fork();
	if (pid == 0) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		dup2(fd, 0);
		close_range(1, ~0U, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, NULL, WUNTRACED), pid);
	return pid;
}

Test(proc, only_who_is_stopped_and_has_it_open_is_woken)
{
	char ours[] = "/tmp/spoold-held-XXXXXX";
	int status, fd = mkstemp(ours);
	cr_assert(fd >= 0);
	close(fd);
	pid_t holder = stopped(ours), other = stopped("/dev/null");
	cr_assert_eq(proc_wake_holders(is_ours, ours), 1);
	cr_assert_eq(waitpid(holder, &status, 0), holder);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(waitpid(other, &status, WNOHANG | WCONTINUED), 0, "still stopped");
	cr_assert_eq(proc_wake_holders(is_ours, ours), 0);
	unlink(ours);
	kill_all();
}
