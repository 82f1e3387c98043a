#include "spoold/accept.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"
#include "spoold/daemon.h"
#include "spoold/known.h"
#include "spoold/notice.h"
#include "spoold/result.h"
#include "spoold/unsafe.h"
#include "spoold/voucher.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Entries that are being synced together. */
struct sync_batch {
	uint64_t tag;
	struct upload_entry *entries; /* by batch_next, in the order of acceptance */
	int errors[2 * INTAKE_BATCH_MAX]; /* of the descriptors */
	struct sync_batch *next;
};

struct acceptance {
	struct change change;
	struct upload_entry *entry;
	struct job job;
	uint64_t tried; /* number that the last try gave it; or 0 */
	bool accepted, was_accepted;
};

/* Of a commit that failed, all may be there, and what an operator made of it since: is this
 * upload the job that was made of it by the last try? */
static int was_accepted(struct daemon *d, struct acceptance *a)
{
	struct job job = {0};
	const struct upload_entry *e = a->entry;
	int r = a->tried == 0 ? -ENOENT : index_get_job(d->index, a->tried, &job);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	a->was_accepted = job.user == e->user->number && strcmp(job.path, e->path) == 0 &&
	                  file_ident_same(&job.ident, &e->look.ident);
	job_clear(&job);
	return 0;
}

/* `*ret_accepted`: the one that waits is this very upload, of such a commit. */
static int cancel_predecessor(struct daemon *d, const struct upload_entry *e, bool *ret_accepted)
{
	struct job old = {0};
	int r = index_find_path(d->index, e->user->number, e->path, &old);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!job_state_is_final(old.state) && file_ident_same(&old.ident, &e->look.ident)) {
		*ret_accepted = true;
	} else if (old.place == PLACE_INCOMING && job_next_state(old.state, JOB_EV_GONE) >= 0 &&
	           !known_is_taken(d, e->user, &old)) {
		job_step(&old, JOB_EV_GONE);
		old.place = PLACE_NOWHERE;
		old.finished_ms = d->wall_ms;
		r = job_set_text(&old.error, "replaced by a newer upload of the same name");
		if (r == 0)
			r = index_put_job(d->index, &old);
	}
	job_clear(&old);
	return r;
}

/* Where an index was lost, private directories may wait to be adopted (while
 * their worker runs, say) under numbers that it gives again. */
static int new_id(struct daemon *d, const struct user *u, uint64_t *ret)
{
	int r = numbers_new(d, ret);
	for (int n = 0; r == 0 && n < 1000 && !u->reconciled && tree_has_job(d->tree, u->name, *ret);
	     n++)
		r = numbers_new(d, ret);
	return r;
}

static int new_job(struct daemon *d, const struct upload_entry *e, struct job *job)
{
	int r = new_id(d, e->user, &job->id);
	if (r == 0)
		r = index_new_seq(d->index, &job->seq);
	if (r < 0)
		return r;
	job->user = e->user->number;
	job->state = JOB_PENDING;
	job->place = PLACE_INCOMING;
	job->ident = e->look.ident;
	job->arrived_ms = e->first_ms;
	job->accepted_ms = d->wall_ms;
	job->exit_code = EXIT_CODE_NONE;
	job->records = RECORDS_NONE;
	job->voucher = e->voucher;
	r = e->voucher.ino == 0 || !e->voucher_own
	            ? 0
	            : job_set_text(&job->voucher_suffix, voucher_suffix(e->user));
	if (r < 0)
		return r;
	/* The whole of it: texts are cut, a path that was cut leads nowhere. */
	job->path = strdup(e->path);
	return job->path == NULL ? -ENOMEM : 0;
}

/* Its content is not what its checksum says: a job that ends without a run. */
static int fail_unread(struct daemon *d, const struct upload_entry *e, struct job *job)
{
	job_step(job, JOB_EV_CLAIM);
	job_step(job, JOB_EV_FAIL);
	job->place = PLACE_FAILED;
	job->finished_ms = d->wall_ms;
	int r = job_set_text(&job->error, e->check->mismatch);
	return r < 0 ? r : result_hold_line(d, e->user, job);
}

static bool is_mismatch(const struct upload_entry *e)
{
	return e->check != NULL && e->check->mismatch != NULL;
}

static int accept_apply(struct daemon *d, struct change *c)
{
	struct acceptance *a = (struct acceptance *)c;
	struct upload_entry *e = a->entry;
	job_clear(&a->job);
	a->accepted = a->was_accepted = false;
	if (e->gone)
		return 0;
	int r = was_accepted(d, a);
	if (r == 0 && !a->was_accepted)
		r = cancel_predecessor(d, e, &a->was_accepted);
	if (r < 0 || a->was_accepted)
		return r;
	r = new_job(d, e, &a->job);
	if (r == 0 && is_mismatch(e))
		r = fail_unread(d, e, &a->job);
	if (r == 0)
		r = index_put_job(d->index, &a->job);
	user_touch(d, e->user);
	a->tried = a->job.id;
	a->accepted = r == 0;
	return r;
}

static void accept_committed(struct daemon *d, const struct change *c)
{
	const struct acceptance *a = (const struct acceptance *)c;
	if (!a->accepted)
		return;
	char *shown = escape_str(a->job.path);
	log_add(&d->turn.lines, LOG_LEVEL_INFO, "user %s: job %" PRIu64 " is %s", a->entry->user->name,
	        a->job.id, shown == NULL ? "?" : shown);
	free(shown);
}

static void accept_finish(struct daemon *d, struct change *c, int error)
{
	struct acceptance *a = (struct acceptance *)c;
	if (error == 0 && a->accepted) {
		request_accepted(d, a->entry->user, &a->job);
		if (a->job.state == JOB_FAILED) {
			log_warning("user %s: job %llu failed: %s", a->entry->user->name,
			            (unsigned long long)a->job.id, a->job.error);
			result_ended(d, a->entry->user, &a->job, PLACE_INCOMING);
		}
	}
	bool touched = a->entry->touched;
	struct file_ident renamed = a->entry->renamed;
	struct user *u = a->entry->user;
	if (a->entry->overtaken)
		scan_want_sorted(d, u);
	upload_release(d, a->entry);
	if (error == 0 && a->accepted && touched)
		intake_look_again(d, u, a->job.path, &renamed);
	/* What follows from that may not have been done: where it has ended, its move. */
	if (error == 0 && a->was_accepted)
		scan_want(d, u);
	job_clear(&a->job);
	free(a);
}

void accept_now(struct daemon *d, struct upload_entry *e)
{
	struct acceptance *a = calloc(1, sizeof *a);
	if (a == NULL) {
		upload_again(d, e);
		return;
	}
	a->change = (struct change){.apply = accept_apply, .committed = accept_committed,
	                            .finish = accept_finish, .keep = true};
	a->entry = e;
	e->state = UPLOAD_ACCEPTING;
	turn_add(d, &a->change);
}

void accept_ready(struct daemon *d, struct upload_entry *e)
{
	e->state = UPLOAD_SYNCING;
	e->batch_next = NULL;
	*d->intake.ready_end = e;
	d->intake.ready_end = &e->batch_next;
	d->intake.ready_n++;
}

void accept_note_error(struct upload_entry *e, int error)
{
	if (error != 0 && error != -ENOENT && error != -EAGAIN && e->error != error) {
		char *shown = escape_str(e->path);
		log_warning("user %s: incoming/%s cannot be taken: %s; it waits and is tried again",
		            e->user->name, shown == NULL ? "?" : shown, strerror(-error));
		free(shown);
	}
	e->error = error;
}

/* Of these nothing is known to be lost. */
static bool is_passing(int error)
{
	return error == -EINTR || error == -EAGAIN || error == -ENOMEM || error == -EBADF ||
	       error == -EINVAL;
}

/* Opens what has to be durable: each file, and the directories of their names.
 * A file that cannot be opened is not accepted. */
static size_t open_batch(struct daemon *d, struct upload_entry *entries, int *fds)
{
	size_t n = 0;
	for (struct upload_entry *e = entries; e != NULL; e = e->batch_next) {
		int file = e->gone ? -ENOENT
		                   : tree_open_judged(d->tree, e->user->name, e->path, &e->look.ident);
		int dir = file < 0 ? file : tree_open_holder(d->tree, e->user->name, e->path);
		int unsafe = file < 0 ? 0 : tree_is_unsafe(file, &e->look.ident);
		accept_note_error(e, dir < 0 ? dir : 0);
		if (dir < 0 && !e->gone)
			notice_waits(d, e);
		if (unsafe < 0)
			unsafe_note(d, e, unsafe);
		e->unsafe_marked = unsafe < 0;
		e->sync_at = file < 0 ? -1 : (int)n;
		if (file >= 0)
			fds[n++] = file;
		if (dir >= 0)
			fds[n++] = dir;
	}
	return n;
}

/* Another file than the one that was judged: how that one came is past, and, where it was
 * replaced, what the disk did to it. */
static void note_change(struct upload_entry *e, const struct file_ident *ident)
{
	if (!file_ident_same(ident, &e->look.ident))
		e->look.renamed_in = false;
	if (!file_ident_same_inode(ident, &e->look.ident))
		e->error = e->unsafe = 0;
	e->look.ident = *ident;
}

bool accept_may_pass(struct upload_entry *e, int error)
{
	bool passes = error == -EIO || error == -EACCES || error == -EINTR || error == -ENOSPC ||
	              error == -EDQUOT;
	bool first = passes && e->unsafe == 0 && !e->held_line;
	e->held_line = e->held_line || first;
	return upload_is_short(error) || first;
}

/* Without a sync in between it was judged just now. */
static int look_again(struct daemon *d, const struct upload_entry *e, bool synced,
                      struct file_ident *ret_ident, enum entry_kind *ret_kind)
{
	if (e->gone)
		return -ENOENT;
	if (synced)
		return tree_look(d->tree, e->user->name, e->path, ret_ident, ret_kind);
	*ret_ident = e->look.ident;
	*ret_kind = ENTRY_FILE;
	return 0;
}

/* One of a batch: a job now, or looked at again. */
static void take_one(struct daemon *d, struct upload_entry *e, bool synced)
{
	struct file_ident ident;
	enum entry_kind kind;
	int r = look_again(d, e, synced, &ident, &kind);
	bool plain = r == 0 && kind == ENTRY_FILE;
	bool same = plain && file_ident_same(&ident, &e->look.ident);
	if (same && e->error == 0 && !(synced && unsafe_recall(d, e))) {
		e->look.ident = ident;
		if (upload_retries(e))
			upload_wait_behind(d, e);
		else
			accept_now(d, e);
		return;
	}
	if (plain)
		note_change(e, &ident);
	if ((same || r < 0) && accept_may_pass(e, r < 0 ? r : e->error))
		upload_once_more(d, e);
	else
		upload_again(d, e);
}

static void take_batch(struct daemon *d, struct upload_entry *entries, bool synced)
{
	while (entries != NULL) {
		struct upload_entry *e = entries;
		entries = e->batch_next;
		take_one(d, e, synced);
	}
}

void accept_send_batch(struct daemon *d)
{
	int fds[2 * INTAKE_BATCH_MAX];
	struct upload_entry *entries = d->intake.ready;
	if (entries == NULL)
		return;
	d->intake.ready = NULL;
	d->intake.ready_end = &d->intake.ready;
	d->intake.ready_n = 0;
	if (d->config->durability == DURABILITY_RELAXED) {
		take_batch(d, entries, false);
		return;
	}
	struct sync_batch *batch = calloc(1, sizeof *batch);
	size_t n = open_batch(d, entries, fds);
	if (batch != NULL && sync_add(d->sync, d->intake.last_tag + 1, fds, n, batch->errors) == 0) {
		batch->tag = ++d->intake.last_tag;
		batch->entries = entries;
		batch->next = d->intake.batches;
		d->intake.batches = batch;
		d->intake.batches_n++;
		return;
	}
	log_error("memory is out: uploads wait");
	free(batch);
	for (size_t i = 0; i < n; i++)
		fd_close(fds[i]);
	while (entries != NULL) {
		struct upload_entry *e = entries;
		entries = e->batch_next;
		upload_again(d, e);
	}
}

static struct sync_batch *take_tag(struct daemon *d, uint64_t tag)
{
	struct sync_batch **p = &d->intake.batches;
	while (*p != NULL && (*p)->tag != tag)
		p = &(*p)->next;
	struct sync_batch *batch = *p;
	if (batch != NULL) {
		*p = batch->next;
		d->intake.batches_n--;
	}
	return batch;
}

/* Who has an error is not taken. */
static void note_sync_errors(struct daemon *d, struct sync_batch *batch)
{
	for (struct upload_entry *e = batch->entries; e != NULL; e = e->batch_next) {
		if (e->sync_at < 0 || e->error != 0)
			continue;
		int file = batch->errors[e->sync_at], dir = batch->errors[e->sync_at + 1];
		if (file < 0 && !is_passing(file)) {
			unsafe_found(d, e, file);
		} else if (file < 0 || dir < 0) {
			accept_note_error(e, file < 0 ? file : dir);
		}
	}
}

void intake_read_synced(struct daemon *d)
{
	uint64_t tag;
	int error;
	while (sync_next(d->sync, &tag, &error) > 0) {
		if (retention_synced(d, tag, error))
			continue;
		struct sync_batch *batch = take_tag(d, tag);
		if (batch == NULL)
			continue;
		if (error != 0)
			note_sync_errors(d, batch);
		take_batch(d, batch->entries, true);
		free(batch);
	}
}

bool accept_is_full(const struct daemon *d)
{
	return d->intake.batches_n >= INTAKE_BATCHES_MAX;
}

bool accept_idle(const struct daemon *d)
{
	return d->intake.batches == NULL && d->intake.ready == NULL;
}

static void free_entries(struct daemon *d, struct upload_entry *entries)
{
	while (entries != NULL) {
		struct upload_entry *e = entries;
		entries = e->batch_next;
		upload_release(d, e);
	}
}

void accept_clear(struct daemon *d)
{
	free_entries(d, d->intake.ready);
	d->intake.ready = NULL;
	while (d->intake.batches != NULL) {
		struct sync_batch *batch = d->intake.batches;
		d->intake.batches = batch->next;
		free_entries(d, batch->entries);
		free(batch);
	}
}
