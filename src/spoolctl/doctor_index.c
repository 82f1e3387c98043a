#include "spoolctl/doctor.h"

#include "base/shell.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Where a daemon runs, index and directories are looked at one after the other
 * while things move: only what differs every time is a finding. */
enum { LOOKS = 5, LOOK_PAUSE_MS = 200 };

static void open_index(struct doctor *d)
{
	const struct index_options options = {.read_only = true};
	char *path = ctl_escape(d->ctl->config->index);
	int r = index_open(d->ctl->config->index, &options, &d->index);
	if (r == -ENOENT)
		doctor_say(d, d->daemon != NULL ? FINDING_ERROR : FINDING_WARNING,
		           d->daemon != NULL ? "restart spoold: it makes a new one from the directories"
		                             : "none is needed before spoold first runs",
		           "there is no index at %s", path);
	else if (r == -EREMOTE)
		doctor_say(d, FINDING_ERROR, "set spool.index to a directory on a local disk",
		           "the index %s is on a network file system", path);
	else if (r == -EBADMSG)
		doctor_say(d, FINDING_ERROR, "restart spoold: it sets it aside and makes a new one from "
		           "the directories", "the index %s is damaged", path);
	else if (r == -EPROTONOSUPPORT)
		doctor_say(d, FINDING_ERROR, "use the newer version again",
		           "the index %s was written by a newer version", path);
	else if (r == -EACCES && geteuid() != 0)
		doctor_say(d, FINDING_WARNING, "ask as root, or as the account that spoold runs as",
		           "the index %s is not for your account to read", path);
	else if (r < 0)
		doctor_say(d, FINDING_ERROR, NULL, "the index %s cannot be read: %s", path, strerror(-r));
	free(path);
}

static bool is_apart(const char *dir, const char *root)
{
	struct stat a, b;
	return stat(dir, &a) == 0 && stat(root, &b) == 0 && a.st_dev != b.st_dev;
}

/* False: there is no use in reading it. */
static bool check_index(struct doctor *d)
{
	char *problem = NULL;
	struct index_totals totals;
	int r = index_check(d->index, &problem);
	if (r < 0) {
		doctor_say(d, FINDING_ERROR, "restart spoold: it sets a damaged index aside and makes a "
		           "new one from the directories", "the index is damaged: %s",
		           problem != NULL ? problem : strerror(-r));
		free(problem);
		return false;
	}
	if (index_totals(d->index, &totals) == 0)
		doctor_say(d, FINDING_OK, NULL, "the index is sound and knows %" PRIu64 " job%s",
		           totals.jobs, totals.jobs == 1 ? "" : "s");
	return true;
}

static void rest(void)
{
	const struct timespec pause = {.tv_nsec = LOOK_PAUSE_MS * 1000 * 1000};
	nanosleep(&pause, NULL);
}

/* Does the job's file lie where the index has it? 1, 0, or a negative errno.
 * *ret_found is a word for where it is. */
static int agrees(struct doctor *d, const char *user, const struct job *job,
                  const char **ret_found)
{
	struct tree_found found = {0};
	int r = tree_find(d->tree, user, job, &found);
	if (r < 0)
		return r;
	*ret_found = found.place == PLACE_INCOMING && !found.same ? "replaced in incoming"
	             : found.place == PLACE_NOWHERE               ? "gone"
	                                                          : place_name(found.place);
	bool fine = found.place == job->place && (found.place != PLACE_INCOMING || found.same);
	free(found.final_name);
	return fine ? 1 : 0;
}

/* Looks again and again while the job may be on its way. */
static int agrees_in_the_end(struct doctor *d, const char *user, struct job *job,
                             const char **ret_found)
{
	int r = agrees(d, user, job, ret_found);
	for (int looks = 1; r == 0 && d->daemon != NULL && looks < LOOKS; looks++) {
		uint64_t id = job->id;
		struct job now;
		rest();
		int got = index_get_job(d->index, id, &now);
		if (got < 0)
			return got == -ENOENT ? 1 : got;
		job_clear(job);
		*job = now;
		if (job_state_is_final(job->state))
			return 1;
		r = agrees(d, user, job, ret_found);
	}
	return r;
}

static void check_job(struct doctor *d, const char *user, struct job *job)
{
	const char *where = "";
	int r = agrees_in_the_end(d, user, job, &where);
	char *name = ctl_escape(job->path);
	if (r < 0)
		doctor_say(d, FINDING_ERROR, NULL, "user %s: the file of job %" PRIu64 " (%s) cannot be "
		           "looked for: %s", user, job->id, name, strerror(-r));
	else if (r == 0)
		doctor_say(d, FINDING_WARNING,
		           d->daemon != NULL ? "spoolctl rescan has spoold look again"
		                             : "spoold puts it right when it starts",
		           "user %s: job %" PRIu64 " (%s) is %s and should be in %s, but its file is %s",
		           user, job->id, name, job_state_name(job->state), place_name(job->place), where);
	free(name);
}

static void say_unready(struct doctor *d, const char *user, const struct job *job)
{
	char *name = ctl_escape(job->path);
	doctor_say(d, FINDING_WARNING, "mend that; 'spoolctl reload' has it tried at once, and spoold tries it "
	           "by itself within a minute",
	           "user %s: job %" PRIu64 " (%s) waits, and what came after it: %s", user, job->id, name,
	           job->error);
	free(name);
}

enum walk { WALK_LINE, WALK_DELAYED, WALK_HELD, WALK_ACTIVE, WALKS };

static int next_live(struct doctor *d, enum walk walk, uint32_t user, const struct job *after,
                     struct job *ret)
{
	switch (walk) {
	case WALK_LINE:
		return index_next_in_line(d->index, user, after->seq, ret);
	case WALK_DELAYED:
		return index_next_delayed(d->index, user, after->not_before_ms, after->id, ret);
	case WALK_HELD:
		return index_next_held(d->index, user, after->id, ret);
	default:
		return index_next_active(d->index, user, user, after->id, ret);
	}
}

static uint64_t check_live_jobs(struct doctor *d, const char *user, uint32_t number)
{
	uint64_t n = 0;
	for (int walk = 0; walk < WALKS; walk++) {
		struct job after = {0}, job;
		while (next_live(d, (enum walk)walk, number, &after, &job) == 0) {
			/* Only its keys are needed for the next one. */
			after = (struct job){.id = job.id, .seq = job.seq, .not_before_ms = job.not_before_ms};
			check_job(d, user, &job);
			if (job_is_unready(&job))
				say_unready(d, user, &job);
			job_clear(&job);
			n++;
		}
	}
	return n;
}

struct private_check {
	struct doctor *d;
	const char *user;
};

static bool is_known(const struct doctor *d, uint64_t id)
{
	struct job job;
	if (index_get_job(d->index, id, &job) < 0)
		return false;
	bool known = job.place == PLACE_PROCESSING;
	job_clear(&job);
	return known;
}

static int check_private(void *ctx, uint64_t id, const char *path, const struct file_ident *ident)
{
	const struct private_check *c = ctx;
	struct doctor *d = c->d;
	bool known = is_known(d, id);
	(void)ident;
	if (path == NULL)
		return 0;
	if (!known && d->daemon != NULL) {
		rest();
		known = is_known(d, id);
	}
	if (known)
		return 0;
	char *name = ctl_escape(path);
	doctor_say(d, FINDING_WARNING,
	           d->daemon != NULL ? "spoold tries again to move it, or puts it right when it starts "
	                               "again; see spoolctl explain"
	                             : "spoold puts it right when it starts",
	           "user %s: processing/%" PRIu64 " holds a file (%s) that the index does not expect "
	           "there", c->user, id, name);
	free(name);
	return 0;
}

/* Retention was removing it when it was cut short, and the index that knew was lost. */
static void tell_removed(const struct private_check *c, const char *path, const char *shown)
{
	char *mend = ctl_need(shell_command("rm -r", path));
	doctor_say(c->d, FINDING_WARNING, mend,
	           "user %s: %s is what is left of a directory whose time in done or failed was over; "
	           "the index that knew of it is gone, so it stays", c->user, shown);
	free(mend);
}

static int check_beside_jobs(void *ctx, const char *path, uint64_t id)
{
	const struct private_check *c = ctx;
	struct job job = {0};
	char *shown = ctl_escape(path);
	if (id == 0)
		doctor_say(c->d, FINDING_WARNING, "look at it, and move it away",
		           "user %s: %s is not spoold's, and is left alone", c->user, shown);
	else if (index_get_job(c->d->index, id, &job) == -ENOENT)
		tell_removed(c, path, shown);
	job_clear(&job);
	free(shown);
	return 0;
}

static uint64_t compare_user(struct doctor *d, const char *user, uint32_t number)
{
	char *escaped = ctl_escape(user);
	struct private_check check = {.d = d, .user = escaped};
	/* Said where its directories are looked at. */
	if (tree_answers(d->tree, user, true) < 0) {
		free(escaped);
		return 0;
	}
	bool beside = false;
	uint64_t n = check_live_jobs(d, user, number);
	int r = tree_each_processing(d->tree, user, check_private, &check, &beside);
	if (r == 0 && beside)
		r = tree_each_beside_jobs(d->tree, user, check_beside_jobs, &check);
	if (r < 0 && r != -ENOENT)
		doctor_say(d, FINDING_ERROR, NULL, "user %s: processing cannot be read: %s", escaped,
		           strerror(-r));
	free(escaped);
	return n;
}

static void compare(struct doctor *d)
{
	unsigned before = d->errors + d->warnings;
	uint64_t jobs = 0;
	char *after = NULL;
	doctor_kind(d);
	for (;;) {
		struct user_row row;
		char *user = NULL;
		int r = index_next_user(d->index, after, &user, &row);
		free(after);
		if (r < 0)
			break;
		after = user;
		jobs += compare_user(d, user, row.number);
		user_row_clear(&row);
	}
	doctor_kind_end(d);
	if (d->errors + d->warnings == before && jobs == 1)
		doctor_say(d, FINDING_OK, NULL, "the file of the one live job is where the index has it");
	else if (d->errors + d->warnings == before)
		doctor_say(d, FINDING_OK, NULL, "the files of %" PRIu64 " live jobs are where the index has "
		           "them", jobs);
}

void doctor_index(struct doctor *d)
{
	const char *type = "";
	if (mounts_ask(ctl_mounts(d->ctl), d->ctl->config->index, NULL, true) < 0) {
		doctor_say(d, FINDING_ERROR, "set spool.index to a directory on a local disk",
		           "the index is on a network mount, which does not answer");
		return;
	}
	if (tree_path_is_network(d->ctl->config->index, &type))
		doctor_say(d, FINDING_ERROR, "set spool.index to a directory on a local disk",
		           "the index is on a network file system (%s)", type);
	if (d->tree != NULL && is_apart(d->ctl->config->index, d->ctl->config->root))
		doctor_space(d, d->ctl->config->index);
	open_index(d);
	if (d->index == NULL)
		return;
	if (check_index(d) && d->tree != NULL)
		compare(d);
}
