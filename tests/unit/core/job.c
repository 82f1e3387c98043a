#include "core/job.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The promise, written a second time: what may happen, and what follows.
 * Every other pair of state and event is impossible. */
static const struct {
	enum job_state state;
	enum job_event event;
	enum job_state next;
} promised[] = {
	{JOB_PENDING, JOB_EV_CLAIM, JOB_QUEUED},
	{JOB_PENDING, JOB_EV_HOLD, JOB_HELD},
	{JOB_PENDING, JOB_EV_CANCEL, JOB_CANCELED},
	{JOB_PENDING, JOB_EV_GONE, JOB_CANCELED},
	{JOB_HELD, JOB_EV_RELEASE, JOB_PENDING},
	{JOB_HELD, JOB_EV_CANCEL, JOB_CANCELED},
	{JOB_HELD, JOB_EV_GONE, JOB_CANCELED},
	{JOB_QUEUED, JOB_EV_STARTED, JOB_PROCESSING},
	{JOB_QUEUED, JOB_EV_RETRY, JOB_PENDING},
	{JOB_QUEUED, JOB_EV_FAIL, JOB_FAILED},
	{JOB_QUEUED, JOB_EV_INTERRUPTED, JOB_PENDING},
	{JOB_QUEUED, JOB_EV_CANCEL, JOB_CANCELED},
	{JOB_PROCESSING, JOB_EV_SUCCEEDED, JOB_DONE},
	{JOB_PROCESSING, JOB_EV_RETRY, JOB_PENDING},
	{JOB_PROCESSING, JOB_EV_FAIL, JOB_FAILED},
	{JOB_PROCESSING, JOB_EV_INTERRUPTED, JOB_PENDING},
	{JOB_PROCESSING, JOB_EV_CANCEL, JOB_CANCELED},
	{JOB_DONE, JOB_EV_REQUEUE, JOB_PENDING},
	{JOB_FAILED, JOB_EV_REQUEUE, JOB_PENDING},
	{JOB_CANCELED, JOB_EV_REQUEUE, JOB_PENDING},
};

static int promised_next(int state, int event)
{
	for (size_t i = 0; i < sizeof promised / sizeof *promised; i++)
		if ((int)promised[i].state == state && (int)promised[i].event == event)
			return (int)promised[i].next;
	return -1;
}

Test(job, every_cell_of_the_table)
{
	for (int s = 0; s < JOB_STATES; s++)
		for (int e = 0; e < JOB_EVENTS; e++)
			cr_expect_eq(job_next_state((enum job_state)s, (enum job_event)e), promised_next(s, e),
			             "%s, %s", job_state_name((enum job_state)s),
			             job_event_name((enum job_event)e));
}

Test(job, step_follows_the_table)
{
	for (size_t i = 0; i < sizeof promised / sizeof *promised; i++) {
		struct job job = {.state = promised[i].state};
		job_step(&job, promised[i].event);
		cr_expect_eq(job.state, promised[i].next);
	}
}

Test(job, an_impossible_step_aborts, .signal = SIGABRT)
{
	struct job job = {.state = JOB_DONE};
	job_step(&job, JOB_EV_CLAIM);
}

static bool can_end(int state)
{
	bool reached[JOB_STATES] = {false};
	reached[state] = true;
	for (int round = 0; round < JOB_STATES; round++)
		for (size_t i = 0; i < sizeof promised / sizeof *promised; i++)
			reached[promised[i].next] |= reached[promised[i].state];
	return reached[JOB_DONE] && reached[JOB_FAILED] && reached[JOB_CANCELED];
}

Test(job, from_every_state_every_end_can_be_reached)
{
	for (int s = 0; s < JOB_STATES; s++)
		cr_expect(can_end(s), "%s", job_state_name((enum job_state)s));
}

Test(job, final_and_active)
{
	for (int s = 0; s < JOB_STATES; s++) {
		enum job_state state = (enum job_state)s;
		cr_expect_eq(job_state_is_final(state),
		             s == JOB_DONE || s == JOB_FAILED || s == JOB_CANCELED);
		cr_expect_eq(job_state_is_active(state), s == JOB_QUEUED || s == JOB_PROCESSING);
		/* Only a final job can be asked for again, and nothing else happens to it. */
		cr_expect_eq(job_next_state(state, JOB_EV_REQUEUE) >= 0, job_state_is_final(state));
	}
	cr_expect_eq(job_final_place(JOB_DONE), PLACE_DONE);
	cr_expect_eq(job_final_place(JOB_FAILED), PLACE_FAILED);
	cr_expect_eq(job_final_place(JOB_CANCELED), PLACE_FAILED);
}

Test(job, an_unfinished_job_has_no_final_place, .signal = SIGABRT)
{
	job_final_place(JOB_PROCESSING);
}

Test(job, names_are_complete_and_come_back)
{
	for (int s = 0; s < JOB_STATES; s++) {
		enum job_state back = JOB_STATES;
		cr_assert_not_null(job_state_name((enum job_state)s));
		cr_assert(job_state_parse(job_state_name((enum job_state)s), &back));
		cr_expect_eq((int)back, s);
	}
	for (int e = 0; e < JOB_EVENTS; e++)
		cr_expect_not_null(job_event_name((enum job_event)e));
	for (int o = 0; o < OUTCOMES; o++)
		cr_expect_not_null(outcome_name((enum outcome)o));
	for (int p = 0; p < PLACES; p++)
		cr_expect_not_null(place_name((enum place)p));
}

Test(job, unknown_states_are_refused)
{
	static const char *const bad[] = {"", "Pending", "pending ", "pend", "running"};
	enum job_state state = JOB_HELD;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		cr_expect_not(job_state_parse(bad[i], &state), "%s", bad[i]);
	cr_expect_eq(state, JOB_HELD);
}

Test(job, copies_are_deep)
{
	struct job job = {.id = 7, .path = strdup("a/b.csv"), .error = strdup("why"), .attempt = 3};
	struct job copy;
	cr_assert_eq(job_copy(&job, &copy), 0);
	cr_expect_neq(copy.path, job.path);
	job_clear(&job);
	cr_expect_null(job.path);
	cr_expect_eq(job.id, 0);
	cr_expect_str_eq(copy.path, "a/b.csv");
	cr_expect_str_eq(copy.error, "why");
	cr_expect_null(copy.final_name);
	cr_expect_eq(copy.id, 7);
	cr_expect_eq(copy.attempt, 3);
	job_clear(&copy);
}

Test(job, texts_are_cut)
{
	char *field = NULL, *text = calloc(1, 3 * JOB_TEXT_MAX);
	memset(text, 'x', 2 * JOB_TEXT_MAX);
	cr_assert_eq(job_set_text(&field, text), 0);
	cr_expect_eq(strlen(field), JOB_TEXT_MAX);
	cr_assert_eq(job_set_text(&field, "short"), 0);
	cr_expect_str_eq(field, "short");
	cr_assert_eq(job_set_text(&field, NULL), 0);
	cr_expect_null(field);
	free(text);
}

Test(job, attempts_are_cleared)
{
	struct attempt attempt = {.number = 1, .error = strdup("x"), .message = strdup("y")};
	attempt_clear(&attempt);
	cr_expect_null(attempt.error);
	cr_expect_null(attempt.message);
	cr_expect_eq(attempt.number, 0);
}

Test(job, the_same_file)
{
	struct file_ident a = {.dev = 1, .ino = 2, .size = 3, .ctime_ns = 4, .mtime_ns = 5};
	struct file_ident b = a;
	cr_expect(file_ident_same(&a, &b));
	/* chmod, chown, another link: no new upload. */
	b.ctime_ns = 99;
	b.uid = 1000;
	b.gid = 1000;
	cr_expect(file_ident_same(&a, &b));
	b = a;
	b.size++;
	cr_expect_not(file_ident_same(&a, &b));
	cr_expect(file_ident_same_inode(&a, &b));
	b = a;
	b.mtime_ns++;
	cr_expect_not(file_ident_same(&a, &b));
	b = a;
	b.ino++;
	cr_expect_not(file_ident_same(&a, &b));
	cr_expect_not(file_ident_same_inode(&a, &b));
	/* Promise 2: a mount may number the device anew. */
	b = a;
	b.dev++;
	cr_expect(file_ident_same(&a, &b));
	cr_expect(file_ident_same_inode(&a, &b));
}

Test(job, unready_is_what_came_to_nothing_and_no_attempt)
{
	char why[] = "cannot run /no/such/handler";
	struct job job = {.state = JOB_PENDING, .not_before_ms = 5, .error = why};
	cr_expect(job_is_unready(&job));
	job.claimed_ms = 4;
	cr_expect_not(job_is_unready(&job), "that attempt failed");
	job.claimed_ms = 0;
	job.not_before_ms = 0;
	cr_expect_not(job_is_unready(&job), "it waits for its turn alone");
	job.not_before_ms = 5;
	job.error = NULL;
	cr_expect_not(job_is_unready(&job), "it was given back as it was");
}
