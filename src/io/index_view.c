#include "io/index_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How often a read that a writer overtook is repeated. */
enum { VIEW_TRIES = 20 };

static int begin_once(struct index *ix)
{
	if (ix->env == NULL)
		return MDB_PANIC;
	int rc = ix->view != NULL ? mdb_txn_renew(ix->view) :
	                            mdb_txn_begin(ix->env, NULL, MDB_RDONLY, &ix->view);
	if (rc != 0 && rc != MDB_MAP_RESIZED && ix->view != NULL) {
		mdb_txn_abort(ix->view);
		ix->view = NULL;
	}
	return rc;
}

int ix_view_begin(struct index *ix, MDB_txn **ret)
{
	if (ix->write != NULL) {
		*ret = ix->write;
		return 0;
	}
	int rc = begin_once(ix);
	if (rc == MDB_READERS_FULL) {
		int dead;
		mdb_reader_check(ix->env, &dead);
		rc = begin_once(ix);
	}
	/* Another process may grow the map again while we follow. */
	for (int tries = 0; rc == MDB_MAP_RESIZED && ix->read_only && tries < VIEW_TRIES; tries++) {
		if (ix->view != NULL)
			mdb_txn_abort(ix->view);
		ix->view = NULL;
		rc = mdb_env_set_mapsize(ix->env, 0);
		if (rc == 0)
			rc = begin_once(ix);
		else
			ix_env_close(ix); /* it has no map now */
	}
	if (rc != 0)
		return ix_error(ix, rc);
	*ret = ix->view;
	return 0;
}

/* A writer that does not know of this reader overwrites a page of snapshot N
 * in transaction N + 3 at the earliest. */
static bool overtaken(struct index *ix, MDB_txn *txn)
{
	MDB_envinfo info;
	if (!ix->unlocked)
		return false;
	return mdb_env_info(ix->env, &info) != 0 || info.me_last_txnid >= mdb_txn_id(txn) + 2;
}

bool ix_view_end(struct index *ix, MDB_txn *txn)
{
	if (txn == ix->write)
		return true;
	bool whole = !overtaken(ix, txn);
	mdb_txn_reset(txn);
	return whole;
}

static void answer_clear(struct answer *answer)
{
	job_clear(&answer->job);
	attempt_clear(&answer->attempt);
	user_row_clear(&answer->row);
	free(answer->name);
}

int ix_ask(struct index *ix, ix_look *look, const struct question *q, struct answer *ret)
{
	for (int tries = 0; tries < VIEW_TRIES; tries++) {
		struct answer answer = {0};
		MDB_txn *txn = NULL;
		int r = ix_view_begin(ix, &txn);
		if (r < 0)
			return r;
		r = look(ix, txn, q, &answer);
		bool whole = ix_view_end(ix, txn);
		if (whole && r == 0) {
			*ret = answer;
			return 0;
		}
		answer_clear(&answer);
		if (whole) {
			ix->damage_seen = ix->damage_seen || r == -EBADMSG;
			ix->damaged = ix->damaged || r == -EBADMSG;
			return r;
		}
	}
	return -EBUSY;
}

static int seek_forwards(MDB_cursor *cursor, const MDB_val *wanted, MDB_val *key, MDB_val *value)
{
	if (wanted->mv_size == 0)
		return mdb_cursor_get(cursor, key, value, MDB_FIRST);
	*key = *wanted;
	int rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	if (rc == 0 && key->mv_size == wanted->mv_size &&
	    memcmp(key->mv_data, wanted->mv_data, key->mv_size) == 0)
		rc = mdb_cursor_get(cursor, key, value, MDB_NEXT);
	return rc;
}

static int seek_backwards(MDB_cursor *cursor, const MDB_val *wanted, MDB_val *key, MDB_val *value)
{
	*key = *wanted;
	int rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND)
		return mdb_cursor_get(cursor, key, value, MDB_LAST);
	return rc == 0 ? mdb_cursor_get(cursor, key, value, MDB_PREV) : rc;
}

int ix_seek(struct index *ix, MDB_txn *txn, const struct question *q, MDB_val *ret_key,
            MDB_val *ret_value)
{
	MDB_cursor *cursor;
	MDB_val wanted = key_val(&q->key), key, value;
	int rc = mdb_cursor_open(txn, ix->table[q->table], &cursor);
	if (rc != 0)
		return ix_error(ix, rc);
	rc = q->backwards ? seek_backwards(cursor, &wanted, &key, &value) :
	                    seek_forwards(cursor, &wanted, &key, &value);
	mdb_cursor_close(cursor);
	if (rc != 0)
		return ix_error(ix, rc);
	if (key.mv_size < q->prefix || memcmp(key.mv_data, q->key.bytes, q->prefix) != 0)
		return -ENOENT;
	*ret_key = key;
	*ret_value = value;
	return 0;
}

static int get(struct index *ix, MDB_txn *txn, enum table table, const struct key *key,
               MDB_val *ret)
{
	MDB_val k = key_val(key);
	return ix_error(ix, mdb_get(txn, ix->table[table], &k, ret));
}

int ix_get_job(struct index *ix, MDB_txn *txn, uint64_t id, struct job *ret)
{
	struct key key = {0};
	struct job job;
	MDB_val value;
	key_u64(&key, id);
	int r = get(ix, txn, TABLE_JOBS, &key, &value);
	if (r == 0)
		r = record_get_job(value.mv_data, value.mv_size, &job);
	if (r != 0)
		return r;
	if (job.id != id) {
		job_clear(&job);
		return -EBADMSG;
	}
	*ret = job;
	return 0;
}

int ix_get_row(struct index *ix, MDB_txn *txn, const char *name, struct user_row *ret)
{
	struct key key = {0};
	MDB_val value;
	size_t size = strnlen(name, NAME_USER_MAX + 1);
	if (size == 0 || size > NAME_USER_MAX)
		return -ENOENT;
	key_name(&key, name);
	int r = get(ix, txn, TABLE_USERS, &key, &value);
	return r < 0 ? r : record_get_user(value.mv_data, value.mv_size, ret);
}

int ix_get_name(struct index *ix, MDB_txn *txn, uint32_t user, char **ret)
{
	struct key key = {0};
	MDB_val value;
	key_u32(&key, user);
	int r = get(ix, txn, TABLE_NAMES, &key, &value);
	if (r < 0)
		return r;
	if (value.mv_size == 0 || value.mv_size > NAME_USER_MAX ||
	    memchr(value.mv_data, '\0', value.mv_size) != NULL)
		return -EBADMSG;
	char *name = strndup(value.mv_data, value.mv_size);
	if (name == NULL)
		return -ENOMEM;
	*ret = name;
	return 0;
}

int ix_get_number(struct index *ix, MDB_txn *txn, const char *name, uint64_t *ret)
{
	struct key key = {0};
	MDB_val value;
	key_name(&key, name);
	int r = get(ix, txn, TABLE_META, &key, &value);
	if (r < 0)
		return r;
	if (value.mv_size != 8)
		return -EBADMSG;
	*ret = be_get(value.mv_data, 8);
	return 0;
}
