#include "io/index_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"

struct counts {
	uint64_t of[JOB_STATES];
	uint64_t bytes; /* of those that wait */
	bool bytes_known;
};

struct check {
	struct index *ix;
	MDB_txn *txn;
	char *problem; /* PROBLEM_MAX bytes */
	MDB_cursor *cursor[TABLES];
	uint64_t next_id, next_seq, next_user;
	uint64_t users;         /* seen in names; numbered from 1 without gaps */
	struct counts *counts;  /* by number - 1: told by the row, less the jobs found */
	uint64_t expected[TABLES];
	uint64_t attempts_of;   /* the job whose attempts are being walked */
};

typedef int visit_entry(struct check *c, const MDB_val *key, const MDB_val *value);

static int contradiction(struct check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int contradiction(struct check *c, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(c->problem, PROBLEM_MAX, format, args);
	va_end(args);
	return -EBADMSG;
}

static int about_user(struct check *c, const MDB_val *name, const char *what)
{
	char *shown = escape_name(name->mv_data, name->mv_size);
	if (shown == NULL)
		return -ENOMEM;
	int r = contradiction(c, "user %s: %s", shown, what);
	free(shown);
	return r;
}

static bool in_order(struct check *c, enum table table, const MDB_val *key, const MDB_val *value,
                     const MDB_val *next_key, const MDB_val *next_value)
{
	MDB_dbi dbi = c->ix->table[table];
	int order = mdb_cmp(c->txn, dbi, key, next_key);
	if (order == 0 && (ix_table_flags(table) & MDB_DUPSORT) != 0)
		order = mdb_dcmp(c->txn, dbi, value, next_value);
	return order < 0;
}

static int walk(struct check *c, enum table table, visit_entry *visit, uint64_t *ret_n)
{
	MDB_val key, value, last_key = {0}, last_value = {0};
	uint64_t n = 0;
	int r = 0, rc;
	for (;; last_key = key, last_value = value, n++) {
		rc = mdb_cursor_get(c->cursor[table], &key, &value, n == 0 ? MDB_FIRST : MDB_NEXT);
		if (rc != 0)
			break;
		if (n > 0 && !in_order(c, table, &last_key, &last_value, &key, &value))
			return contradiction(c, "table %s is not in order", ix_table_name(table));
		r = visit != NULL ? visit(c, &key, &value) : 0;
		if (r < 0)
			return r;
	}
	if (rc != MDB_NOTFOUND)
		return ix_error(c->ix, rc);
	MDB_stat stat;
	r = ix_error(c->ix, mdb_stat(c->txn, c->ix->table[table], &stat));
	if (r == 0 && stat.ms_entries != n)
		r = contradiction(c, "table %s has %" PRIu64 " entries and says %zu",
		                  ix_table_name(table), n, stat.ms_entries);
	*ret_n = n;
	return r;
}

/* Is exactly this entry there? */
static int has(struct check *c, enum table table, MDB_val key, MDB_val value)
{
	MDB_val found = value;
	bool several = (ix_table_flags(table) & MDB_DUPSORT) != 0;
	int rc = mdb_cursor_get(c->cursor[table], &key, &found, several ? MDB_GET_BOTH : MDB_SET);
	if (rc != 0)
		return ix_error(c->ix, rc);
	return found.mv_size == value.mv_size &&
	       memcmp(found.mv_data, value.mv_data, value.mv_size) == 0 ? 0 : -ENOENT;
}

static int visit_name(struct check *c, const MDB_val *key, const MDB_val *value)
{
	if (key->mv_size != 4 || be_get(key->mv_data, 4) != c->users + 1)
		return contradiction(c, "the users' numbers have a gap after %" PRIu64, c->users);
	if (value->mv_size == 0 || value->mv_size > NAME_USER_MAX)
		return contradiction(c, "user %" PRIu64 " has no name", c->users + 1);
	c->users++;
	return 0;
}

static int check_row(struct check *c, const MDB_val *name, const struct user_row *row)
{
	struct key key = {0};
	key_u32(&key, row->number);
	if (row->number > c->users)
		return about_user(c, name, "its number was never given");
	int r = has(c, TABLE_NAMES, key_val(&key), *name);
	if (r == -ENOENT)
		return about_user(c, name, "its number is another user's");
	struct counts *counts = &c->counts[row->number - 1];
	memcpy(counts->of, row->count, sizeof row->count);
	counts->bytes_known = row->bytes_known;
	counts->bytes = row->waiting_bytes;
	if (r < 0 || row->count[JOB_PENDING] == 0)
		return r;
	c->expected[TABLE_WAITING]++;
	r = has(c, TABLE_WAITING, *name, ix_val("", 0));
	return r == -ENOENT ? about_user(c, name, "has pending jobs, but does not wait") : r;
}

static int visit_user(struct check *c, const MDB_val *key, const MDB_val *value)
{
	struct user_row row;
	int r = record_get_user(value->mv_data, value->mv_size, &row);
	if (r == -EBADMSG)
		return about_user(c, key, "its record cannot be read");
	if (r < 0)
		return r;
	r = check_row(c, key, &row);
	user_row_clear(&row);
	return r;
}

static int check_entries(struct check *c, const struct job *job)
{
	struct entry entries[ENTRIES_MAX];
	size_t n = ix_entries(job, entries);
	for (size_t i = 0; i < n; i++) {
		const struct entry *e = &entries[i];
		int r = has(c, e->table, key_val(&e->key), ix_val(e->value, e->value_size));
		if (r == -ENOENT)
			return contradiction(c, "job %" PRIu64 " is %s, but not in table %s", job->id,
			                     job_state_name(job->state), ix_table_name(e->table));
		if (r < 0)
			return r;
		c->expected[e->table]++;
	}
	return 0;
}

static int check_job(struct check *c, const MDB_val *key, const struct job *job)
{
	if (key->mv_size != 8 || be_get(key->mv_data, 8) != job->id)
		return contradiction(c, "job %" PRIu64 " is filed under another id", job->id);
	if (job->id >= c->next_id || job->seq >= c->next_seq || job->seq == 0)
		return contradiction(c, "job %" PRIu64 " has an id or a place never given", job->id);
	if (job->user > c->users)
		return contradiction(c, "job %" PRIu64 " is of user %" PRIu32 ", who is not there",
		                     job->id, job->user);
	uint64_t *left = &c->counts[job->user - 1].of[job->state];
	if (*left == 0)
		return contradiction(c, "user %" PRIu32 " has more %s jobs than were counted", job->user,
		                     job_state_name(job->state));
	(*left)--;
	c->counts[job->user - 1].bytes -= ix_waiting_bytes(job);
	return check_entries(c, job);
}

static int visit_job(struct check *c, const MDB_val *key, const MDB_val *value)
{
	struct job job;
	int r = record_get_job(value->mv_data, value->mv_size, &job);
	if (r == -EBADMSG)
		return contradiction(c, "the record of job %" PRIu64 " cannot be read",
		                     key->mv_size == 8 ? be_get(key->mv_data, 8) : 0);
	if (r < 0)
		return r;
	r = check_job(c, key, &job);
	job_clear(&job);
	return r;
}

static int visit_attempt(struct check *c, const MDB_val *key, const MDB_val *value)
{
	struct attempt attempt;
	if (key->mv_size != 12)
		return contradiction(c, "an attempt has an impossible key");
	uint64_t job = be_get(key->mv_data, 8);
	if (job != c->attempts_of) {
		MDB_val k = ix_val(key->mv_data, 8), v;
		int rc = mdb_cursor_get(c->cursor[TABLE_JOBS], &k, &v, MDB_SET);
		if (rc == MDB_NOTFOUND)
			return contradiction(c, "an attempt is of job %" PRIu64 ", which is not there", job);
		if (rc != 0)
			return ix_error(c->ix, rc);
		c->attempts_of = job;
	}
	int r = record_get_attempt(value->mv_data, value->mv_size, &attempt);
	if (r == 0 && attempt.number != be_get((const char *)key->mv_data + 8, 4))
		r = -EBADMSG;
	if (r == 0)
		attempt_clear(&attempt);
	return r == -EBADMSG ?
	               contradiction(c, "an attempt of job %" PRIu64 " cannot be read", job) : r;
}

static int check_users(struct check *c)
{
	uint64_t n = 0;
	int r = walk(c, TABLE_NAMES, visit_name, &n);
	if (r < 0)
		return r;
	if (c->next_user != c->users + 1)
		return contradiction(c, "%" PRIu64 " users, but the next number is %" PRIu64, c->users,
		                     c->next_user);
	c->counts = calloc(c->users + 1, sizeof *c->counts);
	if (c->counts == NULL)
		return -ENOMEM;
	r = walk(c, TABLE_USERS, visit_user, &n);
	if (r == 0 && n != c->users)
		r = contradiction(c, "%" PRIu64 " users, but %" PRIu64 " numbers", n, c->users);
	return r;
}

static int check_counts(struct check *c)
{
	for (uint64_t u = 0; u < c->users; u++) {
		for (int s = 0; s < JOB_STATES; s++) {
			if (c->counts[u].of[s] > 0)
				return contradiction(c, "user %" PRIu64 " has fewer %s jobs than were counted",
				                     u + 1, job_state_name((enum job_state)s));
		}
		if (c->counts[u].bytes_known && c->counts[u].bytes != 0)
			return contradiction(c, "the bytes that wait of user %" PRIu64 " were not counted "
			                     "right", u + 1);
	}
	return 0;
}

/* Each job is in its tables; with as many entries as that, nothing else is. */
static int check_rest(struct check *c)
{
	static const enum table rest[] = {TABLE_LINE,  TABLE_DELAYED, TABLE_HELD,   TABLE_ACTIVE,
	                                  TABLE_FINAL, TABLE_PATHS,   TABLE_WAITING};
	for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
		uint64_t n;
		int r = walk(c, rest[i], NULL, &n);
		if (r < 0)
			return r;
		if (n != c->expected[rest[i]])
			return contradiction(c, "table %s has %" PRIu64 " entries, the records make it %" PRIu64,
			                     ix_table_name(rest[i]), n, c->expected[rest[i]]);
	}
	return 0;
}

static int read_numbers(struct check *c)
{
	int r = ix_get_number(c->ix, c->txn, "next_id", &c->next_id);
	if (r == 0)
		r = ix_get_number(c->ix, c->txn, "next_seq", &c->next_seq);
	if (r == 0)
		r = ix_get_number(c->ix, c->txn, "next_user", &c->next_user);
	return r == -ENOENT || r == -EBADMSG ? contradiction(c, "a next number is missing") : r;
}

static int check_all(struct check *c)
{
	uint64_t n;
	int r = read_numbers(c);
	if (r == 0)
		r = walk(c, TABLE_META, NULL, &n);
	if (r == 0)
		r = check_users(c);
	if (r == 0)
		r = walk(c, TABLE_JOBS, visit_job, &n);
	if (r == 0)
		r = check_counts(c);
	if (r == 0)
		r = check_rest(c);
	return r < 0 ? r : walk(c, TABLE_ATTEMPTS, visit_attempt, &n);
}

static int check_within(struct index *ix, MDB_txn *txn, char problem[PROBLEM_MAX])
{
	struct check c = {.ix = ix, .txn = txn, .problem = problem};
	int r = 0;
	for (int t = 0; r == 0 && t < TABLES; t++)
		r = ix_error(ix, mdb_cursor_open(txn, ix->table[t], &c.cursor[t]));
	if (r == 0)
		r = check_all(&c);
	for (int t = 0; t < TABLES; t++) {
		if (c.cursor[t] != NULL)
			mdb_cursor_close(c.cursor[t]);
	}
	free(c.counts);
	return r;
}

int ix_check(struct index *ix, char problem[PROBLEM_MAX])
{
	MDB_txn *txn;
	int r = ix_view_begin(ix, &txn);
	if (r < 0)
		return r;
	problem[0] = '\0';
	r = check_within(ix, txn, problem);
	if (r == -EBADMSG && problem[0] == '\0')
		snprintf(problem, PROBLEM_MAX, "a page of the file cannot be read");
	return ix_view_end(ix, txn) ? r : -EAGAIN;
}
