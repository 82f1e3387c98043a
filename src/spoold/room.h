/* Room: what of a user is let in at a time (core/quota).
 *
 * A complete upload that is over a limit stays where it is, as an entry in a line
 * of its own. Only the first of the line is asked about, so that nothing smaller
 * overtakes it; one that is too large for its limit stands beside the line. The
 * line goes on when the index or a reload says that there is room (room_look);
 * only for free space, of which nothing tells, it looks every few seconds.
 * Memory is bounded: where there are more than the line holds, further uploads
 * are left to the scan that follows when it has become shorter. */
#pragma once

#include "spoold/upload.h"

struct daemon;

/* A complete upload asks to be let in. True: it goes on its way, and counts.
 * False: it waits, or is left to the next scan and gone. */
bool room_ask(struct daemon *d, struct upload_entry *e);
/* It waits no longer: it changed, or is gone. What is behind it moves up. */
void room_leave(struct daemon *d, struct upload_entry *e);
/* It is on its way no longer: it is a job now, or waits again. */
void room_arrived(struct daemon *d, struct upload_entry *e);
/* The user's jobs are another number now. */
void room_look(struct daemon *d, struct user *u, uint64_t files, uint64_t bytes);
/* The limits may be others: all that waits asks again. */
void room_ask_all(struct daemon *d, struct user *u);
/* Why it waits, and what ends that, for people. */
void room_explain(const struct upload_entry *e, char because[QUOTA_TEXT], const char **ret_next);
/* What the first that waits lacks, in words; "" where none waits. */
char *room_summary(const struct user *u, char out[QUOTA_TEXT]);
