/* Is there room for one more upload of this user? Pure.
 *
 * What is over a limit is not refused: it waits in incoming. Uploads wait in
 * the order in which they became complete, and the first of them alone is asked
 * about: what is smaller never overtakes it, so that nothing waits for ever. For
 * the same reason one that is larger than all of max_bytes is let in when
 * nothing else of its user waits. What is larger than max_upload waits outside
 * of that order: no room there could be would help it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0 = no limit. */
struct quota {
	uint32_t max_files;  /* pending and held jobs */
	uint64_t max_bytes;  /* their size together */
	uint64_t max_upload; /* bytes of one */
	uint64_t min_free;   /* bytes that stay free where the spool lies */
};

struct quota_use {
	uint64_t files, bytes; /* of this user: pending, held, or on their way to that */
	uint64_t free;         /* bytes; looked at only where there is a min_free */
};

enum quota_answer {
	QUOTA_ROOM,
	QUOTA_TOO_LARGE, /* until the limit is another one, or the file */
	QUOTA_FILES,     /* until one of its user's jobs has started */
	QUOTA_BYTES,
	QUOTA_SPACE,     /* until somebody made room: nothing tells when */
};

enum quota_answer quota_ask(const struct quota *q, const struct quota_use *use, uint64_t size);

/* Why it waits, as the end of a sentence that begins with "it", and what ends
 * that. Without figures that change while it waits. */
enum { QUOTA_TEXT = 200 };
char *quota_because(enum quota_answer answer, const struct quota *q, char out[QUOTA_TEXT]);
const char *quota_next(enum quota_answer answer);
