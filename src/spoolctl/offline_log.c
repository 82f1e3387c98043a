#include "spoolctl/offline_private.h"

#include "core/beside.h"
#include "core/name.h"
#include "core/shape.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64 * 1024 };

struct offline_log {
	struct ctl *ctl;
	struct index *ix; /* NULL: there is none yet */
	struct tree *tree;
	unsigned char chunk[CHUNK];
};

void offline_log_close(struct offline_log *log)
{
	if (log == NULL)
		return;
	index_close(log->ix);
	tree_close(log->tree);
	free(log);
}

int offline_log_open(struct ctl *ctl, struct offline_log **ret)
{
	struct offline_log *log = ctl_need(calloc(1, sizeof *log));
	log->ctl = ctl;
	int code = offline_open(ctl, &log->ix);
	if (code == CTL_OK && log->ix != NULL && ctl_open_tree(ctl, &log->tree) != CTL_OK)
		code = CTL_NO_DAEMON;
	if (code == CTL_OK)
		*ret = log;
	else
		offline_log_close(log);
	return code;
}

static int find_job(const struct offline_log *log, uint64_t id, struct job *ret, char **ret_user)
{
	int r = index_get_job(log->ix, id, ret);
	return r < 0 ? r : index_user_name(log->ix, ret->user, ret_user);
}

static int say_none(const struct offline_log *log, const char *user, const struct job *job)
{
	const struct user_settings *settings = config_user(log->ctl->config, user);
	const struct handler *h = settings_handler(settings, name_base(job->path));
	char *why = ctl_need(beside_no_log(job, keep_logs_name(h->keep_logs)));
	ctl_error(log->ctl, "%s", why);
	free(why);
	return CTL_NO;
}

static int say_unread(const struct offline_log *log, uint64_t id, int error)
{
	bool may_not = error == -EACCES || error == -EPERM;
	ctl_error(log->ctl, "the log of job %" PRIu64 " cannot be read: %s%s", id, strerror(-error),
	          may_not ? "; without spoold, root and the account that it runs as may" : "");
	return may_not ? CTL_NO_DAEMON : CTL_NO;
}

int offline_log_read(struct offline_log *log, uint64_t id, uint64_t offset, bool followed,
                     json_t **ret)
{
	struct job job = {0};
	char *user = NULL;
	size_t n = 0;
	int code = CTL_OK;
	if (log->ix == NULL)
		return offline_say_no_job(log->ctl, id, CTL_NO_DAEMON);
	/* Anew each time: a run of "spoold --mode once" may be at work. */
	int r = find_job(log, id, &job, &user);
	if (r < 0) {
		code = r == -ENOENT ? offline_say_no_job(log->ctl, id, CTL_NO)
		                    : offline_unreadable(log->ctl, r);
		goto out;
	}
	r = tree_read_log(log->tree, user, &job, offset, log->chunk, CHUNK, &n);
	bool ended = job_state_is_final(job.state);
	if (r == -ENOENT && ended && !followed)
		code = say_none(log, user, &job);
	else if (r < 0 && r != -ENOENT)
		code = say_unread(log, id, r);
	else
		*ret = ctl_need(shape_log(log->chunk, n, offset, ended));
out:
	job_clear(&job);
	free(user);
	return code;
}
