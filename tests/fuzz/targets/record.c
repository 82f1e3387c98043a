/* Records of the index: what a decoder takes, the encoder gives back byte by
 * byte; what the encoder made, the decoder takes; and no bytes do harm. */
#include "core/record.h"

#include "fuzz.h"

static unsigned char out[RECORD_MAX];

static void decode_job(const uint8_t *data, size_t size)
{
	struct job job;
	int r = record_get_job(data, size, &job);
	MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
	if (r < 0)
		return;
	MUST(job.id > 0 && job.user > 0 && job.path[0] != '\0' && job.state < JOB_STATES);
	MUST(record_put_job(&job, out, sizeof out) == (ssize_t)size && memcmp(out, data, size) == 0);
	MUST(record_put_job(&job, out, size - 1) == -EMSGSIZE);
	job_clear(&job);
}

static void decode_attempt(const uint8_t *data, size_t size)
{
	struct attempt attempt;
	int r = record_get_attempt(data, size, &attempt);
	MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
	if (r < 0)
		return;
	MUST(record_put_attempt(&attempt, out, sizeof out) == (ssize_t)size);
	MUST(memcmp(out, data, size) == 0);
	attempt_clear(&attempt);
}

static void decode_user(const uint8_t *data, size_t size)
{
	struct user_row row;
	int r = record_get_user(data, size, &row);
	MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
	if (r < 0)
		return;
	ssize_t n = record_put_user(&row, out, sizeof out);
	/* What an older version wrote is written anew in today's form. */
	MUST(row.bytes_known ? n == (ssize_t)size && memcmp(out, data, size) == 0 : n > 0);
	user_row_clear(&row);
}

static void take_ident(struct input *in, struct file_ident *ret)
{
	ret->dev = take_number(in, 8);
	ret->ino = take_number(in, 8);
	ret->size = take_number(in, 8);
	ret->ctime_ns = (int64_t)take_number(in, 8);
	ret->mtime_ns = (int64_t)take_number(in, 8);
	ret->uid = (uint32_t)take_number(in, 4);
	ret->gid = (uint32_t)take_number(in, 4);
}

static void encode_job(struct input *in)
{
	struct job job = {
		.id = take_number(in, 8),
		.user = (uint32_t)take_number(in, 4),
		.state = (enum job_state)take_below(in, JOB_STATES + 1),
		.place = (enum place)take_below(in, PLACES + 1),
		.yields = take_number(in, 1) % 2 != 0,
		.seq = take_number(in, 8),
		.not_before_ms = take_number(in, 8),
		.attempt = (uint32_t)take_number(in, 4),
		.exit_code = (int32_t)take_number(in, 4),
		.records = take_number(in, 8),
		.path = take_text_or_null(in, JOB_PATH_MAX + 1),
		.final_name = take_text_or_null(in, JOB_PATH_MAX + 1),
		.error = take_text_or_null(in, 2 * JOB_TEXT_MAX),
	};
	struct job back;
	take_ident(in, &job.ident);
	job.ident.whole = take_number(in, 8);
	ssize_t n = record_put_job(&job, out, sizeof out);
	MUST(n > 0 || n == -EINVAL);
	if (n > 0) {
		MUST(record_get_job(out, (size_t)n, &back) == 0);
		MUST(back.id == job.id && back.user == job.user && back.state == job.state &&
		     back.place == job.place && back.yields == job.yields && back.seq == job.seq &&
		     back.not_before_ms == job.not_before_ms && back.attempt == job.attempt &&
		     back.exit_code == job.exit_code && back.records == job.records);
		MUST(memcmp(&back.ident, &job.ident, sizeof job.ident) == 0);
		MUST(same_text(back.path, job.path) && same_text(back.final_name, job.final_name));
		MUST((back.error == NULL) == (job.error == NULL));
		MUST(job.error == NULL || strncmp(job.error, back.error, JOB_TEXT_MAX) == 0);
		for (ssize_t cut = 0; cut < n; cut += 1 + n / 64)
			MUST(record_get_job(out, (size_t)cut, &back) == -EBADMSG);
		job_clear(&back);
	}
	job_clear(&job);
}

static void encode_user(struct input *in)
{
	struct user_row row = {
		.number = (uint32_t)take_number(in, 4),
		.held = take_number(in, 1) % 2 != 0,
		.held_reason = take_text_or_null(in, 2 * JOB_TEXT_MAX),
	};
	struct user_row back;
	for (int s = 0; s < JOB_STATES; s++)
		row.count[s] = take_number(in, 8);
	ssize_t n = record_put_user(&row, out, sizeof out);
	MUST(n > 0 || (n == -EINVAL && row.number == 0));
	if (n > 0) {
		MUST(record_get_user(out, (size_t)n, &back) == 0);
		MUST(back.number == row.number && back.held == row.held);
		MUST(memcmp(back.count, row.count, sizeof row.count) == 0);
		MUST(row.held ? (back.held_reason == NULL) == (row.held_reason == NULL)
		              : back.held_reason == NULL);
		user_row_clear(&back);
	}
	user_row_clear(&row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	decode_job(data, size);
	decode_attempt(data, size);
	decode_user(data, size);
	encode_job(&in);
	in = (struct input){data, size};
	encode_user(&in);
	return 0;
}
