/* Memory that runs out at every place in turn: nothing is half done, nothing
 * leaks, and what is returned says so. */
#include "core/message.h"
#include "core/name.h"
#include "core/notice.h"
#include "core/record.h"
#include "core/shape.h"
#include "core/sums.h"

#include "memory_out.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENOUGH = 2000 };

static void setup(void)
{
	if (!MEMORY_OUT)
		cr_skip_test("needs its own allocator");
}

TestSuite(memory, .init = setup);

static char command_0[] = "/bin/handler", command_1[] = "{file}\xff";
static char *command[] = {command_0, command_1, NULL};
static char user[] = "alice", name[] = "odd\x1b.csv", dir[] = "/s/alice/processing/1";
static char account[] = "bob", cookie[] = "c0ffee", text[] = "exit code 3\n", path[] = "2026/a.csv";

static uint64_t jobs[] = {7, 8, 0};

static struct message message_of(enum message_type type)
{
	struct message m = {.type = type, .job = 7, .jobs = jobs, .started_ms = 5};
	m.order = (struct run_order){
		.job = 7, .attempt = 1, .user = user, .name = name, .dir = dir, .command = command,
		.run_as = account, .timeout_ms = UINT64_MAX, .cookie = cookie};
	m.progress = (struct run_progress){.job = 7, .progress = 0.5, .records = 3, .message = text};
	m.result = (struct run_result){
		.job = 7, .attempt = 1, .outcome = OUTCOME_FAILED, .exit_code = 3, .started_ms = 1,
		.records = UINT64_MAX - 1, .error = text, .message = text};
	return m;
}

static long encode_until_it_works(const struct message *m, char **ret, size_t *ret_size)
{
	*ret_size = 0;
	for (long n = 0; n < ENOUGH; n++) {
		*ret = NULL;
		memory_out_after(n);
		int r = message_encode(m, ret, ret_size);
		memory_is_back();
		if (r == 0)
			return n;
		cr_assert_eq(r, -ENOMEM, "%s after %ld", strerror(-r), n);
		cr_assert(*ret == NULL && *ret_size == 0);
	}
	cr_assert_fail("never enough");
	return -1;
}

/* The parser of JSON calls a token invalid that it has no memory for; but it says so
 * where it has none at all. */
static bool is_want_of_memory(int r, long n)
{
	return r == -ENOMEM || (r == -EBADMSG && n > 0);
}

static void decode_until_it_works(const char *data, size_t size, enum message_type type)
{
	for (long n = 0; n < ENOUGH; n++) {
		struct message got = {.type = MESSAGE_TYPES};
		memory_out_after(n);
		int r = message_decode(data, size, &got);
		memory_is_back();
		if (r == 0) {
			cr_assert_eq(got.type, type);
			message_clear(&got);
			return;
		}
		cr_assert_eq(r, -ENOMEM, "%s after %ld", strerror(-r), n);
		cr_assert_eq(got.type, MESSAGE_TYPES, "untouched");
	}
	cr_assert_fail("never enough");
}

Test(memory, a_message_is_made_and_read_whole_or_not_at_all)
{
	for (enum message_type type = 0; type < MESSAGE_TYPES; type++) {
		struct message m = message_of(type);
		char *data = NULL;
		size_t size;
		cr_assert_gt(encode_until_it_works(&m, &data, &size), 0);
		decode_until_it_works(data, size, type);
		free(data);
	}
}

Test(memory, a_result_that_is_kept_is_made_and_read_whole_or_not_at_all)
{
	struct message m = message_of(MESSAGE_RESULT);
	char *data = NULL;
	size_t size = 0;
	int r = -ENOMEM;
	for (long n = 0; n < ENOUGH && r == -ENOMEM; n++) {
		memory_out_after(n);
		r = run_result_encode(&m.result, &data, &size);
		memory_is_back();
	}
	cr_assert_eq(r, 0);
	r = -ENOMEM;
	struct run_result got = {0};
	for (long n = 0; n < ENOUGH && r != 0; n++) {
		memory_out_after(n);
		r = run_result_decode(data, size, &got);
		memory_is_back();
		cr_assert(r == 0 || (is_want_of_memory(r, n) && got.job == 0));
	}
	cr_assert_eq(r, 0);
	run_result_clear(&got);
	free(data);
}

static struct job a_job(void)
{
	return (struct job){.id = 42, .user = 1, .state = JOB_FAILED, .place = PLACE_FAILED, .seq = 1,
	                    .path = path, .final_name = path, .error = text, .accepted_ms = 5};
}

/* Strings that were read before memory ran out are freed: three of a job, two
 * of an attempt, one of a user. */
Test(memory, a_record_is_read_whole_or_not_at_all)
{
	unsigned char bytes[RECORD_MAX];
	const struct job job = a_job();
	const struct attempt attempt = {.number = 1, .error = text, .message = text};
	const struct user_row row = {.number = 1, .held = true, .held_reason = text};
	struct job got_job = {0};
	struct attempt got_attempt = {0};
	struct user_row got_row = {0};
	size_t size = (size_t)record_put_job(&job, bytes, sizeof bytes);
	for (long n = 0; n < 4; n++) {
		memory_out_after(n);
		int r = record_get_job(bytes, size, &got_job);
		memory_is_back();
		cr_assert_eq(r, n < 3 ? -ENOMEM : 0);
		cr_assert_eq(got_job.id, n < 3 ? 0u : 42u);
	}
	job_clear(&got_job);
	size = (size_t)record_put_attempt(&attempt, bytes, sizeof bytes);
	for (long n = 0; n < 3; n++) {
		memory_out_after(n);
		int r = record_get_attempt(bytes, size, &got_attempt);
		memory_is_back();
		cr_assert_eq(r, n < 2 ? -ENOMEM : 0);
	}
	attempt_clear(&got_attempt);
	size = (size_t)record_put_user(&row, bytes, sizeof bytes);
	for (long n = 0; n < 2; n++) {
		memory_out_after(n);
		int r = record_get_user(bytes, size, &got_row);
		memory_is_back();
		cr_assert_eq(r, n < 1 ? -ENOMEM : 0);
	}
	user_row_clear(&got_row);
}

static json_t *shape_one(int which)
{
	const struct job job = a_job();
	const struct attempt attempt = {.number = 1, .error = text, .message = text};
	const struct user_row row = {.number = 1, .held = true, .held_reason = text};
	const struct run_progress progress = {.job = 42, .progress = 0.5, .message = text};
	switch (which) {
	case 0: return shape_job(&job, user);
	case 1: return shape_attempt(&attempt);
	case 2: return shape_running(&job, 10, &progress);
	default: return shape_user(user, &row);
	}
}

Test(memory, an_answer_is_shaped_whole_or_not_at_all)
{
	for (int which = 0; which < 4; which++) {
		json_t *whole = shape_one(which), *got = NULL;
		long n = 0;
		for (; n < ENOUGH && got == NULL; n++) {
			memory_out_after(n);
			got = shape_one(which);
			memory_is_back();
		}
		cr_assert_gt(n, 10);
		cr_assert(json_equal(got, whole), "nothing is left out");
		json_decref(got);
		json_decref(whole);
	}
}

Test(memory, a_path_that_cannot_be_told_is_no_missing_file)
{
	const struct job job = a_job();
	int error = 0;
	memory_out_after(0);
	char *told = shape_job_path(&job, user, &error);
	memory_is_back();
	cr_assert(told == NULL && error == -ENOMEM);
}

/* As many as make it say how many more there are. */
static bool make_notice(long memory, char **ret_text)
{
	bool good = false;
	memory_out_after(memory);
	struct notice_text *n = notice_begin();
	for (int i = 0; n != NULL && i < 60; i++)
		notice_add(n, "a.csv", "it waits", "it goes on");
	if (n != NULL)
		good = notice_end(n, ret_text);
	memory_is_back();
	return good;
}

Test(memory, a_notice_is_whole_or_none)
{
	char *told = NULL;
	long n = 0;
	while (n < ENOUGH && !make_notice(n, &told)) {
		cr_assert_null(told);
		n++;
	}
	cr_assert(n > 100 && n < ENOUGH);
	cr_assert_not_null(strstr(told, "and 10 more"));
	free(told);
}

Test(memory, a_list_of_checksums_is_read_whole_or_not_at_all)
{
	char list[2048] = "", why[SUMS_WHY_MAX], digits[65];
	struct sums sums = {0};
	int r = -ENOMEM;
	memset(digits, 'a', 64);
	digits[64] = '\0';
	for (int i = 0; i < 9; i++)
		sprintf(list + strlen(list), "%s  %d.csv\n", digits, i);
	for (long n = 0; n < ENOUGH && r != 0; n++) {
		memory_out_after(n);
		r = sums_parse(list, strlen(list), &sums, why);
		memory_is_back();
		cr_assert(r == 0 || (r == -ENOMEM && sums.n == 0));
	}
	cr_assert_eq(sums.n, 9);
	sums_clear(&sums);
}

Test(memory, a_name_is_made_whole_or_not_at_all)
{
	char *made = NULL;
	for (long n = 0; n < ENOUGH && made == NULL; n++) {
		memory_out_after(n);
		made = name_candidate(path, 42, 2);
		memory_is_back();
	}
	cr_assert_str_eq(made, "2026/a.42.2.csv");
	free(made);
}
