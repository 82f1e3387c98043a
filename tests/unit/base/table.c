#include "base/table.h"

#include <criterion/criterion.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void utf8_locale(void)
{
	cr_assert_not_null(setlocale(LC_CTYPE, "C.UTF-8"));
}

TestSuite(table, .init = utf8_locale);
TestSuite(bar, .init = utf8_locale);

static const struct table_column columns[] = {
	{.title = "USER", .min = 4},
	{.title = "WATCH", .drop = 1},
	{.title = "PENDING", .right = true},
	{.title = "NOTE"},
};

static struct table *sample(void)
{
	struct table *t = table_new(columns, 4);
	cr_assert_not_null(t);
	const char *alice[] = {"alice-the-first", "inotify", "12", NULL};
	const char *bob[] = {"böb", "poll", "3", "held"};
	const enum tint tints[] = {TINT_NONE, TINT_NONE, TINT_NONE, TINT_YELLOW};
	cr_assert_eq(table_add(t, alice, NULL), 0);
	cr_assert_eq(table_add_line(t, "  a line of its own"), 0);
	cr_assert_eq(table_add(t, bob, tints), 0);
	return t;
}

static void check(struct look look, const char *expected)
{
	struct table *t = sample();
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	cr_assert_eq(table_print(t, &look, out), 0);
	fclose(out);
	cr_assert_str_eq(text, expected);
	free(text);
	table_free(t);
}

Test(table, pipe_gets_everything_uncut_and_plain)
{
	check((struct look){.utf8 = true},
	      "USER             WATCH    PENDING  NOTE\n"
	      "alice-the-first  inotify       12\n"
	      "  a line of its own\n"
	      "böb              poll           3  held\n");
}

Test(table, narrow_terminal_cuts_the_cell_that_may_be_cut)
{
	check((struct look){.width = 35, .utf8 = true},
	      "USER         WATCH    PENDING  NOTE\n"
	      "alice…first  inotify       12\n"
	      "  a line of its own\n"
	      "böb          poll           3  held\n");
}

Test(table, too_narrow_for_cutting_drops_columns)
{
	check((struct look){.width = 20, .utf8 = false},
	      "USER   PENDING  NOTE\n"
	      "a...t       12\n"
	      "  a line of its own\n"
	      "böb          3  held\n"
	      "no room for WATCH\n");
}

Test(table, narrower_than_possible_is_still_printed)
{
	check((struct look){.width = 3, .utf8 = true},
	      "USER  PENDING  NOTE\n"
	      "al…t       12\n"
	      "  a line of its own\n"
	      "böb         3  held\n"
	      "no room for WATCH\n");
}

Test(table, colours_do_not_disturb_the_columns)
{
	check((struct look){.colored = true, .utf8 = true},
	      "\033[2mUSER\033[0m             \033[2mWATCH\033[0m    \033[2mPENDING\033[0m"
	      "  \033[2mNOTE\033[0m\n"
	      "alice-the-first  inotify       12\n"
	      "  a line of its own\n"
	      "böb              poll           3  \033[33mheld\033[0m\n");
}

Test(table, one_long_cell_does_not_pad_the_others_of_a_pipe)
{
	static const struct table_column two[] = {{.title = "A"}, {.title = "B", .right = true},
	                                          {.title = "C"}};
	const char *many = "a-name-of-more-than-forty-characters-that-is-long";
	const char *cells[] = {many, "1", "c"}, *others[] = {"short", "2", "c"};
	const struct look look = {.utf8 = true};
	char *text = NULL;
	size_t n;
	struct table *t = table_new(two, 3);
	cr_assert_eq(table_add(t, cells, NULL), 0);
	cr_assert_eq(table_add(t, others, NULL), 0);
	FILE *out = open_memstream(&text, &n);
	cr_assert_eq(table_print(t, &look, out), 0);
	fclose(out);
	cr_assert_str_eq(text, "A                                         B  C\n"
	                       "a-name-of-more-than-forty-characters-that-is-long  1  c\n"
	                       "short                                     2  c\n");
	free(text);
	table_free(t);
}

static const struct table_column with_sentence[] = {
	{.title = "A", .min = 5, .drop = 1},
	{.title = "B"},
	{.title = "C", .min = 5, .sentence = true},
};

static void check_sentence(const char *sentence, unsigned width, const char *expected)
{
	const char *cells[] = {"abcdefghij", "b", sentence}, *without[] = {"a", "b", NULL};
	const struct look look = {.width = width, .utf8 = true};
	char *text = NULL;
	size_t n;
	struct table *t = table_new(with_sentence, 3);
	cr_assert_eq(table_add(t, cells, NULL), 0);
	cr_assert_eq(table_add(t, without, NULL), 0);
	FILE *out = open_memstream(&text, &n);
	cr_assert_eq(table_print(t, &look, out), 0);
	fclose(out);
	cr_expect_str_eq(text, expected);
	free(text);
	table_free(t);
}

Test(table, sentences_are_cut_at_their_end)
{
	check_sentence("the quick brown fox jumps over the lazy dog and over the fence, once a day", 80,
	               "A           B  C\n"
	               "abcdefghij  b  the quick brown fox jumps over the lazy dog and over the fence, …\n"
	               "a           b\n");
}

Test(table, narrow_terminal_has_sentences_below_their_rows)
{
	check_sentence("it is late", 25, "A           B  C\n"
	                                 "abcdefghij  b  it is late\n"
	                                 "a           b\n");
	check_sentence("it is late", 22, "A        B  C\n"
	                                 "abc…hij  b  it is late\n"
	                                 "a        b\n");
	check_sentence("it is late, too late", 22, "A           B\n"
	                                           "abcdefghij  b\n"
	                                           "    it is late, too\n"
	                                           "    late\n"
	                                           "a           b\n");
}

static void check_bar(double progress, unsigned width, bool utf8, const char *expected)
{
	char *bar = bar_draw(progress, width, utf8);
	cr_assert_str_eq(bar, expected);
	free(bar);
}

Test(bar, draws_eighths)
{
	check_bar(0, 6, true, "▕    ▏");
	check_bar(0.5, 6, true, "▕██  ▏");
	check_bar(0.53125, 6, true, "▕██▏ ▏");
	check_bar(1, 6, true, "▕████▏");
}

Test(bar, draws_ascii)
{
	check_bar(0.49, 6, false, "[#   ]");
	check_bar(1, 6, false, "[####]");
}

Test(bar, survives_nonsense)
{
	check_bar(-3, 6, false, "[    ]");
	check_bar(7, 6, false, "[####]");
	check_bar(NAN, 6, false, "[    ]");
	check_bar(1, 0, false, "[#]");
}
