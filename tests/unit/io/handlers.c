/* The sample handlers, run as a job would run them. */
#include "runner_world.h"

static struct world w;

static void setup(void) { world_make(&w); }
static void teardown(void) { world_remove(&w); }

TestSuite(handlers, .init = setup, .fini = teardown, .timeout = 240);

static void use(const char *name)
{
	char *path = NULL;
	cr_assert_geq(asprintf(&path, "packaging/handlers/%s", name), 0);
	char *absolute = realpath(path, NULL);
	cr_assert_not_null(absolute, "%s: run this from the top of the source tree", path);
	free(path);
	for (size_t i = 0; i < sizeof w.command / sizeof *w.command; i++) {
		free(w.command[i]);
		w.command[i] = NULL;
	}
	w.command[0] = absolute;
}

static void count(const char *text, int code, uint64_t records, const char *message)
{
	accept_file(&w, "report.csv", text);
	struct run_result result = run(&w);
	cr_assert_eq(result.exit_code, code, "%s: %s", text, result.error);
	cr_assert_str_eq(result.message, message);
	if (code == 0)
		cr_assert_eq(result.records, records);
	run_result_clear(&result);
}

Test(handlers, count_records_counts)
{
	use("count-records");
	w.command[1] = strdup("{file}");
	count("a,b\n1,2\n3,4\n", 0, 2, "2 records");
	count("a,b\n1,2\n\n  \n3,4", 0, 2, "2 records");
	count("a,b\r\n1,2\r\n", 0, 1, "1 record");
	count("a,b\n", 0, 0, "0 records");
	count("a;b\n1;2,5\n", 0, 1, "1 record");
	count("a\tb\n1\t2,5\n", 0, 1, "1 record");
	count("a\n1\n2\n3\n", 0, 3, "3 records");
}

Test(handlers, count_records_reads_quotes)
{
	use("count-records");
	w.command[1] = strdup("{file}");
	count("a,b\n\"x,y\",\"z\"\n", 0, 1, "1 record");
	count("a,b\n\"x \"\"q,\"\" y\",z\n", 0, 1, "1 record");
	count("a,b\n\"two\n\nlines, both\",z\n1,2\n", 0, 2, "2 records");
	count("a,b\n5\" pipe,3\n1,2\n", 0, 2, "2 records");
	count("a,b\n\"\",\"\"\n", 0, 1, "1 record");
}

Test(handlers, count_records_names_the_line_that_is_wrong)
{
	use("count-records");
	w.command[1] = strdup("{file}");
	count("a,b,c,d\n1,2,3,4\n1,2,3\n", 65, 0, "line 3 has 3 fields, expected 4");
	count("a,b\n\"x\ny\",z\n1\n", 65, 0, "line 4 has 1 field, expected 2");
	count("a,b\n1,2\n\"x,y\n1,2\n", 65, 0, "line 3 opens a quoted field that is never closed");
	count("", 65, 0, "the file is empty, expected a header line");
}

Test(handlers, count_records_explains_itself_to_the_uploader)
{
	use("count-records");
	w.command[1] = strdup("{file}");
	accept_file(&w, "-v x=1 $(id).csv", "a,b\n1\n");
	struct run_result result = run(&w);
	cr_assert_str_eq(result.error, "exit code 65: line 2 has 1 field, expected 2");
	char *log = get_log(&w);
	cr_assert_str_eq(log, "line 2 has 1 field, expected 2\n");
	free(log);
	run_result_clear(&result);
}

Test(handlers, count_records_shows_progress_when_it_is_slowed_down)
{
	use("count-records");
	w.command[1] = strdup("{file}");
	w.command[2] = strdup("--delay");
	w.command[3] = strdup("1");
	accept_file(&w, "report.csv", "a,b\n1,2\n3,4\n");
	struct runner *r = start(&w);
	struct runner_event ev;
	double last = -1;
	unsigned steps = 0;
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	do {
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
		if (!ev.progress)
			continue;
		cr_assert_geq(ev.report.progress, last);
		last = ev.report.progress;
		steps++;
	} while (!ev.ended);
	cr_assert_eq(ev.result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_geq(ev.result.ran_ms, 950u);
	cr_assert_geq(steps, 5u);
	cr_assert_float_eq(last, 1, 1e-9);
	runner_free(r);
}

Test(handlers, count_records_works_for_another_account)
{
	if (geteuid() != 0)
		cr_skip("needs root");
	/* The source tree may be out of reach for it. */
	use("count-records");
	char *text = get_file(w.command[0]), *path = in_world(&w, "count-records");
	put_file(path, text, 0755);
	free(text);
	free(w.command[0]);
	w.command[0] = path;
	w.order.run_as = strdup("nobody");
	count("a,b\n1,2\n", 0, 1, "1 record");
	count("a,b\n1\n", 65, 0, "line 2 has 1 field, expected 2");
}

Test(handlers, checksum_and_gzip_leaves_both)
{
	use("checksum-and-gzip");
	accept_file(&w, "-odd \\ name\n.csv", "some text\n");
	for (int attempt = 1; attempt <= 2; attempt++) {
		struct run_result result = run(&w);
		cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
		cr_assert_eq(strncmp(result.message, "10 bytes became ", 16), 0, "%s", result.message);
		run_result_clear(&result);
	}
	char *command;
	cr_assert_geq(asprintf(&command, "cd '%s' && sha256sum --quiet -c output/SHA256SUMS && "
		"[ \"$(gzip -dc output/copy.gz)\" = 'some text' ] && [ \"$(ls output | wc -l)\" = 2 ]", w.dir), 0);
	cr_assert_eq(system(command), 0);
	free(command);
}

Test(handlers, the_template_works_as_it_is)
{
	use("template");
	accept_file(&w, "odd \xff name.csv", "1\n2\n");
	struct run_result result = run(&w);
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
	cr_assert_str_eq(result.message, "done");
	char *text = get_job_file(&w, "output/result");
	cr_assert_str_eq(text, "2\n");
	free(text);
	run_result_clear(&result);
	accept_file(&w, "odd \xff name.csv", "");
	result = run(&w);
	cr_assert_eq(result.exit_code, 65);
	cr_assert_str_eq(result.error, "exit code 65: the file is empty");
	run_result_clear(&result);
}

/* Two files that are well, one of a name that is no UTF-8, and an empty one,
 * all by one process. */
static void serve_files(void)
{
	struct runner *r = NULL;
	signal(SIGPIPE, SIG_IGN);
	w.order.stream = true;
	w.order.kill_grace_ms = 5000;
	cr_assert_eq(runner_new(&r), 0);
	static const struct { const char *name, *text; } files[] = {
		{"one.csv", "1\n"}, {"two \"\\.csv", "1\n2\n"}, {"odd \xff \\x41.csv", "1\n2\n3\n"},
		{"none.csv", ""},
	};
	for (size_t i = 0; i < 4; i++) {
		accept_file(&w, files[i].name, files[i].text);
		w.order.job++;
		cr_assert_eq(runner_start(r, &w.order, w.dirfd), 0);
		struct run_result result = run_to_end(r);
		cr_assert_eq(result.outcome, i < 3 ? OUTCOME_SUCCEEDED : OUTCOME_FAILED, "%s", result.error);
		cr_assert_eq(result.permanent, i == 3);
		if (i < 3)
			cr_assert_eq(result.records, i + 1);
		run_result_clear(&result);
	}
	runner_dismiss(r);
	struct runner_event ev;
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	while (!runner_is_empty(r)) {
		wait_readable(runner_fd(r), until);
		runner_step(r, &ev);
	}
	runner_free(r);
}

Test(handlers, the_stream_template_works_as_it_is)
{
	use("stream-template");
	serve_files();
	char *text = get_job_file(&w, "output/lines");
	cr_assert_str_eq(text, "3\n");
	free(text);
}

Test(handlers, the_stream_handler_in_c_can_be_compiled_and_works)
{
	char *command, *program = in_world(&w, "count-lines");
	cr_assert_geq(asprintf(&command, "gcc -Wall -Wextra -Werror -o '%s' packaging/examples/stream-handler.c "
		"-ljansson", program), 0);
	cr_assert_eq(system(command), 0);
	free(command);
	free(w.command[0]);
	w.command[0] = program;
	serve_files();
}

static int by_hand(const char *arguments)
{
	char *command;
	use("count-records");
	cr_assert_geq(asprintf(&command, "cd '%s' && env -u SPOOL_FILE -u SPOOL_REPORT_FD %s %s >out 2>err",
		w.top, w.command[0], arguments), 0);
	int status = system(command);
	free(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(handlers, count_records_can_be_used_by_hand)
{
	cr_assert_eq(by_hand("42/report.csv"), 0);
	char *path = in_world(&w, "out"), *out = get_file(path);
	cr_assert_not_null(strstr(out, "message=1 record\n"), "%s", out);
	cr_assert_eq(by_hand(""), 64);
	cr_assert_eq(by_hand("--what"), 64);
	cr_assert_eq(by_hand("42/report.csv --delay"), 64);
	cr_assert_eq(by_hand("42/report.csv --delay 1x"), 64);
	cr_assert_eq(by_hand("42/nothing.csv"), 66);
	cr_assert_eq(by_hand("42"), 66);
	free(out);
	free(path);
}
