#include "base/bytes.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

Test(bytes, what_was_put_is_got_again)
{
	unsigned char buffer[32];
	struct bytes_out out = {.at = buffer, .left = sizeof buffer};
	bytes_put_number(&out, 0x1234, 2);
	bytes_put_number(&out, UINT64_MAX, 8);
	bytes_put_number(&out, 0, 0);
	bytes_put(&out, "alice", 5);
	bytes_put(&out, NULL, 0);
	cr_assert(!out.full && out.used == 15 && out.left == 17);
	cr_assert_eq(memcmp(buffer, "\x34\x12", 2), 0, "little-endian");
	cr_assert_eq(bytes_start(&out), buffer);
	struct bytes_in in = {.at = buffer, .left = out.used};
	cr_assert_eq(bytes_get_number(&in, 2), 0x1234u);
	cr_assert_eq(bytes_get_number(&in, 8), UINT64_MAX);
	cr_assert_eq(bytes_get_number(&in, 0), 0u);
	char *text = bytes_get_text(&in, 5);
	cr_assert_str_eq(text, "alice");
	cr_assert(in.error == 0 && in.left == 0);
	free(text);
}

Test(bytes, a_number_is_as_wide_as_it_needs)
{
	static const struct { uint64_t value; size_t width; } cases[] = {
		{0, 0}, {1, 1}, {255, 1}, {256, 2}, {65535, 2}, {65536, 3}, {UINT64_MAX >> 8, 7}, {UINT64_MAX, 8},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		cr_assert_eq(bytes_width(cases[i].value), cases[i].width, "%zu", i);
}

Test(bytes, what_does_not_fit_is_not_there_nor_anything_after_it)
{
	unsigned char buffer[4] = {0};
	struct bytes_out out = {.at = buffer, .left = 3};
	bytes_put_number(&out, 7, 4);
	bytes_put(&out, "x", 1);
	cr_assert(out.full && out.used == 0);
	cr_assert_eq(memcmp(buffer, "\0\0\0\0", 4), 0);
}

Test(bytes, the_first_failure_stays)
{
	struct bytes_in in = {.at = (const unsigned char *)"abc", .left = 3};
	cr_assert_eq(bytes_get_number(&in, 4), 0u);
	cr_assert_eq(in.error, -EBADMSG);
	cr_assert_eq(in.left, 0u);
	bytes_fail(&in, -ENOMEM);
	cr_assert_eq(in.error, -EBADMSG);
	cr_assert_null(bytes_get(&in, 0));
	cr_assert_null(bytes_get_text(&in, 1));
}

Test(bytes, a_text_has_no_end_within)
{
	struct bytes_in in = {.at = (const unsigned char *)"a\0c", .left = 3};
	cr_assert_null(bytes_get_text(&in, 3));
	cr_assert_eq(in.error, -EBADMSG);
	in = (struct bytes_in){.at = (const unsigned char *)"a", .left = 1};
	char *text = bytes_get_text(&in, 0);
	cr_assert_str_eq(text, "");
	free(text);
	cr_assert_null(bytes_get_text(&in, 2));
	cr_assert_eq(in.error, -EBADMSG);
}
