#include "io/config_private.h"

#include "base/escape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void config_report_clear(struct config_report *report)
{
	for (size_t i = 0; i < report->errors_n; i++)
		free(report->errors[i]);
	for (size_t i = 0; i < report->warnings_n; i++)
		free(report->warnings[i]);
	free(report->errors);
	free(report->warnings);
	*report = (struct config_report){0};
}

char *config_quote(const char *text, size_t n, char *out)
{
	/* Escaping makes it longer at most: what is beyond is cut anyway. */
	bool cut = n > CONFIG_QUOTE_SIZE;
	char *escaped = escape_name(text, cut ? CONFIG_QUOTE_SIZE : n);
	if (escaped == NULL) {
		strcpy(out, "...");
		return out;
	}
	size_t room = CONFIG_QUOTE_SIZE - sizeof "\"...\"";
	size_t length = strlen(escaped);
	if (cut || length > room) {
		cut = true;
		length = length < room ? length : room;
		/* Not within a character. */
		while (length > 0 && ((unsigned char)escaped[length] & 0xc0) == 0x80)
			length--;
	}
	snprintf(out, CONFIG_QUOTE_SIZE, "\"%.*s%s\"", (int)length, escaped, cut ? "..." : "");
	free(escaped);
	return out;
}

char *config_where(const char *above, const char *key, char *out)
{
	bool top = above == NULL || *above == '\0';
	char *escaped = escape_str(key);
	snprintf(out, CONFIG_WHERE_SIZE, "%s%s%.100s", top ? "" : above, top ? "" : ".",
	         escaped == NULL ? "..." : escaped);
	free(escaped);
	return out;
}

static char *make_line(const struct config_loader *l, size_t at, const char *where,
                       const char *format, va_list args)
{
	char *line = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&line, &size);
	if (out == NULL)
		return NULL;
	fprintf(out, "%s:", l->name);
	if (at != CONFIG_NOWHERE && l->text != NULL) {
		size_t row, column;
		config_text_place(l->text, at, &row, &column);
		fprintf(out, "%zu:%zu:", row, column);
	}
	fputc(' ', out);
	if (where != NULL && *where != '\0')
		fprintf(out, "%s: ", where);
	vfprintf(out, format, args);
	bool failed = ferror(out) != 0;
	if (fclose(out) != 0 || failed) {
		free(line);
		return NULL;
	}
	return line;
}

static void add_note(struct config_loader *l, size_t at, bool warning, char *text)
{
	struct config_note *more =
		text == NULL ? NULL : realloc(l->notes, (l->notes_n + 1) * sizeof *more);
	if (more == NULL) {
		l->out_of_memory = true;
		free(text);
		return;
	}
	l->notes = more;
	l->notes[l->notes_n] = (struct config_note){
		.at = at, .number = l->notes_n, .text = text, .warning = warning};
	l->notes_n++;
}

void config_error(struct config_loader *l, size_t at, const char *where, const char *format, ...)
{
	va_list args;
	if (l->errors_n++ >= CONFIG_REPORT_MAX)
		return;
	va_start(args, format);
	add_note(l, at, false, make_line(l, at, where, format, args));
	va_end(args);
}

void config_warning(struct config_loader *l, size_t at, const char *where, const char *format,
                    ...)
{
	va_list args;
	if (l->notes_n >= 2 * CONFIG_REPORT_MAX)
		return;
	va_start(args, format);
	add_note(l, at, true, make_line(l, at, where, format, args));
	va_end(args);
}

static int by_place(const void *a, const void *b)
{
	const struct config_note *x = a, *y = b;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

void config_notes_finish(struct config_loader *l, struct config_report *report)
{
	if (l->notes_n > 0)
		qsort(l->notes, l->notes_n, sizeof *l->notes, by_place);
	if (l->errors_n > CONFIG_REPORT_MAX) {
		char *last = NULL;
		if (asprintf(&last, "%s: and %zu more mistakes: mend the ones above first", l->name,
		             l->errors_n - CONFIG_REPORT_MAX) < 0)
			last = NULL;
		add_note(l, CONFIG_NOWHERE, false, last);
	}
	/* One place more: calloc(0) may be NULL. */
	report->errors = calloc(l->notes_n + 1, sizeof *report->errors);
	report->warnings = calloc(l->notes_n + 1, sizeof *report->warnings);
	for (size_t i = 0; i < l->notes_n; i++) {
		struct config_note *note = &l->notes[i];
		if (report->errors == NULL || report->warnings == NULL) {
			free(note->text);
			l->out_of_memory = true;
		} else if (note->warning) {
			report->warnings[report->warnings_n++] = note->text;
		} else {
			report->errors[report->errors_n++] = note->text;
		}
	}
	free(l->notes);
	l->notes = NULL;
	l->notes_n = 0;
}
