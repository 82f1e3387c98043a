#include "core/found.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG = 4000 };

static void add(struct found *f, const char *path, int64_t ctime_ns)
{
	cr_assert_eq(found_add(f, path, ctime_ns), 0);
}

static void expect(const struct found *f, size_t i, const char *path, int64_t ctime_ns)
{
	cr_assert_lt(i, f->n);
	cr_assert_str_eq(found_path(f, i), path);
	cr_assert_eq(f->files[i].ctime_ns, ctime_ns);
}

Test(found, nothing)
{
	struct found f = {0};
	found_end(&f);
	cr_assert_eq(f.n, 0);
	cr_assert_not(f.cut);
	found_clear(&f);
}

Test(found, by_age_then_by_name)
{
	struct found f = {0};
	add(&f, "z", 2);
	add(&f, "b", 3);
	add(&f, "a", 3);
	add(&f, "early", -1);
	add(&f, "page10", 4);
	add(&f, "page2", 4);
	found_end(&f);
	cr_assert_eq(f.n, 6);
	expect(&f, 0, "early", -1);
	expect(&f, 1, "z", 2);
	expect(&f, 2, "a", 3);
	expect(&f, 3, "b", 3);
	expect(&f, 4, "page2", 4);
	expect(&f, 5, "page10", 4);
	cr_assert_not(f.cut);
	found_leave(&f, 9);
	cr_assert_not(f.cut);
	found_leave(&f, 1);
	cr_assert(f.cut);
	cr_assert_eq(f.n, 1);
	found_clear(&f);
}

/* Of a name that ends in a digit, that many before the end of all numbers. */
static bool turn_of_digit(void *ctx, const char *path, uint32_t *ret)
{
	unsigned *asked = ctx;
	char digit = path[strlen(path) - 1];
	++*asked;
	if (digit < '0' || digit > '9')
		return false;
	*ret = UINT32_MAX - 4 + (uint32_t)(digit - '0');
	return true;
}

Test(found, ties_in_their_turn_where_all_have_one)
{
	struct found f = {0};
	unsigned asked = 0;
	add(&f, "alone9", 1);
	/* Beyond 4 the numbers have begun anew. */
	add(&f, "a6", 2);
	add(&f, "b2", 2);
	add(&f, "c4", 2);
	/* One has none. */
	add(&f, "x9", 3);
	add(&f, "y", 3);
	add(&f, "z1", 3);
	found_end(&f);
	found_order_ties(&f, turn_of_digit, &asked);
	const char *const expected[] = {"alone9", "b2", "c4", "a6", "x9", "y", "z1"};
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
		cr_expect_str_eq(found_path(&f, i), expected[i]);
	cr_expect_eq(f.files[1].ctime_ns, 2);
	cr_expect_eq(asked, 5u, "who is alone need not be asked, nor who is left of a tie: %u", asked);
	found_clear(&f);
}

/* In the order that `at(i)` gives; the oldest portion stays, in its order. */
static void keep_oldest(int64_t (*at)(int64_t i), int64_t files)
{
	struct found f = {0};
	char path[32];
	for (int64_t i = 0; i < files; i++) {
		snprintf(path, sizeof path, "dir/f%lld", (long long)at(i));
		add(&f, path, at(i));
		cr_assert_leq(f.n, 2 * (size_t)FOUND_PORTION);
	}
	found_end(&f);
	cr_assert(f.cut);
	cr_assert_eq(f.n, (size_t)FOUND_PORTION);
	for (size_t i = 0; i < f.n; i++) {
		snprintf(path, sizeof path, "dir/f%zu", i);
		expect(&f, i, path, (int64_t)i);
	}
	found_clear(&f);
}

enum { MANY = 3 * FOUND_PORTION + 1000 };

static int64_t rising(int64_t i)
{
	return i;
}

static int64_t falling(int64_t i)
{
	return MANY - 1 - i;
}

/* Each once: the step and the number have no factor in common. */
static int64_t mixed(int64_t i)
{
	return i * 1000003 % MANY;
}

Test(found, the_oldest_stay)
{
	keep_oldest(rising, MANY);
	keep_oldest(falling, MANY);
	keep_oldest(mixed, MANY);
}

Test(found, long_paths_are_bounded_by_their_bytes)
{
	struct found f = {0};
	char path[LONG + 1];
	int64_t files = 3 * (FOUND_NAMES_MAX / LONG);
	for (int64_t i = files; i > 0; i--) {
		memset(path, 'x', LONG);
		path[LONG] = '\0';
		int n = snprintf(path, 16, "%lld", (long long)i);
		path[n] = 'x';
		add(&f, path, i);
		cr_assert_leq(f.names_room, (size_t)FOUND_NAMES_MAX);
	}
	found_end(&f);
	cr_assert(f.cut);
	cr_assert_gt(f.n, FOUND_NAMES_MAX / LONG / 4);
	for (size_t i = 0; i < f.n; i++) {
		cr_assert_eq(strtoll(found_path(&f, i), NULL, 10), (long long)i + 1);
		cr_assert_eq(strlen(found_path(&f, i)), LONG);
	}
	found_clear(&f);
}
