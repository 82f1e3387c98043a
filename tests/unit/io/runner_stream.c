/* Handlers that serve many jobs. */
#include "runner_world.h"

#include <sys/ioctl.h>

#define contains(text, part) cr_assert_not_null(strstr(text, part), "\"%s\" is not in:\n%s", part, text)

static struct world w;
static struct runner *r;

static void setup(void)
{
	/* As spool-worker does. */
	signal(SIGPIPE, SIG_IGN);
	world_make(&w);
	w.order.stream = true;
	w.order.kill_grace_ms = 5000;
	cr_assert_eq(runner_new(&r), 0);
	get_ready(r);
}

static void teardown(void)
{
	runner_free(r);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
	world_remove(&w);
}

TestSuite(runner_stream, .init = setup, .fini = teardown, .timeout = 60);

/* The handler: `body` for each line, with the number of the job in $job, that
 * of the line in $n, and `done` to answer; its own number goes to `pids`. */
static void serve(const char *body)
{
	char *text;
	cr_assert_geq(asprintf(&text,
		"cd %s; echo $$ >> pids; n=0\n"
		"say() { echo \"{\\\"job\\\":$job,$1}\"; }\n"
		"ok() { say '\"result\":\"done\"'; }\n"
		"while read -r line; do n=$((n + 1)); job=${line#*'\"job\":'}; job=${job%%%%,*}\n%s\ndone\n"
		"echo bye >> left", w.top, body), 0);
	script(&w, text);
	free(text);
}

static char *get_top_file(const char *name)
{
	char *path = in_world(&w, name), *text = get_file(path);
	free(path);
	return text;
}

static int count_lines(const char *name)
{
	int n = 0;
	char *text = get_top_file(name);
	for (const char *p = text; *p != '\0'; p++)
		n += *p == '\n';
	free(text);
	return n;
}

static void begin(void)
{
	w.order.job++;
	cr_assert_eq(runner_start(r, &w.order, w.dirfd), 0);
}

/* One more job; the result is to be cleared. */
static struct run_result go(void)
{
	begin();
	return run_to_end(r);
}

static void expect_done(void)
{
	struct run_result result = go();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
	cr_assert_eq(result.job, w.order.job);
	cr_assert_gt(result.started_ms, 0u);
	cr_assert_eq(result.exit_code, EXIT_CODE_NONE);
	run_result_clear(&result);
}

static void expect_failed(const char *why)
{
	struct run_result result = go();
	cr_assert_eq(result.outcome, OUTCOME_FAILED);
	contains(result.error, why);
	run_result_clear(&result);
}

static void idle_once(uint64_t until)
{
	struct runner_event ev;
	struct pollfd p = {.fd = runner_fd(r), .events = POLLIN};
	cr_assert_lt(clock_steady_ms(), until, "it does not come to that");
	if (poll(&p, 1, 10) > 0)
		runner_step(r, &ev);
}

/* Steps while there is nothing to run. */
#define idle_until(condition) do { \
	uint64_t until_ms_ = clock_steady_ms() + PATIENCE_MS; \
	while (!(condition)) \
		idle_once(until_ms_); \
} while (0)

static void make_file(const char *name)
{
	char *path = in_world(&w, name);
	put_file(path, "", 0600);
	free(path);
}

Test(runner_stream, one_process_answers_for_many_jobs)
{
	serve("say '\"result\":\"done\",\"records\":'$n',\"message\":\"all of it\"'");
	for (uint64_t n = 1; n <= 5; n++) {
		struct run_result result = go();
		cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
		cr_assert_eq(result.records, n);
		cr_assert_str_eq(result.message, "all of it");
		cr_assert_null(result.error);
		run_result_clear(&result);
	}
	cr_assert_eq(count_lines("pids"), 1);
	cr_assert_not(runner_is_empty(r));
}

Test(runner_stream, failures_are_told_in_its_words_and_it_goes_on)
{
	serve("case $n in\n"
	      "1) say '\"result\":\"failed\",\"message\":\"no connection\"' ;;\n"
	      "2) say '\"result\":\"permanent\",\"message\":\"line 3 is bad\"' ;;\n"
	      "3) echo 'the last words' >&2; say '\"result\":\"failed\"' ;;\n"
	      "4) say '\"result\":\"failed\"' ;;\n*) ok ;; esac");
	static const char *const why[] = {"no connection", "line 3 is bad", "the last words",
	                                  "the handler gave no reason"};
	for (int i = 0; i < 4; i++) {
		struct run_result result = go();
		cr_assert_eq(result.outcome, OUTCOME_FAILED);
		cr_assert_eq(result.permanent, i == 1);
		cr_assert_eq(result.exit_code, EXIT_CODE_NONE);
		cr_assert_str_eq(result.error, why[i]);
		run_result_clear(&result);
	}
	expect_done();
	cr_assert_eq(count_lines("pids"), 1);
}

static void expect_line(const char *format, ...)
{
	char *expected, *line = get_top_file("line");
	va_list args;
	va_start(args, format);
	cr_assert_geq(vasprintf(&expected, format, args), 0);
	va_end(args);
	cr_assert_str_eq(line, expected);
	free(expected);
	free(line);
}

Test(runner_stream, the_line_of_a_job_names_what_it_needs)
{
	serve("printf '%s\\n' \"$line\" > line; ok");
	w.order.attempt = 2;
	accept_file(&w, "q\"uo\\te \xc3\xa4\n.csv", "x");
	expect_done();
	expect_line("{\"job\":43,\"attempt\":2,\"user\":\"alice\",\"name\":\"q\\\"uo\\\\te \xc3\xa4\\n.csv\","
	            "\"file\":\"%s/q\\\"uo\\\\te \xc3\xa4\\n.csv\",\"output\":\"%s/output\"}\n", w.dir, w.dir);
	accept_file(&w, "b\\ad \xff.csv", "x");
	expect_done();
	expect_line("{\"job\":44,\"attempt\":2,\"user\":\"alice\",\"name\":\"b\\\\\\\\ad \\\\xff.csv\","
	            "\"file\":\"%s/b\\\\\\\\ad \\\\xff.csv\",\"output\":\"%s/output\",\"escaped\":true}\n",
	            w.dir, w.dir);
}

Test(runner_stream, progress_is_news_at_once)
{
	serve("[ -e go ] || say '\"progress\":0.25,\"records\":10,\"message\":\"reading\"'\n"
	      "until [ -e go ]; do sleep 0.02; done; ok");
	struct runner_event ev;
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	begin();
	do {
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
	} while (!ev.progress);
	cr_assert_float_eq(ev.report.progress, 0.25, 1e-9);
	cr_assert_eq(ev.report.records, 10u);
	cr_assert_str_eq(ev.report.message, "reading");
	cr_assert_eq(ev.report.job, w.order.job);
	make_file("go");
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_eq(result.records, 10u);
	run_result_clear(&result);
	/* The next job starts from nothing. */
	begin();
	cr_assert_eq(runner_step(r, &ev), 0);
	cr_assert_lt(ev.report.progress, 0);
	result = run_to_end(r);
	run_result_clear(&result);
}

/* A directory for each, as it is with the daemon. */
static void other_directory(int number)
{
	close(w.dirfd);
	snprintf(w.dir, sizeof w.dir, "%s/%d", w.top, number);
	cr_assert_eq(mkdir(w.dir, 0700), 0);
	w.dirfd = open(w.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(w.order.dir);
	w.order.dir = strdup(w.dir);
	accept_file(&w, "report.csv", "x");
}

Test(runner_stream, each_log_gets_what_belongs_to_its_job)
{
	serve("echo \"line $n\" >&2; ok\n"
	      "[ $n = 1 ] && { until [ -e go ]; do sleep 0.02; done; echo between >&2; echo > said; }");
	for (int n = 1; n <= 3; n++) {
		other_directory(100 + n);
		expect_done();
		char *log = get_log(&w);
		cr_assert_str_eq(log, n == 1 ? "line 1\n" : n == 2 ? "between\nline 2\n" : "line 3\n");
		free(log);
		make_file("go");
		idle_until(count_lines("said") == 1);
	}
}

Test(runner_stream, its_environment_and_directory_belong_to_no_job)
{
	serve("ok");
	char *handler = get_file(w.command[0]), *text;
	cr_assert_geq(asprintf(&text, "#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ > %s/environ; pwd > %s/pwd\n"
		"for fd in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && echo $fd; done > %s/fds\n%s", w.top, w.top, w.top,
		handler + strlen("#!/bin/sh\n")), 0);
	put_file(w.command[0], text, 0755);
	free(handler);
	free(text);
	setenv("SECRET", "of the daemon", 1);
	expect_done();
	char *environ_text = get_top_file("environ"), *pwd = get_top_file("pwd"), *fds = get_top_file("fds");
	cr_assert_eq(strncmp(environ_text, "SPOOL_USER=alice\nSPOOL_COOKIE=", 30), 0, "%s", environ_text);
	cr_assert_null(strstr(environ_text, "SPOOL_FILE"));
	cr_assert_null(strstr(environ_text, "SPOOL_REPORT_FD"));
	cr_assert_null(strstr(environ_text, "SECRET"));
	cr_assert_str_eq(pwd, "/\n");
	cr_assert_str_eq(fds, "");
	free(environ_text);
	free(pwd);
	free(fds);
}

/* It ends in its first life in this way; the second one is well. */
static void misbehave(const char *how, const char *why)
{
	char *body;
	cr_assert_geq(asprintf(&body, "if [ -e second ]; then ok; else echo > second\n%s\nfi", how), 0);
	serve(body);
	free(body);
	expect_failed(why);
	idle_until(runner_is_empty(r) || !(count_lines("pids") == 1 && count_lines("left") == 0));
	expect_done();
	cr_assert_eq(count_lines("pids"), 2);
	expect_done();
	cr_assert_eq(count_lines("pids"), 2);
}

Test(runner_stream, an_exit_fails_its_job_alone)
{
	misbehave("echo cannot go on >&2; exit 7", "exit code 7 without an answer: cannot go on");
}

Test(runner_stream, an_exit_with_0_is_no_answer)
{
	misbehave("exit 0", "exit code 0 without an answer");
}

Test(runner_stream, a_crash_fails_its_job_alone)
{
	misbehave("kill -SEGV $$", "killed by signal 11");
}

Test(runner_stream, garbage_fails_its_job_alone)
{
	misbehave("echo hello \033there; sleep 60", "wrote a line that is no answer (what is for the log belongs "
	          "on standard error): hello \\x1bthere");
}

Test(runner_stream, a_list_is_garbage)
{
	misbehave("echo '[1]'; sleep 60", "is no answer");
}

Test(runner_stream, a_key_twice_is_garbage)
{
	misbehave("echo \"{\\\"job\\\":$job,\\\"job\\\":$job,\\\"result\\\":\\\"done\\\"}\"; sleep 60", "is no answer");
}

Test(runner_stream, bytes_that_are_no_utf8_are_garbage)
{
	misbehave("printf '{\"job\":%s,\"result\":\"done\",\"message\":\"\\377\"}\\n' $job; sleep 60", "is no answer");
}

Test(runner_stream, an_answer_for_another_job_fails_this_one)
{
	misbehave("job=7; ok; sleep 60", "the handler answered for job 7 while it had job 43");
}

Test(runner_stream, an_answer_for_no_job_fails_this_one)
{
	misbehave("echo '{\"result\":\"done\"}'; sleep 60", "answered without a \"job\"");
}

Test(runner_stream, an_unknown_result_is_none)
{
	misbehave("say '\"result\":\"ok\"'; sleep 60", "wrote an answer with a wrong value");
}

Test(runner_stream, values_of_a_wrong_type_are_a_fault)
{
	misbehave("say '\"progress\":\"half\"'; sleep 60", "wrote an answer with a wrong value");
}

Test(runner_stream, negative_records_are_a_fault)
{
	misbehave("say '\"records\":-1'; sleep 60", "wrote an answer with a wrong value");
}

Test(runner_stream, an_overlong_line_is_not_kept)
{
	misbehave("head -c 100000000 /dev/zero | tr '\\0' x; sleep 60", "wrote a line of more than 64 KiB");
}

Test(runner_stream, a_closed_output_is_no_answer)
{
	misbehave("exec >/dev/null; sleep 60", "closed its standard output without an answer");
}

Test(runner_stream, a_line_that_is_cut_off_by_the_exit_is_no_answer)
{
	misbehave("printf '{\"job\":%s,\"result\":\"done\"' $job; exit 1", "exit code 1 without an answer");
}

Test(runner_stream, a_hang_ends_at_the_timeout_with_all_it_started)
{
	w.order.timeout_ms = 300;
	w.order.kill_grace_ms = 300;
	serve("if [ -e second ]; then ok; else echo > second\n"
	      "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & trap '' TERM; while :; do sleep 0.1; done; fi");
	struct run_result result = go();
	cr_assert_eq(result.outcome, OUTCOME_TIMED_OUT);
	cr_assert_eq(count_processes(w.order.cookie), 0);
	run_result_clear(&result);
	w.order.timeout_ms = 0;
	expect_done();
	cr_assert_eq(count_lines("pids"), 2);
}

Test(runner_stream, the_time_between_two_jobs_is_nobodys)
{
	w.order.timeout_ms = 1000;
	serve("ok");
	expect_done();
	uint64_t later = clock_steady_ms() + 1200;
	idle_until(clock_steady_ms() > later);
	expect_done();
	cr_assert_eq(count_lines("pids"), 1);
}

static void expect_canceled(bool interrupt, enum outcome outcome)
{
	serve("if [ -e second ]; then ok; else echo > second; sleep 60; fi");
	begin();
	idle_until(count_lines("second") == 1);
	runner_cancel(r, interrupt);
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, outcome);
	cr_assert_eq(count_processes(w.order.cookie), 0);
	run_result_clear(&result);
	expect_done();
}

Test(runner_stream, a_cancel_ends_the_whole_tree) { expect_canceled(false, OUTCOME_CANCELED); }
Test(runner_stream, so_does_an_interruption) { expect_canceled(true, OUTCOME_INTERRUPTED); }

Test(runner_stream, an_answer_and_the_exit_at_once_are_an_answer)
{
	serve("ok; exit 3");
	for (int n = 1; n <= 20; n++) {
		expect_done();
		cr_assert_eq(count_lines("pids"), n);
	}
}

Test(runner_stream, an_exit_between_two_jobs_harms_none)
{
	serve("ok; [ $n = 2 ] && exit 1");
	expect_done();
	expect_done();
	idle_until(runner_is_empty(r));
	expect_done();
	cr_assert_eq(count_lines("pids"), 2);
}

/* It ends while the line is on its way. */
Test(runner_stream, a_job_that_was_never_read_goes_to_the_next_process)
{
	serve("ok; [ -e second ] && continue; echo > second\n"
	      "until [ -e go ]; do sleep 0.02; done; exit 9");
	expect_done();
	begin();
	make_file("go");
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
	cr_assert_eq(count_lines("pids"), 2);
	run_result_clear(&result);
}

Test(runner_stream, so_does_one_that_nobody_can_read_any_more)
{
	serve("ok; [ -e second ] && continue; echo > second; exec </dev/null; echo > closed; sleep 60");
	expect_done();
	idle_until(count_lines("closed") == 1);
	expect_done();
	cr_assert_eq(count_lines("pids"), 2);
}

Test(runner_stream, a_process_that_never_reads_is_not_started_again_and_again)
{
	script(&w, "exit 0");
	expect_failed("exit code 0 without an answer");
	script(&w, "exec </dev/null; sleep 60");
	expect_failed("the handler closed its standard input without reading of the job");
	script(&w, "sleep 0.3; exec </dev/null; sleep 60");
	expect_failed("the handler closed its standard input without reading of the job");
}

Test(runner_stream, one_that_has_read_its_job_may_close_its_input_and_answer)
{
	serve("exec </dev/null; sleep 0.3; ok; sleep 60");
	w.order.kill_grace_ms = 300;
	expect_done();
	expect_done();
	cr_assert_eq(count_lines("pids"), 2);
}

Test(runner_stream, one_that_closes_its_input_between_two_jobs_is_ended)
{
	w.order.kill_grace_ms = 300;
	serve("ok; exec </dev/null; sleep 60");
	expect_done();
	idle_until(runner_is_empty(r));
}

Test(runner_stream, a_second_answer_costs_the_process_not_the_job)
{
	serve("if [ -e second ]; then ok; else echo > second\n"
	      "line=\"{\\\"job\\\":$job,\\\"result\\\":\\\"done\\\"}\"; printf '%s\\n%s\\n' \"$line\" \"$line\"; sleep 60; fi");
	expect_done();
	expect_done();
	cr_assert_eq(count_lines("pids"), 2);
}

Test(runner_stream, a_line_between_two_jobs_costs_the_process)
{
	serve("ok; [ -e second ] || { echo > second; sleep 0.2; echo hello; sleep 60; }");
	expect_done();
	idle_until(runner_is_empty(r));
	expect_done();
	cr_assert_eq(count_lines("pids"), 2);
}

Test(runner_stream, blank_lines_are_let_pass_within_reason)
{
	serve("echo; ok; echo; [ $n = 2 ] && exec yes ''");
	expect_done();
	expect_done();
	cr_assert_eq(count_lines("pids"), 1);
	idle_until(runner_is_empty(r));
}

Test(runner_stream, a_flood_of_output_is_bounded_and_a_job_ends_in_it)
{
	w.order.log_limit_bytes = 8192;
	serve("head -c 20000000 /dev/zero | tr '\\0' x >&2; ok");
	expect_done();
	char *log = get_log(&w);
	cr_assert_leq(strlen(log), 8192u + 100);
	contains(log, "left out here");
	free(log);
}

Test(runner_stream, a_flood_between_two_jobs_stays_in_the_pipe)
{
	serve("ok; [ $n = 1 ] && { echo > flood; yes flood >&2; }");
	expect_done();
	idle_until(count_lines("flood") == 1);
	/* Once it is noticed that nobody wants it, it wakes nobody. */
	struct pollfd p = {.fd = runner_fd(r), .events = POLLIN};
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	while (poll(&p, 1, 300) > 0)
		idle_once(until);
	w.order.timeout_ms = 300;
	w.order.kill_grace_ms = 200;
	w.order.log_limit_bytes = 8192;
	struct run_result result = go();
	cr_assert_eq(result.outcome, OUTCOME_TIMED_OUT, "%s", result.error);
	char *log = get_log(&w);
	cr_assert_leq(strlen(log), 8192u + 100);
	free(log);
	run_result_clear(&result);
}

Test(runner_stream, another_users_job_ends_it_first)
{
	serve("ok");
	expect_done();
	free(w.order.user);
	w.order.user = strdup("bob");
	expect_done();
	cr_assert_eq(count_lines("pids"), 2);
	cr_assert_eq(count_lines("left"), 1);
}

Test(runner_stream, so_do_other_arguments_limits_and_modes)
{
	serve("ok");
	expect_done();
	w.command[1] = strdup("more");
	expect_done();
	cr_assert_eq(count_lines("left"), 1);
	w.order.limits.open_files = 50;
	expect_done();
	cr_assert_eq(count_lines("left"), 2);
	char *stream = w.command[0];
	w.command[0] = strdup("/bin/true");
	w.order.stream = false;
	struct run_result result = go();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_eq(count_lines("left"), 3);
	run_result_clear(&result);
	free(w.command[0]);
	w.command[0] = stream;
	w.order.stream = true;
	expect_done();
	cr_assert_eq(count_lines("pids"), 4);
}

Test(runner_stream, one_that_does_not_go_is_killed_after_the_grace_time)
{
	w.order.kill_grace_ms = 300;
	serve("ok; while :; do sleep 0.05; done");
	expect_done();
	w.command[1] = strdup("more");
	uint64_t before = clock_steady_ms();
	struct run_result result = go();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_geq(clock_steady_ms() - before, 300u);
	/* The wait is none of the attempt's time. */
	cr_assert_lt(result.ran_ms, 300u);
	cr_assert_eq(count_lines("left"), 0);
	run_result_clear(&result);
}

Test(runner_stream, a_job_that_waits_for_that_can_be_canceled)
{
	serve("ok; while :; do sleep 0.05; done");
	expect_done();
	w.command[1] = strdup("more");
	begin();
	cr_assert_eq(runner_started_ms(r), 0u);
	runner_cancel(r, false);
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_CANCELED);
	cr_assert_eq(result.started_ms, 0u);
	cr_assert_eq(result.exit_code, EXIT_CODE_NONE);
	cr_assert_eq(count_lines("pids"), 1);
	run_result_clear(&result);
}

Test(runner_stream, it_is_replaced_after_so_many_jobs)
{
	w.order.recycle_jobs = 2;
	serve("ok");
	for (int n = 0; n < 6; n++)
		expect_done();
	cr_assert_eq(count_lines("pids"), 3);
	idle_until(count_lines("left") == 3);
}

Test(runner_stream, it_is_ended_when_it_is_too_old_but_not_within_a_job)
{
	w.order.recycle_ms = 300;
	serve("sleep 0.6; ok");
	expect_done();
	idle_until(runner_is_empty(r));
	cr_assert_eq(count_lines("left"), 1);
}

Test(runner_stream, it_is_ended_when_it_waits_too_long)
{
	w.order.idle_ms = 200;
	serve("ok");
	expect_done();
	idle_until(runner_is_empty(r));
	cr_assert_eq(count_lines("left"), 1);
	expect_done();
}

Test(runner_stream, what_it_left_running_ends_with_it)
{
	serve("setsid sleep 60 & ok");
	expect_done();
	expect_done();
	cr_assert_gt(count_processes(w.order.cookie), 1);
	runner_dismiss(r);
	idle_until(runner_is_empty(r));
	cr_assert_eq(count_processes(w.order.cookie), 0);
}

Test(runner_stream, it_can_be_dismissed)
{
	serve("ok");
	expect_done();
	runner_dismiss(r);
	idle_until(runner_is_empty(r));
	cr_assert_eq(count_lines("left"), 1);
	runner_dismiss(r);
	cr_assert(runner_is_empty(r));
}

Test(runner_stream, freeing_ends_it_hard)
{
	serve("ok; while :; do sleep 0.05; done");
	expect_done();
	runner_free(r);
	r = NULL;
	cr_assert_eq(count_processes(w.order.cookie), 0);
}

Test(runner_stream, one_that_cannot_be_run_is_no_attempt)
{
	w.command[0] = strdup("/no/such/handler");
	struct run_result result = go();
	cr_assert_eq(result.outcome, OUTCOME_INTERRUPTED);
	cr_assert(result.unready);
	contains(result.error, "cannot run /no/such/handler: No such file or directory");
	run_result_clear(&result);
	serve("ok");
	expect_done();
}

Test(runner_stream, only_the_accepted_file_is_processed)
{
	serve("ok");
	expect_done();
	char *path;
	cr_assert_geq(asprintf(&path, "%s/report.csv", w.dir), 0);
	cr_assert_eq(unlink(path), 0);
	free(path);
	expect_failed("the file report.csv is gone");
	accept_file(&w, "report.csv", "x");
	expect_done();
	cr_assert_eq(count_lines("pids"), 1);
}

Test(runner_stream, a_long_backlog_of_unread_jobs_cannot_build_up)
{
	/* It answers without reading: the line of the next job meets the old one. */
	script(&w, "n=42; while :; do n=$((n + 1)); echo \"{\\\"job\\\":$n,\\\"result\\\":\\\"done\\\"}\"; sleep 0.3; done");
	struct run_result result = go();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
	run_result_clear(&result);
	idle_until(runner_is_empty(r));
}

Test(runner_stream, it_runs_as_another_account_that_owns_each_jobs_files)
{
	if (geteuid() != 0)
		cr_skip("needs root");
	w.order.run_as = strdup("nobody");
	chmod(w.top, 0777);
	serve("id -un >&2; file=${line#*'\"file\":\"'}; file=${file%%'\"'*}; cat \"$file\" >&2; ok");
	for (int n = 1; n <= 2; n++) {
		other_directory(200 + n);
		expect_done();
		char *log = get_log(&w);
		cr_assert_str_eq(log, "nobody\nx");
		free(log);
	}
	cr_assert_eq(count_lines("pids"), 1);
}
