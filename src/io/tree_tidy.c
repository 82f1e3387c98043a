/* Which directories below incoming are left over: judged while a walk is in them,
 * see tree_scan.c. */
#include "io/tree_private.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int64_t to_ns(struct statx_timestamp ts)
{
	return clock_stamp_ns(ts.tv_sec, ts.tv_nsec);
}

static int look(const struct tidying *tidy, int dirfd, struct statx *ret)
{
	if (statx(dirfd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, ret) < 0)
		return -errno;
	bool ours = makedev(ret->stx_dev_major, ret->stx_dev_minor) == tidy->dev &&
	            ret->stx_uid == tidy->uid;
	return ours && (ret->stx_mask & STATX_BTIME) != 0 ? 0 : -EPERM;
}

void tree_tidy_begin(struct tidying *tidy)
{
	tidy->removing = tidy->used = false;
	tidy->newest_ns = 0;
}

bool tree_tidy_judge(struct tidying *tidy, int dirfd, bool leaf)
{
	struct statx st;
	if (look(tidy, dirfd, &st) < 0)
		return false;
	int64_t changed_ns = to_ns(st.stx_ctime);
	if (changed_ns > tidy->newest_ns)
		tidy->newest_ns = changed_ns;
	/* Something was put into it and left it again. */
	if (leaf && to_ns(st.stx_mtime) > to_ns(st.stx_btime))
		tidy->used = true;
	return true;
}

bool tree_tidy_is_due(struct tidying *tidy, int64_t now_ns)
{
	uint64_t after_ms = tidy->used ? tidy->rule.after_ms : tidy->rule.unused_ms;
	int64_t due_ns = tidy->newest_ns + (int64_t)after_ms * 1000000;
	if (due_ns <= now_ns)
		return true;
	if (tidy->due_ns == 0 || due_ns < tidy->due_ns)
		tidy->due_ns = due_ns;
	return false;
}

bool tree_tidy_unchanged(const struct tidying *tidy, int dirfd)
{
	struct statx st;
	return look(tidy, dirfd, &st) == 0 && to_ns(st.stx_ctime) <= tidy->newest_ns;
}
