#include "base/log.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	LINE_SIZE = sizeof((struct log_lines *)NULL)->text,
	HEAD_SIZE = 64,
};

static enum log_level level_shown = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	level_shown = level;
}

/* systemd sets JOURNAL_STREAM to "device:inode" of the stream it connected;
 * a redirected stderr is a plain one again. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat st;
	char here[64];
	if (stream == NULL || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(here, sizeof here, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(stream, here) == 0;
}

static const char *level_word(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR: return "error: ";
	case LOG_LEVEL_WARNING: return "warning: ";
	case LOG_LEVEL_NOTICE:
	case LOG_LEVEL_INFO: return "";
	case LOG_LEVEL_DEBUG: return "debug: ";
	}
	return "";
}

static bool is_control(const unsigned char *c)
{
	/* U+0080 to U+009F too: some terminals obey them. */
	return *c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0);
}

static void defuse(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
		if (!is_control(c))
			continue;
		if (*c == 0xc2)
			c[1] = '?';
		*c = '?';
	}
}

/* Ends a text that was cut in whole characters and with "...". */
static void mark_cut(char *text, size_t size)
{
	char *end = text + size - sizeof "...";
	while (end > text && ((unsigned char)*end & 0xc0) == 0x80)
		end--;
	memcpy(end, "...", sizeof "...");
}

static size_t put_head(enum log_level level, char *out, size_t size)
{
	int n;
	if (is_journal()) {
		n = snprintf(out, size, "<%d>", (int)level);
	} else {
		char when[CLOCK_RFC3339_SIZE];
		clock_rfc3339(clock_wall_ms(), when);
		n = snprintf(out, size, "%s %s", when, level_word(level));
	}
	return (size_t)n;
}

/* With its newline, for which one byte is kept back. Returns the size. */
static size_t compose(char line[LINE_SIZE], enum log_level level, const char *format, va_list args)
{
	int saved = errno;
	size_t head = put_head(level, line, HEAD_SIZE), room = LINE_SIZE - 1 - head;
	char *text = line + head;
	*text = '\0';
	errno = saved;
	int n = vsnprintf(text, room, format, args);
	if (n >= 0 && (size_t)n >= room)
		mark_cut(text, room);
	defuse(text);
	size_t size = head + strlen(text);
	line[size] = '\n';
	return size + 1;
}

static void add(struct log_lines *lines, enum log_level level, const char *format, va_list args)
{
	char line[LINE_SIZE];
	int saved = errno;
	size_t size = compose(line, level, format, args);
	if (size > sizeof lines->text - lines->size)
		log_flush(lines);
	memcpy(lines->text + lines->size, line, size);
	lines->size += size;
	errno = saved;
}

void log_line(enum log_level level, const char *format, ...)
{
	struct log_lines one = {0};
	va_list args;
	if (level > level_shown)
		return;
	va_start(args, format);
	add(&one, level, format, args);
	va_end(args);
	log_flush(&one);
}

void log_add(struct log_lines *lines, enum log_level level, const char *format, ...)
{
	va_list args;
	if (level > level_shown)
		return;
	va_start(args, format);
	add(lines, level, format, args);
	va_end(args);
}

void log_flush(struct log_lines *lines)
{
	int saved = errno;
	if (lines->size > 0)
		fd_write_all(STDERR_FILENO, lines->text, lines->size);
	lines->size = 0;
	errno = saved;
}
