/* Printing: what was loaded comes back, and what is made from the table is
 * what is shipped ("make docs" writes it anew). */
#include "config_helper.h"

static struct fixture place;

static void setup(void)
{
	place_init(&place);
}

static void teardown(void)
{
	place_clear(&place);
}

TestSuite(config_print, .init = setup, .fini = teardown);

/* Parses what was printed, in another directory, and prints again. */
static void expect_round_trip(void)
{
	struct config_report report = {0};
	struct config *again = NULL;
	char *first = printed(place.config);
	int r = config_parse("/elsewhere/c.json", first, strlen(first), &again, &report);
	if (r < 0)
		print_report(&report);
	cr_assert_eq(r, 0);
	char *second = printed(again);
	cr_expect_str_eq(first, second);
	char *changes = config_fixed_changes(place.config, again);
	cr_expect_null(changes);
	free(first);
	free(second);
	config_free(again);
	config_report_clear(&report);
}

Test(config_print, defaults_come_back)
{
	expect_good(&place, "{}");
	expect_round_trip();
}

Test(config_print, everything_comes_back)
{
	cr_assert_eq(parse(&place, "{\"spool\": {\"ignore\": [\"\\ud83d\\ude00\", "
	                           "\"\\u007f\\u0085\\u2028\\ufeff\\ufffe\\\"\\\\\"], "
	                           "\"settle_seconds\": 0.1, \"watch\": "
	                           "\"inotify\"},\"scheduler_settings\": {\"max_concurrent_jobs\": "
	                           "0, \"max_concurrent_jobs_per_user\": 3, "
	                           "\"job_timeout_minutes\": 0.0001, \"cleanup_failed_jobs_days\": "
	                           "36499.99999999},\"handler\": {\"permanent_exit_codes\": [], "
	                           "\"log_limit_kib\": 1.001, \"limits\": {\"memory_mib\": "
	                           "16777215.9999}},\"routes\": [{\"match\": \"*.csv\", "
	                           "\"handler\": {\"log_limit_kib\": 1}}],\"users\": {\"alice\": "
	                           "{\"handler\": {\"keep_logs\": \"never\", \"limits\": "
	                           "{\"processes\": 1}}}, \"bob\": {\"routes\": [], "
	                           "\"single_job_per_user\": false}, \"\xc3\xa9mile\": "
	                           "{\"retry_position\": \"back\"}, \"none\": {}}}"),
	             0);
	cr_expect_str_eq(place.config->defaults.ignore[0], "\xf0\x9f\x98\x80");
	expect_round_trip();
	/* A copy of the structures, not only of the text. */
	struct config *old = place.config;
	place.config = NULL;
	char *text = printed(old);
	cr_assert_eq(parse(&place, text), 0);
	free(text);
	const struct user_settings *a = &old->defaults, *b = &place.config->defaults;
	cr_expect_eq(a->timeout_ms, b->timeout_ms);
	cr_expect_eq(a->keep_failed_ms, b->keep_failed_ms);
	cr_expect_eq(a->handler.limits.memory_bytes, b->handler.limits.memory_bytes);
	cr_expect_eq(config_user(place.config, "alice")->handler.limits.processes, 1);
	const struct handler *h = settings_handler(config_user(place.config, "alice"), "x.csv");
	cr_expect_eq(h->log_limit_bytes, 1024);
	cr_expect_eq(h->keep_logs, KEEP_LOGS_NEVER);
	cr_expect_eq(config_user(place.config, "bob")->max_running, 3);
	cr_expect_eq(config_user(place.config, "bob")->routes_n, 0);
	config_free(old);
}

Test(config_print, numbers_are_printed_as_they_were_written)
{
	expect_good(&place, "{\"spool\": {\"settle_seconds\": 0.1}, \"scheduler_settings\": "
	                    "{\"interval_minutes\": 0.5}}");
	char *text = printed(place.config);
	cr_expect_not_null(strstr(text, "\"settle_seconds\": 0.1,"));
	cr_expect_not_null(strstr(text, "\"interval_minutes\": 0.5,"));
	cr_expect_not_null(strstr(text, "\"max_retries\": 3,"));
	free(text);
}

Test(config_print, a_path_that_is_no_utf8_is_printed_escaped)
{
	const char *text = "{\"handler\": {\"command\": [\"/bin/sh\"]}}";
	cr_assert_eq(
		config_parse("/srv/\xff/c.json", text, strlen(text), &place.config, &place.report),
		0);
	char *all = printed(place.config);
	cr_expect_not_null(strstr(all, "\"root\": \"/srv/\\\\xff/spool\""), "%s", all);
	free(all);
}

/* It goes to a terminal, or into a config.yaml. */
Test(config_print, what_a_terminal_would_obey_is_written_with_backslashes)
{
	expect_good(&place, "{\"spool\": {\"marker_suffix\": "
	                    "\".\\u0085\\u202e\\u007f\\ufeff\\u00e9\\ud83d\\ude00\"}}");
	char *first = printed(place.config);
	cr_expect_not_null(strstr(first, "\".\\u0085\\u202e\\u007f\\ufeff\xc3\xa9\xf0\x9f\x98\x80\""), "%s", first);
	cr_assert_eq(parse_yaml(&place, first), 0);
	cr_expect_str_eq(place.config->defaults.marker_suffix,
	                 ".\xc2\x85\xe2\x80\xae\x7f\xef\xbb\xbf\xc3\xa9\xf0\x9f\x98\x80");
	free(first);
}

Test(config_print, what_takes_a_restart_is_named)
{
	struct config_report report = {0};
	struct config *other = NULL;
	const char *text = "{\"spool\": {\"index\": \"elsewhere\", \"durability\": \"relaxed\", "
	                   "\"watch\": \"poll\"}, \"scheduler_settings\": {\"max_retries\": 1}}";
	expect_good(&place, "{}");
	cr_assert_eq(config_parse(place.path, text, strlen(text), &other, &report), 0);
	char *changes = config_fixed_changes(place.config, other);
	cr_assert_not_null(changes);
	cr_expect_str_eq(changes, "spool.index, spool.durability");
	free(changes);
	config_free(other);
	config_report_clear(&report);
}

/* What `print` writes. */
static char *made_by(void (*print)(FILE *))
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	cr_assert_not_null(out);
	print(out);
	fclose(out);
	return text;
}

Test(config_print, the_shipped_schema_is_current)
{
	char *text = made_by(config_print_schema);
	char *shipped = read_source("packaging/config.schema.json");
	cr_expect(strcmp(text, shipped) == 0,
	          "packaging/config.schema.json is old: run \"make docs\"");
	free(shipped);
	free(text);
}

Test(config_print, the_manual_page_is_current)
{
	char *text = made_by(config_print_roff);
	char *page = read_source("packaging/man/spoold.json.5");
	char *begin = strstr(page, "\n.\\\" settings: written by");
	char *end = strstr(page, "\n.\\\" settings: end\n");
	cr_assert(begin != NULL && end != NULL && begin < end, "the marks of the settings are gone");
	begin = strchr(begin + 1, '\n') + 1;
	end[1] = '\0';
	cr_expect(strcmp(text, begin) == 0,
	          "packaging/man/spoold.json.5 is old: run \"make docs\"");
	free(page);
	free(text);
}
