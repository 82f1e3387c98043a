#include "core/name.h"

#include <criterion/criterion.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *repeat(char c, size_t n)
{
	char *text = malloc(n + 1);
	memset(text, c, n);
	text[n] = '\0';
	return text;
}

Test(name, legal_users)
{
	static const char *const good[] = {"alice", "a", "bob.smith", "x-1", "_www", "DOM+user",
	                                   "J\xc3\xbcrgen", "user@example.com", "0"};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		cr_expect_null(name_user_problem(good[i]), "%s", good[i]);
	char *longest = repeat('u', NAME_USER_MAX);
	cr_expect_null(name_user_problem(longest));
	free(longest);
}

Test(name, illegal_users_get_a_reason)
{
	static const char *const bad[] = {"", ".", "..", ".spoold", "-rf", "a b", "a/b", "a\\b", "a\nb",
	                                  "a\x7f", "\xff", "caf\xe9", "x\xe2\x80\xae", "a\tb", "lost+found"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		cr_expect_not_null(name_user_problem(bad[i]), "number %zu", i);
	char *longer = repeat('u', NAME_USER_MAX + 1);
	cr_expect_str_eq(name_user_problem(longer), "is longer than 100 bytes");
	free(longer);
	cr_expect_str_eq(name_user_problem(".x"), "starts with a dot");
}

Test(name, patterns)
{
	static const char *const ignored[] = {".*", "*.part", "*.filepart", "*.tmp", "*~", NULL};
	cr_expect(name_matches(".hidden", ignored));
	cr_expect(name_matches("a.part", ignored));
	cr_expect(name_matches("a~", ignored));
	cr_expect(name_matches(".part", ignored));
	cr_expect_not(name_matches("a.csv", ignored));
	cr_expect_not(name_matches("part", ignored));
	cr_expect_not(name_matches("a.part.csv", ignored));
	cr_expect_not(name_matches("a", NULL));
	static const char *const none[] = {NULL};
	cr_expect_not(name_matches("a", none));
	/* Any bytes, a leading dot included. */
	static const char *const all[] = {"*", NULL};
	cr_expect(name_matches("\xff\xfe", all));
	cr_expect(name_matches(".x", all));
}

/* Simple patterns are not left to fnmatch(). */
Test(name, patterns_as_fnmatch)
{
	static const char *const patterns[] = {"",     "*",   "**",    "a",    "a*",   "*a",  "ab*",   "*ab",
	                                       "a*b",  "*a*", "?",     "?*",   "*?",   "a?*", "[ab]*", "*[ab]",
	                                       "\\**", "*\\*", "a\\*", "*\\a", "\\a*", "*b*a"};
	static const char *const names[] = {"",   "a",   "b",  "ab",  "ba",   "aba", "bab", "*",
	                                    "a*", "*a",  "\\", "a\\", "\\a",  "?",   "aab", "abb",
	                                    ".a", "\xff", "a\xff"};
	for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
		for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
			const char *const one[] = {patterns[p], NULL};
			cr_expect_eq(name_matches(names[n], one), fnmatch(patterns[p], names[n], 0) == 0,
			             "%s on %s", patterns[p], names[n]);
		}
}

Test(name, base)
{
	cr_expect_str_eq(name_base("report.csv"), "report.csv");
	cr_expect_str_eq(name_base("2026/05/report.csv"), "report.csv");
	cr_expect_str_eq(name_base(""), "");
	cr_expect_str_eq(name_base("a/"), "");
}

static void with_id(const char *path, uint64_t id, const char *expected)
{
	char *name = name_with_id(path, id);
	cr_assert_not_null(name);
	cr_expect_str_eq(name, expected);
	free(name);
}

Test(name, the_id_goes_before_the_extension)
{
	with_id("report.csv", 42, "report.42.csv");
	with_id("README", 42, "README.42");
	with_id(".x", 42, ".x.42");
	with_id(".x.csv", 42, ".x.42.csv");
	with_id("a.tar.gz", 1, "a.tar.1.gz");
	with_id("2026/report.csv", 42, "2026/report.42.csv");
	with_id("v1.2/README", 42, "v1.2/README.42");
	with_id("a.", 5, "a.5.");
	with_id("a", UINT64_MAX, "a.18446744073709551615");
	with_id("\xff.csv", 1, "\xff.1.csv");
}

Test(name, a_long_stem_is_cut_and_the_extension_kept)
{
	char *stem = repeat('n', NAME_FILE_MAX - 4), path[400];
	snprintf(path, sizeof path, "dir/%s.csv", stem);
	char *name = name_with_id(path, 12345);
	cr_expect_eq(strlen(name_base(name)), NAME_FILE_MAX);
	cr_expect_str_eq(name + strlen(name) - 10, ".12345.csv");
	cr_expect_eq(strncmp(name, "dir/nnn", 7), 0);
	free(name);
	free(stem);
}

Test(name, a_very_long_tail_is_no_extension)
{
	char *tail = repeat('t', 100), path[200];
	snprintf(path, sizeof path, "x.%s", tail);
	char *name = name_with_id(path, 7);
	cr_expect_eq(strncmp(name, path, strlen(path)), 0);
	cr_expect_str_eq(name + strlen(path), ".7");
	free(name);
	free(tail);
}

Test(name, candidates_are_its_own_then_with_the_id_then_numbered)
{
	const char *expected[] = {"d/a.csv", "d/a.7.csv", "d/a.7.2.csv", "d/a.7.3.csv"};
	for (unsigned n = 0; n < 4; n++) {
		char *name = name_candidate("d/a.csv", 7, n);
		cr_expect_str_eq(name, expected[n]);
		free(name);
	}
}

Test(name, suffixes)
{
	char *name = name_with_suffix("2026/report.csv", ".log");
	cr_expect_str_eq(name, "2026/report.csv.log");
	free(name);
	char *stem = repeat('n', NAME_FILE_MAX);
	name = name_with_suffix(stem, ".output");
	cr_expect_eq(strlen(name), NAME_FILE_MAX);
	cr_expect_str_eq(name + NAME_FILE_MAX - 7, ".output");
	free(name);
	free(stem);
}

Test(name, ours_never_collide_with_the_upload)
{
	static const char *const uploads[] = {"log", "output", "log.spoold", "output.spoold", "x.csv"};
	for (size_t i = 0; i < sizeof uploads / sizeof *uploads; i++) {
		cr_expect_str_neq(name_log(uploads[i]), uploads[i]);
		cr_expect_str_neq(name_output(uploads[i]), uploads[i]);
		cr_expect_str_neq(name_log(uploads[i]), name_output(uploads[i]));
	}
	cr_expect_str_eq(name_log("x.csv"), "log");
	cr_expect_str_eq(name_output("x.csv"), "output");
}

Test(name, what_lies_in_an_ignored_directory_is_ignored)
{
	static const char *const patterns[] = {".*", "*.part", NULL};
	cr_assert(name_path_matches(".x", patterns));
	cr_assert(name_path_matches("a/.x", patterns));
	cr_assert(name_path_matches(".rsync-partial/x.csv", patterns));
	cr_assert(name_path_matches("a/b.part/c/x.csv", patterns));
	cr_assert_not(name_path_matches("a/b/x.csv", patterns));
	cr_assert_not(name_path_matches("a.b/x.csv", patterns));
	cr_assert_not(name_path_matches(".x", NULL));
	/* Longer than a name can be: nothing, whatever the pattern. */
	char path[NAME_FILE_MAX + 16] = ".";
	memset(path + 1, 'x', NAME_FILE_MAX);
	strcpy(path + 1 + NAME_FILE_MAX, "/x.csv");
	cr_assert_not(name_path_matches(path, patterns));
}
