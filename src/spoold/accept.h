/* Accepting: what intake found complete is made durable and becomes a job. */
#pragma once

#include "spoold/intake.h"

struct daemon;

/* A complete upload joins the next batch; the batch goes to the syncer. */
void accept_ready(struct daemon *d, struct upload_entry *e);
/* One that needs no batch: it was made durable, or need not be. */
void accept_now(struct daemon *d, struct upload_entry *e);
void accept_send_batch(struct daemon *d);
/* Do so many batches wait for the syncer that what is complete had better wait, too? */
bool accept_is_full(const struct daemon *d);
bool accept_idle(const struct daemon *d);
void accept_clear(struct daemon *d);

/* A pending or held job whose file is gone or replaced: adds the change. */
void accept_gone(struct daemon *d, struct user *u, const struct job *job, const char *why);

/* An upload cannot be read or made durable: said once. 0: it can. */
void accept_note_error(struct upload_entry *e, int error);
/* Shall what came later wait until this one was tried again? Where descriptors or
 * memory are short it would fare no better; another error that passes may be its
 * own, and holds nobody up a second time. */
bool accept_may_pass(struct upload_entry *e, int error);
