/* What recovery does to jobs and files, as changes (turn.h). */
#pragma once

#include "core/job.h"
#include "core/reconcile.h"
#include "spoold/user.h"

struct daemon;

/* Puts a job right by one of the remedies that only concern the index;
 * `final_name`: under which its file was found in done or failed, or NULL. */
void mend_job(struct daemon *d, struct user *u, const struct job *job, enum remedy remedy,
              const char *final_name);

/* Takes a file in processing/<id> that the index does not know into the line,
 * as an interrupted job: the index was lost. One that no worker got goes back to incoming
 * where it has a writer, or is a directory. -errno: that cannot be told, or done, now. */
int adopt_file(struct daemon *d, struct user *u, uint64_t id, const char *name,
               const struct file_ident *ident);
