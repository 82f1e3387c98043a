#include "spoolctl/client.h"
#include "spoolctl/doctor.h"
#include "spoolctl/view.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_TIMEOUT_MS = 30 * 1000, LABEL_COLUMNS = 9 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	(void)key;
	(void)arg;
	(void)state;
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	.parser = parse,
	.doc = "Examines configuration, spool, index, limits and handlers, with or without spoold; "
	       "says what is wrong and what to do. Changes nothing. The exit code is 1 where there "
	       "are errors.\v"
	       "Example: spoolctl doctor",
};

static void show(const struct doctor *d, enum finding_level level, const char *what,
                 const char *mend)
{
	static const char *const words[] = {"ok", "note", "warning", "error"};
	static const enum tint tints[] = {TINT_GREEN, TINT_NONE, TINT_YELLOW, TINT_RED};
	enum tint tint = d->ctl->look.colored ? tints[level] : TINT_NONE;
	json_t *o = json_pack("{s:s,s:s,s:s?}", "level", words[level], "what", what, "mend", mend);
	json_array_append_new(d->findings, ctl_need(o));
	if (d->ctl->json)
		return;
	char *text = view_fold(&d->ctl->look, LABEL_COLUMNS, what);
	printf("%s%-*s%s%s\n", tint_on(tint), LABEL_COLUMNS, words[level], tint_off(tint), text);
	free(text);
	if (mend != NULL) {
		text = view_fold(&d->ctl->look, LABEL_COLUMNS, mend);
		printf("%*s%s\n", LABEL_COLUMNS, "", text);
		free(text);
	}
	fflush(stdout);
}

void doctor_say(struct doctor *d, enum finding_level level, const char *mend, const char *format,
                ...)
{
	char *what = NULL;
	va_list args;
	d->errors += level == FINDING_ERROR;
	d->warnings += level == FINDING_WARNING;
	if (d->in_kind && ++d->of_kind > DOCTOR_SHOWN_OF_KIND)
		return;
	va_start(args, format);
	if (vasprintf(&what, format, args) < 0)
		what = NULL;
	va_end(args);
	show(d, level, ctl_need(what), mend);
	free(what);
}

void doctor_kind(struct doctor *d)
{
	d->in_kind = true;
	d->of_kind = 0;
}

void doctor_kind_end(struct doctor *d)
{
	char what[64];
	if (d->of_kind > DOCTOR_SHOWN_OF_KIND) {
		snprintf(what, sizeof what, "and %u more like these", d->of_kind - DOCTOR_SHOWN_OF_KIND);
		show(d, FINDING_WARNING, what, NULL);
	}
	d->in_kind = false;
}

bool doctor_is_first(struct doctor *d, const char *account, const char *what)
{
	char *name = ctl_escape(account), *path = ctl_escape(what), *key = NULL;
	ctl_need(asprintf(&key, "%s %s", name, path) < 0 ? NULL : key);
	bool first = json_object_get(d->known, key) == NULL;
	json_object_set_new(d->known, key, ctl_need(json_true()));
	free(key);
	free(path);
	free(name);
	return first;
}

static void say_report(struct doctor *d, const struct config_report *report)
{
	for (size_t i = 0; i < report->errors_n; i++)
		doctor_say(d, FINDING_ERROR, NULL, "%s", report->errors[i]);
	for (size_t i = 0; i < report->warnings_n; i++)
		doctor_say(d, FINDING_WARNING, NULL, "%s", report->warnings[i]);
}

/* As spoold --check-config says them: where there are any, handlers and accounts are not
 * examined later. `known` is for a file that was mended meanwhile. */
static void say_mistakes(struct doctor *d, const struct config_report *known)
{
	struct config_report report = {0};
	struct config *config = NULL;
	config_load(d->ctl->config_path, &config, &report);
	say_report(d, report.errors_n > 0 ? &report : known);
	config_report_clear(&report);
	config_free(config);
}

static bool examine_config(struct doctor *d)
{
	struct ctl *ctl = d->ctl;
	struct config_report report = {0};
	int r = config_find(ctl->config_option, &ctl->config_path);
	if (r < 0) {
		doctor_say(d, FINDING_ERROR, "name it with --config FILE, or write /etc/spoold/config.json",
		           "there is no configuration");
		return false;
	}
	r = config_load_client(ctl->config_path, &ctl->config, &report);
	char *path = ctl_escape(ctl->config_path);
	if (report.errors_n > 0)
		say_mistakes(d, &report);
	else
		say_report(d, &report);
	if (r == 0)
		doctor_say(d, FINDING_OK, NULL, "the configuration %s has no mistakes", path);
	else if (report.errors_n == 0)
		doctor_say(d, FINDING_ERROR, NULL, "the configuration %s cannot be read: %s", path,
		           strerror(-r));
	free(path);
	config_report_clear(&report);
	if (r < 0)
		return false;
	ctl->root = ctl_need(strdup(ctl->config->root));
	ctl->socket = ctl_need(strdup(ctl->socket_option != NULL ? ctl->socket_option
	                                                         : ctl->config->socket));
	return true;
}

/* A status without users would do, but each user's own is all that may be
 * seen by it. */
static void find_daemon(struct doctor *d)
{
	json_t *answer = NULL, *request;
	int r = mounts_ask(ctl_mounts(d->ctl), d->ctl->socket, NULL, true);
	if (r == 0)
		r = client_open(d->ctl->socket, &d->ctl->client);
	if (r < 0)
		return;
	request = ctl_request("status");
	r = client_call(d->ctl->client, request, ANSWER_TIMEOUT_MS, &answer);
	json_decref(request);
	if (r < 0)
		doctor_say(d, FINDING_ERROR, "see its log", "spoold does not answer: %s", strerror(-r));
	else if (json_is_object(json_object_get(answer, "daemon")))
		d->daemon = json_incref(json_object_get(answer, "daemon"));
	json_decref(answer);
}

static void print_summary(const struct doctor *d)
{
	if (d->ctl->json)
		ctl_print_json(d->ctl, json_pack("{s:O,s:i,s:i}", "findings", d->findings, "errors",
		                                 (int)d->errors, "warnings", (int)d->warnings));
	else if (d->errors + d->warnings == 0)
		puts("\nAll is well.");
	else
		printf("\n%u error%s, %u warning%s.\n", d->errors, d->errors == 1 ? "" : "s", d->warnings,
		       d->warnings == 1 ? "" : "s");
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct doctor d = {.ctl = ctl};
	if (!ctl_parse(ctl, &argp, argc, argv, NULL))
		return CTL_USAGE;
	d.findings = ctl_need(json_array());
	d.known = ctl_need(json_object());
	if (examine_config(&d)) {
		find_daemon(&d);
		doctor_spool(&d);
		doctor_index(&d);
		doctor_system(&d);
	}
	print_summary(&d);
	index_close(d.index);
	tree_close(d.tree);
	json_decref(d.known);
	json_decref(d.findings);
	bool running = d.daemon != NULL;
	json_decref(d.daemon);
	if (d.errors > 0)
		return CTL_NO;
	return running ? CTL_OK : CTL_NO_DAEMON;
}

const struct cmd cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "what is wrong, and what to do",
	.run = run,
};
