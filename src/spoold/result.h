/* Results: what the end of an attempt does to a job and to its file. */
#pragma once

#include "core/job.h"
#include "spoold/dispatch.h"

struct daemon;

/* What recovery found out: a result, or that there is none. As
 * dispatch_result(), but for a job in whatever state that has not ended;
 * `place`: where its file is. */
void result_recovered(struct daemon *d, struct user *u, const struct run_result *result,
                      enum place place);

/* A job became final: history, retention, whoever waits, and its file.
 * `from`: where the file is, PLACE_NOWHERE = to be found out. */
void result_ended(struct daemon *d, struct user *u, const struct job *job, enum place from);

/* Is what was the file of a job that ended another job's by now? The number of an
 * inode is given again, a fetched file may be uploaded again, and one that a power
 * cut brought back to incoming may be written anew. */
bool result_is_of_later(struct daemon *d, const struct user *u, const struct job *job);

/* A job failed for good: where it is set so, the user's line is held, within a change. */
int result_hold_line(struct daemon *d, const struct user *u, const struct job *job);

/* Moves that failed are due again. */
void result_move_again(struct daemon *d);

void dispatch_forget(struct daemon *d, uint64_t job);
