/* Intake: from a hint to a job.
 *
 * Every way in (event, scan, poll) ends in intake_look(). An upload that is
 * not complete is an entry here, shown as "arriving"; when core/settle says it
 * is complete it is synced (io/sync), looked at once more, and accepted by a
 * change. Entries are few: a backlog goes through scan.h in portions. */
#pragma once

#include "base/heap.h"
#include "core/settle.h"
#include "io/tree.h"
#include "io/watch.h"
#include "spoold/user.h"

struct daemon;

enum upload_state {
	UPLOAD_ARRIVING,  /* waits for its due time or an event */
	UPLOAD_REFUSED,   /* a symlink, a device ...: never a job */
	UPLOAD_SYNCING,   /* complete; being made durable */
	UPLOAD_ACCEPTING, /* in a change */
};

struct upload_entry {
	struct user *user;
	enum upload_state state;
	struct upload look;
	enum settle_answer waits_for;  /* while arriving */
	enum entry_kind kind;
	uint64_t first_ms;      /* wall */
	uint64_t complete_ms;   /* wall */
	bool gone;              /* dropped while syncing or accepting */
	int error;              /* why it could not be made durable, or 0 */
	bool from_scan;         /* counts in scan.feeding */
	struct heap_node due;
	struct upload_entry *batch_next;
	UT_hash_handle hh;
	char path[];
};

struct sync_batch;

struct intake {
	struct heap due;               /* key: steady ms and a running number, see intake.c */
	uint64_t order;
	bool more_hints;               /* the last look at them did not take all */
	struct upload_entry *ready, **ready_end; /* complete, for the next batch */
	size_t ready_n;
	struct sync_batch *batches;    /* at the syncer */
	uint64_t last_tag;
	bool mount_unseen;             /* the last tick did not look for the marker */
};

enum {
	/* Of one user, at some 300 bytes each, so that nobody takes the room of
	 * others. What is more is left to the scan that follows when there is room
	 * again. Many may wait for a writer or a marker that never comes: those
	 * leave room for uploads that were announced as complete. */
	INTAKE_USER_MAX = 65536,
	INTAKE_WAITING_MAX = 8192,
	/* Of these: what is refused needs no entry but to be told of once. */
	INTAKE_REFUSED_MAX = 1024,
	INTAKE_BATCH_MAX = 512,         /* descriptors open for one sync */
	INTAKE_RELOOK_MS = 5000,        /* hard links may lose their other name unseen */
	INTAKE_MOUNT_MS = 100,          /* a tick without uploads looks for the marker this often */
};

void intake_init(struct daemon *d);
void intake_clear(struct daemon *d);

/* All hints that are there. */
void intake_read_hints(struct daemon *d);
/* Batches that were synced. */
void intake_read_synced(struct daemon *d);

/* Looks at one name in a user's incoming and does what follows: nothing for
 * what is known, an entry for what is new, a change for what is gone or
 * replaced. */
void intake_look(struct daemon *d, struct user *u, const char *path, enum watch_kind kind);
/* The same for what a scan just saw (no look of its own). Returns true where
 * the file is known to the index as it is. `ret_new`: not known to anybody: the
 * scan keeps it for its sorted portion. */
bool intake_seen(struct daemon *d, struct user *u, const char *path,
                 const struct file_ident *ident, enum entry_kind kind, bool *ret_new);
/* Takes what a scan found, in the order of the calls where files are equally
 * old: what is old enough goes on its way at once, the rest arrives. */
void intake_take(struct daemon *d, struct user *u, const char *path);
/* This file is no longer there. */
void intake_left(struct daemon *d, struct user *u, const char *path);

struct upload_entry *intake_find(const struct user *u, const char *path);
/* Uploads of this user that are not jobs yet and may become some. */
uint64_t intake_arriving(const struct user *u);
/* It arrived after what a scan found or still sorts in, and waits for that. */
bool intake_behind_backlog(const struct daemon *d, const struct upload_entry *e);
/* Nothing is under way that only time or the syncer have to finish (for once). */
bool intake_idle(const struct daemon *d);

void intake_tick(struct daemon *d);
uint64_t intake_next(const struct daemon *d);
