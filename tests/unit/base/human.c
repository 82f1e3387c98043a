#include "base/human.h"

#include <criterion/criterion.h>
#include <string.h>

static void bytes(uint64_t n, const char *expected)
{
	char out[HUMAN_SIZE];
	cr_expect_str_eq(human_bytes(n, out), expected);
}

static void duration(uint64_t ms, const char *expected)
{
	char out[HUMAN_SIZE];
	cr_expect_str_eq(human_duration(ms, out), expected);
}

Test(human, sizes)
{
	bytes(0, "0 B");
	bytes(812, "812 B");
	bytes(1023, "1023 B");
	bytes(1024, "1.0 KiB");
	bytes(3482, "3.4 KiB");
	bytes(1024 * 1024 - 1, "1.0 MiB");
	bytes(UINT64_C(1288490189), "1.2 GiB");
	bytes(UINT64_MAX, "16.0 EiB");
}

Test(human, durations)
{
	duration(0, "0.0 s");
	duration(99, "0.0 s");
	duration(449, "0.4 s");
	duration(12000, "12 s");
	duration(59999, "59 s");
	duration(60000, "1 min 00 s");
	duration(185000, "3 min 05 s");
	duration(3599999, "59 min 59 s");
	duration(3600000, "1 h 00 min");
	duration(8040000, "2 h 14 min");
	duration(86399999, "23 h 59 min");
	duration(UINT64_C(442800000), "5 d 03 h");
}

Test(human, a_duration_never_goes_back)
{
	duration(9949, "9.9 s");
	duration(9950, "9.9 s");
	duration(9999, "9.9 s");
	duration(10000, "10 s");
}

Test(human, the_longest_fit)
{
	char out[HUMAN_SIZE];
	cr_expect_lt(strlen(human_duration(UINT64_MAX, out)), HUMAN_SIZE - 1);
	cr_expect_lt(strlen(human_bytes(UINT64_MAX, out)), HUMAN_SIZE - 1);
}
