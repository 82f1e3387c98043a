/* What a handler says: its log, bounded, and its reports. */
#include "runner_world.h"

#define contains(text, part) cr_assert_not_null(strstr(text, part), "\"%s\" is not in:\n%s", part, text)

static struct world w;

static void setup(void) { world_make(&w); }
static void teardown(void) { world_remove(&w); }

TestSuite(runner_output, .init = setup, .fini = teardown, .timeout = 240);

static size_t count(const char *text, const char *part)
{
	size_t n = 0;
	for (; (text = strstr(text, part)) != NULL; text += strlen(part))
		n++;
	return n;
}

Test(runner_output, a_flood_keeps_its_beginning_and_its_end)
{
	w.order.log_limit_bytes = 20000;
	script(&w, "seq 1 200000");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	char *log = get_log(&w);
	cr_assert_leq(strlen(log), 20000u);
	cr_assert_geq(strlen(log), 19000u);
	cr_assert_eq(strncmp(log, "1\n2\n3\n", 6), 0);
	cr_assert_str_eq(log + strlen(log) - 14, "199999\n200000\n");
	contains(log, "\n== 1.2 MiB left out here ==\n");
	cr_assert_eq(count(log, "left out here"), 1u);
	free(log);
	run_result_clear(&result);
}

Test(runner_output, all_of_it_is_kept_up_to_the_limit)
{
	w.order.log_limit_bytes = 20000;
	for (unsigned n = 19990; n <= 20030; n++) {
		char body[80];
		snprintf(body, sizeof body, "head -c %u /dev/zero | tr '\\0' x; printf END", n - 3);
		script(&w, body);
		unlinkat(w.dirfd, "log", 0);
		struct run_result result = run(&w);
		char *log = get_log(&w);
		cr_assert_leq(strlen(log), 20000u, "%u", n);
		if (n <= 20000)
			cr_assert_eq(strlen(log), n);
		else
			cr_assert_eq(count(log, "left out here"), 1u, "%u", n);
		cr_assert_str_eq(log + strlen(log) - 3, "END");
		free(log);
		run_result_clear(&result);
	}
}

Test(runner_output, the_log_is_bounded_while_the_handler_runs)
{
	w.order.log_limit_bytes = 65536;
	script(&w, "i=0; while [ $i -lt 40 ]; do head -c 20000 /dev/zero | tr '\\0' x; i=$((i+1)); done");
	struct runner *r = start(&w);
	struct runner_event ev;
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	do {
		struct stat st;
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
		cr_assert_eq(fstatat(w.dirfd, "log", &st, 0), 0);
		cr_assert_leq(st.st_size, 65536 + 32768 + 100);
	} while (!ev.ended);
	runner_free(r);
}

/* The log of a silent attempt, or NULL; it is removed. */
static char *log_of(const char *body, bool always)
{
	struct stat st;
	script(&w, body);
	w.order.log_always = always;
	struct run_result result = run(&w);
	run_result_clear(&result);
	bool made = fstatat(w.dirfd, "log", &st, 0) == 0;
	char *log = made ? get_log(&w) : NULL;
	unlinkat(w.dirfd, "log", 0);
	return log;
}

Test(runner_output, a_silent_success_has_a_log_where_that_is_wanted)
{
	cr_expect_null(log_of("exit 0", false));
	cr_expect_null(log_of("exit 3", true), "its reason is written beside its file");
	char *log = log_of("exit 0", true);
	cr_assert_not_null(log);
	cr_expect_str_eq(log, "== exit code 0, and nothing was printed ==\n");
	free(log);
	log = log_of("echo told", true);
	cr_assert_not_null(log);
	cr_expect_str_eq(log, "told\n");
	free(log);
}

Test(runner_output, earlier_attempts_stay_in_the_log)
{
	script(&w, "echo try $SPOOL_ATTEMPT; printf 'no newline'; exit 1");
	for (uint32_t n = 1; n <= 3; n++) {
		w.order.attempt = n;
		struct run_result result = run(&w);
		cr_assert_str_eq(result.error, "exit code 1: no newline");
		run_result_clear(&result);
	}
	char *log = get_log(&w);
	cr_assert_eq(strncmp(log, "try 1\nno newline\n== attempt 2, 20", 33), 0, "%s", log);
	contains(log, "Z ==\ntry 2\nno newline\n== attempt 3, 20");
	free(log);
}

Test(runner_output, many_flooding_attempts_stay_within_the_limit)
{
	w.order.log_limit_bytes = 20000;
	script(&w, "echo first of $SPOOL_ATTEMPT; seq 1 20000; echo last of $SPOOL_ATTEMPT");
	for (uint32_t n = 1; n <= 6; n++) {
		char text[40];
		w.order.attempt = n;
		struct run_result result = run(&w);
		run_result_clear(&result);
		char *log = get_log(&w);
		cr_assert_leq(strlen(log), 20000u);
		cr_assert_eq(strncmp(log, "first of 1\n", 11), 0);
		snprintf(text, sizeof text, "first of %u\n", n);
		contains(log, text);
		snprintf(text, sizeof text, "last of %u\n", n);
		contains(log, text);
		if (n > 1) {
			snprintf(text, sizeof text, "last of %u\n", n - 1);
			contains(log, text);
		}
		free(log);
	}
}

Test(runner_output, a_log_that_was_made_into_something_else_is_replaced)
{
	char *log, *outside = in_world(&w, "outside");
	put_file(outside, "untouched", 0600);
	script(&w, "echo hello");
	cr_assert_eq(symlinkat(outside, w.dirfd, "log"), 0);
	struct run_result result = run(&w);
	run_result_clear(&result);
	log = get_log(&w);
	cr_assert_str_eq(log, "hello\n");
	free(log);
	cr_assert_eq(unlinkat(w.dirfd, "log", 0), 0);
	cr_assert_eq(linkat(AT_FDCWD, outside, w.dirfd, "log", 0), 0);
	result = run(&w);
	run_result_clear(&result);
	cr_assert_eq(unlinkat(w.dirfd, "log", 0), 0);
	cr_assert_eq(mkfifoat(w.dirfd, "log", 0600), 0);
	result = run(&w);
	run_result_clear(&result);
	log = get_log(&w);
	cr_assert_str_eq(log, "hello\n");
	free(log);
	log = get_file(outside);
	cr_assert_str_eq(log, "untouched");
	free(log);
	free(outside);
}

Test(runner_output, a_handler_that_says_nothing_has_no_log)
{
	struct stat st;
	script(&w, "exit 0");
	struct run_result result = run(&w);
	cr_expect_eq(result.outcome, OUTCOME_SUCCEEDED);
	run_result_clear(&result);
	cr_expect_eq(fstatat(w.dirfd, "log", &st, AT_SYMLINK_NOFOLLOW), -1);
	cr_expect_eq(errno, ENOENT);
}

Test(runner_output, what_a_handler_puts_in_the_place_of_its_log_is_not_followed)
{
	char *outside = in_world(&w, "outside"), *body;
	put_file(outside, "untouched", 0600);
	cr_assert_geq(asprintf(&body, "ln -s '%s' log; echo hello", outside), 0);
	script(&w, body);
	struct run_result result = run(&w);
	run_result_clear(&result);
	char *log = get_log(&w), *other = get_file(outside);
	cr_expect_str_eq(log, "hello\n");
	cr_expect_str_eq(other, "untouched");
	free(log);
	free(other);
	free(outside);
	free(body);
}

Test(runner_output, without_a_log_the_handler_runs_all_the_same)
{
	cr_assert_eq(mkdirat(w.dirfd, "log", 0700), 0);
	cr_assert_eq(mkdirat(w.dirfd, "log/x", 0700), 0);
	script(&w, "seq 1 100000; echo message=fine >&3");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_str_eq(result.message, "fine");
	run_result_clear(&result);
}

Test(runner_output, a_handler_that_cuts_or_removes_its_log_disturbs_nobody)
{
	w.order.log_limit_bytes = 20000;
	script(&w, "seq 1 5000; : > log; seq 1 50000; rm log; seq 1 50000; exit 0");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	run_result_clear(&result);
}

Test(runner_output, reports_arrive_while_the_handler_runs)
{
	script(&w, "echo progress=0.25 >&3; echo records=10 >&3; echo 'message=reading \xc3\xa4' >&3\n"
	           "while [ ! -e go ]; do sleep 0.02; done; echo progress=1 >&3; exit 0");
	struct runner *r = start(&w);
	struct runner_event ev = {0};
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	while (ev.report.message == NULL || !ev.progress) {
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
	}
	cr_assert_not(ev.ended);
	cr_assert_eq(ev.report.job, 42u);
	cr_assert_float_eq(ev.report.progress, 0.25, 1e-9);
	cr_assert_eq(ev.report.records, 10u);
	cr_assert_str_eq(ev.report.message, "reading \xc3\xa4");
	cr_assert_eq(fd_write_file(w.dirfd, "go", "", 0, 0600), 0);
	do {
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
	} while (!ev.ended);
	cr_assert(ev.progress, "the last state is always told");
	cr_assert_float_eq(ev.report.progress, 1, 1e-9);
	cr_assert_eq(ev.result.records, 10u);
	cr_assert_str_eq(ev.result.message, "reading \xc3\xa4");
	runner_free(r);
}

Test(runner_output, a_thousand_reports_are_told_as_a_few)
{
	script(&w, "i=0; while [ $i -lt 2000 ]; do echo records=$i >&3; i=$((i+1)); done; sleep 0.2; exit 0");
	struct runner *r = start(&w);
	struct runner_event ev;
	unsigned told = 0;
	uint64_t records = 0, began = clock_steady_ms(), until = began + PATIENCE_MS;
	do {
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
		if (ev.progress) {
			told++;
			records = ev.report.records;
		}
	} while (!ev.ended);
	cr_assert_leq(told, 2 + (clock_steady_ms() - began) / 100);
	cr_assert_eq(records, 1999u);
	runner_free(r);
}

Test(runner_output, the_last_state_is_told_though_the_handler_stays_silent)
{
	script(&w, "echo progress=0.1 >&3; echo progress=0.2 >&3; sleep 0.02; echo progress=0.3 >&3; sleep 60");
	struct runner *r = start(&w);
	struct runner_event ev = {0};
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	while (!(ev.progress && ev.report.progress > 0.25)) {
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
	}
	runner_free(r);
}

Test(runner_output, nonsense_in_reports_is_noted_once_and_ignored)
{
	script(&w, "printf 'hello \\033[31m\\n\\nprogress=nan\\nprogress=inf\\nprogress=\\nprogress=0.5x\\nrecords=-1\\n"
	           "records=18446744073709551616\\nrecords=\\nmess\\0age=x\\nprogress=7\\nrecords=5\\r\\n' >&3\n"
	           "head -c 100000 /dev/zero | tr '\\0' m >&3; echo >&3; printf 'message=last' >&3; exit 0");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_eq(result.records, 5u);
	cr_assert_str_eq(result.message, "last");
	char *log = get_log(&w);
	cr_assert_str_eq(log, "== report line not understood: hello \\x1b[31m ==\n");
	free(log);
	run_result_clear(&result);
}

static double last_progress(const char *body)
{
	script(&w, body);
	struct runner *r = start(&w);
	struct runner_event ev;
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	do {
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
	} while (!ev.ended);
	double progress = ev.report.progress;
	runner_free(r);
	return progress;
}

Test(runner_output, progress_stays_between_0_and_1)
{
	cr_assert_float_eq(last_progress("echo progress=7 >&3; exit 0"), 1, 1e-9);
	cr_assert_float_eq(last_progress("echo progress=-3 >&3; exit 0"), 0, 1e-9);
	cr_assert_float_eq(last_progress("echo progress=nan >&3; exit 0"), -1, 1e-9);
	cr_assert_float_eq(last_progress("echo progress=0.5 >&3; echo progress=inf >&3; exit 0"), 0.5, 1e-9);
}

Test(runner_output, a_long_message_is_cut_and_a_longer_line_refused)
{
	script(&w, "printf 'message=' >&3; head -c 3000 /dev/zero | tr '\\0' m >&3; echo >&3\n"
	           "printf 'message=' >&3; head -c 5000 /dev/zero | tr '\\0' n >&3; echo >&3; exit 0");
	struct run_result result = run(&w);
	cr_assert_eq(strlen(result.message), (size_t)JOB_TEXT_MAX);
	cr_assert_eq(result.message[0], 'm');
	char *log = get_log(&w);
	contains(log, "... (longer than 4 KiB) ==\n");
	free(log);
	run_result_clear(&result);
}

Test(runner_output, closed_descriptors_cost_no_time)
{
	script(&w, "exec >&- 2>&- 3>&-; sleep 0.5; exit 0");
	struct runner *r = start(&w);
	struct runner_event ev;
	unsigned steps = 0;
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	do {
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
		steps++;
	} while (!ev.ended);
	cr_assert_lt(steps, 20u, "it spins");
	cr_assert_eq(ev.result.outcome, OUTCOME_SUCCEEDED);
	runner_free(r);
}

/* What reached the kernel, by inode; then really done. */
static ino_t synced[64];
static size_t synced_n;
static ino_t sync_fails;

int fsync(int fd)
{
	struct stat st = {0};
	fstat(fd, &st);
	if (synced_n < sizeof synced / sizeof *synced)
		synced[synced_n++] = st.st_ino;
	if (st.st_ino == sync_fails) {
		errno = EIO;
		return -1;
	}
	return 0;
}

static bool was_synced(const char *name)
{
	struct stat st;
	char *path;
	cr_assert_geq(asprintf(&path, "%s/%s", w.dir, name), 0);
	cr_assert_eq(stat(path, &st), 0, "%s", path);
	free(path);
	for (size_t i = 0; i < synced_n; i++)
		if (synced[i] == st.st_ino)
			return true;
	return false;
}

Test(runner_output, what_a_handler_leaves_is_synced_before_it_is_done)
{
	w.order.sync = true;
	/* Older than the attempt, as an upload mostly is. */
	const struct timespec old[] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	cr_assert_eq(utimensat(w.dirfd, w.order.name, old, 0), 0);
	script(&w, "mkdir -p output/deep; echo a >output/deep/a; echo b >beside; echo said");
	struct run_result result = run(&w);
	cr_expect_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_expect(was_synced("output/deep/a"));
	cr_expect(was_synced("output/deep"));
	cr_expect(was_synced("output"));
	cr_expect(was_synced("beside"));
	cr_expect(was_synced("."));
	cr_expect(!was_synced(w.order.name), "synced when it was accepted");
	cr_expect(!was_synced("log"));
	run_result_clear(&result);
}

Test(runner_output, an_output_that_does_not_reach_the_disk_is_no_success)
{
	struct stat st;
	w.order.sync = true;
	char *path = in_world(&w, "42/beside");
	put_file(path, "old", 0644);
	free(path);
	cr_assert_eq(fstatat(w.dirfd, "beside", &st, 0), 0);
	sync_fails = st.st_ino;
	script(&w, "echo new >beside");
	struct run_result result = run(&w);
	cr_expect_eq(result.outcome, OUTCOME_FAILED);
	cr_expect(strstr(result.error, "did not reach the disk") != NULL, "%s", result.error);
	run_result_clear(&result);
}
