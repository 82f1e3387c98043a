/* What the kernel takes to tell the oldest file of a directory: reading it, and one
 * fstatat() for each name. Prints the seconds.
 *
 *   look DIRECTORY */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	DIR *dir = argc < 2 ? NULL : opendir(argv[1]);
	const struct dirent *e;
	struct stat st;
	time_t oldest = 0;
	if (dir == NULL)
		return 2;
	double begun = now();
	while ((e = readdir(dir)) != NULL)
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    (oldest == 0 || st.st_ctim.tv_sec < oldest))
			oldest = st.st_ctim.tv_sec;
	printf("%.6f\n", now() - begun);
	return closedir(dir) == 0 ? 0 : 1;
}
