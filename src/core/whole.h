/* A directory that is one job: what a walk over it finds, put together to an identity,
 * and whether it is complete. Pure: io/wholes walks. */
#pragma once

#include "core/settle.h"

enum whole_flaw {
	WHOLE_SOUND,
	WHOLE_UNFINISHED, /* something in it has a name of a transfer that is not over */
	WHOLE_REFUSED,    /* something in it can be no part of a job */
};

/* What was found in a directory. */
struct whole {
	struct file_ident ident; /* as a job's: see there */
	uint64_t files, directories;
	int64_t newest_ns;       /* the last change of anything in it, itself included: a ctime */
	bool writer;             /* somebody is still at it */
	enum whole_flaw flaw;
	const char *problem;     /* "is a symbolic link": static */
	char at[256];            /* what has the flaw, below the directory; cut where it is longer */
};

/* A walk begins: `top` is the directory itself. */
void whole_begin(struct whole *w, const struct file_ident *top);
/* Takes an entry in, in any order; `path` is below the directory. Of directories only
 * path and ctime count: what is put into one and goes again is no change. */
void whole_add(struct whole *w, const char *path, bool directory, const struct file_ident *ident);
/* The first one counts; a refusal before anything else. */
void whole_note_flaw(struct whole *w, enum whole_flaw flaw, const char *problem, const char *path);
/* The walk is over: makes the identity whole. */
void whole_end(struct whole *w);

/* Does this name say that a transfer is not over? `ignore` are the patterns of ignored
 * names (may be NULL): of hidden ones only those that rsync gives, since others
 * (.DS_Store) stay for ever. */
bool whole_is_unfinished(const char *name, const char *const *ignore);

/* Is it complete? `upload` is what is known of how it came; its identity is not asked.
 * Without a file in it it never is, and waits. */
enum settle_answer whole_judge(const struct settle_policy *policy, const struct whole *w,
                               const struct upload *upload, uint64_t now_steady_ms,
                               uint64_t now_wall_ms, uint64_t *ret_due_steady_ms);
