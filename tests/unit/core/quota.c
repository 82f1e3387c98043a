#include "core/quota.h"

#include <criterion/criterion.h>
#include <string.h>

static void expect(struct quota q, struct quota_use use, uint64_t size, enum quota_answer answer)
{
	enum quota_answer got = quota_ask(&q, &use, size);
	cr_assert_eq(got, answer, "answer %d instead of %d", got, answer);
}

Test(quota, zero_is_no_limit)
{
	struct quota none = {0};
	expect(none, (struct quota_use){0}, 0, QUOTA_ROOM);
	expect(none, (struct quota_use){UINT64_MAX, UINT64_MAX, 0}, UINT64_MAX, QUOTA_ROOM);
}

Test(quota, files)
{
	struct quota q = {.max_files = 3};
	expect(q, (struct quota_use){.files = 2}, 1, QUOTA_ROOM);
	expect(q, (struct quota_use){.files = 3}, 0, QUOTA_FILES);
	expect(q, (struct quota_use){.files = 4}, 0, QUOTA_FILES);
}

Test(quota, bytes_up_to_the_last_one)
{
	struct quota q = {.max_bytes = 100};
	expect(q, (struct quota_use){.files = 1, .bytes = 60}, 40, QUOTA_ROOM);
	expect(q, (struct quota_use){.files = 1, .bytes = 60}, 41, QUOTA_BYTES);
	expect(q, (struct quota_use){.files = 1, .bytes = 100}, 0, QUOTA_ROOM);
	expect(q, (struct quota_use){.files = 1, .bytes = 101}, 0, QUOTA_BYTES);
	expect(q, (struct quota_use){.files = 1, .bytes = 60}, UINT64_MAX, QUOTA_BYTES);
	expect(q, (struct quota_use){.files = 1, .bytes = UINT64_MAX}, 1, QUOTA_BYTES);
}

Test(quota, no_upload_is_too_large_to_be_taken_alone)
{
	struct quota q = {.max_bytes = 100};
	expect(q, (struct quota_use){0}, 101, QUOTA_ROOM);
	expect(q, (struct quota_use){0}, UINT64_MAX, QUOTA_ROOM);
	expect(q, (struct quota_use){.files = 1}, 101, QUOTA_BYTES);
}

Test(quota, one_that_is_too_large_for_itself)
{
	struct quota q = {.max_upload = 10, .max_files = 1, .min_free = 5};
	expect(q, (struct quota_use){.free = 5}, 10, QUOTA_ROOM);
	expect(q, (struct quota_use){.free = 5}, 11, QUOTA_TOO_LARGE);
	expect(q, (struct quota_use){.files = 9, .free = 0}, 11, QUOTA_TOO_LARGE);
}

Test(quota, free_space)
{
	struct quota q = {.min_free = 1000};
	expect(q, (struct quota_use){.free = 1000}, 999999, QUOTA_ROOM);
	expect(q, (struct quota_use){.free = 999}, 0, QUOTA_SPACE);
}

Test(quota, every_answer_has_words)
{
	struct quota q = {.max_files = 7, .max_bytes = 2048, .max_upload = 1 << 20, .min_free = 1 << 30};
	static const char *const figures[] = {
		[QUOTA_ROOM] = "behind", [QUOTA_TOO_LARGE] = "max_upload_mib: 1.0 MiB",
		[QUOTA_FILES] = "max_pending_files: 7", [QUOTA_BYTES] = "max_pending_mib: 2.0 KiB",
		[QUOTA_SPACE] = "min_free_mib: 1.0 GiB",
	};
	for (int a = QUOTA_ROOM; a <= QUOTA_SPACE; a++) {
		char text[QUOTA_TEXT];
		cr_assert_not_null(strstr(quota_because((enum quota_answer)a, &q, text), figures[a]), "%s",
		                   text);
		cr_assert(strlen(quota_next((enum quota_answer)a)) > 10);
	}
}
