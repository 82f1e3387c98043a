#include "io/index_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { USER_RECORD_MAX = JOB_TEXT_MAX + 256 };

int ix_put_number(struct index *ix, const char *name, uint64_t value)
{
	struct key key = {0}, number = {0};
	key_name(&key, name);
	key_u64(&number, value);
	return ix_put(ix, TABLE_META, &key, key_val(&number), 0);
}

static int take_number(struct index *ix, const char *name, uint64_t last, uint64_t *ret)
{
	uint64_t next;
	assert(ix->write != NULL);
	int r = ix_get_number(ix, ix->write, name, &next);
	if (r == -ENOENT || (r == 0 && next == 0))
		r = -EBADMSG;
	if (r == 0 && next >= last)
		r = -EOVERFLOW;
	if (r == 0)
		r = ix_put_number(ix, name, next + 1);
	if (r < 0)
		return r;
	*ret = next;
	return 0;
}

int ix_raise_number(struct index *ix, const char *name, uint64_t used)
{
	uint64_t next;
	int r = ix_get_number(ix, ix->write, name, &next);
	if (r < 0)
		return r == -ENOENT ? -EBADMSG : r;
	return next > used ? 0 : ix_put_number(ix, name, used + 1);
}

int index_new_id(struct index *ix, uint64_t *ret_id)
{
	return take_number(ix, "next_id", UINT64_MAX, ret_id);
}

int index_reserve_ids(struct index *ix, uint64_t last)
{
	assert(ix->write != NULL);
	return ix_raise_number(ix, "next_id", last);
}

int index_new_seq(struct index *ix, uint64_t *ret_seq)
{
	return take_number(ix, "next_seq", UINT64_MAX, ret_seq);
}

static int put_row(struct index *ix, const char *name, const struct user_row *row)
{
	/* Not ix->record: that of the job being put is in it. */
	unsigned char record[USER_RECORD_MAX];
	struct key key = {0};
	key_name(&key, name);
	ssize_t size = record_put_user(row, record, sizeof record);
	if (size < 0)
		return (int)size;
	return ix_put(ix, TABLE_USERS, &key, ix_val(record, (size_t)size), 0);
}

static int new_user(struct index *ix, const char *name, struct user_row *ret)
{
	struct key key = {0};
	struct user_row row = {.bytes_known = true};
	uint64_t number = 0;
	int r = take_number(ix, "next_user", UINT32_MAX, &number);
	if (r < 0)
		return r;
	row.number = (uint32_t)number;
	key_u32(&key, row.number);
	r = ix_put(ix, TABLE_NAMES, &key, ix_val(name, strlen(name)), MDB_NOOVERWRITE);
	if (r == 0)
		r = put_row(ix, name, &row);
	if (r < 0)
		return ix_spoil(ix, r == -EEXIST ? -EBADMSG : r);
	*ret = row;
	return 0;
}

enum waiting { WAITING_IN_LINE, WAITING_DELAYED, WAITING_HELD, WAITINGS };

static int next_waiting(struct index *ix, uint32_t user, enum waiting where,
                        const struct job *after, struct job *ret)
{
	switch (where) {
	case WAITING_IN_LINE: return index_next_in_line(ix, user, after->seq, ret);
	case WAITING_DELAYED:
		return index_next_delayed(ix, user, after->not_before_ms, after->id, ret);
	default: return index_next_held(ix, user, after->id, ret);
	}
}

/* Adds up what waits of a user whose record an older version wrote. */
static int count_bytes(struct index *ix, struct user_row *row)
{
	uint64_t total = 0;
	for (int where = 0; where < WAITINGS; where++) {
		struct job job, after = {0};
		int r;
		while ((r = next_waiting(ix, row->number, (enum waiting)where, &after, &job)) == 0) {
			after = (struct job){.id = job.id, .seq = job.seq, .not_before_ms = job.not_before_ms};
			total += ix_waiting_bytes(&job);
			job_clear(&job);
		}
		if (r != -ENOENT)
			return r;
	}
	row->waiting_bytes = total;
	row->bytes_known = true;
	return 0;
}

static int upgrade_row(struct index *ix, const char *name, struct user_row *row)
{
	int r = row->bytes_known ? 0 : count_bytes(ix, row);
	return r < 0 ? r : put_row(ix, name, row);
}

int index_add_user(struct index *ix, const char *name, struct user_row *ret)
{
	assert(ix->write != NULL);
	size_t size = strnlen(name, NAME_USER_MAX + 1);
	if (size == 0 || size > NAME_USER_MAX)
		return -EINVAL;
	int r = ix_get_row(ix, ix->write, name, ret);
	if (r == 0 && !ret->bytes_known) {
		r = upgrade_row(ix, name, ret);
		if (r < 0)
			user_row_clear(ret);
		return ix_spoil(ix, r);
	}
	return r == -ENOENT ? new_user(ix, name, ret) : r;
}

int index_put_user_held(struct index *ix, const char *name, bool held, const char *reason)
{
	struct user_row row;
	assert(ix->write != NULL);
	int r = ix_get_row(ix, ix->write, name, &row);
	if (r < 0)
		return r;
	row.held = held;
	r = job_set_text(&row.held_reason, held ? reason : NULL);
	if (r == 0)
		r = put_row(ix, name, &row);
	user_row_clear(&row);
	return r;
}

/* A user is in the table of those who wait while it has pending jobs. */
static int put_waiting(struct index *ix, const char *name, uint64_t before, uint64_t after)
{
	struct key key = {0};
	key_name(&key, name);
	if (before == 0 && after > 0)
		return ix_put(ix, TABLE_WAITING, &key, ix_val("", 0), 0);
	if (before > 0 && after == 0)
		return ix_delete(ix, TABLE_WAITING, &key, NULL);
	return 0;
}

uint64_t ix_waiting_bytes(const struct job *job)
{
	bool waits = job != NULL && (job->state == JOB_PENDING || job->state == JOB_HELD);
	return waits ? job->ident.size : 0;
}

static int change_row(struct index *ix, const char *name, struct user_row *row,
                      const struct job *old, const struct job *new)
{
	uint64_t before = row->count[JOB_PENDING];
	if (old != NULL && row->count[old->state] == 0)
		return -EBADMSG;
	if (old != NULL)
		row->count[old->state]--;
	if (new != NULL)
		row->count[new->state]++;
	if (row->bytes_known)
		row->waiting_bytes += ix_waiting_bytes(new) - ix_waiting_bytes(old);
	int r = put_row(ix, name, row);
	return r < 0 ? r : put_waiting(ix, name, before, row->count[JOB_PENDING]);
}

int ix_count(struct index *ix, uint32_t user, const struct job *old, const struct job *new)
{
	char *name;
	struct user_row row = {0};
	int r = ix_get_name(ix, ix->write, user, &name);
	if (r < 0)
		return r;
	r = ix_get_row(ix, ix->write, name, &row);
	if (r == -ENOENT || (r == 0 && row.number != user))
		r = -EBADMSG;
	if (r == 0)
		r = change_row(ix, name, &row, old, new);
	user_row_clear(&row);
	free(name);
	return r;
}
