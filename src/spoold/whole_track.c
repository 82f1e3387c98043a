/* Which directory is to be one job, which is one already, and what is noted of the rest
 * when a look or an event tells of it. */
#include "spoold/whole.h"

#include "spoold/accept.h"
#include "spoold/daemon.h"
#include "spoold/mend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool whole_is(const struct user *u, const char *path)
{
	return u->settings->directories == DIRECTORIES_JOB && strchr(path, '/') == NULL;
}

bool whole_is_inner(const struct user *u, const char *path)
{
	return u->settings->directories == DIRECTORIES_JOB && strchr(path, '/') != NULL;
}

/* How many jobs of a path are asked for a directory there. */
enum { SAME_PATH_MAX = 16 };

/* A power cut undid the moves of a job that is over: they are redone. */
static bool redo_ended(struct daemon *d, struct user *u, const char *path,
                       const struct file_ident *ident)
{
	struct job job = {0};
	uint64_t before_id = UINT64_MAX;
	bool undone = false;
	for (int n = 0; n < SAME_PATH_MAX && !undone &&
	                index_prev_ended(d->index, u->number, path, before_id, &job) == 0;
	     n++) {
		before_id = job.id;
		bool withdrawn = job.state == JOB_CANCELED && job.place == PLACE_NOWHERE;
		undone = !withdrawn && file_ident_same_top(&job.ident, ident) &&
		         job.ident.ctime_ns == ident->ctime_ns;
		if (undone && (recover_job(d, u, &job) < 0 || !u->reconciled))
			scan_unclear(d, u);
		job_clear(&job);
	}
	return undone;
}

/* A power cut undid the rename of a claim: this is its directory, or, where its uploader
 * wrote into it since, no more. */
static bool is_undone_claim(struct daemon *d, struct user *u, const struct job *job,
                            const struct file_ident *ident)
{
	if (file_ident_same_top(&job->ident, ident))
		return true;
	if (job->ident.whole != 0 && job->place == PLACE_PROCESSING &&
	    job_next_state(job->state, JOB_EV_GONE) >= 0 && file_ident_same_inode(&job->ident, ident))
		mend_job(d, u, job, REMEDY_JUDGE_AGAIN, NULL);
	return false;
}

/* Earlier jobs of this path may wait for their end. */
static bool is_of_earlier(struct daemon *d, struct user *u, const char *path, uint64_t before_id,
                          const struct file_ident *ident)
{
	struct job job = {0};
	bool same = false;
	for (int n = 0; n < SAME_PATH_MAX && !same &&
	                index_prev_live(d->index, u->number, path, before_id, &job) == 0;
	     n++) {
		before_id = job.id;
		same = is_undone_claim(d, u, &job, ident);
		job_clear(&job);
	}
	return same;
}

bool whole_is_job(struct daemon *d, struct user *u, const char *path,
                  const struct file_ident *ident)
{
	struct job job = {0};
	int r = index_find_path(d->index, u->number, path, &job);
	if (r == -ENOENT)
		return false;
	if (r < 0) {
		/* Nothing else would look at it again. */
		d->rescan_ms = due_min(d->rescan_ms, d->steady_ms + INTAKE_RELOOK_MS);
		return true;
	}
	bool live = !job_state_is_final(job.state);
	bool known = (live && (is_undone_claim(d, u, &job, ident) ||
	                       is_of_earlier(d, u, path, job.id, ident))) ||
	             redo_ended(d, u, path, ident);
	if (!known && live && job.place == PLACE_INCOMING)
		accept_gone(d, u, &job, "replaced by a newer upload of the same name");
	job_clear(&job);
	return known;
}

static struct upload_entry *new_entry(struct daemon *d, struct user *u, const char *path,
                                      bool moved_in)
{
	struct upload_entry *e =
		upload_add(d, u, path, moved_in ? INTAKE_USER_MAX : INTAKE_WAITING_MAX);
	if (e == NULL)
		return NULL;
	e->kind = ENTRY_DIRECTORY;
	e->waits_for = SETTLE_WAIT;
	e->whole = calloc(1, sizeof *e->whole);
	if (e->whole == NULL) {
		upload_drop(d, e);
		return NULL;
	}
	e->whole->entry = e;
	return e;
}

/* A claim of this very directory was undone: that rename was ours, and says nothing of
 * its uploader. */
static bool was_put_back(struct daemon *d, const struct user *u, const char *path,
                         const struct file_ident *ident)
{
	struct job job = {0};
	if (index_find_path(d->index, u->number, path, &job) < 0)
		return false;
	bool was = job.state == JOB_CANCELED && job.place == PLACE_NOWHERE &&
	           file_ident_same_inode(&job.ident, ident);
	job_clear(&job);
	return was;
}

void whole_track(struct daemon *d, struct user *u, const char *path,
                 const struct file_ident *ident, bool moved_in, bool by_scan)
{
	struct upload_entry *e = upload_find(u, path);
	bool other = e != NULL && (e->whole == NULL || !file_ident_same_inode(&e->look.ident, ident));
	/* What had this name is gone. */
	if (other && e->state != UPLOAD_ACCEPTING) {
		upload_drop(d, e);
		e = NULL;
	}
	if (moved_in && was_put_back(d, u, path, ident)) {
		moved_in = false;
		by_scan = true;
	}
	bool is_new = e == NULL;
	if (is_new)
		e = new_entry(d, u, path, moved_in);
	if (e == NULL)
		return;
	if (e->state == UPLOAD_ACCEPTING) {
		e->touched = true;
		e->renamed = moved_in;
		return;
	}
	if (is_new) {
		e->look.ident = *ident;
		e->look.found = by_scan;
	}
	if (moved_in) {
		e->look.renamed_in = true;
		whole_abandon(d, e);
	}
	bool waits = !is_new && !e->whole->queued && (e->due.at == 0 || (by_scan && e->whole->idle > 0));
	if (moved_in || waits || (by_scan && is_new))
		upload_set_due(d, e, d->steady_ms);
	else if (is_new)
		upload_set_due(d, e, d->steady_ms + u->settings->whole_settle_ms);
}

void whole_forget(struct daemon *d, struct user *u, const char *path)
{
	struct upload_entry *e = upload_find(u, path);
	if (e != NULL && e->whole != NULL && e->state != UPLOAD_ACCEPTING)
		upload_drop(d, e);
}
