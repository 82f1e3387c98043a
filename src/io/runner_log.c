#include "io/runner_private.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/human.h"
#include "base/log.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTE_MAX = 64 };

static void give_up(struct runner_log *log, int error)
{
	log_warning("the log of a handler cannot be written, the rest is dropped: %s", strerror(error));
	log->fd = fd_close(log->fd);
}

static bool put(struct runner_log *log, uint64_t at, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t done = pwrite(log->fd, data, n, (off_t)at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			give_up(log, errno);
			return false;
		}
		data += done;
		n -= (size_t)done;
		at += (uint64_t)done;
	}
	return true;
}

/* `to` lies before `from`, so copying forwards is safe where they overlap. */
static bool move_text(struct runner_log *log, uint64_t from, uint64_t to, uint64_t n)
{
	char buffer[32768];
	while (n > 0) {
		ssize_t got = pread(log->fd, buffer, n < sizeof buffer ? n : sizeof buffer, (off_t)from);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			/* 0: the handler cut its own log. */
			give_up(log, got < 0 ? errno : EIO);
			return false;
		}
		if (!put(log, to, buffer, (size_t)got))
			return false;
		from += (uint64_t)got;
		to += (uint64_t)got;
		n -= (uint64_t)got;
	}
	return true;
}

static uint64_t tail_size(const struct runner_log *log)
{
	return log->end > log->middle ? log->end - log->middle - log->note_n : 0;
}

/* Leaves out what is between the first half and the last half. */
static void leave_out_middle(struct runner_log *log)
{
	char note[NOTE_MAX], size[HUMAN_SIZE];
	/* A little less than the half: then the text moves towards the
	 * beginning, whatever the note needs. */
	uint64_t kept = log->half - NOTE_MAX;
	uint64_t omitted = log->omitted + tail_size(log) - kept;
	int n = snprintf(note, sizeof note, "\n== %s left out here ==\n", human_bytes(omitted, size));
	uint64_t tail_at = log->middle + (uint64_t)n;
	if (!move_text(log, log->end - kept, tail_at, kept) ||
	    !put(log, log->middle, note, (size_t)n))
		return;
	log->omitted = omitted;
	log->note_n = (uint64_t)n;
	log->end = tail_at + kept;
	if (ftruncate(log->fd, (off_t)log->end) < 0)
		give_up(log, errno);
}

static int open_now(struct runner_log *log, int job_dirfd, const struct run_order *order);

static void make(struct runner_log *log)
{
	const struct run_order *order = log->unmade;
	log->unmade = NULL;
	int r = open_now(log, log->dirfd, order);
	if (r < 0)
		log_warning("job %llu: its log cannot be opened, the handler's output is dropped: %s",
		            (unsigned long long)order->job, strerror(-r));
}

/* After those of earlier attempts. */
static void begin_attempt(struct runner_log *log)
{
	char header[80], when[CLOCK_RFC3339_SIZE];
	snprintf(header, sizeof header, "attempt %" PRIu32 ", %s", log->later->attempt,
	         clock_rfc3339(clock_wall_ms(), when));
	log->later = NULL;
	runner_log_note(log, header);
}

/* Is there a file to write into? */
static bool is_ready(struct runner_log *log)
{
	if (log->unmade != NULL)
		make(log);
	if (log->fd >= 0 && log->later != NULL)
		begin_attempt(log);
	return log->fd >= 0;
}

void runner_log_write(struct runner_log *log, const char *data, size_t n)
{
	if (n == 0 || !is_ready(log))
		return;
	while (n > 0 && log->fd >= 0) {
		/* Of the end twice as much is let in as is kept, so that each
		 * byte is moved only once or so. */
		uint64_t room = log->end < log->middle ? log->middle - log->end
		                                       : 2 * log->half - tail_size(log);
		if (room == 0) {
			leave_out_middle(log);
			continue;
		}
		size_t take = n < room ? n : (size_t)room;
		if (!put(log, log->end, data, take))
			return;
		log->end += take;
		data += take;
		n -= take;
	}
}

static bool ends_inside_line(const struct runner_log *log)
{
	char last = '\n';
	return log->end > 0 && pread(log->fd, &last, 1, (off_t)(log->end - 1)) == 1 && last != '\n';
}

void runner_log_note(struct runner_log *log, const char *text)
{
	if (!is_ready(log))
		return;
	if (ends_inside_line(log))
		runner_log_write(log, "\n", 1);
	runner_log_write(log, "== ", 3);
	runner_log_write(log, text, strlen(text));
	runner_log_write(log, " ==\n", 4);
}

void runner_log_close(struct runner_log *log)
{
	if (log->fd >= 0 && tail_size(log) > log->half)
		leave_out_middle(log);
	log->fd = fd_close(log->fd);
	log->unmade = log->later = NULL;
}

static int open_plain(int dirfd, const char *name, int more_flags, struct stat *ret_stat)
{
	/* O_NONBLOCK: an earlier attempt may have left anything under this name. */
	int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC |
	                more_flags, 0640);
	if (fd < 0)
		return -errno;
	if (fstat(fd, ret_stat) < 0 || !S_ISREG(ret_stat->st_mode) || ret_stat->st_nlink != 1) {
		fd_close(fd);
		return -EINVAL;
	}
	return fd;
}

static int open_or_replace(int dirfd, const char *name, struct stat *ret_stat)
{
	int fd = open_plain(dirfd, name, 0, ret_stat);
	if (fd >= 0 || fd == -EMFILE || fd == -ENFILE || fd == -ENOSPC)
		return fd;
	if (unlinkat(dirfd, name, 0) < 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0)
		return -errno;
	return open_plain(dirfd, name, O_EXCL, ret_stat);
}

static int open_now(struct runner_log *log, int job_dirfd, const struct run_order *order)
{
	struct stat st = {0};
	uint64_t limit = order->log_limit_bytes > LOG_LIMIT_MIN ? order->log_limit_bytes : LOG_LIMIT_MIN;
	*log = (struct runner_log){.fd = open_or_replace(job_dirfd, name_log(order->name), &st)};
	if (log->fd < 0) {
		int r = log->fd;
		log->fd = -1;
		return r;
	}
	log->end = (uint64_t)st.st_size;
	log->half = log->middle = limit / 4;
	if (log->end > limit / 2)
		leave_out_middle(log);
	uint64_t left = limit > log->end ? limit - log->end : limit / 2;
	*log = (struct runner_log){
		.fd = log->fd, .end = log->end, .half = left / 2, .middle = log->end + left / 2,
		.later = log->end > 0 ? order : NULL};
	return 0;
}

/* A log of an earlier attempt is opened before the handler runs, which could put
 * something else in its place; one that is not there yet may never be needed. */
int runner_log_open(struct runner_log *log, int job_dirfd, const struct run_order *order)
{
	struct stat st;
	const char *name = name_log(order->name);
	*log = (struct runner_log){.fd = -1, .dirfd = job_dirfd, .unmade = order};
	if (fstatat(job_dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	fd_permit_at(job_dirfd, name);
	return open_now(log, job_dirfd, order);
}
