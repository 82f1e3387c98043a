/* Recovery: makes index and directories agree, by core/reconcile. At start, and
 * for each user whose lock becomes free. */
#pragma once

#include "core/job.h"
#include "spoold/user.h"

struct daemon;

/* Looks at all active jobs and all private directories of a user. Until it
 * is over (u->reconciled) none of its jobs starts. With the lock held by
 * another process it is put off until that is free. */
void recover_user(struct daemon *d, struct user *u);
/* What was to be found out about a user's files could not be: its jobs wait, and
 * all of it is looked at again in a while. 0, or -ENOMEM. */
int recover_later(struct daemon *d, struct user *u, int error);
/* All users, anew: the index or the directories may not be what they were. */
void recover_all(struct daemon *d);
/* One job whose file is not where the index says. A negative errno where that
 * cannot be found out now: nothing was concluded. */
int recover_job(struct daemon *d, struct user *u, const struct job *job);
