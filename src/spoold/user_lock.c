/* The worker lock of a user: held while it has work, and a little longer. */
#include "spoold/user.h"

#include "base/fd.h"
#include "base/log.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <string.h>

static void let_go(struct daemon *d, struct user *u)
{
	tree_drop_spare(d->tree, u->name);
	u->lock_fd = fd_close(u->lock_fd);
	u->lock_gone = false;
}

static bool runs_nothing(struct daemon *d, const struct user *u)
{
	struct user_row row = {0};
	if (index_get_user(d->index, u->name, &row) < 0)
		return false;
	bool nothing = row.count[JOB_QUEUED] + row.count[JOB_PROCESSING] == 0;
	user_row_clear(&row);
	return nothing;
}

/* Nobody else sees that the user is at work where the lock is elsewhere. */
static int take_lock(struct daemon *d, struct user *u)
{
	if (u->lock_fd >= 0 && !runs_nothing(d, u))
		return -EBUSY;
	let_go(d, u);
	return tree_lock_user(d->tree, u->name);
}

int user_lock(struct daemon *d, struct user *u)
{
	if (u->lock_fd >= 0 && !u->lock_gone)
		return 0;
	int fd = take_lock(d, u);
	if (fd >= 0) {
		u->lock_fd = fd;
		u->lock_wanted = false;
		heap_remove(&d->users.locks, &u->lock_due);
		return 0;
	}
	if (!u->lock_wanted)
		log_notice("user %s: %s; its jobs wait for that", u->name,
		           fd == -EAGAIN  ? "an earlier worker still runs"
		           : fd == -EBUSY ? "a job runs in the directory that was there before"
		                          : strerror(-fd));
	if (fd == -EAGAIN)
		stray_wake_workers(d);
	u->lock_wanted = true;
	u->reconciled = false;
	user_touch(d, u);
	unsigned wait_ms = fd == -ENOENT ? USER_GONE_RETRY_MS : USER_LOCK_RETRY_MS;
	int r = heap_put(&d->users.locks, &u->lock_due, d->steady_ms + wait_ms);
	return r < 0 ? r : fd;
}

void user_look_at_lock(struct daemon *d, struct user *u)
{
	if (u->lock_fd < 0 || u->lock_gone || tree_is_lock_in_place(d->tree, u->name, u->lock_fd))
		return;
	u->lock_gone = true;
	u->reconciled = false;
	user_touch(d, u);
	if (heap_put(&d->users.locks, &u->lock_due, d->steady_ms) < 0)
		recover_user(d, u);
}

bool user_is_idle(struct daemon *d, const struct user *u)
{
	return u->reconciled && runs_nothing(d, u);
}

void user_unlock_idle(struct daemon *d, struct user *u)
{
	if (u->lock_fd < 0 || !user_is_idle(d, u))
		return;
	if (d->users.locks.n >= USER_UNLOCK_MAX ||
	    heap_put(&d->users.locks, &u->lock_due, d->steady_ms + USER_UNLOCK_MS) < 0)
		let_go(d, u);
}

void user_lock_due(struct daemon *d, struct user *u)
{
	if (u->lock_fd >= 0 && user_is_idle(d, u))
		let_go(d, u);
	else
		recover_user(d, u);
}
