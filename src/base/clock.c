#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_ms(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t clock_wall_ms(void)
{
	return read_ms(CLOCK_REALTIME);
}

uint64_t clock_steady_ms(void)
{
	return read_ms(CLOCK_MONOTONIC);
}

int64_t clock_stamp_ns(int64_t sec, int64_t nsec)
{
	const int64_t last = INT64_MAX / 1000000000 - 1;
	if (sec > last)
		return INT64_MAX;
	if (sec < -last)
		return INT64_MIN;
	return sec * 1000000000 + nsec;
}

void clock_pause_ms(uint32_t ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

char *clock_rfc3339(uint64_t wall_ms, char *out)
{
	/* The year 9999: beyond it the format has no room. */
	const uint64_t last = UINT64_C(253402300799999);
	if (wall_ms > last)
		wall_ms = last;
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	size_t n = strftime(out, CLOCK_RFC3339_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, CLOCK_RFC3339_SIZE - n, ".%03uZ", (unsigned)(wall_ms % 1000));
	return out;
}
