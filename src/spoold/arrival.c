#include "spoold/arrival.h"

#include "base/escape.h"
#include "base/log.h"
#include "spoold/accept.h"
#include "spoold/daemon.h"
#include "spoold/notice.h"
#include "spoold/room.h"
#include "spoold/voucher.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next spoold shall know it, too, and not take it since it is quiet. */
static void note_unrenamed(struct daemon *d, struct upload_entry *e)
{
	if (e->unrenamed || e->look.renamed_in || e->look.found ||
	    e->user->settings->settle.completion != COMPLETION_RENAME)
		return;
	tree_mark_unrenamed(d->tree, e->user->name, e->path);
	e->unrenamed = true;
}

/* Is its mark on this file, too? One that was removed and made anew has the number of the old one,
 * as a rule. */
static bool is_marked(const struct daemon *d, const struct upload_entry *e,
                      const struct file_ident *ident)
{
	return e->unrenamed && file_ident_same_inode(&e->look.ident, ident) &&
	       tree_is_unrenamed(d->tree, e->user->name, e->path);
}

/* It is looked at once more before it is accepted, or after. */
static void note_touched(struct upload_entry *e, const struct file_ident *ident,
                         enum watch_kind hint, bool by_scan)
{
	e->touched = true;
	if (hint == WATCH_RENAMED_IN)
		e->renamed = *ident;
	else if (!file_ident_same(&e->renamed, ident))
		e->renamed = (struct file_ident){0};
	e->overtaken = by_scan && e->renamed.ino == 0;
}

/* What is known of it now: that it changed, or only how it came. */
static void note_news(struct daemon *d, struct upload_entry *e, const struct file_ident *ident,
                      enum watch_kind hint, bool changed, bool is_new)
{
	/* Who wrote to it wrote to another one, or is through. */
	if (hint == WATCH_RENAMED_IN || hint == WATCH_CLOSED || !file_ident_same_inode(&e->look.ident, ident))
		e->waits_for = SETTLE_WAIT;
	if (changed) {
		e->unsafe = 0;
		e->unrenamed = is_marked(d, e, ident);
		notice_over(d, e);
	}
	e->look.ident = *ident;
	if (hint == WATCH_RENAMED_IN)
		e->look.renamed_in = true;
	else if (changed && !is_new)
		e->look.renamed_in = false;
	if (changed || hint == WATCH_CLOSED)
		e->look.changed_steady_ms = d->steady_ms;
}

void arrival_track(struct daemon *d, struct user *u, const char *path,
                   const struct file_ident *ident, enum entry_kind kind, enum watch_kind hint,
                   bool by_scan)
{
	struct upload_entry *e = upload_find(u, path);
	/* A directory had this name. */
	if (e != NULL && e->whole != NULL && e->state != UPLOAD_ACCEPTING) {
		upload_drop(d, e);
		e = NULL;
	}
	bool is_new = e == NULL;
	if (is_new && kind != ENTRY_FILE && !upload_may_list_refused(u))
		return;
	if (is_new)
		e = upload_add(d, u, path,
		        hint == WATCH_RENAMED_IN ? INTAKE_USER_MAX : INTAKE_WAITING_MAX);
	if (e == NULL)
		return;
	if (e->state == UPLOAD_CHECKING) {
		if (kind == ENTRY_FILE && file_ident_same(&e->look.ident, ident))
			return;
		check_abandon(d, e);
	}
	if (e->state == UPLOAD_SYNCING || e->state == UPLOAD_ACCEPTING) {
		note_touched(e, ident, hint, by_scan);
		return;
	}
	if (kind != ENTRY_FILE) {
		upload_refuse(d, e, kind);
		if (kind == ENTRY_HARDLINKED)
			upload_set_due(d, e, d->steady_ms + INTAKE_RELOOK_MS);
		return;
	}
	if (e->state == UPLOAD_REFUSED) {
		u->uploads_refused--;
		e->state = UPLOAD_ARRIVING;
		notice_over(d, e);
	}
	bool changed = is_new || !file_ident_same(&e->look.ident, ident);
	if (e->state == UPLOAD_OVER && !changed)
		return;
	/* What a scan looked at later than this happened: its place is not that of the news. */
	if (!changed && (e->in_place || e->from_scan)) {
		e->look.renamed_in = e->look.renamed_in || hint == WATCH_RENAMED_IN;
		return;
	}
	room_leave(d, e);
	if (!changed && e->unsafe != 0)
		return;
	/* Another one than the scan found: it came later. */
	if (changed && !by_scan)
		upload_leave_scan(d, e);
	e->look.found = by_scan && (is_new || e->look.found);
	note_news(d, e, ident, hint, changed, is_new);
	note_unrenamed(d, e);
	uint64_t settle_ms = hint == WATCH_RENAMED_IN ? 0 : user_settle(d, u).settle_ms;
	upload_set_due(d, e, d->steady_ms + settle_ms);
}

static void set_problem(struct upload_entry *e, char *problem)
{
	bool same = problem != NULL && e->problem != NULL && strcmp(problem, e->problem) == 0;
	if (problem != NULL && !same)
		log_warning("user %s: an upload waits, its checksum cannot be used: %s", e->user->name,
		            problem);
	free(e->problem);
	e->problem = problem;
}

/* In words, for whoever reads it in failed. */
static int note_mismatch(struct upload_entry *e, const struct voucher *v)
{
	char expected[SUMS_HEX], found[SUMS_HEX], *shown = escape_str(v->name == NULL ? "" : v->name);
	sums_hex(v->expected, expected);
	sums_hex(e->check->found, found);
	free(e->check->mismatch);
	int n = asprintf(&e->check->mismatch,
	                 "its content is not what %s says; expected SHA-256 %s, found %s",
	                 shown == NULL ? "its checksum" : shown, expected, found);
	free(shown);
	if (n < 0)
		e->check->mismatch = NULL;
	return n < 0 ? -ENOMEM : 0;
}

static void take_up(struct daemon *d, struct upload_entry *e, const struct voucher *v)
{
	bool mismatch = e->waits_for == SETTLE_MISMATCH;
	if (mismatch && note_mismatch(e, v) < 0) {
		upload_again(d, e);
		return;
	}
	if (!mismatch && e->check != NULL) {
		free(e->check->mismatch);
		e->check->mismatch = NULL;
	}
	e->voucher = v->ident;
	e->voucher_own = v->own;
	accept_ready(d, e);
}

static void follow(struct daemon *d, struct upload_entry *e, const struct voucher *v, uint64_t due)
{
	switch (e->waits_for) {
	case SETTLE_COMPLETE:
		if (room_ask(d, e))
			take_up(d, e, v);
		return;
	case SETTLE_MISMATCH: take_up(d, e, v); return;
	case SETTLE_CHECK: check_begin(d, e); return;
	case SETTLE_CONVENTION:
		upload_leave_scan(d, e);
		notice_waits(d, e);
		return;
	case SETTLE_WRITER:
		notice_waits(d, e);
		/* fall through */
	case SETTLE_WAIT:
		upload_leave_scan(d, e);
		upload_set_due(d, e, due);
	}
}

void arrival_judge(struct daemon *d, struct upload_entry *e)
{
	struct user *u = e->user;
	struct file_ident ident;
	enum entry_kind kind;
	e->in_place = false;
	if (e->whole != NULL) {
		whole_due(d, e);
		return;
	}
	/* The settings are others by now. */
	if (intake_is_ignored(u, e->path)) {
		upload_drop(d, e);
		return;
	}
	if (whole_is_inner(u, e->path)) {
		upload_drop(d, e);
		scan_want(d, u);
		return;
	}
	if (voucher_judge(d, e))
		return;
	struct settle_policy policy = user_settle(d, u);
	enum writers writers = WRITERS_UNKNOWN;
	if (u->far && e->state != UPLOAD_REFUSED)
		tree_refresh(d->tree, u->name, e->path);
	/* What was refused may be anything: that is not opened. */
	int r = e->state == UPLOAD_REFUSED
	                ? tree_look(d->tree, u->name, e->path, &ident, &kind)
	                : tree_look_closely(d->tree, u->name, e->path, &ident, &kind, &writers);
	if (r == -ENOENT) {
		upload_drop(d, e);
		return;
	}
	if (r < 0 || kind != ENTRY_FILE || e->state == UPLOAD_REFUSED ||
	    !file_ident_same(&ident, &e->look.ident)) {
		upload_leave_scan(d, e);
		/* Whatever it waited for: others need not wait behind it. */
		if (r < 0) {
			room_leave(d, e);
			if (accept_may_pass(e, r))
				upload_once_more(d, e);
			else
				upload_set_due(d, e, d->steady_ms + INTAKE_RELOOK_MS);
		} else if (kind == ENTRY_DIRECTORY) {
			/* Another upload, or a place for some: not this one. */
			upload_drop(d, e);
			scan_want(d, u);
		} else {
			arrival_track(d, u, e->path, &ident, kind, WATCH_CHANGED, e->look.found);
		}
		return;
	}
	e->look.ident = ident;
	struct voucher voucher;
	voucher_find(d, u, e->path, check_found(e), &e->look, &voucher);
	set_problem(e, voucher.problem);
	voucher.problem = NULL;
	e->voucher_stale = voucher.stale;
	uint64_t due = 0;
	e->waits_for = settle_judge(&policy, &e->look, writers, d->steady_ms,
	                            d->wall_ms, &due);
	if (e->waits_for != SETTLE_COMPLETE)
		room_leave(d, e);
	follow(d, e, &voucher, due);
	voucher_clear(&voucher);
}
