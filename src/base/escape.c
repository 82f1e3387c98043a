#include "base/escape.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Decodes one UTF-8 character; returns its length, or 0 where there is none
 * (overlong forms and surrogates included). */
static size_t utf8_decode(const unsigned char *s, size_t n, uint32_t *ret)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
	             : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
	if (len == 0 || len > n)
		return 0;
	uint32_t c = len == 1 ? s[0] : s[0] & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fU);
	}
	if (c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return len;
}

static bool is_printable(uint32_t c)
{
	if (c < 0x20 || (c >= 0x7f && c < 0xa0))
		return false;
	/* Line and paragraph separators, and what turns the reading direction. */
	return !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069) &&
	       c != 0x200e && c != 0x200f && c != 0x061c;
}

bool escape_is_plain(const char *bytes, size_t n)
{
	const unsigned char *s = (const unsigned char *)bytes;
	for (size_t i = 0; i < n;) {
		uint32_t c;
		size_t len = utf8_decode(s + i, n - i, &c);
		if (len == 0 || c == '\\' || !is_printable(c))
			return false;
		i += len;
	}
	return true;
}

char *escape_name(const char *bytes, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)bytes;
	char *out = malloc(4 * n + 1);
	if (out == NULL)
		return NULL;
	char *o = out;
	for (size_t i = 0; i < n;) {
		uint32_t c = 0;
		size_t len = utf8_decode(s + i, n - i, &c);
		if (c == '\\') {
			*o++ = '\\';
			*o++ = '\\';
			i++;
		} else if (len > 0 && is_printable(c)) {
			memcpy(o, s + i, len);
			o += len;
			i += len;
		} else {
			for (size_t end = i + (len > 0 ? len : 1); i < end; i++) {
				*o++ = '\\';
				*o++ = 'x';
				*o++ = hex[s[i] >> 4];
				*o++ = hex[s[i] & 15];
			}
		}
	}
	*o = '\0';
	return out;
}

char *escape_str(const char *name)
{
	return escape_name(name, strlen(name));
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One escape sequence after its backslash; returns its length, 0 = malformed. */
static size_t unescape_one(const char *s, char *ret)
{
	if (s[0] == '\\') {
		*ret = '\\';
		return 1;
	}
	if (s[0] != 'x')
		return 0;
	int high = hex_digit(s[1]);
	int low = high < 0 ? -1 : hex_digit(s[2]);
	if (low < 0 || (high == 0 && low == 0))
		return 0;
	*ret = (char)(high << 4 | low);
	return 3;
}

char *unescape_name(const char *escaped)
{
	char *out = malloc(strlen(escaped) + 1);
	if (out == NULL)
		return NULL;
	char *o = out;
	for (const char *s = escaped; *s != '\0';) {
		if (*s != '\\') {
			*o++ = *s++;
			continue;
		}
		size_t len = unescape_one(s + 1, o++);
		if (len == 0) {
			free(out);
			errno = EINVAL;
			return NULL;
		}
		s += 1 + len;
	}
	*o = '\0';
	return out;
}
