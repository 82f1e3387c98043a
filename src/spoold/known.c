#include "spoold/known.h"

#include "spoold/accept.h"
#include "spoold/daemon.h"
#include "spoold/mend.h"

#include <errno.h>
#include <stdlib.h>

/* How many jobs of a path are asked for what lies there. */
enum { SAME_PATH_MAX = 16 };

/* What lies at a path. */
struct sight {
	struct daemon *d;
	struct user *user;
	const char *path;
	const struct file_ident *ident;
	enum entry_kind kind;
};

static bool is_same(const struct sight *s, const struct job *job)
{
	return s->kind == ENTRY_DIRECTORY ? file_ident_same_top(&job->ident, s->ident)
	                                  : file_ident_same(&job->ident, s->ident);
}

/* Did this job end, and a power cut undid its moves? What its uploader took away
 * is an upload again. */
static bool is_undone(const struct sight *s, const struct job *job)
{
	bool withdrawn = job->state == JOB_CANCELED && job->place == PLACE_NOWHERE;
	struct tree_found found = {.place = PLACE_INCOMING, .same = true};
	if (withdrawn || !is_same(s, job) || job->ident.ctime_ns != s->ident->ctime_ns)
		return false;
	/* What cannot be told now is told by its recovery. */
	return whole_confirm(s->d, s->user, job, &found) < 0 || found.same;
}

/* Redoes the moves of a job that is over, where this is its file; others may
 * have had the path since, or wait under it. */
static bool redo_ended(const struct sight *s)
{
	struct job job = {0};
	uint64_t before_id = UINT64_MAX;
	bool undone = false;
	for (int n = 0; n < SAME_PATH_MAX && !undone &&
	                index_prev_ended(s->d->index, s->user->number, s->path, before_id, &job) == 0;
	     n++) {
		before_id = job.id;
		undone = is_undone(s, &job);
		/* While an earlier worker has the lock, its moves are not redone. */
		if (undone && (recover_job(s->d, s->user, &job) < 0 || !s->user->reconciled))
			scan_unclear(s->d, s->user);
		job_clear(&job);
	}
	return undone;
}

/* A power cut undid the rename of its claim, and its uploader wrote into the file since:
 * it would take what the new job does with it for its own. */
static void cancel_if_overwritten(const struct sight *s, const struct job *job)
{
	bool waits = job_next_state(job->state, JOB_EV_GONE) >= 0;
	if (waits && job->place == PLACE_PROCESSING && file_ident_same_inode(&job->ident, s->ident))
		mend_job(s->d, s->user, job, REMEDY_JUDGE_AGAIN, NULL);
}

/* Earlier jobs of this path may wait for their end, too: a power cut undid the
 * rename of a claim, and this is its file. */
static bool is_of_earlier(const struct sight *s, uint64_t before_id)
{
	struct job job = {0};
	bool same = false;
	for (int n = 0; n < SAME_PATH_MAX && !same &&
	                index_prev_live(s->d->index, s->user->number, s->path, before_id, &job) == 0;
	     n++) {
		before_id = job.id;
		same = is_same(s, &job);
		if (!same)
			cancel_if_overwritten(s, &job);
		job_clear(&job);
	}
	return same;
}

/* Its own file is not in incoming any more, where it waits there: what lies there is another. */
static void end_waiting(const struct sight *s, const struct job *job, const char *why)
{
	if (job->place == PLACE_INCOMING && !known_is_taken(s->d, s->user, job))
		accept_gone(s->d, s->user, job, why);
}

/* `last` is the last job of this path that waits or runs, or ended. */
static enum known hold_against(const struct sight *s, const struct job *last)
{
	bool live = !job_state_is_final(last->state);
	if (live && is_same(s, last))
		return KNOWN_SAME;
	if (live && is_of_earlier(s, last->id)) {
		end_waiting(s, last, "withdrawn: the file was taken out of incoming");
		return KNOWN_SAME;
	}
	if (redo_ended(s))
		return KNOWN_SAME;
	if (live) {
		end_waiting(s, last, "replaced by a newer upload of the same name");
		cancel_if_overwritten(s, last);
	}
	return KNOWN_NOT;
}

bool known_is_taken(struct daemon *d, struct user *u, const struct job *job)
{
	struct tree_found found = {0};
	/* Where nothing is to be seen its own claim will tell. */
	if (d->unmounted)
		return true;
	if (!tree_has_job(d->tree, u->name, job->id))
		return !user_still_there(d, u);
	int r = tree_find(d->tree, u->name, job, &found);
	free(found.final_name);
	return r < 0 || found.place == PLACE_PROCESSING;
}

enum known known_job(struct daemon *d, struct user *u, const char *path,
                     const struct file_ident *ident, enum entry_kind kind)
{
	const struct sight s = {.d = d, .user = u, .path = path, .ident = ident, .kind = kind};
	struct job last = {0};
	int r = index_find_path(d->index, u->number, path, &last);
	if (r == -ENOENT)
		return KNOWN_NOT;
	if (r < 0) {
		/* Nothing else would look at it again. */
		d->rescan_ms = due_min(d->rescan_ms, d->steady_ms + INTAKE_RELOOK_MS);
		return KNOWN_ERROR;
	}
	enum known known = hold_against(&s, &last);
	job_clear(&last);
	return known;
}
