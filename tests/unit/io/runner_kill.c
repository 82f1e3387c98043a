/* Nothing of a handler stays, however it tries. */
#include "runner_world.h"

#define contains(text, part) cr_assert_not_null(strstr(text, part), "\"%s\" is not in:\n%s", part, text)

static struct world w;

static void setup(void) { world_make(&w); }
static void teardown(void) { world_remove(&w); }

TestSuite(runner_kill, .init = setup, .fini = teardown, .timeout = 240);

static void expect_nothing_left(void)
{
	cr_assert_eq(count_processes(w.order.cookie), 0);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
	cr_assert_eq(errno, ECHILD);
}

Test(runner_kill, a_timeout_ends_the_handler)
{
	w.order.timeout_ms = 300;
	script(&w, "echo before; sleep 60");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_TIMED_OUT);
	cr_assert_eq(result.exit_code, 128 + SIGTERM);
	cr_assert_str_eq(result.error, "timed out: took longer than 0.3 s");
	cr_assert(result.ran_ms >= 300 && result.ran_ms < 5000);
	char *log = get_log(&w);
	cr_assert_str_eq(log, "before\n== timed out: took longer than 0.3 s ==\n");
	free(log);
	expect_nothing_left();
	run_result_clear(&result);
}

Test(runner_kill, a_handler_that_ignores_sigterm_is_killed_after_the_grace_time)
{
	w.order.timeout_ms = 200;
	w.order.kill_grace_ms = 300;
	script(&w, "trap '' TERM; while :; do sleep 0.1; done");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_TIMED_OUT);
	cr_assert_eq(result.exit_code, 128 + SIGKILL);
	cr_assert_geq(result.ran_ms, 500u);
	expect_nothing_left();
	run_result_clear(&result);
}

Test(runner_kill, without_a_grace_time_it_is_killed_at_once)
{
	w.order.kill_grace_ms = 0;
	w.order.timeout_ms = 200;
	script(&w, "trap 'echo asked' TERM; while :; do sleep 0.05; done");
	struct run_result result = run(&w);
	cr_assert_eq(result.exit_code, 128 + SIGKILL);
	expect_nothing_left();
	run_result_clear(&result);
}

Test(runner_kill, a_stopped_handler_ends_too)
{
	w.order.timeout_ms = 200;
	w.order.kill_grace_ms = 40000;
	script(&w, "trap 'exit 7' TERM; kill -STOP $$; sleep 60");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_TIMED_OUT);
	cr_assert_eq(result.exit_code, 7);
	cr_assert_lt(result.ran_ms, 30000u);
	run_result_clear(&result);
}

Test(runner_kill, children_get_the_grace_time_too)
{
	w.order.timeout_ms = 300;
	w.order.kill_grace_ms = 40000;
	script(&w, "sh -c 'trap \"sleep 0.3; echo tidied > tidy; exit\" TERM; echo > ready; while :; do sleep 0.05; done' &\nwait");
	struct run_result result = run(&w);
	char *text = get_job_file(&w, "tidy");
	cr_assert_str_eq(text, "tidied\n");
	cr_assert_lt(result.ran_ms, 30000u);
	free(text);
	expect_nothing_left();
	run_result_clear(&result);
}

static const char *const stubborn =
	"setsid setsid sh -c 'trap \"\" TERM HUP INT; setsid sleep 60 & (setsid sh -c \"trap \\\"\\\" TERM; "
	"echo > ready; while :; do sleep 1; done\" &) ; while :; do sleep 1; done' &\n"
	"while :; do sleep 0.05; done";

Test(runner_kill, a_tree_in_other_sessions_that_ignores_sigterm_is_ended)
{
	script(&w, stubborn);
	struct runner *r = start(&w);
	wait_for_file(&w, r, "ready");
	runner_cancel(r, false);
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_CANCELED);
	cr_assert_str_eq(result.error, "canceled while it ran");
	expect_nothing_left();
	runner_free(r);
	run_result_clear(&result);
}

Test(runner_kill, an_interruption_is_not_a_cancel_but_a_cancel_wins)
{
	script(&w, "sleep 60");
	struct runner *r = start(&w);
	runner_cancel(r, true);
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_INTERRUPTED);
	runner_free(r);
	run_result_clear(&result);
	w.order.kill_grace_ms = 300;
	script(&w, "trap '' TERM; while :; do sleep 0.05; done");
	r = start(&w);
	runner_cancel(r, true);
	runner_cancel(r, false);
	result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_CANCELED);
	runner_free(r);
	run_result_clear(&result);
}

Test(runner_kill, a_cancel_after_the_end_changes_nothing)
{
	script(&w, "exit 0");
	struct runner *r = start(&w);
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	siginfo_t info;
	cr_assert_eq(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
	runner_cancel(r, false);
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	runner_cancel(r, false);
	struct runner_event again;
	cr_assert_eq(runner_step(r, &again), 0);
	cr_assert(again.ended && again.result.outcome == OUTCOME_SUCCEEDED);
	cr_assert_lt(clock_steady_ms(), until);
	runner_free(r);
	run_result_clear(&result);
}

Test(runner_kill, what_a_handler_leaves_behind_is_ended_and_noted)
{
	script(&w, "setsid sleep 60 & (setsid sleep 60 &) ; echo done");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_lt(result.ran_ms, 30000u);
	char *log = get_log(&w);
	contains(log, "done\n");
	contains(log, "== 2 processes left behind were ended ==\n");
	free(log);
	expect_nothing_left();
	run_result_clear(&result);
}

Test(runner_kill, a_handler_that_clears_its_environment_and_becomes_a_daemon_is_ended)
{
	script(&w, "env -i setsid sh -c '/bin/sleep 60.4242 </dev/null >/dev/null 2>&1 3>&- &'; exit 0");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_eq(count_processes("60.4242"), 0);
	expect_nothing_left();
	run_result_clear(&result);
}

Test(runner_kill, a_small_fork_bomb_is_ended)
{
	w.order.timeout_ms = 500;
	w.order.kill_grace_ms = 100;
	/* Bounded: each process has one child, which lives on when it ends. */
	script(&w, "cat > bomb <<'EOF'\n"
	           "#!/bin/sh\ntrap '' TERM\n[ \"$1\" -gt 3000 ] && exit\n"
	           "setsid ./bomb $(($1 + 1)) &\nsetsid sleep 60 &\nsleep 0.05\nEOF\n"
	           "chmod +x bomb; ./bomb 1 & ./bomb 1000 & sleep 60");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_TIMED_OUT);
	expect_nothing_left();
	run_result_clear(&result);
}

Test(runner_kill, free_ends_a_running_handler)
{
	script(&w, stubborn);
	struct runner *r = start(&w);
	wait_for_file(&w, r, "ready");
	runner_free(r);
	expect_nothing_left();
}

/* Runs a handler in a child and kills that: as a worker that dies. Returns
 * when the child is dead; the handler's processes are ours then. */
static void die_as_worker(const char *body)
{
	script(&w, body);
	pid_t worker = fork();
	if (worker == 0) {
		struct runner *r = NULL;
		struct runner_event ev;
		if (runner_new(&r) < 0 || runner_start(r, &w.order, w.dirfd) < 0)
			_exit(1);
		for (;;) {
			struct pollfd p = {.fd = runner_fd(r), .events = POLLIN};
			poll(&p, 1, -1);
			runner_step(r, &ev);
		}
	}
	wait_for_file(&w, NULL, "ready");
	kill(worker, SIGKILL);
	cr_assert_eq(waitpid(worker, NULL, 0), worker);
}

Test(runner_kill, a_handler_dies_with_its_worker)
{
	die_as_worker("echo $$ > pid; echo > ready; exec sleep 60");
	char *text = get_job_file(&w, "pid");
	pid_t pid = (pid_t)atoi(text);
	free(text);
	int status;
	cr_assert_eq(waitpid(pid, &status, 0), pid, "we are the next subreaper");
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

Test(runner_kill, strays_are_found_by_their_cookie)
{
	die_as_worker(stubborn);
	char *cookie = strdup(w.order.cookie);
	cr_assert_eq(runner_kill_strays("no-such-cookie"), 0);
	/* A longer cookie is another one. */
	cookie[strlen(cookie) - 1] = '\0';
	cr_assert_eq(runner_kill_strays(cookie), 0);
	cr_assert_gt(count_processes(w.order.cookie), 0);
	cr_assert_gt(runner_kill_strays(w.order.cookie), 0);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	expect_nothing_left();
	cr_assert_eq(runner_kill_strays(w.order.cookie), 0);
	free(cookie);
}

Test(runner_kill, a_writer_that_escaped_does_not_hold_up_the_end)
{
	script(&w, "echo > ready; while [ ! -e taken ]; do sleep 0.02; done; echo end");
	struct runner *r = start(&w);
	wait_for_file(&w, r, "ready");
	/* The handler's standard output, opened anew through /proc: as held by
	 * a process that is not below us. */
	char path[64];
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int held = -1;
	while (held < 0 && (entry = readdir(proc)) != NULL) {
		char *text;
		if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/%d/environ", atoi(entry->d_name));
		int fd = open(path, O_RDONLY);
		size_t size;
		if (fd < 0 || fd_read_all(fd, 1 << 20, &text, &size) < 0) {
			fd_close(fd);
			continue;
		}
		close(fd);
		if (memmem(text, size, w.order.cookie, strlen(w.order.cookie)) != NULL) {
			snprintf(path, sizeof path, "/proc/%d/fd/1", atoi(entry->d_name));
			held = open(path, O_WRONLY | O_CLOEXEC);
		}
		free(text);
	}
	closedir(proc);
	cr_assert_geq(held, 0);
	cr_assert_eq(fd_write_file(w.dirfd, "taken", "", 0, 0600), 0);
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	char *log = get_log(&w);
	cr_assert_str_eq(log, "end\n");
	free(log);
	runner_free(r);
	close(held);
	run_result_clear(&result);
}
