/* How many of our descriptors lead to files of a directory, or to the
 * directory itself. Numbers of descriptors prove nothing: the test framework
 * has threads that open and close some of their own. */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static inline unsigned descriptors_below(const char *directory)
{
	unsigned n = 0;
	size_t size = strlen(directory);
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	while (fds != NULL && (entry = readdir(fds)) != NULL) {
		char to[4096];
		ssize_t length = readlinkat(dirfd(fds), entry->d_name, to, sizeof to - 1);
		to[length < 0 ? 0 : length] = '\0';
		n += strncmp(to, directory, size) == 0 && (to[size] == '\0' || to[size] == '/');
	}
	if (fds != NULL)
		closedir(fds);
	return n;
}
