#include "spoold/mend.h"

#include "base/escape.h"
#include "base/log.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file in processing that the index does not know: the index was lost. */
struct adoption {
	struct change change;
	struct user *user;
	uint64_t old_id;
	char *name;
	struct file_ident ident;
	struct job job;
	bool known; /* it is a job already */
};

/* Two adoptions of one file may be under way: the index was opened again while
 * the first one waited, or its commit failed and is there all the same. */
static bool is_its_job(const struct adoption *a, const struct job *job)
{
	return job->user == a->user->number && job_state_is_active(job->state) &&
	       job->place == PLACE_PROCESSING && strcmp(job->path, a->name) == 0 &&
	       file_ident_same_inode(&job->ident, &a->ident);
}

/* 1: `job` is that file's (to be cleared). */
static int find_its_job(struct daemon *d, const struct adoption *a, struct job *job)
{
	int r = index_get_job(d->index, a->old_id, job);
	if (r == 0 && is_its_job(a, job))
		return 1;
	job_clear(job);
	if (r == 0 || r == -ENOENT)
		r = index_find_path(d->index, a->user->number, a->name, job);
	if (r == 0 && is_its_job(a, job))
		return 1;
	job_clear(job);
	return r == -ENOENT ? 0 : r;
}

static int adopt_id(struct daemon *d, struct adoption *a, struct job *job)
{
	struct job other = {0};
	int r = a->old_id == 0 ? 0 : index_get_job(d->index, a->old_id, &other);
	job_clear(&other);
	if (r == -ENOENT) {
		job->id = a->old_id;
		return 0;
	}
	return r < 0 ? r : numbers_new(d, &job->id);
}

/* Of a job that waits for this very file the index is behind: before the power went that was
 * over, and the file another one's, which is what is adopted. */
static int end_predecessor(struct daemon *d, const struct adoption *a, uint64_t id)
{
	struct job old = {0};
	int r = index_find_path(d->index, a->user->number, a->name, &old);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (job_next_state(old.state, JOB_EV_GONE) >= 0 && file_ident_same_inode(&old.ident, &a->ident)) {
		char text[80];
		snprintf(text, sizeof text, "its file became job %" PRIu64 " before spoold or the machine "
		         "went down", id);
		job_step(&old, JOB_EV_GONE);
		old.place = PLACE_NOWHERE;
		old.finished_ms = d->wall_ms;
		r = job_set_text(&old.error, text);
		if (r == 0)
			r = index_put_job(d->index, &old);
	}
	job_clear(&old);
	return r;
}

static int adopt_apply(struct daemon *d, struct change *c)
{
	struct adoption *a = (struct adoption *)c;
	struct job *job = &a->job;
	job_clear(job);
	int r = find_its_job(d, a, job);
	a->known = r > 0;
	if (r != 0)
		return r < 0 ? r : 0;
	r = adopt_id(d, a, job);
	if (r == 0)
		r = end_predecessor(d, a, job->id);
	if (r == 0)
		r = index_new_seq(d->index, &job->seq);
	if (r < 0)
		return r;
	job->user = a->user->number;
	job->state = JOB_PROCESSING;
	job->place = PLACE_PROCESSING;
	job->ident = a->ident;
	job->arrived_ms = job->accepted_ms = job->claimed_ms = job->started_ms = d->wall_ms;
	job->attempt = 1;
	job->exit_code = EXIT_CODE_NONE;
	job->records = RECORDS_NONE;
	r = job_set_text(&job->path, a->name);
	if (r == 0)
		r = index_put_job(d->index, job);
	user_touch(d, a->user);
	return r;
}

static void adopt_finish(struct daemon *d, struct change *c, int error)
{
	struct adoption *a = (struct adoption *)c;
	struct user *u = a->user;
	if (error == 0 && !a->known) {
		char *shown = escape_str(a->name);
		log_notice("user %s: adopted %s, found in processing, as job %" PRIu64, u->name,
		           shown == NULL ? "?" : shown, a->job.id);
		free(shown);
		int r = a->job.id == a->old_id
		                ? 0
		                : tree_rename_job(d->tree, u->name, a->old_id, a->job.id);
		if (r < 0)
			log_error("user %s: its directory cannot be renamed: %s", u->name, strerror(-r));
		r = recover_job(d, u, &a->job);
		if (r < 0)
			recover_later(d, u, r);
	}
	job_clear(&a->job);
	free(a->name);
	free(a);
}

static void say_put_back(const struct user *u, uint64_t id, const char *name, const char *kept)
{
	char *shown = escape_str(kept == NULL ? name : kept);
	log_notice("user %s: what a claim took into processing/%" PRIu64 " before the index was lost %s%s",
	           u->name, id, kept == NULL ? "is in incoming again, to be judged there: "
	                                     : "may be written still; it is kept as failed/",
	           shown == NULL ? "?" : shown);
	free(shown);
}

/* No worker got it, so it may be that nobody has looked at it since it left incoming: with a
 * writer it is not complete. Of a directory that is known of no file in it, so it is to be
 * walked through as any upload. 1: it is no private directory's any more. */
static int put_back_unlooked(struct daemon *d, struct user *u, uint64_t id, const char *name,
                             const struct file_ident *ident)
{
	struct tree_found found = {0};
	char *kept = NULL;
	struct job job = {.id = id, .path = (char *)(uintptr_t)name, .ident = *ident,
	                  .state = JOB_PROCESSING, .place = PLACE_PROCESSING};
	int r = tree_find(d->tree, u->name, &job, &found);
	free(found.final_name);
	if (r < 0 || !found.bare)
		return r;
	if (ident->whole != 0) {
		r = tree_put_back(d->tree, u->name, id, name, &kept);
		tree_drop_job(d->tree, u->name, id, name);
	} else {
		r = tree_claim(d->tree, u->name, id, name, ident, &kept);
		if (r == 0)
			return 0;
	}
	if (r == 0 || r == -ESTALE) {
		say_put_back(u, id, name, kept);
		scan_want(d, u);
		r = 1;
	}
	free(kept);
	return r;
}

int adopt_file(struct daemon *d, struct user *u, uint64_t id, const char *name,
               const struct file_ident *ident)
{
	int r = put_back_unlooked(d, u, id, name, ident);
	if (r != 0)
		return r < 0 ? r : 0;
	struct adoption *a = calloc(1, sizeof *a);
	char *copy = strdup(name);
	if (a == NULL || copy == NULL) {
		free(a);
		free(copy);
		return -ENOMEM;
	}
	a->change = (struct change){.apply = adopt_apply, .finish = adopt_finish, .keep = true};
	a->user = u;
	a->old_id = id;
	a->name = copy;
	a->ident = *ident;
	turn_add(d, &a->change);
	return 0;
}
