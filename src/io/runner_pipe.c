#include "io/runner_private.h"

#include "base/fd.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { READS_PER_STEP = 8, READ_SIZE = 32768 };

static void take(struct runner *r, int fd, const char *data, size_t n)
{
	if (fd == r->output) {
		runner_log_write(&r->log, data, n);
		runner_last_line_feed(&r->last_line, data, n);
	} else {
		runner_report_feed(&r->report, data, n, &r->log);
	}
}

void runner_read_pipe(struct runner *r, int *fd, size_t limit)
{
	char buffer[READ_SIZE];
	for (int i = 0; i < READS_PER_STEP && *fd >= 0 && limit > 0; i++) {
		ssize_t n = read(*fd, buffer, limit < sizeof buffer ? limit : sizeof buffer);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			*fd = fd_close(*fd);
			return;
		}
		take(r, *fd, buffer, (size_t)n);
		limit -= (size_t)n;
	}
}

void runner_drain_pipe(struct runner *r, int *fd)
{
	int waiting = 0;
	if (*fd < 0 || ioctl(*fd, FIONREAD, &waiting) < 0)
		return;
	for (size_t left = (size_t)waiting; left > 0 && *fd >= 0;) {
		size_t part = left < READ_SIZE ? left : READ_SIZE;
		runner_read_pipe(r, fd, part);
		left -= part;
	}
	*fd = fd_close(*fd);
}
