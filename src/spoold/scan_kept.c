#include "spoold/scan_kept.h"

#include "spoold/daemon.h"

#include <stdlib.h>
#include <string.h>

struct kept {
	const struct user *user;
	struct found found;
	UT_hash_handle hh;
};

static void copy(struct found *to, const struct found *from, size_t i, size_t end, size_t bytes)
{
	for (; i < end; i++) {
		size_t size = strlen(found_path(from, i)) + 1;
		if (size > bytes || found_add(to, found_path(from, i), from->files[i].ctime_ns) < 0)
			break;
		bytes -= size;
	}
	if (to->n > 0)
		found_end(to);
}

static void put(struct scan_kept *s, struct kept *k)
{
	HASH_ADD(hh, s->by_user, user, sizeof k->user, k);
	if (k->hh.tbl == NULL) {
		found_clear(&k->found);
		free(k);
		return;
	}
	s->files += k->found.n;
	s->bytes += k->found.names_n;
}

bool scan_kept_has_room(const struct daemon *d)
{
	const struct scan_kept *s = &d->scan.kept;
	return s->files + d->scan.portions.ahead <= d->scan.portions.kept &&
	       s->bytes <= SCAN_KEPT_BYTES_MAX - SCAN_KEPT_BYTES_MAX / 8;
}

/* Not the same of all: users who were found together need not be walked through together
 * again. */
static size_t how_many(const struct daemon *d, const struct user *u)
{
	size_t room = d->scan.portions.kept - d->scan.kept.files, most = d->scan.portions.ahead;
	size_t n = most - u->number % (most / 2 + 1);
	return n < room ? n : room;
}

void scan_keep(struct daemon *d, struct user *u, const struct found *f, size_t i)
{
	struct scan_kept *s = &d->scan.kept;
	size_t n = how_many(d, u);
	if (i >= f->n || n == 0)
		return;
	struct kept *k = calloc(1, sizeof *k);
	if (k == NULL)
		return;
	k->user = u;
	copy(&k->found, f, i, f->n - i < n ? f->n : i + n, SCAN_KEPT_BYTES_MAX - s->bytes);
	if (k->found.n > 0) {
		put(s, k);
		return;
	}
	found_clear(&k->found);
	free(k);
}

static void drop(struct scan_kept *s, struct kept *k)
{
	s->files -= k->found.n;
	s->bytes -= k->found.names_n;
	HASH_DEL(s->by_user, k);
	free(k);
}

bool scan_kept_take(struct daemon *d, const struct user *u, struct found *ret_found)
{
	struct kept *k;
	HASH_FIND(hh, d->scan.kept.by_user, &u, sizeof u, k);
	if (k == NULL)
		return false;
	struct found found = k->found;
	drop(&d->scan.kept, k);
	*ret_found = found;
	return true;
}

void scan_kept_clear(struct daemon *d)
{
	struct kept *k, *tmp;
	HASH_ITER(hh, d->scan.kept.by_user, k, tmp) {
		found_clear(&k->found);
		drop(&d->scan.kept, k);
	}
}
