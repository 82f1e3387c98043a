#include "base/escape.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void check(const char *bytes, const char *expected)
{
	char *escaped = escape_str(bytes);
	cr_assert_not_null(escaped);
	cr_expect_str_eq(escaped, expected);
	cr_expect_eq(escape_is_plain(bytes, strlen(bytes)), strcmp(bytes, expected) == 0, "%s", expected);
	char *back = unescape_name(escaped);
	cr_assert_not_null(back, "cannot read back: %s", escaped);
	cr_expect_str_eq(back, bytes);
	free(back);
	free(escaped);
}

Test(escape, printable_text_stays)
{
	check("", "");
	check("report.csv", "report.csv");
	check("Bericht für Größe 1/2 \xe2\x82\xac.csv", "Bericht für Größe 1/2 \xe2\x82\xac.csv");
	check("\xf0\x9f\x93\xa6", "\xf0\x9f\x93\xa6");
	check("a b'\"$`;|&", "a b'\"$`;|&");
}

Test(escape, backslash_is_doubled)
{
	check("\\", "\\\\");
	check("\\x41", "\\\\x41");
	check("a\\\\b", "a\\\\\\\\b");
}

Test(escape, control_characters)
{
	check("a\nb", "a\\x0ab");
	check("\x1b[2J", "\\x1b[2J");
	check("\x7f", "\\x7f");
	check("\xc2\x9b", "\\xc2\\x9b");
	check("\xc2\xa0", "\xc2\xa0");
}

Test(escape, what_turns_the_reading_direction)
{
	check("\xe2\x80\xae", "\\xe2\\x80\\xae");
	check("\xe2\x80\x8f", "\\xe2\\x80\\x8f");
	check("\xe2\x81\xa6", "\\xe2\\x81\\xa6");
	check("\xd8\x9c", "\\xd8\\x9c");
	check("\xe2\x80\xa8", "\\xe2\\x80\\xa8");
}

Test(escape, bytes_that_are_no_utf8)
{
	check("\xff", "\\xff");
	check("\x80", "\\x80");
	check("caf\xe9", "caf\\xe9");
	check("\xc3", "\\xc3");
	check("\xe2\x82", "\\xe2\\x82");
	check("\xe2\x82x", "\\xe2\\x82x");
	check("\xf0\x9f\x93", "\\xf0\\x9f\\x93");
	/* Overlong forms of '/', a surrogate, beyond U+10FFFF. */
	check("\xc0\xaf", "\\xc0\\xaf");
	check("\xe0\x80\xaf", "\\xe0\\x80\\xaf");
	check("\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf");
	check("\xed\xa0\x80", "\\xed\\xa0\\x80");
	check("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	check("\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80");
}

Test(escape, every_pair_of_bytes_comes_back)
{
	for (unsigned high = 1; high < 256; high++) {
		for (unsigned low = 1; low < 256; low++) {
			char name[] = {(char)high, (char)low, 'x', '\0'};
			char *escaped = escape_str(name);
			char *back = unescape_name(escaped);
			cr_assert(back != NULL && strcmp(back, name) == 0, "%02x %02x", high, low);
			free(escaped);
			free(back);
		}
	}
}

Test(escape, different_names_have_different_spellings)
{
	char *text = escape_str("\\xff"), *byte = escape_str("\xff");
	cr_expect_str_neq(text, byte);
	free(text);
	free(byte);
}

Test(escape, length_decides_not_a_nul)
{
	char *escaped = escape_name("a\0b", 3);
	cr_expect_str_eq(escaped, "a\\x00b");
	errno = 0;
	cr_expect_null(unescape_name(escaped));
	cr_expect_eq(errno, EINVAL);
	free(escaped);
	/* A character cut by the length. */
	escaped = escape_name("\xc3\xbc", 1);
	cr_expect_str_eq(escaped, "\\xc3");
	free(escaped);
}

Test(escape, malformed_spellings_are_refused)
{
	static const char *const bad[] = {"\\",     "a\\",   "\\x",    "\\x1",  "\\xg1",
	                                  "\\x1g", "\\n", "\\x00", "\\X41"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		errno = 0;
		char *name = unescape_name(bad[i]);
		cr_expect(name == NULL && errno == EINVAL, "%s", bad[i]);
		free(name);
	}
}

Test(escape, capital_hex_is_read)
{
	char *name = unescape_name("\\xFF\\xAb");
	cr_assert_not_null(name);
	cr_expect_str_eq(name, "\xff\xab");
	free(name);
}
