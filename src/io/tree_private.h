/* What the files of the tree room share. Nobody else includes this. */
#pragma once

#include "io/tree.h"

#include <dirent.h>
#include <sys/stat.h>

/* One file for each user whose directory is a mount of its own. */
#define TREE_DAEMON_LOCK ".spoold/daemon.lock"
#define TREE_MOUNTS ".spoold/mounts"

struct tree {
	int rootfd;      /* O_RDONLY | O_DIRECTORY */
	char *root;      /* absolute */
	uint64_t id;     /* of the marker */
	uint64_t dev;    /* st_dev of the root when it was opened */
	char *marker;    /* its path, */
	struct stat marker_seen; /* and what it was when it was read last; st_ino 0: not yet */
	struct tree_guard guard; /* ask NULL: none */
	struct tree_kept *kept; /* NULL: nothing is kept open */
	struct tree_spare *spares; /* NULL: none yet */
	unsigned open_spares, open_spares_room;
};

/* "incoming" ... The one place that knows. */
const char *tree_place_dir(enum place place);

/* How a walk judges directories that may be left over; see tree_scan_tidy(). One
 * tree right below incoming at a time. */
struct tidying {
	struct tree_tidy rule;
	bool on;
	uint64_t dev;
	uid_t uid;         /* of incoming */
	bool removing;     /* the tree at hand is being removed */
	bool used;         /* something was in one of its directories */
	int64_t newest_ns; /* the last change of any of them */
	int64_t due_ns;    /* of all trees that will be due: the first; or 0 */
};
void tree_tidy_begin(struct tidying *tidy);
/* Takes a directory in that holds nothing but directories. False: it is not the
 * uploader's, or cannot be judged, and stays. */
bool tree_tidy_judge(struct tidying *tidy, int dirfd, bool leaf);
/* Was nothing of it changed for long enough? */
bool tree_tidy_is_due(struct tidying *tidy, int64_t now_ns);
/* Not since it was judged? */
bool tree_tidy_unchanged(const struct tidying *tidy, int dirfd);

/* What a user's directories look like. */
struct tree_wanted {
	enum place place;
	mode_t mode;
	bool of_uploader; /* owned by the uploader; else it is at most the group's */
};
enum { TREE_WANTED = 4 };
extern const struct tree_wanted tree_wanted[TREE_WANTED];

/* Reads the head of a small file of ours below the root, as a string of less than
 * `size` bytes. */
int tree_read_text(int rootfd, const char *path, char *text, size_t size);
/* Opens (O_RDONLY | O_DIRECTORY) a user's directory of one place. */
int tree_open_place(struct tree *t, const char *user, enum place place);
/* The same, kept open for a moment (see tree_turn()): it goes back
 * with tree_return_place(), which any fd that is not kept is closed by. One user's
 * at a time: another's may close it. */
int tree_borrow_place(struct tree *t, const char *user, enum place place);
void tree_return_place(struct tree *t, const char *user, int fd);
/* May a directory on that device stay open for long: does nobody unmount it, or its server
 * hang? */
bool tree_may_stay_open(const struct tree *t, dev_t dev);
uint32_t tree_hash(const char *user);
void tree_free_kept(struct tree *t);
/* The private directory of a job that was just claimed, for who opens it next;
 * takes `fd` over. -ENOENT: it is not kept. */
void tree_keep_job(struct tree *t, const char *user, uint64_t id, int fd);
int tree_take_kept_job(struct tree *t, const char *user, uint64_t id);
/* Keeps a private directory (*privfd is it) with nothing in it but its output
 * directory for the user's next job; takes the descriptor over where it stays open, and
 * *privfd is -1 then. False: it cannot be used again. */
bool tree_keep_spare(struct tree *t, const char *user, uint64_t id, int *privfd);
/* tree_open_private(), for who ends the job: of one that stayed open nothing is opened. */
int tree_open_to_end(struct tree *t, const char *user, uint64_t id);
/* Is `name` in the private directory of that job its output directory, empty and as it was
 * made? */
bool tree_is_spare_output(struct tree *t, const char *user, uint64_t id, int privfd,
                          const char *name);
/* Makes it that of job `id`, whose file will be `base` in it. Any error: there is
 * none any more. */
int tree_use_spare(struct tree *t, const char *user, uint64_t id, const char *base,
                   int processing);
/* Is it one that was handed on, and not yet noted as handed over? */
bool tree_came_with_output(const struct tree *t, const char *user, uint64_t id);
/* Notes in such a directory that its job is handed over: the claim is over. */
int tree_note_handed(struct tree *t, const char *user, uint64_t id, int privfd);
/* Is this one where that was not noted yet? */
bool tree_is_unhanded(int privfd, uint64_t id);
/* The directory of job `id` goes another way: nothing is known of it any more. */
void tree_unspare(struct tree *t, const char *user, uint64_t id);
/* Borrows the directory in incoming that holds `path`, mostly incoming itself; *ret_base
 * points into `path`. -ENOENT also where a part of it is no directory. */
int tree_borrow_holder(struct tree *t, const char *user, const char *path,
                       const char **ret_base);
/* Looks at a file under a lease, so that what is seen is what its last writer left.
 * *ret_asked is how that went: 0; -EAGAIN, somebody has it open for writing; where
 * tree_is_shortage(), it could not be asked now; or another error, which says nothing. */
int tree_look_at(int dirfd, const char *name, struct file_ident *ret_ident,
                 enum entry_kind *ret_kind, int *ret_asked);
bool tree_is_shortage(int asked);
/* Opens the private directory of a job: processing/<id>. -ENOENT. */
int tree_open_private(struct tree *t, const char *user, uint64_t id);
/* Opens the directory below `dirfd` that holds `path` ("a/b/x" → a/b) and
 * points *ret_base into `path`. With `make_mode` nonzero missing ones are made
 * (with the owner and group of `dirfd`, where we may). */
int tree_open_parent(int dirfd, const char *path, mode_t make_mode, const char **ret_base);
/* Set in the inode number of an identity where the file system has none that
 * lasts: it is made of size and time of change. */
#define TREE_INO_MADE_UP (UINT64_C(1) << 63)
/* What lies there, symlinks not followed. */
int tree_ident_at(int dirfd, const char *name, struct file_ident *ret_ident,
                  enum entry_kind *ret_kind);

/* Files on the file system of a directory that is kept open, asked once for all of
 * them: do their inode numbers last? */
struct tree_numbers {
	dev_t dev;
	bool last;
};

void tree_numbers_of(int dirfd, struct tree_numbers *ret);
/* tree_ident_at(), of many names in one directory. */
int tree_ident_in(int dirfd, const struct tree_numbers *numbers, const char *name,
                  struct file_ident *ret_ident, enum entry_kind *ret_kind);
/* The same for an open file. */
int tree_ident_fd(int fd, struct file_ident *ret_ident, enum entry_kind *ret_kind);
/* Is what was found of this kind the upload `ident` is of, as far as a look tells: a
 * directory as a job is not walked through? */
bool tree_is_same(const struct file_ident *ident, const struct file_ident *now,
                  enum entry_kind kind);
/* Can it be that upload, whatever was done to it: a directory where it was one? */
bool tree_fits(const struct file_ident *ident, bool directory);
/* The first step of the last move of a job that was never claimed: out of
 * incoming into its private directory. -ENOENT where its file is not there. */
int tree_take_in(struct tree *t, const struct tree_finish *f);
/* Renames without replacing: -EEXIST. Where the file system cannot, a plain
 * file is linked and unlinked. */
int tree_rename(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name);
/* Moves a file into done or failed under `path`, or, where that is taken,
 * under its name with the id; *ret_name is the path it got (free). */
int tree_rename_final(struct tree *t, const char *user, enum place to, int old_dirfd,
                      const char *old_name, const char *path, uint64_t id, char **ret_name);
/* The same, where a log or an output will be kept beside it: then a name is
 * looked for whose neighbours are free, so that tree_purge() finds them. */
struct tree_move {
	int dirfd;
	const char *name;
	const char *path;
	uint64_t id;
	bool log, output;
	const char *voucher_suffix; /* or NULL */
};
int tree_move_final(struct tree *t, const char *user, enum place to, const struct tree_move *m,
                    char **ret_name);
/* The upload under a name that its handler gave it in its private directory,
 * unchanged: *ret_name (free). -ENOENT. */
int tree_find_renamed(int privfd, const struct file_ident *ident, char **ret_name);
/* Notes on a file which job it belongs to (where the file system can). */
void tree_note_job(struct tree *t, int dirfd, const char *name, uint64_t id);
/* Notes on a directory, in its private directory which job has claimed it; and asks for
 * that. */
void tree_note_claimed(struct tree *t, int dirfd, const char *name, uint64_t id);
bool tree_is_claimed(struct tree *t, int dirfd, const char *name, uint64_t id);
/* Notes on a file that it is not this job's, though it may have the job's inode. */
void tree_note_stranger(struct tree *t, int dirfd, const char *name, uint64_t id);
/* Looks for a job's file under all the names it may have got in done or
 * failed: *ret_name (free). A handler's replacement of it counts, where the
 * file system has extended attributes. -ENOENT. */
int tree_search_final(struct tree *t, const char *user, enum place place, const char *path,
                      uint64_t id, const struct file_ident *ident, char **ret_name);
/* The group that reads what is kept beside a final file: that of the directory, where none
 * but it may enter that; else that of the upload. */
gid_t tree_readers(struct tree *t, const char *user, enum place place,
                   const struct file_ident *ident);
/* Writes the head of <final>.log: plain words, readable by the uploader (gid).
 * An existing log keeps its content behind it. Ends with the mark. */
int tree_write_reason(int dirfd, const char *log_name, const char *reason, gid_t gid);

bool tree_has_reason(int dirfd, const char *log_name, const char *reason);

/* Removes a file or a whole directory of our own making. Symlinks are removed,
 * not followed; mount points stay (-EXDEV). 0 also when there was none. */
int tree_remove(int dirfd, const char *name);
/* The same for so many entries at most: -EAGAIN where more are left. */
int tree_remove_some(int dirfd, const char *name, unsigned n);

/* Marks what is ours in done and failed: the last line of a kept log, and a
 * file in a kept output directory. What an uploader named alike has no mark,
 * and is never removed along with another job's file. */
#define TREE_LOG_MARK "== spoold: end of the log =="
#define TREE_OUTPUT_MARK ".spoold-output"
/* Gives a log, an output directory of a private directory the mark, and lets
 * the uploader read it. */
int tree_mark_log(int dirfd, const char *name, gid_t gid);
int tree_mark_output(int dirfd, const char *name, gid_t gid);
/* "<final><suffix>", a name of its own for each final path, however long (a
 * new string, NULL when memory is out). */
char *tree_beside(const char *final, const char *suffix);
bool tree_is_our_log(int dirfd, const char *name);
bool tree_is_our_output(int dirfd, const char *name);
/* The same for who must know: 1, 0, or a negative errno where it cannot be told. */
int tree_judge_log(int dirfd, const char *name);
int tree_judge_output(int dirfd, const char *name);
/* Head of the name in processing, before the number of its job, of a directory that
 * retention removes. */
#define TREE_REMOVED ".removed."
/* Is this name in a private directory one of our own things? */
bool tree_is_ours(const char *name, const char *base);
/* Whatever the upload is called? */
bool tree_is_certainly_ours(const char *name);
/* The suffix of a voucher in a private directory, or NULL where this is none. It
 * is kept like an upload: moved, never removed before its time. */
const char *tree_voucher_suffix(const char *name);
/* Takes the voucher of `f` from incoming, where it still is, into the private
 * directory. */
int tree_bring_voucher(struct tree *t, const struct tree_finish *f, int privfd);
/* Removes the voucher beside a final file, where it is the job's. */
int tree_purge_voucher(struct tree *t, const char *user, const struct job *job, const char *final);

/* Names of one large directory that a walk reads ahead, and looks at with the threads of a
 * crew while the first ones are taken in; see tree_scan_look_ahead(). */
enum { TREE_AHEAD_MAX = 1024 };
struct tree_ahead;
struct crew;
/* Both stay the caller's, and last as long; `dir` is read by us from now on, and by the
 * caller where tree_ahead_next() says so. Freed with tree_ahead_free(), after crew_end().
 * -ENOMEM. */
int tree_ahead_new(DIR *dir, const struct tree_numbers *numbers, struct tree_ahead **ret);
void tree_ahead_free(struct tree_ahead *a);
/* After crew_end(): what was seen is too old, but for the names. NULL is nothing. */
void tree_ahead_forget(struct tree_ahead *a);
/* After tree_ahead_forget(): has the next names looked at, up to `max`, and those after
 * them read. */
void tree_ahead_begin(struct tree_ahead *a, struct crew *crew, size_t max);
/* The next name, or NULL at the end, which *ret_error tells of. False: the next is to be
 * read from the directory. */
bool tree_ahead_next(struct tree_ahead *a, struct crew *crew, int *ret_error,
                     const char **ret_name);
/* What that name was seen to be, or *ret_error. False: it was not looked at. */
bool tree_ahead_look(struct tree_ahead *a, struct crew *crew, int *ret_error,
                     struct file_ident *ret_ident, enum entry_kind *ret_kind);
