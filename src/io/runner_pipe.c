#include "io/runner_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { READS_PER_STEP = 8, READ_SIZE = 32768 };

/* Only our end does not block. */
static int make(int *ret_read, int *ret_write, bool we_read)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	if (fcntl(ends[we_read ? 0 : 1], F_SETFL, O_NONBLOCK | (we_read ? O_RDONLY : O_WRONLY)) < 0) {
		int r = -errno;
		fd_close(ends[0]);
		fd_close(ends[1]);
		return r;
	}
	*ret_read = ends[0];
	*ret_write = ends[1];
	return 0;
}

int runner_pipe_read_end(int *ret_read, int *ret_write)
{
	return make(ret_read, ret_write, true);
}

int runner_pipe_write_end(int *ret_read, int *ret_write)
{
	return make(ret_read, ret_write, false);
}

static void take(struct runner *r, int fd, const char *data, size_t n)
{
	if (fd == r->report_fd && r->stream.handler != NULL) {
		runner_stream_feed(r, data, n);
	} else if (fd == r->report_fd) {
		runner_report_feed(&r->report, data, n, &r->log);
	} else {
		runner_log_write(&r->log, data, n);
		runner_last_line_feed(&r->last_line, data, n);
	}
}

void runner_read_pipe(struct runner *r, int *fd, size_t limit)
{
	char buffer[READ_SIZE];
	for (int i = 0; i < READS_PER_STEP && *fd >= 0 && limit > 0; i++) {
		size_t room = limit < sizeof buffer ? limit : sizeof buffer;
		ssize_t n = read(*fd, buffer, room);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			*fd = fd_close(*fd);
			return;
		}
		take(r, *fd, buffer, (size_t)n);
		limit -= (size_t)n;
		/* Empty for now: what comes later is told by the poll. */
		if ((size_t)n < room)
			return;
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
}
