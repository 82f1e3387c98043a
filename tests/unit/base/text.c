#include "base/text.h"

#include <criterion/criterion.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static void utf8_locale(void)
{
	cr_assert_not_null(setlocale(LC_CTYPE, "C.UTF-8"));
}

TestSuite(text, .init = utf8_locale);

Test(text, width_counts_columns_not_bytes)
{
	cr_assert_eq(text_width(""), 0);
	cr_assert_eq(text_width("abc"), 3);
	cr_assert_eq(text_width("Müller"), 6);
	cr_assert_eq(text_width("日本"), 4);
	cr_assert_eq(text_width("e\u0301"), 1); /* a combining accent */
	cr_assert_eq(text_width("a\xff" "b"), 3);
}

Test(text, width_without_utf8_locale_still_counts_characters)
{
	setlocale(LC_CTYPE, "C");
	cr_assert_eq(text_width("Müller"), 6);
}

static void check_cut(const char *text, size_t columns, bool utf8, const char *expected)
{
	char *cut = text_cut_middle(text, columns, utf8);
	cr_assert_str_eq(cut, expected);
	cr_assert(text_width(cut) <= columns);
	free(cut);
}

Test(text, cut_middle_keeps_both_ends)
{
	check_cut("report.csv", 10, true, "report.csv");
	check_cut("report.csv", 9, true, "repo….csv");
	check_cut("report.csv", 9, false, "rep...csv");
	check_cut("report.csv", 2, true, "r…");
	check_cut("report.csv", 1, true, "…");
	check_cut("report.csv", 2, false, "..");
	check_cut("report.csv", 0, true, "");
	check_cut("report.csv", 0, false, "");
}

Test(text, cut_middle_never_splits_a_character)
{
	check_cut("日本語日本語", 6, true, "日…語");
	check_cut("äöüäöü", 4, true, "äö…ü");
}

Test(text, cut_end_keeps_the_beginning)
{
	char *cut = text_cut_end("reading sheet two", 10, true);
	cr_assert_str_eq(cut, "reading s…");
	free(cut);
	cut = text_cut_end("short", 10, true);
	cr_assert_str_eq(cut, "short");
	free(cut);
}

static void expect_wrapped(const char *text, size_t columns, const char *expected)
{
	char *lines = text_wrap(text, columns, 2);
	cr_expect_str_eq(lines, expected);
	free(lines);
}

Test(text, wrap_breaks_at_spaces)
{
	expect_wrapped("", 5, "");
	expect_wrapped("one two", 7, "one two");
	expect_wrapped("one two", 6, "one\n  two");
	expect_wrapped("one two three", 7, "one two\n  three");
	expect_wrapped("\u00e9\u00e9 \u00e9\u00e9", 5, "\u00e9\u00e9 \u00e9\u00e9");
	expect_wrapped("one   two", 4, "one\n  two");
	expect_wrapped("one two ", 3, "one\n  two");
	expect_wrapped(" one", 3, "\n  one");
	expect_wrapped("one two", 0, "one two");
}

Test(text, wrap_breaks_what_is_wider_than_a_line)
{
	expect_wrapped("a /very/long/path b", 7, "a\n  /very/\n  long/\n  path b");
	expect_wrapped("/srv/long-name", 6, "/srv/\n  long-n\n  ame");
	expect_wrapped("/long", 3, "/lo\n  ng");
	expect_wrapped("\u00e9\u00e9\u00e9", 2, "\u00e9\u00e9\n  \u00e9");
	expect_wrapped("\u6f22\u6f22", 1, "\u6f22\n  \u6f22");
}

Test(text, printable_defuses_but_leaves_backslashes)
{
	const char raw[] = "a\033[2Jb\\x41 \xff\n\tc";
	char *safe = text_printable(raw, sizeof raw - 1, "\n\t");
	cr_assert_str_eq(safe, "a\\x1b[2Jb\\x41 \\xff\n\tc");
	free(safe);
	safe = text_printable(raw, sizeof raw - 1, "");
	cr_assert_null(strchr(safe, '\n'));
	char *again = text_printable(safe, strlen(safe), "");
	cr_assert_str_eq(safe, again, "doing it twice changes nothing");
	free(again);
	free(safe);
}

Test(text, printable_escapes_a_nul_byte)
{
	char *safe = text_printable("a\0b", 3, "\n");
	cr_assert_str_eq(safe, "a\\x00b");
	free(safe);
}

Test(text, nearest_finds_what_was_meant)
{
	static const char *const words[] = {"status", "start", "stop", "list", "explain", NULL};
	cr_assert_str_eq(text_nearest("statsu", words), "status");
	cr_assert_str_eq(text_nearest("explan", words), "explain");
	cr_assert_str_eq(text_nearest("exp", words), "explain");
	cr_assert_str_eq(text_nearest("lsit", words), "list");
	cr_assert_null(text_nearest("frobnicate", words));
	cr_assert_null(text_nearest("x", words));
	cr_assert_null(text_nearest("", words));
}
