#include "io/runner_private.h"

#include "base/escape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nobody turns a text back into bytes, so a backslash can stay single. */
static void single_backslashes(char *text)
{
	char *out = text;
	for (const char *in = text; *in != '\0'; in++) {
		if (in[0] == '\\' && in[1] == '\\')
			in++;
		*out++ = *in;
	}
	*out = '\0';
}

static void cut_at_character(char *text, size_t max)
{
	if (strlen(text) <= max)
		return;
	while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
		max--;
	text[max] = '\0';
}

char *runner_printable(const char *bytes, size_t n)
{
	char *text = escape_name(bytes, n);
	if (text == NULL)
		return NULL;
	single_backslashes(text);
	cut_at_character(text, JOB_TEXT_MAX);
	return text;
}

char *runner_text(const char *format, ...)
{
	char *text;
	va_list args;
	va_start(args, format);
	int n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return NULL;
	cut_at_character(text, JOB_TEXT_MAX);
	return text;
}

static bool is_blank(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strchr(" \t\r", text[i]) == NULL || text[i] == '\0')
			return false;
	return true;
}

void runner_last_line_end(struct last_line *l)
{
	while (l->pending_n > 0 && l->pending[l->pending_n - 1] == '\r')
		l->pending_n--;
	if (!is_blank(l->pending, l->pending_n)) {
		memcpy(l->line, l->pending, l->pending_n);
		l->line_n = l->pending_n;
	}
	l->pending_n = 0;
}

void runner_last_line_feed(struct last_line *l, const char *data, size_t n)
{
	const char *end = data + n;
	while (data < end) {
		const char *newline = memchr(data, '\n', (size_t)(end - data));
		size_t part = (size_t)((newline == NULL ? end : newline) - data);
		size_t room = sizeof l->pending - l->pending_n;
		size_t take = part < room ? part : room;
		memcpy(l->pending + l->pending_n, data, take);
		l->pending_n += take;
		if (newline == NULL)
			return;
		runner_last_line_end(l);
		data = newline + 1;
	}
}
