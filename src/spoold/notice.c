#include "spoold/notice.h"

#include "base/log.h"
#include "core/name.h"
#include "core/notice.h"
#include "spoold/daemon.h"
#include "spoold/why.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Written in one tick; each is synced. */
enum { WRITES_PER_TICK = 8 };

struct oddity {
	bool too_deep;
	struct oddity *next;
	char path[];
};

static uint64_t delay_ms(const struct daemon *d, const struct user *u)
{
	/* Later nobody is there to say it. */
	return d->once ? 0 : u->settings->notice_after_ms;
}

static void want(struct daemon *d, struct user *u, uint64_t due_ms)
{
	struct heap_node *node = &u->notice.due;
	if (!u->settings->notices && !u->notice.there)
		return;
	if ((node->at == 0 || node->key > due_ms) && heap_put(&d->notices, node, due_ms) < 0)
		log_error("memory is out: a notice is not written");
}

/* What it waits for may last: not just for being quiet, or for the syncer. */
static bool may_last(const struct daemon *d, const struct upload_entry *e)
{
	if (e->state == UPLOAD_REFUSED || e->state == UPLOAD_OVER)
		return true;
	if (e->state != UPLOAD_ARRIVING)
		return false;
	if (e->waits_for == SETTLE_WRITER)
		return !d->once;
	return e->waits_for == SETTLE_CONVENTION || e->error != 0 || e->unsafe != 0;
}

void notice_waits(struct daemon *d, struct upload_entry *e)
{
	if (e->waits_since_ms == 0)
		e->waits_since_ms = d->steady_ms > 0 ? d->steady_ms : 1;
	if (!e->told)
		want(d, e->user, e->waits_since_ms + delay_ms(d, e->user));
}

void notice_over(struct daemon *d, struct upload_entry *e)
{
	e->waits_since_ms = 0;
	if (e->told)
		want(d, e->user, d->steady_ms);
	e->told = false;
}

static void free_oddities(struct oddity **list)
{
	while (*list != NULL) {
		struct oddity *s = *list;
		*list = s->next;
		free(s);
	}
}

void notice_walk_begins(struct user *u)
{
	free_oddities(&u->notice.found);
	u->notice.found_n = 0;
}

void notice_stray(struct user *u, const char *path, bool too_deep)
{
	size_t n = strlen(path);
	if (!u->settings->notices || u->notice.found_n == NOTICE_STRAYS_MAX)
		return;
	struct oddity *s = malloc(sizeof *s + n + 1);
	if (s == NULL)
		return;
	s->too_deep = too_deep;
	memcpy(s->path, path, n + 1);
	s->next = u->notice.found;
	u->notice.found = s;
	u->notice.found_n++;
}

static bool same_oddities(const struct oddity *a, const struct oddity *b)
{
	while (a != NULL && b != NULL && strcmp(a->path, b->path) == 0) {
		a = a->next;
		b = b->next;
	}
	return a == NULL && b == NULL;
}

void notice_walk_ended(struct daemon *d, struct user *u)
{
	bool news = !same_oddities(u->notice.oddities, u->notice.found);
	free_oddities(&u->notice.oddities);
	u->notice.oddities = u->notice.found;
	u->notice.found = NULL;
	u->notice.found_n = 0;
	/* What an earlier spoold wrote stays for as long as it may still be true. */
	if (u->notice.there && !u->notice.known)
		want(d, u, d->steady_ms + delay_ms(d, u));
	else if (news)
		want(d, u, d->steady_ms);
}

void notice_look_stray(struct daemon *d, struct user *u, const char *path)
{
	struct file_ident ident;
	enum entry_kind kind;
	struct oddity **p = &u->notice.oddities;
	while (*p != NULL && strcmp((*p)->path, path) != 0)
		p = &(*p)->next;
	if (*p == NULL || tree_look(d->tree, u->name, path, &ident, &kind) != -ENOENT)
		return;
	struct oddity *s = *p;
	*p = s->next;
	free(s);
	want(d, u, d->steady_ms);
}

bool notice_is(struct daemon *d, struct user *u, const char *path)
{
	if (!tree_is_notice(d->tree, u->name, path))
		return false;
	u->notice.there = true;
	return true;
}

static void add_strays(const struct user *u, struct notice_text *text)
{
	for (const struct oddity *s = u->notice.oddities; s != NULL; s = s->next) {
		if (s->too_deep)
			notice_add(text, s->path, "its directories are nested too deep to be followed",
			           "move what is in it further up");
		else
			notice_add(text, s->path, "its name, or that of a directory above it, is one that "
			           "transfer programs use for what is not whole yet",
			           "it is taken when it is renamed to a name that does not look like that");
	}
}

/* The job that u->unready is about. False: it is none any more. */
static bool find_unready(struct daemon *d, const struct user *u, struct job *ret)
{
	for (int yields = 0; u->unready && yields < 2; yields++) {
		int r = yields ? index_next_delayed(d->index, u->number, 0, 0, ret)
		               : index_next_in_line(d->index, u->number, 0, ret);
		if (r == 0 && job_is_unready(ret))
			return true;
		job_clear(ret);
	}
	return false;
}

/* How much longer it must wait until that is told. */
static uint64_t unready_wait_ms(const struct daemon *d, const struct user *u, uint64_t accepted_ms)
{
	uint64_t age_ms = d->wall_ms > accepted_ms ? d->wall_ms - accepted_ms : 0;
	uint64_t delay = delay_ms(d, u);
	return age_ms < delay ? delay - age_ms : 0;
}

void notice_unready(struct daemon *d, struct user *u, uint64_t accepted_ms)
{
	if (accepted_ms != 0 && !u->notice.unready)
		want(d, u, d->steady_ms + unready_wait_ms(d, u, accepted_ms));
	/* While it is tried again nobody knows. */
	else if (accepted_ms == 0 && u->notice.unready)
		want(d, u, d->steady_ms + NOTICE_PAUSE_MS);
}

/* The operator is told why. */
static uint64_t add_unready(struct daemon *d, struct user *u, struct notice_text *text)
{
	struct job job = {0};
	u->notice.unready = false;
	if (!find_unready(d, u, &job))
		return UINT64_MAX;
	uint64_t wait_ms = unready_wait_ms(d, u, job.accepted_ms);
	if (wait_ms == 0) {
		notice_add(text, job.path, "the server cannot start the work on it at present",
		           "it is safe and keeps its place, and what came later waits behind it; whoever runs "
		           "the server has to see to that");
		u->notice.unready = true;
	}
	job_clear(&job);
	return wait_ms == 0 ? UINT64_MAX : d->steady_ms + wait_ms;
}

/* Adds what waited long enough; returns when the next one will have. */
static uint64_t add_uploads(struct daemon *d, struct user *u, struct notice_text *text)
{
	uint64_t next = UINT64_MAX;
	for (struct upload_entry *e = u->uploads; e != NULL; e = e->hh.next) {
		struct explanation why = {0};
		e->told = false;
		if (e->waits_since_ms == 0 || !may_last(d, e))
			continue;
		uint64_t due = e->waits_since_ms + delay_ms(d, u);
		if (due > d->steady_ms) {
			next = due_min(next, due);
			continue;
		}
		why_waits(d, e, &why);
		notice_add(text, e->path, why.because, why.next);
		e->told = true;
	}
	return next;
}

static uint64_t hash(const char *text)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (; text != NULL && *text != '\0'; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
	return h;
}

static void put(struct daemon *d, struct user *u, const char *text)
{
	uint64_t now = hash(text);
	if (u->notice.known && u->notice.hash == now)
		return;
	int r = tree_put_notice(d->tree, u->name, text);
	if (r < 0) {
		if (!u->notice.failed)
			log_warning("user %s: the notice for the uploader cannot be written: %s; it is tried "
			            "again", u->name, r == -EEXIST ? "a file of that name is in its way"
			                                           : strerror(-r));
		u->notice.failed = true;
		want(d, u, d->steady_ms + NOTICE_RETRY_MS);
		return;
	}
	u->notice.failed = false;
	u->notice.known = true;
	u->notice.there = text != NULL;
	u->notice.hash = now;
	u->notice.wrote_ms = d->steady_ms;
}

static void renew(struct daemon *d, struct user *u)
{
	uint64_t next = UINT64_MAX;
	char *text = NULL;
	struct notice_text *n = notice_begin();
	if (n != NULL && u->settings->notices) {
		next = due_min(add_unready(d, u, n), add_uploads(d, u, n));
		add_strays(u, n);
	}
	if (n != NULL && notice_end(n, &text))
		put(d, u, text);
	else
		next = due_min(next, d->steady_ms + NOTICE_RETRY_MS);
	free(text);
	if (next != UINT64_MAX)
		want(d, u, next);
}

void notice_configure(struct daemon *d, struct user *u)
{
	for (struct upload_entry *e = u->uploads; e != NULL; e = e->hh.next)
		if (may_last(d, e))
			notice_waits(d, e);
	want(d, u, d->steady_ms);
}

void notice_clear(struct user *u)
{
	free_oddities(&u->notice.oddities);
	free_oddities(&u->notice.found);
}

void notice_tick(struct daemon *d)
{
	struct heap_node *node;
	for (int n = 0; n < WRITES_PER_TICK; n++) {
		node = heap_first(&d->notices);
		if (node == NULL || node->key > d->steady_ms || !daemon_mounted(d))
			return;
		struct user *u = HEAP_ENTRY(node, struct user, notice.due);
		heap_remove(&d->notices, node);
		uint64_t free_ms = u->notice.wrote_ms == 0 ? 0 : u->notice.wrote_ms + NOTICE_PAUSE_MS;
		if (d->steady_ms < free_ms)
			want(d, u, free_ms);
		else
			renew(d, u);
	}
}

uint64_t notice_next(const struct daemon *d)
{
	const struct heap_node *node = heap_first(&d->notices);
	return node == NULL || d->unmounted ? UINT64_MAX : node->key;
}

bool notice_idle(const struct daemon *d)
{
	return notice_next(d) > d->steady_ms;
}
