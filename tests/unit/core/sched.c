#include "core/sched.h"

#include "memory_out.h"

#include <criterion/criterion.h>
#include <errno.h>

enum { ANNA = 1, BERT, CARL, DORA };

static struct sched *sched_with_limit(uint32_t max_active)
{
	struct sched *s = sched_new();
	cr_assert_not_null(s);
	sched_set_limit(s, max_active);
	return s;
}

static void set(struct sched *s, uint32_t user, struct sched_view view)
{
	cr_assert_eq(sched_set_user(s, user, &view), 0);
}

/* A view that may start, one at a time. */
static struct sched_view ready(uint64_t job)
{
	return (struct sched_view){.head_job = job, .limit = 1};
}

/* The user that is picked now, 0 = none. */
static uint32_t pick_one(struct sched *s, uint64_t now_ms)
{
	struct sched_pick pick = {0};
	return sched_pick(s, now_ms, &pick, 1) == 1 ? pick.user : 0;
}

Test(sched, nobody_is_picked_where_there_is_nobody)
{
	struct sched *s = sched_new();
	struct sched_pick picks[4];
	cr_assert_eq(sched_pick(s, 0, picks, 4), 0);
	cr_assert_eq(sched_next_ms(s), UINT64_MAX);
	cr_assert_eq(sched_active(s), 0);
	cr_assert(sched_running(s));
	cr_assert_eq(sched_explain(s, ANNA, 0), SCHED_EMPTY);
	sched_forget_user(s, ANNA);
	sched_free(s);
	sched_free(NULL);
}

Test(sched, a_pick_names_user_and_job_and_counts_as_active)
{
	struct sched *s = sched_with_limit(4);
	struct sched_pick picks[4] = {0};
	set(s, ANNA, ready(42));
	cr_assert_eq(sched_pick(s, 0, picks, 4), 1);
	cr_assert_eq(picks[0].user, ANNA);
	cr_assert_eq(picks[0].job, 42);
	cr_assert_eq(sched_active(s), 1);
	cr_assert_eq(sched_pick(s, 0, picks, 4), 0, "no head until its view is told anew");
	sched_free(s);
}

Test(sched, no_more_picks_than_asked_for)
{
	struct sched *s = sched_with_limit(9);
	struct sched_pick picks[2];
	for (uint32_t user = ANNA; user <= DORA; user++)
		set(s, user, ready(user));
	cr_assert_eq(sched_pick(s, 0, NULL, 0), 0);
	cr_assert_eq(sched_pick(s, 0, picks, 2), 2);
	cr_assert_eq(sched_pick(s, 0, picks, 2), 2);
	cr_assert_eq(picks[0].user, CARL);
	cr_assert_eq(picks[1].user, DORA);
	sched_free(s);
}

Test(sched, promise_4_never_above_the_global_limit)
{
	struct sched *s = sched_with_limit(2);
	struct sched_pick picks[9];
	for (uint32_t user = ANNA; user <= DORA; user++)
		set(s, user, ready(user));
	cr_assert_eq(sched_pick(s, 0, picks, 9), 2);
	cr_assert_eq(sched_pick(s, 0, picks, 9), 0);
	set(s, ANNA, (struct sched_view){0});
	cr_assert_eq(sched_pick(s, 0, picks, 9), 1);
	sched_set_limit(s, 1);
	set(s, BERT, (struct sched_view){0});
	cr_assert_eq(sched_active(s), 1);
	cr_assert_eq(sched_pick(s, 0, picks, 9), 0);
	sched_set_limit(s, 2);
	cr_assert_eq(sched_pick(s, 0, picks, 9), 1);
	sched_free(s);
}

Test(sched, a_global_limit_of_nothing_is_one)
{
	struct sched *s = sched_with_limit(0);
	struct sched_pick picks[9];
	set(s, ANNA, ready(1));
	set(s, BERT, ready(2));
	cr_assert_eq(sched_pick(s, 0, picks, 9), 1);
	sched_free(s);
}

Test(sched, promise_4_never_above_a_users_limit)
{
	struct sched *s = sched_with_limit(99);
	struct sched_view view = {.head_job = 1, .limit = 2};
	for (view.active = 0; view.active < 2; view.active++) {
		set(s, ANNA, view);
		cr_assert_eq(pick_one(s, 0), ANNA);
	}
	set(s, ANNA, view);
	cr_assert_eq(pick_one(s, 0), 0);
	cr_assert_eq(sched_explain(s, ANNA, 0), SCHED_LIMIT);
	/* A lower limit than what runs already: nothing more. */
	view.limit = 1;
	set(s, ANNA, view);
	cr_assert_eq(pick_one(s, 0), 0);
	view.limit = 0;
	set(s, ANNA, view);
	cr_assert_eq(pick_one(s, 0), ANNA, "0 = no limit");
	sched_free(s);
}

Test(sched, promise_5_users_take_turns)
{
	struct sched *s = sched_with_limit(1);
	for (uint32_t user = ANNA; user <= CARL; user++)
		set(s, user, ready(user));
	for (int round = 0; round < 5; round++) {
		for (uint32_t user = ANNA; user <= CARL; user++) {
			cr_assert_eq(pick_one(s, 0), user);
			set(s, user, ready(user));
		}
	}
	sched_free(s);
}

Test(sched, promise_5_a_new_user_waits_for_one_job_of_each_other_at_most)
{
	struct sched *s = sched_with_limit(1);
	set(s, ANNA, ready(1));
	set(s, BERT, ready(2));
	cr_assert_eq(pick_one(s, 0), ANNA);
	set(s, ANNA, ready(3));
	set(s, CARL, ready(4));
	cr_assert_eq(pick_one(s, 0), BERT);
	set(s, BERT, ready(5));
	cr_assert_eq(pick_one(s, 0), ANNA);
	set(s, ANNA, ready(6));
	cr_assert_eq(pick_one(s, 0), CARL);
	sched_free(s);
}

Test(sched, promise_5_a_pick_that_came_to_nothing_costs_no_turn)
{
	struct sched *s = sched_with_limit(2);
	for (uint32_t user = 1; user <= 5; user++)
		set(s, user, ready(user));
	cr_assert_eq(pick_one(s, 0), 1);
	cr_assert_eq(pick_one(s, 0), 2);
	sched_keep_turn(s, 1);
	sched_keep_turn(s, 2);
	/* In whatever order they come back, and others meanwhile. */
	set(s, 6, ready(6));
	set(s, 2, ready(2));
	set(s, 1, ready(1));
	for (uint32_t user = 1; user <= 6; user++) {
		cr_assert_eq(pick_one(s, 0), user);
		set(s, user, (struct sched_view){.limit = 1});
	}
	/* Once: the next turn is one like any other. */
	set(s, 3, ready(13));
	set(s, 1, ready(11));
	cr_assert_eq(pick_one(s, 0), 3);
	cr_assert_eq(pick_one(s, 0), 1);
	sched_free(s);
}

Test(sched, promise_5_a_refresh_costs_no_turn)
{
	struct sched *s = sched_with_limit(1);
	set(s, ANNA, ready(1));
	set(s, BERT, ready(2));
	set(s, ANNA, ready(3));
	cr_assert_eq(pick_one(s, 0), ANNA);
	sched_free(s);
}

/* Its head is a retry whose time has come: a user like any other. */
Test(sched, promise_5_a_refresh_costs_no_turn_after_a_backoff_either)
{
	struct sched *s = sched_with_limit(1);
	struct sched_view retry = {.head_job = 1, .limit = 1, .head_not_before_ms = 100};
	unsigned waited = 0;
	set(s, ANNA, retry);
	set(s, BERT, ready(2));
	set(s, CARL, ready(3));
	for (uint32_t user; (user = pick_one(s, 200)) != ANNA; waited++) {
		cr_assert_lt(waited, 2, "others were served again and again before it");
		set(s, user, ready(9));
		set(s, ANNA, retry);
	}
	sched_free(s);
}

Test(sched, a_held_or_blocked_user_is_not_picked)
{
	struct sched *s = sched_with_limit(9);
	struct sched_view view = ready(1);
	view.held = true;
	set(s, ANNA, view);
	cr_assert_eq(pick_one(s, 0), 0);
	cr_assert_eq(sched_explain(s, ANNA, 0), SCHED_HELD);
	view.held = false;
	view.blocked = true;
	set(s, ANNA, view);
	cr_assert_eq(pick_one(s, 0), 0);
	cr_assert_eq(sched_explain(s, ANNA, 0), SCHED_BLOCKED);
	view.blocked = false;
	set(s, ANNA, view);
	cr_assert_eq(sched_explain(s, ANNA, 0), SCHED_READY);
	cr_assert_eq(pick_one(s, 0), ANNA);
	sched_free(s);
}

Test(sched, a_user_that_was_ready_and_is_held_leaves_the_round)
{
	struct sched *s = sched_with_limit(9);
	struct sched_view view = ready(1);
	set(s, ANNA, view);
	set(s, BERT, ready(2));
	view.held = true;
	set(s, ANNA, view);
	cr_assert_eq(pick_one(s, 0), BERT);
	cr_assert_eq(pick_one(s, 0), 0);
	sched_free(s);
}

Test(sched, stopped_picks_nobody_and_wants_to_be_asked_by_nobody)
{
	struct sched *s = sched_with_limit(9);
	set(s, ANNA, ready(1));
	set(s, BERT, (struct sched_view){.head_job = 2, .head_not_before_ms = 100});
	sched_set_running(s, false);
	cr_assert_not(sched_running(s));
	cr_assert_eq(pick_one(s, 200), 0);
	cr_assert_eq(sched_next_ms(s), UINT64_MAX);
	cr_assert_eq(sched_explain(s, ANNA, 0), SCHED_STOPPED);
	sched_set_running(s, true);
	cr_assert_eq(pick_one(s, 200), ANNA);
	cr_assert_eq(pick_one(s, 200), BERT, "its backoff ended meanwhile");
	sched_free(s);
}

Test(sched, promise_3_a_backoff_is_waited_for)
{
	struct sched *s = sched_with_limit(9);
	struct sched_view view = {.head_job = 1, .limit = 1, .head_not_before_ms = 100};
	set(s, ANNA, view);
	cr_assert_eq(sched_next_ms(s), 100);
	cr_assert_eq(pick_one(s, 99), 0);
	cr_assert_eq(sched_explain(s, ANNA, 99), SCHED_BACKOFF);
	cr_assert_eq(sched_explain(s, ANNA, 100), SCHED_READY);
	cr_assert_eq(pick_one(s, 100), ANNA);
	cr_assert_eq(sched_next_ms(s), UINT64_MAX);
	sched_free(s);
}

Test(sched, a_backoff_can_be_moved_ended_and_put_on)
{
	struct sched *s = sched_with_limit(9);
	struct sched_view view = {.head_job = 1, .limit = 1, .head_not_before_ms = 100};
	set(s, ANNA, view);
	view.head_not_before_ms = 300;
	set(s, ANNA, view);
	cr_assert_eq(sched_next_ms(s), 300);
	cr_assert_eq(pick_one(s, 200), 0);
	view.head_not_before_ms = 0;
	set(s, ANNA, view);
	cr_assert_eq(sched_next_ms(s), UINT64_MAX);
	/* Ready, and then another head, which has to wait. */
	view.head_not_before_ms = 400;
	set(s, ANNA, view);
	cr_assert_eq(pick_one(s, 399), 0);
	/* Due, not served, and then another head, which has to wait longer. */
	sched_set_limit(s, 1);
	set(s, BERT, (struct sched_view){.head_job = 2, .active = 1, .limit = 1});
	cr_assert_eq(pick_one(s, 400), 0);
	cr_assert_eq(sched_explain(s, ANNA, 400), SCHED_READY);
	view.head_not_before_ms = 500;
	set(s, ANNA, view);
	set(s, BERT, (struct sched_view){0});
	cr_assert_eq(pick_one(s, 499), 0);
	cr_assert_eq(sched_next_ms(s), 500);
	cr_assert_eq(pick_one(s, 500), ANNA);
	sched_free(s);
}

/* Asked at a time, so woken for nothing. */
Test(sched, next_ms_is_only_for_users_that_nothing_else_keeps_waiting)
{
	struct sched *s = sched_with_limit(9);
	struct sched_view view = {.head_job = 1, .limit = 1, .head_not_before_ms = 100};
	set(s, ANNA, view);
	view.held = true;
	set(s, ANNA, view);
	view.held = false;
	view.blocked = true;
	set(s, BERT, view);
	view.blocked = false;
	view.active = 1;
	set(s, CARL, view);
	view.active = 0;
	view.head_job = 0;
	set(s, DORA, view);
	cr_assert_eq(sched_next_ms(s), UINT64_MAX);
	sched_free(s);
}

Test(sched, next_ms_is_no_past_time_while_the_global_limit_is_reached)
{
	struct sched *s = sched_with_limit(1);
	set(s, ANNA, (struct sched_view){.head_job = 1, .active = 1, .limit = 1});
	set(s, BERT, (struct sched_view){.head_job = 2, .head_not_before_ms = 100});
	cr_assert_eq(pick_one(s, 200), 0);
	cr_assert_eq(sched_next_ms(s), UINT64_MAX);
	sched_free(s);
}

Test(sched, promise_7_a_backoff_that_ended_has_ended_though_the_wall_clock_steps_back)
{
	struct sched *s = sched_with_limit(1);
	set(s, ANNA, (struct sched_view){.head_job = 1, .active = 1, .limit = 1});
	set(s, BERT, (struct sched_view){.head_job = 2, .head_not_before_ms = 100});
	cr_assert_eq(pick_one(s, 200), 0);
	set(s, ANNA, (struct sched_view){0});
	cr_assert_eq(sched_explain(s, BERT, 50), SCHED_READY, "what is said and what is done");
	cr_assert_eq(pick_one(s, 50), BERT);
	sched_free(s);
}

Test(sched, ready_says_what_a_pick_would_do)
{
	struct sched *s = sched_with_limit(1);
	cr_assert_not(sched_ready(s, 0));
	set(s, ANNA, (struct sched_view){.head_job = 1, .limit = 1, .head_not_before_ms = 100});
	cr_assert_not(sched_ready(s, 99));
	cr_assert(sched_ready(s, 100));
	set(s, BERT, ready(2));
	cr_assert(sched_ready(s, 0));
	sched_set_running(s, false);
	cr_assert_not(sched_ready(s, 100));
	sched_set_running(s, true);
	cr_assert_eq(pick_one(s, 100), BERT);
	cr_assert_not(sched_ready(s, 100), "the global limit is reached");
	sched_free(s);
}

/* One that runs its job, with another one behind it. */
static struct sched_view running(uint64_t next)
{
	return (struct sched_view){.head_job = next, .limit = 1, .active = 1};
}

Test(sched, a_running_users_next_job_may_go_ahead_of_its_turn)
{
	struct sched *s = sched_with_limit(2);
	struct sched_pick pick = {0};
	set(s, ANNA, running(7));
	cr_assert_eq(sched_ahead(s, ANNA, 0, SCHED_SHORT_MS, 8), 8);
	cr_assert(sched_pick_ahead(s, ANNA, 0, 7, 8, &pick));
	cr_assert_eq(pick.user, ANNA);
	cr_assert_eq(pick.job, 7);
	cr_assert_not(sched_pick_ahead(s, ANNA, 0, 0, 8, &pick), "no head until its view is told anew");
	set(s, ANNA, running(8));
	cr_assert_not(sched_pick_ahead(s, ANNA, 0, 8, 8, &pick), "as many wait there as may");
	cr_assert_eq(sched_active(s), 1, "they take no place");
	sched_free(s);
}

Test(sched, what_goes_ahead_is_worked_off_in_time)
{
	struct sched *s = sched_with_limit(2);
	set(s, ANNA, running(7));
	cr_expect_eq(sched_ahead(s, ANNA, 0, 0, 64), 64);
	cr_expect_eq(sched_ahead(s, ANNA, 0, 5, 64), 32);
	cr_expect_eq(sched_ahead(s, ANNA, 0, SCHED_SHORT_MS, 64), 8);
	cr_expect_eq(sched_ahead(s, ANNA, 0, SCHED_SHORT_MS, 4), 4);
	sched_free(s);
}

Test(sched, what_goes_ahead_of_all_users_together_is_bounded)
{
	enum { MANY = SCHED_AHEAD_ALL / 4 };
	struct sched *s = sched_with_limit(2 * SCHED_AHEAD_ALL);
	for (uint32_t user = 1; user <= MANY; user++)
		set(s, user, running(user));
	cr_expect_eq(sched_ahead(s, ANNA, 0, 0, 64), 4);
	cr_expect_eq(sched_ahead(s, ANNA, 0, 0, 3), 3);
	for (uint32_t user = MANY; user <= 2 * SCHED_AHEAD_ALL; user++)
		set(s, user, running(user));
	cr_expect_eq(sched_ahead(s, ANNA, 0, 0, 64), 1, "one each");
	for (uint32_t user = 2; user <= 2 * SCHED_AHEAD_ALL; user++)
		sched_forget_user(s, user);
	cr_expect_eq(sched_ahead(s, ANNA, 0, 0, 64), 64);
	sched_free(s);
}

Test(sched, nothing_goes_ahead_where_it_does_no_good_or_could_pass_somebody)
{
	struct sched *s = sched_with_limit(1);
	struct sched_pick none;
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 8), 0, "nobody knows her");
	cr_assert_not(sched_pick_ahead(s, ANNA, 0, 0, 8, &none));
	set(s, ANNA, ready(1));
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 8), 0, "it has a turn of its own");
	set(s, ANNA, running(1));
	cr_assert_eq(sched_ahead(s, ANNA, 0, SCHED_SHORT_MS + 1, 8), 0, "jobs take long");
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 0), 0, "it is switched off");
	struct sched_view view = running(1);
	view.held = true;
	set(s, ANNA, view);
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 8), 0);
	view = running(1);
	view.blocked = true;
	set(s, ANNA, view);
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 8), 0);
	view = running(1);
	view.limit = 2;
	set(s, ANNA, view);
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 8), 0, "it has several workers");
	set(s, ANNA, running(1));
	sched_set_running(s, false);
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 8), 0);
	sched_set_running(s, true);
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 8), 8);
	sched_free(s);
}

Test(sched, promise_5_nothing_goes_ahead_of_somebody_who_waits)
{
	struct sched *s = sched_with_limit(1);
	struct sched_view later = ready(9);
	set(s, ANNA, running(1));
	set(s, BERT, ready(5));
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 8), 0);
	sched_forget_user(s, BERT);
	cr_assert_eq(sched_ahead(s, ANNA, 0, 0, 8), 8);
	later.head_not_before_ms = 100;
	set(s, CARL, later);
	cr_assert_eq(sched_ahead(s, ANNA, 99, 0, 8), 8);
	cr_assert_eq(sched_ahead(s, ANNA, 100, 0, 8), 0);
	sched_free(s);
}

Test(sched, promise_3_a_head_whose_time_has_not_come_does_not_go_ahead)
{
	struct sched *s = sched_with_limit(1);
	struct sched_pick pick;
	struct sched_view view = running(1);
	view.head_not_before_ms = 100;
	set(s, ANNA, view);
	cr_assert_not(sched_pick_ahead(s, ANNA, 99, 0, 8, &pick));
	cr_assert(sched_pick_ahead(s, ANNA, 100, 0, 8, &pick));
	sched_free(s);
}

Test(sched, a_user_that_is_forgotten_is_not_picked_and_not_counted)
{
	struct sched *s = sched_with_limit(9);
	set(s, ANNA, ready(1));
	set(s, BERT, (struct sched_view){.head_job = 2, .active = 3});
	set(s, CARL, (struct sched_view){.head_job = 3, .head_not_before_ms = 100});
	cr_assert_eq(sched_active(s), 3);
	sched_forget_user(s, ANNA);
	sched_forget_user(s, BERT);
	sched_forget_user(s, CARL);
	sched_forget_user(s, CARL);
	cr_assert_eq(sched_active(s), 0);
	cr_assert_eq(sched_next_ms(s), UINT64_MAX);
	cr_assert_eq(pick_one(s, 200), 0);
	set(s, ANNA, ready(4));
	cr_assert_eq(pick_one(s, 200), ANNA);
	sched_forget_user(s, ANNA);
	cr_assert_eq(sched_active(s), 0, "a pick of it neither");
	sched_free(s);
}

Test(sched, promise_7_the_first_thing_in_the_way_is_the_reason)
{
	struct sched *s = sched_with_limit(9);
	struct sched_view view = {
		.head_job = 1,
		.head_not_before_ms = 100,
		.active = 1,
		.limit = 1,
		.held = true,
		.blocked = true,
	};
	sched_set_running(s, false);
	set(s, ANNA, view);
	cr_assert_eq(sched_explain(s, ANNA, 50), SCHED_STOPPED);
	sched_set_running(s, true);
	cr_assert_eq(sched_explain(s, ANNA, 50), SCHED_HELD);
	view.held = false;
	set(s, ANNA, view);
	cr_assert_eq(sched_explain(s, ANNA, 50), SCHED_BLOCKED);
	view.blocked = false;
	set(s, ANNA, view);
	cr_assert_eq(sched_explain(s, ANNA, 50), SCHED_LIMIT);
	view.active = 0;
	set(s, ANNA, view);
	cr_assert_eq(sched_explain(s, ANNA, 50), SCHED_BACKOFF);
	cr_assert_eq(sched_explain(s, ANNA, 100), SCHED_READY);
	view.head_job = 0;
	set(s, ANNA, view);
	cr_assert_eq(sched_explain(s, ANNA, 50), SCHED_EMPTY);
	view.active = 1;
	view.limit = 2;
	set(s, ANNA, view);
	cr_assert_eq(sched_explain(s, ANNA, 50), SCHED_EMPTY);
	sched_free(s);
}

Test(sched, memory_that_is_out_is_an_error_and_telling_again_mends_it)
{
	if (!MEMORY_OUT)
		cr_skip_test("needs its own allocator");
	memory_out_after(0);
	struct sched *none = sched_new();
	memory_is_back();
	cr_assert_null(none);

	/* Each allocation of each call fails once: users of both kinds, so that
	 * the table of users and the heap of backoffs have to grow. */
	struct sched *s = sched_with_limit(9);
	for (uint32_t user = 1; user <= 600; user++) {
		struct sched_view view = ready(user);
		view.active = 1;
		view.limit = 2;
		view.head_not_before_ms = user % 2 == 0 ? 100 : 0;
		int r = -ENOMEM;
		for (long n = 0; r < 0; n++) {
			memory_out_after(n);
			r = sched_set_user(s, user, &view);
			memory_is_back();
			cr_assert(r == 0 || r == -ENOMEM);
			cr_assert_lt(n, 10);
		}
		cr_assert_eq(sched_active(s), user);
	}
	sched_set_limit(s, 9999);
	for (uint32_t n = 0; n < 600; n++)
		cr_assert_neq(pick_one(s, 100), 0);
	cr_assert_eq(pick_one(s, 100), 0);
	sched_free(s);
}

Test(sched, the_next_one_may_be_taken_beyond_all_places)
{
	struct sched *s = sched_with_limit(1);
	struct sched_pick pick = {0}, picks[4];
	cr_assert_not(sched_peek(s, 0, &pick), "there is nobody");
	set(s, ANNA, (struct sched_view){.head_job = 7, .limit = 1});
	set(s, BERT, (struct sched_view){.head_job = 8, .limit = 1});
	cr_assert_eq(sched_pick(s, 0, picks, 4), 1);
	cr_assert_eq(picks[0].user, ANNA);
	for (int again = 0; again < 2; again++) {
		cr_assert(sched_peek(s, 0, &pick));
		cr_assert(pick.user == BERT && pick.job == 8, "a look changes nothing");
	}
	sched_pick_beyond(s);
	cr_assert_not(sched_peek(s, 0, &pick));
	cr_assert_eq(sched_active(s), 2);
	set(s, BERT, (struct sched_view){.head_job = 9, .active = 1, .limit = 1});
	cr_assert_not(sched_peek(s, 0, &pick), "it has its limit");
	sched_free(s);
}

Test(sched, a_look_at_the_next_one_minds_what_a_pick_does)
{
	struct sched *s = sched_with_limit(1);
	struct sched_pick pick = {0};
	set(s, ANNA, (struct sched_view){.head_job = 7, .limit = 1, .head_not_before_ms = 50});
	cr_assert_not(sched_peek(s, 49, &pick));
	cr_assert(sched_peek(s, 50, &pick));
	sched_set_running(s, false);
	cr_assert_not(sched_peek(s, 50, &pick));
	sched_free(s);
}

Test(sched, active_jobs_of_blocked_users_run_elsewhere)
{
	struct sched *s = sched_with_limit(2);
	set(s, ANNA, (struct sched_view){.active = 2});
	cr_assert_eq(sched_active_elsewhere(s), 0);
	set(s, ANNA, (struct sched_view){.active = 2, .blocked = true});
	set(s, BERT, (struct sched_view){.active = 1, .blocked = true});
	cr_assert_eq(sched_active_elsewhere(s), 3);
	set(s, ANNA, (struct sched_view){.active = 1});
	cr_assert_eq(sched_active_elsewhere(s), 1);
	sched_forget_user(s, BERT);
	cr_assert_eq(sched_active_elsewhere(s), 0);
	sched_free(s);
}
