/* The two clocks. Only programs and io/ read them; core/ is given the time. */
#pragma once

#include <stdint.h>

/* Milliseconds since 1970-01-01 UTC: for what is stored and shown. */
uint64_t clock_wall_ms(void);

/* Milliseconds of a clock that never steps: for waits and limits. */
uint64_t clock_steady_ms(void);

/* Sleeps; a signal that is caught ends it early. */
void clock_pause_ms(uint32_t ms);

/* Nanoseconds since 1970 of a time stamp of a file. Anybody may set one that is beyond
 * the years 1678 to 2262: there order is all that is left. */
int64_t clock_stamp_ns(int64_t sec, int64_t nsec);

/* Writes `wall_ms` as RFC 3339 in UTC ("2026-01-31T09:30:00.250Z").
 * `out` holds at least CLOCK_RFC3339_SIZE bytes. Returns `out`. */
enum { CLOCK_RFC3339_SIZE = 32 };
char *clock_rfc3339(uint64_t wall_ms, char *out);
