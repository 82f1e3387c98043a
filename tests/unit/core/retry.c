#include "core/retry.h"

#include "dice.h"

#include <criterion/criterion.h>
#include <signal.h>

static const struct retry_policy usual = {
	.enabled = true,
	.max_retries = 3,
	.delay_ms = 10000,
	.position = RETRY_FRONT,
	.on_crash = ON_CRASH_RETRY,
};

static const struct job running = {.state = JOB_PROCESSING, .attempt = 1};

static enum verdict judge(const struct retry_policy *policy, const struct job *job,
                          enum outcome outcome)
{
	return retry_judge(policy, job, outcome, false, 1000);
}

Test(retry, promise_6_success_is_done_whatever_the_policy_and_the_past)
{
	struct retry_policy policy = {.enabled = false, .on_crash = ON_CRASH_FAIL, .max_total_ms = 1};
	struct job job = {
		.state = JOB_PROCESSING,
		.failures = 99,
		.interruptions = 99,
		.spent_ms = 99,
	};
	cr_assert_eq(judge(&policy, &job, OUTCOME_SUCCEEDED), VERDICT_DONE);
	cr_assert_eq(retry_judge(&policy, &job, OUTCOME_SUCCEEDED, true, 99), VERDICT_DONE);
}

Test(retry, cancel_is_cancel_whatever_the_policy)
{
	struct retry_policy policy = {.enabled = false};
	cr_assert_eq(judge(&usual, &running, OUTCOME_CANCELED), VERDICT_CANCEL);
	cr_assert_eq(retry_judge(&policy, &running, OUTCOME_CANCELED, true, 0), VERDICT_CANCEL);
}

/* DESIGN 7: max_retries 3 is four attempts. */
Test(retry, max_retries_counts_retries_not_attempts)
{
	struct job job = running;
	unsigned attempts = 1;
	while (judge(&usual, &job, OUTCOME_FAILED) == VERDICT_RETRY) {
		job.failures++;
		attempts++;
	}
	cr_assert_eq(attempts, 4);
}

Test(retry, no_retries_where_they_are_off_or_zero)
{
	struct retry_policy off = usual, zero = usual;
	off.enabled = false;
	zero.max_retries = 0;
	for (int outcome = OUTCOME_FAILED; outcome <= OUTCOME_TIMED_OUT; outcome++) {
		cr_assert_eq(judge(&off, &running, (enum outcome)outcome), VERDICT_FAIL);
		cr_assert_eq(judge(&zero, &running, (enum outcome)outcome), VERDICT_FAIL);
	}
}

/* DESIGN 6: a permanent exit code = failed without retry. */
Test(retry, a_permanent_exit_code_is_not_retried)
{
	cr_assert_eq(judge(&usual, &running, OUTCOME_FAILED), VERDICT_RETRY);
	cr_assert_eq(retry_judge(&usual, &running, OUTCOME_FAILED, true, 0), VERDICT_FAIL);
}

/* DESIGN 7: max_processing_time_minutes is for all attempts together. */
Test(retry, the_time_of_all_attempts_together_is_limited)
{
	struct retry_policy policy = usual;
	struct job job = running;
	policy.max_total_ms = 60000;
	job.spent_ms = 50000;
	cr_assert_eq(retry_judge(&policy, &job, OUTCOME_FAILED, false, 9999), VERDICT_RETRY);
	cr_assert_eq(retry_judge(&policy, &job, OUTCOME_FAILED, false, 10000), VERDICT_FAIL);
	cr_assert_eq(retry_judge(&policy, &job, OUTCOME_TIMED_OUT, false, 10001), VERDICT_FAIL);
	policy.max_total_ms = 0;
	job.spent_ms = UINT64_MAX / 2;
	cr_assert_eq(retry_judge(&policy, &job, OUTCOME_FAILED, false, 9999), VERDICT_RETRY,
	             "0 = no limit");
}

Test(retry, promise_6_an_interruption_counts_neither_as_failure_nor_against_the_time)
{
	struct retry_policy policy = usual;
	struct job job = running;
	policy.enabled = false;
	policy.max_total_ms = 1;
	job.failures = 99;
	job.spent_ms = 99;
	cr_assert_eq(retry_judge(&policy, &job, OUTCOME_INTERRUPTED, true, 99), VERDICT_REPEAT);
}

Test(retry, promise_6_a_running_attempt_that_was_interrupted_goes_by_on_crash)
{
	static const enum verdict expected[] = {
		[ON_CRASH_RETRY] = VERDICT_REPEAT,
		[ON_CRASH_FAIL] = VERDICT_FAIL,
		[ON_CRASH_HOLD] = VERDICT_HOLD,
	};
	static const enum job_state may_have_run[] = {JOB_PENDING, JOB_HELD, JOB_PROCESSING};
	for (size_t i = 0; i < sizeof may_have_run / sizeof *may_have_run; i++) {
		for (int on_crash = ON_CRASH_RETRY; on_crash <= ON_CRASH_HOLD; on_crash++) {
			struct retry_policy policy = usual;
			struct job job = {.state = may_have_run[i]};
			policy.on_crash = (enum on_crash)on_crash;
			cr_assert_eq(judge(&policy, &job, OUTCOME_INTERRUPTED), expected[on_crash],
			             "%s, on_crash %d", job_state_name(job.state), on_crash);
		}
	}
}

/* DESIGN 4: interrupted, queued = pending. */
Test(retry, promise_6_a_queued_job_did_not_run_and_is_always_repeated)
{
	for (int on_crash = ON_CRASH_RETRY; on_crash <= ON_CRASH_HOLD; on_crash++) {
		struct retry_policy policy = usual;
		struct job job = {.state = JOB_QUEUED, .interruptions = 1000};
		policy.on_crash = (enum on_crash)on_crash;
		cr_assert_eq(judge(&policy, &job, OUTCOME_INTERRUPTED), VERDICT_REPEAT);
	}
}

Test(retry, promise_5_a_job_that_ends_its_worker_each_time_fails_at_last)
{
	struct job job = running;
	unsigned repeats = 0;
	while (judge(&usual, &job, OUTCOME_INTERRUPTED) == VERDICT_REPEAT && repeats < 1000) {
		job.interruptions++;
		repeats++;
	}
	cr_assert_eq(repeats, JOB_MAX_INTERRUPTIONS);
	cr_assert_eq(judge(&usual, &job, OUTCOME_INTERRUPTED), VERDICT_FAIL);
}

Test(retry, an_unknown_on_crash_loses_nothing)
{
	struct retry_policy policy = usual;
	policy.on_crash = (enum on_crash)7;
	cr_assert_eq(judge(&policy, &running, OUTCOME_INTERRUPTED), VERDICT_REPEAT);
}

Test(retry, an_attempt_that_still_runs_is_not_judged, .signal = SIGABRT)
{
	judge(&usual, &running, OUTCOME_NONE);
}

Test(retry, no_such_outcome_is_judged, .signal = SIGABRT)
{
	judge(&usual, &running, OUTCOMES);
}

/* One case of the walk over everything, and the rules once more, as sentences. */
struct retry_case {
	struct retry_policy policy;
	struct job job;
	enum outcome outcome;
	bool permanent;
	uint64_t ran_ms;
};

static enum verdict expected_verdict(const struct retry_case *c)
{
	bool time_over = c->policy.max_total_ms != 0 &&
	                 c->job.spent_ms + c->ran_ms >= c->policy.max_total_ms;
	bool retries_left = c->policy.enabled && c->job.failures < c->policy.max_retries;
	if (c->outcome == OUTCOME_SUCCEEDED)
		return VERDICT_DONE;
	if (c->outcome == OUTCOME_CANCELED)
		return VERDICT_CANCEL;
	if (c->outcome == OUTCOME_FAILED || c->outcome == OUTCOME_TIMED_OUT)
		return !c->permanent && retries_left && !time_over ? VERDICT_RETRY : VERDICT_FAIL;
	if (c->job.state == JOB_QUEUED)
		return VERDICT_REPEAT;
	if (c->job.interruptions >= JOB_MAX_INTERRUPTIONS || c->policy.on_crash == ON_CRASH_FAIL)
		return VERDICT_FAIL;
	return c->policy.on_crash == ON_CRASH_HOLD ? VERDICT_HOLD : VERDICT_REPEAT;
}

static struct retry_case throw_case(struct dice *dice)
{
	static const uint64_t spans_ms[] = {0, 1, 999, 1000, 1001, 60000};
	return (struct retry_case){
		.policy = {
			.enabled = !dice_one_in(dice, 4),
			.max_retries = dice_below(dice, 4),
			.position = (enum retry_position)dice_below(dice, 2),
			.on_crash = (enum on_crash)dice_below(dice, 3),
			.max_total_ms = spans_ms[dice_below(dice, 6)],
		},
		.job = {
			.state = dice_one_in(dice, 2) ? JOB_QUEUED : JOB_PROCESSING,
			.failures = dice_below(dice, 5),
			.interruptions = dice_below(dice, JOB_MAX_INTERRUPTIONS + 3),
			.spent_ms = spans_ms[dice_below(dice, 6)],
		},
		.outcome = (enum outcome)(OUTCOME_SUCCEEDED + dice_below(dice, 5)),
		.permanent = dice_one_in(dice, 3),
		.ran_ms = spans_ms[dice_below(dice, 6)],
	};
}

Test(retry, every_outcome_under_every_policy)
{
	struct dice dice = {1};
	for (int n = 0; n < 200000; n++) {
		struct retry_case c = throw_case(&dice);
		enum verdict got =
			retry_judge(&c.policy, &c.job, c.outcome, c.permanent, c.ran_ms);
		cr_assert_eq(got, expected_verdict(&c), "case %d: %s", n, outcome_name(c.outcome));
	}
}

/* A verdict is a walk through the table of states: it must exist. */
Test(retry, every_verdict_is_possible_in_the_state_it_is_given_for)
{
	static const struct {
		enum verdict verdict;
		enum job_event event;
		bool queued; /* also for a job that did not run */
	} events[] = {
		{VERDICT_DONE, JOB_EV_SUCCEEDED, false}, {VERDICT_RETRY, JOB_EV_RETRY, true},
		{VERDICT_FAIL, JOB_EV_FAIL, true},       {VERDICT_REPEAT, JOB_EV_INTERRUPTED, true},
		{VERDICT_CANCEL, JOB_EV_CANCEL, true},   {VERDICT_HOLD, JOB_EV_INTERRUPTED, true},
	};
	for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
		cr_assert_geq(job_next_state(JOB_PROCESSING, events[i].event), 0);
		if (events[i].queued)
			cr_assert_geq(job_next_state(JOB_QUEUED, events[i].event), 0);
	}
	int repeated = job_next_state(JOB_PROCESSING, JOB_EV_INTERRUPTED);
	cr_assert_eq(job_next_state((enum job_state)repeated, JOB_EV_HOLD), JOB_HELD);
}

static void check_delay(uint64_t delay_ms, uint32_t failures, uint64_t least, uint64_t most)
{
	struct dice dice = {failures};
	struct retry_policy policy = usual;
	uint64_t low = UINT64_MAX, high = 0;
	policy.delay_ms = delay_ms;
	for (int n = 0; n < 20000; n++) {
		uint64_t got = retry_delay_ms(&policy, failures, (uint32_t)dice_throw(&dice));
		cr_assert(got >= least && got <= most,
		          "%llu ms after %u failures: %llu is not within %llu..%llu",
		          (unsigned long long)delay_ms, failures, (unsigned long long)got,
		          (unsigned long long)least, (unsigned long long)most);
		low = got < low ? got : low;
		high = got > high ? got : high;
	}
	/* The jitter uses its range, or jobs that failed together come back together. */
	uint64_t slack = (most - least) / 50;
	cr_assert_leq(low, least + slack);
	cr_assert_geq(high, most - slack);
}

/* DESIGN 7: retry_delay_seconds × 2ⁿ with jitter. */
Test(retry, delays_double_with_a_quarter_of_jitter_either_way)
{
	check_delay(10000, 1, 7500, 12500);
	check_delay(10000, 2, 15000, 25000);
	check_delay(10000, 3, 30000, 50000);
	check_delay(10000, 8, 960000, 1600000);
	check_delay(4, 1, 3, 5);
}

Test(retry, delays_without_a_failure_or_without_room_for_jitter_are_plain)
{
	check_delay(10000, 0, 7500, 12500);
	check_delay(0, 5, 0, 0);
	check_delay(1, 1, 1, 1);
	check_delay(3, 1, 3, 3);
}

Test(retry, no_delay_is_longer_than_the_hour_jitter_included)
{
	check_delay(10000, 10, 2700000, RETRY_DELAY_MAX_MS);
	check_delay(10000, UINT32_MAX, 2700000, RETRY_DELAY_MAX_MS);
	check_delay(RETRY_DELAY_MAX_MS, 1, 2700000, RETRY_DELAY_MAX_MS);
	check_delay(RETRY_DELAY_MAX_MS - 1, 2, 2700000, RETRY_DELAY_MAX_MS);
	check_delay(3000000, 1, 2250000, RETRY_DELAY_MAX_MS);
	check_delay(UINT64_MAX, 1, 2700000, RETRY_DELAY_MAX_MS);
	check_delay(UINT64_MAX, UINT32_MAX, 2700000, RETRY_DELAY_MAX_MS);
}

/* The number of failures comes from the index: bytes, whatever they say. */
Test(retry, no_delay_doubled_four_thousand_million_times_takes_no_time, .timeout = 60)
{
	check_delay(0, UINT32_MAX, 0, 0);
}

Test(retry, the_ends_of_the_random_range_stay_within_the_jitter)
{
	static const uint32_t ends[] = {0, 1, UINT32_MAX / 2, UINT32_MAX - 1, UINT32_MAX};
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		uint64_t got = retry_delay_ms(&usual, 1, ends[i]);
		cr_assert(got >= 7500 && got <= 12500);
	}
}
