#include "spoolctl/view.h"

#include "base/human.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Below that, lines of a word each would be no easier to read. */
enum { FOLD_COLUMNS_MIN = 20, HANGING = 2 };

const char *view_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text == NULL ? "" : text;
}

json_int_t view_number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

double view_real(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	return json_is_number(value) ? json_number_value(value) : -1;
}

int view_percent(const json_t *object, const char *key)
{
	double share = view_real(object, key);
	return share < 0 ? -1 : share < 1 ? (int)(share * 100) : 100;
}

bool view_true(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

bool view_has(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	return value != NULL && !json_is_null(value);
}

const char *view_state(const char *state)
{
	return strcmp(state, "over_limit") == 0 ? "over limit" : state;
}

uint64_t view_time_ms(const json_t *object, const char *key)
{
	struct tm tm = {0};
	unsigned ms = 0;
	const char *rest = strptime(view_text(object, key), "%Y-%m-%dT%H:%M:%S", &tm);
	if (rest == NULL)
		return 0;
	if (*rest == '.')
		sscanf(rest, ".%3u", &ms);
	time_t seconds = timegm(&tm);
	return seconds <= 0 ? 0 : (uint64_t)seconds * 1000 + ms;
}

char *view_fold(const struct look *look, unsigned indent, const char *text)
{
	bool wide = look->width >= indent + FOLD_COLUMNS_MIN;
	return ctl_need(text_wrap(text, wide ? look->width - indent : 0, indent));
}

char *view_fold_hanging(const struct look *look, unsigned indent, const char *text)
{
	bool fits = indent + text_width(text) <= look->width;
	return view_fold(look, fits ? indent : indent + HANGING, text);
}

void view_print(const struct look *look, unsigned indent, const char *text, FILE *out)
{
	char *lines = view_fold_hanging(look, indent, text);
	fprintf(out, "%*s%s\n", (int)indent, "", lines);
	free(lines);
}

static void local_time(uint64_t wall_ms, struct tm *ret)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	localtime_r(&seconds, ret);
}

const char *view_when(uint64_t wall_ms, char *out)
{
	struct tm tm;
	out[0] = '\0';
	if (wall_ms == 0)
		return out;
	local_time(wall_ms, &tm);
	strftime(out, VIEW_WHEN_SIZE, "%Y-%m-%d %H:%M:%S", &tm);
	return out;
}

const char *view_when_short(uint64_t wall_ms, uint64_t now_wall_ms, char *out)
{
	struct tm tm, now;
	out[0] = '\0';
	if (wall_ms == 0)
		return out;
	local_time(wall_ms, &tm);
	local_time(now_wall_ms, &now);
	bool today = tm.tm_year == now.tm_year && tm.tm_yday == now.tm_yday;
	strftime(out, VIEW_WHEN_SIZE, today ? "%H:%M:%S" : "%Y-%m-%d", &tm);
	return out;
}

const char *view_duration(double seconds, char *out)
{
	out[0] = '\0';
	if (seconds >= 0 && seconds < 1e15)
		human_duration((uint64_t)(seconds * 1000), out);
	return out;
}
