/* The bytes of the index survive what is written, and survive what is damaged. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/name.h"
#include "core/record.h"

enum { ROUNDS = 400 };

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static uint64_t random_number(uint64_t *seed)
{
	uint64_t edges[] = {0, 1, UINT64_MAX, INT64_MAX, 0x8000000000000000u};
	return next_random(seed) % 4 == 0 ? edges[next_random(seed) % 5] : next_random(seed);
}

/* Any bytes but NUL, `min` to `max` of them. */
static char *random_text(uint64_t *seed, size_t min, size_t max)
{
	size_t size = min + next_random(seed) % (max - min + 1);
	char *text = malloc(size + 1);
	for (size_t i = 0; i < size; i++)
		text[i] = (char)(1 + next_random(seed) % 255);
	text[size] = '\0';
	return text;
}

static char *random_or_null(uint64_t *seed, size_t min, size_t max)
{
	return next_random(seed) % 3 == 0 ? NULL : random_text(seed, min, max);
}

static struct job random_job(uint64_t *seed, size_t path_max)
{
	struct job job = {
		.id = random_number(seed) | 1,
		.user = (uint32_t)random_number(seed) | 1,
		.state = (enum job_state)(next_random(seed) % JOB_STATES),
		.place = (enum place)(next_random(seed) % PLACES),
		.seq = random_number(seed),
		.path = random_text(seed, 1, path_max),
		.final_name = random_or_null(seed, 1, path_max),
		.ident = {random_number(seed), random_number(seed), random_number(seed),
		          (int64_t)random_number(seed), (int64_t)random_number(seed),
		          (uint32_t)random_number(seed), (uint32_t)random_number(seed), 0},
		.arrived_ms = random_number(seed),
		.accepted_ms = random_number(seed),
		.claimed_ms = random_number(seed),
		.started_ms = random_number(seed),
		.finished_ms = random_number(seed),
		.not_before_ms = random_number(seed),
		.yields = next_random(seed) % 2 == 0,
		.spent_ms = random_number(seed),
		.attempt = (uint32_t)random_number(seed),
		.failures = (uint32_t)random_number(seed),
		.interruptions = (uint32_t)random_number(seed),
		.exit_code = (int32_t)random_number(seed),
		.records = random_number(seed),
		.error = random_or_null(seed, 0, JOB_TEXT_MAX),
	};
	if (next_random(seed) % 2 == 0) {
		job.voucher = (struct file_ident){.ino = random_number(seed) | 1,
		                                  .size = random_number(seed),
		                                  .ctime_ns = (int64_t)random_number(seed)};
		job.voucher_suffix = random_or_null(seed, 1, 255);
	}
	if (next_random(seed) % 3 == 0)
		job.ident.whole = random_number(seed) | 1;
	bool kept = job.state == JOB_QUEUED || job_state_is_final(job.state);
	job.retaken = kept && next_random(seed) % 2 == 0;
	return job;
}

static void same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		cr_assert(a == b);
	else
		cr_assert_str_eq(a, b);
}

static void same_job(const struct job *a, const struct job *b)
{
	cr_assert_eq(a->id, b->id);
	cr_assert_eq(a->user, b->user);
	cr_assert_eq(a->state, b->state);
	cr_assert_eq(a->place, b->place);
	cr_assert_eq(a->seq, b->seq);
	same_text(a->path, b->path);
	same_text(a->final_name, b->final_name);
	cr_assert_eq(a->ident.dev, b->ident.dev);
	cr_assert_eq(a->ident.ino, b->ident.ino);
	cr_assert_eq(a->ident.size, b->ident.size);
	cr_assert_eq(a->ident.ctime_ns, b->ident.ctime_ns);
	cr_assert_eq(a->ident.mtime_ns, b->ident.mtime_ns);
	cr_assert_eq(a->ident.uid, b->ident.uid);
	cr_assert_eq(a->ident.gid, b->ident.gid);
	cr_assert_eq(a->ident.whole, b->ident.whole);
	cr_assert_eq(a->arrived_ms, b->arrived_ms);
	cr_assert_eq(a->accepted_ms, b->accepted_ms);
	cr_assert_eq(a->claimed_ms, b->claimed_ms);
	cr_assert_eq(a->started_ms, b->started_ms);
	cr_assert_eq(a->finished_ms, b->finished_ms);
	cr_assert_eq(a->not_before_ms, b->not_before_ms);
	cr_assert_eq(a->yields, b->yields);
	cr_assert_eq(a->spent_ms, b->spent_ms);
	cr_assert_eq(a->attempt, b->attempt);
	cr_assert_eq(a->retaken, b->retaken);
	cr_assert_eq(a->failures, b->failures);
	cr_assert_eq(a->interruptions, b->interruptions);
	cr_assert_eq(a->exit_code, b->exit_code);
	cr_assert_eq(a->records, b->records);
	same_text(a->error, b->error);
	cr_assert_eq(a->voucher.ino, b->voucher.ino);
	cr_assert_eq(a->voucher.size, b->voucher.size);
	cr_assert_eq(a->voucher.ctime_ns, b->voucher.ctime_ns);
	same_text(a->voucher_suffix, b->voucher_suffix);
}

/* An index of before can be read, and one without vouchers goes back to it. */
Test(record, a_job_without_a_voucher_is_a_record_of_version_1)
{
	static unsigned char bytes[RECORD_MAX];
	char path[] = "x", suffix[] = ".sha256";
	struct job job = {.id = 1, .user = 1, .path = path}, back;
	cr_assert_gt(record_put_job(&job, bytes, sizeof bytes), 0);
	cr_assert_eq(bytes[1], 1);
	job.voucher.ino = 7;
	job.voucher_suffix = suffix;
	ssize_t n = record_put_job(&job, bytes, sizeof bytes);
	cr_assert_eq(bytes[1], 2);
	for (ssize_t cut = 2; cut < n; cut++)
		cr_assert_eq(record_get_job(bytes, (size_t)cut, &back), -EBADMSG);
	bytes[1] = 1;
	cr_assert_eq(record_get_job(bytes, (size_t)n, &back), -EBADMSG, "bytes are left over");
}

/* A directory that is one job: only such a record is of this version. */
Test(record, a_directory_is_a_record_of_version_3)
{
	static unsigned char bytes[RECORD_MAX];
	char path[] = "run";
	struct job job = {.id = 1, .user = 1, .path = path, .ident = {.whole = 9}}, back;
	ssize_t n = record_put_job(&job, bytes, sizeof bytes);
	cr_assert_gt(n, 0);
	cr_assert_eq(bytes[1], 3);
	cr_assert_eq(record_get_job(bytes, (size_t)n, &back), 0);
	cr_assert_eq(back.ident.whole, 9);
	job_clear(&back);
	for (ssize_t cut = 2; cut < n; cut++)
		cr_assert_eq(record_get_job(bytes, (size_t)cut, &back), -EBADMSG);
	memset(bytes + n - 8, 0, 8);
	cr_assert_eq(record_get_job(bytes, (size_t)n, &back), -EBADMSG, "what is none is no version 3");
	bytes[1] = 2;
	cr_assert_eq(record_get_job(bytes, (size_t)n, &back), -EBADMSG, "bytes are left over");
	bytes[1] = 5;
	cr_assert_eq(record_get_job(bytes, (size_t)n, &back), -EPROTONOSUPPORT);
}

/* Only where that matters: what waits, or has ended by a run, goes back to an older spoold. */
Test(record, a_claim_of_what_was_in_incoming_again_is_a_record_of_version_4)
{
	static unsigned char bytes[RECORD_MAX];
	char path[] = "x";
	struct job job = {.id = 1, .user = 1, .path = path, .state = JOB_QUEUED, .attempt = 2}, back;
	ssize_t plain = record_put_job(&job, bytes, sizeof bytes);
	cr_assert_eq(bytes[1], 1);
	job.retaken = true;
	ssize_t n = record_put_job(&job, bytes, sizeof bytes);
	cr_assert_gt(n, plain);
	cr_assert_eq(bytes[1], 4);
	cr_assert_eq(record_get_job(bytes, (size_t)n, &back), 0);
	cr_assert(back.retaken);
	cr_assert_eq(back.ident.whole, 0);
	job_clear(&back);
	for (ssize_t cut = 2; cut < n; cut++)
		cr_assert_eq(record_get_job(bytes, (size_t)cut, &back), -EBADMSG);
	job.state = JOB_CANCELED;
	n = record_put_job(&job, bytes, sizeof bytes);
	cr_assert_eq(record_get_job(bytes, (size_t)n, &back), 0);
	cr_assert(back.retaken, "its last move compares it");
	job_clear(&back);
	job.state = JOB_PROCESSING;
	cr_assert_eq(record_put_job(&job, bytes, sizeof bytes), plain);
	cr_assert_eq(bytes[1], 1);
}

Test(record, any_job_comes_back)
{
	static unsigned char bytes[RECORD_MAX];
	uint64_t seed = 0x5eed1;
	for (int i = 0; i < ROUNDS; i++) {
		struct job job = random_job(&seed, i % 20 == 0 ? JOB_PATH_MAX : 60), back;
		ssize_t n = record_put_job(&job, bytes, sizeof bytes);
		cr_assert_gt(n, 0);
		cr_assert_eq(record_get_job(bytes, (size_t)n, &back), 0);
		same_job(&job, &back);
		job_clear(&job);
		job_clear(&back);
	}
}

Test(record, the_largest_job_fits)
{
	static unsigned char bytes[RECORD_MAX];
	char path[JOB_PATH_MAX + 2], text[JOB_TEXT_MAX + 2];
	memset(path, 'p', sizeof path);
	memset(text, 't', sizeof text);
	path[JOB_PATH_MAX] = text[JOB_TEXT_MAX + 1] = '\0';
	struct job job = {.id = 1, .user = 1, .path = path, .final_name = path, .error = text}, back;
	ssize_t n = record_put_job(&job, bytes, sizeof bytes);
	cr_assert_gt(n, 2 * JOB_PATH_MAX + JOB_TEXT_MAX);
	cr_assert_eq(record_get_job(bytes, (size_t)n, &back), 0);
	cr_assert_eq(strlen(back.error), JOB_TEXT_MAX, "a text is cut, not refused");
	job_clear(&back);
	cr_assert_eq(record_put_job(&job, bytes, (size_t)n - 1), -EMSGSIZE);
	path[JOB_PATH_MAX] = 'p';
	path[JOB_PATH_MAX + 1] = '\0';
	cr_assert_eq(record_put_job(&job, bytes, sizeof bytes), -EINVAL);
}

Test(record, refuses_to_write_what_it_would_not_read)
{
	unsigned char bytes[512];
	char path[] = "a", nothing[] = "", long_suffix[NAME_FILE_MAX + 2];
	memset(long_suffix, 's', sizeof long_suffix - 1);
	long_suffix[sizeof long_suffix - 1] = '\0';
	struct job good = {.id = 1, .user = 1, .path = path};
	cr_assert_gt(record_put_job(&good, bytes, sizeof bytes), 0);
	struct job bad[] = {
		{.id = 0, .user = 1, .path = path},
		{.id = 1, .user = 0, .path = path},
		{.id = 1, .user = 1, .path = NULL},
		{.id = 1, .user = 1, .path = nothing},
		{.id = 1, .user = 1, .path = path, .final_name = nothing},
		{.id = 1, .user = 1, .path = path, .voucher_suffix = nothing},
		{.id = 1, .user = 1, .path = path, .voucher_suffix = long_suffix},
		{.id = 1, .user = 1, .path = path, .state = JOB_STATES},
		{.id = 1, .user = 1, .path = path, .place = PLACES},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		cr_assert_eq(record_put_job(&bad[i], bytes, sizeof bytes), -EINVAL, "case %zu", i);
	struct attempt attempt = {.number = 0};
	cr_assert_eq(record_put_attempt(&attempt, bytes, sizeof bytes), -EINVAL);
	attempt = (struct attempt){.number = 1, .outcome = OUTCOMES};
	cr_assert_eq(record_put_attempt(&attempt, bytes, sizeof bytes), -EINVAL);
	struct user_row row = {.number = 0};
	cr_assert_eq(record_put_user(&row, bytes, sizeof bytes), -EINVAL);
}

Test(record, attempts_and_users_come_back)
{
	unsigned char bytes[4096];
	uint64_t seed = 0x5eed2;
	for (int i = 0; i < ROUNDS; i++) {
		struct attempt a = {
			.number = (uint32_t)random_number(&seed) | 1, .claimed_ms = random_number(&seed),
			.started_ms = random_number(&seed), .finished_ms = random_number(&seed),
			.outcome = (enum outcome)(next_random(&seed) % OUTCOMES),
			.exit_code = (int32_t)random_number(&seed), .records = random_number(&seed),
			.error = random_or_null(&seed, 0, 50), .message = random_or_null(&seed, 0, 50),
		}, b;
		ssize_t n = record_put_attempt(&a, bytes, sizeof bytes);
		cr_assert_eq(record_get_attempt(bytes, (size_t)n, &b), 0);
		cr_assert(a.number == b.number && a.claimed_ms == b.claimed_ms &&
		          a.started_ms == b.started_ms && a.finished_ms == b.finished_ms &&
		          a.outcome == b.outcome && a.exit_code == b.exit_code && a.records == b.records);
		same_text(a.error, b.error);
		same_text(a.message, b.message);
		attempt_clear(&a);
		attempt_clear(&b);

		struct user_row u = {.number = (uint32_t)random_number(&seed) | 1}, v;
		u.held = next_random(&seed) % 2 == 0;
		u.held_reason = u.held ? random_or_null(&seed, 0, 50) : NULL;
		for (int s = 0; s < JOB_STATES; s++)
			u.count[s] = random_number(&seed);
		u.bytes_known = next_random(&seed) % 2 == 0;
		u.waiting_bytes = u.bytes_known ? random_number(&seed) : 0;
		n = record_put_user(&u, bytes, sizeof bytes);
		cr_assert_eq(record_get_user(bytes, (size_t)n, &v), 0);
		cr_assert(u.number == v.number && u.held == v.held);
		cr_assert_arr_eq(u.count, v.count, sizeof u.count);
		cr_assert(u.bytes_known == v.bytes_known && u.waiting_bytes == v.waiting_bytes);
		same_text(u.held_reason, v.held_reason);
		user_row_clear(&u);
		user_row_clear(&v);
	}
}

/* Decodes a copy of exactly `size` bytes, so that a sanitizer sees one too far. */
static int decode(int kind, const unsigned char *bytes, size_t size)
{
	unsigned char *copy = malloc(size > 0 ? size : 1);
	memcpy(copy, bytes, size);
	struct job job;
	struct attempt attempt;
	struct user_row row;
	int r = kind == 'J' ? record_get_job(copy, size, &job) :
	        kind == 'A' ? record_get_attempt(copy, size, &attempt) :
	                      record_get_user(copy, size, &row);
	if (r == 0 && kind == 'J')
		job_clear(&job);
	if (r == 0 && kind == 'A')
		attempt_clear(&attempt);
	if (r == 0 && kind == 'U')
		user_row_clear(&row);
	free(copy);
	return r;
}

static size_t sample(int kind, unsigned char *bytes, size_t size)
{
	char path[] = "2026/report.csv", final_name[] = "report.42.csv", text[] = "exit code 3";
	struct job job = {.id = 42, .user = 7, .state = JOB_FAILED, .path = path,
	                  .final_name = final_name, .error = text};
	struct attempt attempt = {.number = 3, .error = text, .message = path};
	struct user_row row = {.number = 7, .held = true, .held_reason = text};
	ssize_t n = kind == 'J' ? record_put_job(&job, bytes, size) :
	            kind == 'A' ? record_put_attempt(&attempt, bytes, size) :
	                          record_put_user(&row, bytes, size);
	cr_assert_gt(n, 0);
	cr_assert_eq(decode(kind, bytes, (size_t)n), 0);
	return (size_t)n;
}

Test(record, every_truncation_is_damage)
{
	for (const char *kind = "JAU"; *kind != '\0'; kind++) {
		unsigned char bytes[512];
		size_t n = sample(*kind, bytes, sizeof bytes);
		for (size_t i = 0; i < n; i++)
			cr_assert_eq(decode(*kind, bytes, i), -EBADMSG, "%c cut to %zu", *kind, i);
		bytes[n] = 0;
		cr_assert_eq(decode(*kind, bytes, n + 1), -EBADMSG, "%c with a byte too many", *kind);
	}
}

Test(record, every_changed_byte_is_read_or_refused)
{
	for (const char *kind = "JAU"; *kind != '\0'; kind++) {
		unsigned char bytes[512];
		size_t n = sample(*kind, bytes, sizeof bytes);
		for (size_t i = 0; i < n; i++) {
			unsigned char was = bytes[i];
			for (unsigned v = 0; v < 256; v++) {
				bytes[i] = (unsigned char)v;
				int r = decode(*kind, bytes, n);
				cr_assert(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT,
				          "%c: byte %zu = %u: %d", *kind, i, v, r);
				cr_assert(r != -EPROTONOSUPPORT || i == 1);
			}
			bytes[i] = was;
		}
	}
}

Test(record, random_bytes_are_never_trusted)
{
	unsigned char bytes[256];
	uint64_t seed = 0x5eed3;
	for (int i = 0; i < 20000; i++) {
		size_t size = next_random(&seed) % sizeof bytes;
		for (size_t k = 0; k < size; k++)
			bytes[k] = (unsigned char)next_random(&seed);
		int kind = "JAU"[i % 3];
		bytes[0] = (unsigned char)kind;
		bytes[1] = 1;
		int r = decode(kind, bytes, size);
		cr_assert(r == 0 || r == -EBADMSG);
	}
}

Test(record, a_newer_version_is_refused_by_name)
{
	for (const char *kind = "JAU"; *kind != '\0'; kind++) {
		unsigned char bytes[512];
		size_t n = sample(*kind, bytes, sizeof bytes);
		bytes[1] = 5;
		cr_assert_eq(decode(*kind, bytes, n), -EPROTONOSUPPORT);
		bytes[1] = 0;
		cr_assert_eq(decode(*kind, bytes, n), -EBADMSG);
	}
}

Test(record, failure_leaves_the_target_alone)
{
	unsigned char bytes[] = {'J', 1, 0};
	char path[] = "kept";
	struct job job = {.id = 9, .path = path};
	cr_assert_eq(record_get_job(bytes, sizeof bytes, &job), -EBADMSG);
	cr_assert_eq(job.id, 9);
	cr_assert_str_eq(job.path, "kept");
}

/* The layout is on disks: these bytes must be readable for ever. */
Test(record, version_1_of_a_user_is_readable)
{
	const unsigned char bytes[] = {
		'U', 1, 7, 0, 0, 0, 1,
		1, 0, 0, 0, 0, 0, 0, 0,  2, 0, 0, 0, 0, 0, 0, 0,  3, 0, 0, 0, 0, 0, 0, 0,
		4, 0, 0, 0, 0, 0, 0, 0,  5, 0, 0, 0, 0, 0, 0, 0,  6, 0, 0, 0, 0, 0, 0, 0,
		0, 1, 0, 0, 0, 0, 0, 0,
		2, 0, 'o', 'k',
	};
	struct user_row row;
	cr_assert_eq(record_get_user(bytes, sizeof bytes, &row), 0);
	cr_assert_eq(row.number, 7);
	cr_assert(row.held);
	cr_assert_str_eq(row.held_reason, "ok");
	cr_assert_eq(row.count[JOB_PENDING], 1);
	cr_assert_eq(row.count[JOB_CANCELED], 256);
	cr_assert(!row.bytes_known, "nobody counted bytes then");
	user_row_clear(&row);
}

Test(record, version_2_of_a_user_is_readable)
{
	const unsigned char bytes[] = {
		'U', 2, 7, 0, 0, 0, 0,
		1, 0, 0, 0, 0, 0, 0, 0,  2, 0, 0, 0, 0, 0, 0, 0,  3, 0, 0, 0, 0, 0, 0, 0,
		4, 0, 0, 0, 0, 0, 0, 0,  5, 0, 0, 0, 0, 0, 0, 0,  6, 0, 0, 0, 0, 0, 0, 0,
		0, 1, 0, 0, 0, 0, 0, 0,
		1, 0, 2, 0, 0, 0, 0, 0, 0,
		0xff, 0xff,
	};
	struct user_row row;
	cr_assert_eq(record_get_user(bytes, sizeof bytes, &row), 0);
	cr_assert_eq(row.number, 7);
	cr_assert_eq(row.count[JOB_CANCELED], 256);
	cr_assert(row.bytes_known);
	cr_assert_eq(row.waiting_bytes, 512);
	cr_assert_null(row.held_reason);
	user_row_clear(&row);
}

/* The published vectors of SipHash-2-4 with the key 00 01 .. 0f would need NUL
 * bytes; the one of the empty input fits, the others are our own, fixed. */
Test(record, path_hash_is_the_same_for_ever)
{
	cr_assert_eq(record_path_hash(""), UINT64_C(0x726fdb47dd0e0e31));
	cr_assert_eq(record_path_hash("report.csv"), UINT64_C(0xd7e6b209c33a51f3));
	cr_assert_eq(record_path_hash("12345678"), UINT64_C(0x02130609caea37eb));
	cr_assert_eq(record_path_hash("2026/\xff\x01 report.csv"), UINT64_C(0x026e6517f8282d89));
}

Test(record, path_hash_is_well_mixed)
{
	int flipped = 0;
	char a[32], b[32];
	for (int i = 0; i < 1000; i++) {
		snprintf(a, sizeof a, "report-%05d.csv", i);
		snprintf(b, sizeof b, "report-%05d.csv", i + 1);
		flipped += __builtin_popcountll(record_path_hash(a) ^ record_path_hash(b));
	}
	cr_assert(flipped > 31000 && flipped < 33000, "%d of 64000 bits differ", flipped);
}
