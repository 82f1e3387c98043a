/* What the kernel takes at least to tell the age of every file of a directory:
 * reading it, and one fstatat() for each name. Prints both in seconds, the age of
 * the oldest is what the look is for.
 *
 *   look DIRECTORY [PASSES] */
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
	long files = 0;
	time_t oldest = 0;
	if (dir == NULL)
		return 2;
	double begun = now();
	while ((e = readdir(dir)) != NULL)
		files += e->d_name[0] != '.';
	double read_s = now() - begun;
	rewinddir(dir);
	begun = now();
	while ((e = readdir(dir)) != NULL)
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    (oldest == 0 || st.st_ctim.tv_sec < oldest))
			oldest = st.st_ctim.tv_sec;
	printf("%ld files: read %.3f s, read and looked at %.3f s\n", files, read_s, now() - begun);
	return 0;
}
