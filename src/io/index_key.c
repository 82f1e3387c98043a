#include "io/index_private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static void key_number(struct key *key, uint64_t value, size_t width)
{
	assert(key->size + width <= KEY_MAX);
	for (size_t i = 0; i < width; i++)
		key->bytes[key->size + i] = (unsigned char)(value >> (8 * (width - 1 - i)));
	key->size += width;
}

void key_u8(struct key *key, uint8_t value)
{
	key_number(key, value, 1);
}

void key_u32(struct key *key, uint32_t value)
{
	key_number(key, value, 4);
}

void key_u64(struct key *key, uint64_t value)
{
	key_number(key, value, 8);
}

void key_name(struct key *key, const char *name)
{
	size_t size = strlen(name);
	assert(key->size + size <= KEY_MAX);
	memcpy(key->bytes + key->size, name, size);
	key->size += size;
}

/* LMDB takes pointers to mutable data for what it only reads. */
MDB_val ix_val(const void *data, size_t size)
{
	return (MDB_val){.mv_size = size, .mv_data = (void *)(uintptr_t)data};
}

MDB_val key_val(const struct key *key)
{
	return ix_val(key->bytes, key->size);
}

uint64_t be_get(const void *bytes, size_t width)
{
	const unsigned char *p = bytes;
	uint64_t value = 0;
	for (size_t i = 0; i < width; i++)
		value = value << 8 | p[i];
	return value;
}

static void entry_value_u64(struct entry *entry, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++)
		entry->value[entry->value_size++] = (unsigned char)(value >> (8 * (7 - i)));
}

static enum table table_of_state(const struct job *job)
{
	if (job_state_is_final(job->state))
		return TABLE_FINAL;
	if (job_state_is_active(job->state))
		return TABLE_ACTIVE;
	if (job->state == JOB_HELD)
		return TABLE_HELD;
	return job->yields ? TABLE_DELAYED : TABLE_LINE;
}

static void state_entry(const struct job *job, struct entry *out)
{
	*out = (struct entry){.table = table_of_state(job)};
	key_u32(&out->key, job->user);
	if (out->table == TABLE_LINE) {
		key_u64(&out->key, job->seq);
		entry_value_u64(out, job->id);
		return;
	}
	if (out->table == TABLE_DELAYED)
		key_u64(&out->key, job->not_before_ms);
	if (out->table == TABLE_FINAL) {
		key_u8(&out->key, (uint8_t)job->state);
		key_u64(&out->key, job->finished_ms);
	}
	key_u64(&out->key, job->id);
}

/* Live jobs sort behind final ones and newer behind older: the last entry of
 * a path is the one to be found. */
static void path_entry(const struct job *job, struct entry *out)
{
	*out = (struct entry){.table = TABLE_PATHS};
	key_u32(&out->key, job->user);
	key_u64(&out->key, record_path_hash(job->path));
	out->value[out->value_size++] = !job_state_is_final(job->state);
	entry_value_u64(out, job->id);
}

void ix_path_value(bool live, uint64_t id, unsigned char out[ENTRY_VALUE_MAX])
{
	struct entry entry = {0};
	entry.value[entry.value_size++] = live;
	entry_value_u64(&entry, id);
	memcpy(out, entry.value, ENTRY_VALUE_MAX);
}

size_t ix_entries(const struct job *job, struct entry out[ENTRIES_MAX])
{
	state_entry(job, &out[0]);
	path_entry(job, &out[1]);
	return ENTRIES_MAX;
}

bool ix_entry_is_of(const struct job *job, enum table table, const MDB_val *key)
{
	struct entry own;
	state_entry(job, &own);
	return own.table == table && own.key.size == key->mv_size &&
	       memcmp(own.key.bytes, key->mv_data, key->mv_size) == 0;
}

bool ix_entry_same(const struct entry *a, const struct entry *b)
{
	return a->table == b->table && a->key.size == b->key.size &&
	       a->value_size == b->value_size &&
	       memcmp(a->key.bytes, b->key.bytes, a->key.size) == 0 &&
	       memcmp(a->value, b->value, a->value_size) == 0;
}

/* Bytes of key and value, and where the id is. */
static const struct {
	size_t key, value;
	bool id_in_value;
} shapes[TABLES] = {
	[TABLE_LINE] = {12, 8, true},
	[TABLE_DELAYED] = {20, 0, false},
	[TABLE_HELD] = {12, 0, false},
	[TABLE_ACTIVE] = {12, 0, false},
	[TABLE_FINAL] = {21, 0, false},
	[TABLE_PATHS] = {12, 9, true},
};

int ix_entry_id(enum table table, const MDB_val *key, const MDB_val *value, uint64_t *ret)
{
	assert(shapes[table].key > 0);
	if (key->mv_size != shapes[table].key || value->mv_size != shapes[table].value)
		return -EBADMSG;
	const MDB_val *v = shapes[table].id_in_value ? value : key;
	*ret = be_get((const unsigned char *)v->mv_data + v->mv_size - 8, 8);
	return 0;
}
