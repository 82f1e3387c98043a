/* io/index.h: rows in an array. A transaction is a copy that takes the place
 * of what is committed; what is committed is on the disk, but in relaxed mode
 * only after index_sync(). */
#include "world.h"

#include "io/index.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static void rows_copy(const struct rows *from, struct rows *to)
{
	memcpy(to, from, offsetof(struct rows, jobs));
	memcpy(to->jobs, from->jobs, (size_t)from->jobs_n * sizeof from->jobs[0]);
	memcpy(to->attempts, from->attempts, (size_t)from->attempts_n * sizeof from->attempts[0]);
}

/* What a read sees. */
static struct rows *seen(void)
{
	return world->in_transaction ? &world->draft : &world->committed;
}

struct flat_job *rows_job(struct rows *rows, uint64_t id)
{
	for (int i = 0; i < rows->jobs_n; i++)
		if (rows->jobs[i].job.id == id)
			return &rows->jobs[i];
	return NULL;
}

static int give_job(const struct flat_job *flat, struct job *ret)
{
	if (flat == NULL)
		return -ENOENT;
	struct job job = flat->job;
	job.path = (char *)(uintptr_t)flat->path;
	job.final_name = flat->has_final_name ? (char *)(uintptr_t)flat->final_name : NULL;
	job.error = flat->has_error ? (char *)(uintptr_t)flat->error : NULL;
	return job_copy(&job, ret);
}

static void put_text(const char *text, char *out, size_t room, bool *has)
{
	*has = text != NULL;
	strncpy(out, text == NULL ? "" : text, room - 1);
	out[room - 1] = '\0';
}

static void take_job(const struct job *job, struct flat_job *flat)
{
	bool has;
	flat->job = *job;
	flat->job.path = flat->job.final_name = flat->job.error = NULL;
	put_text(job->path, flat->path, sizeof flat->path, &has);
	put_text(job->final_name, flat->final_name, sizeof flat->final_name, &flat->has_final_name);
	put_text(job->error, flat->error, sizeof flat->error, &flat->has_error);
}

/* Transactions. */

int index_begin(struct index *ix)
{
	(void)ix;
	assert(!world->in_transaction);
	int r = io_may_fail("begin a transaction", -EIO, -ENOSPC);
	if (r < 0)
		return r;
	if (world->must_reopen)
		world->reopened = true;
	world->must_reopen = false;
	rows_copy(&world->committed, &world->draft);
	world->in_transaction = true;
	return 0;
}

static void commit(void)
{
	world->commits++;
	check_commit(&world->committed, &world->draft);
	rows_copy(&world->draft, &world->committed);
	if (!world->profile.relaxed && !broken("commit-not-synced"))
		rows_copy(&world->draft, &world->durable);
}

/* 0, or why it fails. */
static int try_commit(void)
{
	int r = io_may_fail("commit", -ENOSPC, -EIO);
	if (r < 0 || !world->profile.bad_moments || world->draining || !results_heard() || one_of(2))
		return r;
	went_wrong();
	r = one_of(2) ? -ENOSPC : -EIO;
	say("fails: commit, while results wait for it: %s", strerror(-r));
	return r;
}

int index_commit(struct index *ix)
{
	(void)ix;
	assert(world->in_transaction);
	int r = try_commit();
	world->refused = r < 0;
	if (r < 0 && broken("commit-error-ignored"))
		r = world->in_transaction = false;
	else if (r == 0 || (r == -EIO && one_of(2)))
		commit();
	world->in_transaction = false;
	/* Of a commit that failed with -EIO all or nothing is there. */
	world->must_reopen = r == -EIO;
	world->fragile = r < 0;
	if (r < 0 && broken("told-of-failed-turn"))
		workers_told_early();
	io_step("after the commit");
	return r;
}

void index_abort(struct index *ix)
{
	(void)ix;
	assert(world->in_transaction);
	world->in_transaction = false;
}

bool index_in_transaction(const struct index *ix)
{
	(void)ix;
	return world->in_transaction;
}

bool index_map_was_full(const struct index *ix)
{
	(void)ix;
	return false;
}

bool index_reopened(struct index *ix)
{
	(void)ix;
	bool reopened = world->reopened;
	world->reopened = false;
	return reopened;
}

int index_sync(struct index *ix)
{
	(void)ix;
	int r = io_may_fail("sync the index", -EIO, -EIO);
	if (r == 0)
		rows_copy(&world->committed, &world->durable);
	return r;
}

void index_daemon_died(void)
{
	world->in_transaction = world->reopened = world->must_reopen = world->fragile = false;
}

void index_power_cut(void)
{
	index_daemon_died();
	rows_copy(&world->durable, &world->committed);
}

/* Users. */

static struct flat_user *find_user(struct rows *rows, const char *name)
{
	for (int i = 0; i < rows->users_n; i++)
		if (strcmp(rows->users[i].name, name) == 0)
			return &rows->users[i];
	return NULL;
}

static void count(const struct job *job, struct user_row *row)
{
	row->count[job->state]++;
	if (job->state == JOB_PENDING || job->state == JOB_HELD)
		row->waiting_bytes += job->ident.size;
}

static int give_user(struct rows *rows, const struct flat_user *user, struct user_row *ret)
{
	*ret = (struct user_row){.number = user->number, .held = user->held,
	                         .bytes_known = true};
	for (int i = 0; i < rows->jobs_n; i++)
		if (rows->jobs[i].job.user == user->number)
			count(&rows->jobs[i].job, ret);
	return job_set_text(&ret->held_reason, user->held ? user->reason : NULL);
}

int index_get_user(struct index *ix, const char *name, struct user_row *ret)
{
	(void)ix;
	const struct flat_user *user = find_user(seen(), name);
	return user == NULL ? -ENOENT : give_user(seen(), user, ret);
}

int index_add_user(struct index *ix, const char *name, struct user_row *ret)
{
	(void)ix;
	struct rows *rows = &world->draft;
	struct flat_user *user = find_user(rows, name);
	if (user == NULL) {
		assert(rows->users_n < USERS_MAX);
		user = &rows->users[rows->users_n];
		*user = (struct flat_user){.number = (uint32_t)++rows->users_n};
		strcpy(user->name, name);
	}
	return give_user(rows, user, ret);
}

int index_put_user_held(struct index *ix, const char *name, bool held, const char *reason)
{
	(void)ix;
	bool has;
	struct flat_user *user = find_user(&world->draft, name);
	if (user == NULL)
		return -ENOENT;
	user->held = held;
	put_text(held ? reason : NULL, user->reason, sizeof user->reason, &has);
	return 0;
}

int index_user_name(struct index *ix, uint32_t user, char **ret_name)
{
	(void)ix;
	const struct rows *rows = seen();
	if (user == 0 || user > (uint32_t)rows->users_n)
		return -ENOENT;
	*ret_name = strdup(rows->users[user - 1].name);
	return *ret_name == NULL ? -ENOMEM : 0;
}

static int next_user(const char *after, bool pending, char **ret_name, struct user_row *ret)
{
	struct rows *rows = seen();
	const struct flat_user *next = NULL;
	for (int i = 0; i < rows->users_n; i++) {
		const struct flat_user *u = &rows->users[i];
		struct user_row row;
		if ((after != NULL && strcmp(u->name, after) <= 0) ||
		    (next != NULL && strcmp(u->name, next->name) > 0) || give_user(rows, u, &row) < 0)
			continue;
		if (!pending || row.count[JOB_PENDING] > 0)
			next = u;
		user_row_clear(&row);
	}
	if (next == NULL)
		return -ENOENT;
	*ret_name = strdup(next->name);
	return *ret_name == NULL ? -ENOMEM : give_user(rows, next, ret);
}

int index_next_user(struct index *ix, const char *after, char **ret_name, struct user_row *ret)
{
	(void)ix;
	return next_user(after, false, ret_name, ret);
}

int index_next_user_pending(struct index *ix, const char *after, char **ret_name,
                            struct user_row *ret)
{
	(void)ix;
	return next_user(after, true, ret_name, ret);
}

/* Jobs. */

int index_new_id(struct index *ix, uint64_t *ret_id)
{
	(void)ix;
	*ret_id = world->draft.next_id++;
	return 0;
}

int index_next_id(struct index *ix, uint64_t *ret_id)
{
	(void)ix;
	*ret_id = seen()->next_id;
	return 0;
}

int index_reserve_ids(struct index *ix, uint64_t last)
{
	(void)ix;
	if (world->draft.next_id <= last)
		world->draft.next_id = last + 1;
	return 0;
}

bool index_is_damaged(const struct index *ix)
{
	(void)ix;
	return false;
}

int index_new_seq(struct index *ix, uint64_t *ret_seq)
{
	(void)ix;
	*ret_seq = world->draft.next_seq++;
	return 0;
}

int index_get_job(struct index *ix, uint64_t id, struct job *ret)
{
	(void)ix;
	return give_job(rows_job(seen(), id), ret);
}

static bool is_in_line(const struct job *job)
{
	return job->state == JOB_PENDING && !job->yields;
}

/* Broken on purpose: the file moves while the change is only being written. */
static void rename_before_commit(const struct flat_job *was, const struct job *job)
{
	int user = user_index(world->draft.users[job->user - 1].name);
	bool claim = was->job.state == JOB_PENDING && job->state == JOB_QUEUED;
	bool end = was->job.state == JOB_PROCESSING && job_state_is_final(job->state);
	if (claim && was->job.place == PLACE_INCOMING && broken("claim-before-commit")) {
		int slot = fs_find(user, PLACE_INCOMING, 0, job->path);
		fs_make_dir(user, job->id);
		if (slot != NONE)
			fs_rename(slot, user, PLACE_PROCESSING, job->id, job->path);
	}
	if (end && broken("end-before-commit")) {
		uint8_t to = (uint8_t)job_final_place(job->state);
		int slot = fs_find(user, PLACE_PROCESSING, job->id, job->path);
		if (slot != NONE && fs_find(user, to, 0, job->path) == NONE)
			fs_rename(slot, user, to, 0, job->path);
	}
}

int index_put_job(struct index *ix, const struct job *job)
{
	(void)ix;
	struct rows *rows = &world->draft;
	struct flat_job *flat = rows_job(rows, job->id);
	assert(world->in_transaction && job->id != 0 && job->seq != 0);
	assert(job->user != 0 && job->user <= (uint32_t)rows->users_n);
	for (int i = 0; i < rows->jobs_n; i++) {
		const struct job *other = &rows->jobs[i].job;
		if (other->id != job->id && other->user == job->user && other->seq == job->seq &&
		    is_in_line(other) && is_in_line(job))
			return -EEXIST;
	}
	if (flat == NULL) {
		assert(rows->jobs_n < JOBS_MAX);
		flat = &rows->jobs[rows->jobs_n++];
		*flat = (struct flat_job){.job = {.state = JOB_CANCELED}};
	}
	rename_before_commit(flat, job);
	take_job(job, flat);
	/* It was over long ago. */
	if (job->not_before_ms != 0 && broken("pause-forgotten"))
		flat->job.not_before_ms = 1;
	world->puts++;
	if (rows->next_id <= job->id)
		rows->next_id = job->id + 1;
	if (rows->next_seq <= job->seq)
		rows->next_seq = job->seq + 1;
	return 0;
}

int index_remove_job(struct index *ix, uint64_t id)
{
	(void)ix;
	struct rows *rows = &world->draft;
	struct flat_job *flat = rows_job(rows, id);
	if (flat == NULL)
		return -ENOENT;
	if (!job_state_is_final(flat->job.state))
		return -EINVAL;
	say("index: job %llu is removed", (unsigned long long)id);
	*flat = rows->jobs[--rows->jobs_n];
	int kept = 0;
	for (int i = 0; i < rows->attempts_n; i++)
		if (rows->attempts[i].job != id)
			rows->attempts[kept++] = rows->attempts[i];
	rows->attempts_n = kept;
	return 0;
}

int index_find_path(struct index *ix, uint32_t user, const char *path, struct job *ret)
{
	(void)ix;
	struct rows *rows = seen();
	const struct flat_job *best = NULL;
	for (int i = 0; i < rows->jobs_n; i++) {
		const struct flat_job *f = &rows->jobs[i];
		if (f->job.user != user || strcmp(f->path, path) != 0)
			continue;
		bool live = !job_state_is_final(f->job.state);
		bool best_live = best != NULL && !job_state_is_final(best->job.state);
		if (best == NULL || (live && !best_live) ||
		    (live == best_live && f->job.id > best->job.id))
			best = f;
	}
	return give_job(best, ret);
}

static int prev_of_path(uint32_t user, const char *path, bool live, uint64_t before_id,
                        struct job *ret)
{
	struct rows *rows = seen();
	const struct flat_job *best = NULL;
	for (int i = 0; i < rows->jobs_n; i++) {
		const struct flat_job *f = &rows->jobs[i];
		if (f->job.user == user && strcmp(f->path, path) == 0 && f->job.id < before_id &&
		    job_state_is_final(f->job.state) != live &&
		    (best == NULL || f->job.id > best->job.id))
			best = f;
	}
	return give_job(best, ret);
}

int index_prev_live(struct index *ix, uint32_t user, const char *path, uint64_t before_id,
                    struct job *ret)
{
	(void)ix;
	return prev_of_path(user, path, true, before_id, ret);
}

int index_prev_ended(struct index *ix, uint32_t user, const char *path, uint64_t before_id,
                     struct job *ret)
{
	(void)ix;
	return prev_of_path(user, path, false, before_id, ret);
}

/* Walks: the least of those that belong and come after (a, b). */

enum walk { WALK_LINE, WALK_DELAYED, WALK_HELD, WALK_ACTIVE, WALK_FINAL };

static bool belongs(enum walk walk, const struct job *job, uint32_t user, enum job_state state)
{
	if (user != 0 && job->user != user)
		return false;
	switch (walk) {
	case WALK_LINE: return is_in_line(job);
	case WALK_DELAYED: return job->state == JOB_PENDING && job->yields;
	case WALK_HELD: return job->state == JOB_HELD;
	case WALK_ACTIVE: return job_state_is_active(job->state);
	case WALK_FINAL: return job->state == state;
	}
	return false;
}

static uint64_t first_key(enum walk walk, const struct job *job)
{
	switch (walk) {
	case WALK_LINE: return job->seq;
	case WALK_DELAYED: return job->not_before_ms;
	case WALK_HELD: return 0;
	case WALK_ACTIVE: return job->user;
	case WALK_FINAL: return job->finished_ms;
	}
	return 0;
}

struct position {
	uint64_t a, b;
};

static bool is_after(struct position x, struct position y)
{
	return x.a != y.a ? x.a > y.a : x.b > y.b;
}

static int step(enum walk walk, uint32_t user, enum job_state state, struct position from,
                bool backwards, struct job *ret)
{
	struct rows *rows = seen();
	const struct flat_job *best = NULL;
	struct position best_at = {0};
	for (int i = 0; i < rows->jobs_n; i++) {
		const struct job *job = &rows->jobs[i].job;
		struct position at = {first_key(walk, job), walk == WALK_LINE ? 0 : job->id};
		if (!belongs(walk, job, user, state))
			continue;
		bool beyond = backwards ? is_after(from, at) : is_after(at, from);
		bool nearer = best == NULL || (backwards ? is_after(at, best_at) : is_after(best_at, at));
		if (beyond && nearer) {
			best = &rows->jobs[i];
			best_at = at;
		}
	}
	return give_job(best, ret);
}

int index_next_in_line(struct index *ix, uint32_t user, uint64_t after_seq, struct job *ret)
{
	(void)ix;
	return step(WALK_LINE, user, 0, (struct position){after_seq, 0}, false, ret);
}

int index_next_delayed(struct index *ix, uint32_t user, uint64_t after_ms, uint64_t after_id,
                       struct job *ret)
{
	(void)ix;
	return step(WALK_DELAYED, user, 0, (struct position){after_ms, after_id}, false, ret);
}

int index_next_held(struct index *ix, uint32_t user, uint64_t after_id, struct job *ret)
{
	(void)ix;
	return step(WALK_HELD, user, 0, (struct position){0, after_id}, false, ret);
}

int index_next_active(struct index *ix, uint32_t user, uint32_t after_user, uint64_t after_id,
                      struct job *ret)
{
	(void)ix;
	struct position from = {user > 0 ? user : after_user, after_id};
	return step(WALK_ACTIVE, user, 0, from, false, ret);
}

int index_prev_final(struct index *ix, uint32_t user, enum job_state state, uint64_t before_ms,
                     uint64_t before_id, struct job *ret)
{
	(void)ix;
	return step(WALK_FINAL, user, state, (struct position){before_ms, before_id}, true, ret);
}

int index_next_final(struct index *ix, uint32_t user, enum job_state state, uint64_t after_ms,
                     uint64_t after_id, struct job *ret)
{
	(void)ix;
	return step(WALK_FINAL, user, state, (struct position){after_ms, after_id}, false, ret);
}

/* Attempts. */

static struct flat_attempt *find_attempt(struct rows *rows, uint64_t job, uint32_t number)
{
	for (int i = 0; i < rows->attempts_n; i++)
		if (rows->attempts[i].job == job && rows->attempts[i].attempt.number == number)
			return &rows->attempts[i];
	return NULL;
}

int index_put_attempt(struct index *ix, uint64_t job, const struct attempt *attempt)
{
	(void)ix;
	struct rows *rows = &world->draft;
	if (rows_job(rows, job) == NULL)
		return -ENOENT;
	struct flat_attempt *flat = find_attempt(rows, job, attempt->number);
	if (flat == NULL) {
		assert(rows->attempts_n < ATTEMPTS_MAX);
		flat = &rows->attempts[rows->attempts_n++];
	}
	*flat = (struct flat_attempt){.job = job, .attempt = *attempt};
	world->puts++;
	flat->attempt.error = flat->attempt.message = NULL;
	return 0;
}

int index_next_attempt(struct index *ix, uint64_t job, uint32_t after, struct attempt *ret)
{
	(void)ix;
	const struct rows *rows = seen();
	const struct flat_attempt *best = NULL;
	for (int i = 0; i < rows->attempts_n; i++) {
		const struct flat_attempt *a = &rows->attempts[i];
		if (a->job == job && a->attempt.number > after &&
		    (best == NULL || a->attempt.number < best->attempt.number))
			best = a;
	}
	if (best == NULL)
		return -ENOENT;
	*ret = best->attempt;
	return 0;
}
