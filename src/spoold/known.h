/* What lies in incoming, held against the jobs of its path: one of them may be this very
 * file or directory, also where a power cut undid what was done with it. */
#pragma once

#include "core/job.h"
#include "io/tree.h"

struct daemon;
struct user;

enum known {
	KNOWN_NOT,   /* a new upload */
	KNOWN_SAME,  /* a job already; moves that a power cut undid are redone */
	KNOWN_ERROR, /* the index cannot be asked now; looked at again soon */
};

/* `kind` is a file's or a directory's; of the latter `ident` is what a look at it alone
 * tells. Jobs that had the path, or whose file this was before its uploader wrote into it,
 * are canceled. */
enum known known_job(struct daemon *d, struct user *u, const char *path,
                     const struct file_ident *ident, enum entry_kind kind);
/* Has a claim taken its file that could not ask for writers then, so that the job waits as
 * if it lay in incoming? Or cannot that be told now? Then nobody replaced it. */
bool known_is_taken(struct daemon *d, struct user *u, const struct job *job);
