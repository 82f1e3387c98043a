/* A directory that is one job, where its inode and time alone are not enough: it is walked
 * through here and now, and compared with what was accepted. */
#include "spoold/whole.h"

#include "base/fd.h"
#include "io/wholes.h"
#include "spoold/daemon.h"

#include <errno.h>

/* Takes the descriptor, or an error. */
static int compare(int fd, const struct job *job)
{
	const struct wholes_order order = {.probe = true};
	struct wholes_result result;
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
	wholes_look(fd, &order, &result);
	fd_close(fd);
	bool same = file_ident_same(&job->ident, &result.whole.ident) && !result.whole.writer;
	return result.error < 0 ? result.error : same ? 0 : -ESTALE;
}

int whole_confirm_taken(struct daemon *d, const struct user *u, const struct job *job,
                        char **ret_kept)
{
	if (job->ident.whole <= WHOLE_UNKNOWN)
		return 0;
	int r = compare(tree_open_taken(d->tree, u->name, job->id, job->path), job);
	int back = r == -ESTALE ? tree_put_back(d->tree, u->name, job->id, job->path, ret_kept) : 0;
	return back < 0 ? back : r;
}

int whole_confirm(struct daemon *d, const struct user *u, const struct job *job,
                  struct tree_found *found)
{
	/* What is canceled before its turn takes along what came into it; somebody may have put
	 * one into done without any. */
	bool as_it_is = job->attempt == 0 && job->state != JOB_DONE;
	if (job->ident.whole <= WHOLE_UNKNOWN || as_it_is ||
	    found->place != PLACE_INCOMING || !found->same)
		return 0;
	int r = compare(tree_open_whole(d->tree, u->name, job->path), job);
	found->same = r == 0;
	return r == -ESTALE ? 0 : r;
}
