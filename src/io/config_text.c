#include "io/config_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int grow(void **data, size_t *room, size_t wanted, size_t element)
{
	if (wanted <= *room)
		return 0;
	size_t size = *room * 2 > wanted ? *room * 2 : wanted;
	void *more = realloc(*data, size * element);
	if (more == NULL)
		return -ENOMEM;
	*data = more;
	*room = size;
	return 0;
}

static bool starts_character(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

int config_text_put(struct config_text *t, const char *bytes, size_t n, size_t at)
{
	void *data = t->data, *origin = t->origin;
	int r = grow(&data, &t->data_room, t->data_n + n + 1, 1);
	t->data = data;
	if (r == 0)
		r = grow(&origin, &t->chars_room, t->chars + n + 1, sizeof *t->origin);
	t->origin = origin;
	if (r < 0)
		return r;
	assert(t->data != NULL && t->origin != NULL);
	memcpy(t->data + t->data_n, bytes, n);
	t->data_n += n;
	for (size_t i = 0; i < n; i++)
		if (starts_character(bytes[i]))
			t->origin[t->chars++] = (uint32_t)at;
	return 0;
}

void config_text_clear(struct config_text *t)
{
	free(t->data);
	free(t->origin);
	*t = (struct config_text){0};
}

static size_t skip_byte_order_mark(const char *source, size_t size)
{
	return size >= 3 && memcmp(source, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

void config_text_place(const struct config_text *t, size_t at, size_t *ret_line,
                       size_t *ret_column)
{
	size_t line = 1, column = 1;
	if (at > t->size)
		at = t->size;
	for (size_t i = skip_byte_order_mark(t->source, t->size); i < at; i++) {
		if (t->source[i] == '\n') {
			line++;
			column = 1;
		} else if (starts_character(t->source[i])) {
			column++;
		}
	}
	*ret_line = line;
	*ret_column = column;
}

size_t config_utf8(const char *s, size_t n, uint32_t *ret_character)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char first = (unsigned char)s[0];
	size_t length = first < 0x80            ? 1
	                : (first & 0xe0) == 0xc0 ? 2
	                : (first & 0xf0) == 0xe0 ? 3
	                : (first & 0xf8) == 0xf0 ? 4
	                                         : 0;
	if (length == 0 || length > n)
		return 0;
	uint32_t c = length == 1 ? first : first & (0x7fU >> length);
	for (size_t i = 1; i < length; i++) {
		if (starts_character(s[i]))
			return 0;
		c = c << 6 | ((unsigned char)s[i] & 0x3fU);
	}
	if (c < smallest[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret_character = c;
	return length;
}

bool config_yaml_takes(uint32_t c)
{
	if (c < 0x20 || (c >= 0x7f && c < 0xa0))
		return c == '\t' || c == '\n' || c == '\r';
	/* The separators would be taken as the end of a line. */
	return c != 0x2028 && c != 0x2029 && c != 0xfeff && c != 0xfffe && c != 0xffff;
}

static int check_utf8(struct config_loader *l, const struct config_text *t, size_t start)
{
	uint32_t c = 0;
	for (size_t at = start, length; at < t->size; at += length) {
		length = config_utf8(t->source + at, t->size - at, &c);
		if (length > 0)
			continue;
		config_error(l, at, NULL,
		             "byte \\x%02x is not UTF-8 here: save the file with the encoding "
		             "UTF-8",
		             (unsigned char)t->source[at]);
		return -EINVAL;
	}
	return 0;
}

static int yaml_prepare(struct config_loader *l, struct config_text *t, size_t start)
{
	uint32_t c = 0;
	for (size_t at = start, length; at < t->size; at += length) {
		length = config_utf8(t->source + at, t->size - at, &c);
		if (!config_yaml_takes(c)) {
			config_error(l, at, NULL, "character U+%04X cannot stand here as it is: "
			             "remove it, or write \"\\u%04x\" within double quotes", c, c);
			return -EINVAL;
		}
		int r = config_text_put(t, t->source + at, length, at);
		if (r < 0)
			return r;
	}
	return 0;
}

void config_empty(struct config_loader *l)
{
	config_error(l, CONFIG_NOWHERE, NULL,
	             "is empty: {} would do, and means that all settings have their defaults");
}

int config_text_init(struct config_loader *l, const char *source, size_t size, bool json_allowed,
                     struct config_text *ret)
{
	struct config_text t = {.source = source, .size = size};
	const struct config_text *before = l->text;
	l->text = &t;
	int r = 0;
	if (size > CONFIG_SIZE_MAX) {
		config_error(l, CONFIG_NOWHERE, NULL,
		             "is larger than 1 MiB: is it a configuration?");
		r = -EINVAL;
	}
	size_t start = skip_byte_order_mark(source, size);
	if (r == 0)
		r = check_utf8(l, &t, start);
	if (r == 0) {
		size_t first = start;
		while (first < size && strchr(" \t\r\n", source[first]) != NULL &&
		       source[first] != '\0')
			first++;
		if (first == size) {
			config_empty(l);
			r = -EINVAL;
		}
		t.json = json_allowed && first < size && source[first] == '{';
	}
	if (r == 0)
		r = t.json ? config_json_prepare(l, &t, start) : yaml_prepare(l, &t, start);
	/* What libyaml says of the end of the text lies at the end of the source. */
	if (r == 0)
		r = config_text_put(&t, "\n", 1, size);
	l->text = before;
	if (r < 0) {
		config_text_clear(&t);
		return r;
	}
	*ret = t;
	return 0;
}
