/* Uploads that are not jobs yet: user by user, in the order in which they were noticed,
 * and why each waits. Nothing is looked at on the disk for it: a mount may hang. */
#include "base/escape.h"
#include "core/shape.h"
#include "spoold/request_private.h"
#include "spoold/room.h"
#include "spoold/why.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each with two sentences. */
enum { PAGE_MAX = 500 };

/* Where a page begins: behind this upload of that user. */
struct position {
	uint64_t number;
	char *user; /* or NULL: at the beginning */
};

struct page {
	json_t *uploads;
	size_t limit;
	uint64_t more;
	bool unseen; /* incoming holds some that are not listed yet */
	const struct upload_entry *last;
};

static bool position_read(const json_t *after, struct position *ret)
{
	const char *text = json_string_value(after);
	int used = 0;
	*ret = (struct position){0};
	if (after == NULL)
		return true;
	if (text == NULL || sscanf(text, "%" SCNu64 " %n", &ret->number, &used) != 1 || used == 0 ||
	    text[used] == '\0')
		return false;
	ret->user = unescape_name(text + used);
	return ret->user != NULL;
}

static json_t *position_write(const struct upload_entry *last)
{
	char *user = escape_str(last->user->name);
	json_t *text = user == NULL ? NULL : json_sprintf("%" PRIu64 " %s", last->number, user);
	free(user);
	return text;
}

static const char *state_of(const struct upload_entry *e)
{
	return e->state == UPLOAD_OVER      ? "over_limit"
	       : e->state == UPLOAD_REFUSED ? "refused"
	                                    : "arriving";
}

static void explain(struct daemon *d, const struct upload_entry *e, struct explanation *ret)
{
	if (d->unmounted)
		why_unmounted(d, ret);
	else if (e->user->away)
		why_away(e->user, ret);
	else
		why_waits(d, e, ret);
}

/* What is known of its file: of a directory that is one job, by the last walk. */
static const struct file_ident *ident_of(const struct upload_entry *e)
{
	return e->whole == NULL ? &e->look.ident : &e->whole->found.ident;
}

static json_t *changed_at(const struct upload_entry *e)
{
	int64_t ns = e->whole == NULL ? e->look.ident.ctime_ns : e->whole->found.newest_ns;
	return shape_time(ns > 0 ? (uint64_t)ns / 1000000 : 0);
}

static json_t *shape_upload(struct daemon *d, const struct upload_entry *e)
{
	struct explanation why = {0};
	explain(d, e, &why);
	bool known = ident_of(e)->ino != 0;
	bool reads = e->state == UPLOAD_CHECKING && e->whole == NULL;
	return json_pack(
		"{s:o, s:o, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "user", shape_name(e->user->name),
		"name", shape_name(e->path), "state", state_of(e), "directory", (int)(e->whole != NULL),
		"size", known ? json_integer((json_int_t)ident_of(e)->size) : json_null(), "noticed_at",
		shape_time(e->first_ms), "changed_at", changed_at(e), "progress",
		reads ? json_real(check_percent(d, e) / 100.0) : json_null(), "because",
		shape_text(why.because), "next", why.next[0] == '\0' ? json_null() : shape_text(why.next));
}

static bool is_unseen(const struct user *u)
{
	return u->uploads_missed || !u->scanned || u->scan_running ||
	       u->uploads_refused >= INTAKE_REFUSED_MAX;
}

/* False: memory is out. */
static bool add_user(struct daemon *d, const struct user *u, uint64_t after, struct page *p)
{
	p->unseen = p->unseen || is_unseen(u);
	for (const struct upload_entry *e = u->uploads; e != NULL; e = e->hh.next) {
		if (e->number <= after)
			continue;
		if (json_array_size(p->uploads) == p->limit) {
			p->more++;
			continue;
		}
		if (json_array_append_new(p->uploads, shape_upload(d, e)) < 0)
			return false;
		p->last = e;
	}
	return true;
}

static int by_name(const void *left, const void *right)
{
	const struct user *const *a = left, *const *b = right;
	return strcmp((*a)->name, (*b)->name);
}

/* Who has uploads, by name, from that user on. NULL: memory is out. */
static const struct user **users_from(const struct daemon *d, const struct user *only,
                                      const char *name, size_t *ret_n)
{
	const struct user **users = calloc(d->busy.n + 1, sizeof *users);
	size_t n = 0;
	for (const struct user *u = d->busy.users; u != NULL && users != NULL; u = u->busy_next)
		if (u->number != 0 && u->uploads != NULL && (only == NULL || u == only) &&
		    (name == NULL || strcmp(u->name, name) >= 0))
			users[n++] = u;
	if (n > 1)
		qsort(users, n, sizeof *users, by_name);
	*ret_n = n;
	return users;
}

static bool fill(struct daemon *d, const struct user *only, const struct position *after,
                 struct page *p)
{
	size_t n;
	const struct user **users = users_from(d, only, after->user, &n);
	bool fine = users != NULL;
	for (size_t i = 0; i < n && fine; i++) {
		bool same = after->user != NULL && strcmp(users[i]->name, after->user) == 0;
		if (json_array_size(p->uploads) == p->limit)
			p->more += HASH_COUNT(users[i]->uploads);
		else
			fine = add_user(d, users[i], same ? after->number : 0, p);
	}
	free(users);
	return fine;
}

void request_arriving(struct daemon *d, const struct asker *a, const struct user *only,
                      uint64_t limit)
{
	struct position after;
	struct page p = {.limit = limit > 0 && limit < PAGE_MAX ? (size_t)limit : PAGE_MAX};
	if (!position_read(json_object_get(a->body, "after"), &after)) {
		answer_no(d, a, ANSWER_USAGE, "\"after\": expected what an answer had in \"next\"");
		return;
	}
	p.uploads = json_array();
	p.unseen = only != NULL && is_unseen(only);
	json_t *object = NULL;
	if (p.uploads != NULL && fill(d, only, &after, &p))
		object = json_pack("{s:O, s:I, s:b, s:o}", "uploads", p.uploads, "more", (json_int_t)p.more,
		                   "unseen", (int)p.unseen, "next",
		                   p.more > 0 && p.last != NULL ? position_write(p.last) : json_null());
	json_decref(p.uploads);
	free(after.user);
	answer(d, a, object);
}
