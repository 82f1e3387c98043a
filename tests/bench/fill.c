/* Fills a spool with users and with files that wait, quickly.
 *
 *   fill ROOT USERS FILES [FIRST]
 *
 * Makes the directories of USERS users (u00000 ...) where they are missing, and
 * FILES empty files in all, users in turn, their numbers from FIRST on. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const places[] = {"incoming", "processing", "done", "failed"};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail(path);
}

static void make_user(long user)
{
	char path[64];
	snprintf(path, sizeof path, "u%05ld", user);
	make_directory(path);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		snprintf(path, sizeof path, "u%05ld/%s", user, places[i]);
		make_directory(path);
	}
}

static void make_file(long user, long number)
{
	char path[64];
	snprintf(path, sizeof path, "u%05ld/incoming/f%07ld.csv", user, number);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		fail(path);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	long users = atol(argv[2]), files = atol(argv[3]), first = argc > 4 ? atol(argv[4]) : 0;
	make_directory(argv[1]);
	if (chdir(argv[1]) < 0)
		fail(argv[1]);
	for (long user = 0; user < users; user++)
		make_user(user);
	for (long n = 0; n < files; n++)
		make_file(n % users, first + n / users);
	return 0;
}
