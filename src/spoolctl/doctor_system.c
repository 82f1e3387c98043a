#include "spoolctl/doctor.h"
#include "spoolctl/view.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Descriptors a daemon needs beside those of its users and workers. */
enum { FDS_BASE = 256, FDS_PER_WORKER = 8, FDS_ASKED = 16384 };

static bool read_number(const char *path, uint64_t *ret)
{
	FILE *in = fopen(path, "re");
	bool got = in != NULL && fscanf(in, "%" SCNu64, ret) == 1;
	if (in != NULL)
		fclose(in);
	return got;
}

static void check_watches(struct doctor *d)
{
	uint64_t limit = 0;
	uint64_t wanted = (uint64_t)d->users + 1;
	if (!read_number("/proc/sys/fs/inotify/max_user_watches", &limit)) {
		doctor_say(d, FINDING_WARNING, NULL, "the limit of inotify watches cannot be read");
		return;
	}
	if (wanted > limit)
		doctor_say(d, FINDING_WARNING, "sysctl fs.inotify.max_user_watches=1048576",
		           "%" PRIu64 " inotify watches are allowed, %" PRIu64 " and one for each "
		           "subdirectory are needed: the rest is polled", limit, wanted);
	else
		doctor_say(d, FINDING_OK, NULL, "%" PRIu64 " inotify watches are allowed, %" PRIu64
		           " and one for each subdirectory are needed", limit, wanted);
}

struct fd_limit {
	uint64_t soft, hard;
};

/* "Max open files" of a process. */
static bool read_fd_limit(json_int_t pid, struct fd_limit *ret)
{
	char path[64], line[256];
	bool got = false;
	snprintf(path, sizeof path, "/proc/%lld/limits", (long long)pid);
	FILE *in = fopen(path, "re");
	while (in != NULL && !got && fgets(line, sizeof line, in) != NULL)
		got = sscanf(line, "Max open files %" SCNu64 " %" SCNu64, &ret->soft, &ret->hard) == 2;
	if (in != NULL)
		fclose(in);
	return got;
}

/* Of the daemon; without one, what it would get here. */
static bool find_fd_limit(const struct doctor *d, struct fd_limit *ret)
{
	struct rlimit own;
	if (d->daemon != NULL)
		return read_fd_limit(view_number(d->daemon, "pid"), ret);
	if (getrlimit(RLIMIT_NOFILE, &own) < 0)
		return false;
	/* It raises its soft limit by itself. */
	*ret = (struct fd_limit){.soft = own.rlim_max, .hard = own.rlim_max};
	return true;
}

static void check_files(struct doctor *d)
{
	struct fd_limit limit = {0};
	uint64_t wanted = FDS_BASE + (uint64_t)d->ctl->config->max_concurrent * FDS_PER_WORKER;
	char mend[96];
	if (!find_fd_limit(d, &limit))
		return;
	const char *whose = d->daemon != NULL ? "spoold" : "a program started here";
	if (d->daemon == NULL)
		snprintf(mend, sizeof mend, "ulimit -n %d", FDS_ASKED);
	else /* The hard limit stays, where it need not be raised. */
		snprintf(mend, sizeof mend, "prlimit --pid %lld --nofile=%d%s",
		         (long long)view_number(d->daemon, "pid"), FDS_ASKED,
		         limit.hard >= (uint64_t)FDS_ASKED ? ":" : "");
	if (limit.soft < wanted)
		doctor_say(d, FINDING_WARNING, mend,
		           "%s may have %" PRIu64 " files open; with %u workers %" PRIu64 " are wanted "
		           "(for good: LimitNOFILE=%d in the unit)", whose, limit.soft,
		           d->ctl->config->max_concurrent, wanted, FDS_ASKED);
	else
		doctor_say(d, FINDING_OK, NULL, "%s may have enough files open (%" PRIu64 ")", whose,
		           limit.soft);
}

static void check_daemon(struct doctor *d)
{
	if (d->daemon == NULL) {
		struct tree_daemon daemon = {0};
		char *why = ctl_why_down(d->ctl), *mend = ctl_mend_down(d->ctl);
		bool held = ctl_lock_is_held(d->ctl, &daemon);
		doctor_say(d, !held ? FINDING_WARNING : daemon.once ? FINDING_OK : FINDING_ERROR, mend, "%s",
		           why);
		free(mend);
		free(why);
		return;
	}
	doctor_say(d, FINDING_OK, NULL, "spoold %s runs (pid %lld)", view_text(d->daemon, "version"),
	           (long long)view_number(d->daemon, "pid"));
	if (strcmp(view_text(d->daemon, "version"), SPOOLD_VERSION) != 0)
		doctor_say(d, FINDING_WARNING, "restart spoold after an update",
		           "spoolctl is of another version (%s)", SPOOLD_VERSION);
	if (view_has(d->daemon, "problem"))
		doctor_say(d, FINDING_ERROR, NULL, "spoold says: %s", view_text(d->daemon, "problem"));
	if (view_number(d->daemon, "overflows") > 0)
		doctor_say(d, FINDING_OK, "if it is often: sysctl fs.inotify.max_queued_events=65536",
		           "more happened at once than the kernel could tell, %lld time%s; spoold looked "
		           "everywhere again", (long long)view_number(d->daemon, "overflows"),
		           view_number(d->daemon, "overflows") == 1 ? "" : "s");
	if (view_true(d->daemon, "stopping"))
		doctor_say(d, FINDING_OK, NULL, "spoold is stopping: no further job starts");
	else if (view_true(d->daemon, "stopped"))
		doctor_say(d, FINDING_WARNING, "spoolctl start lets them", "no job starts at present");
}

void doctor_system(struct doctor *d)
{
	check_daemon(d);
	doctor_socket(d);
	check_files(d);
	doctor_handlers(d);
	if (d->ctl->config->watch != WATCH_POLL)
		check_watches(d);
}
