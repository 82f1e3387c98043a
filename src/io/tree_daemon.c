/* Who is at work on a spool, as the lock of the spool tells. */
#include "io/tree_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whoever asks must not need it: on a full disk it stays unsaid. */
void tree_note_daemon(int lockfd, bool once)
{
	char line[64];
	int n = snprintf(line, sizeof line, "%d %s\n", (int)getpid(), once ? "once" : "continuous");
	if (ftruncate(lockfd, 0) == 0 && pwrite(lockfd, line, (size_t)n, 0) < n)
		(void)!ftruncate(lockfd, 0);
}

static void read_note(int fd, struct tree_daemon *ret)
{
	char line[64] = "", mode[16] = "";
	int pid = 0;
	ssize_t n = pread(fd, line, sizeof line - 1, 0);
	*ret = (struct tree_daemon){0};
	if (n > 0 && sscanf(line, "%d %15s", &pid, mode) == 2 && pid > 0)
		*ret = (struct tree_daemon){.pid = pid, .once = strcmp(mode, "once") == 0};
}

int tree_find_daemon(const char *root, struct tree_daemon *ret)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int rootfd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (rootfd < 0)
		return -errno;
	int fd = fd_open_beneath(rootfd, TREE_DAEMON_LOCK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	fd_close(rootfd);
	if (fd < 0)
		return fd;
	/* Only asks: it takes no lock, so it keeps none from starting. */
	int r = fcntl(fd, F_OFD_GETLK, &lock) < 0 ? -errno : lock.l_type != F_UNLCK;
	if (r == 1)
		read_note(fd, ret);
	fd_close(fd);
	return r;
}
