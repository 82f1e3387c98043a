#include "runner_world.h"

#include <pwd.h>

#define contains(text, part) cr_assert_not_null(strstr(text, part), "\"%s\" is not in:\n%s", part, text)

static struct world w;

static void setup(void) { world_make(&w); }
static void teardown(void) { world_remove(&w); }

TestSuite(runner, .init = setup, .fini = teardown, .timeout = 240);

Test(runner, exit_0_is_success)
{
	script(&w, "echo hello; echo there >&2");
	uint64_t before = clock_wall_ms();
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_eq(result.exit_code, 0);
	cr_assert_eq(result.job, 42u);
	cr_assert_eq(result.attempt, 1u);
	cr_assert_null(result.error);
	cr_assert_eq(result.records, RECORDS_NONE);
	cr_assert(result.started_ms >= before && result.finished_ms >= result.started_ms);
	char *log = get_log(&w);
	cr_assert_str_eq(log, "hello\nthere\n");
	free(log);
	run_result_clear(&result);
}

Test(runner, an_exit_code_is_a_failure_told_in_words)
{
	script(&w, "exit 3");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_FAILED);
	cr_assert_eq(result.exit_code, 3);
	cr_assert_str_eq(result.error, "exit code 3");
	run_result_clear(&result);
}

Test(runner, the_last_line_of_output_explains_a_failure)
{
	script(&w, "echo first; echo 'line 7 has 3 fields, expected 4' >&2; printf '\\n  \\n'; exit 65");
	struct run_result result = run(&w);
	cr_assert_eq(result.exit_code, 65);
	cr_assert_str_eq(result.error, "exit code 65: line 7 has 3 fields, expected 4");
	run_result_clear(&result);
}

Test(runner, a_message_explains_and_hides_no_error)
{
	script(&w, "echo message=bad header >&3; exit 1");
	struct run_result result = run(&w);
	cr_assert_str_eq(result.error, "exit code 1: bad header");
	cr_assert_str_eq(result.message, "bad header");
	run_result_clear(&result);
	script(&w, "echo message=page 10 of 10 >&3; echo printer jammed >&2; exit 1");
	result = run(&w);
	cr_assert_str_eq(result.error, "exit code 1: printer jammed (message: page 10 of 10)");
	cr_assert_str_eq(result.message, "page 10 of 10");
	run_result_clear(&result);
	script(&w, "echo message=bad header >&3; echo bad header >&2; exit 1");
	result = run(&w);
	cr_assert_str_eq(result.error, "exit code 1: bad header");
	run_result_clear(&result);
}

Test(runner, escapes_in_the_last_line_reach_no_terminal)
{
	script(&w, "printf 'a\\033[31mred\\377 C:\\\\x'; exit 1");
	struct run_result result = run(&w);
	cr_assert_str_eq(result.error, "exit code 1: a\\x1b[31mred\\xff C:\\x");
	run_result_clear(&result);
}

Test(runner, a_very_long_last_line_is_cut_between_characters)
{
	script(&w, "printf 'x'; for i in 1 2 3 4 5 6 7 8 9 10; do printf "
	           "'ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää'; done; exit 1");
	struct run_result result = run(&w);
	cr_assert_leq(strlen(result.error), JOB_TEXT_MAX);
	cr_assert_geq(strlen(result.error), JOB_TEXT_MAX - 8);
	run_result_clear(&result);
}

Test(runner, a_signal_is_a_failure)
{
	script(&w, "kill -SEGV $$");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_FAILED);
	cr_assert_eq(result.exit_code, 128 + SIGSEGV);
	cr_assert_str_eq(result.error, "killed by signal 11 (Segmentation fault)");
	run_result_clear(&result);
}

Test(runner, the_environment_is_the_contract_and_nothing_else)
{
	setenv("SECRET", "of the daemon", 1);
	accept_file(&w, "odd \xff name.csv", "x");
	w.order.attempt = 2;
	free(w.command[0]);
	w.command[0] = strdup("/usr/bin/env");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	char *log = get_log(&w);
	char *expected;
	cr_assert_geq(asprintf(&expected,
		"SPOOL_FILE=%s/odd \xff name.csv\nSPOOL_NAME=odd \xff name.csv\n"
		"SPOOL_JOB=42\nSPOOL_ATTEMPT=2\nSPOOL_OUTPUT_DIR=%s/output\nSPOOL_REPORT_FD=3\n"
		"SPOOL_USER=alice\nSPOOL_COOKIE=%s\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
		"HOME=%s\nLANG=C.UTF-8\n", w.dir, w.dir, w.order.cookie, getpwuid(geteuid())->pw_dir), 0);
	cr_assert_str_eq(log, expected);
	free(expected);
	free(log);
	run_result_clear(&result);
}

Test(runner, placeholders_are_replaced_inside_elements_and_only_once)
{
	accept_file(&w, "{user} $(reboot).csv", "x");
	script(&w, "for a; do printf '<%s>' \"$a\"; done");
	static const char *const args[] = {"-i={file}", "{user}{job}", "{name}", "{output}/x", "{nothing}{", ""};
	for (size_t i = 0; i < sizeof args / sizeof *args; i++)
		w.command[i + 1] = strdup(args[i]);
	struct run_result result = run(&w);
	char *log = get_log(&w);
	char *expected;
	cr_assert_geq(asprintf(&expected, "<-i=%s/{user} $(reboot).csv><alice42><{user} $(reboot).csv>"
		"<%s/output/x><{nothing}{><>", w.dir, w.dir), 0);
	cr_assert_str_eq(log, expected);
	free(expected);
	free(log);
	run_result_clear(&result);
}

Test(runner, descriptors_directory_session_and_signals_are_clean)
{
	int leak = open("/dev/null", O_RDONLY); /* on purpose not CLOEXEC */
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	signal(SIGPIPE, SIG_IGN);
	script(&w, "pwd; readlink /proc/self/fd/0; cut -d' ' -f6 /proc/$$/stat | grep -qx $$ && echo session\n"
	           "grep -E 'Sig(Blk|Ign)|NoNewPrivs' /proc/self/status; umask; echo *; ulimit -c\n"
	           "for n in 4 5 6 7 8 9 11 12 13 14 15 16 17 18 19; do [ -e /proc/self/fd/$n ] && echo leak $n; done\n"
	           "exit 0");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	char *log = get_log(&w);
	char *first = strchr(log, '\n');
	cr_assert_eq(strncmp(log, w.dir, (size_t)(first - log)), 0);
	cr_assert_str_eq(first + 1, "/dev/null\nsession\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
		"NoNewPrivs:\t1\n0022\nlog output report.csv\n0\n");
	free(log);
	close(leak);
	run_result_clear(&result);
}

/* Returns the policy that the handler had; 41 is its field in /proc/PID/stat. */
static int policy_of_handler(void)
{
	struct runner *r = NULL;
	script(&w, "cut -d' ' -f41 /proc/$$/stat");
	cr_assert_eq(runner_new(&r), 0);
	runner_give_way(r);
	get_ready(r);
	cr_assert_eq(runner_start(r, &w.order, w.dirfd), 0);
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
	char *log = get_log(&w);
	int policy = atoi(log);
	free(log);
	run_result_clear(&result);
	runner_free(r);
	return policy;
}

Test(runner, who_gives_way_runs_handlers_as_before)
{
	cr_assert_eq(sched_getscheduler(0), SCHED_OTHER);
	cr_assert_eq(policy_of_handler(), SCHED_OTHER);
	cr_assert_eq(sched_getscheduler(0), SCHED_BATCH);
}

Test(runner, a_policy_that_somebody_chose_is_kept)
{
	const struct sched_param none = {0};
	cr_assert_eq(sched_setscheduler(0, SCHED_IDLE, &none), 0);
	cr_assert_eq(policy_of_handler(), SCHED_IDLE);
	cr_assert_eq(sched_getscheduler(0), SCHED_IDLE);
}

Test(runner, the_callers_own_signal_mask_is_put_back)
{
	sigset_t before = {0}, after = {0};
	sigprocmask(SIG_SETMASK, NULL, &before);
	script(&w, "exit 0");
	struct run_result result = run(&w);
	sigprocmask(SIG_SETMASK, NULL, &after);
	cr_assert_eq(memcmp(&before, &after, sizeof before), 0);
	run_result_clear(&result);
}

static void not_started(enum outcome outcome, const char *part)
{
	struct runner *r = start(&w);
	cr_assert_eq(runner_started_ms(r), 0u);
	struct run_result result = run_to_end(r);
	cr_assert_eq(result.outcome, outcome);
	cr_assert_eq(result.unready, outcome == OUTCOME_INTERRUPTED);
	cr_assert_eq(result.exit_code, EXIT_CODE_NONE);
	cr_assert_eq(result.started_ms, 0u);
	contains(result.error, part);
	run_result_clear(&result);
	runner_free(r);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

/* For what the file is. */
static void refused(const char *part)
{
	not_started(OUTCOME_FAILED, part);
}

/* As any would be. */
static void unready(const char *part)
{
	not_started(OUTCOME_INTERRUPTED, part);
}

Test(runner, a_handler_that_cannot_be_run_is_no_attempt)
{
	w.command[0] = strdup("/no/such\x1bhandler");
	unready("cannot run /no/such\\x1bhandler: No such file or directory");
	script(&w, "exit 0");
	chmod(w.command[0], 0644);
	unready("Permission denied (it is not executable: chmod +x)");
	put_file(w.command[0], "#!/no/such/sh\n", 0755);
	chmod(w.command[0], 0755);
	unready("(its first line names \"/no/such/sh\", which is not there)");
	put_file(w.command[0], "echo\n", 0755);
	unready("(a script needs a first line like #!/bin/sh)");
}

Test(runner, only_the_accepted_file_is_processed)
{
	char *path, *other;
	cr_assert_geq(asprintf(&path, "%s/report.csv", w.dir), 0);
	cr_assert_geq(asprintf(&other, "%s/other", w.dir), 0);
	script(&w, "exit 0");
	cr_assert_eq(link(path, other), 0);
	refused("the file report.csv has another name (a hard link)");
	cr_assert_eq(rename(path, other), 0);
	cr_assert_eq(unlink(path), 0);
	refused("the file report.csv is gone");
	cr_assert_eq(symlink("other", path), 0);
	refused("the file report.csv is not a plain file");
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(mkfifo(path, 0600), 0);
	refused("the file report.csv is not a plain file");
	cr_assert_eq(unlink(path), 0);
	put_file(path, "x", 0600);
	refused("the file report.csv is not the one that was accepted");
	free(path);
	free(other);
}

Test(runner, an_output_directory_that_is_none_is_refused)
{
	char *path;
	cr_assert_geq(asprintf(&path, "%s/output", w.dir), 0);
	cr_assert_eq(symlink("/tmp", path), 0);
	script(&w, "exit 0");
	refused("output directory \"output\" cannot be made");
	free(path);
}

Test(runner, an_upload_called_like_our_own_files_moves_them_aside)
{
	accept_file(&w, "log", "the upload");
	script(&w, "cat log; touch \"$SPOOL_OUTPUT_DIR/x\"");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	char *log = get_job_file(&w, "log.spoold"), *upload = get_job_file(&w, "log");
	cr_assert_str_eq(log, "the upload");
	cr_assert_str_eq(upload, "the upload");
	free(log);
	free(upload);
	run_result_clear(&result);
}

Test(runner, a_handler_may_remove_or_rewrite_its_file)
{
	script(&w, "echo more >> report.csv; rm report.csv; echo done");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	run_result_clear(&result);
	refused("is gone");
}

Test(runner, limits_are_in_force)
{
	w.order.limits = (struct run_limits){.cpu_seconds = 7, .memory_bytes = 512 << 20,
		.file_bytes = 1 << 20, .open_files = 33, .processes = 44};
	script(&w, "ulimit -t; ulimit -v; ulimit -f; ulimit -n; grep processes /proc/self/limits | tr -s ' ' | cut -d' ' -f3\n"
	           "dd if=/dev/zero of=big bs=1M count=2 2>/dev/null");
	struct run_result result = run(&w);
	char *log = get_log(&w);
	cr_assert_str_eq(log, "7\n524288\n2048\n33\n44\n", "%s", log);
	cr_assert_eq(result.exit_code, 128 + SIGXFSZ);
	free(log);
	run_result_clear(&result);
}

Test(runner, a_handler_that_eats_cpu_is_stopped_by_its_limit)
{
	w.order.limits.cpu_seconds = 1;
	script(&w, "while :; do :; done");
	struct run_result result = run(&w);
	cr_assert_eq(result.exit_code, 128 + SIGXCPU);
	cr_assert_str_eq(result.error, "killed by signal 24 (CPU time limit exceeded): it used more "
		"CPU time than handler.limits.cpu_seconds allows");
	run_result_clear(&result);
}

Test(runner, it_runs_as_another_account_that_owns_the_jobs_files)
{
	const struct passwd *nobody = getpwnam("nobody");
	if (geteuid() != 0 || nobody == NULL)
		cr_skip("needs root");
	w.order.run_as = strdup("nobody");
	script(&w, "id -un; id -G; grep Groups /proc/self/status; echo $HOME; cat \"$SPOOL_FILE\"\n"
	           "touch \"$SPOOL_OUTPUT_DIR/made\" here && echo written; grep CapEff /proc/self/status\n"
	           "until [ -e log ]; do sleep 0.01; done; echo x >> log || echo not the log");
	struct run_result result = run(&w);
	char *log = get_log(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s %s", result.error, log);
	contains(log, "nobody\n");
	contains(log, "a,b\n1,2\nwritten\n");
	contains(log, "not the log");
	contains(log, nobody->pw_dir);
	contains(log, "CapEff:\t0000000000000000\n");
	struct stat st;
	cr_assert_eq(fstatat(w.dirfd, "report.csv", &st, 0), 0);
	cr_assert_eq(st.st_uid, nobody->pw_uid);
	cr_assert_eq(fstatat(w.dirfd, "log", &st, 0), 0);
	cr_assert_eq(st.st_uid, 0u);
	cr_assert_eq(st.st_mode & 0777, 0640u);
	free(log);
	run_result_clear(&result);
}

Test(runner, accounts_that_cannot_be_used_are_named)
{
	script(&w, "exit 0");
	w.order.run_as = strdup("no-such-account");
	unready("cannot run as no-such-account: there is no such account");
	free(w.order.run_as);
	w.order.run_as = NULL;
	if (geteuid() != 0)
		cr_skip("the rest needs root");
	chmod(w.top, 0700);
	w.order.run_as = strdup("nobody");
	unready("cannot reach the file: a directory above it does not let this account through: "
	        "Permission denied");
}

Test(runner, what_cannot_be_read_by_the_account_is_told_before_it_runs)
{
	if (geteuid() != 0)
		cr_skip("needs root");
	w.command[0] = strdup("/bin/true");
	w.order.run_as = strdup("nobody");
	chmod(w.top, 0700);
	unready("cannot run /bin/true: its account cannot reach the file: a directory above");
	chmod(w.top, 0755);
	char *path;
	cr_assert_geq(asprintf(&path, "%s/report.csv", w.dir), 0);
	chmod(path, 0);
	refused("cannot run /bin/true: its account cannot read the file: Permission denied");
	free(path);
}
