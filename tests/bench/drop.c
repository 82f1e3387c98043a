/* The uploader of the benchmark: makes small files aside and moves them into
 * the incoming of many users, one after the other, users in turn.
 *
 *   drop ROOT ASIDE USERS FILES PAUSE_US LOG
 *
 * FILES in all; PAUSE_US between two. Prints "ready" when the files are made,
 * and waits for a line. Writes one record per file to LOG: the moment before
 * its rename (wall clock, ns), its user, its number within the user. */
#include "stamp.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct dropped {
	uint64_t ns;
	uint32_t user, number;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void make(const char *aside, long files)
{
	char path[512];
	static const char text[] = "name,value\none,1\ntwo,2\n";
	for (long n = 0; n < files; n++) {
		snprintf(path, sizeof path, "%s/%ld", aside, n);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, text, sizeof text - 1) < 0)
			fail(path);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	if (argc != 7)
		return 2;
	long users = atol(argv[3]), files = atol(argv[4]), pause_us = atol(argv[5]);
	FILE *log = fopen(argv[6], "w");
	char from[512], to[512];
	if (log == NULL)
		fail(argv[6]);
	make(argv[2], files);
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	for (long n = 0; n < files; n++) {
		struct dropped d = {.user = (uint32_t)(n % users), .number = (uint32_t)(n / users)};
		snprintf(from, sizeof from, "%s/%ld", argv[2], n);
		snprintf(to, sizeof to, "%s/u%05u/incoming/f%07u.csv", argv[1], d.user, d.number);
		d.ns = stamp_now_ns();
		if (rename(from, to) < 0)
			fail(to);
		fwrite(&d, sizeof d, 1, log);
		if (pause_us > 0)
			usleep((useconds_t)pause_us);
	}
	return fclose(log) != 0;
}
