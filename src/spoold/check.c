#include "spoold/check.h"

#include "base/fd.h"
#include "spoold/accept.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

void check_free(struct check *c)
{
	if (c == NULL)
		return;
	free(c->mismatch);
	free(c);
}

static void want_turn(struct daemon *d, struct user *u)
{
	if (u->checks == NULL || u->check_reading != NULL || u->check_listed)
		return;
	u->check_listed = true;
	DL_APPEND2(d->checks.users, u, check_prev, check_next);
}

/* Out of all lists; the entry arrives again. */
static void leave(struct daemon *d, struct check *c)
{
	struct user *u = c->entry->user;
	if (c->tag == 0) {
		DL_DELETE(u->checks, c);
	} else {
		DL_DELETE(d->checks.reading, c);
		d->checks.reading_n--;
		u->check_reading = NULL;
	}
	c->tag = 0;
	d->checks.n--;
	c->entry->state = UPLOAD_ARRIVING;
	want_turn(d, u);
}

static int read_file(struct daemon *d, struct check *c)
{
	struct upload_entry *e = c->entry;
	int fd = tree_open_upload(d->tree, e->user->name, e->path);
	if (fd < 0)
		return fd;
	c->of = e->look.ident;
	c->found_any = false;
	int r = digest_add(d->digest, d->checks.last_tag + 1, fd, c->of.size);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	DL_DELETE(e->user->checks, c);
	c->tag = ++d->checks.last_tag;
	DL_APPEND(d->checks.reading, c);
	d->checks.reading_n++;
	e->user->check_reading = c;
	return 0;
}

static void go_on(struct daemon *d)
{
	while (d->checks.reading_n < CHECK_READING_MAX && d->checks.users != NULL) {
		struct user *u = d->checks.users;
		DL_DELETE2(d->checks.users, u, check_prev, check_next);
		u->check_listed = false;
		struct check *c = u->checks;
		int r = c == NULL ? 0 : read_file(d, c);
		if (r < 0) {
			struct upload_entry *e = c->entry;
			leave(d, c);
			accept_note_error(e, r);
			upload_again(d, e);
		}
	}
}

void check_begin(struct daemon *d, struct upload_entry *e)
{
	if (e->check == NULL)
		e->check = calloc(1, sizeof *e->check);
	if (e->check == NULL) {
		upload_again(d, e);
		return;
	}
	upload_leave_scan(d, e);
	e->check->entry = e;
	e->state = UPLOAD_CHECKING;
	d->checks.n++;
	DL_APPEND(e->user->checks, e->check);
	want_turn(d, e->user);
	go_on(d);
}

void check_abandon(struct daemon *d, struct upload_entry *e)
{
	if (e->state != UPLOAD_CHECKING)
		return;
	if (e->check->tag != 0)
		digest_cancel(d->digest, e->check->tag);
	e->check->found_any = false;
	leave(d, e->check);
	go_on(d);
}

static void note_result(struct daemon *d, struct check *c, int error, const uint8_t *sum)
{
	struct upload_entry *e = c->entry;
	leave(d, c);
	accept_note_error(e, error);
	if (error < 0) {
		upload_again(d, e);
		return;
	}
	c->found_any = true;
	memcpy(c->found, sum, sizeof c->found);
	upload_set_due(d, e, d->steady_ms);
}

void check_read_results(struct daemon *d)
{
	uint64_t tag;
	int error;
	uint8_t sum[DIGEST_SIZE];
	while (digest_next(d->digest, &tag, &error, sum) > 0) {
		struct check *c;
		DL_SEARCH_SCALAR(d->checks.reading, c, tag, tag);
		if (c != NULL)
			note_result(d, c, error, sum);
		go_on(d);
	}
}

const uint8_t *check_found(const struct upload_entry *e)
{
	const struct check *c = e->check;
	return c != NULL && c->found_any && file_ident_same(&c->of, &e->look.ident) ? c->found : NULL;
}

unsigned check_percent(struct daemon *d, const struct upload_entry *e)
{
	const struct check *c = e->check;
	if (c == NULL || c->tag == 0 || c->of.size == 0)
		return 0;
	return (unsigned)((double)digest_progress(d->digest, c->tag) * 100 / (double)c->of.size);
}

const struct upload_entry *check_at_work(const struct user *u, unsigned *ret_more)
{
	const struct check *c;
	*ret_more = 0;
	DL_COUNT(u->checks, c, *ret_more);
	return u->check_reading == NULL ? NULL : u->check_reading->entry;
}
