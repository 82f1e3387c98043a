#include "base/table.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *tint_on(enum tint tint)
{
	static const char *const on[TINTS] = {
		[TINT_NONE] = "",        [TINT_BOLD] = "\033[1m",  [TINT_DIM] = "\033[2m",
		[TINT_RED] = "\033[31m", [TINT_GREEN] = "\033[32m", [TINT_YELLOW] = "\033[33m",
		[TINT_CYAN] = "\033[36m",
	};
	return on[tint];
}

const char *tint_off(enum tint tint)
{
	return tint == TINT_NONE ? "" : "\033[0m";
}

struct row {
	char **cells;      /* NULL: a line of its own */
	enum tint *tints;
	char *line;
};

struct table {
	const struct table_column *columns;
	size_t n;
	struct row *rows;
	size_t used, room;
};

struct table *table_new(const struct table_column *columns, size_t n)
{
	struct table *t = calloc(1, sizeof *t);
	if (t == NULL)
		return NULL;
	t->columns = columns;
	t->n = n;
	return t;
}

static void row_clear(struct row *row, size_t n)
{
	for (size_t i = 0; row->cells != NULL && i < n; i++)
		free(row->cells[i]);
	free(row->cells);
	free(row->tints);
	free(row->line);
}

void table_free(struct table *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->used; i++)
		row_clear(&t->rows[i], t->n);
	free(t->rows);
	free(t);
}

static struct row *next_row(struct table *t)
{
	if (t->used == t->room) {
		size_t room = t->room == 0 ? 16 : 2 * t->room;
		struct row *rows = reallocarray(t->rows, room, sizeof *rows);
		if (rows == NULL)
			return NULL;
		t->rows = rows;
		t->room = room;
	}
	t->rows[t->used] = (struct row){0};
	return &t->rows[t->used];
}

int table_add(struct table *t, const char *const *cells, const enum tint *tints)
{
	struct row *row = next_row(t);
	if (row == NULL)
		return -ENOMEM;
	row->cells = calloc(t->n, sizeof *row->cells);
	row->tints = calloc(t->n, sizeof *row->tints);
	if (row->cells == NULL || row->tints == NULL)
		goto fail;
	for (size_t i = 0; i < t->n; i++) {
		row->cells[i] = strdup(cells[i] == NULL ? "" : cells[i]);
		if (row->cells[i] == NULL)
			goto fail;
		row->tints[i] = tints == NULL ? TINT_NONE : tints[i];
	}
	t->used++;
	return 0;
fail:
	row_clear(row, t->n);
	return -ENOMEM;
}

int table_add_line(struct table *t, const char *line)
{
	struct row *row = next_row(t);
	if (row == NULL || (row->line = strdup(line)) == NULL)
		return -ENOMEM;
	t->used++;
	return 0;
}

enum { GAP = 2, PIPE_MAX = 40, FOLDED_INDENT = 4, FOLDED_MIN = 12 };
static const size_t left_out = (size_t)-1;
static const size_t folded = (size_t)-2;

static bool in_row(size_t width)
{
	return width != left_out && width != folded;
}

static size_t total_width(const size_t *widths, size_t n)
{
	size_t total = 0, shown = 0;
	for (size_t i = 0; i < n; i++) {
		if (!in_row(widths[i]))
			continue;
		total += widths[i];
		shown++;
	}
	return shown == 0 ? 0 : total + (shown - 1) * GAP;
}

static void natural_widths(const struct table *t, size_t *widths)
{
	for (size_t i = 0; i < t->n; i++)
		widths[i] = text_width(t->columns[i].title);
	for (size_t r = 0; r < t->used; r++) {
		for (size_t i = 0; t->rows[r].cells != NULL && i < t->n; i++) {
			size_t w = text_width(t->rows[r].cells[i]);
			if (w > widths[i])
				widths[i] = w;
		}
	}
}

/* On a narrow terminal no sentence is cut. */
static bool may_cut(const struct table *t, const size_t *widths, size_t i, bool narrow)
{
	const struct table_column *c = &t->columns[i];
	return c->min > 0 && !(c->sentence && narrow) && in_row(widths[i]) && widths[i] > c->min;
}

/* Takes one column from the widest cell that may be cut. */
static bool shrink(const struct table *t, size_t *widths, bool narrow)
{
	size_t widest = t->n;
	for (size_t i = 0; i < t->n; i++)
		if (may_cut(t, widths, i, narrow) && (widest == t->n || widths[i] > widths[widest]))
			widest = i;
	if (widest == t->n)
		return false;
	widths[widest]--;
	return true;
}

static bool drop_one(const struct table *t, size_t *widths)
{
	size_t first = t->n;
	for (size_t i = 0; i < t->n; i++) {
		if (t->columns[i].drop == 0 || !in_row(widths[i]))
			continue;
		if (first == t->n || t->columns[i].drop > t->columns[first].drop)
			first = i;
	}
	if (first == t->n)
		return false;
	widths[first] = left_out;
	return true;
}

/* How narrow it can get by cutting alone. */
static size_t smallest_width(const struct table *t, const size_t *widths, bool narrow)
{
	size_t total = total_width(widths, t->n);
	for (size_t i = 0; i < t->n; i++)
		if (may_cut(t, widths, i, narrow))
			total -= widths[i] - t->columns[i].min;
	return total;
}

static void fold_sentences(const struct table *t, size_t *widths)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->columns[i].sentence)
			widths[i] = folded;
}

/* What is longer than that goes beyond its column, in its own row alone. */
static void limit(const struct table *t, size_t *widths)
{
	for (size_t i = 0; i < t->n; i++)
		if (widths[i] > PIPE_MAX)
			widths[i] = PIPE_MAX;
}

static void fit(const struct table *t, size_t *widths, unsigned width)
{
	bool narrow = width < NARROW_COLUMNS;
	if (width == 0) {
		limit(t, widths);
		return;
	}
	if (narrow && smallest_width(t, widths, narrow) > width)
		fold_sentences(t, widths);
	while (smallest_width(t, widths, narrow) > width && drop_one(t, widths))
		;
	while (total_width(widths, t->n) > width && shrink(t, widths, narrow))
		;
}

static void print_cell(const struct table_column *column, const char *text, size_t width,
                       enum tint tint, size_t *owed, FILE *out)
{
	size_t used = text_width(text);
	size_t pad = used < width ? width - used : 0;
	if (column->right)
		*owed += pad;
	if (used > 0) {
		/* Spaces are only written once something follows them. */
		fprintf(out, "%*s%s%s%s", (int)*owed, "", tint_on(tint), text, tint_off(tint));
		*owed = 0;
	}
	if (!column->right)
		*owed += pad;
}

static char *shown_text(const struct table_column *column, const char *text, size_t width,
                        const struct look *look)
{
	if (look->width == 0)
		return strdup(text);
	return column->sentence ? text_cut_end(text, width, look->utf8)
	                        : text_cut_middle(text, width, look->utf8);
}

static int print_row(const struct table *t, const struct row *row, const size_t *widths,
                     const struct look *look, FILE *out)
{
	size_t owed = 0;
	bool first = true;
	for (size_t i = 0; i < t->n; i++) {
		if (!in_row(widths[i]))
			continue;
		char *cut = shown_text(&t->columns[i], row->cells[i], widths[i], look);
		if (cut == NULL)
			return -ENOMEM;
		if (!first)
			owed += GAP;
		first = false;
		print_cell(&t->columns[i], cut, widths[i],
		           look->colored ? row->tints[i] : TINT_NONE, &owed, out);
		free(cut);
	}
	fputc('\n', out);
	return 0;
}

/* Returns 0, or -ENOMEM. */
static int print_lines(const char *text, size_t indent, enum tint tint, unsigned width, FILE *out)
{
	bool fits = width >= indent + FOLDED_MIN;
	char *lines = text_wrap(text, fits ? width - indent : 0, indent);
	if (lines == NULL)
		return -ENOMEM;
	fprintf(out, "%*s%s%s%s\n", (int)indent, "", tint_on(tint), lines, tint_off(tint));
	free(lines);
	return 0;
}

static int print_folded(const struct table *t, const struct row *row, const size_t *widths,
                        const struct look *look, FILE *out)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < t->n; i++)
		if (widths[i] == folded && row->cells[i][0] != '\0')
			r = print_lines(row->cells[i], FOLDED_INDENT,
			                look->colored ? row->tints[i] : TINT_NONE, look->width, out);
	return r;
}

static int print_left_out(const struct table *t, const size_t *widths, const struct look *look,
                          FILE *out)
{
	char *text = NULL;
	size_t size, n = 0;
	int r = 0;
	FILE *list = open_memstream(&text, &size);
	if (list == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < t->n; i++)
		if (widths[i] == left_out)
			fprintf(list, "%s%s", n++ == 0 ? "no room for " : ", ", t->columns[i].title);
	if (fclose(list) != 0)
		r = -ENOMEM;
	else if (n > 0)
		r = print_lines(text, 0, look->colored ? TINT_DIM : TINT_NONE, look->width, out);
	free(text);
	return r;
}

static void print_titles(const struct table *t, const size_t *widths, const struct look *look,
                         FILE *out)
{
	size_t owed = 0;
	bool first = true;
	enum tint tint = look->colored ? TINT_DIM : TINT_NONE;
	for (size_t i = 0; i < t->n; i++) {
		if (!in_row(widths[i]))
			continue;
		if (!first)
			owed += GAP;
		first = false;
		print_cell(&t->columns[i], t->columns[i].title, widths[i], tint, &owed, out);
	}
	fputc('\n', out);
}

int table_print(const struct table *t, const struct look *look, FILE *out)
{
	size_t *widths = calloc(t->n + 1, sizeof *widths);
	int r = 0;
	if (widths == NULL)
		return -ENOMEM;
	natural_widths(t, widths);
	fit(t, widths, look->width);
	print_titles(t, widths, look, out);
	for (size_t i = 0; r == 0 && i < t->used; i++) {
		if (t->rows[i].cells == NULL) {
			fprintf(out, "%s\n", t->rows[i].line);
			continue;
		}
		r = print_row(t, &t->rows[i], widths, look, out);
		if (r == 0)
			r = print_folded(t, &t->rows[i], widths, look, out);
	}
	if (r == 0)
		r = print_left_out(t, widths, look, out);
	free(widths);
	return r;
}

char *bar_draw(double progress, unsigned columns, bool utf8)
{
	static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
	unsigned inside = columns < 3 ? 1 : columns - 2;
	char *out = malloc((size_t)inside * 3 + 8);
	if (out == NULL)
		return NULL;
	/* Written so that NaN counts as nothing done. */
	double done = progress > 0 ? (progress < 1 ? progress : 1) : 0;
	unsigned parts = (unsigned)(done * inside * 8);
	unsigned full = parts / 8, part = utf8 ? parts % 8 : 0;
	char *o = stpcpy(out, utf8 ? "▕" : "[");
	for (unsigned i = 0; i < full; i++)
		o = stpcpy(o, utf8 ? "█" : "#");
	o = stpcpy(o, eighths[part]);
	for (unsigned i = full + (part > 0 ? 1 : 0); i < inside; i++)
		*o++ = ' ';
	stpcpy(o, utf8 ? "▏" : "]");
	return out;
}
