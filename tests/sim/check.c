/* What must always be true. check_world() looks after every step,
 * check_commit() at every change of the index, check_run() whenever a handler
 * is started. */
#include "world.h"

#include "core/name.h"

#include <stdio.h>
#include <string.h>

/* What may pass between the moment an upload is complete and its acceptance,
 * without another one that came later going first. */
enum { ORDER_WHOLE_SLACK_MS = 1000 };

/* In which an upload that is complete must be a job, when nothing disturbs. */
enum { PROMPT_MS = 6000, PROMPT_WHOLE_MS = 170000 };

/* So often a job may be claimed in vain in that time: what fails at once is tried again later. */
enum { CLAIMS_MAX = 8, CLAIMS_MS = 1000 };

/* In which what waits in a worker is asked back when somebody needs its place. */
enum { PASS_MS = 100 };

static struct ledger_entry *entry_of(uint64_t job)
{
	for (int i = 0; i < world->uploads_n; i++)
		if (world->uploads[i].job == job)
			return &world->uploads[i];
	return NULL;
}

int ledger_of(const struct file_ident *ident)
{
	for (int i = world->uploads_n - 1; i >= 0; i--) {
		const struct ledger_entry *e = &world->uploads[i];
		if (e->fate != FATE_WRITING && e->number == ident->ino && e->size == ident->size &&
		    e->mtime_ns == ident->mtime_ns && e->digest == ident->whole)
			return i;
	}
	return NONE;
}

static int slot_of(int upload)
{
	const struct fs *fs = &world->fs;
	for (int i = 0; i < fs->slots_n; i++)
		if (fs->slots[i].used && fs->inodes[fs->slots[i].inode].kind == INODE_UPLOAD &&
		    fs->inodes[fs->slots[i].inode].upload == upload)
			return i;
	return NONE;
}

/* What is in a directory no event tells of; one that is looked at in vain is looked at
 * less often. */
static uint64_t prompt_ms(const struct ledger_entry *e)
{
	return e->digest != 0 ? world->settings.whole_settle_ms + PROMPT_WHOLE_MS
	                      : world->settings.settle_ms + PROMPT_MS;
}

/* An upload that is whole becomes a job at once, not at the next rescan. */
static void check_prompt(int upload)
{
	const struct ledger_entry *e = &world->uploads[upload];
	uint64_t since = e->whole_ms > world->disturbed_ms ? e->whole_ms : world->disturbed_ms;
	bool watched = !world->profile.lossy_hints && !world->profile.errors &&
	               !world->profile.clock_steps && world->user_watched[e->user] && world->mounted;
	if (e->fate != FATE_WHOLE || e->job != 0 || !world->daemon_up || !watched ||
	    world->now_ms < since + prompt_ms(e))
		return;
	int slot = slot_of(upload);
	if (slot != NONE && world->fs.slots[slot].place == PLACE_INCOMING)
		violation("upload %d (%s of %s) waits although it is complete", upload, e->name,
		          user_name(e->user));
}

/* Of a directory: each file in it, with its content. */
static bool has_all(const struct ledger_entry *e, int inode)
{
	struct whole now;
	if (e->digest == 0)
		return world->fs.inodes[inode].size == e->size;
	fs_whole(inode, &now);
	return now.ident.whole == e->digest;
}

/* Nothing is lost: every upload is in exactly one place, whole. */
void check_world(void)
{
	const struct fs *fs = &world->fs;
	int places[UPLOADS_MAX] = {0};
	for (int i = 0; i < fs->slots_n; i++) {
		const struct slot *s = &fs->slots[i];
		const struct inode *inode = &fs->inodes[s->inode];
		if (!s->used || inode->kind != INODE_UPLOAD || inode->upload == NONE)
			continue;
		places[inode->upload]++;
		if (world->uploads[inode->upload].fate == FATE_WHOLE &&
		    !has_all(&world->uploads[inode->upload], s->inode))
			violation("upload %d (%s) lost some of its data", inode->upload, s->name);
	}
	for (int i = 0; i < world->uploads_n; i++) {
		if (world->uploads[i].fate == FATE_WHOLE && places[i] != 1)
			violation("upload %d (%s of %s) is in %d places", i, world->uploads[i].name,
			          user_name(world->uploads[i].user), places[i]);
		check_prompt(i);
	}
}

/* A new job. */

static uint64_t moment(const struct ledger_entry *e)
{
	uint64_t quiet_ms =
		e->digest != 0 ? world->settings.whole_settle_ms : world->settings.settle_ms;
	return e->whole_ms + (e->renamed ? 0 : quiet_ms);
}

/* Of what is walked through twice it is not the moment that counts. */
static uint64_t slack_ms(const struct ledger_entry *a, const struct ledger_entry *b)
{
	return a->digest != 0 || b->digest != 0 ? ORDER_WHOLE_SLACK_MS : ORDER_SLACK_MS;
}

/* What lay there, complete, when the daemon started: by its age. */
static bool are_found(const struct ledger_entry *a, const struct ledger_entry *b)
{
	return a->found_in != 0 && a->found_in == b->found_in && a->seq != 0 && b->seq != 0;
}

static void check_found_order(const struct ledger_entry *a, const struct ledger_entry *b)
{
	if (a->whole_ms + ORDER_SLACK_MS < b->whole_ms && a->seq > b->seq)
		violation("%s is older than %s, and comes after it in the line; both lay there when the "
		          "daemon started", a->name, b->name);
}

/* Whoever finds one of them, its event or a scan: the kernel stamped it when it came. */
static void check_moved_order(const struct ledger_entry *a, const struct ledger_entry *b)
{
	if (a->whole_ms + ORDER_SLACK_MS < b->whole_ms && a->seq > b->seq)
		violation("%s was moved in before %s, and comes after it in the line", a->name, b->name);
}

static bool may_be_ordered(const struct ledger_entry *e)
{
	/* When a directory that grows in incoming was last changed is only seen by a look. */
	return e->undisturbed && e->seq != 0 && (e->digest == 0 || e->renamed);
}

static void check_order(const struct ledger_entry *e)
{
	for (int i = 0; i < world->uploads_n; i++) {
		const struct ledger_entry *o = &world->uploads[i];
		if (o != e && o->user == e->user && are_found(o, e)) {
			check_found_order(o, e);
			check_found_order(e, o);
		}
		if (o != e && o->user == e->user && o->moved_in && e->moved_in) {
			check_moved_order(o, e);
			check_moved_order(e, o);
		}
		if (o == e || o->user != e->user || !may_be_ordered(o) || !may_be_ordered(e))
			continue;
		if (o->seq > e->seq && moment(o) + slack_ms(o, e) < moment(e))
			violation("%s was complete before %s, but comes after it in the line", o->name,
			          e->name);
		if (o->seq < e->seq && moment(e) + slack_ms(o, e) < moment(o))
			violation("%s was complete before %s, but comes after it in the line", e->name,
			          o->name);
	}
}

static void check_durable(const struct ledger_entry *e, int upload, const struct flat_job *job)
{
	int slot = fs_find(e->user, PLACE_INCOMING, 0, job->path);
	if (world->profile.relaxed || slot == NONE || e->fate != FATE_WHOLE ||
	    world->fs.inodes[world->fs.slots[slot].inode].upload != upload)
		return;
	if (!fs_is_durable(slot))
		violation("job %llu (%s) is reported as pending, but a power cut would lose it",
		          (unsigned long long)job->job.id, job->path);
}

static bool is_alive(const struct rows *rows, uint64_t id)
{
	const struct flat_job *f = id == 0 ? NULL : rows_job((struct rows *)(uintptr_t)rows, id);
	return f != NULL && !job_state_is_final(f->job.state);
}

/* A claim takes what lies there, and then looks whether it is the upload: where this
 * is cut short and the index goes, the directory says that it was. */
static bool took_the_successor(const struct ledger_entry *earlier, const struct ledger_entry *e)
{
	return earlier->fate == FATE_REPLACED && earlier->user == e->user &&
	       strcmp(earlier->name, e->name) == 0;
}

/* A number means one upload for ever. */
static void check_number(const struct ledger_entry *e, const struct job *job)
{
	int upload = (int)(e - world->uploads);
	for (int i = 0; i < world->given_n; i++) {
		const struct given *g = &world->given[i];
		if (g->job == job->id && g->upload != upload &&
		    !took_the_successor(&world->uploads[g->upload], e))
			violation("the number of job %llu (%s) was that of upload %d before",
			          (unsigned long long)job->id, e->name, g->upload);
		if (g->job == job->id)
			return;
	}
	if (world->given_n < GIVEN_MAX)
		world->given[world->given_n++] = (struct given){.job = job->id, .upload = upload};
}

static void begin_entry(struct ledger_entry *e, const struct job *job)
{
	check_number(e, job);
	/* A commit that was lost may have given it. */
	struct ledger_entry *before = entry_of(job->id);
	if (before != NULL)
		before->job = 0;
	e->job = job->id;
	e->failures = 0;
	e->last_attempt = e->forgiven = 0;
}

/* A late event of one that had this name before would be taken for its own. */
static bool may_be_mistaken(int upload)
{
	const struct ledger_entry *e = &world->uploads[upload];
	for (int i = 0; world->profile.late_hints && i < upload; i++)
		if (world->uploads[i].user == e->user && strcmp(world->uploads[i].name, e->name) == 0)
			return true;
	return false;
}

static bool was_moved_in(int upload)
{
	const struct ledger_entry *e = &world->uploads[upload];
	const struct profile *p = &world->profile;
	return e->renamed && e->digest == 0 && !e->unlooked && !p->lossy_hints && !p->no_watch &&
	       world->user_watched[e->user] && !world->clock_was_set && !may_be_mistaken(upload) &&
	       world->went_wrong_ms + world->settings.settle_ms + 1500 < e->whole_ms;
}

static void check_accepted(const struct rows *is, const struct flat_job *job)
{
	int upload = ledger_of(&job->job.ident);
	if (upload == NONE) {
		violation("job %llu (%s) is of a file that was not whole",
		          (unsigned long long)job->job.id, job->path);
		return;
	}
	struct ledger_entry *e = &world->uploads[upload];
	if (e->job != job->job.id && is_alive(is, e->job) && !world->torn)
		violation("upload %d (%s) is job %llu and job %llu", upload, e->name,
		          (unsigned long long)e->job, (unsigned long long)job->job.id);
	begin_entry(e, &job->job);
	/* A power cut undid what retention had begun, and the index that knew of it was lost. */
	if (e->fate == FATE_PURGED)
		e->fate = FATE_WHOLE;
	e->cancel_asked = e->retry_asked = false;
	e->seq = job->job.seq;
	e->waits_ms = world->now_ms;
	/* What a scan finds unsettled goes first, whatever comes meanwhile; and a turn
	 * that failed is tried again after a second. */
	e->undisturbed = !e->unlooked && !world->profile.lossy_hints && !world->profile.no_watch &&
	                 !world->profile.late_hints && world->user_watched[e->user] &&
	                 world->disturbed_ms + world->settings.settle_ms + 1500 < e->whole_ms;
	e->moved_in = was_moved_in(upload);
	bool calm = !e->unlooked && world->went_wrong_ms < e->whole_ms && e->digest == 0;
	e->found_in = calm && e->whole_ms + world->settings.settle_ms < world->life_began_ms ? world->lives : 0;
	check_durable(e, upload, job);
	check_order(e);
	say("index: upload %d is job %llu", upload, (unsigned long long)job->job.id);
}

static void check_adopted(const struct flat_job *job)
{
	const struct fs *fs = &world->fs;
	for (int i = 0; i < fs->inodes_n; i++) {
		if (fs->inodes[i].number != job->job.ident.ino || fs->inodes[i].upload == NONE)
			continue;
		struct ledger_entry *e = &world->uploads[fs->inodes[i].upload];
		/* A removal by retention that a power cut undid is forgotten already. */
		bool forgotten = e->fate == FATE_PURGED;
		if (!world->index_lost && !world->profile.relaxed && !forgotten)
			violation("job %llu was adopted, but the index knew all",
			          (unsigned long long)job->job.id);
		if (forgotten)
			e->success_kept = e->permanent = false;
		e->fate = FATE_WHOLE;
		begin_entry(e, &job->job);
	}
}

/* A job that changed its state. */

static void check_canceled(struct ledger_entry *e, const struct flat_job *job)
{
	/* A directory that was adopted may have been refused by a worker before: what was accepted
	 * is not known, so it is put back and judged anew. */
	bool there = e->fate == FATE_WHOLE && !e->moved_outside && !world->torn &&
	             job->job.ident.whole != WHOLE_UNKNOWN;
	if (job->job.place == PLACE_NOWHERE && there)
		violation("job %llu (%s) is canceled as gone, but its file is there",
		          (unsigned long long)job->job.id, job->path);
	/* Nobody was told that it is durable. */
	if (job->job.place == PLACE_NOWHERE && job->job.ident.whole == WHOLE_UNKNOWN)
		e->job = 0;
	if (job->job.place != PLACE_NOWHERE && !e->cancel_asked)
		violation("job %llu (%s) is canceled, and nobody asked for it",
		          (unsigned long long)job->job.id, job->path);
}

static void check_failed(const struct ledger_entry *e, const struct flat_job *job)
{
	if (e->success_kept)
		violation("job %llu (%s) failed, but its worker had told of its success",
		          (unsigned long long)job->job.id, job->path);
	if (strcmp(job->error, "file vanished") == 0 && e->fate == FATE_WHOLE && !world->torn)
		violation("job %llu (%s) is said to have vanished, but its file is there",
		          (unsigned long long)job->job.id, job->path);
	if (strstr(job->error, "somebody else") != NULL && !e->moved_outside && !world->profile.relaxed)
		violation("job %llu (%s) is said to have been moved, but nobody did that",
		          (unsigned long long)job->job.id, job->path);
}

/* First in, first out: nobody who waits in the line is passed. */
static void check_claimed(const struct rows *is, const struct flat_job *job,
                          const struct flat_job *was)
{
	/* Failed, and claimed again by the same commit. */
	bool yielded = was->job.yields ||
	               (job_state_is_active(was->job.state) && world->settings.retry_back);
	for (int i = 0; i < is->jobs_n && !yielded; i++) {
		const struct job *other = &is->jobs[i].job;
		if (other->user == job->job.user && other->state == JOB_PENDING && !other->yields &&
		    other->seq < job->job.seq)
			violation("job %llu is started before job %llu, which is ahead of it",
			          (unsigned long long)job->job.id, (unsigned long long)other->id);
	}
}

/* What cannot be started is not tried again at once, for ever. */
static void count_claim(struct ledger_entry *e, const struct flat_job *job)
{
	if (e->claims == 0 || world->now_ms >= e->claims_ms + CLAIMS_MS) {
		e->claims = 0;
		e->claims_ms = world->now_ms;
	}
	if (++e->claims > CLAIMS_MAX)
		violation("job %llu (%s) was claimed %u times within a second, and never ran",
		          (unsigned long long)job->job.id, job->path, e->claims);
	e->unready_attempt = 0;
}

/* Where its handler cannot be started, that was no attempt. */
static void check_no_attempt(struct ledger_entry *e, const struct flat_job *job)
{
	bool told = e->unready_attempt != 0 && e->unready_life == world->lives;
	if (told && (job->job.state == JOB_FAILED || job->job.attempt >= e->unready_attempt))
		violation("job %llu (%s) had attempt %u, but its handler could not be started",
		          (unsigned long long)job->job.id, job->path, e->unready_attempt);
	e->unready_attempt = 0;
}

void check_unready(const struct sim_worker *w)
{
	struct ledger_entry *e = entry_of(w->job);
	if (e == NULL)
		return;
	e->unready_attempt = w->attempt;
	e->unready_life = world->lives;
}

static void check_again(struct ledger_entry *e, const struct flat_job *job)
{
	if (!e->retry_asked)
		violation("job %llu (%s) had ended and is in the line again",
		          (unsigned long long)job->job.id, job->path);
	/* The request is lost with the index, and then the result of before may count. */
	e->succeeded_before = e->succeeded_before || e->succeeded;
	/* The operator heard that nothing was changed, and that result will come once more. */
	e->succeeded = e->succeeded && world->refused;
	e->retry_asked = e->success_kept = e->permanent = e->moved_outside = false;
	e->failures = 0;
	e->forgiven = e->last_attempt;
}

static void check_changed(const struct rows *is, const struct flat_job *was,
                          const struct flat_job *now)
{
	struct ledger_entry *e = entry_of(now->job.id);
	if (e == NULL)
		return;
	if (job_state_is_active(was->job.state) && !job_state_is_active(now->job.state) && !e->cancel_asked)
		check_no_attempt(e, now);
	/* What one commit gives back and claims again is still queued. */
	if (now->job.state == JOB_QUEUED &&
	    (was->job.state != JOB_QUEUED || was->job.claimed_ms != now->job.claimed_ms))
		count_claim(e, now);
	if (was->job.state == now->job.state)
		return;
	say("index: job %llu (%s): %s -> %s%s%s", (unsigned long long)now->job.id, now->path,
	    job_state_name(was->job.state), job_state_name(now->job.state),
	    now->has_error ? ": " : "", now->error);
	if (job_state_is_final(was->job.state))
		check_again(e, now);
	/* A release and a claim may be one commit. */
	if (now->job.state == JOB_PENDING || was->job.state == JOB_HELD)
		e->waits_ms = world->now_ms;
	if (now->job.state == JOB_QUEUED)
		e->queued_ms = world->now_ms;
	switch (now->job.state) {
	case JOB_CANCELED: check_canceled(e, now); break;
	case JOB_FAILED: check_failed(e, now); break;
	case JOB_QUEUED: check_claimed(is, now, was); break;
	case JOB_DONE:
		if (!e->succeeded && !e->moved_outside && !world->torn)
			violation("job %llu (%s) is done, but it never succeeded",
			          (unsigned long long)now->job.id, now->path);
		break;
	default: break;
	}
}

/* Nobody starves: while a user's head only waits for its turn, each of the
 * others is served at most once per worker. */

static bool head_is_ready(const struct rows *rows, const struct flat_user *user)
{
	const struct job *head = NULL;
	unsigned active = 0;
	for (int i = 0; i < rows->jobs_n; i++) {
		const struct job *job = &rows->jobs[i].job;
		if (job->user != user->number)
			continue;
		active += job_state_is_active(job->state);
		if (job->state == JOB_PENDING && !job->yields && (head == NULL || job->seq < head->seq))
			head = job;
	}
	return head != NULL && head->not_before_ms <= wall_ms() && !user->held && !world->stopped &&
	       active < world->settings.max_running && world->mounted &&
	       world->now_ms > world->disturbed_ms + 10000;
}

/* Jobs that were started by this commit: of the user, or of all others. */
static unsigned count_started(const struct rows *was, const struct rows *is, uint32_t user, bool own)
{
	unsigned n = 0;
	for (int i = 0; i < is->jobs_n; i++) {
		const struct flat_job *f = &is->jobs[i];
		const struct flat_job *old = rows_job((struct rows *)(uintptr_t)was, f->job.id);
		n += (f->job.user == user) == own && f->job.state == JOB_QUEUED &&
		     (old == NULL || old->job.state != JOB_QUEUED);
	}
	return n;
}

static void check_fairness(const struct rows *was, const struct rows *is)
{
	for (int i = 0; i < is->users_n; i++) {
		int user = user_index(is->users[i].name);
		uint32_t number = is->users[i].number;
		bool ready = head_is_ready(is, &is->users[i]);
		bool waited = ready && world->ready[user] && count_started(was, is, number, true) == 0;
		world->others_started[user] =
			waited ? world->others_started[user] + count_started(was, is, number, false) : 0;
		if (!world->ready[user])
			world->ready_ms[user] = world->now_ms;
		world->ready[user] = ready;
		unsigned bound = (unsigned)world->profile.users * (world->total_limit + 1);
		if (world->others_started[user] > bound)
			violation("%s waits, and %u jobs of others were started meanwhile", is->users[i].name,
			          world->others_started[user]);
	}
}

void check_commit(const struct rows *was, const struct rows *is)
{
	for (int i = 0; i < is->jobs_n; i++) {
		const struct flat_job *now = &is->jobs[i];
		const struct flat_job *old = rows_job((struct rows *)(uintptr_t)was, now->job.id);
		if (old != NULL)
			check_changed(is, old, now);
		else if (now->job.state == JOB_PROCESSING)
			check_adopted(now);
		else
			check_accepted(is, now);
	}
	check_fairness(was, is);
}

/* A handler is started. */

static void check_limits(int user)
{
	unsigned own = handlers_running(user), all = handlers_running(NONE);
	if (own > world->running_limit)
		violation("%u handlers run for %s, the limit is %u", own, user_name(user),
		          world->running_limit);
	/* Of those that an index that was lost knew of, nobody counts. */
	if (all > world->total_limit && !world->index_lost)
		violation("%u handlers run, the limit is %u", all, world->total_limit);
}

static void check_committed(const struct sim_worker *w)
{
	const struct flat_job *f = rows_job(&world->committed, w->job);
	if (w->orphan && (world->index_lost || world->profile.relaxed))
		return;
	if (f == NULL || !job_state_is_active(f->job.state) || f->job.attempt != w->attempt)
		violation("attempt %u of job %llu runs, but the index does not say so", w->attempt,
		          (unsigned long long)w->job);
}

/* One job of a user at a time, and in the order of its line: nobody runs before
 * one ahead of it that waits, or is not known to have succeeded. */
static void check_turn(const struct sim_worker *w)
{
	const struct flat_job *f = rows_job(&world->committed, w->job);
	const struct ledger_entry *own = entry_of(w->job);
	/* A retry may have let others go first. */
	bool unsure = world->torn || world->index_lost || w->orphan || world->running_limit != 1 ||
	              w->attempt > 1 || own == NULL;
	for (int i = 0; i < world->committed.jobs_n && f != NULL && !unsure; i++) {
		const struct job *o = &world->committed.jobs[i].job;
		const struct ledger_entry *e = entry_of(o->id);
		bool ahead = o->user == f->job.user && o->seq < f->job.seq;
		bool waits = o->state == JOB_PENDING && !o->yields;
		/* Canceled in its worker, it lets the next one go on. */
		bool ended = e != NULL && (e->succeeded || e->cancel_asked);
		/* Released, it comes back to its place; what runs by then goes on. */
		bool late = e == NULL || (w->was_ahead ? e->waits_ms + PASS_MS > world->now_ms
		                                       : e->waits_ms >= own->queued_ms);
		if (ahead && (waits || job_state_is_active(o->state)) && !ended && !late)
			violation("job %llu runs before job %llu, which is ahead of it and has not succeeded",
			          (unsigned long long)w->job, (unsigned long long)o->id);
	}
}

/* What was handed over ahead of its turn does not run while somebody waits for
 * the place. */
static void check_nobody_waits(const struct sim_worker *w)
{
	for (int u = 0; u < world->profile.users && w->was_ahead && !w->orphan; u++)
		if (u != w->user && world->ready[u] && world->now_ms > world->ready_ms[u] + PASS_MS)
			violation("job %llu of %s runs ahead of its turn, and %s waits for the place",
			          (unsigned long long)w->job, user_name(w->user), user_name(u));
}

void check_run(const struct sim_worker *w, int slot)
{
	const struct inode *inode = &world->fs.inodes[world->fs.slots[slot].inode];
	struct ledger_entry *e = &world->uploads[inode->upload];
	((struct sim_worker *)(uintptr_t)w)->upload = inode->upload;
	check_committed(w);
	check_turn(w);
	check_nobody_waits(w);
	check_limits(w->user);
	if (inode->writing || e->fate == FATE_WRITING)
		violation("job %llu runs on a file that is still being written",
		          (unsigned long long)w->job);
	if (inode->directory && e->fate == FATE_PURGED && !has_all(e, world->fs.slots[slot].inode))
		violation("job %llu runs on what retention left of its directory",
		          (unsigned long long)w->job);
	/* It was ordered before the index was lost. */
	if (w->orphan && world->index_lost)
		e->job = w->job;
	if (e->job != w->job)
		violation("job %llu runs on the file of upload %d, which is job %llu",
		          (unsigned long long)w->job, inode->upload, (unsigned long long)e->job);
	if (e->success_kept)
		violation("job %llu (%s) runs again although it had succeeded",
		          (unsigned long long)w->job, w->name);
	if (e->permanent)
		violation("job %llu (%s) runs again although it had failed for good",
		          (unsigned long long)w->job, w->name);
	if (w->attempt <= e->last_attempt)
		violation("attempt %u of job %llu runs, after attempt %u", w->attempt,
		          (unsigned long long)w->job, e->last_attempt);
	if (e->failures > world->settings.max_retries)
		violation("job %llu (%s) runs after %u failures", (unsigned long long)w->job, w->name,
		          e->failures);
	e->last_attempt = w->attempt;
	e->claims = e->unready_attempt = 0;
	e->runs++;
}

/* A worker may forget its result only when the index has it. */
void check_ack(uint64_t job, uint32_t attempt)
{
	const struct rows *rows = &world->committed;
	for (int i = 0; i < rows->attempts_n; i++) {
		const struct flat_attempt *a = &rows->attempts[i];
		if (a->job == job && a->attempt.number == attempt && a->attempt.outcome != OUTCOME_NONE)
			return;
	}
	if (is_alive(rows, job))
		violation("the result of job %llu is acknowledged, but not in the index",
		          (unsigned long long)job);
}

/* What it gave back without an attempt: it may be claimed again by now. Under a clock that
 * steps it cannot be told whether that was before or after. */
void check_given_back(const struct run_result *result)
{
	const struct flat_job *f = rows_job(&world->committed, result->job);
	bool claimed = f != NULL && job_state_is_active(f->job.state) &&
	               f->job.attempt == result->attempt;
	if (claimed && f->job.claimed_ms < result->finished_ms && !world->clock_was_set)
		violation("the worker of job %llu may forget that it gave it back, but it is not back in "
		          "the index", (unsigned long long)result->job);
}

/* Only what is past its time is removed, and only the file of that job. */
void check_purge(uint64_t job, int slot)
{
	const struct inode *inode = &world->fs.inodes[world->fs.slots[slot].inode];
	const struct flat_job *f = rows_job(&world->committed, job);
	struct ledger_entry *e = inode->upload == NONE ? NULL : &world->uploads[inode->upload];
	if (f == NULL || !job_state_is_final(f->job.state) ||
	    f->job.finished_ms + world->known_keep_ms > wall_ms())
		violation("a file of job %llu is removed before its time", (unsigned long long)job);
	/* Where no worker came to compare a directory, what came into it lately ends in failed
	 * with it. */
	bool along = inode->directory && inode->seen_by != job && f != NULL && f->job.state != JOB_DONE;
	if (e != NULL && e->job != job && e->fate != FATE_PURGED && !world->torn && !along)
		violation("upload %d is removed as the file of job %llu", inode->upload,
		          (unsigned long long)job);
	say("retention: the file of job %llu is removed", (unsigned long long)job);
	if (e != NULL)
		e->fate = FATE_PURGED;
}

/* After a power cut. */

/* What is there by now, whatever it was. */
static void take_as_it_is(struct ledger_entry *e, int inode)
{
	const struct inode *i = &world->fs.inodes[inode];
	struct whole whole = {0};
	if (i->directory)
		fs_whole(inode, &whole);
	e->fate = i->directory && whole.files == 0 ? FATE_UNSYNCED : FATE_WHOLE;
	e->number = i->number;
	e->size = i->directory ? whole.ident.size : i->size;
	e->mtime_ns = i->mtime_ns;
	e->digest = whole.ident.whole;
}

/* The last changes of a directory may be undone: then it is what it was before. */
static void find_earlier(int inode)
{
	struct inode *i = &world->fs.inodes[inode];
	struct whole now;
	fs_whole(inode, &now);
	if (i->upload == NONE || world->uploads[i->upload].digest == now.ident.whole)
		return;
	for (int u = world->uploads_n - 1; u >= 0; u--) {
		struct ledger_entry *e = &world->uploads[u];
		if (e->number != i->number || e->digest != now.ident.whole || e->fate == FATE_WRITING)
			continue;
		world->uploads[i->upload].fate = FATE_UNSYNCED;
		i->upload = u;
		if (e->fate == FATE_REPLACED)
			e->fate = FATE_WHOLE;
		e->undisturbed = e->moved_in = false;
		return;
	}
}

static void after_cut(int upload, struct ledger_entry *e)
{
	int slot = slot_of(upload);
	bool promised = e->job != 0 && !world->profile.relaxed;
	if (slot == NONE) {
		if (e->fate == FATE_WHOLE && promised)
			violation("the power cut lost upload %d (%s), job %llu", upload, e->name,
			          (unsigned long long)e->job);
		if (e->fate == FATE_WHOLE || e->fate == FATE_WRITING)
			e->fate = FATE_UNSYNCED;
		return;
	}
	const struct inode *inode = &world->fs.inodes[world->fs.slots[slot].inode];
	/* A removal that the cut undid; what retention began is not begun again. */
	bool back = e->fate != FATE_WHOLE && e->fate != FATE_PURGED;
	if (back || !promised) {
		/* Half of a file is another one. */
		bool other =
			inode->directory != (e->digest != 0) || !has_all(e, world->fs.slots[slot].inode);
		/* What a handler removed, and how much of that lasts, changes nothing. */
		if (other && e->fate != FATE_EATEN)
			e->job = 0;
		/* So is one whose removal was undone but for some of what was in it. */
		if (other && inode->directory)
			e->success_kept = e->permanent = false;
		take_as_it_is(e, world->fs.slots[slot].inode);
		e->undisturbed = e->moved_in = false;
	}
	if (world->fs.slots[slot].name[0] == '.')
		e->fate = FATE_UNSYNCED;
	/* A removal by retention, right after a step of the clock. */
	if (e->fate == FATE_PURGED)
		e->success_kept = e->permanent = false;
}

/* Without the index's word, a result counts that lies beside its file. */
static void keep_what_is_left(struct ledger_entry *e)
{
	const struct fs *fs = &world->fs;
	int slot = e->job == 0 ? NONE : fs_find(e->user, PLACE_PROCESSING, e->job, NAME_RESULT);
	int file = slot_of((int)(e - world->uploads));
	/* Or it is of what the same directory was before, and the claim of this one is undone. */
	bool claimed = file == NONE || fs->slots[file].place != PLACE_INCOMING;
	bool left = slot != NONE && claimed &&
	            fs->inodes[fs->slots[slot].inode].result.attempt == e->last_attempt;
	e->success_kept = e->success_kept && left;
	e->permanent = e->permanent && left;
}

/* Where the last commits may be lost, other jobs have these numbers now. */
static void find_jobs_again(void)
{
	for (int i = 0; i < world->uploads_n; i++) {
		struct ledger_entry *e = &world->uploads[i];
		e->job = e->seq = 0;
		for (int j = 0; j < world->committed.jobs_n; j++) {
			const struct job *job = &world->committed.jobs[j].job;
			if (job->ident.ino == e->number && slot_of(i) != NONE && job->id > e->job)
				e->job = job->id;
		}
		keep_what_is_left(e);
		e->last_attempt = e->failures = 0;
	}
}

void ledger_after_cut(void)
{
	for (int i = 0; i < world->fs.inodes_n; i++)
		if (world->fs.inodes[i].directory)
			find_earlier(i);
	for (int i = 0; i < world->uploads_n; i++) {
		struct ledger_entry *e = &world->uploads[i];
		after_cut(i, e);
	}
	world->torn |= world->profile.relaxed || world->index_lost;
	if (world->torn)
		find_jobs_again();
	for (int u = 0; u < world->profile.users; u++) {
		world->uploaders[u].slot_upload = world->uploaders[u].inner = NONE;
		world->uploaders[u].folder = false;
	}
}

void ledger_without_index(void)
{
	for (int i = 0; i < world->uploads_n; i++) {
		struct ledger_entry *e = &world->uploads[i];
		keep_what_is_left(e);
		e->succeeded = e->succeeded || e->succeeded_before;
		e->last_attempt = e->failures = 0;
		e->job = e->seq = 0;
	}
}

/* At the end. */

static bool is_held(const struct flat_job *f)
{
	const struct flat_user *user = &world->committed.users[f->job.user - 1];
	return f->job.state == JOB_HELD || (f->job.state == JOB_PENDING && user->held);
}

/* What changed in a directory is found out at the turn of its job, which is held. */
static bool is_behind_held(const struct ledger_entry *e)
{
	for (int i = 0; i < world->committed.jobs_n; i++) {
		const struct flat_job *f = &world->committed.jobs[i];
		if (f->job.ident.whole != 0 && f->job.ident.ino == e->number && is_held(f))
			return e->digest != 0;
	}
	return false;
}

/* Nor was it looked at what its claim took, which then was held. */
static bool is_taken_for_held(const struct slot *s)
{
	const struct flat_job *f =
		s->place == PLACE_PROCESSING ? rows_job(&world->committed, s->dir) : NULL;
	return f != NULL && f->job.place == PLACE_INCOMING && is_held(f);
}

static const char *unsettled(int upload)
{
	const struct ledger_entry *e = &world->uploads[upload];
	int slot = slot_of(upload);
	const struct flat_job *f = e->job == 0 ? NULL : rows_job(&world->committed, e->job);
	if (e->fate != FATE_WHOLE || (f != NULL && is_held(f)) || is_behind_held(e) ||
	    is_taken_for_held(&world->fs.slots[slot]))
		return NULL;
	if (world->fs.slots[slot].place != PLACE_DONE && world->fs.slots[slot].place != PLACE_FAILED)
		return "did not reach done or failed";
	if (f != NULL && !job_state_is_final(f->job.state))
		return "is in its final place, but its job has not ended";
	if (e->moved_outside || world->torn)
		return NULL;
	if (world->fs.slots[slot].place == PLACE_DONE && e->runs == 0)
		return "is in done, but nothing ran on what is in it";
	/* What a claim took instead, and could not be put back, was none either; what came into
	 * a directory before its job was canceled ends with it. */
	if (e->digest == 0 && e->job == 0 && !world->index_lost &&
	    world->fs.inodes[world->fs.slots[slot].inode].stranger_of == 0)
		return "has ended, but was no job";
	return NULL;
}

bool check_settled(void)
{
	for (int i = 0; i < world->uploads_n; i++)
		if (unsettled(i) != NULL)
			return false;
	return handlers_running(NONE) == 0;
}

static void check_private(const struct slot *s)
{
	const struct flat_job *f = rows_job(&world->committed, s->dir);
	if (s->dir != 0 && (f == NULL || job_state_is_final(f->job.state)))
		violation("%s is left in processing/%llu, whose job has ended", s->name,
		          (unsigned long long)s->dir);
}

/* Nobody waits for a file that is gone or has its end elsewhere. */
static void check_waits(const struct flat_job *f)
{
	const struct ledger_entry *e = entry_of(f->job.id);
	if (f->job.state != JOB_PENDING || f->job.place != PLACE_INCOMING || e == NULL || world->torn)
		return;
	/* What changed deep inside a directory is found out at its turn. */
	if (e->digest != 0 && e->fate == FATE_REPLACED)
		return;
	/* A claim that could not look at what it took left that for the next one: it, or what was
	 * put in its place. */
	if (fs_find(e->user, PLACE_PROCESSING, f->job.id, f->path) != NONE)
		return;
	int slot = slot_of((int)(e - world->uploads));
	if (e->fate != FATE_WHOLE || slot == NONE || world->fs.slots[slot].place != PLACE_INCOMING)
		violation("job %llu (%s) waits, but its file is not in incoming any more",
		          (unsigned long long)f->job.id, f->path);
}

void check_end(void)
{
	for (int i = 0; i < world->committed.jobs_n && world->daemon_up; i++)
		check_waits(&world->committed.jobs[i]);
	for (int i = 0; i < world->uploads_n; i++)
		if (unsettled(i) != NULL)
			violation("upload %d (%s of %s, job %llu) %s", i, world->uploads[i].name,
			          user_name(world->uploads[i].user), (unsigned long long)world->uploads[i].job,
			          unsettled(i));
	if (handlers_running(NONE) > 0)
		violation("a handler runs on for ever");
	for (int i = 0; i < world->fs.slots_n; i++)
		/* With an index behind, the next start clears up what is ours. */
		if (world->fs.slots[i].used && world->fs.slots[i].place == PLACE_PROCESSING && !world->torn)
			check_private(&world->fs.slots[i]);
}
