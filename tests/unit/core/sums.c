#include "core/sums.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dice.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define ONES "1111111111111111111111111111111111111111111111111111111111111111"

static struct sums sums;
static char why[SUMS_WHY_MAX];

static void clear(void)
{
	sums_clear(&sums);
}

TestSuite(sums, .fini = clear);

static int parse(const char *text)
{
	sums_clear(&sums);
	why[0] = '\0';
	return sums_parse(text, strlen(text), &sums, why);
}

static void expect_name(const char *text, const char *name)
{
	cr_assert_eq(parse(text), 0, "%s: %s", text, why);
	cr_assert_eq(sums.n, 1);
	cr_assert_str_eq(sums.entries[0].name, name);
	cr_assert_eq(sums.entries[0].digest[1], 0x11);
	cr_assert_eq(sums.entries[0].digest[31], 0xff);
}

static void expect_refused(const char *text, const char *reason)
{
	cr_assert_eq(parse(text), -EINVAL, "%s", text);
	cr_assert_str_eq(why, reason);
	cr_assert_null(sums.entries);
}

Test(sums, the_forms_of_sha256sum)
{
	expect_name(HEX "  x.csv\n", "x.csv");
	expect_name(HEX " *x.csv", "x.csv");
	expect_name(HEX "   x.csv\n", " x.csv");
	expect_name(HEX "  *x.csv\n", "*x.csv");
	expect_name(HEX "  a b\tc\r\n", "a b\tc");
	expect_name("\\" HEX "  a\\nb\\\\c\\rd\n", "a\nb\\c\rd");
	expect_name(HEX "  a\\nb\n", "a\\nb");
	expect_name("SHA256 (x (1).csv) = " HEX "\n", "x (1).csv");
	expect_name("SHA256 (x) = y) = " HEX, "x) = y");
	expect_name("\\SHA256 (a\\nb) = " HEX "\n", "a\nb");
	expect_name(HEX, "");
	expect_name(HEX "  -\n", "");
	expect_name("# comment\n\n\r\n" HEX "  x.csv\n\n", "x.csv");
}

Test(sums, names_are_straightened)
{
	expect_name(HEX "  ./x.csv\n", "x.csv");
	expect_name(HEX "  .//a/./b//c/.\n", "a/b/c");
	expect_name(HEX "  ...\n", "...");
	expect_name(HEX "  a/..b/c..\n", "a/..b/c..");
	expect_name(HEX "  .x\n", ".x");
}

Test(sums, what_is_none_spoils_the_list)
{
	expect_refused("", "is empty");
	expect_refused("\n# only\n", "is empty");
	static const char *const lines[] = {
		"x", "x.csv  " HEX, HEX " x.csv", HEX "  ", HEX "x", HEX "\tx.csv",
		"0" HEX "  x", "\\" HEX "  a\\tb", "\\" HEX "  a\\", "\\" HEX, "\\",
		"SHA256 () = " HEX, "SHA256 (x) = 00", "SHA512 (x) = " HEX, "SHA256 (x)= " HEX,
		"g0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff  x",
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		char text[300];
		snprintf(text, sizeof text, "%s  x.csv\n%s\n%s  y\n", HEX, lines[i], HEX);
		expect_refused(text, "has no checksum as sha256sum writes it in line 2");
	}
	/* Half of a line, as an upload that is cut off leaves it. */
	for (size_t n = 1; n < sizeof HEX + 1; n++) {
		if (n == sizeof HEX - 1)
			continue;
		sums_clear(&sums);
		cr_assert_eq(sums_parse(HEX "  x.csv", n, &sums, why), -EINVAL, "%zu", n);
	}
}

Test(sums, a_zero_byte_is_in_no_name)
{
	char text[] = HEX "  a?b\n";
	*strchr(text, '?') = '\0';
	cr_assert_eq(sums_parse(text, sizeof text - 1, &sums, why), -EINVAL);
}

Test(sums, too_large_is_none)
{
	char *text = calloc(1, SUMS_FILE_MAX + 1);
	cr_assert_eq(sums_parse(text, SUMS_FILE_MAX + 1, &sums, why), -EINVAL);
	cr_assert_str_eq(why, "is larger than 1024 KiB");
	free(text);
}

Test(sums, finds_by_name_the_last_line_counts)
{
	cr_assert_eq(parse(HEX "  b\n" HEX "  a\n" ONES "  a\n" HEX "  c/d\n"), 0);
	cr_assert_eq(sums_find(&sums, "a")->digest[0], 0x11);
	cr_assert_eq(sums_find(&sums, "a")->line, 3);
	cr_assert_eq(sums_find(&sums, "b")->digest[0], 0);
	cr_assert_eq(sums_find(&sums, "c/d")->line, 4);
	static const char *const not[] = {"", "0", "aa", "c", "d", "z", "./a"};
	for (size_t i = 0; i < sizeof not / sizeof *not; i++)
		cr_assert_null(sums_find(&sums, not[i]), "%s", not[i]);
}

Test(sums, never_outside_of_its_directory)
{
	static const char *const names[] = {"/etc/passwd", "..", "../x", "a/../x", "a/..", "/",
	                                    "./../x"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char text[200];
		snprintf(text, sizeof text, HEX "  %s\n" HEX "  y\n", names[i]);
		cr_assert_eq(parse(text), 0);
		bool outside = sums.entries[0].outside || sums.entries[1].outside;
		cr_assert(outside, "%s", names[i]);
		cr_assert_null(sums_find(&sums, names[i]), "%s", names[i]);
	}
}

Test(sums, an_uploads_own_checksum)
{
	cr_assert_eq(parse(HEX "  /home/x/a.csv\n"), 0);
	cr_assert_not_null(sums_find_own(&sums, "a.csv"));
	cr_assert_null(sums_find_own(&sums, "b.csv"));
	cr_assert_eq(parse(HEX "  out/a.csv\n"), 0);
	cr_assert_not_null(sums_find_own(&sums, "a.csv"));
	cr_assert_eq(parse(HEX "\n"), 0);
	cr_assert_not_null(sums_find_own(&sums, "whatever"));
	cr_assert_eq(parse(HEX "  -\n"), 0);
	cr_assert_not_null(sums_find_own(&sums, "whatever"));
	cr_assert_eq(parse(HEX "  out/a.csv\n" HEX "  b.csv\n"), 0);
	cr_assert_null(sums_find_own(&sums, "a.csv"), "one of several needs its name");
	cr_assert_not_null(sums_find_own(&sums, "b.csv"));
}

Test(sums, which_names_are_lists)
{
	cr_assert(sums_is_name("a/b.sha256"));
	cr_assert(sums_is_name("b.csv.sha256"));
	cr_assert_not(sums_is_name(".sha256"));
	cr_assert_not(sums_is_name("a/.sha256"));
	cr_assert_not(sums_is_name("b.sha256.txt"));
}

Test(sums, hex_there_and_back)
{
	char out[SUMS_HEX], text[SUMS_HEX + 1];
	cr_assert_eq(parse(HEX), 0);
	sums_hex(sums.entries[0].digest, out);
	snprintf(text, sizeof text, "%s", HEX);
	cr_assert_eq(strcasecmp(out, text), 0);
}

/* Anything at all: no crash, and what was taken can be asked. */
Test(sums, any_bytes)
{
	static const char pieces[][70] = {HEX, "  ", " *", "x", "\n", "\\", "/", "..", "SHA256 (",
	                                  ") = ", "#", "\r", "-"};
	struct dice dice = {.state = 7};
	char text[2000];
	for (int round = 0; round < 50000; round++) {
		size_t n = 0;
		for (uint32_t k = dice_below(&dice, 12); k > 0; k--) {
			const char *piece = pieces[dice_below(&dice, sizeof pieces / sizeof *pieces)];
			memcpy(text + n, piece, strlen(piece));
			n += strlen(piece);
		}
		if (n > 0 && dice_one_in(&dice, 4))
			text[dice_below(&dice, (uint32_t)n)] = (char)dice_throw(&dice);
		sums_clear(&sums);
		if (sums_parse(text, n, &sums, why) < 0)
			continue;
		for (size_t i = 0; i < sums.n; i++)
			if (!sums.entries[i].outside && sums.entries[i].name[0] != '\0')
				cr_assert_not_null(sums_find(&sums, sums.entries[i].name));
	}
}
