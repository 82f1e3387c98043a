#include "io/index_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int ix_spoil(struct index *ix, int r)
{
	if (r < 0 && ix->spoilt == 0)
		ix->spoilt = r;
	ix->damaged = ix->damaged || r == -EBADMSG;
	return r;
}

int ix_put(struct index *ix, enum table table, const struct key *key, MDB_val value,
           unsigned flags)
{
	MDB_val k = key_val(key);
	return ix_spoil(ix, ix_error(ix, mdb_put(ix->write, ix->table[table], &k, &value, flags)));
}

/* What is to be deleted was read before: it must be there. */
int ix_delete(struct index *ix, enum table table, const struct key *key, MDB_val *value)
{
	MDB_val k = key_val(key);
	int rc = mdb_del(ix->write, ix->table[table], &k, value);
	return ix_spoil(ix, rc == MDB_NOTFOUND ? -EBADMSG : ix_error(ix, rc));
}

static int put_entry(struct index *ix, const struct entry *entry)
{
	unsigned flags = entry->table == TABLE_PATHS ? MDB_NODUPDATA : MDB_NOOVERWRITE;
	int r = ix_put(ix, entry->table, &entry->key, ix_val(entry->value, entry->value_size), flags);
	return r == -EEXIST ? ix_spoil(ix, -EBADMSG) : r;
}

static int delete_entry(struct index *ix, const struct entry *entry)
{
	MDB_val value = ix_val(entry->value, entry->value_size);
	return ix_delete(ix, entry->table, &entry->key, &value);
}

static bool among(const struct entry *entry, const struct entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (ix_entry_same(entry, &entries[i]))
			return true;
	}
	return false;
}

/* Either job may be NULL. What both have in common stays untouched. */
static int put_entries(struct index *ix, const struct job *old, const struct job *new)
{
	struct entry was[ENTRIES_MAX], is[ENTRIES_MAX];
	size_t n_was = old != NULL ? ix_entries(old, was) : 0;
	size_t n_is = new != NULL ? ix_entries(new, is) : 0;
	int r = 0;
	for (size_t i = 0; r == 0 && i < n_was; i++) {
		if (!among(&was[i], is, n_is))
			r = delete_entry(ix, &was[i]);
	}
	for (size_t i = 0; r == 0 && i < n_is; i++) {
		if (!among(&is[i], was, n_was))
			r = put_entry(ix, &is[i]);
	}
	return r;
}

/* A place in the line that another job has is the caller's mistake, and is
 * found before anything is written. */
static int check_place(struct index *ix, const struct job *job)
{
	struct entry entries[ENTRIES_MAX];
	MDB_val value;
	ix_entries(job, entries);
	if (entries[0].table != TABLE_LINE)
		return 0;
	MDB_val key = key_val(&entries[0].key);
	int rc = mdb_get(ix->write, ix->table[TABLE_LINE], &key, &value);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : ix_error(ix, rc);
	uint64_t id;
	int r = ix_entry_id(TABLE_LINE, &key, &value, &id);
	if (r < 0)
		return r;
	return id == job->id ? 0 : -EEXIST;
}

static int check_job(struct index *ix, const struct job *old, const struct job *job)
{
	char *name;
	if (job->id == UINT64_MAX || job->seq == 0 || job->seq == UINT64_MAX)
		return -EINVAL;
	if (old != NULL)
		return old->user == job->user ? check_place(ix, job) : -EINVAL;
	int r = ix_get_name(ix, ix->write, job->user, &name);
	if (r < 0)
		return r;
	free(name);
	return check_place(ix, job);
}

static int replace(struct index *ix, const struct job *old, const struct job *new, MDB_val record)
{
	struct key key = {0};
	bool counts_same = old != NULL && old->state == new->state &&
	                   ix_waiting_bytes(old) == ix_waiting_bytes(new);
	int r = put_entries(ix, old, new);
	if (r == 0 && !counts_same)
		r = ix_count(ix, new->user, old, new);
	if (r == 0 && old == NULL)
		r = ix_raise_number(ix, "next_id", new->id);
	if (r == 0 && (old == NULL || old->seq != new->seq))
		r = ix_raise_number(ix, "next_seq", new->seq);
	if (r < 0)
		return ix_spoil(ix, r);
	key_u64(&key, new->id);
	return ix_put(ix, TABLE_JOBS, &key, record, 0);
}

static bool same_record(struct index *ix, uint64_t id, MDB_val record)
{
	struct key key = {0};
	MDB_val old;
	key_u64(&key, id);
	MDB_val k = key_val(&key);
	return mdb_get(ix->write, ix->table[TABLE_JOBS], &k, &old) == 0 &&
	       old.mv_size == record.mv_size &&
	       memcmp(old.mv_data, record.mv_data, record.mv_size) == 0;
}

int index_put_job(struct index *ix, const struct job *job)
{
	struct job old = {0};
	assert(ix->write != NULL);
	ssize_t size = record_put_job(job, ix->record, sizeof ix->record);
	if (size < 0)
		return (int)size;
	MDB_val record = ix_val(ix->record, (size_t)size);
	if (same_record(ix, job->id, record))
		return 0;
	int r = ix_get_job(ix, ix->write, job->id, &old);
	if (r < 0 && r != -ENOENT)
		return ix_spoil(ix, r);
	const struct job *known = r == 0 ? &old : NULL;
	r = check_job(ix, known, job);
	if (r == 0)
		r = replace(ix, known, job, record);
	job_clear(&old);
	return r;
}

static int remove_attempts(struct index *ix, uint64_t job)
{
	struct question q = {.table = TABLE_ATTEMPTS, .prefix = 8};
	MDB_val key, value;
	int r;
	key_u64(&q.key, job);
	key_u32(&q.key, 0);
	while ((r = ix_seek(ix, ix->write, &q, &key, &value)) == 0) {
		/* Gone with the page it lies in as soon as we write: take a copy. */
		struct key found = {.size = key.mv_size};
		if (key.mv_size != q.key.size)
			return -EBADMSG;
		memcpy(found.bytes, key.mv_data, key.mv_size);
		r = ix_delete(ix, TABLE_ATTEMPTS, &found, NULL);
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

static int forget(struct index *ix, const struct job *job)
{
	struct key key = {0};
	key_u64(&key, job->id);
	int r = put_entries(ix, job, NULL);
	if (r == 0)
		r = ix_count(ix, job->user, job, NULL);
	if (r == 0)
		r = remove_attempts(ix, job->id);
	if (r == 0)
		r = ix_delete(ix, TABLE_JOBS, &key, NULL);
	return ix_spoil(ix, r);
}

int index_remove_job(struct index *ix, uint64_t id)
{
	struct job job;
	assert(ix->write != NULL);
	int r = ix_get_job(ix, ix->write, id, &job);
	if (r < 0)
		return r;
	r = job_state_is_final(job.state) ? forget(ix, &job) : -EINVAL;
	job_clear(&job);
	return r;
}

int index_put_attempt(struct index *ix, uint64_t job, const struct attempt *attempt)
{
	struct key key = {0}, owner = {0};
	MDB_val value;
	assert(ix->write != NULL);
	ssize_t size = record_put_attempt(attempt, ix->record, sizeof ix->record);
	if (size < 0)
		return (int)size;
	key_u64(&owner, job);
	MDB_val k = key_val(&owner);
	int r = ix_error(ix, mdb_get(ix->write, ix->table[TABLE_JOBS], &k, &value));
	if (r < 0)
		return r;
	key_u64(&key, job);
	key_u32(&key, attempt->number);
	return ix_put(ix, TABLE_ATTEMPTS, &key, ix_val(ix->record, (size_t)size), 0);
}
