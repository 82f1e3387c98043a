/* The configuration: any bytes load, or are refused in words. What loads can be
 * printed, and what is printed loads again and means the same. */
#include "io/config_private.h"

#include "fuzz.h"

/* A directory with handlers, whose names are easy to hit upon. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	scratch_mkdir("packaging");
	scratch_mkdir("packaging/handlers");
	scratch_write("packaging/handlers/count-records", "#!/bin/sh\n", 10, 0755);
	scratch_write("h", "#!/bin/sh\n", 10, 0755);
	scratch_write("not-executable", "#!/bin/sh\n", 10, 0644);
	MUST(setenv("PATH", "/bin:.", 1) == 0);
	return 0;
}

static bool same_list(char **a, char **b)
{
	for (; *a != NULL && *b != NULL; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return *a == NULL && *b == NULL;
}

static bool same_handler(const struct handler *a, const struct handler *b)
{
	return same_list(a->command, b->command) && a->mode == b->mode &&
	       same_text(a->run_as, b->run_as) &&
	       a->permanent_exit_codes_n == b->permanent_exit_codes_n &&
	       (a->permanent_exit_codes_n == 0 ||
	        memcmp(a->permanent_exit_codes, b->permanent_exit_codes,
	               a->permanent_exit_codes_n * sizeof *a->permanent_exit_codes) == 0) &&
	       a->kill_grace_ms == b->kill_grace_ms && a->keep_logs == b->keep_logs &&
	       a->log_limit_bytes == b->log_limit_bytes &&
	       memcmp(&a->limits, &b->limits, sizeof a->limits) == 0;
}

static bool same_policies(const struct user_settings *a, const struct user_settings *b)
{
	const struct retry_policy *r = &a->retry, *s = &b->retry;
	return a->settle.completion == b->settle.completion &&
	       a->settle.settle_ms == b->settle.settle_ms && r->enabled == s->enabled &&
	       r->max_retries == s->max_retries && r->delay_ms == s->delay_ms &&
	       r->position == s->position && r->on_crash == s->on_crash &&
	       r->max_total_ms == s->max_total_ms;
}

static bool same_settings(const struct user_settings *a, const struct user_settings *b)
{
	bool same = same_policies(a, b) && same_text(a->marker_suffix, b->marker_suffix) &&
	            same_list(a->ignore, b->ignore) && a->single_job == b->single_job &&
	            a->max_jobs == b->max_jobs && a->max_running == b->max_running &&
	            a->timeout_ms == b->timeout_ms && a->on_final_failure == b->on_final_failure &&
	            a->keep_done_ms == b->keep_done_ms && a->keep_failed_ms == b->keep_failed_ms &&
	            same_handler(&a->handler, &b->handler) && a->routes_n == b->routes_n;
	for (size_t i = 0; same && i < a->routes_n; i++)
		same = strcmp(a->routes[i].match, b->routes[i].match) == 0 &&
		       same_handler(&a->routes[i].handler, &b->routes[i].handler);
	return same;
}

static void must_be_same(const struct config *a, const struct config *b)
{
	MUST(a->watch == b->watch && a->poll_ms == b->poll_ms && a->durability == b->durability &&
	     a->interval_ms == b->interval_ms && a->max_jobs == b->max_jobs &&
	     a->max_concurrent == b->max_concurrent && a->auto_start == b->auto_start &&
	     a->stop_grace_ms == b->stop_grace_ms && a->users_n == b->users_n);
	MUST(strcmp(a->root, b->root) == 0 && strcmp(a->index, b->index) == 0 &&
	     strcmp(a->socket, b->socket) == 0);
	MUST(same_settings(&a->defaults, &b->defaults));
	MUST(config_user(a, "nobody in particular") == &a->defaults);
	for (size_t i = 0; i < a->users_n; i++) {
		const char *name = a->users[i].name;
		MUST(strcmp(name, b->users[i].name) == 0);
		MUST(same_settings(config_user(a, name), config_user(b, name)));
		MUST(settings_handler(config_user(a, name), "x.csv") != NULL);
	}
	char *changes = config_fixed_changes(a, b);
	MUST(changes == NULL);
}

static char *print(const struct config *config)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	MUST(out != NULL && config_print(config, out) == 0 && fclose(out) == 0);
	return text;
}

/* Sentences for people, each with its place in the file. */
static void judge_report(const struct config_report *report, const char *name)
{
	MUST(report->errors_n <= CONFIG_REPORT_MAX + 1);
	for (size_t i = 0; i < report->errors_n; i++)
		MUST(strncmp(report->errors[i], name, strlen(name)) == 0 &&
		     is_harmless(report->errors[i], ""));
	for (size_t i = 0; i < report->warnings_n; i++)
		MUST(is_harmless(report->warnings[i], ""));
}

static void judge(const struct config *config, const char *name)
{
	struct config *again = NULL;
	struct config_report report = {0};
	char *text = print(config);
	MUST(is_harmless(text, "\n"));
	int r = config_parse(name, text, strlen(text), &again, &report);
	if (r < 0)
		fprintf(stderr, "%s\n%s\n", text, report.errors_n > 0 ? report.errors[0] : "");
	MUST(r == 0);
	must_be_same(config, again);
	char *second = print(again);
	MUST(strcmp(text, second) == 0);
	free(second);
	free(text);
	config_free(again);
	config_report_clear(&report);
}

static void load(const char *name, const uint8_t *data, size_t size)
{
	struct config *config = NULL;
	struct config_report report = {0};
	int r = config_parse(name, (const char *)data, size, &config, &report);
	MUST(r == 0 || r == -EINVAL);
	MUST((r == 0) == (config != NULL) && (r == 0) == (report.errors_n == 0));
	judge_report(&report, name);
	if (r == 0)
		judge(config, name);
	config_free(config);
	config_report_clear(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char before[4096];
	if (size > 65536)
		return 0;
	/* Only while at work: a fuzzer finds its own files by relative paths. */
	MUST(getcwd(before, sizeof before) != NULL && chdir(scratch()) == 0);
	load("config.json", data, size);
	load("config.yaml", data, size);
	MUST(chdir(before) == 0);
	return 0;
}
