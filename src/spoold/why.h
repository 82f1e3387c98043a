/* Why an upload is no job yet, in words for people: for whoever asks
 * (request_explain.c), and for its uploader (notice.c). */
#pragma once

#include "io/tree.h"

struct daemon;
struct upload_entry;
struct user;

enum { WHY_TEXT = 512 };

struct explanation {
	char because[WHY_TEXT];
	char next[WHY_TEXT]; /* "" = nothing follows */
};

void why_say(char out[WHY_TEXT], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An upload that is listed: it arrives, is over a limit, or is refused. */
void why_waits(struct daemon *d, const struct upload_entry *entry, struct explanation *ret);
/* What can never be a job. */
void why_refused(enum entry_kind kind, struct explanation *ret);
/* The spool, or the mount that is the user's directory, is not there. */
void why_unmounted(const struct daemon *d, struct explanation *ret);
void why_away(const struct user *u, struct explanation *ret);
/* The index cannot be written. */
void why_stalled(const struct daemon *d, struct explanation *ret);
