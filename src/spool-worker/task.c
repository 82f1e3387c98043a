#include "spool-worker/task.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"
#include "io/wholes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct task *task_new(struct run_order *order, int lock, int jobdir)
{
	struct task *t = calloc(1, sizeof *t);
	if (t == NULL)
		return NULL;
	t->order = *order;
	*order = (struct run_order){0};
	t->lock = lock;
	t->jobdir = jobdir;
	return t;
}

void task_free(struct task *t)
{
	run_order_clear(&t->order);
	run_result_clear(&t->result);
	free(t->packet);
	fd_close(t->jobdir);
	fd_close(t->lock);
	free(t);
}

/* All of our messages fit: texts are cut where they are made. */
void task_settle(struct task *t, const struct run_result *result)
{
	t->result = *result;
	t->result.error = result->error == NULL ? NULL : strdup(result->error);
	t->result.message = result->message == NULL ? NULL : strdup(result->message);
	struct message m = {.type = MESSAGE_RESULT, .result = t->result};
	int r = message_encode(&m, &t->packet, &t->packet_n);
	if (r < 0)
		log_error("job %" PRIu64 ": its result does not reach the daemon: %s", t->order.job,
		          strerror(-r));
	t->told = true;
}

void task_give_back(struct task *t, enum outcome outcome, const char *why)
{
	char text[100];
	snprintf(text, sizeof text, "%s", why);
	struct run_result result = {
		.job = t->order.job, .attempt = t->order.attempt, .outcome = outcome,
		.exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE,
		.finished_ms = clock_wall_ms(), .error = text,
	};
	task_settle(t, &result);
}

/* The handler may have made anything under our names. True where there was one. */
static bool clear_name(int jobdir, const char *name)
{
	char aside[64];
	if (unlinkat(jobdir, name, 0) == 0)
		return true;
	if (errno != EISDIR)
		return false;
	if (unlinkat(jobdir, name, AT_REMOVEDIR) == 0)
		return true;
	snprintf(aside, sizeof aside, "%s.%" PRIu64, name, clock_steady_ms());
	renameat(jobdir, name, jobdir, aside);
	return true;
}

static bool clear_names(int jobdir)
{
	static const char *const names[] = {NAME_RESULT, NAME_RESULT ".new", NAME_CANCEL};
	bool any = false;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		any = clear_name(jobdir, names[i]) || any;
	return any;
}

void task_clear_names(const struct task *t)
{
	if (t->order.fresh)
		return;
	fd_permit(t->jobdir);
	if (clear_names(t->jobdir) && fsync(t->jobdir) < 0)
		log_warning("job %" PRIu64 ": its directory cannot be synced: %m", t->order.job);
}

/* A directory that a handler may have seen carries the number of its job: what is in it
 * may be another by then. It is set before the handler starts, so that on a disk with a
 * journal no power cut keeps what the handler did and loses this. */
#define SEEN_ATTRIBUTE "user.spoold.seen"

static bool cannot_be_noted(int error)
{
	return error == EOPNOTSUPP || error == EPERM || error == EACCES;
}

static int note_seen(const struct task *t, int fd)
{
	char text[32];
	int n = snprintf(text, sizeof text, "%" PRIu64, t->order.job);
	bool noted = fsetxattr(fd, SEEN_ATTRIBUTE, text, (size_t)n, 0) == 0 || cannot_be_noted(errno);
	return noted ? 0 : -errno;
}

static bool was_seen(const struct task *t, int fd)
{
	char have[32], want[32];
	struct stat st;
	if (t->order.attempt <= 1)
		return false;
	/* Put there by a handler; or it cannot be known. */
	if (fstat(fd, &st) < 0 || st.st_ino != t->order.whole_ino)
		return true;
	snprintf(want, sizeof want, "%" PRIu64, t->order.job);
	ssize_t n = fgetxattr(fd, SEEN_ATTRIBUTE, have, sizeof have);
	if (n > 0)
		return (size_t)n == strlen(want) && memcmp(have, want, (size_t)n) == 0;
	/* Where nothing can be noted now, nothing could before. */
	return (n < 0 && cannot_be_noted(errno)) ||
	       (fsetxattr(fd, SEEN_ATTRIBUTE, "", 0, 0) < 0 && cannot_be_noted(errno));
}

static int compare(const struct task *t, int fd)
{
	struct wholes_order how = {.probe = true};
	struct wholes_result found;
	if (was_seen(t, fd))
		return 0;
	wholes_look(fd, &how, &found);
	if (found.error < 0)
		return found.error;
	const struct whole *w = &found.whole;
	bool same = w->ident.whole == t->order.whole && w->ident.ino == t->order.whole_ino;
	return same && !w->writer && w->flaw == WHOLE_SOUND ? 0 : -ESTALE;
}

/* With the directory of its job, where that is to be compared. */
static int with_whole(const struct task *t, int (*act)(const struct task *t, int fd))
{
	if (!t->order.directory || t->order.whole == 0)
		return 0;
	int fd = openat(t->jobdir, t->order.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* A handler may have put something else in its place, or nothing. */
	if (fd < 0)
		return t->order.attempt > 1 ? 0 : -errno;
	int r = act(t, fd);
	fd_close(fd);
	return r;
}

int task_compare(const struct task *t)
{
	return with_whole(t, compare);
}

int task_note_seen(const struct task *t)
{
	return with_whole(t, note_seen);
}

/* Is its directory that of another job by now? That is given away when the result is in
 * the index, and we may not have heard of that. */
static bool is_given_away(const struct task *t)
{
	char path[32];
	struct stat own, now;
	snprintf(path, sizeof path, "../%" PRIu64, t->order.job);
	/* Removed, or out of reach: that is said when it cannot be written to. */
	if (fstat(t->jobdir, &own) < 0 || own.st_nlink == 0)
		return false;
	if (fstatat(t->jobdir, path, &now, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT;
	return now.st_ino != own.st_ino || now.st_dev != own.st_dev;
}

int task_leave_result(const struct task *t)
{
	char *data;
	size_t size;
	int r = run_result_encode(&t->result, &data, &size);
	if (r < 0)
		return r;
	/* The handler may have closed it to its account, which may be ours. */
	fd_permit(t->jobdir);
	if (is_given_away(t)) {
		free(data);
		return 0;
	}
	clear_names(t->jobdir);
	r = fd_write_file(t->jobdir, NAME_RESULT, data, size, 0600);
	free(data);
	return r;
}
