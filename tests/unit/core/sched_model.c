/* The scheduler against a naive model: users in an array, looked through from
 * one end to the other for each question. Random views, times and limits. */
#include "core/sched.h"

#include "dice.h"

#include <criterion/criterion.h>
#include <stdlib.h>

struct model_user {
	bool known;
	struct sched_view view;
	bool ready;          /* nothing but workers is missing */
	uint64_t ready_from; /* number of the call that made it so */
	uint64_t picked_at;  /* number of the call that picked it last */
};

struct model {
	struct sched *sched;
	struct dice dice;
	struct model_user *users; /* by number; [0] is not used */
	uint32_t n;
	uint32_t max_active;
	bool running;
	uint64_t now_ms;       /* of the last pick */
	uint64_t latest_ms;    /* of all picks: the wall clock may step back */
	uint64_t call;
	uint64_t picks;
	uint64_t last_job;
};

static struct model model_new(uint64_t seed, uint32_t n)
{
	struct model m = {
		.sched = sched_new(),
		.dice = {seed},
		.users = calloc(n + 1, sizeof(struct model_user)),
		.n = n,
		.max_active = 1,
		.running = true,
		.now_ms = 1000000,
	};
	cr_assert(m.sched != NULL && m.users != NULL);
	sched_pick(m.sched, m.now_ms, NULL, 0);
	return m;
}

static void model_free(struct model *m)
{
	sched_free(m->sched);
	free(m->users);
}

static bool nothing_in_the_way(const struct sched_view *v)
{
	if (v->head_job == 0 || v->held || v->blocked)
		return false;
	return v->limit == 0 || v->active < v->limit;
}

static uint32_t model_active(const struct model *m)
{
	uint32_t active = 0;
	for (uint32_t i = 1; i <= m->n; i++)
		active += m->users[i].known ? m->users[i].view.active : 0;
	return active;
}

static uint64_t model_next_ms(const struct model *m)
{
	uint64_t next_ms = UINT64_MAX;
	for (uint32_t i = 1; i <= m->n && m->running; i++) {
		const struct model_user *u = &m->users[i];
		if (u->known && !u->ready && nothing_in_the_way(&u->view) &&
		    u->view.head_not_before_ms < next_ms)
			next_ms = u->view.head_not_before_ms;
	}
	return next_ms;
}

static enum sched_reason model_explain(const struct model *m, const struct model_user *u,
                                       uint64_t now_ms)
{
	const struct sched_view *v = &u->view;
	if (!u->known || (v->head_job == 0 && v->active == 0))
		return SCHED_EMPTY;
	if (!m->running)
		return SCHED_STOPPED;
	if (v->held)
		return SCHED_HELD;
	if (v->blocked)
		return SCHED_BLOCKED;
	if (v->limit != 0 && v->active >= v->limit)
		return SCHED_LIMIT;
	if (v->head_job == 0)
		return SCHED_EMPTY;
	return u->ready || v->head_not_before_ms <= now_ms ? SCHED_READY : SCHED_BACKOFF;
}

/* What can be asked between two calls. */
static void check_answers(struct model *m)
{
	cr_assert_eq(sched_active(m->sched), model_active(m));
	cr_assert_eq(sched_next_ms(m->sched), model_next_ms(m), "call %llu",
	             (unsigned long long)m->call);
	uint32_t user = 1 + dice_below(&m->dice, m->n);
	uint64_t at_ms = m->now_ms + dice_below(&m->dice, 200);
	cr_assert_eq(sched_explain(m->sched, user, at_ms),
	             model_explain(m, &m->users[user], at_ms), "call %llu, user %u",
	             (unsigned long long)m->call, user);
}

static void tell(struct model *m, uint32_t user)
{
	struct model_user *u = &m->users[user];
	bool in_time = u->view.head_not_before_ms <= m->now_ms;
	bool stays = u->ready && nothing_in_the_way(&u->view) && in_time;
	bool at_once = nothing_in_the_way(&u->view) && u->view.head_not_before_ms == 0;
	if (!u->ready && at_once)
		u->ready_from = m->call;
	u->ready = stays || at_once;
	u->known = true;
	cr_assert_eq(sched_set_user(m->sched, user, &u->view), 0);
}

static void change_view(struct model *m, uint32_t user)
{
	struct dice *dice = &m->dice;
	struct sched_view *v = &m->users[user].view;
	if (dice_one_in(dice, 2))
		v->head_job = dice_one_in(dice, 4) ? 0 : ++m->last_job;
	if (dice_one_in(dice, 3))
		v->head_not_before_ms = dice_one_in(dice, 2) ? 0 : m->now_ms - 50 + dice_below(dice, 200);
	if (dice_one_in(dice, 3))
		v->limit = dice_below(dice, 4);
	if (dice_one_in(dice, 2) && v->active > 0)
		v->active -= 1 + dice_below(dice, v->active);
	if (dice_one_in(dice, 8))
		v->held = !v->held;
	if (dice_one_in(dice, 8))
		v->blocked = !v->blocked;
	/* Most users are free to go, or the limits would never be met. */
	if (dice_one_in(dice, 3))
		v->held = v->blocked = false;
	tell(m, user);
}

static void forget(struct model *m, uint32_t user)
{
	sched_forget_user(m->sched, user);
	m->users[user] = (struct model_user){0};
}

static void end_backoffs(struct model *m)
{
	for (uint32_t i = 1; i <= m->n; i++) {
		struct model_user *u = &m->users[i];
		if (u->known && !u->ready && nothing_in_the_way(&u->view) &&
		    u->view.head_not_before_ms <= m->now_ms) {
			u->ready = true;
			u->ready_from = m->call;
		}
	}
}

static size_t ready_users(const struct model *m)
{
	size_t ready = 0;
	for (uint32_t i = 1; i <= m->n; i++)
		ready += m->users[i].ready;
	return ready;
}

/* Users take turns: nobody is served again before somebody who was ready all
 * the time; and who was ready first is served first. */
static void check_turn(const struct model *m, const struct model_user *picked)
{
	for (uint32_t i = 1; i <= m->n; i++) {
		const struct model_user *other = &m->users[i];
		if (!other->ready || other == picked)
			continue;
		cr_assert(picked->picked_at == 0 || other->ready_from >= picked->picked_at,
		          "call %llu: user %u was passed over", (unsigned long long)m->call, i);
		cr_assert_geq(other->ready_from, picked->ready_from,
		              "call %llu: user %u was ready before", (unsigned long long)m->call,
		              i);
	}
}

static void check_pick(struct model *m, const struct sched_pick *pick)
{
	cr_assert(pick->user >= 1 && pick->user <= m->n);
	struct model_user *u = &m->users[pick->user];
	cr_assert(m->running && u->known && u->ready && nothing_in_the_way(&u->view),
	          "call %llu: user %u may not start", (unsigned long long)m->call, pick->user);
	cr_assert_eq(pick->job, u->view.head_job);
	cr_assert_leq(u->view.head_not_before_ms, m->latest_ms);
	check_turn(m, u);
	u->view.head_job = 0;
	u->view.active++;
	u->ready = false;
	u->picked_at = m->call;
	m->picks++;
	cr_assert(u->view.limit == 0 || u->view.active <= u->view.limit);
	cr_assert_leq(model_active(m), m->max_active);
}

static void pick(struct model *m)
{
	struct sched_pick picks[64];
	size_t most = dice_below(&m->dice, 65);
	m->now_ms += dice_one_in(&m->dice, 2) ? 0 : dice_below(&m->dice, 60);
	m->now_ms -= dice_one_in(&m->dice, 50) ? 100 : 0;
	m->latest_ms = m->now_ms > m->latest_ms ? m->now_ms : m->latest_ms;
	end_backoffs(m);
	uint32_t active = model_active(m);
	size_t room = active < m->max_active ? m->max_active - active : 0;
	size_t ready = m->running ? ready_users(m) : 0;
	size_t expected = ready < room ? ready : room;
	cr_assert_eq(sched_ready(m->sched, m->now_ms), expected > 0, "call %llu",
	             (unsigned long long)m->call);
	expected = expected < most ? expected : most;
	size_t n = sched_pick(m->sched, m->now_ms, picks, most);
	cr_assert_eq(n, expected, "call %llu: no worker idles while a job could start",
	             (unsigned long long)m->call);
	for (size_t i = 0; i < n; i++)
		check_pick(m, &picks[i]);
	cr_assert_gt(sched_next_ms(m->sched), m->now_ms, "woken for nothing");
}

static void act(struct model *m)
{
	struct dice *dice = &m->dice;
	uint32_t user = 1 + dice_below(dice, m->n);
	m->call++;
	switch (dice_below(dice, 20)) {
	case 0:
		m->max_active = 1 + dice_below(dice, 1 + m->n / 2);
		sched_set_limit(m->sched, m->max_active);
		break;
	case 1:
		m->running = !dice_one_in(dice, 4);
		sched_set_running(m->sched, m->running);
		break;
	case 2: forget(m, user); break;
	case 3:
		/* Nothing changed: told again, as after each event of its own. */
		tell(m, user);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
	case 8: pick(m); break;
	default: change_view(m, user); break;
	}
	check_answers(m);
}

static void play(uint64_t seed, uint32_t users, unsigned calls)
{
	struct model m = model_new(seed, users);
	for (unsigned i = 0; i < calls; i++)
		act(&m);
	cr_assert_gt(m.picks, calls / 40, "seed %llu: only %llu picks", (unsigned long long)seed,
	             (unsigned long long)m.picks);
	model_free(&m);
}

Test(sched_model, promises_4_and_5_few_users_many_histories)
{
	for (uint64_t seed = 1; seed <= 400; seed++)
		play(seed, 2 + (uint32_t)(seed % 12), 1500);
}

Test(sched_model, promises_4_and_5_some_users)
{
	for (uint64_t seed = 1001; seed <= 1020; seed++)
		play(seed, 150, 6000);
}

Test(sched_model, promises_4_and_5_thousands_of_users)
{
	play(2001, 4000, 20000);
}

/* Users with lines of jobs and workers that end them: the view is always told
 * as the daemon does. */
struct hall {
	struct model m;
	uint64_t *line;          /* jobs that wait, by user */
	uint64_t *waits_since;   /* completions when the head became the head */
	uint64_t completions;
	uint64_t longest;
};

static void tell_line(struct hall *h, uint32_t user)
{
	struct model_user *u = &h->m.users[user];
	u->view.head_job = h->line[user] == 0 ? 0 : ++h->m.last_job;
	u->view.limit = 1;
	tell(&h->m, user);
}

static void arrive(struct hall *h, uint32_t user, uint64_t jobs)
{
	if (h->line[user] == 0 && h->m.users[user].view.active == 0)
		h->waits_since[user] = h->completions;
	h->line[user] += jobs;
	tell_line(h, user);
}

static void complete_one(struct hall *h)
{
	uint32_t first = dice_below(&h->m.dice, h->m.n);
	for (uint32_t i = 0; i < h->m.n; i++) {
		uint32_t user = 1 + (first + i) % h->m.n;
		if (h->m.users[user].view.active > 0) {
			h->m.users[user].view.active--;
			h->completions++;
			h->waits_since[user] = h->completions;
			tell_line(h, user);
			return;
		}
	}
}

static void start_all(struct hall *h)
{
	struct sched_pick p;
	while (sched_pick(h->m.sched, h->m.now_ms, &p, 1) == 1) {
		uint64_t waited = h->completions - h->waits_since[p.user];
		h->longest = waited > h->longest ? waited : h->longest;
		check_pick(&h->m, &p);
		h->line[p.user]--;
		tell_line(h, p.user);
	}
}

/* Whoever comes waits for each other user's one job at most, whatever their
 * backlogs: n-1 completions, and those that ran already. */
Test(sched_model, promise_5_a_million_files_delay_another_user_by_one_job)
{
	enum { USERS = 20, WORKERS = 4 };
	struct hall h = {.m = model_new(5, USERS)};
	h.line = calloc(USERS + 1, sizeof *h.line);
	h.waits_since = calloc(USERS + 1, sizeof *h.waits_since);
	h.m.max_active = WORKERS;
	sched_set_limit(h.m.sched, WORKERS);
	for (uint32_t user = 1; user <= 5; user++)
		arrive(&h, user, 1000000);
	for (int step = 0; step < 20000; step++) {
		h.m.call++;
		if (dice_one_in(&h.m.dice, 3))
			arrive(&h, 6 + dice_below(&h.m.dice, USERS - 5), 1);
		h.m.call++;
		start_all(&h);
		if (dice_one_in(&h.m.dice, 2))
			complete_one(&h);
	}
	cr_assert_leq(h.longest, USERS - 1 + WORKERS);
	cr_assert_gt(h.completions, 5000);
	free(h.line);
	free(h.waits_since);
	model_free(&h.m);
}
