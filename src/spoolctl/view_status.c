#include "spoolctl/view.h"

#include "base/clock.h"
#include "base/human.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* One user: its row, and the lines below it. */
struct entry {
	const json_t *user;
	char *lines[32]; /* each may be several */
	size_t n;
	unsigned height; /* of all of them */
	bool idle;
};

enum { INDENT = 2, MESSAGE_INDENT = 4 };

static unsigned count_lines(const char *text)
{
	unsigned n = 1;
	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

/* Takes `text` over, which may be several lines. */
static void append(struct entry *e, char *text)
{
	if (e->n == sizeof e->lines / sizeof *e->lines) {
		free(text);
		return;
	}
	e->lines[e->n++] = text;
	e->height += count_lines(text);
}

static void add_text(const struct look *look, struct entry *e, enum tint tint, unsigned indent,
                     const char *text)
{
	char *line = NULL, *folded = view_fold_hanging(look, indent, text);
	if (!look->colored)
		tint = TINT_NONE;
	if (asprintf(&line, "%*s%s%s%s", (int)indent, "", tint_on(tint), folded, tint_off(tint)) < 0)
		line = NULL;
	append(e, ctl_need(line));
	free(folded);
}

static void add_line(const struct look *look, struct entry *e, enum tint tint, const char *format,
                     ...) __attribute__((format(printf, 4, 5)));
static void add_line(const struct look *look, struct entry *e, enum tint tint, const char *format,
                     ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	add_text(look, e, tint, INDENT, ctl_need(text));
	free(text);
}

static char *running_line(const struct ctl *ctl, const json_t *running)
{
	unsigned width = ctl->look.width > INDENT ? ctl->look.width - INDENT : ctl->look.width;
	char *indented, *line = view_running(&ctl->look, ctl->terminal, running, width);
	if (asprintf(&indented, "%*s%s", INDENT, "", line) < 0)
		indented = NULL;
	free(line);
	return ctl_need(indented);
}

static void add_job(const struct ctl *ctl, struct entry *e, json_t *running)
{
	const char *message = view_text(running, "message");
	char *line = running_line(ctl, running);
	bool narrow = ctl->look.width > 0 && ctl->look.width < NARROW_COLUMNS;
	if (!narrow || strstr(line, message) != NULL) {
		append(e, line);
		return;
	}
	json_t *bare = ctl_need(json_copy(running));
	json_object_del(bare, "message");
	free(line);
	append(e, running_line(ctl, bare));
	add_text(&ctl->look, e, TINT_NONE, MESSAGE_INDENT, message);
	json_decref(bare);
}

static void add_running(const struct ctl *ctl, struct entry *e)
{
	const json_t *list = json_object_get(e->user, "running");
	size_t n = json_array_size(list), shown = sizeof e->lines / sizeof *e->lines / 4;
	for (size_t i = 0; i < n && i < shown; i++)
		add_job(ctl, e, json_array_get(list, i));
	if (n > shown)
		add_line(&ctl->look, e, TINT_NONE, "and %zu more running or queued", n - shown);
}

/* "; the first: report.csv", or nothing. A new string. */
static char *first_of(const json_t *user, const char *field)
{
	char *text = NULL;
	const char *name = view_text(user, field);
	int n = asprintf(&text, "%s%s", *name == '\0' ? "" : "; the first: ", name);
	return ctl_need(n < 0 ? NULL : text);
}

static void add_uploads(const struct look *look, struct entry *e)
{
	const json_t *u = e->user;
	json_int_t arriving = view_number(u, "arriving");
	json_int_t refused = view_number(u, "refused"), over = view_number(u, "over_limit");
	char *first = first_of(u, "arriving_first");
	if (arriving > 0)
		add_line(look, e, TINT_NONE, "%lld upload%s arriving%s%s%s", (long long)arriving,
		         arriving == 1 ? "" : "s", view_has(u, "arriving_waits_for") ? ": " : "",
		         view_text(u, "arriving_waits_for"), first);
	free(first);
	first = first_of(u, "over_limit_first");
	if (over > 0)
		add_line(look, e, TINT_YELLOW, "%lld upload%s in incoming over a limit%s%s%s", (long long)over,
		         over == 1 ? " stays" : "s stay", *first == '\0' ? "; the first" : first, ": ",
		         view_text(u, "over_limit_because"));
	free(first);
	first = first_of(u, "refused_first");
	if (refused > 0)
		add_line(look, e, TINT_YELLOW, "%lld file%s refused%s (spoolctl explain FILE tells why)",
		         (long long)refused, refused == 1 ? "" : "s", first);
	free(first);
}

static void add_remarks(const struct look *look, struct entry *e, bool spool_away)
{
	const json_t *u = e->user;
	const struct held_why why = held_why(view_text(u, "held_reason"));
	json_int_t held = view_number(u, "held_jobs");
	/* Of the spool itself the head of the status tells. */
	bool away = !spool_away && view_has(u, "mounted") && !view_true(u, "mounted");
	bool silent = !spool_away && view_has(u, "answers") && !view_true(u, "answers");
	if (view_true(u, "held"))
		add_line(look, e, TINT_YELLOW, "line held%s%s (spoolctl release --user %s)",
		         why.sign, why.text, view_text(u, "user"));
	else if (silent)
		add_line(look, e, TINT_YELLOW, "the mount of its directory does not answer: nothing of it is "
		         "touched until it does");
	else if (away)
		add_line(look, e, TINT_YELLOW, "its directory, a mount of its own, is not there: nothing is "
		         "taken in until it is back");
	else if (view_number(u, "pending") > 0 && view_has(u, "waits_for") &&
	         json_array_size(json_object_get(u, "running")) == 0)
		add_line(look, e, TINT_NONE, "waits for %s", view_text(u, "waits_for"));
	if (held > 0)
		add_line(look, e, TINT_YELLOW, "%lld job%s held (spoolctl list %s --state held)",
		         (long long)held, held == 1 ? "" : "s", view_text(u, "user"));
	if (view_true(u, "removed"))
		add_line(look, e, TINT_YELLOW, "%s; its jobs are still known: spoolctl list %s",
		         view_text(u, "problem"), view_text(u, "user"));
	else if (view_has(u, "problem"))
		add_line(look, e, TINT_RED, "%s (spoolctl user check %s)", view_text(u, "problem"),
		         view_text(u, "user"));
	add_uploads(look, e);
}

static void entry_fill(const struct ctl *ctl, const json_t *user, bool spool_away,
                       struct entry *e)
{
	e->user = user;
	add_running(ctl, e);
	add_remarks(&ctl->look, e, spool_away);
	e->idle = e->n == 0 && view_number(user, "pending") == 0;
}

static const char *state_word(const json_t *user, enum tint *ret_tint)
{
	static const enum tint busy = TINT_GREEN, waits = TINT_CYAN;
	bool runs = json_array_size(json_object_get(user, "running")) > 0;
	*ret_tint = view_true(user, "held") ? TINT_YELLOW : runs ? busy : waits;
	if (view_true(user, "held"))
		return "held";
	if (runs)
		return "running";
	if (view_true(user, "removed")) {
		*ret_tint = TINT_YELLOW;
		return "removed";
	}
	if (view_number(user, "pending") > 0)
		return "waiting";
	if (view_number(user, "arriving") > 0)
		return "arriving";
	if (view_number(user, "over_limit") > 0)
		return view_state("over_limit");
	if (view_has(user, "problem")) {
		*ret_tint = TINT_RED;
		return "unreadable";
	}
	*ret_tint = TINT_DIM;
	return "idle";
}

static void add_row(struct table *t, const json_t *user)
{
	char pending[24], done[24], failed[24], oldest[HUMAN_SIZE];
	enum tint tints[7] = {TINT_BOLD, TINT_NONE};
	snprintf(pending, sizeof pending, "%lld", (long long)view_number(user, "pending"));
	snprintf(done, sizeof done, "%lld", (long long)view_number(user, "done"));
	snprintf(failed, sizeof failed, "%lld", (long long)view_number(user, "failed"));
	const char *cells[] = {
		view_text(user, "user"),
		state_word(user, &tints[1]),
		pending,
		view_has(user, "oldest_pending_seconds")
			? view_duration(view_real(user, "oldest_pending_seconds"), oldest) : "-",
		done,
		failed,
		view_has(user, "watch") ? view_text(user, "watch") : "-",
	};
	if (tints[1] == TINT_DIM)
		tints[0] = TINT_NONE;
	tints[5] = view_number(user, "failed") > 0 ? TINT_RED : TINT_NONE;
	ctl_need(table_add(t, cells, tints) < 0 ? NULL : t);
}

struct totals {
	json_int_t running, pending, arriving;
};

/* A line of its own, folded where it does not fit; its first `strong` bytes stand out.
 * Returns the number of lines. */
static unsigned print_line(const struct look *look, enum tint tint, size_t strong,
                           const char *text, FILE *out)
{
	char *lines = view_fold_hanging(look, 0, text);
	size_t first = strcspn(lines, "\n"), n = first < strong ? first : strong;
	unsigned height = count_lines(lines);
	if (!look->colored)
		tint = TINT_NONE;
	fprintf(out, "%s%.*s%s%s\n", tint_on(tint), (int)n, lines, tint_off(tint), lines + n);
	free(lines);
	return height;
}

static unsigned print_warning(const struct look *look, enum tint tint, const char *text, FILE *out)
{
	return print_line(look, tint, strlen(text), text, out);
}

static char *headline(const json_t *daemon, bool elsewhere, const struct totals *totals, size_t *ret_strong)
{
	char *text = NULL, up[HUMAN_SIZE];
	size_t n;
	FILE *out = ctl_need(open_memstream(&text, &n));
	/* One that answers does not say that it does. */
	bool answers = !view_has(daemon, "answers") || view_true(daemon, "answers");
	bool runs = view_true(daemon, "running") && answers;
	uint64_t since_ms = view_time_ms(daemon, "since"), now_ms = clock_wall_ms();
	if (runs)
		*ret_strong = (size_t)fprintf(out, "spoold %s", view_text(daemon, "version"));
	else if (view_true(daemon, "once"))
		*ret_strong = (size_t)fprintf(out, "spoold --mode once is at work");
	else if (view_true(daemon, "running"))
		*ret_strong = (size_t)fprintf(out, "spoold is running, but %s",
		                              elsewhere ? "was not asked" : "its socket is gone");
	else
		*ret_strong = (size_t)fprintf(out, "spoold is not running");
	fprintf(out, ": %lld running, %lld waiting", (long long)totals->running,
	        (long long)totals->pending);
	if (totals->arriving > 0)
		fprintf(out, ", %lld arriving", (long long)totals->arriving);
	fprintf(out, " (%s", view_text(daemon, "root"));
	if (runs && since_ms > 0 && now_ms >= since_ms)
		fprintf(out, ", up %s", human_duration(now_ms - since_ms, up));
	fputc(')', out);
	fclose(out);
	return ctl_need(text);
}

/* Returns the number of lines. */
static unsigned print_head(const struct ctl *ctl, const json_t *daemon,
                           const struct totals *totals, FILE *out)
{
	const struct look *look = &ctl->look;
	static const struct {
		const char *field, *text;
	} states[] = {
		{"starting", "It is starting: the directories are being compared with the index."},
		{"stopped", "No job starts: \"spoolctl start\" lets them."},
		{"stopping", "It is stopping: running jobs are given time to end."},
	};
	size_t strong;
	char *text = headline(daemon, ctl->socket_option != NULL, totals, &strong);
	unsigned lines = 1 + print_line(look, TINT_BOLD, strong, text, out);
	free(text);
	if (view_has(daemon, "problem"))
		lines += print_warning(look, TINT_RED, view_text(daemon, "problem"), out);
	for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
		/* While it stops none starts, and nothing lets them. */
		bool moot = view_true(daemon, "stopping") && strcmp(states[i].field, "stopped") == 0;
		if (view_true(daemon, states[i].field) && !moot)
			lines += print_warning(look, TINT_YELLOW, states[i].text, out);
	}
	fputc('\n', out);
	return lines;
}

/* Puts users into the table: all, or those that fit, busy ones first. */
static size_t fill_table(struct table *t, struct entry *entries, size_t n, unsigned room)
{
	size_t lines = 0, left_out = 0;
	for (size_t i = 0; i < n; i++)
		lines += 1 + entries[i].height;
	bool all = room == 0 || lines <= room;
	for (int idle = 0; idle < (all ? 1 : 2); idle++) {
		for (size_t i = 0; i < n; i++) {
			struct entry *e = &entries[i];
			if (!all && e->idle != (idle == 1))
				continue;
			/* The last line tells how many are left out. */
			if (!all && 1 + e->height + 1 > room) {
				left_out++;
				continue;
			}
			room -= all ? 0 : 1 + e->height;
			add_row(t, e->user);
			for (size_t l = 0; l < e->n; l++)
				ctl_need(table_add_line(t, e->lines[l]) < 0 ? NULL : t);
		}
	}
	return left_out;
}

static struct totals add_up(const json_t *answer)
{
	const json_t *user, *job, *sums = json_object_get(answer, "totals");
	struct totals totals = {
		.running = view_number(sums, "running"),
		.pending = view_number(sums, "pending") + view_number(sums, "queued"),
		.arriving = view_number(sums, "arriving"),
	};
	size_t i, k;
	if (sums != NULL)
		return totals;
	json_array_foreach(json_object_get(answer, "users"), i, user) {
		/* What waits in its user's worker, or for a place, does not run. */
		json_array_foreach(json_object_get(user, "running"), k, job) {
			bool waits = view_true(job, "ahead") || view_true(job, "standby");
			*(waits ? &totals.pending : &totals.running) += 1;
		}
		totals.pending += view_number(user, "pending");
		totals.arriving += view_number(user, "arriving");
	}
	return totals;
}

/* Who is not in the table, and how it stands with all. */
static void print_others(const struct look *look, const json_t *sums, size_t left_out, FILE *out)
{
	char *text = NULL;
	json_int_t idle = view_number(sums, "idle");
	left_out += (size_t)view_number(sums, "busy_left_out");
	if (left_out > 0)
		fprintf(out, "and %zu more user%s\n", left_out, left_out == 1 ? "" : "s");
	if (sums == NULL)
		return;
	int n = asprintf(&text, "%s%lld idle user%s (--all shows them); of all: %lld done, %lld failed",
	                 idle == view_number(sums, "users") ? "" : "and ", (long long)idle,
	                 idle == 1 ? "" : "s", (long long)view_number(sums, "done"),
	                 (long long)view_number(sums, "failed"));
	print_line(look, TINT_NONE, 0, ctl_need(n < 0 ? NULL : text), out);
	free(text);
}

void view_status(const struct ctl *ctl, const json_t *answer, unsigned max_lines, FILE *out)
{
	static const struct table_column columns[] = {
		{.title = "USER", .min = 8},
		{.title = "STATE"},
		{.title = "PENDING", .right = true},
		{.title = "OLDEST", .right = true, .drop = 2},
		{.title = "DONE", .right = true, .drop = 1},
		{.title = "FAILED", .right = true},
		{.title = "WATCH", .drop = 3},
	};
	const json_t *users = json_object_get(answer, "users");
	const json_t *sums = json_object_get(answer, "totals");
	size_t n = json_array_size(users);
	struct entry *entries = ctl_need(calloc(n + 1, sizeof *entries));
	struct table *t = ctl_need(table_new(columns, sizeof columns / sizeof *columns));
	struct totals totals = add_up(answer);
	const json_t *daemon = json_object_get(answer, "daemon");
	bool spool_away = view_has(daemon, "mounted") && !view_true(daemon, "mounted");
	for (size_t i = 0; i < n; i++)
		entry_fill(ctl, json_array_get(users, i), spool_away, &entries[i]);
	unsigned head = print_head(ctl, daemon, &totals, out) + 1;
	/* Each may take two lines then, and columns that have no room are named. */
	bool narrow = ctl->look.width > 0 && ctl->look.width < NARROW_COLUMNS;
	head += (sums == NULL ? 0U : narrow ? 2U : 1U) + (narrow ? 2U : 0U);
	unsigned room = max_lines == 0 ? 0 : max_lines > head + 2 ? max_lines - head : 2;
	size_t left_out = fill_table(t, entries, n, room);
	if (n > 0)
		ctl_need(table_print(t, &ctl->look, out) < 0 ? NULL : t);
	else if (sums == NULL)
		print_line(&ctl->look, TINT_NONE, 0,
		           "No users to show; \"spoolctl user add NAME\" makes the directories of one.", out);
	print_others(&ctl->look, sums, left_out, out);
	for (size_t i = 0; i < n; i++)
		for (size_t l = 0; l < entries[i].n; l++)
			free(entries[i].lines[l]);
	free(entries);
	table_free(t);
}
