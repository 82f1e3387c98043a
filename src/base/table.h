/* Aligned tables, progress bars and colours for a terminal, and the same
 * without colours and cuts for a pipe. Pure: what the terminal is like is
 * passed in, and the text goes to a stream of the caller's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum tint {
	TINT_NONE,
	TINT_BOLD,
	TINT_DIM,
	TINT_RED,
	TINT_GREEN,
	TINT_YELLOW,
	TINT_CYAN,
	TINTS
};

/* The sequence that switches a colour on; "" for TINT_NONE. */
const char *tint_on(enum tint tint);
/* Switches it off again; "" for TINT_NONE. */
const char *tint_off(enum tint tint);

/* What to draw for. */
struct look {
	unsigned width;  /* columns; 0 = as wide as needed, nothing is cut (a pipe): columns are
	                    at least two spaces apart, but a long cell may be beyond its own */
	bool colored;
	bool utf8;       /* block characters and "…" may be used */
};

/* A terminal of fewer columns is narrow: what does not fit is not cut but folded. */
enum { NARROW_COLUMNS = 80 };

struct table_column {
	const char *title;
	bool right;      /* aligned to the right */
	unsigned min;    /* may be cut to this many columns; 0 = never cut */
	bool sentence;   /* is cut at its end, not in the middle; where a narrow terminal
	                    has no room for all of it, it goes below its row */
	unsigned drop;   /* where cutting is not enough, columns are left out, highest
	                    number first, and named below the table; 0 = never */
};

struct table;

/* `columns` must outlive the table. NULL when memory is out. */
struct table *table_new(const struct table_column *columns, size_t n);
void table_free(struct table *t);

/* Adds a row; cells are copied, NULL is an empty one. `tints` has a colour for
 * each cell, or is NULL. Cells carry no control characters. -ENOMEM. */
int table_add(struct table *t, const char *const *cells, const enum tint *tints);
/* Adds a line below the last row, printed as it is, not cut. -ENOMEM. */
int table_add_line(struct table *t, const char *line);

/* Prints titles and rows. No line ends in spaces. Returns 0, or -ENOMEM. */
int table_print(const struct table *t, const struct look *look, FILE *out);

/* A bar of `columns` columns (at least 3) for `progress` 0..1, with its ends:
 * "▕███▌  ▏" or "[###   ]". A new string (free), NULL when memory is out. */
char *bar_draw(double progress, unsigned columns, bool utf8);
