/* The handler of the benchmark: does nothing but stamp its start and its end.
 *
 *   handler STAMPS USER NAME [MICROSECONDS]  one file, taking that long
 *   handler STAMPS                           lines "USER NAME" on stdin, each
 *                                            answered by the same line
 *   handler STAMPS --stream                  as a stream handler of spoold */
#include "stamp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int one_file(int fd, char **argv, int argc)
{
	uint64_t start_ns = stamp_now_ns();
	if (argc > 4)
		usleep((useconds_t)atoi(argv[4]));
	return stamp_put(fd, start_ns, argv[2], argv[3]) < 0;
}

static int many_files(int fd)
{
	char line[256], user[sizeof line], name[sizeof line];
	while (fgets(line, sizeof line, stdin) != NULL) {
		uint64_t start_ns = stamp_now_ns();
		if (sscanf(line, "%s %s", user, name) != 2 || stamp_put(fd, start_ns, user, name) < 0)
			return 1;
		fputs(line, stdout);
		fflush(stdout);
	}
	return 0;
}

/* The names of the benchmark need no real parser, and so cost nothing. */
static int stream(int fd)
{
	static char line[65536];
	char user[64], name[64];
	unsigned long long job;
	while (fgets(line, sizeof line, stdin) != NULL) {
		uint64_t start_ns = stamp_now_ns();
		const char *names = strstr(line, "\"user\":");
		if (names == NULL || sscanf(line, "{\"job\":%llu", &job) != 1 ||
		    sscanf(names, "\"user\":\"%63[^\"]\",\"name\":\"%63[^\"]\"", user, name) != 2 ||
		    stamp_put(fd, start_ns, user, name) < 0)
			return 1;
		printf("{\"job\":%llu,\"result\":\"done\"}\n", job);
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int fd = argc < 2 ? -1 : stamp_open(argv[1]);
	if (fd < 0)
		return 2;
	if (argc == 3 && strcmp(argv[2], "--stream") == 0)
		return stream(fd);
	return argc > 3 ? one_file(fd, argv, argc) : many_files(fd);
}
