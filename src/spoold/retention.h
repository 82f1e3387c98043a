/* Retention: final files and their history, when their time is over. */
#pragma once

#include "base/heap.h"

#include <stdbool.h>

struct daemon;
struct job;
struct user;

struct removal;

struct retention {
	struct heap due; /* users, by the earliest end of a retention time that is known of; wall ms */
	struct removal *removal; /* under way: files are gone, their history is to follow; or NULL */
};

enum {
	RETENTION_SLICE = 256,        /* jobs per turn */
	RETENTION_USERS = 64,         /* looked at in one tick */
	RETENTION_FDS = RETENTION_USERS * 3 * 3, /* of each user, for each final state: three */
	RETENTION_GO_ON_MS = 20,      /* with the rest of a large directory */
	RETENTION_RETRY_MS = 60000,   /* a file that could not be removed */
};

/* A job became final: `finished_ms` + `keep_ms` may be the next due time. */
void retention_note(struct daemon *d, struct user *u, uint64_t finished_ms, uint64_t keep_ms);
/* What is due of this user is not known: it was reconciled and its incoming looked
 * through (before that, a final file may not be in its place yet, but in incoming
 * again, and its history is still needed), or settings changed. */
void retention_look(struct daemon *d, struct user *u);
void retention_tick(struct daemon *d);
/* Is it past its time? Its file may have been removed, and a power cut may bring it back. */
bool retention_is_due(const struct daemon *d, const struct user *u, const struct job *job);
/* Is this job about to be forgotten, its file gone already? Of a directory whose time is
 * over a part may be gone, by a removal that a crash cut short. */
bool retention_removes(const struct daemon *d, const struct user *u, const struct job *job);
/* A batch that was synced: true where it was of this room. */
bool retention_synced(struct daemon *d, uint64_t tag, int error);
/* At the end; the syncer is gone already. */
void retention_clear(struct daemon *d);
uint64_t retention_next(const struct daemon *d);
