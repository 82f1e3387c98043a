#include "core/settle.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define MS_NS INT64_C(1000000)

static const uint64_t wall_ms = UINT64_C(1700000000000);
static const uint64_t steady_ms = 500000;
/* What *ret_due is before: to see that it is left alone. */
static const uint64_t untouched = 777;

static const struct settle_policy by[] = {
	[COMPLETION_AUTO] = {COMPLETION_AUTO, 1000},
	[COMPLETION_RENAME] = {COMPLETION_RENAME, 1000},
	[COMPLETION_MARKER] = {COMPLETION_MARKER, 1000},
	[COMPLETION_CHECKSUM] = {COMPLETION_CHECKSUM, 1000},
};

/* Seen changing `ago_ms` before now. */
static struct upload seen_changing(uint64_t ago_ms)
{
	return (struct upload){
		.changed_steady_ms = steady_ms - ago_ms,
		.ident = {.ctime_ns = (int64_t)(wall_ms - ago_ms) * MS_NS,
		          .mtime_ns = (int64_t)(wall_ms - ago_ms) * MS_NS},
	};
}

/* Was there before we were; last changed `ago_ms` before now (< 0: after). */
static struct upload found(int64_t ago_ms)
{
	int64_t changed_ns = ((int64_t)wall_ms - ago_ms) * MS_NS;
	return (struct upload){.ident = {.ctime_ns = changed_ns, .mtime_ns = changed_ns}};
}

static enum settle_answer judge(const struct settle_policy *policy, struct upload upload,
                                enum writers writers, uint64_t *ret_due)
{
	*ret_due = untouched;
	return settle_judge(policy, &upload, writers, steady_ms, wall_ms, ret_due);
}

static void expect(const struct settle_policy *policy, struct upload upload, enum writers writers,
                   enum settle_answer answer, uint64_t due)
{
	uint64_t got_due;
	enum settle_answer got = judge(policy, upload, writers, &got_due);
	cr_assert_eq(got, answer, "answer %d instead of %d", got, answer);
	cr_assert_eq(got_due, due, "due %llu instead of %llu", (unsigned long long)got_due,
	             (unsigned long long)due);
}

/* auto: "renamed in; or closed by its writer, no process has it open for
 * writing and unchanged for settle_seconds" */

Test(settle, auto_takes_what_was_renamed_in_at_once)
{
	struct upload upload = seen_changing(0);
	upload.renamed_in = true;
	expect(&by[COMPLETION_AUTO], upload, WRITERS_NONE, SETTLE_COMPLETE, untouched);
	expect(&by[COMPLETION_AUTO], upload, WRITERS_UNKNOWN, SETTLE_COMPLETE, untouched);
}

Test(settle, auto_takes_what_was_quiet_for_the_settle_time)
{
	for (int writers = WRITERS_NONE; writers <= WRITERS_UNKNOWN; writers += 2) {
		enum writers w = (enum writers)writers;
		expect(&by[COMPLETION_AUTO], seen_changing(0), w, SETTLE_WAIT, steady_ms + 1000);
		expect(&by[COMPLETION_AUTO], seen_changing(400), w, SETTLE_WAIT, steady_ms + 600);
		expect(&by[COMPLETION_AUTO], seen_changing(999), w, SETTLE_WAIT, steady_ms + 1);
		expect(&by[COMPLETION_AUTO], seen_changing(1000), w, SETTLE_COMPLETE, untouched);
		expect(&by[COMPLETION_AUTO], seen_changing(90000), w, SETTLE_COMPLETE, untouched);
	}
}

Test(settle, promise_1_auto_takes_no_half_file_that_is_open_for_writing)
{
	uint64_t poll = steady_ms + SETTLE_WRITER_POLL_MS;
	struct upload renamed = seen_changing(90000);
	renamed.renamed_in = true;
	expect(&by[COMPLETION_AUTO], seen_changing(90000), WRITERS_SOME, SETTLE_WRITER, poll);
	expect(&by[COMPLETION_AUTO], seen_changing(0), WRITERS_SOME, SETTLE_WRITER, poll);
	expect(&by[COMPLETION_AUTO], found(90000), WRITERS_SOME, SETTLE_WRITER, poll);
	expect(&by[COMPLETION_AUTO], renamed, WRITERS_SOME, SETTLE_WRITER, poll);
}

Test(settle, auto_judges_what_was_there_before_by_the_kernels_ctime)
{
	expect(&by[COMPLETION_AUTO], found(1000), WRITERS_NONE, SETTLE_COMPLETE, untouched);
	expect(&by[COMPLETION_AUTO], found(999), WRITERS_NONE, SETTLE_WAIT, steady_ms + 1);
	expect(&by[COMPLETION_AUTO], found(0), WRITERS_NONE, SETTLE_WAIT, steady_ms + 1000);
	struct upload ancient = found(0);
	ancient.ident.ctime_ns = -5 * MS_NS;
	expect(&by[COMPLETION_AUTO], ancient, WRITERS_NONE, SETTLE_COMPLETE, untouched);
}

Test(settle, auto_never_trusts_mtime_for_age)
{
	struct upload upload = found(0);
	upload.ident.mtime_ns = 0;
	expect(&by[COMPLETION_AUTO], upload, WRITERS_NONE, SETTLE_WAIT, steady_ms + 1000);
	upload = found(5000);
	upload.ident.mtime_ns = INT64_C(4300000000) * 1000 * MS_NS; /* the year 2106 */
	expect(&by[COMPLETION_AUTO], upload, WRITERS_NONE, SETTLE_COMPLETE, untouched);
}

Test(settle, a_ctime_in_the_future_is_just_changed)
{
	expect(&by[COMPLETION_AUTO], found(-1), WRITERS_NONE, SETTLE_WAIT, steady_ms + 1000);
	expect(&by[COMPLETION_AUTO], found(-86400000), WRITERS_NONE, SETTLE_WAIT, steady_ms + 1000);
}

/* Its change was seen, so the wall clock, which may be wrong, does not matter. */
Test(settle, a_change_that_was_seen_goes_by_the_steady_clock)
{
	struct upload upload = found(-86400000);
	upload.changed_steady_ms = steady_ms - 1000;
	expect(&by[COMPLETION_AUTO], upload, WRITERS_NONE, SETTLE_COMPLETE, untouched);
	upload = found(86400000);
	upload.changed_steady_ms = steady_ms - 10;
	expect(&by[COMPLETION_AUTO], upload, WRITERS_NONE, SETTLE_WAIT, steady_ms + 990);
}

Test(settle, a_change_that_is_newer_than_now_is_just_changed)
{
	struct upload upload = found(90000);
	upload.changed_steady_ms = steady_ms + 1;
	expect(&by[COMPLETION_AUTO], upload, WRITERS_NONE, SETTLE_WAIT, steady_ms + 1000);
}

Test(settle, a_settle_time_of_nothing_waits_for_nothing)
{
	struct settle_policy policy = {COMPLETION_AUTO, 0};
	expect(&policy, seen_changing(0), WRITERS_NONE, SETTLE_COMPLETE, untouched);
	expect(&policy, found(-5), WRITERS_UNKNOWN, SETTLE_COMPLETE, untouched);
	expect(&policy, found(0), WRITERS_SOME, SETTLE_WRITER, steady_ms + SETTLE_WRITER_POLL_MS);
}

/* Whoever asks again at the due time gets there: no upload waits for ever. */
Test(settle, promise_7_asking_again_when_due_ends_the_wait)
{
	for (uint64_t ago_ms = 0; ago_ms < 1000; ago_ms++) {
		struct upload seen = seen_changing(ago_ms), there = found((int64_t)ago_ms);
		uint64_t due = untouched;
		cr_assert_eq(judge(&by[COMPLETION_AUTO], seen, WRITERS_NONE, &due), SETTLE_WAIT);
		cr_assert_eq(settle_judge(&by[COMPLETION_AUTO], &seen, WRITERS_NONE, due, 0, &due),
		             SETTLE_COMPLETE);
		cr_assert_eq(judge(&by[COMPLETION_AUTO], there, WRITERS_NONE, &due), SETTLE_WAIT);
		cr_assert_eq(settle_judge(&by[COMPLETION_AUTO], &there, WRITERS_NONE, due,
		                          wall_ms + due - steady_ms, &due),
		             SETTLE_COMPLETE);
	}
}

/* rename: "arrives by rename from an ignored name or from outside (a broken
 * transfer is then never taken)" */

Test(settle, rename_never_takes_what_was_seen_being_written_in_place)
{
	struct upload upload = seen_changing(90000);
	for (int writers = WRITERS_NONE; writers <= WRITERS_UNKNOWN; writers++)
		expect(&by[COMPLETION_RENAME], upload, (enum writers)writers, SETTLE_CONVENTION,
		       untouched);
	upload.ident.mtime_ns -= MS_NS;
	expect(&by[COMPLETION_RENAME], upload, WRITERS_NONE, SETTLE_CONVENTION, untouched);
}

Test(settle, rename_takes_what_was_renamed_in_without_a_quiet_time)
{
	struct upload upload = seen_changing(0);
	upload.renamed_in = true;
	expect(&by[COMPLETION_RENAME], upload, WRITERS_NONE, SETTLE_COMPLETE, untouched);
	expect(&by[COMPLETION_RENAME], upload, WRITERS_UNKNOWN, SETTLE_COMPLETE, untouched);
}

/* How it came was not seen by anybody: it must at least be quiet. */
Test(settle, rename_takes_what_a_scan_found_when_it_is_quiet)
{
	struct upload upload = found(90000);
	upload.found = true;
	expect(&by[COMPLETION_RENAME], upload, WRITERS_NONE, SETTLE_COMPLETE, untouched);
	expect(&by[COMPLETION_RENAME], upload, WRITERS_SOME, SETTLE_WRITER,
	       steady_ms + SETTLE_WRITER_POLL_MS);
	upload = seen_changing(400);
	upload.found = true;
	expect(&by[COMPLETION_RENAME], upload, WRITERS_NONE, SETTLE_WAIT, steady_ms + 600);
}

Test(settle, rename_waits_for_a_writer_of_what_was_renamed_in)
{
	struct upload upload = seen_changing(0);
	upload.renamed_in = true;
	expect(&by[COMPLETION_RENAME], upload, WRITERS_SOME, SETTLE_WRITER,
	       steady_ms + SETTLE_WRITER_POLL_MS);
}

/* A marker is no rename. */
Test(settle, rename_ignores_markers)
{
	struct upload upload = found(90000);
	upload.marker_seen = true;
	expect(&by[COMPLETION_RENAME], upload, WRITERS_NONE, SETTLE_CONVENTION, untouched);
}

/* marker: "<name> + marker_suffix arrives"; checksum: "<name>.sha256 arrives" */

static void expect_by_marker(const struct settle_policy *policy)
{
	struct upload upload = found(90000);
	upload.renamed_in = true;
	for (int writers = WRITERS_NONE; writers <= WRITERS_UNKNOWN; writers++)
		expect(policy, upload, (enum writers)writers, SETTLE_CONVENTION, untouched);
	upload = seen_changing(0);
	upload.marker_seen = true;
	expect(policy, upload, WRITERS_NONE, SETTLE_COMPLETE, untouched);
	expect(policy, upload, WRITERS_UNKNOWN, SETTLE_COMPLETE, untouched);
	expect(policy, upload, WRITERS_SOME, SETTLE_WRITER, steady_ms + SETTLE_WRITER_POLL_MS);
}

Test(settle, marker_waits_for_the_marker_and_for_nothing_else_but_writers)
{
	expect_by_marker(&by[COMPLETION_MARKER]);
}

/* checksum: "<name>.sha256 arrives and matches" */

Test(settle, checksum_waits_for_its_checksum_whatever_else_happened)
{
	struct upload upload = found(90000);
	upload.renamed_in = upload.marker_seen = true;
	static const enum checksum nothing_said[] = {CHECKSUM_NONE, CHECKSUM_STALE};
	for (size_t i = 0; i < 2; i++) {
		upload.checksum = nothing_said[i];
		for (int writers = WRITERS_NONE; writers <= WRITERS_UNKNOWN; writers++)
			expect(&by[COMPLETION_CHECKSUM], upload, (enum writers)writers, SETTLE_CONVENTION,
			       untouched);
	}
}

Test(settle, checksum_is_compared_when_nobody_writes)
{
	struct upload upload = seen_changing(0);
	upload.checksum = CHECKSUM_UNCHECKED;
	expect(&by[COMPLETION_CHECKSUM], upload, WRITERS_NONE, SETTLE_CHECK, untouched);
	expect(&by[COMPLETION_CHECKSUM], upload, WRITERS_UNKNOWN, SETTLE_CHECK, untouched);
	for (int said = CHECKSUM_UNCHECKED; said <= CHECKSUM_DIFFERS; said++) {
		upload.checksum = (enum checksum)said;
		expect(&by[COMPLETION_CHECKSUM], upload, WRITERS_SOME, SETTLE_WRITER,
		       steady_ms + SETTLE_WRITER_POLL_MS);
	}
}

Test(settle, checksum_takes_what_matches_at_once)
{
	struct upload upload = seen_changing(0);
	upload.checksum = CHECKSUM_MATCHES;
	expect(&by[COMPLETION_CHECKSUM], upload, WRITERS_NONE, SETTLE_COMPLETE, untouched);
}

/* It may still be on its way, closed for a moment. */
Test(settle, checksum_fails_what_differs_only_when_it_is_quiet)
{
	struct upload upload = seen_changing(10);
	upload.checksum = CHECKSUM_DIFFERS;
	expect(&by[COMPLETION_CHECKSUM], upload, WRITERS_NONE, SETTLE_WAIT, steady_ms + 990);
	upload = seen_changing(1000);
	upload.checksum = CHECKSUM_DIFFERS;
	expect(&by[COMPLETION_CHECKSUM], upload, WRITERS_NONE, SETTLE_MISMATCH, untouched);
	upload = found(1000);
	upload.checksum = CHECKSUM_DIFFERS;
	expect(&by[COMPLETION_CHECKSUM], upload, WRITERS_UNKNOWN, SETTLE_MISMATCH, untouched);
}

Test(settle, auto_ignores_markers)
{
	struct upload upload = seen_changing(10);
	upload.marker_seen = true;
	expect(&by[COMPLETION_AUTO], upload, WRITERS_NONE, SETTLE_WAIT, steady_ms + 990);
}

/* No such rule: then at least the quiet time. */
Test(settle, promise_1_an_unknown_rule_does_not_take_at_once)
{
	struct settle_policy policy = {(enum completion)9, 1000};
	expect(&policy, seen_changing(10), WRITERS_NONE, SETTLE_WAIT, steady_ms + 990);
}
