/* Jobs and names at their limits: memory that is out, names that are as long
 * as the kernel allows, our own names uploaded. */
#include "core/job.h"
#include "core/name.h"

#include "memory_out.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static char *repeat(char c, size_t n, const char *tail)
{
	size_t tail_n = strlen(tail);
	char *out = malloc(n + tail_n + 1);
	cr_assert_not_null(out);
	memset(out, c, n);
	memcpy(out + n, tail, tail_n + 1);
	return out;
}

Test(bounds, no_such_state_has_a_next_one, .signal = SIGABRT)
{
	job_next_state(JOB_STATES, JOB_EV_CLAIM);
}

Test(bounds, no_such_event_leads_anywhere, .signal = SIGABRT)
{
	job_next_state(JOB_PENDING, JOB_EVENTS);
}

Test(bounds, a_text_without_a_whole_character_is_cut_all_the_same)
{
	char *bytes = repeat('\xbf', JOB_TEXT_MAX + 1, ""), *text = NULL;
	cr_assert_eq(job_set_text(&text, bytes), 0);
	cr_assert_leq(strlen(text), JOB_TEXT_MAX);
	free(text);
	free(bytes);
}

Test(bounds, a_copy_is_whole_or_cleared)
{
	if (!MEMORY_OUT)
		cr_skip_test("needs its own allocator");
	struct job job = {
		.id = 7,
		.path = strdup("2026/a.csv"),
		.final_name = strdup("2026/a.7.csv"),
		.error = strdup("exit code 3"),
	};
	for (long n = 0; n < 3; n++) {
		struct job copy = {.id = 99};
		memory_out_after(n);
		int r = job_copy(&job, &copy);
		memory_is_back();
		cr_assert_eq(r, -ENOMEM);
		cr_assert(copy.id == 0 && copy.path == NULL && copy.final_name == NULL);
	}
	job_clear(&job);
}

Test(bounds, a_text_is_replaced_or_stays)
{
	if (!MEMORY_OUT)
		cr_skip_test("needs its own allocator");
	char *text = NULL;
	cr_assert_eq(job_set_text(&text, "one"), 0);
	memory_out_after(0);
	int r = job_set_text(&text, "another");
	memory_is_back();
	cr_assert_eq(r, -ENOMEM);
	cr_assert_str_eq(text, "one");
	cr_assert_eq(job_set_text(&text, text), 0, "its own text");
	cr_assert_str_eq(text, "one");
	cr_assert_eq(job_set_text(&text, NULL), 0);
	cr_assert_null(text);
}

Test(bounds, a_user_has_a_hundred_bytes)
{
	char *longest = repeat('a', NAME_USER_MAX, ""), *longer = repeat('a', NAME_USER_MAX, "a");
	cr_assert_null(name_user_problem(longest));
	cr_assert_not_null(name_user_problem(longer));
	free(longest);
	free(longer);
}

Test(bounds, a_user_is_checked_without_memory)
{
	if (!MEMORY_OUT)
		cr_skip_test("needs its own allocator");
	memory_out_after(0);
	const char *problem = name_user_problem("alice"), *other = name_user_problem("a\x7f");
	memory_is_back();
	cr_assert_null(problem);
	cr_assert_not_null(other);
}

Test(bounds, promise_1_a_name_with_an_id_always_fits_and_no_two_ids_meet)
{
	static const char *const tails[] = {"", ".csv", ".", ".0123456789012345678901234567890"};
	for (size_t t = 0; t < sizeof tails / sizeof *tails; t++) {
		for (size_t n = 200; n + strlen(tails[t]) <= NAME_FILE_MAX; n++) {
			char *name = repeat('n', n, tails[t]);
			char *one = name_with_id(name, UINT64_MAX);
			char *other = name_with_id(name, UINT64_MAX - 1);
			cr_assert_leq(strlen(one), NAME_FILE_MAX);
			cr_assert_str_neq(one, other);
			cr_assert_str_eq(one + strlen(one) - strlen(tails[t]), tails[t]);
			free(name);
			free(one);
			free(other);
		}
	}
}

Test(bounds, a_suffix_that_fills_the_name_leaves_no_stem)
{
	char *longest = repeat('n', NAME_FILE_MAX, "");
	char *got = name_with_suffix("a", longest);
	cr_assert_str_eq(got, longest);
	free(got);
	got = name_with_suffix(longest, ".output");
	cr_assert_eq(strlen(got), NAME_FILE_MAX);
	cr_assert_str_eq(got + NAME_FILE_MAX - 7, ".output");
	free(got);
	free(longest);
}

Test(bounds, memory_that_is_out_gives_no_name)
{
	if (!MEMORY_OUT)
		cr_skip_test("needs its own allocator");
	memory_out_after(0);
	char *with_id = name_with_id("a.csv", 1), *with_suffix = name_with_suffix("a.csv", ".log");
	memory_is_back();
	cr_assert_null(with_id);
	cr_assert_null(with_suffix);
}

Test(bounds, promise_1_our_files_make_way_for_an_upload_of_their_name)
{
	static const char *const bases[] = {"log", "output", "log.spoold", "output.spoold", "x"};
	for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
		cr_expect_str_neq(name_log(bases[i]), bases[i]);
		cr_expect_str_neq(name_output(bases[i]), bases[i]);
		cr_expect_str_neq(name_output(bases[i]), name_log(bases[i]));
	}
}
