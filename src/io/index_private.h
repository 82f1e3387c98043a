/* The inside of the index. Functions called ix_* belong to its files alone.
 *
 *   index.c         opening, closing, transactions
 *   index_dir.c     the directory: file system, writer's lock, clean mark, setting aside
 *   index_env.c     the LMDB environment: errors, tables, growth
 *   index_key.c     keys, and the tables a job belongs to
 *   index_view.c    reading in one snapshot
 *   index_read.c    the questions of index.h
 *   index_job.c     putting and removing jobs and attempts
 *   index_user.c    users and their counters, new numbers
 *   index_check.c   all tables against each other
 *   index_heads.c   the heads of the file, and
 *   index_pages.c   its pages, before LMDB trusts them
 *   index_probe.c   both in a process of their own */
#pragma once

#include "io/index.h"

#include <lmdb.h>

#include "core/name.h"

enum table {
	TABLE_META,     /* name -> number */
	TABLE_USERS,    /* name -> user record */
	TABLE_NAMES,    /* user -> name */
	TABLE_JOBS,     /* id -> job record */
	TABLE_LINE,     /* user, seq -> id */
	TABLE_DELAYED,  /* user, not_before_ms, id */
	TABLE_HELD,     /* user, id */
	TABLE_ACTIVE,   /* user, id */
	TABLE_FINAL,    /* user, state, finished_ms, id */
	TABLE_PATHS,    /* user, hash of the path -> live, id (several) */
	TABLE_ATTEMPTS, /* id, number -> attempt record */
	TABLE_WAITING,  /* name of a user with pending jobs */
	TABLES
};

enum {
	SCHEMA = 1,             /* of the tables; the records have versions of their own */
	KEY_MAX = 112,          /* bytes; the longest is a user's name */
	ENTRIES_MAX = 2,        /* tables a job is in, beside TABLE_JOBS */
	ENTRY_VALUE_MAX = 9,
	PROBLEM_MAX = 512,      /* bytes of a contradiction, in words */
};

_Static_assert((int)KEY_MAX >= (int)NAME_USER_MAX, "a user's name is a key");

#define INDEX_DATA "data.mdb"
#define INDEX_LOCK "lock.mdb"

struct index {
	MDB_env *env;
	MDB_dbi table[TABLES];
	MDB_txn *write;   /* the open write transaction, or NULL */
	MDB_txn *view;    /* a read transaction kept for reuse, or NULL */
	char *dir;
	char *data;       /* path of the file, */
	dev_t data_dev;   /* and which one is open */
	ino_t data_ino;
	int dirfd;
	int lock_fd;      /* the writer's lock, or -1 */
	bool read_only;
	bool relaxed;
	bool opened;      /* to write; not while it is being made */
	bool unlocked;    /* reads without a place in the reader table */
	bool map_full;    /* the map is to grow before the next transaction */
	bool panicked;    /* LMDB does nothing more with this environment */
	bool reopened;    /* see index_reopened() */
	bool damaged;     /* damage was seen or may be: never call it clean */
	bool damage_seen;
	int spoilt;       /* first failed write of this transaction; it must not be committed */
	unsigned char record[RECORD_MAX];
};

/* index_key.c */

struct key {
	size_t size;
	unsigned char bytes[KEY_MAX];
};

void key_u8(struct key *key, uint8_t value);
void key_u32(struct key *key, uint32_t value);
void key_u64(struct key *key, uint64_t value);
void key_name(struct key *key, const char *name); /* at most NAME_USER_MAX bytes */
MDB_val ix_val(const void *data, size_t size);
MDB_val key_val(const struct key *key);
uint64_t be_get(const void *bytes, size_t width);

/* One entry of a job in a table beside TABLE_JOBS. */
struct entry {
	enum table table;
	struct key key;
	size_t value_size;
	unsigned char value[ENTRY_VALUE_MAX];
};

/* The tables in which a job belongs: from here alone. Returns how many. */
size_t ix_entries(const struct job *job, struct entry out[ENTRIES_MAX]);
/* Is this the job's entry in the table of its state? A walk goes on from what
 * the job says: from another it might never end. */
bool ix_entry_is_of(const struct job *job, enum table table, const MDB_val *key);
bool ix_entry_same(const struct entry *a, const struct entry *b);
/* The value of a job in TABLE_PATHS: of those of its kind (live, ended) all before it
 * are older ones. */
void ix_path_value(bool live, uint64_t id, unsigned char out[ENTRY_VALUE_MAX]);
/* The job an entry of any of these tables speaks of; -EBADMSG. */
int ix_entry_id(enum table table, const MDB_val *key, const MDB_val *value, uint64_t *ret);

/* index_env.c */

/* Turns LMDB's result into a negative errno, and remembers what follows from it. */
int ix_error(struct index *ix, int rc);
const char *ix_table_name(enum table table);
unsigned ix_table_flags(enum table table);
/* Opens the environment in ix->dir and its tables; checks schema and spool id. */
int ix_env_open(struct index *ix, uint64_t spool_id);
void ix_env_close(struct index *ix);
/* Writes a new environment, complete or not at all. */
int ix_env_make(struct index *ix, uint64_t spool_id);
/* Grows the map where it may become short; no transaction is open. */
int ix_env_grow(struct index *ix);

/* index_dir.c */

bool ix_dir_is_remote(uint32_t f_type);
/* Opens ix->dirfd, refusing network file systems. */
int ix_dir_open(struct index *ix, bool create);
int ix_dir_lock(struct index *ix);
void ix_dir_unlock(struct index *ix);
/* Does a process write? True also where that cannot be told. */
bool ix_dir_has_writer(const struct index *ix);
/* Gives the lock file its blocks: LMDB writes it through a map, and a full
 * disk would end the process. */
int ix_dir_reserve(struct index *ix);
/* Is what is open still what lies at the index's path? Somebody may have moved,
 * removed or replaced it: what is written then is lost. */
bool ix_dir_is_in_place(const struct index *ix);
/* Is there hardly any room left on the disk? */
bool ix_dir_is_full(const struct index *ix);
/* May this process have a place in the reader table? */
bool ix_dir_may_register(const struct index *ix);
bool ix_dir_is_clean(const struct index *ix);
int ix_dir_mark_clean(const struct index *ix);
int ix_dir_unmark(const struct index *ix);

/* index_view.c */

struct question {
	enum table table;
	struct key key;      /* this one, or the next after (before) it */
	size_t prefix;       /* bytes of the key in which the answer agrees */
	bool backwards;
	const char *text;    /* a path or a name that is no key */
	uint64_t before_id;  /* of a path: only jobs before this one; 0 = any */
	bool before_live;
};

/* What a question may bring; all unset but the parts it asks for. */
struct answer {
	struct job job;
	struct attempt attempt;
	struct user_row row;
	char *name;
	uint64_t number;
};

typedef int ix_look(struct index *ix, MDB_txn *txn, const struct question *q, struct answer *ret);

/* Lets `look` answer in one snapshot: the open write transaction, or the last
 * commit. *ret is set on success only. */
int ix_ask(struct index *ix, ix_look *look, const struct question *q, struct answer *ret);
/* The first entry of q->table beyond q->key; -ENOENT. */
int ix_seek(struct index *ix, MDB_txn *txn, const struct question *q, MDB_val *ret_key,
            MDB_val *ret_value);
int ix_view_begin(struct index *ix, MDB_txn **ret);
/* False: a writer may have overwritten what was read (only without a place in
 * the reader table). */
bool ix_view_end(struct index *ix, MDB_txn *txn);
/* Decoded rows; -ENOENT. */
int ix_get_job(struct index *ix, MDB_txn *txn, uint64_t id, struct job *ret);
int ix_get_row(struct index *ix, MDB_txn *txn, const char *name, struct user_row *ret);
int ix_get_name(struct index *ix, MDB_txn *txn, uint32_t user, char **ret);
int ix_get_number(struct index *ix, MDB_txn *txn, const char *name, uint64_t *ret);

/* index_job.c: writes within the transaction; a failure spoils it. */

int ix_put(struct index *ix, enum table table, const struct key *key, MDB_val value,
           unsigned flags);
int ix_delete(struct index *ix, enum table table, const struct key *key, MDB_val *value);
/* Remembers that the transaction is half done; returns r. */
int ix_spoil(struct index *ix, int r);

/* index_user.c */

int ix_put_number(struct index *ix, const char *name, uint64_t value);
/* Makes the next number of that name larger than `used`. */
int ix_raise_number(struct index *ix, const char *name, uint64_t used);
/* Counts a job of a user anew, as it was and as it is; NULL = not there. */
int ix_count(struct index *ix, uint32_t user, const struct job *old, const struct job *new);
/* What a job adds to its user's waiting_bytes. */
uint64_t ix_waiting_bytes(const struct job *job);

/* index_check.c: reads everything; the first contradiction in words. */
int ix_check(struct index *ix, char problem[PROBLEM_MAX]);

/* index_heads.c, index_pages.c: the file, without LMDB. */

/* Are the two heads of the file whole, and their trees in it? */
int ix_pages_heads(int fd, char problem[PROBLEM_MAX]);
/* Follows all pages: each whole, in order, and of one use. Of a file that is
 * being written it only says whether it may be damaged. */
int ix_pages_check(const char *dir, char problem[PROBLEM_MAX]);

/* index_probe.c: opens the index in a child process, which damage may kill. */

struct ix_probe {
	const char *dir;
	uint64_t spool_id;
	bool opened;      /* to write; not while it is being made */
	bool unlocked;    /* nobody writes, or this process may not register */
	bool pages;       /* follow all pages; nobody writes */
	bool deep;        /* check the tables against each other */
};

/* 0, -EBADMSG with the reason in *ret_problem (which may be NULL), what
 * ix_env_open() returns, or -EINTR where the child was ended from outside. */
int ix_probe(const struct ix_probe *p, char **ret_problem);
