/* An upload that is not a job yet: what is known of it, and whether it is
 * complete now. Its entry (upload.h) is kept here from the first look to the
 * moment it is handed to accept.h. */
#pragma once

#include "io/tree.h"
#include "io/watch.h"

#include <stdbool.h>

struct daemon;
struct upload_entry;
struct user;

/* Takes note of what a look or an event told about it: a new entry, or one that
 * changed. `by_scan`: nobody saw it change, a scan found it. */
void arrival_track(struct daemon *d, struct user *u, const char *path,
                   const struct file_ident *ident, enum entry_kind kind, enum watch_kind hint,
                   bool by_scan);

/* Judges one whose time has come: on its way to a job, or due again later; the
 * entry may be gone afterwards. */
void arrival_judge(struct daemon *d, struct upload_entry *e);
