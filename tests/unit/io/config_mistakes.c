/* Mistakes: every kind is told with its place, what was expected, and what to
 * do; and all of them at once. */
#include "config_helper.h"

#include <errno.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct fixture place;

static void setup(void)
{
	place_init(&place);
}

static void teardown(void)
{
	place_clear(&place);
}

TestSuite(config_mistakes, .init = setup, .fini = teardown);

/* `value` for a setting, refused with `words` at the place of the value. */
static void expect_refused(const char *section, const char *key, const char *value,
                           const char *words)
{
	char text[1024], line[1024];
	size_t n =
		(size_t)snprintf(text, sizeof text, "{\"%s\":\n{\"%s\": %s}}", section, key, value);
	cr_assert_lt(n, sizeof text);
	snprintf(line, sizeof line, "config.json:2:%zu: %s.%s: %s", strlen(key) + 6, section, key,
	         words);
	expect_error(&place, text, line);
}

Test(config_mistakes, numbers)
{
	const char *s = "scheduler_settings";
	expect_refused(s, "max_retries", "\"many\"",
	               "expected a whole number from 0 to 1000, got \"many\"");
	expect_refused(s, "max_retries", "\"3\"",
	               "expected a whole number from 0 to 1000, got \"3\" in "
	               "quotes: write it without them");
	expect_refused(s, "max_retries", "-1", "expected a whole number from 0 to 1000, got -1");
	expect_refused(s, "max_retries", "1001",
	               "expected a whole number from 0 to 1000, got 1001");
	expect_refused(s, "max_retries", "1.5", "expected a whole number from 0 to 1000, got 1.5");
	expect_refused(s, "max_retries", "1e999",
	               "expected a whole number from 0 to 1000, got 1e999");
	expect_refused(s, "max_retries", "true",
	               "expected a whole number from 0 to 1000, got true");
	expect_refused(s, "max_retries", "null",
	               "expected a whole number from 0 to 1000, got null");
	expect_refused(s, "max_retries", "[]",
	               "expected a whole number from 0 to 1000, got a list");
	expect_refused(s, "max_retries", "{}",
	               "expected a whole number from 0 to 1000, got a block");
	expect_refused(s, "max_retries", "18446744073709551617",
	               "expected a whole number from 0 to 1000, got 18446744073709551617");
	expect_refused(s, "interval_minutes", "0",
	               "expected a number of minutes from 0.01 to 1440, got 0");
	expect_refused(s, "job_timeout_minutes", "-0.5",
	               "expected a number of minutes from 0 to 525600 (0 = no limit), got -0.5");
	expect_refused(s, "max_concurrent_jobs", "100000", "expected a whole number from 0 to 1024 "
	               "(0 = as many as there are CPUs), got 100000");
	expect_good(&place, "{\"scheduler_settings\": {\"max_retries\": 1e1}}");
	cr_expect_eq(place.config->defaults.retry.max_retries, 10);
}

Test(config_mistakes, words_and_texts)
{
	expect_refused("scheduler_settings", "retry_failed_jobs", "1",
	               "expected true or false, got 1");
	expect_refused("scheduler_settings", "retry_failed_jobs", "\"true\"",
	               "expected true or false, got \"true\" in quotes: write it without them");
	expect_refused("spool", "completion", "\"renam\"",
	               "expected \"auto\", \"rename\", \"marker\" or \"checksum\", got \"renam\"; did you mean "
	               "\"rename\"?");
	expect_refused("spool", "durability", "\"none of the two\"",
	               "expected \"full\" or \"relaxed\", got \"none of the two\"");
	expect_refused("job_processing", "queue_priority", "\"last_in_first_out\"",
	               "expected \"first_in_first_out\", got \"last_in_first_out\"; did you mean "
	               "\"first_in_first_out\"?");
	expect_refused("spool", "marker_suffix", "\"\"",
	               "expected a text without a slash, got \"\"");
	expect_refused("spool", "marker_suffix", "\"a/b\"",
	               "expected a text without a slash, got \"a/b\"");
	expect_refused("spool", "root", "\"\"", "expected a path, got \"\"");
	expect_refused("spool", "root", "true",
	               "expected a path, got true: a text is written in quotes");
	expect_refused("spool", "root", "\"~/spool\"", "~ is not known here: write the path out");
	expect_refused("spool", "ignore", "\"*.tmp\"",
	               "expected a list of shell patterns, like [\"*.tmp\"], got \"*.tmp\"");
}

Test(config_mistakes, elements_of_lists)
{
	expect_error(&place, "{\"spool\": {\"ignore\": [\"a\", 3]}}",
	             "config.json:1:28: spool.ignore: expected a text in the list, got 3: write it "
	             "in quotes");
	expect_error(&place, "{\"spool\": {\"ignore\": [\"\"]}}",
	             "config.json:1:23: spool.ignore: an empty pattern matches nothing: remove it");
	expect_error(&place, "{\"spool\": {\"ignore\": [\"a/*\"]}}",
	             "config.json:1:23: spool.ignore: patterns are for the name of a file without "
	             "its directory: remove the slash");
	expect_error(&place, "{\"handler\": {\"permanent_exit_codes\": [65, 0]}}",
	             "config.json:1:43: handler.permanent_exit_codes: expected a whole number from "
	             "1 to 255, got 0");
	expect_refused("handler", "permanent_exit_codes", "65",
	               "expected a list of exit codes from 1 to 255, like [65], got 65");
}

Test(config_mistakes, a_stream_command_for_one_file)
{
	static const char *const texts[] = {
		"{\"handler\": {\"command\": [\"/bin/true\", \"{user}\", \"x{file}\"], \"mode\": \"stream\"}}",
		"{\"handler\": {\"mode\": \"stream\"}}",
		"{\"handler\": {\"command\": [\"/bin/true\", \"{output}\"]}, \"routes\": [{\"match\": \"*\", "
		"\"handler\": {\"mode\": \"stream\"}}]}",
		"{\"users\": {\"alice\": {\"handler\": {\"mode\": \"stream\"}}}}",
		"{\"handler\": {\"command\": [\"/bin/true\"], \"mode\": \"stream\"}, \"routes\": [{\"match\": "
		"\"*\", \"handler\": {\"command\": [\"/bin/true\", \"{job}\"]}}]}",
		"{\"routes\": [{\"match\": \"*\", \"handler\": {\"mode\": \"stream\", \"command\": [\"/bin/true\"]}}], "
		"\"users\": {\"alice\": {\"handler\": {\"mode\": \"stream\"}}}}",
	};
	static const char *const where[] = {"handler.command", "handler.command",
		"routes[0].handler.command", "users.alice.handler.command", "routes[0].handler.command",
		"users.alice.handler.command"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		cr_expect_eq(parse(&place, texts[i]), -EINVAL, "%s", texts[i]);
		cr_expect_not_null(strstr(place.report.errors[0], where[i]), "%s", place.report.errors[0]);
		cr_expect_not_null(strstr(place.report.errors[0], "started once for many files"));
	}
	cr_expect_eq(parse(&place, "{\"handler\": {\"command\": [\"/bin/true\", \"{user}\"], "
	                   "\"mode\": \"stream\"}}"), 0);
}

Test(config_mistakes, values_in_messages_are_escaped_and_cut)
{
	expect_refused("spool", "watch", "\"\\u001b[31m\\u202e\"",
	               "expected \"auto\", \"inotify\" or \"poll\", got "
	               "\"\\x1b[31m\\xe2\\x80\\xae\"");
	char value[600] = "\"";
	for (int i = 0; i < 250; i++)
		strcat(value, "\xc3\xa9");
	strcat(value, "\"");
	cr_expect_eq(parse_size(&place, "config.json", "{\"spool\":{\"watch\":", 0), -EINVAL);
	char text[700];
	snprintf(text, sizeof text, "{\"spool\":{\"watch\":%s}}", value);
	cr_assert_eq(parse(&place, text), -EINVAL);
	const char *line = place.report.errors[0];
	cr_expect_lt(strlen(line), 250);
	cr_expect_not_null(strstr(line, "\xc3\xa9...\""), "%s", line);
}

Test(config_mistakes, unknown_keys_and_the_nearest_known_one)
{
	expect_error(&place, "{\"scheduler_settings\": {\"max_retires\": 3}}",
	             "config.json:1:25: scheduler_settings: \"max_retires\" is not a setting here; "
	             "did you mean \"max_retries\"?");
	expect_error(&place, "{\"scheduler_settings\": {\"MaxRetries\": 3}}",
	             "config.json:1:25: scheduler_settings: \"MaxRetries\" is not a setting here; "
	             "did you mean \"max_retries\"?");
	expect_error(&place, "{\n  \"spol\": {}}",
	             "config.json:2:3: \"spol\" is not a section here; did you mean \"spool\"?");
	expect_error(&place, "{\"user\": {}}",
	             "config.json:1:2: \"user\" is not a section here; did you mean \"users\"?");
	expect_error(&place, "{\"spool\": {\"max_retires\": 3}}",
	             "config.json:1:12: spool: \"max_retires\" is not a setting here; did you mean "
	             "\"max_retries\", which belongs in \"scheduler_settings\"?");
	expect_error(&place, "{\"handler\": {\"limits\": {\"memory\": 3}}}",
	             "config.json:1:25: handler.limits: \"memory\" is not a setting here; there "
	             "are: cpu_seconds, memory_mib, file_mib, open_files, processes");
	expect_error(&place, "{\"users\": {\"a\": {\"setle_seconds\": 3}}}",
	             "config.json:1:18: users.a: \"setle_seconds\" is not a setting here; did you "
	             "mean \"settle_seconds\"?");
	expect_error(&place, "{\"routes\": [{\"match\": \"*\", \"handlr\": {}, \"handler\": {}}]}",
	             "config.json:1:28: routes[0]: \"handlr\" is not a setting here; did you mean "
	             "\"handler\"?");
}

Test(config_mistakes, keys_in_the_wrong_place)
{
	expect_error(&place, "{\"spool\": {\"max_retries\": 3}}",
	             "config.json:1:12: spool: \"max_retries\" belongs in \"scheduler_settings\", "
	             "not here");
	expect_error(&place, "{\"max_retries\": 3}",
	             "config.json:1:2: \"max_retries\" belongs in \"scheduler_settings\", not "
	             "here");
	expect_error(&place, "{\"handler\": {\"open_files\": 3}}",
	             "config.json:1:14: handler: \"open_files\" belongs in \"handler.limits\", not "
	             "here");
	expect_error(&place, "{\"spool\": {\"users\": {}}}",
	             "config.json:1:12: spool: \"users\" belongs at the top, not here");
	expect_error(&place, "{\"spool\": {\"handler\": {}}}",
	             "config.json:1:12: spool: \"handler\" belongs at the top, not here");
	expect_error(&place, "{\"limits\": {}}",
	             "config.json:1:2: \"limits\" belongs in \"handler\", not here");
	expect_error(&place, "{\"users\": {\"a\": {\"limits\": {}}}}",
	             "config.json:1:18: users.a: \"limits\" belongs in \"handler\", not here");
	expect_error(&place, "{\"users\": {\"a\": {\"watch\": \"poll\"}}}",
	             "config.json:1:18: users.a: \"watch\" is about the daemon as a whole: it "
	             "belongs in \"spool\" and cannot differ between users");
	expect_error(&place, "{\"users\": {\"a\": {\"spool\": {}}}}",
	             "config.json:1:18: users.a: the settings of a user stand here by their own "
	             "names, without \"spool\" around them");
	expect_error(&place, "{\"users\": {\"a\": {\"keep_logs\": \"never\"}}}",
	             "config.json:1:18: users.a: \"keep_logs\" belongs in \"handler\", not here");
	expect_error(&place, "{\"users\": {\"a\": {\"handler\": {\"max_retries\": 1}}}}",
	             "config.json:1:30: users.a.handler: \"max_retries\" is no setting of a "
	             "handler: it belongs in \"scheduler_settings\", or directly in the block of a "
	             "user");
}

Test(config_mistakes, blocks_that_are_none)
{
	expect_error(&place, "{\"spool\": []}",
	             "config.json:1:11: spool: expected a block of settings "
	             "like {\"name\": value}, got a list");
	expect_error(&place, "{\"users\": {\"a\": 1}}",
	             "config.json:1:17: users.a: expected a block of settings like {\"name\": "
	             "value}, got 1");
	expect_error(&place, "{\"spool\": null}",
	             "config.json:1:11: spool: expected a block of settings "
	             "like {\"name\": value}, got null");
	expect_error(&place, "[]", "config.json:1:1: expected a block of settings, got a list");
	expect_error(&place, "{\"routes\": {}}",
	             "config.json:1:12: routes: expected a list of routes, like "
	             "[{\"match\": \"*.csv\", \"handler\": {...}}], got a block");
	expect_error(&place, "{\"routes\": [3]}",
	             "config.json:1:13: routes[0]: expected a block of settings like {\"name\": "
	             "value}, got 3");
}

Test(config_mistakes, routes)
{
	expect_error(&place, "{\"routes\": [{\"handler\": {}}]}",
	             "config.json:1:13: routes[0]: \"match\" is missing: the pattern for the name "
	             "of the file, like \"*.csv\"");
	expect_error(&place, "{\"routes\": [{\"match\": \"*\"}]}",
	             "config.json:1:13: routes[0]: \"handler\" is missing: the block of settings "
	             "that differ for these files");
	expect_error(&place, "{\"routes\": [{\"match\": \"a/*\", \"handler\": {}}]}",
	             "config.json:1:23: routes[0].match: expected a pattern for the name of the "
	             "file, like \"*.csv\", got \"a/*\"");
	expect_error(&place,
	             "{\"users\": {\"a\": {\"routes\": [{\"match\": \"*\", \"handler\":\n"
	             "{\"limits\": {\"open_files\": -1}}}]}}}",
	             "config.json:2:27: users.a.routes[0].handler.limits.open_files: expected a "
	             "whole number from 0 to 1048576 (0 = no limit), got -1");
	/* Told once, however many users inherit the route. */
	expect_error(&place,
	             "{\"routes\": [{\"match\": \"*\", \"handler\": {\"keep_logs\": 1}}], "
	             "\"users\": {\"a\": {\"handler\": {}}, \"b\": {\"handler\": {}}}}",
	             "config.json:1:53: routes[0].handler.keep_logs: expected \"never\", "
	             "\"failed\" or \"always\", got 1: a text is written in quotes");
}

Test(config_mistakes, names_of_users)
{
	expect_error(&place, "{\"users\": {\".a\": {}}}",
	             "config.json:1:12: users: \".a\" cannot be a user: the name starts with a "
	             "dot");
	expect_error(&place, "{\"users\": {\"a b\": {\"max_retries\": 1}}}",
	             "config.json:1:12: users: \"a b\" cannot be a user: the name has a space, "
	             "slash or backslash in it");
	expect_error(&place, "{\"users\": {\"\": {}}}",
	             "config.json:1:12: users: \"\" cannot be a user: the name is empty");
}

static void expect_command(const char *command, const char *words)
{
	char text[1024], line[1024];
	snprintf(text, sizeof text, "{\"handler\": {\"command\": %s}}", command);
	snprintf(line, sizeof line, "config.json:1:%s", words);
	expect_error(&place, text, line);
}

Test(config_mistakes, commands)
{
	char words[512];
	make_file(place.dir, "plain", "x", 0644);
	make_dir(place.dir, "dir");
	snprintf(words, sizeof words,
	         "26: handler.command: the program \"%s/not/there\" does not exist: "
	         "correct the path; it is relative to the directory of this file",
	         place.dir);
	expect_command("[\"not/there\"]", words);
	snprintf(words, sizeof words,
	         "26: handler.command: the program \"%s/plain\" is not executable: "
	         "make it executable with chmod +x",
	         place.dir);
	expect_command("[\"./plain\"]", words);
	snprintf(words, sizeof words,
	         "26: handler.command: the program \"%s/dir\" is a directory: name the "
	         "program itself",
	         place.dir);
	expect_command("[\"./dir\"]", words);
	make_file(place.dir, "script", "#!/usr/bin/pyhton3\n", 0755);
	snprintf(words, sizeof words,
	         "26: handler.command: the program \"%s/script\" cannot be run: its first line names "
	         "\"/usr/bin/pyhton3\", which is not there: correct its first line, or install the "
	         "interpreter",
	         place.dir);
	expect_command("[\"./script\"]", words);
	make_file(place.dir, "by-env", "#!/usr/bin/env pyhton3\n", 0755);
	snprintf(words, sizeof words,
	         "26: handler.command: the program \"%s/by-env\" cannot be run: its first line names "
	         "\"pyhton3\", which env does not find in PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
	         "/usr/bin:/sbin:/bin: correct its first line, install it there, or write its whole path",
	         place.dir);
	expect_command("[\"./by-env\"]", words);
	expect_command("[\"/dev/null\"]", "26: handler.command: the program \"/dev/null\" is not a "
	                                  "regular file: name the program itself");
	expect_command("[\"no-such-program-here\"]", "26: handler.command: there is no program "
	                                             "\"no-such-program-here\" in PATH: install "
	                                             "it, or write its path with a slash");
	expect_command("\"wc {file}\"", "25: handler.command: expected a list of texts, like "
	               "[\"program\", \"{file}\"], got \"wc {file}\"");
	expect_command("[]", "25: handler.command: names no program: the first element is the "
	                     "program, like in [\"/usr/bin/wc\", \"{file}\"]");
	expect_command("[\"\"]", "25: handler.command: names no program: the first element is the "
	                         "program, like in [\"/usr/bin/wc\", \"{file}\"]");
	expect_command("[\"sh\", 3]", "32: handler.command: expected a text in the list, got 3: "
	                              "write it in quotes");
	expect_command("[\"sh\", \"x{fiel}\"]", "32: handler.command: \"{fiel}\" is not a "
	                                        "placeholder; did you mean \"{file}\"? there are "
	                                        "{file}, {user}, {job}, {name} and {output}");
	expect_command("[\"sh\", \"{somethingelse}\"]", "32: handler.command: \"{somethingelse}\" "
	                                                "is not a placeholder; there are {file}, "
	                                                "{user}, {job}, {name} and {output}");
	expect_command("[\"/bin/{user}\"]", "26: handler.command: the program cannot have a "
	                                    "placeholder in its path: it is checked here and now. "
	                                    "Its arguments can; each is an element of its own, like "
	                                    "in [\"/usr/bin/wc\", \"{file}\"]");
	expect_good(&place, "{\"handler\": {\"command\": [\"sh\", \"{}\", \"{ file }\", "
	                    "\"{{file}\", \"{1}\"]}}");
}

Test(config_mistakes, a_relative_path_in_PATH_is_not_used)
{
	make_file(place.dir, "tool", "#!/bin/sh\n", 0755);
	setenv("PATH", ".::/usr/bin", 1);
	expect_command("[\"tool\"]", "26: handler.command: there is no program \"tool\" in PATH: "
	                             "install it, or write its path with a slash");
	setenv("PATH", place.dir, 1);
	expect_good(&place, "{\"handler\": {\"command\": [\"tool\"]}}");
}

Test(config_mistakes, without_any_handler_the_setting_is_named)
{
	char path[256];
	snprintf(path, sizeof path, "%s/packaging/handlers/count-records", place.dir);
	cr_assert_eq(unlink(path), 0);
	if (access("/usr/local/libexec/spoold/handlers/count-records", X_OK) == 0)
		cr_skip_test("installed here");
	cr_assert_eq(parse(&place, "{}"), -EINVAL);
	cr_assert_eq(place.report.errors_n, 1);
	cr_expect_not_null(strstr(place.report.errors[0], "config.json:1:1: handler.command: is "
	                                                  "not set"));
	cr_expect_not_null(strstr(place.report.errors[0], "set handler.command to the program"));
	/* A wrong one is the only mistake then. */
	expect_command("[]", "25: handler.command: names no program: the first element is the "
	                     "program, like in [\"/usr/bin/wc\", \"{file}\"]");
}

Test(config_mistakes, accounts)
{
	const struct passwd *me = getpwuid(geteuid());
	const char *words = "there is no account \"no-such-account\" on this system: create it, or "
	                    "use \"\" for the account of spoold or \"{user}\" for that of the user";
	char text[256];
	expect_refused("handler", "run_as", "\"no-such-account\"", words);
	cr_assert_not_null(me);
	snprintf(text, sizeof text, "{\"handler\": {\"run_as\": \"%s\"}}", me->pw_name);
	expect_good(&place, text);
	cr_expect_str_eq(place.config->defaults.handler.run_as, me->pw_name);
}

static void expect_no_switch(void)
{
	expect_refused("handler", "run_as", "\"{user}\"",
	               "spoold does not run as root and cannot switch to \"{user}\": start it as "
	               "root, or set this to \"\"");
	expect_refused("handler", "run_as", "\"root\"",
	               "spoold does not run as root and cannot switch to \"root\": start it as "
	               "root, or set this to \"\"");
}

Test(config_mistakes, switching_accounts_takes_root)
{
	if (geteuid() == 0) {
		expect_good(&place, "{\"handler\": {\"run_as\": \"{user}\"}}");
		expect_good(&place, "{\"handler\": {\"run_as\": \"nobody\"}}");
		/* mkdtemp's directory is for root alone. */
		cr_assert_eq(chmod(place.dir, 0755), 0);
		/* So may the source be, below /root. */
		cr_assert_eq(chdir("/"), 0);
		cr_assert_eq(seteuid(65534), 0);
		expect_no_switch();
		cr_assert_eq(seteuid(0), 0);
	} else {
		expect_no_switch();
	}
}

Test(config_mistakes, paths_that_cannot_be)
{
	expect_error(&place, "{\"spool\": {\"root\": \"a\", \"index\": \"./a/\"}}",
	             "config.json:1:34: spool.index: is the same directory as spool.root: use a "
	             "directory of its own, like .spoold/index in it");
	expect_error(&place, "{\"spool\": {\"socket\": \"spool\"}}",
	             "config.json:1:22: spool.socket: is the same path as spool.root or "
	             "spool.index: use one of its own, like .spoold/control.sock in the root");
	make_dir(place.dir, "real");
	char link[256];
	snprintf(link, sizeof link, "%s/link", place.dir);
	cr_assert_eq(symlink("real", link), 0);
	cr_expect_eq(parse(&place, "{\"spool\": {\"root\": \"real\", \"index\": \"link\"}}"),
	             -EINVAL);
}

Test(config_mistakes, a_socket_path_has_a_limit)
{
	char text[300], path[109];
	memset(path, 'x', sizeof path);
	path[0] = '/';
	path[107] = '\0';
	snprintf(text, sizeof text, "{\"spool\": {\"socket\": \"%s\"}}", path);
	expect_good(&place, text);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	cr_assert_lt(strlen(place.config->socket), sizeof address.sun_path);
	path[107] = 'x';
	path[108] = '\0';
	snprintf(text, sizeof text, "{\"spool\": {\"socket\": \"%s\"}}", path);
	expect_error(&place, text,
	             "config.json:1:22: spool.socket: its path has 108 bytes, but a socket can "
	             "have 107: set spool.socket to a shorter path, like /run/spoold/control.sock");
	/* By way of the root, at the place where that is set. */
	path[100] = '\0';
	snprintf(text, sizeof text, "{\"spool\": {\"root\": \"%s\"}}", path);
	cr_assert_eq(parse(&place, text), -EINVAL);
	cr_expect_eq(strncmp(place.report.errors[0], "config.json:1:20: spool.socket: ", 32), 0);
}

Test(config_mistakes, all_are_told_at_once_in_the_order_of_the_file)
{
	cr_assert_eq(parse(&place, "{\n"
	                           "  \"users\": {\"-x\": {\"completion\": 1}},\n"
	                           "  \"spool\": {\"watch\": \"atuo\", \"watch\": \"poll\", "
	                           "\"rot\": \"x\"},\n"
	                           "  \"scheduler_settings\": {\"max_retries\": \"many\", "
	                           "\"max_concurrent_jobs_per_user\": 5},\n"
	                           "  \"handler\": {\"command\": [\"/none\", \"{fil}\"], "
	                           "\"limits\": []},\n"
	                           "  \"extra\": 1\n"
	                           "}\n"),
	             -EINVAL);
	static const char *const starts[] = {
		"config.json:2:13: users: \"-x\" cannot be a user",
		"config.json:2:34: users.-x.completion: expected",
		"config.json:3:22: spool.watch: expected",
		"config.json:3:30: \"watch\" is here twice",
		"config.json:3:47: spool: \"rot\" is not a setting here; did you mean \"root\"?",
		"config.json:4:41: scheduler_settings.max_retries: expected",
		"config.json:5:27: handler.command: the program \"/none\" does not exist",
		"config.json:5:36: handler.command: \"{fil}\" is not a placeholder",
		"config.json:5:56: handler.limits: expected a block",
		"config.json:6:3: \"extra\" is not a section",
	};
	size_t n = sizeof starts / sizeof *starts;
	cr_assert_eq(place.report.errors_n, n, "%zu", place.report.errors_n);
	for (size_t i = 0; i < n; i++)
		cr_expect_eq(strncmp(place.report.errors[i], starts[i], strlen(starts[i])), 0, "%s",
		             place.report.errors[i]);
	cr_expect_eq(place.report.warnings_n, 1);
}

Test(config_mistakes, beyond_a_number_of_them_the_rest_is_counted)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	fputs("{\"users\": {", out);
	for (int i = 0; i < 500; i++)
		fprintf(out, "%s\"u%d\": 1", i > 0 ? "," : "", i);
	fputs("}}", out);
	fclose(out);
	cr_assert_eq(parse(&place, text), -EINVAL);
	free(text);
	cr_assert_eq(place.report.errors_n, CONFIG_REPORT_MAX + 1);
	cr_expect_str_eq(place.report.errors[CONFIG_REPORT_MAX],
	                 "config.json: and 300 more mistakes: mend the ones above first");
}

Test(config_mistakes, a_failure_leaves_what_was_there)
{
	struct config *config = (struct config *)&place;
	struct config_report report = {0};
	cr_expect_eq(config_parse("c.json", "{\"x\": 1}", 8, &config, &report), -EINVAL);
	cr_expect_eq(config, (struct config *)&place);
	config_report_clear(&report);
}
