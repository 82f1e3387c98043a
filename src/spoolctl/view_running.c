#include "spoolctl/view.h"

#include "base/human.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { BAR_COLUMNS = 16, BAR_MIN_WIDTH = 60, NAME_MIN = 10, MESSAGE_MIN = 8 };

/* Cuts in the middle, or not at all for width 0. */
static char *cut_name(const struct look *look, const char *name, size_t columns)
{
	return ctl_need(look->width == 0 ? strdup(name)
	                                 : text_cut_middle(name, columns, look->utf8));
}

/* "  12 s  ▕███▌   ▏ 45%  120 records": all but name and message. */
static char *running_facts(const struct look *look, bool bars, const json_t *running,
                           unsigned width)
{
	char *text = NULL, duration[HUMAN_SIZE];
	size_t n;
	FILE *out = ctl_need(open_memstream(&text, &n));
	double progress = view_real(running, "progress");
	bool queued = strcmp(view_text(running, "state"), "queued") == 0;
	if (view_number(running, "attempt") > 1)
		fprintf(out, "  attempt %lld", (long long)view_number(running, "attempt"));
	fprintf(out, "  %s%s", view_true(running, "ahead")     ? "next in its worker, "
	                       : view_true(running, "standby") ? "next, "
	                       : queued                        ? "starting, "
	                                                       : "",
	        view_duration(view_real(running, "elapsed_seconds"), duration));
	if (progress >= 0 && bars && width >= BAR_MIN_WIDTH) {
		char *bar = ctl_need(bar_draw(progress, BAR_COLUMNS, look->utf8));
		fprintf(out, "  %s%s%s", look->colored ? tint_on(TINT_GREEN) : "", bar,
		        look->colored ? tint_off(TINT_GREEN) : "");
		free(bar);
	}
	if (progress >= 0)
		fprintf(out, " %3d%%", view_percent(running, "progress"));
	if (view_has(running, "records"))
		fprintf(out, "  %lld record%s", (long long)view_number(running, "records"),
		        view_number(running, "records") == 1 ? "" : "s");
	fclose(out);
	return ctl_need(text);
}

/* Colours take no room. */
static size_t plain_width(const char *text)
{
	size_t width = text_width(text);
	for (const char *s = strchr(text, '\033'); s != NULL; s = strchr(s + 1, '\033'))
		width -= strcspn(s, "m") + 1;
	return width;
}

/* Shares `room` columns between a name and a message; 0 = it is left out. */
static void share(size_t room, size_t *name, size_t *message)
{
	if (*name + (*message > 0 ? *message + 2 : 0) <= room)
		return;
	size_t name_min = room / 2 > NAME_MIN ? room / 2 : NAME_MIN;
	size_t wanted = *message + 2 < room ? room - *message - 2 : 0;
	size_t given = wanted > name_min ? wanted : name_min;
	if (*message > 0 && given < *name && given + 2 + MESSAGE_MIN <= room)
		*name = given;
	if (*message > 0 && *name + 2 + MESSAGE_MIN <= room) {
		*message = room - *name - 2 < *message ? room - *name - 2 : *message;
		return;
	}
	*message = 0;
	if (*name > room)
		*name = room > 1 ? room : 1;
}

char *view_running(const struct look *look, bool bars, const json_t *running, unsigned width)
{
	char *line = NULL, job[40], *message = NULL;
	const char *said = view_text(running, "message");
	char *facts = running_facts(look, bars, running, width);
	snprintf(job, sizeof job, "job %lld  ", (long long)view_number(running, "job"));
	size_t fixed = strlen(job) + plain_width(facts);
	size_t name_width = text_width(view_text(running, "name")), said_width = text_width(said);
	if (width > 0)
		share(width > fixed ? width - fixed : 0, &name_width, &said_width);
	char *name = cut_name(look, view_text(running, "name"), name_width);
	message = ctl_need(width == 0 ? strdup(said) : text_cut_end(said, said_width, look->utf8));
	if (asprintf(&line, "%s%s%s%s%s", job, name, facts, message[0] == '\0' ? "" : "  ",
	             message) < 0)
		line = NULL;
	free(name);
	free(facts);
	free(message);
	return ctl_need(line);
}
