/* Whatever is put, stepped and removed, in whatever order: every walk and
 * every count is what a plain list in memory says. */
#include "io/index_support.h"

enum { USERS = 4, JOBS_MAX = 200, BATCHES = 60, OPERATIONS = 60, PATHS = 12 };

struct model {
	size_t slots;              /* of `jobs` in use: with few, users run out of them */
	struct job jobs[JOBS_MAX]; /* id 0 = free */
	char paths[PATHS][40];
};

static const char *const user_names[USERS] = {"alice", "bob", "carol", "dave"};

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static uint64_t below(uint64_t *seed, uint64_t limit)
{
	return next_random(seed) % limit;
}

static void put_new(struct index *ix, struct model *m, uint64_t *seed)
{
	struct job *job = &m->jobs[below(seed, m->slots)];
	if (job->id != 0)
		return;
	*job = test_job(ix, (uint32_t)below(seed, USERS) + 1, m->paths[below(seed, PATHS)]);
}

static void change(struct index *ix, struct job *job, uint64_t *seed)
{
	enum job_event event = (enum job_event)below(seed, JOB_EVENTS);
	if (job_next_state(job->state, event) < 0)
		return;
	job_step(job, event);
	if (event == JOB_EV_REQUEUE)
		cr_assert_eq(index_new_seq(ix, &job->seq), 0);
	job->yields = below(seed, 3) == 0;
	job->ident.size = below(seed, 2) == 0 ? job->ident.size : below(seed, 5000);
	job->not_before_ms = below(seed, 2) == 0 ? 0 : below(seed, 50);
	job->finished_ms = job_state_is_final(job->state) ? below(seed, 50) : 0;
	job->place = (enum place)below(seed, PLACES);
	cr_assert_eq(index_put_job(ix, job), 0);
}

static void operate(struct index *ix, struct model *m, uint64_t *seed)
{
	struct job *job = &m->jobs[below(seed, m->slots)];
	uint64_t dice = below(seed, 10);
	if (job->id == 0 || dice < 2) {
		put_new(ix, m, seed);
	} else if (dice == 2) {
		int r = index_remove_job(ix, job->id);
		cr_assert_eq(r, job_state_is_final(job->state) ? 0 : -EINVAL);
		if (r == 0)
			*job = (struct job){0};
	} else if (dice == 3) {
		struct attempt attempt = {.number = (uint32_t)below(seed, 3) + 1};
		cr_assert_eq(index_put_attempt(ix, job->id, &attempt), 0);
	} else {
		change(ix, job, seed);
	}
}

/* The place of a job in one of the walks: sorts like its key. */
struct rank {
	uint64_t a, b;
	uint64_t id;
};

enum list { LIST_LINE, LIST_DELAYED, LIST_HELD, LIST_ACTIVE, LIST_FINAL };

static bool rank_in(const struct job *job, enum list list, enum job_state state, struct rank *ret)
{
	bool pending = job->state == JOB_PENDING;
	switch (list) {
	case LIST_LINE:
		*ret = (struct rank){job->seq, 0, job->id};
		return pending && !job->yields;
	case LIST_DELAYED:
		*ret = (struct rank){job->not_before_ms, job->id, job->id};
		return pending && job->yields;
	case LIST_HELD:
		*ret = (struct rank){job->id, 0, job->id};
		return job->state == JOB_HELD;
	case LIST_ACTIVE:
		*ret = (struct rank){job->id, 0, job->id};
		return job_state_is_active(job->state);
	case LIST_FINAL:
		*ret = (struct rank){job->finished_ms, job->id, job->id};
		return job->state == state;
	}
	return false;
}

static int compare(const void *x, const void *y)
{
	const struct rank *a = x, *b = y;
	if (a->a != b->a)
		return a->a < b->a ? -1 : 1;
	return a->b < b->b ? -1 : a->b > b->b;
}

static size_t wanted(const struct model *m, uint32_t user, enum list list, enum job_state state,
                     struct rank out[JOBS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < JOBS_MAX; i++) {
		const struct job *job = &m->jobs[i];
		if (job->id != 0 && job->user == user && rank_in(job, list, state, &out[n]))
			n++;
	}
	qsort(out, n, sizeof *out, compare);
	return n;
}

static int step(struct index *ix, uint32_t user, enum list list, enum job_state state,
                const struct rank *after, struct job *ret)
{
	switch (list) {
	case LIST_LINE:
		return index_next_in_line(ix, user, after->a, ret);
	case LIST_DELAYED:
		return index_next_delayed(ix, user, after->a, after->b, ret);
	case LIST_HELD:
		return index_next_held(ix, user, after->a, ret);
	case LIST_ACTIVE:
		return index_next_active(ix, user, 0, after->a, ret);
	case LIST_FINAL:
		return index_next_final(ix, user, state, after->a, after->b, ret);
	}
	return -EINVAL;
}

static void check_list(struct index *ix, const struct model *m, uint32_t user, enum list list,
                       enum job_state state)
{
	struct rank ranks[JOBS_MAX], after = {0};
	struct job job;
	size_t n = wanted(m, user, list, state, ranks);
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(step(ix, user, list, state, &after, &job), 0, "list %d ends early", list);
		cr_assert_eq(job.id, ranks[i].id, "list %d", list);
		job_clear(&job);
		after = ranks[i];
	}
	cr_assert_eq(step(ix, user, list, state, &after, &job), -ENOENT, "list %d goes on", list);
	if (list != LIST_FINAL)
		return;
	struct rank before = {UINT64_MAX, UINT64_MAX, 0};
	for (size_t i = n; i-- > 0; before = ranks[i]) {
		cr_assert_eq(index_prev_final(ix, user, state, before.a, before.b, &job), 0);
		cr_assert_eq(job.id, ranks[i].id);
		job_clear(&job);
	}
	cr_assert_eq(index_prev_final(ix, user, state, before.a, before.b, &job), -ENOENT);
}

static void check_counts(struct index *ix, const struct model *m, uint32_t user)
{
	struct user_row row;
	uint64_t count[JOB_STATES] = {0}, bytes = 0;
	for (size_t i = 0; i < JOBS_MAX; i++) {
		const struct job *j = &m->jobs[i];
		if (j->id == 0 || j->user != user)
			continue;
		count[j->state]++;
		if (j->state == JOB_PENDING || j->state == JOB_HELD)
			bytes += j->ident.size;
	}
	cr_assert_eq(index_get_user(ix, user_names[user - 1], &row), 0);
	cr_assert_eq(row.number, user);
	cr_assert_arr_eq(row.count, count, sizeof count);
	cr_assert(row.bytes_known);
	cr_assert_eq(row.waiting_bytes, bytes);
}

static void check_paths(struct index *ix, const struct model *m, uint32_t user)
{
	for (int p = 0; p < PATHS; p++) {
		uint64_t live = 0, last = 0;
		struct job job;
		for (size_t i = 0; i < JOBS_MAX; i++) {
			const struct job *j = &m->jobs[i];
			if (j->id == 0 || j->user != user || strcmp(j->path, m->paths[p]) != 0)
				continue;
			if (!job_state_is_final(j->state) && j->id > live)
				live = j->id;
			if (j->id > last)
				last = j->id;
		}
		int r = index_find_path(ix, user, m->paths[p], &job);
		cr_assert_eq(r, last == 0 ? -ENOENT : 0);
		if (r == 0) {
			cr_assert_eq(job.id, live != 0 ? live : last);
			job_clear(&job);
		}
	}
}

static void check_waiting(struct index *ix, const struct model *m)
{
	char *name = NULL, *next;
	struct user_row row;
	for (uint32_t u = 1; u <= USERS; u++) {
		bool waits = false;
		for (size_t i = 0; i < JOBS_MAX; i++)
			waits = waits || (m->jobs[i].id != 0 && m->jobs[i].user == u &&
			                  m->jobs[i].state == JOB_PENDING);
		if (!waits)
			continue;
		cr_assert_eq(index_next_user_pending(ix, name, &next, &row), 0);
		cr_assert_str_eq(next, user_names[u - 1]);
		user_row_clear(&row);
		free(name);
		name = next;
	}
	cr_assert_eq(index_next_user_pending(ix, name, &next, &row), -ENOENT);
	free(name);
}

static void check_everything(struct index *ix, const struct model *m)
{
	for (uint32_t u = 1; u <= USERS; u++) {
		for (int list = LIST_LINE; list <= LIST_ACTIVE; list++)
			check_list(ix, m, u, (enum list)list, JOB_PENDING);
		for (int s = JOB_DONE; s <= JOB_CANCELED; s++)
			check_list(ix, m, u, LIST_FINAL, (enum job_state)s);
		check_counts(ix, m, u);
		check_paths(ix, m, u);
	}
	check_waiting(ix, m);
}

static void run(uint64_t seed, size_t slots)
{
	static struct model m, before;
	struct place_for_tests place;
	fprintf(stderr, "index_model: seed %#llx, %zu slots\n", (unsigned long long)seed, slots);
	test_place(&place);
	struct index *ix = test_create(place.dir);
	m = (struct model){.slots = slots};
	for (int p = 0; p < PATHS; p++)
		snprintf(m.paths[p], sizeof m.paths[p], "2026/report-%d.csv", p);
	test_begin(ix);
	for (int u = 0; u < USERS; u++)
		test_user(ix, user_names[u]);
	test_commit(ix);
	for (int batch = 0; batch < BATCHES; batch++) {
		before = m;
		test_begin(ix);
		for (int i = 0; i < OPERATIONS; i++)
			operate(ix, &m, &seed);
		check_everything(ix, &m);
		if (below(&seed, 5) == 0) {
			index_abort(ix);
			m = before;
		} else {
			test_commit(ix);
		}
		check_everything(ix, &m);
		if (batch % 10 == 9) {
			test_sound(ix);
			index_close(ix);
			ix = test_open(place.dir, (struct index_options){.relaxed = true});
		}
	}
	index_close(ix);
	test_place_remove(&place);
}

Test(index_model, holds_for_many_jobs)
{
	run(0x9e3779b97f4a7c15, JOBS_MAX);
}

Test(index_model, holds_for_few_jobs)
{
	run(0xd1b54a32d192ed03, 6);
}

Test(index_model, holds_for_a_new_seed_each_time)
{
	uint64_t seed = 0;
	cr_assert_eq(getentropy(&seed, sizeof seed), 0);
	run(seed | 1, 1 + seed % JOBS_MAX);
}
