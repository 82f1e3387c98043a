/* Is this upload complete? One rule for every way in. Pure: the caller looks
 * at the file and passes what it saw. */
#pragma once

#include "core/job.h"

enum completion { COMPLETION_AUTO, COMPLETION_RENAME, COMPLETION_MARKER, COMPLETION_CHECKSUM };

/* What its checksum says of a file. */
enum checksum {
	CHECKSUM_NONE,      /* there is none, or none that can be read */
	CHECKSUM_UNCHECKED, /* there is one; the file was not read yet */
	CHECKSUM_MATCHES,
	CHECKSUM_DIFFERS,
	CHECKSUM_STALE,     /* differs, and is known to be of an earlier upload of this name */
};

/* What is known of a file in incoming. */
struct upload {
	struct file_ident ident;     /* as last seen */
	bool renamed_in;             /* its last event was a rename to this name */
	bool found;                  /* a scan found it: how it came was not seen */
	bool marker_seen;            /* its marker is there, and came after it */
	bool marker_early;           /* its marker is older than its last change */
	enum checksum checksum;
	uint64_t changed_steady_ms;  /* last change that was seen; 0 = never seen changing */
};

/* What a probe of the file's writers said (see tree_probe_writer). */
enum writers { WRITERS_NONE, WRITERS_SOME, WRITERS_UNKNOWN };

enum settle_answer {
	SETTLE_COMPLETE,
	SETTLE_WAIT,    /* ask again at *ret_due_steady_ms */
	SETTLE_WRITER,  /* a process has it open for writing; ask again then, or at its next event */
	SETTLE_CONVENTION, /* waits for its rename, marker or checksum: only an event helps */
	SETTLE_CHECK,      /* its content is to be read: ask again with what its checksum says */
	SETTLE_MISMATCH,   /* complete, and not what its checksum says */
};

struct settle_policy {
	enum completion completion;
	uint64_t settle_ms;
};

/* While a writer has the file open, it is looked at again this often. */
enum { SETTLE_WRITER_POLL_MS = 1000 };

/* `now_wall_ms` is compared with the kernel's ctime, for files that were
 * there before we were; a ctime in the future counts as "just changed", each
 * time it is asked: whoever is told to wait notes changed_steady_ms, or waits
 * until the clock gets there. */
enum settle_answer settle_judge(const struct settle_policy *policy, const struct upload *upload,
                                enum writers writers, uint64_t now_steady_ms,
                                uint64_t now_wall_ms, uint64_t *ret_due_steady_ms);
