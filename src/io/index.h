/* The index: order, attempts and history, in LMDB.
 *
 * One environment, one process with write access (the caller holds the
 * daemon's lock), one thread. Changes happen between index_begin() and
 * index_commit(); readers in between see them. Outside of a transaction each
 * read sees the last commit.
 *
 * index_put_job() keeps every table in step (line, delayed, active, final,
 * paths, the user's counters): there is no other way to change a job.
 *
 * Caveats: pointers never lead into the map: everything returned is copied and
 * owned by the caller. Growing the map ends and repeats nothing: index_begin()
 * grows it ahead; a transaction that fills it all the same fails with
 * -ENOSPC and may be repeated (the map is grown by then). After a failed write
 * index_commit() commits nothing and returns that error; a refusal (-EINVAL,
 * -ENOENT, -EEXIST) has changed nothing and does no harm. Never open an index
 * twice in one process, not even to read. SIGCHLD must not be ignored.
 *
 * Errors: -EBADMSG damaged, or gone from its place while it was open (set it
 * aside with index_set_aside() and rebuild),
 * -EPROTONOSUPPORT written by a newer version, -ESTALE that of another spool,
 * -EBUSY held by another process, -EREMOTE on a network file system, -ENOSPC,
 * -E2BIG too much for one transaction, -EROFS opened to read only, -EIO, -ENOMEM.
 * After -EIO from index_commit() close and open again. */
#pragma once

#include "core/record.h"

struct index;

struct index_options {
	bool create;      /* make it where it is missing */
	bool read_only;   /* beside a daemon or without one; needs no write permission */
	bool relaxed;     /* commits are not synced: index_sync() does */
	uint64_t spool_id; /* must match the one inside; 0 = any */
};

/* -ENOENT where there is none and `create` is not set. An index that
 * index_close() did not close is read from end to end first, in a child process,
 * since damage may kill the process that reads it: about two seconds for a
 * million jobs. -EINTR where that child was killed from outside. To read, a
 * process needs no more than read permission; one that may write lock.mdb
 * registers there. One that may not reads all the same, repeats what a writer
 * overtook, and gives up with -EBUSY. */
int index_open(const char *dir, const struct index_options *options, struct index **ret);
/* Aborts an open transaction. Makes everything durable and leaves a mark, so
 * that the next start is quick. NULL is fine. */
void index_close(struct index *ix);

/* Renames a damaged index directory, which nobody has open, to
 * "<dir>.damaged-<wall_ms>" beside it (and ".1", ".2" ... where there is one);
 * *ret_path is the new name (free). */
int index_set_aside(const char *dir, uint64_t wall_ms, char **ret_path);

/* Walks all tables of the last commit and checks them against each other, in a
 * child process: blocks as long as an unclean start. 0, or -EBADMSG with the
 * first contradiction in *ret_problem (free). For doctor and the start. */
int index_check(struct index *ix, char **ret_problem);

/* One at a time: a second index_begin(), and writing without, is a bug and aborts. */
int index_begin(struct index *ix);
int index_commit(struct index *ix); /* ends the transaction also on failure */
void index_abort(struct index *ix);
bool index_in_transaction(const struct index *ix);
/* Was the last -ENOSPC that of the map, not of the disk? Then abort, begin (the
 * map is larger then) and repeat. Answered until that index_begin(). */
bool index_map_was_full(const struct index *ix);
/* After some write errors the environment can only be opened again; index_begin()
 * does so. True once after that: of the commit that failed, all or nothing is
 * there. */
bool index_reopened(struct index *ix);
/* Was damage met, in whatever was read or written since it was opened? */
bool index_is_damaged(const struct index *ix);
/* Makes all commits durable (relaxed mode). May block for a disk write. */
int index_sync(struct index *ix);

/* Users. -ENOENT where there is none. index_add_user() returns the existing
 * row too, and adds up its bytes where an older version did not; -EINVAL for an
 * empty name or one over NAME_USER_MAX. The row's counters are the index's
 * business. Rows are to be cleared by the caller. */
int index_get_user(struct index *ix, const char *name, struct user_row *ret);
int index_add_user(struct index *ix, const char *name, struct user_row *ret);
int index_put_user_held(struct index *ix, const char *name, bool held, const char *reason);
int index_user_name(struct index *ix, uint32_t user, char **ret_name);
/* Names in order: the first one after `after` (NULL = from the start);
 * -ENOENT at the end. */
int index_next_user(struct index *ix, const char *after, char **ret_name, struct user_row *ret);

/* A new job id / place in the line. Within a transaction. */
int index_new_id(struct index *ix, uint64_t *ret_id);
int index_new_seq(struct index *ix, uint64_t *ret_seq);
/* The id that the next index_new_id() would give. */
int index_next_id(struct index *ix, uint64_t *ret_id);
/* Ids up to this one are not given by index_new_id() any more. */
int index_reserve_ids(struct index *ix, uint64_t last);

int index_get_job(struct index *ix, uint64_t id, struct job *ret);
/* Adds or replaces; an unchanged job costs a look. -ENOENT where the user is
 * unknown; -EEXIST where another job has that place in the line; -EINVAL for
 * another user than before, seq 0, and what record_put_job() refuses. An id or
 * seq of the caller's own (a job adopted from the directories) is not given
 * again by index_new_id() and index_new_seq(). */
int index_put_job(struct index *ix, const struct job *job);
/* Forgets a final job and its attempts (retention). -ENOENT; -EINVAL where it
 * is not final. */
int index_remove_job(struct index *ix, uint64_t id);

/* The live or last job of this path of a user; -ENOENT. Two look-ups, however
 * many jobs had that path. */
int index_find_path(struct index *ix, uint32_t user, const char *path, struct job *ret);
/* The job of a user whose file got this name in done or failed; -ENOENT. Among those of one
 * state that are not found by the path, or by a number in the name, the last 10,000 are
 * looked through. */
int index_find_final(struct index *ix, uint32_t user, enum place place, const char *path,
                     struct job *ret);
/* The jobs of this path that did not end, the same way: a user may have several, where
 * some were claimed already. */
int index_prev_live(struct index *ix, uint32_t user, const char *path, uint64_t before_id,
                    struct job *ret);
/* The jobs of this path that ended, newest first; `before_id` UINT64_MAX = from
 * the newest on. */
int index_prev_ended(struct index *ix, uint32_t user, const char *path, uint64_t before_id,
                     struct job *ret);

/* Walks. Each returns the entry after the given key, 0 or -ENOENT.
 *
 * line: pending jobs of a user that do not yield, in queue order. `after_seq`
 * 0 = head. */
int index_next_in_line(struct index *ix, uint32_t user, uint64_t after_seq, struct job *ret);
/* delayed: pending jobs that yield, by (not_before_ms, id). 0, 0 = first. */
int index_next_delayed(struct index *ix, uint32_t user, uint64_t after_ms, uint64_t after_id,
                       struct job *ret);
/* held: in order of id; `after_id` 0 = first. */
int index_next_held(struct index *ix, uint32_t user, uint64_t after_id, struct job *ret);
/* active: queued and processing of one user (0 = of all users), by (user, id). */
int index_next_active(struct index *ix, uint32_t user, uint32_t after_user, uint64_t after_id,
                      struct job *ret);
/* final jobs of a user in one state, newest first; start with UINT64_MAX, UINT64_MAX. */
int index_prev_final(struct index *ix, uint32_t user, enum job_state state, uint64_t before_ms,
                     uint64_t before_id, struct job *ret);
/* final jobs of a user in one state, oldest first; start with 0, 0. */
int index_next_final(struct index *ix, uint32_t user, enum job_state state, uint64_t after_ms,
                     uint64_t after_id, struct job *ret);

/* Attempts of a job, by number. index_put_attempt() replaces; -ENOENT where
 * there is no such job. */
int index_put_attempt(struct index *ix, uint64_t job, const struct attempt *attempt);
int index_next_attempt(struct index *ix, uint64_t job, uint32_t after, struct attempt *ret);

/* What operators ask, as one call each. */
struct index_totals {
	uint64_t jobs;
	uint64_t bytes_used; /* the most that was ever in use: free pages are kept */
	uint64_t bytes_map;
};
int index_totals(struct index *ix, struct index_totals *ret);
/* Users with pending jobs, in order of names; as index_next_user(). Kept as a
 * table: a call costs the same with any number of users. */
int index_next_user_pending(struct index *ix, const char *after, char **ret_name,
                            struct user_row *ret);
