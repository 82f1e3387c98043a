#include "core/found.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 64, FIRST_NAMES_ROOM = 2048 };

const char *found_path(const struct found *f, size_t i)
{
	return f->names + f->files[i].at;
}

static int compare_age(const void *a, const void *b, void *names)
{
	const struct found_file *x = a, *y = b;
	if (x->ctime_ns != y->ctime_ns)
		return x->ctime_ns < y->ctime_ns ? -1 : 1;
	/* The clock of file systems ticks a few hundred times a second: page2 before page10. */
	return strverscmp((const char *)names + x->at, (const char *)names + y->at);
}

static void swap(struct found_file *a, struct found_file *b)
{
	const struct found_file kept = *a;
	*a = *b;
	*b = kept;
}

/* Puts one of those from `lo` to `hi` in its place, all that are older before it, and
 * returns the place. */
static size_t part(struct found *f, size_t lo, size_t hi)
{
	size_t to = lo;
	/* Which one is not to be foreseen: who orders files on purpose makes it no slower. */
	f->dice = f->dice * UINT64_C(6364136223846793005) + (uint64_t)f->files[lo].ctime_ns;
	swap(&f->files[lo + (size_t)(f->dice >> 33) % (hi - lo)], &f->files[hi - 1]);
	const struct found_file pivot = f->files[hi - 1];
	for (size_t i = lo; i + 1 < hi; i++)
		if (compare_age(&f->files[i], &pivot, f->names) < 0)
			swap(&f->files[i], &f->files[to++]);
	swap(&f->files[to], &f->files[hi - 1]);
	return to;
}

/* The n oldest come first, in any order: much quicker than to sort all. */
static void select_oldest(struct found *f, size_t n)
{
	size_t lo = 0, hi = f->n;
	while (hi - lo > 1) {
		size_t at = part(f, lo, hi);
		if (at < n)
			lo = at + 1;
		else
			hi = at;
	}
}

static int pack_names(struct found *f)
{
	char *names = malloc(f->names_room);
	size_t to = 0;
	if (names == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < f->n; i++) {
		const char *path = found_path(f, i);
		size_t size = strlen(path) + 1;
		memcpy(names + to, path, size);
		f->files[i].at = (uint32_t)to;
		to += size;
	}
	free(f->names);
	f->names = names;
	f->names_n = to;
	return 0;
}

/* The n oldest stay. */
static int cut(struct found *f, size_t n)
{
	select_oldest(f, n);
	f->n = n;
	f->cut = true;
	f->newest_ns = f->files[0].ctime_ns;
	for (size_t i = 1; i < n; i++)
		if (f->files[i].ctime_ns > f->newest_ns)
			f->newest_ns = f->files[i].ctime_ns;
	return pack_names(f);
}

static size_t grown(size_t room, size_t first, size_t needed)
{
	if (room == 0)
		room = first;
	while (room < needed)
		room *= 2;
	return room;
}

static int make_room(struct found *f, size_t name)
{
	size_t room = grown(f->room, FIRST_ROOM, f->n + 1);
	size_t names_room = grown(f->names_room, FIRST_NAMES_ROOM, f->names_n + name);
	if (room != f->room) {
		struct found_file *files = reallocarray(f->files, room, sizeof *files);
		if (files == NULL)
			return -ENOMEM;
		f->files = files;
		f->room = room;
	}
	if (names_room != f->names_room) {
		char *names = realloc(f->names, names_room);
		if (names == NULL)
			return -ENOMEM;
		f->names = names;
		f->names_room = names_room;
	}
	return 0;
}

int found_add(struct found *f, const char *path, int64_t ctime_ns)
{
	size_t size = strlen(path) + 1;
	int r = 0;
	if (f->cut && ctime_ns > f->newest_ns)
		return 0;
	if (f->n == 2 * (size_t)FOUND_PORTION ||
	    (f->n > 1 && f->names_n + size > (size_t)FOUND_NAMES_MAX))
		r = cut(f, f->n / 2);
	if (r == 0)
		r = make_room(f, size);
	if (r < 0)
		return r;
	memcpy(f->names + f->names_n, path, size);
	f->files[f->n++] = (struct found_file){.ctime_ns = ctime_ns, .at = (uint32_t)f->names_n};
	f->names_n += size;
	return 0;
}

/* What it took while the walk went on is given back. */
static void shrink(struct found *f)
{
	struct found_file *files = reallocarray(f->files, f->n, sizeof *files);
	char *names = realloc(f->names, f->names_n);
	if (files != NULL) {
		f->files = files;
		f->room = f->n;
	}
	if (names != NULL) {
		f->names = names;
		f->names_room = f->names_n;
	}
}

void found_end(struct found *f)
{
	/* Where memory is out the names just stay where they are. */
	if (f->n > FOUND_PORTION)
		(void)cut(f, FOUND_PORTION);
	if (f->n > 1)
		qsort_r(f->files, f->n, sizeof *f->files, compare_age, f->names);
	if (f->n > 0)
		shrink(f);
}

static int compare_turn(const void *a, const void *b)
{
	const struct found_file *x = a, *y = b;
	return x->turn == y->turn ? 0 : (int32_t)(x->turn - y->turn) < 0 ? -1 : 1;
}

void found_order_ties(struct found *f, bool (*turn)(void *ctx, const char *path, uint32_t *ret),
                      void *ctx)
{
	for (size_t i = 0, end; i < f->n; i = end) {
		bool all = true;
		for (end = i; end < f->n && f->files[end].ctime_ns == f->files[i].ctime_ns; end++)
			;
		for (size_t at = i; end - i > 1 && all && at < end; at++)
			all = turn(ctx, found_path(f, at), &f->files[at].turn);
		if (end - i > 1 && all)
			qsort(f->files + i, end - i, sizeof *f->files, compare_turn);
	}
}

void found_leave(struct found *f, size_t n)
{
	f->cut = f->cut || f->n > n;
	f->n = f->n < n ? f->n : n;
}

void found_clear(struct found *f)
{
	free(f->files);
	free(f->names);
	*f = (struct found){0};
}
