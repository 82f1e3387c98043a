#include "base/log.h"

#include "base/clock.h"
#include "base/escape.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Texts of ours pass unchanged but for control characters: names in them were
 * escaped by whoever put them there. */
static void defuse(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++)
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
}

void log_line(enum log_level level, const char *format, ...)
{
	if (level > level_shown)
		return;
	int saved = errno;
	char text[4096];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	defuse(text);
	if (is_journal()) {
		dprintf(STDERR_FILENO, "<%d>%s\n", (int)level, text);
	} else {
		char when[CLOCK_RFC3339_SIZE];
		dprintf(STDERR_FILENO, "%s %s%s\n", clock_rfc3339(clock_wall_ms(), when),
		        level_word(level), text);
	}
	errno = saved;
}
