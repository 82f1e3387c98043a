/* All tests of the runner once more, with the process of each handler made before its order;
 * and what becomes of such a process otherwise. */
#define READY
#include "runner.c"

static struct runner *make_ready(void)
{
	struct runner *r = NULL;
	cr_assert_eq(runner_new(&r), 0);
	get_ready(r);
	return r;
}

static void start_in(struct runner *r)
{
	cr_assert_eq(runner_start(r, &w.order, w.dirfd), 0);
}

static void expect_success(struct runner *r)
{
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
	run_result_clear(&result);
}

Test(runner, the_process_that_was_made_before_is_the_handler)
{
	script(&w, "echo $$ >pid");
	struct runner *r = make_ready();
	pid_t pid = r->launcher.ready.pid;
	start_in(r);
	expect_success(r);
	char *text = get_job_file(&w, "pid");
	cr_assert_eq(atoi(text), pid);
	free(text);
	cr_assert_eq(r->launcher.ready.pid, 0);
	runner_free(r);
}

Test(runner, no_descriptor_that_came_or_went_since_is_the_handlers)
{
	script(&w, "ls /proc/self/fd >fds");
	int gone = dup(0);
	struct runner *r = make_ready();
	close(gone);
	int pair[2];
	cr_assert_eq(pipe(pair), 0);
	start_in(r);
	close(pair[1]);
	char c;
	cr_assert_eq(read(pair[0], &c, 1), 0, "somebody else holds it open");
	expect_success(r);
	char *text = get_job_file(&w, "fds");
	cr_assert_str_eq(text, "0\n1\n2\n3\n4\n", "%s", text); /* 4: of ls itself */
	free(text);
	close(pair[0]);
	runner_free(r);
}

Test(runner, what_we_close_is_closed_while_it_waits)
{
	int pair[2];
	cr_assert_eq(pipe2(pair, O_NONBLOCK), 0);
	struct runner *r = make_ready();
	close(pair[1]);
	char c;
	cr_assert_eq(read(pair[0], &c, 1), 0, "it holds it open");
	close(pair[0]);
	runner_free(r);
}

Test(runner, one_that_died_while_it_waited_costs_no_attempt)
{
	script(&w, "exit 0");
	struct runner *r = make_ready();
	siginfo_t info;
	kill(r->launcher.ready.pid, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)r->launcher.ready.pid, &info, WEXITED | WNOWAIT), 0);
	start_in(r);
	expect_success(r);
	runner_free(r);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
}

Test(runner, signals_neither_end_it_nor_wake_it_nor_reach_the_handler)
{
	script(&w, "exit 0");
	struct runner *r = make_ready();
	pid_t pid = r->launcher.ready.pid;
	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			kill(pid, sig);
	kill(pid, SIGSTOP);
	siginfo_t info;
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WSTOPPED), 0);
	kill(pid, SIGCONT);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WCONTINUED), 0);
	cr_assert_eq(atomic_load(&r->launcher.ready.obeys), 0);
	start_in(r);
	expect_success(r);
	runner_free(r);
}

Test(runner, one_that_is_not_needed_ends_with_the_runner)
{
	struct runner *r = make_ready();
	runner_free(r);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
	cr_assert_eq(errno, ECHILD);
}

static void wait_asleep(pid_t pid)
{
	char *path, *text;
	bool asleep = false;
	cr_assert_geq(asprintf(&path, "/proc/%d/stat", pid), 0);
	for (uint64_t until = clock_steady_ms() + PATIENCE_MS; !asleep && clock_steady_ms() < until;) {
		text = get_file(path);
		asleep = strstr(text, ") S ") != NULL;
		free(text);
	}
	free(path);
	cr_assert(asleep);
}

Test(runner, it_dies_with_its_worker)
{
	int tell[2];
	pid_t pid;
	cr_assert_eq(pipe(tell), 0);
	pid_t worker = fork();
	if (worker == 0) {
		struct runner *r = make_ready();
		pid = r->launcher.ready.pid;
		wait_asleep(pid);
		if (write(tell[1], &pid, sizeof pid) == sizeof pid)
			raise(SIGKILL);
		_exit(1);
	}
	cr_assert_eq(read(tell[0], &pid, sizeof pid), (ssize_t)sizeof pid);
	waitpid(worker, NULL, 0);
	/* Ours now, since we are a subreaper. */
	pid_t ended = 0;
	for (uint64_t until = clock_steady_ms() + PATIENCE_MS; ended == 0 && clock_steady_ms() < until;)
		ended = waitpid(pid, NULL, WNOHANG);
	kill(pid, SIGKILL);
	cr_assert_eq(ended, pid, "it lives on");
}
