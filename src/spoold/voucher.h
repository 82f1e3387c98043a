/* Vouchers: the marker or the checksum that says of an upload that it is
 * complete. Which one speaks for which upload, and whether it speaks of this one
 * or of an earlier upload of the name. */
#pragma once

#include "core/sums.h"
#include "spoold/upload.h"

struct daemon;

/* What was found of an upload's voucher. */
struct voucher {
	struct file_ident ident;       /* ino 0: there is none */
	bool own;                      /* named after the upload, and for it alone */
	bool stale;                    /* spoke for an earlier upload of the name */
	uint8_t expected[SUMS_DIGEST]; /* completion "checksum" */
	char *name;                    /* below incoming */
	char *problem;                 /* one is there, but: why it says nothing; or NULL */
};
void voucher_clear(struct voucher *v);

/* Is this name that of a voucher, by the user's rule? It is no upload then; what
 * it speaks for and waits for it is looked at. */
bool voucher_is(struct daemon *d, struct user *u, const char *path);
bool voucher_is_name(const struct user *u, const char *path);
/* It was listed, since it was refused or being written, and is due: is it a voucher? It
 * was looked at then, and may be gone from the list. */
bool voucher_judge(struct daemon *d, struct upload_entry *e);
/* Looks for the voucher of an upload and notes in `upload` what it says, as far
 * as that is known (`found`: the SHA-256 of the file, or NULL). */
void voucher_find(struct daemon *d, struct user *u, const char *path, const uint8_t *found,
                  struct upload *upload, struct voucher *ret);
/* What the names of vouchers end in by the user's rule; "" where it knows none. */
const char *voucher_suffix(const struct user *u);
