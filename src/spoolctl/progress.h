/* One line on stderr's terminal that is written over again and again; nothing
 * where stderr is none. */
#pragma once

#include "spoolctl/spoolctl.h"

void progress_show(const struct ctl *ctl, const char *line);
/* Takes the line away again. */
void progress_end(const struct ctl *ctl);

/* Shows how far a copy is, now and then; for tree_submit(). */
struct copy_progress {
	const struct ctl *ctl;
	const char *name;     /* escaped */
	uint64_t total;       /* bytes, 0 = not known */
	uint64_t next_ms;     /* steady; when to draw next */
};
void copy_progress_begin(struct copy_progress *p, const struct ctl *ctl, const char *name,
                         uint64_t total);
void copy_progress_each(void *copy_progress, uint64_t bytes);
