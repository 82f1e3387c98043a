/* Intake: from a hint to a job.
 *
 * Every way in (event, scan, poll) ends in intake_look(). An upload that is
 * not complete is an entry here, shown as "arriving"; when core/settle says it
 * is complete it is synced (io/sync), looked at once more, and accepted by a
 * change. Entries are few: a backlog goes through scan.h in portions. */
#pragma once

#include "base/heap.h"
#include "io/tree.h"
#include "io/watch.h"
#include "spoold/unsafe.h"
#include "spoold/upload.h"

struct daemon;

struct sync_batch;

struct intake {
	struct heap due;               /* key: steady ms and a running number, see upload.c */
	uint64_t order;
	uint64_t noticed;              /* uploads, since the start */
	struct upload_entry *ready, **ready_end; /* complete, for the next batch */
	size_t ready_n;
	struct sync_batch *batches;    /* at the syncer, so many: */
	unsigned batches_n;
	uint64_t last_tag;
	struct unsafe_kept unsafe;
	unsigned overflows;            /* of the kernel's queue of events, since the start */
	bool mount_unseen;             /* the last tick did not look for the marker */
};

enum {
	INTAKE_BATCH_MAX = 512,         /* uploads that are synced together, two descriptors each */
	INTAKE_BATCHES_MAX = 4,         /* one is synced, others wait for that: so the syncer never
	                                   waits, and descriptors do not run out however slow it is */
	INTAKE_MOUNT_MS = 100,          /* a tick without uploads looks for the marker this often */
};

void intake_init(struct daemon *d);

/* Batches that were synced. */
void intake_read_synced(struct daemon *d);

/* Looks at one name in a user's incoming and does what follows: nothing for
 * what is known, an entry for what is new, a change for what is gone or
 * replaced. */
void intake_look(struct daemon *d, struct user *u, const char *path, enum watch_kind kind);
/* The same when an upload of this name was worked on, and an event came meanwhile: of a
 * rename where that brought `renamed`, and nobody wrote to it since. */
void intake_look_again(struct daemon *d, struct user *u, const char *path,
                       const struct file_ident *renamed);
/* The same for what a scan just saw (no look of its own). Returns true where
 * the file is known to the index as it is. `ret_new`: not known to anybody: the
 * scan keeps it for its sorted portion. `no_jobs`: the index has none of this user. */
bool intake_seen(struct daemon *d, struct user *u, const char *path,
                 const struct file_ident *ident, enum entry_kind kind, bool no_jobs,
                 bool *ret_new);
/* Takes what a scan found, in the order of the calls where files are equally
 * old: what is old enough goes on its way at once, the rest arrives. Where that was a while
 * ago, `ctime_ns` says how it was then: what changed since is not taken. 0: just now. */
void intake_take(struct daemon *d, struct user *u, const char *path, int64_t ctime_ns);
/* Does its name keep it from being a job? */
bool intake_is_ignored(const struct user *u, const char *path);
/* This file is no longer there. */
void intake_left(struct daemon *d, struct user *u, const char *path);

/* Nothing is under way that only time or the syncer have to finish (for once). */
bool intake_idle(const struct daemon *d);

void intake_tick(struct daemon *d);
uint64_t intake_next(const struct daemon *d);
