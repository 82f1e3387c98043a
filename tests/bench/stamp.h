/* What a handler of the benchmark leaves behind: one record per run, appended
 * to one file by all of them in one write. Read by the checker in report.py. */
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct stamp {
	uint64_t start_ns, end_ns; /* wall clock */
	char user[16], name[32];
};

static inline uint64_t stamp_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline int stamp_open(const char *path)
{
	return open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
}

/* 0, or -1 where it could not be written whole. */
static inline int stamp_put(int fd, uint64_t start_ns, const char *user, const char *name)
{
	struct stamp stamp = {.start_ns = start_ns};
	memcpy(stamp.user, user, strnlen(user, sizeof stamp.user - 1));
	memcpy(stamp.name, name, strnlen(name, sizeof stamp.name - 1));
	stamp.end_ns = stamp_now_ns();
	return write(fd, &stamp, sizeof stamp) == (ssize_t)sizeof stamp ? 0 : -1;
}
