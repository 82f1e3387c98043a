#include "spoold/result.h"

#include "base/escape.h"
#include "base/human.h"
#include "base/log.h"
#include "core/name.h"
#include "spoold/claim.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file of a final job got another name than its own, or is no more. */
struct renamed {
	struct change change;
	const struct user *user;
	uint64_t job;
	char *name; /* NULL: the handler removed it */
};

static int renamed_apply(struct daemon *d, struct change *c)
{
	const struct renamed *n = (const struct renamed *)c;
	struct job job = {0};
	int r = index_get_job(d->index, n->job, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (job_state_is_final(job.state)) {
		job.place = n->name == NULL ? PLACE_NOWHERE : job_final_place(job.state);
		r = job_set_text(&job.final_name, NULL);
		if (n->name != NULL) {
			free(job.final_name);
			job.final_name = strdup(n->name);
			r = job.final_name == NULL ? -ENOMEM : 0;
		}
		if (r == 0)
			r = index_put_job(d->index, &job);
	}
	job_clear(&job);
	return r;
}

static void renamed_finish(struct daemon *d, struct change *c, int error)
{
	struct renamed *n = (struct renamed *)c;
	if (error == 0)
		tree_drop_job(d->tree, n->user->name, n->job, "");
	free(n->name);
	free(n);
}

static const char *known_name(const struct job *job)
{
	return job->final_name != NULL ? job->final_name : job->path;
}

static void note_name(struct daemon *d, const struct user *u, const struct job *job,
                      const char *name)
{
	bool as_known = job->place == PLACE_NOWHERE
		? name == NULL
		: name != NULL && strcmp(name, known_name(job)) == 0;
	struct renamed *n = as_known ? NULL : calloc(1, sizeof *n);
	if (n == NULL)
		return;
	n->change = (struct change){.apply = renamed_apply, .finish = renamed_finish, .keep = true};
	n->user = u;
	n->job = job->id;
	n->name = name == NULL ? NULL : strdup(name);
	turn_add(d, &n->change);
}

static void forget_unmoved(struct daemon *d, struct unmoved *m)
{
	heap_remove(&d->dispatch.unmoved_due, &m->retry);
	HASH_DEL(d->dispatch.unmoved, m);
	free(m);
}

static void moved(struct daemon *d, uint64_t job)
{
	struct unmoved *m = NULL;
	HASH_FIND(hh, d->dispatch.unmoved, &job, sizeof job, m);
	if (m == NULL)
		return;
	forget_unmoved(d, m);
	log_notice("job %" PRIu64 ": its file is in its place now", job);
}

static void not_moved(struct daemon *d, const struct user *u, const struct job *job, int error)
{
	struct unmoved *m = NULL;
	HASH_FIND(hh, d->dispatch.unmoved, &job->id, sizeof job->id, m);
	if (m == NULL) {
		m = calloc(1, sizeof *m);
		if (m == NULL)
			return;
		m->job = job->id;
		HASH_ADD(hh, d->dispatch.unmoved, job, sizeof m->job, m);
		log_error("user %s: job %" PRIu64 " is %s but its file cannot be moved to %s: %s; it "
		          "stays in processing and is tried again; %s %s/%s",
		          u->name, job->id, job_state_name(job->state),
		          place_name(job_final_place(job->state)), strerror(-error), human_remedy(error),
		          tree_root(d->tree), u->name);
	}
	m->error = error;
	if (heap_put(&d->dispatch.unmoved_due, &m->retry, d->steady_ms + DISPATCH_MOVE_RETRY_MS) < 0)
		log_error("memory is out: the move is redone at the next start");
}

/* How many later jobs of the same path are asked. */
enum { LATER_MAX = 64 };

bool result_is_of_later(struct daemon *d, const struct user *u, const struct job *job)
{
	struct job later = {0};
	uint64_t before_id = UINT64_MAX;
	if (index_find_path(d->index, u->number, job->path, &later) < 0)
		return false;
	bool is = later.id != job->id && file_ident_same_inode(&later.ident, &job->ident);
	job_clear(&later);
	for (int n = 0; n < LATER_MAX && !is; n++) {
		if (index_prev_ended(d->index, u->number, job->path, before_id, &later) < 0)
			break;
		before_id = later.id;
		is = later.id > job->id && file_ident_same_inode(&later.ident, &job->ident);
		job_clear(&later);
		if (before_id <= job->id)
			break;
	}
	return is;
}

int dispatch_unmoved(const struct daemon *d, uint64_t job)
{
	struct unmoved *m = NULL;
	HASH_FIND(hh, d->dispatch.unmoved, &job, sizeof job, m);
	return m == NULL ? 0 : m->error;
}

/* What the uploader reads beside the file in failed. */
static char *reason_text(const struct job *job)
{
	char *text = NULL;
	const char *why = job->error == NULL ? "no reason was given" : job->error;
	const char *what = job->ident.whole != 0 ? "directory" : "file";
	int n;
	if (job->state == JOB_CANCELED)
		n = asprintf(&text, "This %s was not processed to its end: %s.\n", what, why);
	else if (job->attempt == 0)
		n = asprintf(&text,
		             "This %s was not processed: %s.\n"
		             "To have it processed, upload it again (job %" PRIu64 ").\n",
		             what, why, job->id);
	else
		n = asprintf(&text,
		             "This %s could not be processed: %s.\n"
		             "It was tried %u time%s (job %" PRIu64 ").\n",
		             what, why, job->attempt, job->attempt == 1 ? "" : "s", job->id);
	return n < 0 ? NULL : text;
}

/* Compared when its uploader cannot write there any more: what came into it, or in its
 * place, that no handler saw is another upload. */
static int take_compared(struct daemon *d, struct user *u, const struct job *job, enum place *ret)
{
	int r = claim_and_compare(d, u, job);
	*ret = PLACE_PROCESSING;
	if (r == -ESTALE)
		scan_want(d, u);
	return r == -ESTALE ? 0 : r;
}

static int find_place(struct daemon *d, struct user *u, const struct job *job,
                      enum place *ret)
{
	struct tree_found found = {0};
	int r = tree_find(d->tree, u->name, job, &found);
	if (r < 0)
		return r;
	r = whole_confirm(d, u, job, &found);
	free(found.final_name);
	if (r < 0)
		return r;
	bool same = found.place == PLACE_INCOMING && found.same;
	/* One that ran waits until the index knows that it is taken once more: retake(). */
	bool back = same && job->ident.whole != 0 &&
	            (job->attempt > 0 ? job->retaken : job->state == JOB_DONE);
	/* No handler had it since it left incoming, and what was taken could not be looked at:
	 * a crash or an error came first. */
	bool unseen = found.place == PLACE_PROCESSING && (job->attempt == 0 || job->retaken);
	*ret = same ? PLACE_INCOMING : PLACE_PROCESSING;
	return back || unseen ? take_compared(d, u, job, ret) : 0;
}

static void move_final(struct daemon *d, struct user *u, const struct job *job, enum place from)
{
	const struct handler *h = settings_handler(u->settings, name_base(job->path));
	enum place to = job_final_place(job->state);
	bool failed = to == PLACE_FAILED;
	char *reason = failed ? reason_text(job) : NULL;
	char *name = NULL;
	struct tree_finish f = {
		.user = u->name,
		.id = job->id,
		.path = job->path,
		.ident = &job->ident,
		.from = from,
		.to = to,
		.keep_log = h->keep_logs == KEEP_LOGS_ALWAYS ||
		            (h->keep_logs == KEEP_LOGS_FAILED && failed),
		.keep_output = true,
		.reason = reason,
		.voucher = &job->voucher,
		.voucher_suffix = job->voucher_suffix,
		.known = known_name(job),
		.hand_on = u->reconciled && u->lock_fd >= 0,
	};
	int r = user_gone(d, u) ? -ENODEV : tree_finish(d->tree, &f, &name);
	/* Somebody removed a directory of ours. */
	if ((r == -ENOENT || r == -ENOTDIR) && user_still_there(d, u) &&
	    tree_has_user(d->tree, u->name) && users_make_directories(d, u->name))
		r = tree_finish(d->tree, &f, &name);
	if (r < 0) {
		not_moved(d, u, job, r);
	} else {
		note_name(d, u, job, name);
		moved(d, job->id);
		if (name != NULL)
			whole_give_back(d, u, job, to, name);
	}
	free(name);
	free(reason);
}

/* The file of a job that had ended lies in incoming again. */
struct retaking {
	struct change change;
	struct user *user;
	uint64_t job;
};

static int retaking_apply(struct daemon *d, struct change *c)
{
	const struct retaking *t = (const struct retaking *)c;
	struct job job = {0};
	int r = index_get_job(d->index, t->job, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (job_state_is_final(job.state) && !job.retaken) {
		job.retaken = true;
		r = index_put_job(d->index, &job);
	}
	job_clear(&job);
	return r;
}

/* As the turn left it: an operator may have put it into the line again, and what would be
 * taken instead of it has no mark then. */
static void retaking_finish(struct daemon *d, struct change *c, int error)
{
	struct retaking *t = (struct retaking *)c;
	struct job job = {0};
	if (error == 0 && index_get_job(d->index, t->job, &job) == 0) {
		if (job_state_is_final(job.state) && job.retaken)
			dispatch_move_final(d, t->user, &job);
		job_clear(&job);
	}
	free(t);
}

/* First the index is told: what is taken instead of it, a crash coming before it is looked
 * at, must not count as what its handler left. */
static int retake(struct daemon *d, struct user *u, const struct job *job)
{
	struct retaking *t = calloc(1, sizeof *t);
	if (t == NULL)
		return -ENOMEM;
	t->change = (struct change){.apply = retaking_apply, .finish = retaking_finish, .keep = true};
	t->user = u;
	t->job = job->id;
	turn_add(d, &t->change);
	return 0;
}

void dispatch_move_final(struct daemon *d, struct user *u, const struct job *job)
{
	enum place from;
	int r = user_gone(d, u) ? -ENODEV : find_place(d, u, job, &from);
	bool again = r == 0 && from == PLACE_INCOMING && job->attempt > 0 && !job->retaken;
	if (again)
		r = retake(d, u, job);
	/* A file that was gone when its job ended may be there again: a power cut
	 * undid its removal. */
	if (r < 0)
		not_moved(d, u, job, r);
	else if (!again)
		move_final(d, u, job, from);
}

void result_ended(struct daemon *d, struct user *u, const struct job *job, enum place from)
{
	if (job->state == JOB_FAILED)
		d->failed_count++;
	bool has_file = job->place == PLACE_DONE || job->place == PLACE_FAILED;
	/* A claim that could not look at what it took left it where it is to be compared. */
	bool taken = from == PLACE_INCOMING && tree_has_job(d->tree, u->name, job->id);
	if (has_file && (from == PLACE_NOWHERE || taken))
		dispatch_move_final(d, u, job);
	else if (has_file)
		move_final(d, u, job, from);
	retention_note(d, u, job->finished_ms,
	               job->state == JOB_DONE ? u->settings->keep_done_ms
	                                      : u->settings->keep_failed_ms);
	request_job_ended(d, job);
}

void result_move_again(struct daemon *d)
{
	struct heap_node *node;
	while ((node = heap_first(&d->dispatch.unmoved_due)) != NULL && node->key <= d->steady_ms) {
		struct unmoved *m = HEAP_ENTRY(node, struct unmoved, retry);
		struct job job = {0};
		heap_remove(&d->dispatch.unmoved_due, node);
		if (!daemon_mounted(d) || index_get_job(d->index, m->job, &job) < 0) {
			if (heap_put(&d->dispatch.unmoved_due, node,
			             d->steady_ms + DISPATCH_MOVE_RETRY_MS) < 0)
				return;
			continue;
		}
		struct user *u = user_by_number(d, job.user);
		/* An operator may have put it into the line again. */
		if (u == NULL || !job_state_is_final(job.state))
			forget_unmoved(d, m);
		else
			dispatch_move_final(d, u, &job);
		job_clear(&job);
	}
}
