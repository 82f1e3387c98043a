#include "core/record.h"

#include "base/bytes.h"
#include "core/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* First byte of each record. */
enum { KIND_JOB = 'J', KIND_ATTEMPT = 'A', KIND_USER = 'U' };

/* Raise a record's own number when its layout changes; keep reading the older. */
enum { JOB_VERSION = 4, ATTEMPT_VERSION = 1, USER_VERSION = 2 };
/* A job without a voucher, one that is a plain file, and one that is not claimed out of
 * incoming for a second time is written so that older versions can read it. */
enum { JOB_VERSION_PLAIN = 1, JOB_VERSION_FILE = 2, JOB_VERSION_WHOLE = 3 };

/* Length of a string that is NULL, which is not the empty one. */
enum { TEXT_NULL = 0xffff };

_Static_assert(JOB_STATES == 7, "a state more or less is a new version of the user record");
_Static_assert(RECORD_MAX > 2 * JOB_PATH_MAX + 2 * JOB_TEXT_MAX + 512, "the largest record fits");

void user_row_clear(struct user_row *row)
{
	free(row->held_reason);
	*row = (struct user_row){0};
}

static void put_u8(struct bytes_out *out, uint8_t value)
{
	bytes_put_number(out, value, 1);
}

static void put_u32(struct bytes_out *out, uint32_t value)
{
	bytes_put_number(out, value, 4);
}

static void put_u64(struct bytes_out *out, uint64_t value)
{
	bytes_put_number(out, value, 8);
}

static void put_text(struct bytes_out *out, const char *text, size_t max)
{
	if (text == NULL) {
		bytes_put_number(out, TEXT_NULL, 2);
		return;
	}
	size_t size = strnlen(text, max);
	bytes_put_number(out, size, 2);
	bytes_put(out, text, size);
}

static uint8_t get_u8(struct bytes_in *in)
{
	return (uint8_t)bytes_get_number(in, 1);
}

static uint32_t get_u32(struct bytes_in *in)
{
	return (uint32_t)bytes_get_number(in, 4);
}

static uint64_t get_u64(struct bytes_in *in)
{
	return bytes_get_number(in, 8);
}

/* An enumeration or a boolean: anything from `limit` on is damage. */
static unsigned get_below(struct bytes_in *in, unsigned limit)
{
	unsigned value = get_u8(in);
	if (value < limit)
		return value;
	bytes_fail(in, -EBADMSG);
	return 0;
}

static char *get_text(struct bytes_in *in, size_t max)
{
	size_t size = bytes_get_number(in, 2);
	if (in->error < 0 || size == TEXT_NULL)
		return NULL;
	if (size > max) {
		bytes_fail(in, -EBADMSG);
		return NULL;
	}
	return bytes_get_text(in, size);
}

static void put_head(struct bytes_out *out, uint8_t kind, uint8_t version)
{
	put_u8(out, kind);
	put_u8(out, version);
}

static int get_head(struct bytes_in *in, uint8_t kind, uint8_t version, uint8_t *ret_version)
{
	uint8_t found_kind = get_u8(in), found_version = get_u8(in);
	if (in->error < 0 || found_kind != kind || found_version == 0)
		return -EBADMSG;
	if (found_version > version)
		return -EPROTONOSUPPORT;
	*ret_version = found_version;
	return 0;
}

static int get_end(const struct bytes_in *in)
{
	if (in->error < 0)
		return in->error;
	return in->left > 0 ? -EBADMSG : 0;
}

static ssize_t put_end(const struct bytes_out *out)
{
	return out->full ? -EMSGSIZE : (ssize_t)out->used;
}

static bool path_fits(const char *path)
{
	size_t size = strnlen(path, JOB_PATH_MAX + 1);
	return size > 0 && size <= JOB_PATH_MAX;
}

static bool suffix_fits(const char *suffix)
{
	size_t size = strnlen(suffix, NAME_FILE_MAX + 1);
	return size > 0 && size <= NAME_FILE_MAX;
}

static bool job_fits(const struct job *job)
{
	return job->id > 0 && job->user > 0 && job->state < JOB_STATES && job->place < PLACES &&
	       job->path != NULL && path_fits(job->path) &&
	       (job->final_name == NULL || path_fits(job->final_name)) &&
	       (job->voucher_suffix == NULL || suffix_fits(job->voucher_suffix));
}

static uint8_t job_version(const struct job *job)
{
	if ((job->state == JOB_QUEUED || job_state_is_final(job->state)) && job->retaken)
		return JOB_VERSION;
	if (job->ident.whole != 0)
		return JOB_VERSION_WHOLE;
	return job->voucher.ino != 0 ? JOB_VERSION_FILE : JOB_VERSION_PLAIN;
}

static void put_ident(struct bytes_out *out, const struct file_ident *ident)
{
	put_u64(out, ident->dev);
	put_u64(out, ident->ino);
	put_u64(out, ident->size);
	put_u64(out, (uint64_t)ident->ctime_ns);
	put_u64(out, (uint64_t)ident->mtime_ns);
	put_u32(out, ident->uid);
	put_u32(out, ident->gid);
}

static void get_ident(struct bytes_in *in, struct file_ident *ret)
{
	ret->dev = get_u64(in);
	ret->ino = get_u64(in);
	ret->size = get_u64(in);
	ret->ctime_ns = (int64_t)get_u64(in);
	ret->mtime_ns = (int64_t)get_u64(in);
	ret->uid = get_u32(in);
	ret->gid = get_u32(in);
}

ssize_t record_put_job(const struct job *job, void *out, size_t size)
{
	struct bytes_out o = {.at = out, .left = size};
	if (!job_fits(job))
		return -EINVAL;
	uint8_t version = job_version(job);
	put_head(&o, KIND_JOB, version);
	put_u64(&o, job->id);
	put_u32(&o, job->user);
	put_u8(&o, (uint8_t)job->state);
	put_u8(&o, (uint8_t)job->place);
	put_u8(&o, job->yields);
	put_u64(&o, job->seq);
	put_ident(&o, &job->ident);
	put_u64(&o, job->arrived_ms);
	put_u64(&o, job->accepted_ms);
	put_u64(&o, job->claimed_ms);
	put_u64(&o, job->started_ms);
	put_u64(&o, job->finished_ms);
	put_u64(&o, job->not_before_ms);
	put_u64(&o, job->spent_ms);
	put_u32(&o, job->attempt);
	put_u32(&o, job->failures);
	put_u32(&o, job->interruptions);
	put_u32(&o, (uint32_t)job->exit_code);
	put_u64(&o, job->records);
	put_text(&o, job->path, JOB_PATH_MAX);
	put_text(&o, job->final_name, JOB_PATH_MAX);
	put_text(&o, job->error, JOB_TEXT_MAX);
	if (version > JOB_VERSION_PLAIN) {
		put_ident(&o, &job->voucher);
		put_text(&o, job->voucher_suffix, NAME_FILE_MAX);
	}
	if (version > JOB_VERSION_FILE)
		put_u64(&o, job->ident.whole);
	return put_end(&o);
}

static void get_job_fields(struct bytes_in *in, int version, struct job *ret)
{
	ret->id = get_u64(in);
	ret->user = get_u32(in);
	ret->state = (enum job_state)get_below(in, JOB_STATES);
	ret->place = (enum place)get_below(in, PLACES);
	ret->yields = get_below(in, 2) != 0;
	ret->seq = get_u64(in);
	get_ident(in, &ret->ident);
	ret->arrived_ms = get_u64(in);
	ret->accepted_ms = get_u64(in);
	ret->claimed_ms = get_u64(in);
	ret->started_ms = get_u64(in);
	ret->finished_ms = get_u64(in);
	ret->not_before_ms = get_u64(in);
	ret->spent_ms = get_u64(in);
	ret->attempt = get_u32(in);
	ret->failures = get_u32(in);
	ret->interruptions = get_u32(in);
	ret->exit_code = (int32_t)get_u32(in);
	ret->records = get_u64(in);
	ret->path = get_text(in, JOB_PATH_MAX);
	ret->final_name = get_text(in, JOB_PATH_MAX);
	ret->error = get_text(in, JOB_TEXT_MAX);
	if (version == JOB_VERSION_PLAIN)
		return;
	get_ident(in, &ret->voucher);
	ret->voucher_suffix = get_text(in, NAME_FILE_MAX);
	if (version == JOB_VERSION_FILE)
		return;
	ret->ident.whole = get_u64(in);
	ret->retaken = version > JOB_VERSION_WHOLE;
}

int record_get_job(const void *data, size_t size, struct job *ret)
{
	struct bytes_in in = {.at = data, .left = size};
	struct job job = {0};
	uint8_t version;
	int r = get_head(&in, KIND_JOB, JOB_VERSION, &version);
	if (r < 0)
		return r;
	get_job_fields(&in, version, &job);
	r = get_end(&in);
	if (r == 0 && (!job_fits(&job) || version != job_version(&job)))
		r = -EBADMSG;
	if (r < 0) {
		job_clear(&job);
		return r;
	}
	*ret = job;
	return 0;
}

ssize_t record_put_attempt(const struct attempt *attempt, void *out, size_t size)
{
	struct bytes_out o = {.at = out, .left = size};
	if (attempt->number == 0 || attempt->outcome >= OUTCOMES)
		return -EINVAL;
	put_head(&o, KIND_ATTEMPT, ATTEMPT_VERSION);
	put_u32(&o, attempt->number);
	put_u64(&o, attempt->claimed_ms);
	put_u64(&o, attempt->started_ms);
	put_u64(&o, attempt->finished_ms);
	put_u8(&o, (uint8_t)attempt->outcome);
	put_u32(&o, (uint32_t)attempt->exit_code);
	put_u64(&o, attempt->records);
	put_text(&o, attempt->error, JOB_TEXT_MAX);
	put_text(&o, attempt->message, JOB_TEXT_MAX);
	return put_end(&o);
}

int record_get_attempt(const void *data, size_t size, struct attempt *ret)
{
	struct bytes_in in = {.at = data, .left = size};
	struct attempt attempt = {0};
	uint8_t version;
	int r = get_head(&in, KIND_ATTEMPT, ATTEMPT_VERSION, &version);
	if (r < 0)
		return r;
	attempt.number = get_u32(&in);
	attempt.claimed_ms = get_u64(&in);
	attempt.started_ms = get_u64(&in);
	attempt.finished_ms = get_u64(&in);
	attempt.outcome = (enum outcome)get_below(&in, OUTCOMES);
	attempt.exit_code = (int32_t)get_u32(&in);
	attempt.records = get_u64(&in);
	attempt.error = get_text(&in, JOB_TEXT_MAX);
	attempt.message = get_text(&in, JOB_TEXT_MAX);
	r = get_end(&in);
	if (r == 0 && attempt.number == 0)
		r = -EBADMSG;
	if (r < 0) {
		attempt_clear(&attempt);
		return r;
	}
	*ret = attempt;
	return 0;
}

ssize_t record_put_user(const struct user_row *row, void *out, size_t size)
{
	struct bytes_out o = {.at = out, .left = size};
	if (row->number == 0)
		return -EINVAL;
	put_head(&o, KIND_USER, USER_VERSION);
	put_u32(&o, row->number);
	put_u8(&o, row->held);
	for (int s = 0; s < JOB_STATES; s++)
		put_u64(&o, row->count[s]);
	put_u8(&o, row->bytes_known);
	put_u64(&o, row->bytes_known ? row->waiting_bytes : 0);
	put_text(&o, row->held ? row->held_reason : NULL, JOB_TEXT_MAX);
	return put_end(&o);
}

int record_get_user(const void *data, size_t size, struct user_row *ret)
{
	struct bytes_in in = {.at = data, .left = size};
	struct user_row row = {0};
	uint8_t version;
	int r = get_head(&in, KIND_USER, USER_VERSION, &version);
	if (r < 0)
		return r;
	row.number = get_u32(&in);
	row.held = get_below(&in, 2) != 0;
	for (int s = 0; s < JOB_STATES; s++)
		row.count[s] = get_u64(&in);
	if (version >= 2) {
		row.bytes_known = get_below(&in, 2) != 0;
		row.waiting_bytes = get_u64(&in);
	}
	row.held_reason = get_text(&in, JOB_TEXT_MAX);
	r = get_end(&in);
	if (r == 0 && (row.number == 0 || (!row.held && row.held_reason != NULL)))
		r = -EBADMSG;
	if (r < 0) {
		user_row_clear(&row);
		return r;
	}
	*ret = row;
	return 0;
}
