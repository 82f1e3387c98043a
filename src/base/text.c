#include "base/text.h"

#include "base/escape.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* One character: its length in bytes (at least 1 before the end) and columns. */
static size_t step(const char *s, size_t *ret_columns)
{
	mbstate_t state = {0};
	wchar_t c;
	size_t len = mbrtowc(&c, s, MB_CUR_MAX, &state);
	if (len == 0 || len > MB_CUR_MAX || MB_CUR_MAX == 1) {
		/* Not of this locale: assume UTF-8, whose continuation bytes are 10xxxxxx. */
		*ret_columns = ((unsigned char)*s & 0xc0) == 0x80 ? 0 : 1;
		return 1;
	}
	int columns = wcwidth(c);
	*ret_columns = columns < 0 ? 1 : (size_t)columns;
	return len;
}

size_t text_width(const char *text)
{
	size_t width = 0;
	while (*text != '\0') {
		size_t columns;
		text += step(text, &columns);
		width += columns;
	}
	return width;
}

/* Bytes at the beginning of `text` that fit into `columns`. */
static size_t head_bytes(const char *text, size_t columns)
{
	const char *s = text;
	size_t used = 0;
	while (*s != '\0') {
		size_t more;
		size_t len = step(s, &more);
		if (used + more > columns)
			break;
		used += more;
		s += len;
	}
	return (size_t)(s - text);
}

/* Where the end of `text` that fits into `columns` begins. */
static const char *tail_start(const char *text, size_t columns)
{
	size_t left = text_width(text);
	while (*text != '\0') {
		size_t more;
		size_t len = step(text, &more);
		/* Combining characters belong to what was cut before them. */
		if (left <= columns && more > 0)
			break;
		text += len;
		left -= more;
	}
	return text;
}

static char *join(const char *head, size_t head_n, const char *mark, const char *tail)
{
	size_t mark_n = strlen(mark), tail_n = strlen(tail);
	char *out = malloc(head_n + mark_n + tail_n + 1);
	if (out == NULL)
		return NULL;
	memcpy(out, head, head_n);
	memcpy(out + head_n, mark, mark_n);
	memcpy(out + head_n + mark_n, tail, tail_n + 1);
	return out;
}

static const char *cut_mark(size_t columns, bool utf8)
{
	if (utf8)
		return columns == 0 ? "" : "…";
	return &"..."[columns < 3 ? 3 - columns : 0];
}

char *text_cut_middle(const char *text, size_t columns, bool utf8)
{
	if (text_width(text) <= columns)
		return strdup(text);
	const char *mark = cut_mark(columns, utf8);
	size_t room = columns - (utf8 && columns > 0 ? 1 : strlen(mark));
	size_t tail = room / 2;
	return join(text, head_bytes(text, room - tail), mark, tail_start(text, tail));
}

char *text_cut_end(const char *text, size_t columns, bool utf8)
{
	if (text_width(text) <= columns)
		return strdup(text);
	const char *mark = cut_mark(columns, utf8);
	size_t room = columns - (utf8 && columns > 0 ? 1 : strlen(mark));
	return join(text, head_bytes(text, room), mark, "");
}

/* Bytes up to the next one that is passed on as it is. */
static size_t run_length(const char *s, size_t n, const char *keep)
{
	size_t i = 0;
	while (i < n && s[i] != '\\' && (s[i] == '\0' || strchr(keep, s[i]) == NULL))
		i++;
	return i;
}

/* Bytes of a word that is wider than a line: up to the last slash of a path, or what fits. */
static size_t piece_bytes(const char *word, size_t fit)
{
	size_t columns;
	for (size_t n = fit; n > 1; n--)
		if (word[n - 1] == '/')
			return n;
	return fit > 0 ? fit : step(word, &columns);
}

/* Bytes of `text` that make the next line: up to a space, or its end. */
static size_t line_bytes(const char *text, size_t columns)
{
	size_t n = strlen(text), fit = head_bytes(text, columns);
	if (fit == n)
		return n;
	size_t end = fit;
	while (end > 0 && text[end] != ' ')
		end--;
	while (end > 0 && text[end - 1] == ' ')
		end--;
	return end > 0 || *text == ' ' ? end : piece_bytes(text, fit);
}

char *text_wrap(const char *text, size_t columns, size_t indent)
{
	char *out = NULL;
	size_t size;
	if (columns == 0)
		return strdup(text);
	FILE *lines = open_memstream(&out, &size);
	if (lines == NULL)
		return NULL;
	for (bool first = true; first || *text != '\0'; first = false) {
		size_t n = line_bytes(text, columns);
		fprintf(lines, "%s%*s%.*s", first ? "" : "\n", first ? 0 : (int)indent, "", (int)n, text);
		text += n;
		text += strspn(text, " ");
	}
	if (fclose(lines) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

char *text_printable(const char *bytes, size_t n, const char *keep)
{
	char *out = malloc(4 * n + 1);
	if (out == NULL)
		return NULL;
	char *o = out;
	for (size_t i = 0; i < n;) {
		size_t run = run_length(bytes + i, n - i, keep);
		if (run == 0) {
			*o++ = bytes[i++];
			continue;
		}
		char *escaped = escape_name(bytes + i, run);
		if (escaped == NULL) {
			free(out);
			return NULL;
		}
		o = stpcpy(o, escaped);
		free(escaped);
		i += run;
	}
	*o = '\0';
	return out;
}

enum { WORD_MAX = 64 };

/* Edits (insert, remove, replace, swap neighbours) that turn `a` into `b`. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][WORD_MAX + 1];
	size_t an = strlen(a), bn = strlen(b);
	if (an > WORD_MAX || bn > WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= bn; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= an; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
		row[0] = i;
		for (size_t j = 1; j <= bn; j++) {
			size_t best = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    above2[j - 2] + 1 < best)
				best = above2[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[an % 3][bn];
}

const char *text_nearest(const char *word, const char *const *words)
{
	const char *nearest = NULL;
	size_t best = SIZE_MAX, n = strlen(word);
	for (; *words != NULL; words++) {
		/* What was begun rightly is meant, however much of it is missing. */
		size_t d = n > 1 && strncmp(word, *words, n) == 0 ? 0 : distance(word, *words);
		if (d < best) {
			best = d;
			nearest = *words;
		}
	}
	return best <= n / 3 + 1 && best < n ? nearest : NULL;
}
