/* Sizes, ages and durations as people write them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { HUMAN_SIZE = 24 };

/* "0 B", "812 B", "3.4 KiB", "1.2 GiB". `out` holds HUMAN_SIZE bytes. */
char *human_bytes(uint64_t bytes, char *out);

/* "0.4 s", "12 s", "3 min 05 s", "2 h 14 min", "5 d 03 h": what has passed, so
 * never rounded up. */
char *human_duration(uint64_t ms, char *out);

/* What to do about an error of a file system, to be followed by the path it is
 * about: "make room on the file system of". */
const char *human_remedy(int error);
