/* Checks: the SHA-256 of uploads whose checksum is there. One file of a user at
 * a time, in the order in which they were put, users side by side; what io/digest
 * found out is noted in the entry, which is then judged again. */
#pragma once

#include "core/sums.h"
#include "spoold/upload.h"

struct daemon;

/* What is known of an upload's content; an entry has one once it was checked. */
struct check {
	struct upload_entry *entry;
	uint64_t tag;            /* at io/digest; 0 = waits for its turn */
	bool found_any;
	struct file_ident of;    /* the file as it was when it was read */
	uint8_t found[SUMS_DIGEST];
	char *mismatch;          /* why it fails, once that is certain; or NULL */
	struct check *prev, *next;
};

struct checks {
	struct user *users;      /* that have files waiting and none at io/digest */
	struct check *reading;   /* at io/digest */
	unsigned reading_n;
	unsigned n;              /* all of them */
	uint64_t last_tag;
};

/* Files open for it, all users together. */
enum { CHECK_READING_MAX = 64 };

/* The entry's file is to be read; it is UPLOAD_CHECKING until that is done. */
void check_begin(struct daemon *d, struct upload_entry *e);
/* Its file changed or went: back to UPLOAD_ARRIVING, nothing is known of it. */
void check_abandon(struct daemon *d, struct upload_entry *e);
/* What was found out. */
void check_read_results(struct daemon *d);
/* The SHA-256 of the file as it is now, or NULL where it was not read yet. */
const uint8_t *check_found(const struct upload_entry *e);
/* Part of the file that was read, 0 to 100. */
unsigned check_percent(struct daemon *d, const struct upload_entry *e);
/* The upload of this user that is being read, or NULL; *ret_more: that wait for it. */
const struct upload_entry *check_at_work(const struct user *u, unsigned *ret_more);
void check_free(struct check *c);
