#include "spoold/recover.h"

#include "base/escape.h"
#include "base/log.h"
#include "core/reconcile.h"
#include "spoold/claim.h"
#include "spoold/daemon.h"
#include "spoold/mend.h"
#include "spoold/result.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that are there but are no result will not become one. */
static bool is_no_result(int error)
{
	return error == -ENOENT || error == -EBADMSG || error == -EFBIG ||
	       error == -EPROTONOSUPPORT;
}

static int read_result(struct daemon *d, const struct user *u, uint64_t job,
                       struct run_result *ret)
{
	char *data = NULL;
	size_t size;
	int r = tree_read_result(d->tree, u->name, job, &data, &size);
	if (r == 0)
		r = run_result_decode(data, size, ret);
	free(data);
	if (r < 0 && r != -ENOENT)
		log_warning("user %s: the result left for job %" PRIu64 " cannot be read: %s", u->name,
		            job, strerror(-r));
	return r;
}

/* The result that a worker left, where it is of an attempt that the index does
 * not know the end of: 1, else 0. A negative errno: it may be there, but cannot
 * be read now. */
static int read_news(struct daemon *d, const struct user *u, const struct job *job,
                     struct run_result *ret)
{
	struct run_result result = {0};
	int r = read_result(d, u, job->id, &result);
	if (r < 0)
		return is_no_result(r) ? 0 : r;
	struct attempt known = {0};
	bool news = result.attempt >= job->attempt;
	if (news && result.attempt > 0 &&
	    index_next_attempt(d->index, job->id, result.attempt - 1, &known) == 0)
		news = known.number != result.attempt || known.outcome == OUTCOME_NONE;
	attempt_clear(&known);
	result.job = job->id;
	if (news)
		*ret = result;
	else
		run_result_clear(&result);
	return news;
}

/* A result counts wherever the file is: its handler may have removed it, and an
 * upload of the same name may wait in incoming by now. */
static enum seen classify(const struct tree_found *found, bool news)
{
	if (news)
		return SEEN_RESULT;
	switch (found->place) {
	case PLACE_INCOMING: return found->same ? SEEN_INCOMING : SEEN_INCOMING_OTHER;
	case PLACE_PROCESSING: return SEEN_PROCESSING;
	case PLACE_DONE: return SEEN_FINAL_DONE;
	case PLACE_FAILED: return SEEN_FINAL_FAILED;
	case PLACE_NOWHERE:
	case PLACES: break;
	}
	return SEEN_NOWHERE;
}

/* A claim whose start is not in the index may have run all the same; so may one
 * that is not in the index at all, but in the directories. */
static void interrupted(struct daemon *d, struct user *u, const struct job *job, enum place place)
{
	bool claimed = job_state_is_active(job->state);
	struct run_result result = {
		.job = job->id,
		.attempt = claimed ? job->attempt : job->attempt + 1,
		.outcome = OUTCOME_INTERRUPTED,
		.exit_code = EXIT_CODE_NONE,
		.records = RECORDS_NONE,
		.started_ms = job->state == JOB_PROCESSING ? job->started_ms
		              : claimed                    ? job->claimed_ms
		                                           : d->wall_ms,
		.finished_ms = d->wall_ms,
	};
	char text[] = "interrupted: the machine or spoold went down while it ran";
	result.error = text;
	result_recovered(d, u, &result, place);
}

static void act(struct daemon *d, struct user *u, const struct job *job, enum remedy remedy,
                const struct tree_found *found, const struct run_result *news)
{
	switch (remedy) {
	case REMEDY_NOTHING:
	case REMEDY_LEAVE:
	case REMEDY_WAIT:
	case REMEDY_ADOPT: return;
	case REMEDY_NEW_UPLOAD: scan_want(d, u); return;
	case REMEDY_APPLY_RESULT: result_recovered(d, u, news, PLACE_PROCESSING); return;
	case REMEDY_INTERRUPTED: interrupted(d, u, job, found->place); return;
	case REMEDY_MOVE_FINAL: dispatch_move_final(d, u, job); return;
	case REMEDY_MOVE_BACK: {
		int r = tree_take_back(d->tree, u->name, job, found->place, found->final_name);
		if (r == 0)
			r = tree_take_voucher(d->tree, u->name, job, found->place, found->final_name);
		if (r < 0)
			log_error("user %s: job %" PRIu64 " cannot be taken back: %s", u->name, job->id,
			          strerror(-r));
		return;
	}
	default: mend_job(d, u, job, remedy, found->final_name); return;
	}
}

/* Did nobody look at it since it left incoming? It came from there by the last claim, or
 * by one that the index does not know, and no worker got it. What came from done or
 * failed, or lay here since an earlier attempt, its handler may have changed. */
static bool is_unchecked(const struct job *job, const struct tree_found *found)
{
	bool waits = job->state == JOB_PENDING || job->state == JOB_HELD;
	bool claimed = job->state == JOB_QUEUED && (job->attempt == 1 || job->retaken);
	return found->bare && (claimed || (waits && job->place == PLACE_INCOMING));
}

/* A claim that was cut short may have taken what was put in the place of the
 * upload at that moment: it is checked, and put back, as by the claim itself. */
static int end_claim(struct daemon *d, const struct user *u, const struct job *job,
                     struct tree_found *found)
{
	int r = claim_and_compare(d, u, job);
	if (r == -ESTALE) {
		found->place = PLACE_INCOMING;
		found->same = false;
		return 0;
	}
	return r;
}

static int look_for(struct daemon *d, const struct user *u, const struct job *job,
                    struct tree_found *ret_found, struct run_result *ret_news, enum seen *ret_seen)
{
	int r = tree_find(d->tree, u->name, job, ret_found);
	if (r == 0)
		r = whole_confirm(d, u, job, ret_found);
	if (r < 0) {
		log_error("user %s: cannot look for the file of job %" PRIu64 ": %s", u->name, job->id,
		          strerror(-r));
		return r;
	}
	bool ended = ret_found->place == PLACE_DONE || ret_found->place == PLACE_FAILED;
	if (ended && result_is_of_later(d, u, job))
		ret_found->place = PLACE_NOWHERE;
	r = ret_found->result && !ended ? read_news(d, u, job, ret_news) : 0;
	*ret_seen = classify(ret_found, r > 0);
	return r < 0 ? r : 0;
}

int recover_job(struct daemon *d, struct user *u, const struct job *job)
{
	struct tree_found found = {0};
	struct run_result news = {0};
	enum seen seen;
	/* What runs under this daemon is told by its worker. */
	if (!user_still_there(d, u) || dispatch_find(d, job->id) != NULL)
		return 0;
	int r = look_for(d, u, job, &found, &news, &seen);
	if (r < 0) {
		free(found.final_name);
		return r;
	}
	/* Taking the lock of a user that is not reconciled is for recover_user(). */
	bool locked = u->lock_fd < 0 && (!u->reconciled || user_lock(d, u) < 0);
	if (seen == SEEN_PROCESSING && !locked && is_unchecked(job, &found)) {
		r = end_claim(d, u, job, &found);
		if (r < 0)
			return r;
		seen = classify(&found, false);
	}
	enum remedy remedy = reconcile_job(job->state, job->place, seen, locked);
	if (remedy != REMEDY_NOTHING && remedy != REMEDY_WITHDRAWN) {
		char *shown = escape_str(job->path);
		log_notice("user %s: job %" PRIu64 " (%s) is %s in the index, its file is %s: %s", u->name,
		           job->id, shown == NULL ? "?" : shown, job_state_name(job->state),
		           seen_name(seen), remedy_name(remedy));
		free(shown);
	}
	/* Whatever becomes of it: its handler may have outlived its worker. */
	if (remedy == REMEDY_INTERRUPTED || (job_state_is_active(job->state) && !locked))
		stray_end_job(d, u, job);
	act(d, u, job, remedy, &found, &news);
	run_result_clear(&news);
	free(found.final_name);
	return 0;
}

struct visit {
	struct daemon *d;
	struct user *user;
};

static int drop_directory(struct daemon *d, const struct user *u, uint64_t id,
                          const struct job *job)
{
	int r = tree_drop_job(d->tree, u->name, id, job == NULL ? "" : job->path);
	if (r == -ENOTEMPTY)
		log_warning("user %s: processing/%" PRIu64 " holds files but no upload; it is left alone",
		            u->name, id);
	return r == -ENOTEMPTY ? 0 : r;
}

/* Is this the file of another job, which had this number before the index was
 * lost? What was never claimed has no file there but its own, renamed by a claim
 * that was forgotten, or what that took instead. */
static int is_strange(struct daemon *d, const struct user *u, const struct job *job,
                      const struct file_ident *ident)
{
	struct tree_found found = {0};
	if (job->place != PLACE_INCOMING || file_ident_same_inode(&job->ident, ident))
		return false;
	int r = tree_find(d->tree, u->name, job, &found);
	free(found.final_name);
	return r < 0 ? r : !is_unchecked(job, &found);
}

/* A private directory. Active jobs were looked at before. */
static int visit_directory(void *ctx, uint64_t id, const char *name, const struct file_ident *ident)
{
	struct visit *v = ctx;
	struct job job = {0};
	int r = index_get_job(v->d->index, id, &job);
	bool ours = r == 0 && job.user == v->user->number;
	if (r < 0 && r != -ENOENT)
		return r;
	bool active = ours && job_state_is_active(job.state);
	int strange = ours && name != NULL ? is_strange(v->d, v->user, &job, ident) : !ours;
	if (strange < 0)
		r = strange;
	else if (strange && name != NULL)
		r = adopt_file(v->d, v->user, id, name, ident);
	else if (!ours)
		r = drop_directory(v->d, v->user, id, NULL);
	else if (!active && (job.place == PLACE_DONE || job.place == PLACE_FAILED))
		/* A last move that was cut short, whatever it had still to move. */
		dispatch_move_final(v->d, v->user, &job);
	else if (!active && name == NULL)
		r = drop_directory(v->d, v->user, id, &job);
	else if (!active)
		r = recover_job(v->d, v->user, &job);
	job_clear(&job);
	return r;
}

static int visit_active(struct daemon *d, struct user *u)
{
	struct job job = {0};
	uint64_t after = 0;
	int r = 0;
	while (r == 0 &&
	       (r = index_next_active(d->index, u->number, u->number, after, &job)) == 0) {
		after = job.id;
		r = recover_job(d, u, &job);
		job_clear(&job);
	}
	return r == -ENOENT ? 0 : r;
}

/* After all that was found out about this user is in the index. */
struct reconciled {
	struct change change;
	struct user *user;
};

static int reconciled_apply(struct daemon *d, struct change *c)
{
	(void)d;
	(void)c;
	return 0;
}

static void reconciled_finish(struct daemon *d, struct change *c, int error)
{
	struct user *u = ((struct reconciled *)c)->user;
	if (error == 0 && !u->unclear) {
		u->reconciled = true;
		/* What a scan could not settle while somebody had the lock. */
		if (u->scanned && !u->looked_through)
			scan_want(d, u);
		retention_look(d, u);
		user_touch(d, u);
		user_unlock_idle(d, u);
	}
	free(c);
}

int recover_later(struct daemon *d, struct user *u, int error)
{
	log_error("user %s: index and directories cannot be compared: %s; its jobs wait", u->name,
	          strerror(-error));
	u->reconciled = false;
	u->unclear = true;
	user_touch(d, u);
	return heap_put(&d->users.locks, &u->lock_due, d->steady_ms + DISPATCH_CLAIM_RETRY_MS);
}

/* What retention left goes when its time has come again. */
static int leave_alone(void *ctx, const char *path, uint64_t job)
{
	const struct user *u = ctx;
	if (job != 0)
		return 0;
	char *shown = escape_str(path);
	log_warning("user %s: %s is not spoold's; it is left alone", u->name,
	            shown == NULL ? "?" : shown);
	free(shown);
	return 0;
}

void recover_user(struct daemon *d, struct user *u)
{
	if (u->reconciled || u->number == 0 || !user_there(d, u) || user_lock(d, u) < 0)
		return;
	stray_end_user(d, u);
	u->unclear = false;
	struct visit v = {.d = d, .user = u};
	bool beside = false;
	struct reconciled *done = calloc(1, sizeof *done);
	int r = done == NULL ? -ENOMEM : visit_active(d, u);
	if (r == 0)
		r = tree_each_processing(d->tree, u->name, visit_directory, &v, &beside);
	if (r == 0 && beside)
		r = tree_each_beside_jobs(d->tree, u->name, leave_alone, u);
	if (r < 0 && r != -ENOENT) {
		recover_later(d, u, r);
		free(done);
		return;
	}
	done->change = (struct change){
		.apply = reconciled_apply, .finish = reconciled_finish, .keep = true};
	done->user = u;
	turn_add(d, &done->change);
}

/* Some in each tick: every one takes a lock. */
void recover_all(struct daemon *d)
{
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next) {
		u->reconciled = false;
		user_touch(d, u);
		if (heap_put(&d->users.locks, &u->lock_due, d->steady_ms) < 0)
			recover_user(d, u);
	}
}
