/* Text for people: how wide it is on a terminal, how to shorten it, how to
 * make it harmless.
 *
 * Width is asked of the C library and so of the locale (LC_CTYPE): in one
 * without UTF-8 each character counts one column. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Columns of `text` on a terminal. It carries no control characters. */
size_t text_width(const char *text);

/* A new string of at most `columns` columns (free): `text` itself where it
 * fits, else its beginning and its end with "…" ("..." without `utf8`) for the
 * middle. NULL when memory is out. */
char *text_cut_middle(const char *text, size_t columns, bool utf8);
/* The same, keeping only the beginning. */
char *text_cut_end(const char *text, size_t columns, bool utf8);

/* Breaks `text` at its spaces into lines of at most `columns` columns; a word that is wider
 * begins a line and is broken after a slash, or where the line ends. A new string (free) whose
 * lines, after the first, begin with `indent` spaces, which do not count; `columns` 0: a copy.
 * NULL when memory is out. */
char *text_wrap(const char *text, size_t columns, size_t indent);

/* Makes bytes fit for a terminal: what escape_name() would escape is escaped,
 * but backslashes stay as they are (so that escaped names in the text are not
 * escaped twice), and so do the control characters in `keep` (may be ""). A
 * new string (free), or NULL when memory is out. */
char *text_printable(const char *bytes, size_t n, const char *keep);

/* The word of the NULL-terminated list that is most like `word`, or NULL where
 * none is near enough to be what was meant. */
const char *text_nearest(const char *word, const char *const *words);
