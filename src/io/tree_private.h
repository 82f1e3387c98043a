/* What the files of the tree room share. Nobody else includes this. */
#pragma once

#include "io/tree.h"

struct tree {
	int rootfd;      /* O_RDONLY | O_DIRECTORY */
	char *root;      /* absolute */
	uint64_t id;     /* of the marker */
	uint64_t dev;    /* st_dev of the root when it was opened */
};

/* "incoming" ... The one place that knows. */
const char *tree_place_dir(enum place place);

/* What a user's directories look like. */
struct tree_wanted {
	enum place place;
	mode_t mode;
	bool of_uploader; /* owned by the uploader; else it is at most the group's */
};
enum { TREE_WANTED = 4 };
extern const struct tree_wanted tree_wanted[TREE_WANTED];

/* Opens (O_RDONLY | O_DIRECTORY) a user's directory of one place. */
int tree_open_place(struct tree *t, const char *user, enum place place);
/* Opens the private directory of a job: processing/<id>. -ENOENT. */
int tree_open_private(struct tree *t, const char *user, uint64_t id);
/* Opens the directory below `dirfd` that holds `path` ("a/b/x" → a/b) and
 * points *ret_base into `path`. With `make_mode` nonzero missing ones are made
 * (with the owner and group of `dirfd`, where we may). */
int tree_open_parent(int dirfd, const char *path, mode_t make_mode, const char **ret_base);
/* What lies there, symlinks not followed. */
int tree_ident_at(int dirfd, const char *name, struct file_ident *ret_ident,
                  enum entry_kind *ret_kind);
/* The same for an open file. */
int tree_ident_fd(int fd, struct file_ident *ret_ident, enum entry_kind *ret_kind);
/* Renames without replacing: -EEXIST. Where the file system cannot, a plain
 * file is linked and unlinked. */
int tree_rename(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name);
/* Moves a file into done or failed under `path`, or, where that is taken,
 * under its name with the id; *ret_name is the path it got (free). */
int tree_rename_final(struct tree *t, const char *user, enum place to, int old_dirfd,
                      const char *old_name, const char *path, uint64_t id, char **ret_name);
/* Writes the head of <final>.log: plain words, readable by the uploader (gid).
 * An existing log keeps its content behind it. */
int tree_write_reason(int dirfd, const char *log_name, const char *reason, gid_t gid);

/* Removes a file or a whole directory of our own making. Symlinks are removed,
 * not followed; mount points and what is nested too deep stay (-EXDEV,
 * -ELOOP). 0 also when there was none. */
int tree_remove(int dirfd, const char *name);

/* Marks what is ours in done and failed: the last line of a kept log, and a
 * file in a kept output directory. What an uploader named alike has no mark,
 * and is never removed along with another job's file. */
#define TREE_LOG_MARK "== spoold: end of the log =="
#define TREE_OUTPUT_MARK ".spoold-output"
bool tree_is_our_log(int dirfd, const char *name);
bool tree_is_our_output(int dirfd, const char *name);
/* Is this name in a private directory one of our own things? */
bool tree_is_ours(const char *name, const char *base);
