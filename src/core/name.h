/* Names of users and files: which are legal, which are ignored, what they
 * become. Pure functions over bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NAME_USER_MAX = 100, /* bytes: fits every key and path we build from it */
	NAME_FILE_MAX = 255, /* bytes: the kernel's NAME_MAX */
};

/* NULL where `user` is a legal user name, else the reason, as the end of a
 * sentence: "starts with a dot". Legal: 1 to NAME_USER_MAX bytes of printable
 * UTF-8 without space, slash and backslash, not starting with '.' or '-'. */
const char *name_user_problem(const char *user);

/* Does one of the shell patterns (NULL-terminated list, may be NULL) match
 * the file name? `name` is a base name. */
bool name_matches(const char *name, const char *const *patterns);

/* The same for each component of a relative path: what lies in a directory of
 * an ignored name is as little finished as the directory. */
bool name_path_matches(const char *path, const char *const *patterns);

/* Base name within a relative path: a pointer into `path`. */
const char *name_base(const char *path);

/* The name a file gets in done or failed when its own is taken: the id goes
 * before the extension ("report.42.csv", "README.42", ".x.42"); the stem is
 * cut where the name would exceed NAME_FILE_MAX. `path` may have directories.
 * Returns a new string, or NULL when memory is out. */
char *name_with_id(const char *path, uint64_t id);

/* The n-th name to try for a file whose own may be taken: its own (n = 0),
 * with the id (1), then with id and n. Returns a new string, or NULL when
 * memory is out. */
char *name_candidate(const char *path, uint64_t id, unsigned n);

/* Names beside the file in its private directory: "log", "output" and the
 * worker's result. An upload of the same name moves ours aside. `base` is the
 * upload's base name. The strings are static. */
const char *name_log(const char *base);
const char *name_output(const char *base);
#define NAME_RESULT ".spoold-result"
#define NAME_CANCEL ".spoold-cancel"
/* Head of the name of an upload's marker or checksum there; its suffix follows. */
#define NAME_VOUCHER ".spoold-voucher"

/* A new string "<final><suffix>" for logs and outputs kept beside a final
 * file; the stem is cut where it would exceed NAME_FILE_MAX. */
char *name_with_suffix(const char *path, const char *suffix);
