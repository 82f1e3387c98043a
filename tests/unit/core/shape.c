#include "core/shape.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

static char path[] = "2026/report.csv";

static struct job sample(void)
{
	return (struct job){
		.id = 42,
		.user = 1,
		.state = JOB_PENDING,
		.place = PLACE_INCOMING,
		.path = path,
		.ident = {.size = 1234},
		.arrived_ms = 1769851800000,
		.accepted_ms = 1769851800250,
		.exit_code = EXIT_CODE_NONE,
		.records = RECORDS_NONE,
	};
}

static const char *text(const json_t *o, const char *key)
{
	const json_t *value = json_object_get(o, key);
	cr_assert(json_is_string(value), "%s is a string", key);
	return json_string_value(value);
}

static json_int_t integer(const json_t *o, const char *key)
{
	const json_t *value = json_object_get(o, key);
	cr_assert(json_is_integer(value), "%s is a number", key);
	return json_integer_value(value);
}

static void check_null(const json_t *o, const char *key)
{
	cr_assert(json_is_null(json_object_get(o, key)), "%s is null", key);
}

Test(shape, pending_job_has_every_field_of_the_contract)
{
	struct job job = sample();
	json_t *o = shape_job(&job, "alice");
	cr_assert_eq(integer(o, "job"), 42);
	cr_assert_str_eq(text(o, "user"), "alice");
	cr_assert_str_eq(text(o, "name"), "2026/report.csv");
	cr_assert_str_eq(text(o, "state"), "pending");
	cr_assert_eq(integer(o, "attempt"), 0);
	cr_assert_eq(integer(o, "size"), 1234);
	cr_assert_str_eq(text(o, "accepted_at"), "2026-01-31T09:30:00.250Z");
	check_null(o, "started_at");
	check_null(o, "finished_at");
	check_null(o, "exit_code");
	check_null(o, "records");
	check_null(o, "error");
	check_null(o, "not_before");
	cr_assert_str_eq(text(o, "place"), "incoming");
	cr_assert_str_eq(text(o, "path"), "alice/incoming/2026/report.csv");
	json_decref(o);
}

Test(shape, path_follows_the_file)
{
	struct job job = sample();
	char final_name[] = "2026/report.42.csv";
	json_t *o;

	job.place = PLACE_PROCESSING;
	o = shape_job(&job, "alice");
	cr_assert_str_eq(text(o, "path"), "alice/processing/42/report.csv");
	json_decref(o);

	job.place = PLACE_DONE;
	o = shape_job(&job, "alice");
	cr_assert_str_eq(text(o, "path"), "alice/done/2026/report.csv");
	json_decref(o);

	job.final_name = final_name;
	job.place = PLACE_FAILED;
	o = shape_job(&job, "alice");
	cr_assert_str_eq(text(o, "path"), "alice/failed/2026/report.42.csv");
	json_decref(o);

	job.place = PLACE_NOWHERE;
	o = shape_job(&job, "alice");
	check_null(o, "path");
	json_decref(o);
}

Test(shape, an_attempted_job_tells_its_exit)
{
	struct job job = sample();
	job.attempt = 1;
	job.exit_code = 65;
	job.records = 0;
	json_t *o = shape_job(&job, "alice");
	cr_assert_eq(integer(o, "exit_code"), 65);
	cr_assert_eq(integer(o, "records"), 0, "0 records is an answer");
	json_decref(o);
}

Test(shape, exit_code_without_an_attempt_means_nothing)
{
	struct job job = sample();
	job.exit_code = 0;
	json_t *o = shape_job(&job, "alice");
	check_null(o, "exit_code");
	json_decref(o);
}

Test(shape, hostile_names_are_escaped)
{
	struct job job = sample();
	char evil[] = "a\033]0;x\a\xff\\b\n.csv";
	job.path = evil;
	json_t *o = shape_job(&job, "alice");
	cr_assert_not_null(o);
	cr_assert_str_eq(text(o, "name"), "a\\x1b]0;x\\x07\\xff\\\\b\\x0a.csv");
	json_decref(o);
}

Test(shape, texts_cut_within_a_character_are_still_json)
{
	struct job job = sample();
	char error[] = "handler said \\x1b M\xc3";
	job.error = error;
	json_t *o = shape_job(&job, "alice");
	cr_assert_not_null(o);
	cr_assert_str_eq(text(o, "error"), "handler said \\x1b M\\xc3");
	json_decref(o);
}

Test(shape, attempt)
{
	char message[] = "half way";
	struct attempt a = {
		.number = 2,
		.claimed_ms = 1769851800000,
		.outcome = OUTCOME_TIMED_OUT,
		.exit_code = EXIT_CODE_NONE,
		.records = 7,
		.message = message,
	};
	json_t *o = shape_attempt(&a);
	cr_assert_eq(integer(o, "number"), 2);
	cr_assert_str_eq(text(o, "claimed_at"), "2026-01-31T09:30:00.000Z");
	check_null(o, "started_at");
	check_null(o, "finished_at");
	cr_assert_str_eq(text(o, "outcome"), "timed out");
	check_null(o, "exit_code");
	cr_assert_eq(integer(o, "records"), 7);
	check_null(o, "error");
	cr_assert_str_eq(text(o, "message"), "half way");
	json_decref(o);
}

Test(shape, running_counts_from_its_start_and_shows_what_was_reported)
{
	struct job job = sample();
	char message[] = "sheet\t2";
	struct run_progress progress = {.progress = 0.5, .records = 12, .message = message};
	job.state = JOB_PROCESSING;
	job.attempt = 1;
	job.claimed_ms = 1000;
	job.started_ms = 2000;
	json_t *o = shape_running(&job, 4500, &progress);
	cr_assert_float_eq(json_real_value(json_object_get(o, "elapsed_seconds")), 2.5, 1e-9);
	cr_assert_float_eq(json_real_value(json_object_get(o, "progress")), 0.5, 1e-9);
	cr_assert_eq(integer(o, "records"), 12);
	cr_assert_str_eq(text(o, "message"), "sheet\\x092");
	json_decref(o);
}

Test(shape, queued_counts_from_its_claim_not_from_an_earlier_start)
{
	struct job job = sample();
	job.state = JOB_QUEUED;
	job.claimed_ms = 9000;
	job.started_ms = 2000;
	json_t *o = shape_running(&job, 10000, NULL);
	cr_assert_float_eq(json_real_value(json_object_get(o, "elapsed_seconds")), 1, 1e-9);
	check_null(o, "progress");
	check_null(o, "records");
	check_null(o, "message");
	json_decref(o);
}

Test(shape, a_clock_set_back_gives_no_negative_age)
{
	struct job job = sample();
	job.state = JOB_PROCESSING;
	job.started_ms = 5000;
	json_t *o = shape_running(&job, 4000, NULL);
	cr_assert_float_eq(json_real_value(json_object_get(o, "elapsed_seconds")), 0, 1e-9);
	json_decref(o);
}

Test(shape, progress_that_is_no_number_is_not_passed_on)
{
	struct job job = sample();
	struct run_progress progress = {.progress = NAN, .records = RECORDS_NONE};
	json_t *o = shape_running(&job, 4000, &progress);
	check_null(o, "progress");
	json_decref(o);
	progress.progress = INFINITY;
	o = shape_running(&job, 4000, &progress);
	cr_assert_float_eq(json_real_value(json_object_get(o, "progress")), 1, 1e-9);
	json_decref(o);
}

Test(shape, user_has_a_counter_for_each_state)
{
	char reason[] = "job 7 failed";
	struct user_row row = {.number = 1, .held = true, .held_reason = reason};
	for (int s = 0; s < JOB_STATES; s++)
		row.count[s] = (uint64_t)s + 10;
	json_t *o = shape_user("alice", &row);
	cr_assert_str_eq(text(o, "user"), "alice");
	cr_assert(json_is_true(json_object_get(o, "held")));
	cr_assert_str_eq(text(o, "held_reason"), "job 7 failed");
	cr_assert_eq(integer(o, "held_jobs"), 10 + JOB_HELD);
	cr_assert_eq(integer(o, "pending"), 10 + JOB_PENDING);
	cr_assert_eq(integer(o, "queued"), 10 + JOB_QUEUED);
	cr_assert_eq(integer(o, "processing"), 10 + JOB_PROCESSING);
	cr_assert_eq(integer(o, "done"), 10 + JOB_DONE);
	cr_assert_eq(integer(o, "failed"), 10 + JOB_FAILED);
	cr_assert_eq(integer(o, "canceled"), 10 + JOB_CANCELED);
	cr_assert_eq(integer(o, "arriving"), 0);
	check_null(o, "oldest_pending_seconds");
	cr_assert_eq(json_array_size(json_object_get(o, "running")), 0);
	json_decref(o);
}

Test(shape, no_time_is_null)
{
	json_t *never = shape_time(0);
	cr_assert(json_is_null(never));
	json_decref(never);
}

Test(shape, log_has_one_character_for_each_byte)
{
	json_t *o = shape_log("a\xff\0\n", 4, 10, true);
	const json_t *data = json_object_get(o, "data");
	cr_expect_eq(json_string_length(data), 5);
	cr_expect_arr_eq(json_string_value(data), "a\xc3\xbf\0\n", 5);
	cr_expect_eq(integer(o, "next"), 14);
	cr_expect(json_is_false(json_object_get(o, "final")), "there may be more");
	json_decref(o);
}

Test(shape, log_ends_when_its_job_has_ended_and_all_was_read)
{
	for (int ended = 0; ended <= 1; ended++) {
		json_t *o = shape_log("", 0, 7, ended);
		cr_expect_eq(json_is_true(json_object_get(o, "final")), ended);
		cr_expect_eq(integer(o, "next"), 7);
		json_decref(o);
	}
}
