/* Log lines on stderr, in the form journald understands.
 *
 * On a journal (JOURNAL_STREAM names our stderr) a line starts with its level
 * as "<N>"; elsewhere it starts with the time. Names come escaped (see
 * escape.h); any control character that is left becomes '?'. A line goes out in
 * one write(), so that lines of several processes do not mix, and is cut, with
 * "..." at its end, at about 4000 bytes. The level is a mutable global, and
 * with what base/fault.c says on its last day the only one in the program.
 *
 * Warnings: none of these functions changes errno. A line that cannot be
 * written is lost. */
#pragma once

#include <stddef.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* Lines above `level` are dropped. The default is LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* Writes one line; `format` carries no newline. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Lines that are said together, with as few write()s as they need: what many jobs have in
 * common costs little for each. `{0}` is none. As many as a pipe takes at once
 * (PIPE_BUF), so that they do not mix with those of others either. */
struct log_lines {
	size_t size;
	char text[4096];
};

/* One more, as log_line() has it; those before it are written where there is no room. */
void log_add(struct log_lines *lines, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Writes them. */
void log_flush(struct log_lines *lines);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
