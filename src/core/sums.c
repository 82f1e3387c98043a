#include "core/sums.h"

#include "core/name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEX = 2 * SUMS_DIGEST };

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hex(const char *text, size_t n, uint8_t *ret)
{
	if (n < HEX)
		return false;
	for (size_t i = 0; i < SUMS_DIGEST; i++) {
		int high = nibble(text[2 * i]), low = nibble(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* Undoes the escapes in place; false where one is none. */
static bool unescape(char *name)
{
	char *to = name;
	for (const char *from = name; *from != '\0'; from++) {
		char c = *from;
		if (c == '\\') {
			switch (*++from) {
			case '\\': c = '\\'; break;
			case 'n': c = '\n'; break;
			case 'r': c = '\r'; break;
			default: return false;
			}
		}
		*to++ = c;
	}
	*to = '\0';
	return true;
}

static bool leads_outside(const char *name)
{
	if (name[0] == '/')
		return true;
	for (const char *part = name; part != NULL; part = strchr(part, '/')) {
		part += *part == '/';
		if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
			return true;
	}
	return false;
}

/* "./a//b/./c" → "a/b/c", in place. */
static void straighten(char *name)
{
	char *to = name;
	const char *from = name;
	while (*from != '\0') {
		size_t n = strcspn(from, "/");
		if (n > 0 && !(n == 1 && from[0] == '.')) {
			if (to != name)
				*to++ = '/';
			memmove(to, from, n);
			to += n;
		}
		from += n;
		from += *from == '/';
	}
	*to = '\0';
}

static int set_name(struct sums_entry *entry, const char *name, size_t n, bool escaped)
{
	if (memchr(name, '\0', n) != NULL)
		return -EINVAL;
	entry->name = strndup(name, n);
	if (entry->name == NULL)
		return -ENOMEM;
	if (escaped && !unescape(entry->name))
		return -EINVAL;
	entry->outside = leads_outside(entry->name);
	if (strcmp(entry->name, "-") == 0)
		entry->name[0] = '\0';
	if (!entry->outside)
		straighten(entry->name);
	return 0;
}

/* "SHA256 (<name>) = <digits>" */
static int read_tagged(const char *line, size_t n, bool escaped, struct sums_entry *entry)
{
	static const char head[] = "SHA256 (", middle[] = ") = ";
	const size_t head_n = sizeof head - 1, rest_n = sizeof middle - 1 + HEX;
	if (n <= head_n + rest_n || memcmp(line, head, head_n) != 0 ||
	    memcmp(line + n - rest_n, middle, sizeof middle - 1) != 0 ||
	    !read_hex(line + n - HEX, HEX, entry->digest))
		return -EINVAL;
	return set_name(entry, line + head_n, n - head_n - rest_n, escaped);
}

static int read_line(const char *line, size_t n, struct sums_entry *entry)
{
	bool escaped = n > 0 && line[0] == '\\';
	line += escaped;
	n -= escaped;
	if (n > 0 && line[0] == 'S')
		return read_tagged(line, n, escaped, entry);
	if (!read_hex(line, n, entry->digest))
		return -EINVAL;
	if (n == HEX)
		return escaped ? -EINVAL : set_name(entry, "", 0, false);
	if (n < HEX + 3 || line[HEX] != ' ' || (line[HEX + 1] != ' ' && line[HEX + 1] != '*'))
		return -EINVAL;
	return set_name(entry, line + HEX + 2, n - HEX - 2, escaped);
}

static int by_name(const void *a, const void *b)
{
	const struct sums_entry *x = a, *y = b;
	int order = strcmp(x->name, y->name);
	if (order != 0)
		return order;
	return x->line < y->line ? -1 : x->line > y->line;
}

static int add(struct sums *sums, size_t *room, const char *line, size_t n, size_t number)
{
	if (sums->n == *room) {
		size_t more = *room == 0 ? 4 : *room * 2;
		struct sums_entry *entries = reallocarray(sums->entries, more, sizeof *entries);
		if (entries == NULL)
			return -ENOMEM;
		sums->entries = entries;
		*room = more;
	}
	struct sums_entry *entry = &sums->entries[sums->n];
	*entry = (struct sums_entry){.line = number};
	int r = read_line(line, n, entry);
	if (r < 0)
		free(entry->name);
	else
		sums->n++;
	return r;
}

static int parse(const char *data, size_t size, struct sums *sums, size_t *ret_line)
{
	size_t room = 0, n;
	for (*ret_line = 1; size > 0; ++*ret_line) {
		const char *end = memchr(data, '\n', size);
		size_t whole = end == NULL ? size : (size_t)(end - data) + 1;
		n = end == NULL ? size : whole - 1;
		n -= n > 0 && data[n - 1] == '\r';
		int r = n == 0 || data[0] == '#' ? 0 : add(sums, &room, data, n, *ret_line);
		if (r < 0)
			return r;
		data += whole;
		size -= whole;
	}
	return 0;
}

int sums_parse(const char *data, size_t size, struct sums *ret, char *why)
{
	struct sums sums = {0};
	size_t line = 0;
	int r = 0;
	if (size > SUMS_FILE_MAX) {
		snprintf(why, SUMS_WHY_MAX, "is larger than %d KiB", SUMS_FILE_MAX / 1024);
		r = -EINVAL;
	} else if ((r = parse(data, size, &sums, &line)) == -EINVAL) {
		snprintf(why, SUMS_WHY_MAX, "has no checksum as sha256sum writes it in line %zu", line);
	} else if (r == 0 && sums.n == 0) {
		snprintf(why, SUMS_WHY_MAX, "is empty");
		r = -EINVAL;
	}
	if (r < 0) {
		sums_clear(&sums);
		return r;
	}
	qsort(sums.entries, sums.n, sizeof *sums.entries, by_name);
	*ret = sums;
	return 0;
}

void sums_clear(struct sums *sums)
{
	for (size_t i = 0; i < sums->n; i++)
		free(sums->entries[i].name);
	free(sums->entries);
	*sums = (struct sums){0};
}

const struct sums_entry *sums_find(const struct sums *sums, const char *name)
{
	size_t low = 0, high = sums->n;
	/* Behind the last one of that name. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(sums->entries[middle].name, name) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	const struct sums_entry *found = low == 0 ? NULL : &sums->entries[low - 1];
	return found != NULL && !found->outside && name[0] != '\0' && strcmp(found->name, name) == 0
	               ? found
	               : NULL;
}

const struct sums_entry *sums_find_own(const struct sums *sums, const char *base)
{
	const struct sums_entry *found = sums_find(sums, base);
	if (found != NULL || sums->n != 1)
		return found;
	const struct sums_entry *only = &sums->entries[0];
	bool fits = only->name[0] == '\0' || strcmp(name_base(only->name), base) == 0;
	return fits ? only : NULL;
}

bool sums_is_name(const char *path)
{
	const char *base = name_base(path);
	size_t n = strlen(base), suffix = sizeof SUMS_SUFFIX - 1;
	return n > suffix && strcmp(base + n - suffix, SUMS_SUFFIX) == 0;
}

void sums_hex(const uint8_t *digest, char *out)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < SUMS_DIGEST; i++) {
		out[2 * i] = digits[digest[i] >> 4];
		out[2 * i + 1] = digits[digest[i] & 15];
	}
	out[HEX] = '\0';
}
