#include "io/index_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { USER_PREFIX = 4, FINAL_PREFIX = 5, JOB_PREFIX = 8 };

/* What another table points to must be there. */
static int must_exist(int r)
{
	return r == -ENOENT ? -EBADMSG : r;
}

static int look_job(struct index *ix, MDB_txn *txn, const struct question *q, struct answer *ret)
{
	return ix_get_job(ix, txn, be_get(q->key.bytes, 8), &ret->job);
}

static int look_next_job(struct index *ix, MDB_txn *txn, const struct question *q,
                         struct answer *ret)
{
	MDB_val key, value;
	uint64_t id;
	int r = ix_seek(ix, txn, q, &key, &value);
	if (r == 0)
		r = ix_entry_id(q->table, &key, &value, &id);
	if (r == 0)
		r = must_exist(ix_get_job(ix, txn, id, &ret->job));
	return r == 0 && !ix_entry_is_of(&ret->job, q->table, &key) ? -EBADMSG : r;
}

/* The last entry of a path, or the last one before that of q->before_id. */
static int last_of_path(MDB_cursor *cursor, const struct question *q, MDB_val *value)
{
	unsigned char bytes[ENTRY_VALUE_MAX];
	MDB_val key = key_val(&q->key), at = ix_val(bytes, sizeof bytes);
	int rc = mdb_cursor_get(cursor, &key, value, MDB_SET_KEY);
	if (rc != 0)
		return rc;
	if (q->before_id != 0) {
		ix_path_value(q->before_live, q->before_id, bytes);
		if (mdb_cursor_get(cursor, &key, &at, MDB_GET_BOTH_RANGE) == 0)
			return mdb_cursor_get(cursor, &key, value, MDB_PREV_DUP);
		rc = mdb_cursor_get(cursor, &key, value, MDB_SET_KEY);
	}
	return rc == 0 ? mdb_cursor_get(cursor, &key, value, MDB_LAST_DUP) : rc;
}

static int walk_paths(struct index *ix, MDB_cursor *cursor, const struct question *q,
                      struct job *ret)
{
	MDB_val key, value;
	int rc = last_of_path(cursor, q, &value);
	for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_PREV_DUP)) {
		uint64_t id;
		MDB_val wanted = key_val(&q->key);
		int r = ix_entry_id(TABLE_PATHS, &wanted, &value, &id);
		if (r == 0)
			r = must_exist(ix_get_job(ix, mdb_cursor_txn(cursor), id, ret));
		if (r < 0)
			return r;
		if (strcmp(ret->path, q->text) == 0)
			return 0;
		job_clear(ret);
	}
	return ix_error(ix, rc);
}

static int look_path(struct index *ix, MDB_txn *txn, const struct question *q, struct answer *ret)
{
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, ix->table[TABLE_PATHS], &cursor);
	if (rc != 0)
		return ix_error(ix, rc);
	int r = walk_paths(ix, cursor, q, &ret->job);
	mdb_cursor_close(cursor);
	return r;
}

static int look_row(struct index *ix, MDB_txn *txn, const struct question *q, struct answer *ret)
{
	return ix_get_row(ix, txn, q->text, &ret->row);
}

static int look_name(struct index *ix, MDB_txn *txn, const struct question *q, struct answer *ret)
{
	return ix_get_name(ix, txn, (uint32_t)be_get(q->key.bytes, 4), &ret->name);
}

/* The next name in the table of users, or of those who wait. */
static int look_next_user(struct index *ix, MDB_txn *txn, const struct question *q,
                          struct answer *ret)
{
	MDB_val key, value;
	int r = ix_seek(ix, txn, q, &key, &value);
	if (r < 0)
		return r;
	if (key.mv_size > NAME_USER_MAX || memchr(key.mv_data, '\0', key.mv_size) != NULL)
		return -EBADMSG;
	ret->name = strndup(key.mv_data, key.mv_size);
	if (ret->name == NULL)
		return -ENOMEM;
	return must_exist(ix_get_row(ix, txn, ret->name, &ret->row));
}

static int look_next_attempt(struct index *ix, MDB_txn *txn, const struct question *q,
                             struct answer *ret)
{
	MDB_val key, value;
	int r = ix_seek(ix, txn, q, &key, &value);
	if (r < 0)
		return r;
	if (key.mv_size != q->key.size)
		return -EBADMSG;
	r = record_get_attempt(value.mv_data, value.mv_size, &ret->attempt);
	if (r == 0 && ret->attempt.number != be_get((const char *)key.mv_data + JOB_PREFIX, 4))
		r = -EBADMSG;
	return r;
}

static int look_next_id(struct index *ix, MDB_txn *txn, const struct question *q,
                        struct answer *ret)
{
	(void)q;
	return must_exist(ix_get_number(ix, txn, "next_id", &ret->number));
}

int index_next_id(struct index *ix, uint64_t *ret_id)
{
	const struct question q = {.table = TABLE_META};
	struct answer answer;
	int r = ix_ask(ix, look_next_id, &q, &answer);
	if (r == 0)
		*ret_id = answer.number;
	return r;
}

static int ask_job(struct index *ix, ix_look *look, const struct question *q, struct job *ret)
{
	struct answer answer;
	int r = ix_ask(ix, look, q, &answer);
	if (r == 0)
		*ret = answer.job;
	return r;
}

int index_get_job(struct index *ix, uint64_t id, struct job *ret)
{
	struct question q = {.table = TABLE_JOBS};
	key_u64(&q.key, id);
	return ask_job(ix, look_job, &q, ret);
}

int index_find_path(struct index *ix, uint32_t user, const char *path, struct job *ret)
{
	struct question q = {.table = TABLE_PATHS, .text = path};
	key_u32(&q.key, user);
	key_u64(&q.key, record_path_hash(path));
	return ask_job(ix, look_path, &q, ret);
}

int index_prev_ended(struct index *ix, uint32_t user, const char *path, uint64_t before_id,
                     struct job *ret)
{
	struct question q = {.table = TABLE_PATHS, .text = path, .before_id = before_id};
	key_u32(&q.key, user);
	key_u64(&q.key, record_path_hash(path));
	return ask_job(ix, look_path, &q, ret);
}

int index_prev_live(struct index *ix, uint32_t user, const char *path, uint64_t before_id,
                    struct job *ret)
{
	struct question q = {
		.table = TABLE_PATHS, .text = path, .before_id = before_id, .before_live = true};
	key_u32(&q.key, user);
	key_u64(&q.key, record_path_hash(path));
	int r = ask_job(ix, look_path, &q, ret);
	if (r < 0 || !job_state_is_final(ret->state))
		return r;
	job_clear(ret);
	return -ENOENT;
}

int index_next_in_line(struct index *ix, uint32_t user, uint64_t after_seq, struct job *ret)
{
	struct question q = {.table = TABLE_LINE, .prefix = USER_PREFIX};
	key_u32(&q.key, user);
	key_u64(&q.key, after_seq);
	return ask_job(ix, look_next_job, &q, ret);
}

int index_next_delayed(struct index *ix, uint32_t user, uint64_t after_ms, uint64_t after_id,
                       struct job *ret)
{
	struct question q = {.table = TABLE_DELAYED, .prefix = USER_PREFIX};
	key_u32(&q.key, user);
	key_u64(&q.key, after_ms);
	key_u64(&q.key, after_id);
	return ask_job(ix, look_next_job, &q, ret);
}

int index_next_held(struct index *ix, uint32_t user, uint64_t after_id, struct job *ret)
{
	struct question q = {.table = TABLE_HELD, .prefix = USER_PREFIX};
	key_u32(&q.key, user);
	key_u64(&q.key, after_id);
	return ask_job(ix, look_next_job, &q, ret);
}

int index_next_active(struct index *ix, uint32_t user, uint32_t after_user, uint64_t after_id,
                      struct job *ret)
{
	struct question q = {.table = TABLE_ACTIVE, .prefix = user > 0 ? USER_PREFIX : 0};
	key_u32(&q.key, user > 0 ? user : after_user);
	key_u64(&q.key, after_id);
	return ask_job(ix, look_next_job, &q, ret);
}

static int step_final(struct index *ix, bool backwards, uint32_t user, enum job_state state,
                      uint64_t ms, uint64_t id, struct job *ret)
{
	struct question q = {.table = TABLE_FINAL, .prefix = FINAL_PREFIX, .backwards = backwards};
	key_u32(&q.key, user);
	key_u8(&q.key, (uint8_t)state);
	key_u64(&q.key, ms);
	key_u64(&q.key, id);
	return ask_job(ix, look_next_job, &q, ret);
}

int index_prev_final(struct index *ix, uint32_t user, enum job_state state, uint64_t before_ms,
                     uint64_t before_id, struct job *ret)
{
	return step_final(ix, true, user, state, before_ms, before_id, ret);
}

int index_next_final(struct index *ix, uint32_t user, enum job_state state, uint64_t after_ms,
                     uint64_t after_id, struct job *ret)
{
	return step_final(ix, false, user, state, after_ms, after_id, ret);
}

int index_next_attempt(struct index *ix, uint64_t job, uint32_t after, struct attempt *ret)
{
	struct question q = {.table = TABLE_ATTEMPTS, .prefix = JOB_PREFIX};
	struct answer answer;
	key_u64(&q.key, job);
	key_u32(&q.key, after);
	int r = ix_ask(ix, look_next_attempt, &q, &answer);
	if (r == 0)
		*ret = answer.attempt;
	return r;
}

int index_get_user(struct index *ix, const char *name, struct user_row *ret)
{
	struct question q = {.table = TABLE_USERS, .text = name};
	struct answer answer;
	int r = ix_ask(ix, look_row, &q, &answer);
	if (r == 0)
		*ret = answer.row;
	return r;
}

int index_user_name(struct index *ix, uint32_t user, char **ret_name)
{
	struct question q = {.table = TABLE_NAMES};
	struct answer answer;
	key_u32(&q.key, user);
	int r = ix_ask(ix, look_name, &q, &answer);
	if (r == 0)
		*ret_name = answer.name;
	return r;
}

static int next_name(struct index *ix, enum table table, const char *after, char **ret_name,
                     struct user_row *ret)
{
	struct question q = {.table = table};
	struct answer answer;
	if (after != NULL && strnlen(after, NAME_USER_MAX + 1) > NAME_USER_MAX)
		return -EINVAL;
	if (after != NULL)
		key_name(&q.key, after);
	int r = ix_ask(ix, look_next_user, &q, &answer);
	if (r < 0)
		return r;
	*ret_name = answer.name;
	*ret = answer.row;
	return 0;
}

int index_next_user(struct index *ix, const char *after, char **ret_name, struct user_row *ret)
{
	return next_name(ix, TABLE_USERS, after, ret_name, ret);
}

int index_next_user_pending(struct index *ix, const char *after, char **ret_name,
                            struct user_row *ret)
{
	return next_name(ix, TABLE_WAITING, after, ret_name, ret);
}
