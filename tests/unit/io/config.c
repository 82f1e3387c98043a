/* What a configuration means once it is loaded. */
#include "config_helper.h"

#include <errno.h>
#include <sched.h>

static struct fixture place;

static void setup(void)
{
	place_init(&place);
}

static void teardown(void)
{
	place_clear(&place);
}

TestSuite(config, .init = setup, .fini = teardown);

static void expect_in_place(const char *path, const char *name)
{
	size_t n = strlen(place.dir);
	cr_expect_eq(strncmp(path, place.dir, n), 0, "%s", path);
	cr_expect_str_eq(path + n, name);
}

static void expect_defaults(void)
{
	const struct config *c = place.config;
	const struct user_settings *u = &c->defaults;
	cpu_set_t cpus;
	expect_in_place(c->root, "/spool");
	expect_in_place(c->index, "/spool/.spoold/index");
	expect_in_place(c->socket, "/spool/.spoold/control.sock");
	cr_expect_eq(c->watch, WATCH_AUTO);
	cr_expect_eq(c->poll_ms, 10000);
	cr_expect_eq(c->durability, DURABILITY_FULL);
	cr_expect_eq(c->interval_ms, 120000);
	cr_expect_eq(sched_getaffinity(0, sizeof cpus, &cpus), 0);
	cr_expect_eq(c->max_concurrent, (uint32_t)CPU_COUNT(&cpus));
	cr_expect(c->auto_start);
	cr_expect_eq(c->stop_grace_ms, 20000);
	cr_expect_eq(c->users_n, 0);
	cr_expect_eq(u->settle.completion, COMPLETION_AUTO);
	cr_expect_eq(u->settle.settle_ms, 1000);
	cr_expect_str_eq(u->marker_suffix, ".done");
	cr_expect_str_eq(u->ignore[0], ".*");
	cr_expect_str_eq(u->ignore[4], "*~");
	cr_expect_null(u->ignore[5]);
	cr_expect_eq(u->max_running, 1);
	cr_expect_eq(u->timeout_ms, 30 * 60000);
	cr_expect(u->retry.enabled);
	cr_expect_eq(u->retry.max_retries, 3);
	cr_expect_eq(u->retry.delay_ms, 10000);
	cr_expect_eq(u->retry.position, RETRY_FRONT);
	cr_expect_eq(u->retry.on_crash, ON_CRASH_RETRY);
	cr_expect_eq(u->retry.max_total_ms, 3600000);
	cr_expect_eq(u->on_final_failure, FINAL_FAILURE_CONTINUE);
	cr_expect_eq(u->keep_done_ms, UINT64_C(7) * 86400000);
	cr_expect_eq(u->keep_failed_ms, UINT64_C(30) * 86400000);
	cr_expect_eq(u->routes_n, 0);
	const struct handler *h = &u->handler;
	expect_in_place(h->command[0], "/packaging/handlers/count-records");
	cr_expect_str_eq(h->command[1], "{file}");
	cr_expect_null(h->command[2]);
	cr_expect_eq(h->mode, HANDLER_PER_FILE);
	cr_expect_str_eq(h->run_as, "");
	cr_expect_eq(h->permanent_exit_codes_n, 1);
	cr_expect_eq(h->permanent_exit_codes[0], 65);
	cr_expect_eq(h->kill_grace_ms, 10000);
	cr_expect_eq(h->keep_logs, KEEP_LOGS_FAILED);
	cr_expect_eq(h->log_limit_bytes, 256 * 1024);
	struct run_limits none = {0};
	cr_expect_eq(memcmp(&h->limits, &none, sizeof none), 0);
}

Test(config, an_empty_block_has_all_defaults)
{
	expect_good(&place, "{}");
	expect_defaults();
}

Test(config, the_shipped_file_is_the_defaults_written_out)
{
	char *text = read_source("config.json");
	expect_good(&place, text);
	expect_defaults();
	free(text);
}

Test(config, yaml_says_the_same)
{
	cr_assert_eq(parse_yaml(&place, "# nothing\n{}\n"), 0);
	cr_assert_eq(parse_yaml(&place, "---\nspool: # where\n  root: spool\n  ignore: ['.*', "
	                                "'*.part', "
	                                "\"*.filepart\", '*.tmp', '*~']\nscheduler_settings:\n"
	                                "  max_retries: 0x3\n  job_timeout_minutes: 3e1\n"
	                                "job_processing: {single_job_per_user: True}\nroutes: "
	                                "[]\nusers:\n"),
	             0);
	cr_assert_eq(place.report.warnings_n, 0);
	expect_defaults();
}

static const char *const every_key =
	"{\"spool\": {\"root\": \"/srv/spool/\", \"index\": \"./db//index\", \"socket\": "
        "\"/run/s.sock\", \"watch\": \"poll\", \"poll_seconds\": 0.5, \"durability\": \"relaxed\", "
        "\"completion\": \"marker\", \"settle_seconds\": 0.25, \"marker_suffix\": \".ok\", "
        "\"ignore\": []},\"scheduler_settings\": {\"interval_minutes\": 0.5, "
        "\"max_concurrent_jobs_per_user\": 0, \"max_concurrent_jobs\": 7, \"job_timeout_minutes\": "
        "1.5, \"retry_failed_jobs\": false, \"max_retries\": 1000, \"retry_delay_seconds\": 0, "
        "\"cleanup_completed_jobs_days\": 0.5, \"cleanup_failed_jobs_days\": 0, "
        "\"stop_grace_seconds\": 1},\"job_processing\": {\"single_job_per_user\": false, "
        "\"queue_priority\": \"first_in_first_out\", \"auto_start_processing\": false, "
        "\"max_processing_time_minutes\": 0, \"retry_position\": \"back\", \"on_final_failure\": "
        "\"hold\", \"on_crash\": \"fail\"},\"handler\": {\"command\": [\"sh\", \"-c\", \"{print "
        "$1}\", \"{file} {user}{job}\", \"{name}\", \"{output}\"], \"mode\": \"per_file\", "
        "\"run_as\": \"\", \"permanent_exit_codes\": [1, 2, 255], \"kill_grace_seconds\": 0, "
        "\"keep_logs\": \"always\", \"log_limit_kib\": 1.5, \"limits\": {\"cpu_seconds\": 0.5, "
        "\"memory_mib\": 1.5, \"file_mib\": 2, \"open_files\": 64, \"processes\": "
        "100}},\"routes\": [{\"match\": \"*.csv\", \"handler\": {\"keep_logs\": "
        "\"never\"}}],\"users\": {\"alice\": {\"completion\": \"rename\"}}}";

Test(config, every_key_arrives_where_it_belongs)
{
	expect_good(&place, every_key);
	const struct config *c = place.config;
	const struct user_settings *u = &c->defaults;
	const struct handler *h = &u->handler;
	cr_expect_str_eq(c->root, "/srv/spool");
	expect_in_place(c->index, "/db/index");
	cr_expect_str_eq(c->socket, "/run/s.sock");
	cr_expect_eq(c->watch, WATCH_POLL);
	cr_expect_eq(c->poll_ms, 500);
	cr_expect_eq(c->durability, DURABILITY_RELAXED);
	cr_expect_eq(c->interval_ms, 30000);
	cr_expect_eq(c->max_concurrent, 7);
	cr_expect_not(c->auto_start);
	cr_expect_eq(c->stop_grace_ms, 1000);
	cr_expect_eq(u->settle.completion, COMPLETION_MARKER);
	cr_expect_eq(u->settle.settle_ms, 250);
	cr_expect_str_eq(u->marker_suffix, ".ok");
	cr_expect_null(u->ignore[0]);
	cr_expect_eq(u->max_running, 0);
	cr_expect_eq(u->timeout_ms, 90000);
	cr_expect_not(u->retry.enabled);
	cr_expect_eq(u->retry.max_retries, 1000);
	cr_expect_eq(u->retry.delay_ms, 0);
	cr_expect_eq(u->retry.position, RETRY_BACK);
	cr_expect_eq(u->retry.on_crash, ON_CRASH_FAIL);
	cr_expect_eq(u->retry.max_total_ms, 0);
	cr_expect_eq(u->on_final_failure, FINAL_FAILURE_HOLD);
	cr_expect_eq(u->keep_done_ms, 43200000);
	cr_expect_eq(u->keep_failed_ms, 0);
	cr_expect_eq(h->command[0][0], '/');
	cr_expect_str_eq(h->command[2], "{print $1}");
	cr_expect_null(h->command[6]);
	cr_expect_eq(h->permanent_exit_codes_n, 3);
	cr_expect_eq(h->permanent_exit_codes[2], 255);
	cr_expect_eq(h->kill_grace_ms, 0);
	cr_expect_eq(h->keep_logs, KEEP_LOGS_ALWAYS);
	cr_expect_eq(h->log_limit_bytes, 1536);
	cr_expect_eq(h->limits.cpu_seconds, 1, "half a second is rounded up, not away");
	cr_expect_eq(h->limits.memory_bytes, 1536 * 1024);
	cr_expect_eq(h->limits.file_bytes, 2 * 1024 * 1024);
	cr_expect_eq(h->limits.open_files, 64);
	cr_expect_eq(h->limits.processes, 100);
}

Test(config, index_and_socket_follow_the_root)
{
	expect_good(&place, "{\"spool\": {\"root\": \"/srv/drop\"}}");
	cr_expect_str_eq(place.config->index, "/srv/drop/.spoold/index");
	cr_expect_str_eq(place.config->socket, "/srv/drop/.spoold/control.sock");
}

Test(config, a_little_never_becomes_no_limit)
{
	expect_good(&place, "{\"scheduler_settings\": {\"job_timeout_minutes\": 1e-9}}");
	cr_expect_eq(place.config->defaults.timeout_ms, 1);
}

Test(config, single_job_rules_over_the_number_and_says_so)
{
	cr_assert_eq(parse(&place, "{\"scheduler_settings\":\n"
	                           " {\"max_concurrent_jobs_per_user\": 3}}"), 0);
	cr_expect_eq(place.config->defaults.max_running, 1);
	cr_assert_eq(place.report.warnings_n, 1);
	cr_expect_str_eq(place.report.warnings[0], "config.json:2:35: "
	                                           "scheduler_settings.max_concurrent_jobs_per_user: "
	                                           "has no effect: single_job_per_user is true, so "
	                                           "one job runs at a time; set that to false to "
	                                           "run more");
}

Test(config, a_single_job_that_is_allowed_to_be_more_is_one_still)
{
	cr_assert_eq(parse(&place, "{\"job_processing\":\n {\"single_job_per_user\": false}}"), 0);
	cr_expect_eq(place.config->defaults.max_running, 1);
	cr_assert_eq(place.report.warnings_n, 1);
	cr_expect_not_null(strstr(place.report.warnings[0],
	                          "config.json:2:26: job_processing.single_job_per_user: has no effect: "
	                          "max_concurrent_jobs_per_user is 1"), "%s", place.report.warnings[0]);
}

Test(config, too_little_time_for_one_attempt_is_a_warning)
{
	cr_assert_eq(parse(&place, "{\"scheduler_settings\": {\"job_timeout_minutes\": 90}}"), 0);
	cr_assert_eq(place.report.warnings_n, 1);
	cr_expect_not_null(strstr(place.report.warnings[0],
	                   "config.json:1:48: scheduler_settings.job_timeout_minutes: "
	                   "max_processing_time_minutes is less"));
}

Test(config, a_user_overrides_by_plain_name)
{
	cr_assert_eq(parse(&place,
		"{\"spool\": {\"settle_seconds\": 5}, \"users\": {\"bob\": "
		"{\"single_job_per_user\": false, \"max_concurrent_jobs_per_user\": 4, \"ignore\": "
		"[\"x\"], \"cleanup_failed_jobs_days\": 0},\"alice\": {\"completion\": \"rename\", "
		"\"handler\": {\"keep_logs\": \"always\", \"limits\": {\"open_files\": "
		"32}}}}}"), 0);
	const struct user_settings *alice = config_user(place.config, "alice");
	const struct user_settings *bob = config_user(place.config, "bob");
	const struct user_settings *eve = config_user(place.config, "eve");
	cr_expect_eq(eve, &place.config->defaults);
	cr_expect_eq(alice->settle.completion, COMPLETION_RENAME);
	cr_expect_eq(alice->settle.settle_ms, 5000);
	cr_expect_eq(alice->max_running, 1);
	cr_expect_eq(alice->handler.keep_logs, KEEP_LOGS_ALWAYS);
	cr_expect_eq(alice->handler.limits.open_files, 32);
	cr_expect_str_eq(alice->handler.command[1], "{file}");
	cr_expect_eq(bob->max_running, 4);
	cr_expect_str_eq(bob->ignore[0], "x");
	cr_expect_eq(bob->keep_failed_ms, 0);
	cr_expect_eq(bob->handler.keep_logs, KEEP_LOGS_FAILED);
	cr_expect_eq(eve->max_running, 1);
}

Test(config, a_contradiction_of_one_user_is_a_warning_too)
{
	cr_assert_eq(parse(&place, "{\"users\": {\"alice\": {\"max_concurrent_jobs_per_user\": "
	                           "2}}}"),
	             0);
	cr_assert_eq(place.report.warnings_n, 1);
	cr_expect_eq(strncmp(place.report.warnings[0],
	                     "config.json:1:54: users.alice.max_concurrent_"
	                     "jobs_per_user: has no effect",
	                     70),
	             0, "%s", place.report.warnings[0]);
	cr_expect_eq(config_user(place.config, "alice")->max_running, 1);
}

Test(config, routes_build_on_the_handler_of_the_user)
{
	expect_good(&place, "{\"routes\": [{\"match\": \"*.csv\", \"handler\": {\"log_limit_kib\": "
	                    "1}}, {\"match\": \"r*\", \"handler\": {\"command\": [\"sh\", "
	                    "\"{file}\"],  \"permanent_exit_codes\": []}}],\"users\": {\"alice\": "
	                    "{\"handler\": {\"keep_logs\": \"never\", \"log_limit_kib\": 2,  "
	                    "\"permanent_exit_codes\": [1, 2]}}, \"bob\": {\"routes\": "
	                    "[{\"match\": \"*\", \"handler\": {\"kill_grace_seconds\": 1}}]}, "
	                    "\"carol\": {\"routes\": []}}}");
	const struct user_settings *all = config_user(place.config, "anybody");
	const struct user_settings *alice = config_user(place.config, "alice");
	const struct user_settings *bob = config_user(place.config, "bob");
	const struct handler *h = settings_handler(alice, "report.csv");
	cr_expect_eq(h->log_limit_bytes, 1024, "the first match counts");
	cr_expect_eq(h->keep_logs, KEEP_LOGS_NEVER);
	cr_expect_eq(h->permanent_exit_codes_n, 2);
	h = settings_handler(alice, "report.txt");
	cr_expect_eq(h->permanent_exit_codes_n, 0);
	cr_expect_eq(h->log_limit_bytes, 2048);
	cr_expect_not_null(strstr(h->command[0], "/sh"));
	cr_expect_eq(settings_handler(alice, "x.txt"), &alice->handler);
	h = settings_handler(all, "x.csv");
	cr_expect_eq(h->log_limit_bytes, 1024);
	cr_expect_eq(h->keep_logs, KEEP_LOGS_FAILED);
	cr_expect_eq(settings_handler(bob, "x.csv")->kill_grace_ms, 1000);
	cr_expect_eq(settings_handler(bob, "x.csv")->log_limit_bytes, 256 * 1024);
	cr_expect_eq(settings_handler(config_user(place.config, "carol"), "x.csv"),
	             &config_user(place.config, "carol")->handler);
}

Test(config, many_users_are_found)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	fputs("{\"users\": {", out);
	for (int i = 0; i < 3000; i++)
		fprintf(out, "%s\"u%d\": {\"max_retries\": %d}", i > 0 ? ",\n" : "",
		        i * 7919 % 3000, i * 7919 % 3000 % 1000);
	fputs("}}", out);
	fclose(out);
	expect_good(&place, text);
	free(text);
	cr_assert_eq(place.config->users_n, 3000);
	for (int i = 0; i < 3000; i++) {
		char name[16];
		snprintf(name, sizeof name, "u%d", i);
		cr_expect_eq(config_user(place.config, name)->retry.max_retries,
		             (uint32_t)i % 1000);
	}
	cr_expect_eq(config_user(place.config, "u3000"), &place.config->defaults);
}

Test(config, find_takes_the_first_that_is_said_or_there)
{
	char *path = NULL;
	cr_assert_eq(chdir(place.dir), 0);
	setenv("SPOOLD_CONFIG", "/from/env.json", 1);
	cr_assert_eq(config_find("said.json", &path), 0);
	cr_expect_str_eq(path, "said.json");
	free(path);
	cr_assert_eq(config_find(NULL, &path), 0);
	cr_expect_str_eq(path, "/from/env.json");
	free(path);
	unsetenv("SPOOLD_CONFIG");
	make_file(place.dir, "config.json", "{}", 0644);
	cr_assert_eq(config_find(NULL, &path), 0);
	cr_expect_str_eq(path, "config.json");
	free(path);
	cr_assert_eq(unlink("config.json"), 0);
	path = NULL;
	int r = config_find(NULL, &path);
	if (access("/etc/spoold/config.json", F_OK) == 0)
		cr_expect_str_eq(path, "/etc/spoold/config.json");
	else
		cr_expect_eq(r, -ENOENT);
	free(path);
}

Test(config, loads_from_a_file)
{
	make_file(place.dir, "config.json", "{\"spool\": {\"root\": \"there\"}}", 0644);
	cr_assert_eq(config_load(place.path, &place.config, &place.report), 0);
	expect_in_place(place.config->path, "/config.json");
	expect_in_place(place.config->root, "/there");
}

Test(config, files_that_cannot_be_read_are_told_with_their_errno)
{
	char line[256];
	cr_expect_eq(config_load(place.path, &place.config, &place.report), -ENOENT);
	snprintf(line, sizeof line, "%s: cannot be read: No such file or directory; write it, or name "
	         "another with --config", place.path);
	cr_assert_eq(place.report.errors_n, 1);
	cr_expect_str_eq(place.report.errors[0], line);
	config_report_clear(&place.report);
	cr_expect_eq(config_load(place.dir, &place.config, &place.report), -EISDIR);
	snprintf(line, sizeof line, "%s: is a directory: name the file in it", place.dir);
	cr_expect_str_eq(place.report.errors[0], line);
	config_report_clear(&place.report);
	cr_expect_eq(config_load("/proc/self/mem", &place.config, &place.report), -EIO);
	cr_expect_null(place.config);
}

Test(config, a_file_beyond_the_limit_is_refused)
{
	make_file(place.dir, "config.json", "", 0644);
	cr_assert_eq(truncate(place.path, 1024 * 1024 + 1), 0);
	cr_expect_eq(config_load(place.path, &place.config, &place.report), -EFBIG);
	cr_expect_not_null(strstr(place.report.errors[0], "is larger than 1 MiB"));
}

Test(config, a_report_is_not_needed)
{
	cr_expect_eq(config_parse("c.json", "{", 1, &place.config, NULL), -EINVAL);
	cr_expect_null(place.config);
}

Test(config, a_client_does_not_judge_what_only_the_daemon_can)
{
	make_file(place.dir, "config.json", "{\"handler\": {\"command\": [\"/not/there\"], "
	          "\"run_as\": \"no-such-account\"}}", 0644);
	cr_expect_eq(config_load(place.path, &place.config, &place.report), -EINVAL);
	cr_expect_eq(place.report.errors_n, 2);
	config_report_clear(&place.report);
	cr_expect_eq(config_load_client(place.path, &place.config, &place.report), 0);
	cr_expect_str_eq(place.config->defaults.handler.command[0], "/not/there");
}

Test(config, the_words_of_a_setting_are_in_the_help)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	config_print_roff(out);
	config_print_markdown(out);
	fclose(out);
	cr_expect_not_null(strstr(text, ".SS handler.limits\n"));
	cr_expect_not_null(strstr(text, ".B max_retries\n"));
	cr_expect_not_null(strstr(text, "| `max_retries` | `3` | a whole number from 0 to 1000 |"));
	free(text);
}
