#include "spoold/upload.h"

#include "base/escape.h"
#include "base/log.h"
#include "spoold/check.h"
#include "spoold/daemon.h"
#include "spoold/notice.h"
#include "spoold/room.h"
#include "spoold/whole.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Due times are milliseconds; what is due in the same one goes in the order in
 * which it was put: a running number fills the low bits. */
enum { ORDER_BITS = 20 };

/* While a scan runs, its user's new uploads are looked at this often; while one
 * of much goes on, there may be many. */
enum { SCAN_PAUSE_MS = 20, SCAN_LONG_PAUSE_MS = 200 };

static uint64_t due_key(uint64_t ms, uint64_t order)
{
	return ms << ORDER_BITS | (order & ((UINT64_C(1) << ORDER_BITS) - 1));
}

static void put_due(struct daemon *d, struct upload_entry *e, uint64_t ms, uint64_t order)
{
	if (heap_put(&d->intake.due, &e->due, due_key(ms, order)) < 0)
		log_error("memory is out: an upload waits for the next scan");
}

void upload_set_due(struct daemon *d, struct upload_entry *e, uint64_t due_ms)
{
	e->in_place = false;
	put_due(d, e, due_ms, d->intake.order++);
}

struct upload_entry *upload_find(const struct user *u, const char *path)
{
	struct upload_entry *e = NULL;
	HASH_FIND(hh, u->uploads, path, strlen(path), e);
	return e;
}

struct upload_entry *upload_add(struct daemon *d, struct user *u, const char *path,
                                unsigned max)
{
	size_t n = strlen(path);
	/* While some wait for room, nothing that would come before what was left to
	 * the scan is listed. */
	if (u->room.line != NULL)
		max = u->uploads_missed ? 0 : INTAKE_WAITING_MAX;
	if (HASH_COUNT(u->uploads) >= max) {
		u->uploads_missed = true;
		return NULL;
	}
	struct upload_entry *e = calloc(1, sizeof *e + n + 1);
	if (e == NULL)
		return NULL;
	memcpy(e->path, path, n + 1);
	e->user = u;
	e->first_ms = d->wall_ms;
	e->number = ++d->intake.noticed;
	HASH_ADD_KEYPTR(hh, u->uploads, e->path, n, e);
	if (e->hh.tbl == NULL) {
		free(e);
		return NULL;
	}
	busy_look(d, u);
	return e;
}

static void entry_free(struct upload_entry *e)
{
	check_free(e->check);
	free(e->whole);
	free(e->problem);
	free(e);
}

static void detach(struct daemon *d, struct upload_entry *e)
{
	struct user *u = e->user;
	if (e->gone)
		return;
	if (e->whole != NULL)
		whole_abandon(d, e);
	else
		check_abandon(d, e);
	heap_remove(&d->intake.due, &e->due);
	if (e->state == UPLOAD_REFUSED)
		u->uploads_refused--;
	room_leave(d, e);
	notice_over(d, e);
	HASH_DEL(u->uploads, e);
	e->gone = true;
	busy_look(d, u);
	/* The scan lowers the flag when it begins. */
	if (u->uploads_missed && HASH_COUNT(u->uploads) <= INTAKE_WAITING_MAX / 2)
		scan_want(d, u);
}

void upload_drop(struct daemon *d, struct upload_entry *e)
{
	bool in_use = e->state == UPLOAD_SYNCING || e->state == UPLOAD_ACCEPTING;
	detach(d, e);
	if (!in_use)
		upload_release(d, e);
}

/* The scan that found it goes on without it. */
void upload_leave_scan(struct daemon *d, struct upload_entry *e)
{
	if (e->from_scan)
		scan_fed(d, e->user);
	e->from_scan = false;
}

void upload_release(struct daemon *d, struct upload_entry *e)
{
	detach(d, e);
	room_arrived(d, e);
	upload_leave_scan(d, e);
	entry_free(e);
}

void uploads_clear(struct daemon *d)
{
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next) {
		struct upload_entry *e, *tmp;
		HASH_ITER(hh, u->uploads, e, tmp) {
			HASH_DEL(u->uploads, e);
			entry_free(e);
		}
	}
	heap_clear(&d->intake.due);
}

void upload_refuse(struct daemon *d, struct upload_entry *e, enum entry_kind kind)
{
	struct user *u = e->user;
	if (e->state == UPLOAD_REFUSED && e->kind == kind)
		return;
	char *shown = escape_str(e->path);
	log_warning("user %s: incoming/%s %s; it is left alone: only plain files with one name "
	            "become jobs",
	            u->name, shown == NULL ? "?" : shown, entry_kind_problem(kind));
	free(shown);
	room_leave(d, e);
	if (e->state != UPLOAD_REFUSED)
		u->uploads_refused++;
	e->state = UPLOAD_REFUSED;
	e->kind = kind;
	notice_waits(d, e);
}

/* Is there room to list one more that can never be a job? */
bool upload_may_list_refused(struct user *u)
{
	if (u->uploads_refused < INTAKE_REFUSED_MAX)
		return true;
	if (!u->refused_missed)
		log_warning("user %s: incoming holds more than %d links, devices and the like; no more of "
		            "them are told of", u->name, INTAKE_REFUSED_MAX);
	u->refused_missed = true;
	return false;
}

/* What was renamed in meanwhile is judged as that, if nobody wrote to it since. */
static void recall_hints(struct daemon *d, struct upload_entry *e)
{
	if (e->renamed.ino != 0) {
		e->look.ident = e->renamed;
		e->look.renamed_in = true;
		e->look.found = false;
	}
	/* Its place is among what another walk finds. */
	if (e->overtaken)
		scan_want_sorted(d, e->user);
	e->touched = e->overtaken = false;
	e->renamed = (struct file_ident){0};
}

void upload_again(struct daemon *d, struct upload_entry *e)
{
	if (e->gone) {
		upload_release(d, e);
		return;
	}
	upload_leave_scan(d, e);
	e->state = UPLOAD_ARRIVING;
	room_arrived(d, e);
	e->look.changed_steady_ms = d->steady_ms;
	uint64_t settle_ms = e->renamed.ino != 0 ? 0 : user_settle(d, e->user).settle_ms;
	recall_hints(d, e);
	if (e->unsafe == 0)
		upload_set_due(d, e, d->steady_ms + settle_ms);
}

bool upload_is_short(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

static uint64_t due_ms(const struct upload_entry *e)
{
	return e->due.key >> ORDER_BITS;
}

/* By its own time, not by the clock: where a tick took long, all are due in the same
 * one, and the hold is over before what it was for was looked at. */
bool upload_retries(const struct upload_entry *e)
{
	const struct user *u = e->user;
	return e->due.key > u->retry_key && due_ms(e) <= u->retry_ms;
}

static void hold_line(struct daemon *d, struct user *u, uint64_t key)
{
	if (d->steady_ms < u->retry_ms) {
		u->retry_key = key < u->retry_key ? key : u->retry_key;
		return;
	}
	u->retry_ms = d->steady_ms + INTAKE_RETRY_MS;
	u->retry_key = key;
}

void upload_hold_line(struct daemon *d, struct user *u)
{
	/* The next one is behind it, which gets this number. */
	hold_line(d, u, due_key(d->steady_ms, d->intake.order) - 1);
}

static bool is_found(const struct upload_entry *e)
{
	return e->from_scan || e->look.found;
}

/* Who was found by a scan goes before those that arrived beside it. */
static void put_at_retry(struct daemon *d, struct upload_entry *e)
{
	put_due(d, e, e->user->retry_ms + (is_found(e) ? 1 : 2), e->due.key);
}

void upload_wait_behind(struct daemon *d, struct upload_entry *e)
{
	if (e->gone) {
		upload_release(d, e);
		return;
	}
	e->state = UPLOAD_ARRIVING;
	room_arrived(d, e);
	recall_hints(d, e);
	put_at_retry(d, e);
}

void upload_once_more(struct daemon *d, struct upload_entry *e)
{
	if (!e->gone)
		hold_line(d, e->user, e->due.key);
	upload_wait_behind(d, e);
}

uint64_t upload_count_arriving(const struct user *u)
{
	return HASH_COUNT(u->uploads) - u->uploads_refused - u->uploads_over;
}

static uint64_t backlog_until(const struct user *u)
{
	return u->backlog_ms > u->pause_ms ? u->backlog_ms : u->pause_ms;
}

/* Behind what a scan found, or will find, up to this time? */
static bool is_behind_scan(const struct upload_entry *e, uint64_t ms)
{
	const struct user *u = e->user;
	if (is_found(e) || e->state == UPLOAD_OVER)
		return false;
	return u->scan_running || u->unsorted || !u->scanned || ms <= backlog_until(u);
}

bool upload_behind_backlog(const struct upload_entry *e)
{
	return upload_retries(e) || is_behind_scan(e, due_ms(e));
}

bool upload_is_held_up(const struct daemon *d, const struct upload_entry *e)
{
	return d->steady_ms < e->user->retry_ms || is_behind_scan(e, d->steady_ms);
}

/* All of a user that wait go on in the same millisecond, each with its old
 * number: none of them overtakes another. */
void upload_put_behind_backlog(struct daemon *d, struct upload_entry *e)
{
	struct user *u = e->user;
	if (upload_retries(e)) {
		put_at_retry(d, e);
		return;
	}
	bool is_long = u->unsorted || d->scan.large.user == u;
	if (due_ms(e) > backlog_until(u))
		u->pause_ms = d->steady_ms + (is_long ? SCAN_LONG_PAUSE_MS : SCAN_PAUSE_MS);
	put_due(d, e, backlog_until(u) + 1, e->due.key);
}

uint32_t upload_turn(const struct upload_entry *e)
{
	/* All of 32 bits are used, so that the last one is before the first. */
	return (uint32_t)(e->due.key << (32 - ORDER_BITS));
}

bool upload_is_due(const struct daemon *d, const struct upload_entry *e)
{
	return e->due.at != 0 && due_ms(e) <= d->steady_ms;
}

struct upload_entry *upload_take_due(struct daemon *d)
{
	struct heap_node *node = heap_first(&d->intake.due);
	if (node == NULL || node->key >> ORDER_BITS > d->steady_ms)
		return NULL;
	heap_remove(&d->intake.due, node);
	return HEAP_ENTRY(node, struct upload_entry, due);
}

uint64_t upload_next_due(const struct daemon *d)
{
	const struct heap_node *node = heap_first(&d->intake.due);
	return node == NULL ? UINT64_MAX : node->key >> ORDER_BITS;
}

void uploads_forget_gone(struct daemon *d, struct user *u)
{
	struct upload_entry *e, *tmp;
	if (u->uploads == NULL || !user_still_there(d, u))
		return;
	HASH_ITER(hh, u->uploads, e, tmp) {
		struct file_ident ident;
		enum entry_kind kind;
		bool waits = e->due.at == 0 && e->state != UPLOAD_SYNCING &&
		             e->state != UPLOAD_ACCEPTING;
		if (waits && tree_look(d->tree, u->name, e->path, &ident, &kind) == -ENOENT)
			upload_drop(d, e);
	}
}

bool uploads_only_wait_for_writers(const struct daemon *d)
{
	for (size_t i = 1; i <= d->intake.due.n; i++) {
		const struct upload_entry *e =
			HEAP_ENTRY(d->intake.due.nodes[i], struct upload_entry, due);
		if (e->state == UPLOAD_ARRIVING && e->waits_for != SETTLE_WRITER)
			return false;
		if (e->state == UPLOAD_OVER && e->lacks == QUOTA_ROOM)
			return false;
	}
	return true;
}
