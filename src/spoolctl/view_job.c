#include "spoolctl/view.h"

#include "base/clock.h"
#include "base/human.h"
#include "base/text.h"
#include "core/job.h"

#include <stdlib.h>
#include <string.h>

static enum tint state_tint(const char *state)
{
	enum job_state s;
	if (!job_state_parse(state, &s))
		return TINT_NONE;
	switch (s) {
	case JOB_QUEUED:
	case JOB_PROCESSING: return TINT_GREEN;
	case JOB_PENDING: return TINT_CYAN;
	case JOB_HELD: return TINT_YELLOW;
	case JOB_FAILED: return TINT_RED;
	case JOB_CANCELED: return TINT_DIM;
	default: return TINT_NONE;
	}
}

static bool is_state(const json_t *job, enum job_state state)
{
	return strcmp(view_text(job, "state"), job_state_name(state)) == 0;
}

static void print_records(const json_t *o, FILE *out)
{
	if (view_has(o, "records"))
		fprintf(out, ", %lld record%s", (long long)view_number(o, "records"),
		        view_number(o, "records") == 1 ? "" : "s");
}

/* What is worth saying about a job in a list. */
static char *note(const json_t *job, uint64_t now_ms)
{
	char *text = NULL, duration[HUMAN_SIZE];
	size_t n;
	FILE *out = ctl_need(open_memstream(&text, &n));
	uint64_t started_ms = view_time_ms(job, "started_at");
	uint64_t finished_ms = view_time_ms(job, "finished_at");
	uint64_t not_before_ms = view_time_ms(job, "not_before");
	if (is_state(job, JOB_PROCESSING)) {
		if (started_ms > 0 && now_ms >= started_ms)
			fprintf(out, "for %s", human_duration(now_ms - started_ms, duration));
		if (view_number(job, "attempt") > 1)
			fprintf(out, ", attempt %lld", (long long)view_number(job, "attempt"));
	} else if (is_state(job, JOB_DONE)) {
		if (started_ms > 0 && finished_ms >= started_ms)
			fprintf(out, "took %s", human_duration(finished_ms - started_ms, duration));
		print_records(job, out);
	} else if (is_state(job, JOB_PENDING) && not_before_ms > now_ms) {
		fprintf(out, "again in %s: ", human_duration(not_before_ms - now_ms, duration));
		fputs(view_text(job, "error"), out);
	} else {
		fputs(view_text(job, "error"), out);
	}
	fclose(out);
	return ctl_need(text);
}

/* A new string: a directory that is one job ends in a slash, as in listings of files. */
static char *shown_name(const json_t *job)
{
	char *text = NULL;
	bool directory = json_is_true(json_object_get(job, "directory"));
	if (asprintf(&text, "%s%s", view_text(job, "name"), directory ? "/" : "") < 0)
		text = NULL;
	return ctl_need(text);
}

void view_list(const struct ctl *ctl, const json_t *jobs, bool with_user, FILE *out)
{
	static const struct table_column columns[] = {
		{.title = "JOB", .right = true},
		{.title = "USER", .min = 8, .drop = 2},
		{.title = "STATE"},
		{.title = "SINCE", .drop = 3},
		{.title = "SIZE", .right = true, .drop = 4},
		{.title = "NAME", .min = 12},
		{.title = "NOTE", .min = 12, .sentence = true, .drop = 1},
	};
	static const struct table_column of_one_user[] = {
		{.title = "JOB", .right = true},
		{.title = "STATE"},
		{.title = "SINCE", .drop = 3},
		{.title = "SIZE", .right = true, .drop = 4},
		{.title = "NAME", .min = 12},
		{.title = "NOTE", .min = 12, .sentence = true, .drop = 1},
	};
	struct table *t = ctl_need(with_user ? table_new(columns, 7) : table_new(of_one_user, 6));
	uint64_t now_ms = clock_wall_ms();
	const json_t *job;
	size_t i;
	json_array_foreach(jobs, i, job) {
		char id[24], size[HUMAN_SIZE], since[VIEW_WHEN_SIZE];
		const char *state = view_text(job, "state");
		uint64_t final_ms = view_time_ms(job, "finished_at");
		uint64_t since_ms = final_ms > 0 ? final_ms : view_time_ms(job, "accepted_at");
		char *remark = note(job, now_ms), *name = shown_name(job);
		snprintf(id, sizeof id, "%lld", (long long)view_number(job, "job"));
		const char *cells[] = {
			id, view_text(job, "user"), state, view_when_short(since_ms, now_ms, since),
			human_bytes((uint64_t)view_number(job, "size"), size), name, remark,
		};
		enum tint tints[7] = {TINT_NONE, TINT_NONE, state_tint(state)};
		if (!with_user) {
			memmove(&cells[1], &cells[2], 5 * sizeof cells[0]);
			memmove(&tints[1], &tints[2], 5 * sizeof tints[0]);
		}
		ctl_need(table_add(t, cells, tints) < 0 ? NULL : t);
		free(remark);
		free(name);
	}
	ctl_need(table_print(t, &ctl->look, out) < 0 ? NULL : t);
	table_free(t);
}

enum { KEY_COLUMNS = 11 };

static void print_field(const struct look *look, const char *key, const char *value, FILE *out)
{
	enum tint tint = look->colored ? TINT_DIM : TINT_NONE;
	if (*value != '\0')
		fprintf(out, "%s%-*s%s%s\n", tint_on(tint), KEY_COLUMNS, key, tint_off(tint), value);
}

/* On a terminal all its lines are beside the key. */
static void print_folded(const struct look *look, const char *key, const char *value, FILE *out)
{
	char *lines = view_fold(look, KEY_COLUMNS, value);
	print_field(look, key, lines, out);
	free(lines);
}

/* What the index knows by its place in the spool is shown as what is to be found. */
static void print_path(const struct ctl *ctl, const char *path, FILE *out)
{
	bool whole = *path == '/' || *path == '\0' || ctl->root == NULL;
	char *root = whole ? NULL : ctl_escape(ctl->root), *text = NULL;
	ctl_need(asprintf(&text, "%s%s%s", whole ? "" : root, whole ? "" : "/", path) < 0 ? NULL : text);
	print_folded(&ctl->look, "file", text, out);
	free(text);
	free(root);
}

static void print_when(const struct look *look, const char *key, const json_t *o, const char *field,
                       FILE *out)
{
	char when[VIEW_WHEN_SIZE];
	print_field(look, key, view_when(view_time_ms(o, field), when), out);
}

static void print_count(const struct look *look, const char *key, const json_t *o,
                        const char *field, FILE *out)
{
	char text[24];
	if (!view_has(o, field))
		return;
	snprintf(text, sizeof text, "%lld", (long long)view_number(o, field));
	print_field(look, key, text, out);
}

static void add_attempt(struct table *t, const json_t *a)
{
	char number[24], when[VIEW_WHEN_SIZE], ran[HUMAN_SIZE] = "", code[24] = "", records[24] = "";
	uint64_t started_ms = view_time_ms(a, "started_at");
	uint64_t finished_ms = view_time_ms(a, "finished_at");
	const char *error = view_text(a, "error"), *outcome = view_text(a, "outcome");
	snprintf(number, sizeof number, "%lld", (long long)view_number(a, "number"));
	if (started_ms > 0 && finished_ms >= started_ms)
		human_duration(finished_ms - started_ms, ran);
	if (view_has(a, "exit_code"))
		snprintf(code, sizeof code, "%lld", (long long)view_number(a, "exit_code"));
	if (view_has(a, "records"))
		snprintf(records, sizeof records, "%lld", (long long)view_number(a, "records"));
	const char *cells[] = {
		number, view_when(started_ms, when), ran, outcome, code, records,
		*error != '\0' ? error : view_text(a, "message"),
	};
	enum tint tints[7] = {TINT_NONE};
	if (strcmp(outcome, outcome_name(OUTCOME_SUCCEEDED)) == 0)
		tints[3] = TINT_GREEN;
	else if (strcmp(outcome, outcome_name(OUTCOME_NONE)) != 0)
		tints[3] = TINT_RED;
	ctl_need(table_add(t, cells, tints) < 0 ? NULL : t);
}

static void print_attempts(const struct look *look, const json_t *attempts, FILE *out)
{
	static const struct table_column columns[] = {
		{.title = "ATTEMPT", .right = true},
		{.title = "STARTED", .drop = 1},
		{.title = "RAN", .right = true, .drop = 2},
		{.title = "OUTCOME"},
		{.title = "EXIT", .right = true, .drop = 3},
		{.title = "RECORDS", .right = true, .drop = 4},
		{.title = "NOTE", .min = 12, .sentence = true},
	};
	struct table *t = ctl_need(table_new(columns, 7));
	const json_t *attempt;
	size_t i;
	json_array_foreach(attempts, i, attempt)
		add_attempt(t, attempt);
	fputc('\n', out);
	ctl_need(table_print(t, look, out) < 0 ? NULL : t);
	table_free(t);
}

static void print_state(const struct look *look, const json_t *job, FILE *out)
{
	const char *state = view_text(job, "state");
	enum tint tint = look->colored ? state_tint(state) : TINT_NONE;
	char *tinted = NULL;
	if (asprintf(&tinted, "%s%s%s", tint_on(tint), view_state(state), tint_off(tint)) < 0)
		tinted = NULL;
	print_field(look, "state", ctl_need(tinted), out);
	free(tinted);
}

void view_job(const struct ctl *ctl, const json_t *job, FILE *out)
{
	const struct look *look = &ctl->look;
	char size[HUMAN_SIZE], spent[HUMAN_SIZE], percent[16] = "";
	int progress = view_percent(job, "progress");
	if (progress >= 0)
		snprintf(percent, sizeof percent, "%d%%", progress);
	print_count(look, "job", job, "job", out);
	print_folded(look, "user", view_text(job, "user"), out);
	char *name = shown_name(job);
	print_folded(look, "name", name, out);
	free(name);
	print_state(look, job, out);
	print_folded(look, "error", view_text(job, "error"), out);
	print_field(look, "progress", percent, out);
	print_folded(look, "message", view_text(job, "message"), out);
	print_when(look, "not before", job, "not_before", out);
	print_path(ctl, view_text(job, "path"), out);
	print_field(look, "size", human_bytes((uint64_t)view_number(job, "size"), size), out);
	print_when(look, "arrived", job, "arrived_at", out);
	print_when(look, "accepted", job, "accepted_at", out);
	print_when(look, "started", job, "started_at", out);
	print_when(look, "finished", job, "finished_at", out);
	if (view_real(job, "spent_seconds") > 0)
		print_field(look, "ran for", view_duration(view_real(job, "spent_seconds"), spent), out);
	print_count(look, "exit code", job, "exit_code", out);
	print_count(look, "records", job, "records", out);
	if (json_array_size(json_object_get(job, "attempts")) > 0)
		print_attempts(look, json_object_get(job, "attempts"), out);
}

void view_explanation(const struct ctl *ctl, const json_t *answer, FILE *out)
{
	const struct look *look = &ctl->look;
	print_path(ctl, view_text(answer, "path"), out);
	print_count(look, "job", answer, "job", out);
	print_state(look, answer, out);
	print_folded(look, "because", view_text(answer, "because"), out);
	print_folded(look, "next", view_text(answer, "next"), out);
}

char *view_progress(const struct ctl *ctl, const json_t *job, const json_t *running,
                    const char *because)
{
	char *line = NULL;
	if (running != NULL)
		return view_running(&ctl->look, true, running, ctl->look.width);
	if (asprintf(&line, "job %lld  %s  %s%s%s", (long long)view_number(job, "job"),
	             view_text(job, "name"), view_text(job, "state"), *because == '\0' ? "" : ": ",
	             because) < 0)
		line = NULL;
	ctl_need(line);
	if (ctl->look.width > 0) {
		char *cut = ctl_need(text_cut_end(line, ctl->look.width, ctl->look.utf8));
		free(line);
		line = cut;
	}
	return line;
}
