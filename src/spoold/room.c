#include "spoold/room.h"

#include "base/escape.h"
#include "base/log.h"
#include "spoold/daemon.h"
#include "spoold/notice.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* While uploads wait, that is said in the log this often. */
enum { ROOM_TELL_MS = 60 * 1000 };

static enum quota_answer ask(struct daemon *d, const struct user *u, uint64_t size)
{
	const struct quota *q = &u->settings->quota;
	struct quota_use use = {
		.files = u->room.files + u->room.on_the_way,
		.bytes = u->room.bytes + u->room.bytes_on_the_way,
		.free = UINT64_MAX,
	};
	/* Where it cannot be told, accepting will say what is wrong. */
	if (q->min_free > 0)
		tree_user_space(d->tree, u->name, &use.free);
	return quota_ask(q, &use, size);
}

static void let_in(struct upload_entry *e)
{
	struct room *room = &e->user->room;
	e->let_in = true;
	e->bytes = e->look.ident.size;
	room->on_the_way++;
	room->bytes_on_the_way += e->bytes;
}

static void tell(struct daemon *d, const struct upload_entry *e)
{
	struct user *u = e->user;
	char why[QUOTA_TEXT];
	bool alone = e->lacks == QUOTA_TOO_LARGE;
	if (!alone && u->room.told_ms != 0 && d->steady_ms < u->room.told_ms + ROOM_TELL_MS)
		return;
	char *shown = escape_str(e->path);
	log_notice("user %s: incoming/%s %s%s", u->name, shown == NULL ? "?" : shown,
	           quota_because(e->lacks, &u->settings->quota, why),
	           alone ? "; it is left where it is" : "; others wait behind it");
	free(shown);
	if (!alone)
		u->room.told_ms = d->steady_ms;
}

/* The first of the line is to be looked at. */
static void wake(struct daemon *d, struct user *u)
{
	struct upload_entry *first = u->room.line;
	if (first == NULL)
		return;
	first->lacks = QUOTA_ROOM;
	upload_set_due(d, first, d->steady_ms);
}

static void wait_outside(struct daemon *d, struct upload_entry *e, enum quota_answer lacks)
{
	if (e->state != UPLOAD_OVER)
		e->user->uploads_over++;
	e->state = UPLOAD_OVER;
	bool news = e->lacks != lacks;
	e->lacks = lacks;
	upload_leave_scan(d, e);
	notice_waits(d, e);
	if (lacks == QUOTA_SPACE)
		upload_set_due(d, e, d->steady_ms + INTAKE_RELOOK_MS);
	if (news)
		tell(d, e);
	if (lacks == QUOTA_TOO_LARGE)
		request_upload_stays(d, e);
}

static void join_line(struct upload_entry *e)
{
	DL_APPEND2(e->user->room.line, e, room_prev, room_next);
	e->in_line = true;
}

static void leave_line(struct daemon *d, struct upload_entry *e)
{
	struct user *u = e->user;
	bool was_first = e->in_line && u->room.line == e;
	if (e->in_line)
		DL_DELETE2(u->room.line, e, room_prev, room_next);
	e->in_line = false;
	if (was_first)
		wake(d, u);
}

void room_leave(struct daemon *d, struct upload_entry *e)
{
	if (e->state != UPLOAD_OVER)
		return;
	leave_line(d, e);
	e->user->uploads_over--;
	e->state = UPLOAD_ARRIVING;
	e->lacks = QUOTA_ROOM;
}

bool room_ask(struct daemon *d, struct upload_entry *e)
{
	struct user *u = e->user;
	enum quota_answer answer = ask(d, u, e->look.ident.size);
	if (answer == QUOTA_TOO_LARGE) {
		if (e->in_line)
			leave_line(d, e);
		wait_outside(d, e, answer);
		return false;
	}
	bool behind = u->room.line != NULL && u->room.line != e;
	if (answer == QUOTA_ROOM && !behind) {
		room_leave(d, e);
		let_in(e);
		return true;
	}
	/* Older ones than this were left to the scan, which sorts it in. */
	if (!e->in_line && u->uploads_missed && u->room.line != NULL && !e->from_scan) {
		upload_drop(d, e);
		return false;
	}
	if (!e->in_line)
		join_line(e);
	wait_outside(d, e, behind ? QUOTA_ROOM : answer);
	return false;
}

void room_arrived(struct daemon *d, struct upload_entry *e)
{
	struct user *u = e->user;
	if (!e->let_in)
		return;
	e->let_in = false;
	u->room.on_the_way--;
	u->room.bytes_on_the_way -= e->bytes;
	room_look(d, u, u->room.files, u->room.bytes);
}

void room_look(struct daemon *d, struct user *u, uint64_t files, uint64_t bytes)
{
	u->room.files = files;
	u->room.bytes = bytes;
	const struct upload_entry *first = u->room.line;
	/* What waits for space has its own time to look. */
	if (first == NULL || first->lacks == QUOTA_SPACE || first->lacks == QUOTA_ROOM)
		return;
	if (ask(d, u, first->look.ident.size) != first->lacks)
		wake(d, u);
}

void room_ask_all(struct daemon *d, struct user *u)
{
	if (u->uploads_over == 0)
		return;
	for (struct upload_entry *e = u->uploads; e != NULL; e = e->hh.next)
		if (e->state == UPLOAD_OVER && !e->in_line)
			upload_set_due(d, e, d->steady_ms);
	wake(d, u);
}

void room_explain(const struct upload_entry *e, char because[QUOTA_TEXT], const char **ret_next)
{
	quota_because(e->lacks, &e->user->settings->quota, because);
	*ret_next = quota_next(e->lacks);
}

char *room_summary(const struct user *u, char out[QUOTA_TEXT])
{
	const struct upload_entry *e = u->room.line;
	out[0] = '\0';
	/* Without a line: the first of those that stand beside it. */
	if (e == NULL && u->uploads_over > 0)
		e = u->uploads;
	while (e != NULL && e->state != UPLOAD_OVER)
		e = e->hh.next;
	return e == NULL ? out : quota_because(e->lacks, &u->settings->quota, out);
}
