#include "base/log.h"
#include "spoold/request_private.h"

#include <stdlib.h>

void request_start(struct daemon *d, const struct asker *a)
{
	sched_set_running(d->sched, true);
	log_notice("jobs may start (by %s)", a->user == NULL ? "an operator" : a->user);
	answer_message(d, a, "jobs start again");
}

void request_stop(struct daemon *d, const struct asker *a)
{
	sched_set_running(d->sched, false);
	log_notice("no further job starts (by %s)", a->user == NULL ? "an operator" : a->user);
	unsigned n = pool_busy(d->pool);
	answer_message(d, a, "no further job starts, uploads are still accepted, %u running "
	               "job%s on; 'spoolctl start' lets jobs start again (so does a restart "
	               "of spoold, unless auto_start_processing is false)", n,
	               n == 1 ? " goes" : "s go");
}

void request_rescan(struct daemon *d, const struct asker *a)
{
	struct user *u;
	if (!ask_user(d, a, &u))
		return;
	if (u != NULL) {
		scan_want(d, u);
		answer_message(d, a, "incoming of %s is being looked through", u->name);
		return;
	}
	users_discover(d);
	scan_want_all(d);
	unsigned n = HASH_COUNT(d->users.by_name) - d->users.removed;
	answer_message(d, a, n == 1 ? "the incoming directory of %u user is being looked through"
	                            : "the incoming directories of %u users are being looked through", n);
}

static json_t *lines(char **texts, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(texts[i]));
	return list;
}

void request_reload(struct daemon *d, const struct asker *a)
{
	struct config_report report = {0};
	char *fixed = NULL;
	int r = daemon_reload(d, &report, &fixed);
	if (r < 0) {
		json_t *object = json_pack(
			"{s:b, s:s, s:i, s:o}", "ok", 0, "error",
			"the configuration has mistakes; the old settings stay in force", "exit",
			ANSWER_NO, "errors", lines(report.errors, report.errors_n));
		if (object != NULL)
			control_answer(d->control, a->client, object);
	} else {
		json_t *message =
			fixed == NULL
				? json_string("the new configuration is in force")
				: json_sprintf("the new configuration is in force, but for %s: that "
		                               "takes a restart", fixed);
		answer(d, a, json_pack("{s:o, s:o}", "message", message, "warnings",
		                       lines(report.warnings, report.warnings_n)));
	}
	config_report_clear(&report);
	free(fixed);
}
