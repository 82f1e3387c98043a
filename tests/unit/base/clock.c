#include "base/clock.h"

#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

static void check(uint64_t ms, const char *expected)
{
	char out[CLOCK_RFC3339_SIZE];
	cr_expect_str_eq(clock_rfc3339(ms, out), expected);
}

Test(clock, rfc3339)
{
	check(0, "1970-01-01T00:00:00.000Z");
	check(UINT64_C(1769851800250), "2026-01-31T09:30:00.250Z");
	check(UINT64_C(951782400007), "2000-02-29T00:00:00.007Z");
	check(UINT64_C(253402300799999), "9999-12-31T23:59:59.999Z");
}

Test(clock, beyond_the_year_9999_it_stays_there)
{
	check(UINT64_C(253402300800000), "9999-12-31T23:59:59.999Z");
	check(UINT64_MAX, "9999-12-31T23:59:59.999Z");
}

Test(clock, the_time_zone_does_not_matter)
{
	setenv("TZ", "Asia/Kolkata", 1);
	tzset();
	check(UINT64_C(1769851800250), "2026-01-31T09:30:00.250Z");
}

Test(clock, wall_is_the_wall_clock)
{
	uint64_t before = (uint64_t)time(NULL) * 1000, now = clock_wall_ms();
	cr_expect_geq(now, before);
	cr_expect_leq(now, ((uint64_t)time(NULL) + 1) * 1000);
}

Test(clock, steady_never_goes_back)
{
	uint64_t last = clock_steady_ms();
	for (int i = 0; i < 1000; i++) {
		uint64_t now = clock_steady_ms();
		cr_assert_geq(now, last);
		last = now;
	}
}

Test(clock, a_pause_is_not_shorter_than_asked)
{
	for (uint32_t ms = 0; ms <= 1200; ms += 300) {
		struct timespec before, after;
		clock_gettime(CLOCK_MONOTONIC, &before);
		clock_pause_ms(ms);
		clock_gettime(CLOCK_MONOTONIC, &after);
		int64_t ns = (after.tv_sec - before.tv_sec) * INT64_C(1000000000) + after.tv_nsec -
		             before.tv_nsec;
		cr_expect_geq(ns, ms * INT64_C(1000000));
	}
}

Test(clock, a_stamp_beyond_all_years_keeps_its_order)
{
	cr_expect_eq(clock_stamp_ns(0, 0), 0);
	cr_expect_eq(clock_stamp_ns(1700000000, 5), INT64_C(1700000000000000005));
	cr_expect_eq(clock_stamp_ns(-1, 999999999), -1);
	cr_expect_eq(clock_stamp_ns(9999999999999, 0), INT64_MAX);
	cr_expect_eq(clock_stamp_ns(-9999999999999, 0), INT64_MIN);
}
