#include "base/human.h"

#include <errno.h>
#include <stdio.h>

char *human_bytes(uint64_t bytes, char *out)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	if (bytes < 1024) {
		snprintf(out, HUMAN_SIZE, "%u B", (unsigned)bytes);
		return out;
	}
	double value = (double)bytes / 1024;
	size_t unit = 0;
	/* 1023.95 would be printed as 1024.0. */
	while (value >= 1023.95 && unit < sizeof units / sizeof *units - 1) {
		value /= 1024;
		unit++;
	}
	snprintf(out, HUMAN_SIZE, "%.1f %s", value, units[unit]);
	return out;
}

char *human_duration(uint64_t ms, char *out)
{
	uint64_t s = ms / 1000;
	if (s < 10)
		snprintf(out, HUMAN_SIZE, "%u.%u s", (unsigned)s, (unsigned)(ms / 100 % 10));
	else if (s < 60)
		snprintf(out, HUMAN_SIZE, "%u s", (unsigned)s);
	else if (s < 3600)
		snprintf(out, HUMAN_SIZE, "%u min %02u s", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(out, HUMAN_SIZE, "%u h %02u min", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(out, HUMAN_SIZE, "%llu d %02u h", (unsigned long long)(s / 86400),
		         (unsigned)(s / 3600 % 24));
	return out;
}

const char *human_remedy(int error)
{
	switch (error < 0 ? -error : error) {
	case ENOSPC: return "make room (bytes or inodes) on the file system of";
	case EDQUOT: return "raise the quota, or make room, on the file system of";
	case EROFS: return "mount read-write again the file system of";
	case EIO: return "see the system's log about the disk of";
	case ENOMEM: return "allow it more memory (address space); it is needed for";
	default: return "see the system's log about";
	}
}
