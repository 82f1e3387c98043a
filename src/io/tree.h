/* The spool tree: the one owner of its directories.
 *
 * Only this room knows the words "incoming", "processing", "done", "failed".
 * Every access goes through the root's descriptor and openat2 (beneath, no
 * symlinks), so that no name a user can make leads out of the spool. Files
 * are only renamed, with RENAME_NOREPLACE (where the file system cannot:
 * link and unlink); the one exception is tree_purge(), after retention.
 *
 * Errors are negative errno: -ENOENT not there, -EEXIST name taken, -ESTALE
 * not the file that was accepted, -ELOOP / -EINVAL not a plain file, -ENODEV
 * the spool is not mounted (its marker is gone), -EXDEV, -EACCES, -ENOSPC,
 * -EIO. Paths are relative to the directory of their place. */
#pragma once

#include "core/job.h"
#include "core/settle.h"

struct tree;

/* Opens the spool. -ENOENT: no such directory; -ENODEV: no marker; -EBADMSG:
 * the marker is damaged, or of a version that is not ours. */
int tree_open(const char *root, struct tree **ret);
void tree_close(struct tree *t);
/* Makes root, marker and a new spool id. 0 also where the marker was there
 * already (*ret_existed). -EBADMSG: there is one, not to be understood; it is
 * left alone. */
int tree_init(const char *root, bool *ret_existed);

/* Is asked before anything of `user` (or of the root, NULL) is looked at: 0, or an
 * error, which the call then ends with (functions that cannot: as where nothing is
 * there, or it cannot be told). -ETIMEDOUT: what it lies on does not answer. With
 * `wait` false -EAGAIN: that is being found out. */
struct tree_guard {
	int (*ask)(void *ctx, const char *root, const char *user, bool wait);
	void *ctx;
};
void tree_set_guard(struct tree *t, struct tree_guard guard);
struct tree_guard tree_get_guard(const struct tree *t);
/* What it says. */
int tree_answers(const struct tree *t, const char *user, bool wait);

/* A turn ends. From the first call on the directories of users are not opened for every
 * step, but stay open for up to 200 ms; on a mount, and where `now_ms` (of a clock that
 * only goes forward) is UINT64_MAX, to the end of the turn. What is put in their place
 * is not seen before. Never called, each step opens them anew. Returns when the next ones
 * are to be closed, by another call (UINT64_MAX: none is open). */
uint64_t tree_turn(struct tree *t, uint64_t now_ms);
/* Directories were made, replaced, or moved: all are opened anew. */
void tree_forget_kept(struct tree *t);

uint64_t tree_id(const struct tree *t);
/* Tells a spool from a copy of it that lies elsewhere (a backup, a snapshot),
 * and so has its id, its jobs and their numbers. */
uint64_t tree_copy_id(const struct tree *t);
const char *tree_root(const struct tree *t); /* absolute */
/* Opens the root itself, as its path leads to it now (for watching). */
int tree_open_root(const struct tree *t);
/* Is the marker still there, on the same device? 0; -ENODEV: no; any other error:
 * that cannot be told now. */
int tree_mounted(struct tree *t);
/* Is the user's directory a mount of its own (a share of one user)? 1: yes, and it
 * is there; 0: no; -ENODEV: it was one by tree_note_mount(), and is not there, or
 * another is in its place; any other error: that cannot be told now. */
int tree_user_mounted(struct tree *t, const char *user);
/* Notes that it is one, below .spoold. */
int tree_note_mount(struct tree *t, const char *user);
/* Is the file system of this user's incoming one where inotify sees only
 * what this machine does (NFS, SMB, FUSE ...)? `user` NULL: the root. 1: yes; 0: no;
 * -errno: that cannot be told now, as of a mount whose server just went. */
int tree_is_network(struct tree *t, const char *user);
/* The same for a path, which need not exist yet. *ret_type names the file
 * system's type, for messages: "ext4", "fuse", "unknown"; it is untouched where
 * nothing could be found out. */
bool tree_path_is_network(const char *path, const char **ret_type);

/* The daemon's own lock on the spool (.spoold/daemon.lock), held until closed.
 * Returns the descriptor; -EAGAIN held by another process. */
int tree_lock_daemon(struct tree *t);
/* Writes into that lock who holds it, for tree_find_daemon(). `once`: it ends by itself
 * and answers nobody. */
void tree_note_daemon(int lockfd, bool once);
struct tree_daemon {
	pid_t pid; /* 0 = not known */
	bool once;
};
/* Does a daemon hold the lock of the spool at `root`? 1 and who, 0: nobody, or why that
 * cannot be told (-EACCES: only root and the daemon's account may ask). */
int tree_find_daemon(const char *root, struct tree_daemon *ret);
/* The user's worker lock, an OFD lock: it lives as long as any copy of the
 * descriptor, in whatever process. Returns the descriptor; -EAGAIN. */
int tree_lock_user(struct tree *t, const char *user);
/* Is the lock that tree_lock_user() gave still the one at its place? Else the user's directory
 * is another one by now; true also where that cannot be told, or nothing is there. */
bool tree_is_lock_in_place(struct tree *t, const char *user, int lockfd);
/* Is that the path (as /proc tells it) of the lock of one of its users? */
bool tree_is_lock(const struct tree *t, const char *path);

/* What numbers of jobs the spool keeps as given: all below *ret_below. -ENOENT: none
 * was kept yet; -EBADMSG: not to be understood. Writing is durable. */
int tree_read_numbers(struct tree *t, uint64_t *ret_below);
int tree_write_numbers(struct tree *t, uint64_t below);

/* Users: calls `each` for every directory under the root but our own.
 * `problem` is NULL for a legal user, else why the name is refused.
 * A nonzero return of `each` ends the walk and is returned. */
int tree_each_user(struct tree *t, int (*each)(void *ctx, const char *user, const char *problem),
                   void *ctx);
/* Is there a directory of this name in the spool? */
bool tree_has_user(struct tree *t, const char *user);
/* Is a user's directory root's own and without incoming, so that nothing there tells who
 * uploads? */
bool tree_wants_owner(struct tree *t, const char *user);
/* Makes a user, or what is missing of it. `uid`/`gid` of the uploader, or (uid_t)-1: as incoming, else as the user's directory. *ret_made
 * counts them. -EINVAL: no legal name; -ELOOP, -ENOTDIR: something else is in
 * the place of one. */
int tree_make_user(struct tree *t, const char *user, uid_t uid, gid_t gid, unsigned *ret_made);
/* The same, but for none that is not there: -ENOENT. */
int tree_complete_user(struct tree *t, const char *user, uid_t uid, gid_t gid, unsigned *ret_made);
/* Looks for what is wrong with a user's directories: calls `report` with a
 * sentence and the command that mends it (may be NULL) for each finding;
 * `fatal`: jobs of this user cannot run. Returns the number of findings. */
int tree_check_user(struct tree *t, const char *user,
                    void (*report)(void *ctx, bool fatal, const char *what, const char *mend),
                    void *ctx);

/* What a directory entry is, when it is no plain upload. */
enum entry_kind {
	ENTRY_FILE,
	ENTRY_DIRECTORY,
	ENTRY_SYMLINK,
	ENTRY_SPECIAL,   /* FIFO, socket, device */
	ENTRY_HARDLINKED /* a plain file with more than one name */
};
/* "is a symbolic link": the end of a sentence. NULL for ENTRY_FILE. */
const char *entry_kind_problem(enum entry_kind kind);

/* An upload as it lies in incoming. */
int tree_look(struct tree *t, const char *user, const char *path, struct file_ident *ret_ident,
              enum entry_kind *ret_kind);
/* On network mounts: lets the next look see what is there now, and not what was
 * some seconds ago, as caches of attributes have it. Best effort. */
void tree_refresh(struct tree *t, const char *user, const char *path);
/* Does a process have it open for writing? Takes and drops a read lease. */
enum writers tree_probe_writer(struct tree *t, const char *user, const char *path);
/* Both at one stroke, the writers first. *ret_writers is WRITERS_UNKNOWN for what is
 * no plain file. -EMFILE, -ENFILE, -ENOMEM, -EIO: it could not be opened for now. */
int tree_look_closely(struct tree *t, const char *user, const char *path,
                      struct file_ident *ret_ident, enum entry_kind *ret_kind,
                      enum writers *ret_writers);
/* Opens an upload for reading (for syncing): the descriptor. -ELOOP, -EINVAL:
 * no plain file. */
int tree_open_upload(struct tree *t, const char *user, const char *path);
/* The same of the file that was judged. -EAGAIN: its name is another one's now. */
int tree_open_judged(struct tree *t, const char *user, const char *path,
                     const struct file_ident *ident);
/* Opens the user's incoming (`path` ""), or a directory in it: `path` itself
 * where it is one, else the one that holds it. */
int tree_open_incoming(struct tree *t, const char *user, const char *path);
/* Opens a directory in incoming that is to be one job. -EPERM: this account may not
 * move it (the system asks for write permission in it); -ENOTDIR: it is none. */
int tree_open_whole(struct tree *t, const char *user, const char *path);
/* The same of one that was claimed: where it is in its private directory. */
int tree_open_taken(struct tree *t, const char *user, uint64_t id, const char *path);
/* Opens the directory in incoming that holds this upload (for syncing). */
int tree_open_holder(struct tree *t, const char *user, const char *path);

/* An upload whose data did not reach the disk is marked as unsafe, as it is
 * now, so that another process does not take it either: what the kernel could
 * not write it forgets, and the next fsync() succeeds. Best effort: some file
 * systems cannot keep the mark. -EAGAIN: its name is another one's now. */
int tree_mark_unsafe(struct tree *t, const char *user, const char *path,
                     const struct file_ident *ident, int error);
/* The same for an open one. */
int tree_mark_unsafe_fd(int fd, const struct file_ident *ident, int error);
/* The error it was marked with (negative), or 0; of an open upload. */
int tree_is_unsafe(int fd, const struct file_ident *ident);

/* One that was seen to arrive without the rename that it takes is marked, under its name, so
 * that another process knows that as well. Best effort, too. */
void tree_mark_unrenamed(struct tree *t, const char *user, const char *path);
/* Was it, under this name? */
bool tree_is_unrenamed(struct tree *t, const char *user, const char *path);

/* A directory that is one job (`whole` in its identity) goes all these ways like a
 * file. Of it only its own inode and names are compared here; what is in it is
 * walked through by the worker.
 *
 * Claims: incoming/<path> → processing/<id>/<base name>, and makes sure that
 * it was the accepted file, is a plain one and nobody writes it any more.
 * -ENOENT withdrawn; -ESTALE replaced or being written again: it is back in
 * incoming, or, where its name was taken meanwhile or its directory is gone,
 * *ret_kept names where it was put in failed, with a log that says why (free;
 * else NULL). -ENOTDIR: processing is missing, the upload is not. Idempotent: 0
 * when it was done already. */
int tree_claim(struct tree *t, const char *user, uint64_t id, const char *path,
               const struct file_ident *ident, char **ret_kept);
/* Undoes the claim of a directory that turned out not to be what was accepted: back
 * to incoming, or as above. -ENOENT: it is not there. */
int tree_put_back(struct tree *t, const char *user, uint64_t id, const char *path, char **ret_kept);
/* The private directory of a job, opened; with its output directory made, and
 * the file under its own name again, should an attempt have renamed it. */
int tree_open_job(struct tree *t, const char *user, uint64_t id, const char *path,
                  const struct file_ident *ident);
/* Makes durable that what lies in the job's private directory lies there. */
int tree_sync_job(struct tree *t, const char *user, uint64_t id);
/* Is there a private directory of this number? True also where that cannot be
 * found out. */
bool tree_has_job(struct tree *t, const char *user, uint64_t id);
/* Lets other accounts pass through processing (not list it), for a handler that
 * runs as one; its private directory is given to it by the worker. */
int tree_let_pass(struct tree *t, const char *user);
/* Its absolute path: a new string, NULL when memory is out. */
char *tree_job_path(struct tree *t, const char *user, uint64_t id);

/* Ends a job: the file goes to done or failed, its log and output directory
 * along where asked (else they are removed with the private directory, they
 * are ours). `reason` becomes the head of the failed log. *ret_name is the
 * path it got (free), or NULL where the handler removed its file. Idempotent.
 * The owner of `ident` is put back. */
struct tree_finish {
	const char *user;
	uint64_t id;
	const char *path;
	const struct file_ident *ident;
	enum place from;       /* PLACE_INCOMING for a job canceled before its claim: what was put in
	                          its place stays there, or is kept in failed */
	enum place to;         /* PLACE_DONE or PLACE_FAILED */
	bool keep_log, keep_output;
	const char *reason;    /* or NULL */
	/* Taken along from incoming where it is still the same; what lies in the
	 * private directory already always is. */
	const struct file_ident *voucher;
	const char *voucher_suffix; /* or NULL */
	/* The name that the index has. Where the file gets another one, or is no
	 * more, its empty private directory stays for tree_drop_job(), so that a
	 * crash before the index knows is made good. NULL: it always goes. */
	const char *known;
	/* Its private directory may be kept for the user's next job, until
	 * tree_drop_spare(). */
	bool hand_on;
};
int tree_finish(struct tree *t, const struct tree_finish *f, char **ret_name);
/* Opens a directory in done or failed that was one job. */
int tree_open_final(struct tree *t, const char *user, enum place place, const char *name);
/* Removes a private directory that was kept for this user's next job; all of them. */
void tree_drop_spare(struct tree *t, const char *user);
void tree_drop_spares(struct tree *t);
/* Operator's retry: done|failed/<name> → processing/<id>/<base of path>, and
 * its old log away. Durable: an active job whose file is found in done or failed
 * has ended. */
int tree_take_back(struct tree *t, const char *user, const struct job *job, enum place from,
                   const char *name);
/* The job's marker or checksum (`voucher`, where it has a suffix) follows it
 * into its private directory: from incoming, `name` its path, or from the
 * neighbourhood of the final file `name`. What has been put in its place since
 * stays. 0 also when there is nothing to take. tree_finish() puts it beside the
 * final file, under the final name plus the suffix. */
int tree_take_voucher(struct tree *t, const char *user, const struct job *job, enum place from,
                      const char *name);
/* Retention: removes a final file and what is beside it. 0 also when it was
 * gone. */
int tree_purge(struct tree *t, const char *user, enum place from, const char *name);
/* The same for a job in its final place; another file that has its name by now
 * is left alone, with what is beside it. -EAGAIN: it is a large directory, of which a
 * part was removed (so many entries): call again. With the first part it is nowhere, as far
 * as tree_find() and all others can tell. */
enum { TREE_PURGE_SLICE = 1000 };
int tree_purge_job(struct tree *t, const char *user, const struct job *job);
/* Opens the directory of a place, to be synced after what went on there. */
int tree_open_to_sync(struct tree *t, const char *user, enum place place);

/* Where is this job's file? Looks in processing/<id>, then incoming, then
 * the final places (under `final_name`, `path` and the name with its id). */
struct tree_found {
	enum place place;
	bool same;           /* in incoming: it is the accepted file, unchanged */
	bool result;         /* in processing: a worker's result lies beside it */
	bool bare;           /* in processing: alone, as before tree_open_job(): its claim
	                        may have been cut short before it was checked */
	char *final_name;    /* in done/failed: the path there (free) */
};
int tree_find(struct tree *t, const char *user, const struct job *job, struct tree_found *ret);

/* The worker's result left in processing/<id>: its bytes (free). -ENOENT; -EBADMSG: what lies
 * there is no file; -EFBIG. */
int tree_read_result(struct tree *t, const char *user, uint64_t id, char **ret_data,
                     size_t *ret_size);
/* Asks the worker of an earlier daemon to end this job (NAME_CANCEL). */
int tree_ask_cancel(struct tree *t, const char *user, uint64_t id);
/* Calls `each` for every private directory; `path` is the base name of the
 * file in it (NULL when there is none). *ret_beside, which may be NULL, becomes true where
 * there is more: see tree_each_beside_jobs(). */
int tree_each_processing(struct tree *t, const char *user,
                         int (*each)(void *ctx, uint64_t id, const char *path,
                                     const struct file_ident *ident),
                         void *ctx, bool *ret_beside);
/* Calls `each` for what else is in processing: with the number of the job of whose directory
 * retention left that, or with 0 for what is not ours. `path` lasts for that call. */
int tree_each_beside_jobs(struct tree *t, const char *user,
                          int (*each)(void *ctx, const char *path, uint64_t job), void *ctx);
/* Gives an unknown file in processing the job number it is adopted under. */
int tree_rename_job(struct tree *t, const char *user, uint64_t old_id, uint64_t new_id);
/* Removes the empty private directory of a job, with our own files in it. */
int tree_drop_job(struct tree *t, const char *user, uint64_t id, const char *path);

/* Reads a job's log from `offset`: from its private directory or beside its
 * final file. Up to `size` bytes; *ret_n 0 at the end. -ENOENT: none kept;
 * -EACCES: this account may not look where it is, or may be. */
int tree_read_log(struct tree *t, const char *user, const struct job *job, uint64_t offset,
                  void *out, size_t size, size_t *ret_n);

/* Is `own`, in done or failed, a log or an output directory of ours, and no upload that is
 * named alike? */
bool tree_is_beside(struct tree *t, const char *user, enum place place, const char *own,
                    bool output);
/* Is anything at this path in done or failed? */
bool tree_is_there(struct tree *t, const char *user, enum place place, const char *path);

/* A walk over a user's incoming, in bounded memory, subdirectories included.
 * tree_scan_next() fills one entry per call: `path` is valid until the next
 * call. 0, -ENOENT at the end; other errors end the walk too. Directories are
 * reported (ENTRY_DIRECTORY) before what is in them. */
struct tree_scan;
/* Is this directory below incoming, or that of this file, nested too deep to be
 * followed? */
bool tree_is_too_deep(const char *path, bool directory);
int tree_scan_begin(struct tree *t, const char *user, struct tree_scan **ret);
/* Leaves out what is in the directory that was reported last. */
void tree_scan_skip(struct tree_scan *s);
int tree_scan_next(struct tree_scan *s, const char **ret_path, struct file_ident *ret_ident,
                   enum entry_kind *ret_kind);
void tree_scan_end(struct tree_scan *s);
/* For who is about to take up to `n` entries in a row: where the directory at hand is large,
 * they are looked at by threads meanwhile. What tree_scan_next() tells was looked at after
 * the last call of this; so nobody may learn anything else of these files between the call
 * and the entries. Where no thread is to be had, it changes nothing. Not where a look
 * may hang. */
void tree_scan_look_ahead(struct tree_scan *s, size_t n);

/* Lets the walk remove what uploads leave behind: a directory right in incoming
 * that holds nothing but (such) directories, all of the owner of incoming, on its
 * file system, and without a change for `after_ms`; or `unused_ms`, where
 * nothing was ever in them: an uploader makes directories before what goes
 * into them. For each one tree_scan_next() returns 1, with its path alone. Where
 * the file system does not know when a directory was made, they stay. */
struct tree_tidy {
	uint64_t after_ms, unused_ms;
};
void tree_scan_tidy(struct tree_scan *s, const struct tree_tidy *rule);
/* Of those that were changed too lately: when the first is due, by the wall
 * clock; or 0. */
uint64_t tree_scan_tidy_due_ms(const struct tree_scan *s);
/* When the walk began, by the wall clock: what has a later ctime changed after
 * that for sure. */
int64_t tree_scan_began_ns(const struct tree_scan *s);
/* The clock of such stamps at that moment, which goes by ticks of the kernel: what has an earlier ctime
 * changed before the walk for sure. */
int64_t tree_scan_tick_ns(const struct tree_scan *s);

/* Which user, place and path below it does a file name of the outside world
 * mean ("spool/alice/incoming/x.csv", relative names from the working
 * directory)? The file need not exist. -EXDEV: not below this spool; -EINVAL:
 * below it, but in none of the four directories. Where its mount does not answer, the
 * name is taken as it is written. Strings are to be freed; in
 * processing *ret_path is "<id>/<name>". */
int tree_locate(struct tree *t, const char *outside, char **ret_user, enum place *ret_place,
                char **ret_path);

/* Puts a copy of `fd` into the user's incoming as `name`, durably and
 * atomically: written aside under an ignored name, synced, renamed, the
 * directory synced. -EEXIST: a file of that name waits there already. The
 * caller needs write permission there. `each` (may be NULL) is told the bytes
 * written so far. */
int tree_submit(struct tree *t, const char *user, int fd, const char *name,
                void (*each)(void *ctx, uint64_t bytes), void *ctx);

/* The notice in a user's incoming (core/notice): makes it say `text`, or, with
 * NULL, takes it away. The user may read it, not write it. What the user put
 * under that name is left alone (-EEXIST), whatever it is. */
int tree_put_notice(struct tree *t, const char *user, const char *text);
/* Is this our notice, and no upload? */
bool tree_is_notice(struct tree *t, const char *user, const char *path);

/* Free bytes where a user's incoming lies. */
int tree_user_space(struct tree *t, const char *user, uint64_t *ret_bytes);
