#include "spoolctl/view.h"

#include "base/clock.h"
#include "base/human.h"

#include <stdlib.h>
#include <string.h>

/* Since its last change; where the clock of its disk says nothing of use, since it was
 * noticed. */
static const char *age(const json_t *upload, uint64_t now_ms, char *out)
{
	uint64_t since_ms = view_time_ms(upload, "changed_at");
	if (since_ms == 0 || since_ms > now_ms)
		since_ms = view_time_ms(upload, "noticed_at");
	return human_duration(since_ms == 0 || since_ms > now_ms ? 0 : now_ms - since_ms, out);
}

static enum tint state_tint(const char *state)
{
	return strcmp(state, "refused") == 0      ? TINT_RED
	       : strcmp(state, "over_limit") == 0 ? TINT_YELLOW
	                                          : TINT_NONE;
}

static void add(struct table *t, const json_t *upload, bool with_user, uint64_t now_ms)
{
	char since[HUMAN_SIZE], size[HUMAN_SIZE] = "";
	const char *state = view_text(upload, "state"), *slash = view_true(upload, "directory") ? "/" : "";
	char *name = NULL;
	ctl_need(asprintf(&name, "%s%s", view_text(upload, "name"), slash) < 0 ? NULL : name);
	if (view_has(upload, "size"))
		human_bytes((uint64_t)view_number(upload, "size"), size);
	const char *cells[] = {
		view_text(upload, "user"), view_state(state),
		age(upload, now_ms, since), size, name, view_text(upload, "because"),
	};
	const enum tint tints[] = {TINT_NONE, state_tint(state), TINT_NONE, TINT_NONE, TINT_NONE, TINT_NONE};
	size_t from = with_user ? 0 : 1;
	ctl_need(table_add(t, cells + from, tints + from) < 0 ? NULL : t);
	free(name);
}

void view_arriving(const struct ctl *ctl, const json_t *uploads, bool with_user, FILE *out)
{
	static const struct table_column columns[] = {
		{.title = "USER", .min = 8, .drop = 2},
		{.title = "STATE", .drop = 1},
		{.title = "AGE", .right = true, .drop = 3},
		{.title = "SIZE", .right = true, .drop = 4},
		{.title = "NAME", .min = 12},
		{.title = "BECAUSE", .min = 12, .sentence = true},
	};
	size_t from = with_user ? 0 : 1, i;
	struct table *t = ctl_need(table_new(columns + from, sizeof columns / sizeof *columns - from));
	uint64_t now_ms = clock_wall_ms();
	const json_t *upload;
	json_array_foreach(uploads, i, upload)
		add(t, upload, with_user, now_ms);
	ctl_need(table_print(t, &ctl->look, out) < 0 ? NULL : t);
	table_free(t);
}
