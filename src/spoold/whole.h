/* Directories that are one job each (spool.directories "job"): from the first look to
 * the moment one is handed to accept.h. Its entry is one of upload.h, with what is known
 * of the directory beside it.
 *
 * Nothing in it is watched: what is in it is walked through by io/wholes when it is due,
 * so that how it came does not matter. One walk of a user at a time, in the order in
 * which they were due, users side by side. */
#pragma once

#include "core/whole.h"
#include "spoold/upload.h"

struct daemon;
struct wholes_result;

/* What is known of a directory that is to be one job. */
struct whole_look {
	struct upload_entry *entry;
	uint64_t tag;            /* at io/wholes; 0 = not now */
	bool queued;             /* it is, or waits for its turn there */
	bool syncing;            /* the walk is to make it durable, too */
	bool walked;             /* `found` is of an earlier walk */
	bool judged;             /* once, as one that is sound */
	unsigned idle;           /* so often it waited for its uploader, and nothing changed */
	struct whole found;
	uint64_t began_ms;       /* the walk at hand; steady */
	struct whole_look *prev, *next;
};

struct whole_looks {
	struct user *users;         /* that have some waiting and none at io/wholes */
	struct whole_look *walking; /* at io/wholes */
	unsigned walking_n;
	unsigned n;                 /* all that are queued */
	unsigned giving;            /* walks that give a directory back */
	uint64_t last_tag;
};

enum {
	WHOLE_WALKING_MAX = 64,   /* all users together: each holds descriptors */
	WHOLE_RELOOK_MS = 5000,   /* where only its uploader can help, and nothing tells of that */
	WHOLE_IDLE_MAX = 5,       /* each time twice as long; a scan looks at once */
	WHOLE_PAUSE_FACTOR = 10,  /* at least so many times as long as a walk took is the next away */
};

/* Is a directory of this name in incoming to be one job? */
bool whole_is(const struct user *u, const char *path);
/* Is this something in such a directory? */
bool whole_is_inner(const struct user *u, const char *path);
/* Takes note of one: a new entry, or one that is to be looked at. */
void whole_track(struct daemon *d, struct user *u, const char *path,
                 const struct file_ident *ident, bool moved_in, bool by_scan);
/* By the setting it is none any more. */
void whole_forget(struct daemon *d, struct user *u, const char *path);
/* Its time has come. The entry may be gone afterwards. */
void whole_due(struct daemon *d, struct upload_entry *e);
/* Begins the walks that others made way for. */
void whole_tick(struct daemon *d);
uint64_t whole_next(const struct daemon *d);
/* No result of a walk is wanted any more. */
void whole_abandon(struct daemon *d, struct upload_entry *e);
/* Its directory ended in `place` as `name`, or went back to incoming: all in it is its
 * uploader's again. */
void whole_give_back(struct daemon *d, const struct user *u, const struct job *job,
                     enum place place, const char *name);
/* Where tree_find() took a directory in incoming for that of a job which was claimed
 * once, or is done: only a walk tells that nothing in it changed since. It is waited for; what comes
 * here is what a power cut undid. Negative errno: it could not be read. */
int whole_confirm(struct daemon *d, const struct user *u, const struct job *job,
                  struct tree_found *found);
/* The same of one that was claimed, and is out of its uploader's reach. -ESTALE: it is
 * another one, and was put back, or kept as failed/<*ret_kept> (free). */
int whole_confirm_taken(struct daemon *d, const struct user *u, const struct job *job,
                        char **ret_kept);
/* What walks found. */
void whole_read_results(struct daemon *d);
