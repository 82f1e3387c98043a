/* From bytes to values: JSON that libyaml alone would not take, YAML that it
 * would but we do not, limits, and places. */
#include "config_helper.h"

#include <errno.h>

static struct fixture place;

static void setup(void)
{
	place_init(&place);
}

static void teardown(void)
{
	place_clear(&place);
}

TestSuite(config_text, .init = setup, .fini = teardown);

#define expect_yaml_error(text, line)                                                              \
	do {                                                                                       \
		cr_expect_eq(parse_yaml(&place, text), -EINVAL);                                   \
		cr_expect_eq(place.report.errors_n, 1, "%zu errors: %s", place.report.errors_n,    \
		             line);                                                                \
		if (place.report.errors_n > 0)                                                     \
			cr_expect_str_eq(place.report.errors[0], line);                            \
	} while (0)

static void expect_ignore(const char *json, const char *bytes)
{
	char text[256];
	snprintf(text, sizeof text, "{\"spool\": {\"ignore\": [\"%s\"]}}", json);
	expect_good(&place, text);
	cr_expect_str_eq(place.config->defaults.ignore[0], bytes, "%s", json);
}

Test(config_text, characters_beyond_libyaml)
{
	expect_ignore("\\ud83d\\ude00", "\xf0\x9f\x98\x80");
	expect_ignore("\\uD834\\uDD1E!", "\xf0\x9d\x84\x9e!");
	expect_ignore("\\udbff\\udfff", "\xf4\x8f\xbf\xbf");
	expect_ignore("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80");
	expect_ignore("\x7f", "\x7f");
	expect_ignore("\xc2\x85", "\xc2\x85");
	expect_ignore("a \xe2\x80\xa8 z", "a \xe2\x80\xa8 z");
	expect_ignore("\xef\xbb\xbf", "\xef\xbb\xbf");
	expect_ignore("\xef\xbf\xbf", "\xef\xbf\xbf");
	expect_ignore("\\b\\f\\n\\r\\t\\\"\\\\ \\u0041\\u00e9", "\b\f\n\r\t\"\\ A\xc3\xa9");
	expect_ignore("a\\\\u0041", "a\\u0041");
	expect_ignore("  two  spaces # no comment ", "  two  spaces # no comment ");
	expect_ignore("--- {}[]:,&*!%@`", "--- {}[]:,&*!%@`");
}

Test(config_text, white_space_where_json_allows_it)
{
	expect_good(&place, "\r\n\t{\t\"spool\"\n\n:\r\n\t{ \"root\"\t:\"x\" }\n , \"routes\":[ "
	                    "]}\n\n");
	expect_good(&place, "\xef\xbb\xbf{\"users\":{\"a\":{\"max_retries\":1},\"b\":{}}}");
}

Test(config_text, places_are_those_of_the_file)
{
	/* The pair before it on the line is 12 characters, the emoji 1. */
	expect_error(&place,
	             "{\"spool\": {\"marker_suffix\": \"\\ud83d\\ude00\xf0\x9f\x98\x80\", "
	             "\"watch\": 3}}",
	             "config.json:1:55: spool.watch: expected \"auto\", \"inotify\" or \"poll\", "
	             "got 3: a text is written in quotes");
	expect_error(&place, "\xef\xbb\xbf{\"spool\":\n\n{\"watch\"\n:\n\t\t3}}",
	             "config.json:5:3: spool.watch: expected \"auto\", \"inotify\" or \"poll\", "
	             "got 3: a text is written in quotes");
	cr_expect_eq(parse(&place, "{\r\n\"\xc3\xa9\": 1, \"spool\": {\"\x7f\": 1}, \"zzzzzzzzz\": "
	                           "{}}"),
	             -EINVAL);
	cr_assert_eq(place.report.errors_n, 3);
	cr_expect_str_eq(place.report.errors[0],
		"config.json:2:1: \"\xc3\xa9\" is not a section here; there are: spool, "
		"scheduler_settings, job_processing, handler, routes, users");
	cr_expect_eq(
		strncmp(place.report.errors[1], "config.json:2:19: spool: \"\\x7f\" is not", 38), 0,
		"%s", place.report.errors[1]);
	cr_expect_eq(strncmp(place.report.errors[2], "config.json:2:28: ", 18), 0, "%s",
	             place.report.errors[2]);
}

Test(config_text, half_a_surrogate_pair)
{
	static const char *const halves[] = {"\\ud83d", "\\ude00", "\\ud83d\\u0041", "\\ud83dx",
	                                     "\\ude00\\ud83d", "\\ud83d\\"};
	for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
		char text[128];
		snprintf(text, sizeof text, "{\"spool\":\n {\"root\": \"a%s\"}}", halves[i]);
		expect_error(&place, text,
		             "config.json:2:13: is half of a surrogate pair: a character beyond "
		             "\\uffff takes two \\u after another, or is written as it is");
	}
}

Test(config_text, mistakes_of_json)
{
	expect_error(&place, "{\"spool\": {\"root\": \"x\",}}",
	             "config.json:1:24: nothing follows the comma before this: remove the comma");
	expect_error(&place, "{\"routes\": [\n],\n}",
	             "config.json:3:1: nothing follows the comma before this: remove the comma");
	expect_error(&place, "{\"spool\": {}\n \"users\": {}}",
	             "config.json:2:2: a comma is missing before this");
	expect_error(&place, "{\"spool\" {}}",
	             "config.json:1:10: a colon is expected here, between the name and its value, "
	             "not \"{\"");
	expect_error(&place, "{spool: {}}",
	             "config.json:1:2: \"spool\" is no name of JSON: put it in double quotes");
	expect_error(&place, "{\"spool\": {\"watch\": auto}}",
	             "config.json:1:21: \"auto\" is no value of JSON: put it in double quotes");
	expect_error(&place, "{\"scheduler_settings\": {\"max_retries\": 01}}",
	             "config.json:1:40: \"01\" is no number of JSON");
	expect_error(&place, "{'spool': {}}",
	             "config.json:1:2: JSON has no single quotes: use double quotes");
	expect_error(&place, "{} // done",
	             "config.json:1:4: JSON has no comments: remove it, or write the file as YAML "
	             "and name it config.yaml");
	expect_error(&place, "{\"spool\": {\"root\": \"x\ny\"}}",
	             "config.json:1:22: the text has no closing double quote on its line");
	expect_error(&place, "{\"spool\": \"x",
	             "config.json:1:11: the text has no closing double quote");
	expect_error(&place, "{\"spool\": {\"root\": \"\\x41\"}}",
	             "config.json:1:21: JSON knows no such escape: a backslash itself is written "
	             "\\\\");
	expect_error(&place, "{\"spool\": {\"root\": \"\\u12\"}}",
	             "config.json:1:21: \\u is followed by four hexadecimal digits");
	expect_error(&place, "{\"spool\": {\"root\": \"a\\u0000b\"}}",
	             "config.json:1:20: a NUL character cannot be part of a setting");
	expect_error(&place, "{\n \"spool\": {\n",
	             "config.json:2:11: the bracket opened here is never closed: } is missing");
	expect_error(&place, "{\n \"routes\": [}",
	             "config.json:2:13: the bracket of line 2 column 12 is to be closed first, "
	             "with ]");
	expect_error(&place, "{} {}",
	             "config.json:1:4: nothing more may follow the closing bracket, not "
	             "\"{\"");
	expect_error(&place, "{}}",
	             "config.json:1:3: nothing more may follow the closing bracket, not "
	             "\"}\"");
	expect_error(&place, "{\"spool\":}",
	             "config.json:1:10: a value is expected here, not \"}\"");
	expect_error(&place, "{,}",
	             "config.json:1:2: a name in double quotes or } is expected here, not \",\"");
	expect_error(&place, "{\"spool\": &a {}}",
	             "config.json:1:11: a value is expected here, not \"&\"");
	expect_error(&place, "{\"spool\": {}, \"spool\": {}}",
	             "config.json:1:15: \"spool\" is here twice (before in line 1): remove one of "
	             "them");
}

Test(config_text, nul_bytes_and_other_encodings)
{
	cr_expect_eq(parse_size(&place, "config.json", "{\"a\0\": 1}", 9), -EINVAL);
	cr_expect_not_null(strstr(place.report.errors[0], "config.json:1:4: "));
	cr_expect_eq(parse_size(&place, "config.json", "{}\0", 3), -EINVAL);
	cr_expect_eq(parse_size(&place, "config.yaml", "a\0b", 3), -EINVAL);
	cr_expect_eq(parse_size(&place, "config.json", "\xff\xfe{\0}\0", 6), -EINVAL);
	cr_expect_str_eq(place.report.errors[0], "config.json:1:1: byte \\xff is not UTF-8 here: "
	                                         "save the file with the encoding UTF-8");
	expect_error(&place, "{\"spool\": {\"root\": \"\xc3\xa4\xe4\"}}",
	             "config.json:1:22: byte \\xe4 is not UTF-8 here: save the file with the "
	             "encoding UTF-8");
	expect_error(&place, "{\"\xed\xa0\x80\": 1}",
	             "config.json:1:3: byte \\xed is not UTF-8 here: save "
	             "the file with the encoding UTF-8");
}

Test(config_text, empty_files)
{
	static const char *const empty[] = {"", " \n\t\n", "# only this\n",
	                                    "---\n# nothing\n...\n"};
	for (size_t i = 0; i < 3; i++)
		expect_error(&place, empty[i],
		             "config.json: is empty: {} would do, and means that all "
		             "settings have their defaults");
	cr_expect_eq(parse_size(&place, "c", "\xef\xbb\xbf", 3), -EINVAL);
	cr_expect_eq(parse_yaml(&place, empty[3]), 0, "one document that is left empty");
}

Test(config_text, yaml_that_is_not_taken)
{
	expect_yaml_error("spool: &s {}\n",
	                  "config.yaml:1:8: anchors (&name) are not allowed: write the value out");
	expect_yaml_error("spool: !!map {}\n",
	                  "config.yaml:1:8: tags (!name) are not allowed: remove it");
	expect_yaml_error("spool:\n  root: ! x\n",
	                  "config.yaml:2:9: tags (!name) are not allowed: remove it");
	expect_yaml_error("spool: {}\n---\nspool: {}\n",
	                  "config.yaml:2:1: a second document starts here: only one is allowed");
	expect_yaml_error("spool: {}\nspool: {}\n", "config.yaml:2:1: \"spool\" is here twice "
	                                            "(before in line 1): remove one of "
	                                            "them");
	expect_yaml_error("? [a]\n: b\n", "config.yaml:1:3: a name is expected before the colon");
	expect_yaml_error("spool: {root: \x7f}\n", "config.yaml:1:15: character U+007F cannot "
	                                           "stand here as it is: remove it, or write "
	                                           "\"\\u007f\" within double quotes");
	expect_yaml_error("spool:\n  ignore: [*.part]\n", "config.yaml:2:13: this is not YAML: did "
	                                                  "not find expected alphabetic or numeric "
	                                                  "character while scanning an alias: a "
	                                                  "text that starts with * is written in "
	                                                  "quotes");
	cr_expect_eq(parse_yaml(&place, "spool: &s {root: x}\nusers: *s\n"), -EINVAL);
	cr_assert_eq(place.report.errors_n, 2, "and nothing is said of the value that is missing");
	cr_expect_str_eq(place.report.errors[1],
	                 "config.yaml:2:8: aliases (*name) are not allowed: write the value out");
}

Test(config_text, yaml_words_by_the_core_schema)
{
	expect_yaml_error("scheduler_settings:\n  retry_failed_jobs: yes\n", "config.yaml:2:22: "
	                                                                     "scheduler_settings."
	                                                                     "retry_failed_jobs: "
	                                                                     "expected true or "
	                                                                     "false, got \"yes\"");
	expect_yaml_error("scheduler_settings:\n  max_retries: .inf\n", "config.yaml:2:16: "
	                                                                "scheduler_settings.max_"
	                                                                "retries: expected a whole "
	                                                                "number from "
	                                                                "0 to 1000, got .inf");
	expect_yaml_error("spool:\n  poll_seconds: .NaN\n", "config.yaml:2:17: spool.poll_seconds: "
	                                                    "expected a number of seconds from 0.1 "
	                                                    "to 3600, got .NaN");
	expect_yaml_error("spool:\n  settle_seconds:\n", "config.yaml:2:18: spool.settle_seconds: "
	                                                 "expected a number of seconds from 0 to "
	                                                 "86400, got nothing");
	expect_yaml_error("spool:\n  root: 2026\n", "config.yaml:2:9: spool.root: expected a path, "
	                                            "got 2026: a text is written in quotes");
	cr_assert_eq(parse_yaml(&place, "users:\n  123:\n    max_retries: 0o17\n  true: {}\n"), 0);
	cr_expect_eq(config_user(place.config, "123")->retry.max_retries, 15);
}

Test(config_text, decimal_points_do_not_depend_on_the_locale)
{
	setenv("LC_ALL", "de_DE.UTF-8", 1);
	expect_good(&place, "{\"spool\": {\"settle_seconds\": 0.5}}");
	cr_expect_eq(place.config->defaults.settle.settle_ms, 500);
}

static char *repeat(const char *head, const char *unit, size_t n, const char *tail)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	fputs(head, out);
	for (size_t i = 0; i < n; i++)
		fputs(unit, out);
	fputs(tail, out);
	fclose(out);
	return text;
}

static void expect_refused(char *text, const char *name, const char *words)
{
	cr_expect_eq(parse_size(&place, name, text, strlen(text)), -EINVAL);
	cr_assert_geq(place.report.errors_n, 1);
	cr_expect_not_null(strstr(place.report.errors[0], words), "%s", place.report.errors[0]);
	free(text);
}

Test(config_text, limits)
{
	expect_refused(repeat("{\"a\":", "[", 100000, ""), "c.json",
	               "c.json:1:37: is nested deeper than");
	expect_refused(repeat("a: ", "[", 100000, ""), "c.yaml", "is nested deeper than");
	expect_refused(repeat("", "- ", 1000, "x"), "c.yaml", "is nested deeper than");
	expect_refused(repeat("{\"a\":[0", ",0", 70000, "]}"), "c.json",
	               "holds more than 65536 values");
	expect_refused(repeat("a: [0", ",0", 70000, "]"), "c.yaml", "holds more than 65536 values");
	expect_refused(repeat("{\"", "k", 2000, "\": 1}"), "c.json",
	               "c.json:1:2: the name is longer");
	expect_refused(repeat("{\"", "\x7f", 300, "\": 1}"), "c.json",
	               "c.json:1:2: the name is longer");
	expect_refused(repeat("", "k", 2000, ": 1"), "c.yaml", "this is not YAML");
	expect_refused(repeat("{\"spool\": {\"marker_suffix\": \"", "k", 900000, "\"}}"), "c.json",
	               "is longer than 64 bytes");
	expect_refused(repeat("{}", " ", 1024 * 1024, ""), "c.json", "is larger than 1 MiB");
	expect_refused(repeat("{\"spool\": {\"root\": \"/", "k", 5000, "\"}}"), "c.json",
	               "the path is longer than 4095 bytes");
	char *text = repeat("{\"spool\": {}", " ", 1024 * 1024 - 13, "}");
	cr_expect_eq(parse(&place, text), 0, "as large as it may be");
	free(text);
}
