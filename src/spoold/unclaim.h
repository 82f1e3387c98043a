/* A claim that came to nothing. */
#pragma once

#include "core/job.h"
#include "spoold/user.h"

struct daemon;

/* The claim is committed but the job could not be handed over: back into the
 * line (or canceled, when its file is gone or another one). `place`: where the
 * file is. */
void unclaim_job(struct daemon *d, struct user *u, const struct job *job, int error,
                 enum place place);
