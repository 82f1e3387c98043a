/* Uploads that did not reach the disk. The kernel tells once that it could not write: a second
 * fsync() would succeed without the data. So such an upload is not taken as it is, under
 * whatever name, and not by another spoold either. */
#pragma once

#include "core/job.h"

#include <stdint.h>

struct daemon;
struct upload_entry;

/* Renamed within the moment of its sync: of that there are few. */
enum { UNSAFE_KEPT_MAX = 32 };

/* The last ones, however they are called by now. */
struct unsafe_kept {
	struct {
		uint64_t user; /* its number */
		struct file_ident ident;
		int error;
	} files[UNSAFE_KEPT_MAX];
	unsigned n; /* ever */
};

/* Says so, and holds it against this upload until it changes. */
void unsafe_note(struct daemon *d, struct upload_entry *e, int error);
/* Marks it for the next spoold, where it is not marked yet: the disk that failed may not take
 * the mark just now. */
void unsafe_mark(struct daemon *d, struct upload_entry *e);
/* Its sync failed: as both, also where it was renamed while it was synced. */
void unsafe_found(struct daemon *d, struct upload_entry *e, int error);
/* Is this upload, as it is, one of those, under another name? Then it is held against it. */
bool unsafe_recall(struct daemon *d, struct upload_entry *e);
