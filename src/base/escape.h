/* Names are bytes. One reversible spelling of them for terminal, log and JSON.
 *
 * Printable UTF-8 stays as it is; a backslash becomes "\\"; control
 * characters, bytes that are no UTF-8 and characters that change the reading
 * direction become "\xHH", byte by byte. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Is the spelling the name itself? */
bool escape_is_plain(const char *bytes, size_t n);

/* Returns a new string (free with free()), or NULL when memory is out. */
char *escape_name(const char *bytes, size_t n);

/* The same for a NUL-terminated name. */
char *escape_str(const char *name);

/* Turns an escaped name back into bytes: a new NUL-terminated string.
 * Returns NULL with errno EINVAL where `escaped` is malformed or stands for a
 * NUL byte, ENOMEM when memory is out. */
char *unescape_name(const char *escaped);
