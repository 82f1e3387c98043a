#include "spoold/unsafe.h"

#include "base/escape.h"
#include "base/log.h"
#include "spoold/daemon.h"
#include "spoold/notice.h"

#include <stdlib.h>
#include <string.h>

void unsafe_note(struct daemon *d, struct upload_entry *e, int error)
{
	char *shown = escape_str(e->path);
	log_error("user %s: incoming/%s did not reach the disk: %s; what it holds may be lost, so it "
	          "is not taken until it is uploaded again (or touched, by somebody who made sure "
	          "that it is whole)",
	          e->user->name, shown == NULL ? "?" : shown, strerror(-error));
	free(shown);
	e->error = e->unsafe = error;
	notice_waits(d, e);
	d->failed_count++;
}

void unsafe_mark(struct daemon *d, struct upload_entry *e)
{
	if (!e->unsafe_marked)
		e->unsafe_marked = tree_mark_unsafe(d->tree, e->user->name, e->path, &e->look.ident,
		                                    e->unsafe) == 0;
}

void unsafe_found(struct daemon *d, struct upload_entry *e, int error)
{
	struct unsafe_kept *k = &d->intake.unsafe;
	unsigned i = k->n++ % UNSAFE_KEPT_MAX;
	k->files[i].user = e->user->number;
	k->files[i].ident = e->look.ident;
	k->files[i].error = error;
	unsafe_note(d, e, error);
	unsafe_mark(d, e);
}

bool unsafe_recall(struct daemon *d, struct upload_entry *e)
{
	const struct unsafe_kept *k = &d->intake.unsafe;
	for (unsigned i = 0; i < k->n && i < UNSAFE_KEPT_MAX; i++)
		if (k->files[i].user == e->user->number &&
		    file_ident_same(&k->files[i].ident, &e->look.ident)) {
			unsafe_note(d, e, k->files[i].error);
			unsafe_mark(d, e);
			return true;
		}
	return false;
}
