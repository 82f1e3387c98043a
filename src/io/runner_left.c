/* Did a handler leave anything beside its file? Its worker looks, since it has the time:
 * the daemon, which moves the files of all of them, then need not. */
#include "io/runner_private.h"

#include "base/dir.h"
#include "core/name.h"

#include <string.h>

struct leftovers {
	const char *name, *output_name;
	bool output;
};

static int note_entry(void *ctx, const char *name, uint64_t ino)
{
	struct leftovers *l = ctx;
	(void)ino;
	bool output = strcmp(name, l->output_name) == 0;
	l->output |= output;
	return !output && strcmp(name, l->name) != 0;
}

bool runner_left_nothing(int job_dirfd, const struct run_order *order)
{
	struct leftovers l = {.name = order->name, .output_name = name_output(order->name)};
	return dir_walk(job_dirfd, note_entry, &l) == 0 && l.output &&
	       dir_is_unused(job_dirfd, l.output_name);
}
