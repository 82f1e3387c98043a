#include "spoold/whole.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "io/wholes.h"
#include "spoold/accept.h"
#include "spoold/daemon.h"
#include "spoold/notice.h"
#include "spoold/room.h"
#include "spoold/voucher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void want_turn(struct daemon *d, struct user *u)
{
	if (u->wholes == NULL || u->whole_walking != NULL || u->whole_listed)
		return;
	u->whole_listed = true;
	DL_APPEND2(d->wholes_looks.users, u, whole_prev, whole_next);
}

/* Out of all lists. */
static void leave(struct daemon *d, struct whole_look *w)
{
	struct user *u = w->entry->user;
	if (w->tag == 0) {
		DL_DELETE(u->wholes, w);
	} else {
		DL_DELETE(d->wholes_looks.walking, w);
		d->wholes_looks.walking_n--;
		u->whole_walking = NULL;
	}
	w->tag = 0;
	w->queued = false;
	d->wholes_looks.n--;
	if (w->entry->state == UPLOAD_CHECKING)
		w->entry->state = UPLOAD_ARRIVING;
	want_turn(d, u);
}

/* More files than these are synced together. */
static bool is_many(const struct whole *found)
{
	return found->files + found->directories > WHOLES_FILES_EACH;
}

static int walk(struct daemon *d, struct whole_look *w)
{
	struct upload_entry *e = w->entry;
	struct wholes_order order = {
		.ignore = (const char *const *)e->user->settings->ignore,
		.probe = true,
		.sync = w->syncing,
		.sync_all = w->syncing && is_many(&w->found),
	};
	int fd = e->user->far ? -EOPNOTSUPP : tree_open_whole(d->tree, e->user->name, e->path);
	int r = fd < 0 ? fd : wholes_add(d->wholes, d->wholes_looks.last_tag + 1, fd, &order);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	DL_DELETE(e->user->wholes, w);
	w->tag = ++d->wholes_looks.last_tag;
	w->began_ms = d->steady_ms;
	DL_APPEND(d->wholes_looks.walking, w);
	d->wholes_looks.walking_n++;
	e->user->whole_walking = w;
	return 0;
}

/* It cannot be looked at now. */
static void not_walked(struct daemon *d, struct upload_entry *e, int error)
{
	struct file_ident ident;
	enum entry_kind kind;
	int r = tree_look(d->tree, e->user->name, e->path, &ident, &kind);
	if (r == -ENOENT || (r == 0 && kind != ENTRY_DIRECTORY)) {
		if (r == 0)
			scan_want(d, e->user);
		upload_drop(d, e);
		return;
	}
	room_leave(d, e);
	room_arrived(d, e);
	accept_note_error(e, error);
	notice_waits(d, e);
	upload_set_due(d, e, d->steady_ms + (upload_is_short(error) ? INTAKE_RETRY_MS
	                                                            : WHOLE_RELOOK_MS));
}

static void go_on(struct daemon *d)
{
	struct whole_looks *all = &d->wholes_looks;
	while (all->walking_n < WHOLE_WALKING_MAX && all->users != NULL) {
		struct user *u = all->users;
		DL_DELETE2(all->users, u, whole_prev, whole_next);
		u->whole_listed = false;
		struct whole_look *w = u->wholes;
		int r = w == NULL ? 0 : walk(d, w);
		if (r < 0) {
			leave(d, w);
			w->syncing = false;
			not_walked(d, w->entry, r);
		}
	}
}

static void queue(struct daemon *d, struct whole_look *w, bool first)
{
	struct upload_entry *e = w->entry;
	if (e->state == UPLOAD_ARRIVING)
		e->state = UPLOAD_CHECKING;
	w->queued = true;
	d->wholes_looks.n++;
	if (first)
		DL_PREPEND(e->user->wholes, w);
	else
		DL_APPEND(e->user->wholes, w);
	want_turn(d, e->user);
}

void whole_abandon(struct daemon *d, struct upload_entry *e)
{
	struct whole_look *w = e->whole;
	if (!w->queued)
		return;
	if (w->tag != 0)
		wholes_cancel(d->wholes, w->tag);
	w->syncing = false;
	leave(d, w);
}

/* Not where one is given up: the next one may be gone by now, whose entry the caller
 * may have in hand as well. */
void whole_tick(struct daemon *d)
{
	go_on(d);
}

uint64_t whole_next(const struct daemon *d)
{
	const struct whole_looks *all = &d->wholes_looks;
	return all->users != NULL && all->walking_n < WHOLE_WALKING_MAX ? d->steady_ms : UINT64_MAX;
}

static void no_more_refused(struct daemon *d, struct upload_entry *e)
{
	if (e->state != UPLOAD_REFUSED)
		return;
	e->user->uploads_refused--;
	e->state = UPLOAD_ARRIVING;
	notice_over(d, e);
}

static void refuse(struct daemon *d, struct upload_entry *e)
{
	const struct whole *found = &e->whole->found;
	if (e->state != UPLOAD_REFUSED) {
		char *shown = escape_str(e->path), *at = escape_str(found->at);
		log_warning("user %s: incoming/%s is not taken: %s in it %s", e->user->name,
		            shown == NULL ? "?" : shown, at == NULL ? "?" : at, found->problem);
		free(shown);
		free(at);
		room_leave(d, e);
		e->user->uploads_refused++;
	}
	e->state = UPLOAD_REFUSED;
	notice_waits(d, e);
}

static void take_up(struct daemon *d, struct upload_entry *e)
{
	struct whole_look *w = e->whole;
	if (d->config->durability == DURABILITY_RELAXED) {
		accept_now(d, e);
		return;
	}
	w->syncing = true;
	queue(d, w, true);
}

static struct upload look_of(const struct upload_entry *e)
{
	struct upload look = e->look;
	look.ident.ctime_ns = e->whole->found.newest_ns;
	return look;
}

static enum settle_answer ask(struct daemon *d, struct upload_entry *e, uint64_t *ret_due)
{
	struct user *u = e->user;
	struct settle_policy policy = u->settings->settle;
	struct upload look = look_of(e);
	struct voucher voucher;
	policy.settle_ms = u->settings->whole_settle_ms;
	voucher_find(d, u, e->path, NULL, &look, &voucher);
	e->look.marker_seen = look.marker_seen;
	e->look.marker_early = look.marker_early;
	e->voucher_stale = voucher.stale;
	e->voucher = voucher.ident;
	e->voucher_own = voucher.own;
	voucher_clear(&voucher);
	return whole_judge(&policy, &e->whole->found, &look, d->steady_ms, d->wall_ms, ret_due);
}

/* Only its uploader ends that, and no event tells of it. */
static void wait_for_uploader(struct daemon *d, struct upload_entry *e, uint64_t not_before_ms)
{
	uint64_t wait_ms = later(e->user->settings->whole_settle_ms, WHOLE_RELOOK_MS) << e->whole->idle;
	if (e->whole->idle < WHOLE_IDLE_MAX)
		e->whole->idle++;
	e->waits_for = SETTLE_WRITER;
	upload_set_due(d, e, later(d->steady_ms + wait_ms, not_before_ms));
}

/* What a scan found is walked through in its order; what was quiet for long enough is
 * not due before what changed earlier and was found just too early. That counts once:
 * one that goes on changing holds nobody up. */
static void keep_order(const struct daemon *d, struct upload_entry *e, uint64_t *due)
{
	struct user *u = e->user;
	bool first = !e->whole->judged;
	e->whole->judged = true;
	if (!first || !e->look.found || (e->waits_for != SETTLE_COMPLETE && e->waits_for != SETTLE_WAIT))
		return;
	if (e->waits_for == SETTLE_COMPLETE && d->steady_ms >= u->whole_backlog_ms)
		return;
	*due = e->waits_for == SETTLE_WAIT ? later(*due, u->whole_backlog_ms) : u->whole_backlog_ms;
	e->waits_for = SETTLE_WAIT;
	u->whole_backlog_ms = *due;
}

static void judge(struct daemon *d, struct upload_entry *e, uint64_t took_ms)
{
	const struct whole *found = &e->whole->found;
	uint64_t due = 0, not_before = d->steady_ms + took_ms * WHOLE_PAUSE_FACTOR;
	if (found->flaw != WHOLE_SOUND || found->files == 0 || found->writer)
		room_leave(d, e);
	if (found->flaw == WHOLE_REFUSED) {
		refuse(d, e);
		wait_for_uploader(d, e, not_before);
		return;
	}
	no_more_refused(d, e);
	if (found->flaw == WHOLE_UNFINISHED || found->files == 0) {
		if (found->files > 0)
			notice_waits(d, e);
		wait_for_uploader(d, e, not_before);
		return;
	}
	e->waits_for = ask(d, e, &due);
	keep_order(d, e, &due);
	switch (e->waits_for) {
	case SETTLE_COMPLETE:
		if (room_ask(d, e))
			take_up(d, e);
		return;
	case SETTLE_WRITER:
		notice_waits(d, e);
		due = d->steady_ms + due_min(later(e->user->settings->whole_settle_ms, SETTLE_WRITER_POLL_MS),
		                             WHOLE_RELOOK_MS);
		due = later(due, not_before);
		break;
	case SETTLE_CONVENTION:
		room_leave(d, e);
		notice_waits(d, e);
		return;
	default: break;
	}
	room_leave(d, e);
	upload_set_due(d, e, due);
}

static bool is_over(const struct whole *found)
{
	return !found->writer && found->flaw == WHOLE_SOUND;
}

/* How long nothing has changed is read off the kernel's stamps, and counted by our
 * own clock from then on. */
static void note_change(struct daemon *d, struct upload_entry *e)
{
	uint64_t settle_ms = e->user->settings->whole_settle_ms;
	int64_t age_ms = (int64_t)d->wall_ms - e->whole->found.newest_ns / 1000000;
	uint64_t quiet_ms = age_ms < 0 ? 0 : due_min((uint64_t)age_ms, settle_ms);
	e->look.changed_steady_ms = d->steady_ms > quiet_ms ? d->steady_ms - quiet_ms : 1;
	e->unsafe = 0;
}

static void note_unsafe(struct daemon *d, struct upload_entry *e, int error)
{
	int fd = tree_open_whole(d->tree, e->user->name, e->path);
	unsafe_note(d, e, error);
	if (fd >= 0)
		tree_mark_unsafe_fd(fd, &e->whole->found.ident, error);
	fd_close(fd);
}

/* What a spoold before this one could not make durable. */
static bool was_unsafe(struct daemon *d, struct upload_entry *e)
{
	int fd = tree_open_whole(d->tree, e->user->name, e->path);
	int unsafe = fd < 0 ? 0 : tree_is_unsafe(fd, &e->whole->found.ident);
	fd_close(fd);
	if (unsafe < 0)
		unsafe_note(d, e, unsafe);
	return unsafe < 0;
}

/* It was made durable: a job now, where it is what was made durable. */
static void end_sync(struct daemon *d, struct upload_entry *e, bool same, int unsynced,
                     uint64_t took_ms)
{
	if (same && unsynced == 0 && !was_unsafe(d, e)) {
		accept_now(d, e);
		return;
	}
	room_arrived(d, e);
	if (unsynced < 0)
		note_unsafe(d, e, unsynced);
	if (e->unsafe == 0)
		judge(d, e, took_ms);
}

static void note_result(struct daemon *d, struct whole_look *w, const struct wholes_result *r)
{
	struct upload_entry *e = w->entry;
	bool synced = w->syncing, before = w->walked && is_over(&w->found);
	uint64_t took_ms = d->steady_ms - w->began_ms;
	leave(d, w);
	w->syncing = false;
	if (r->error < 0) {
		not_walked(d, e, r->error);
		return;
	}
	accept_note_error(e, 0);
	bool same = w->walked && file_ident_same(&w->found.ident, &r->whole.ident) &&
	            is_over(&w->found) == is_over(&r->whole);
	w->found = r->whole;
	w->walked = true;
	e->look.ident = r->whole.ident;
	if (before && is_over(&r->whole) && !same)
		e->look.renamed_in = false;
	if (!same) {
		note_change(d, e);
		w->idle = 0;
	}
	if (synced)
		end_sync(d, e, same && is_over(&r->whole), r->unsynced, took_ms);
	else if (e->unsafe == 0)
		judge(d, e, took_ms);
}

void whole_give_back(struct daemon *d, const struct user *u, const struct job *job,
                     enum place place, const char *name)
{
	const struct wholes_order order = {.give = true, .uid = job->ident.uid, .gid = job->ident.gid};
	if (job->ident.whole == 0 || job->attempt == 0 || geteuid() != 0)
		return;
	int fd = place == PLACE_INCOMING ? tree_open_whole(d->tree, u->name, name)
	                                 : tree_open_final(d->tree, u->name, place, name);
	int r = fd < 0 ? fd : wholes_add(d->wholes, ++d->wholes_looks.last_tag, fd, &order);
	if (r < 0 && fd >= 0)
		fd_close(fd);
	if (r == 0)
		d->wholes_looks.giving++;
	else
		log_warning("user %s: what is in the directory of job %llu does not go back to its uploader: "
		            "%s", u->name, (unsigned long long)job->id, strerror(-r));
}

void whole_read_results(struct daemon *d)
{
	uint64_t tag;
	struct wholes_result result;
	while (wholes_next(d->wholes, &tag, &result) > 0) {
		struct whole_look *w;
		DL_SEARCH_SCALAR(d->wholes_looks.walking, w, tag, tag);
		/* Of those that were given up nothing comes: it gave a directory back. */
		if (w != NULL)
			note_result(d, w, &result);
		else
			d->wholes_looks.giving--;
		go_on(d);
	}
}

void whole_due(struct daemon *d, struct upload_entry *e)
{
	struct user *u = e->user;
	if (e->whole->queued)
		return;
	/* The setting is another one by now. */
	if (!whole_is(u, e->path)) {
		upload_drop(d, e);
		scan_want(d, u);
		return;
	}
	/* Files of directories that were followed until now go first: they may be in it. */
	if (u->inner_jobs) {
		e->waits_for = SETTLE_WAIT;
		upload_set_due(d, e, d->steady_ms + 2 * WHOLE_RELOOK_MS);
		user_scan_in(d, u, WHOLE_RELOOK_MS);
		return;
	}
	queue(d, e->whole, false);
	go_on(d);
}
