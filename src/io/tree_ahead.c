#include "io/tree_private.h"

#include "base/crew.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A piece is what one thread looks at in a row. */
enum { PIECE = TREE_AHEAD_MAX / (CREW_PIECES_MAX / 2) };

/* Names in the order of the directory. */
struct batch {
	size_t n;
	bool ended; /* no more names come: all were read, or */
	int error;
	size_t text_n;
	uint32_t at[TREE_AHEAD_MAX];
	char text[TREE_AHEAD_MAX * 256 + PATH_MAX]; /* used as far as it is needed */
};

struct look {
	int error; /* 0, and the rest; or negative */
	struct file_ident ident;
	enum entry_kind kind;
};

struct tree_ahead {
	int dirfd;
	const struct tree_numbers *numbers;
	DIR *dir;
	struct batch batches[2];
	struct batch *now;   /* that is given out; while it is, the other one is read */
	size_t next;         /* the next name of `now` */
	size_t from, to;     /* those that are looked at in this round */
	bool reads;          /* the first piece of this round is to read the other batch */
	size_t max;          /* names */
	struct look looks[TREE_AHEAD_MAX];
};

int tree_ahead_new(DIR *dir, const struct tree_numbers *numbers, struct tree_ahead **ret)
{
	struct tree_ahead *a = malloc(sizeof *a);
	if (a == NULL)
		return -ENOMEM;
	a->dirfd = dirfd(dir);
	a->numbers = numbers;
	a->dir = dir;
	for (int i = 0; i < 2; i++) {
		a->batches[i].n = 0;
		a->batches[i].ended = false;
	}
	a->now = &a->batches[0];
	a->next = 0;
	tree_ahead_forget(a);
	*ret = a;
	return 0;
}

void tree_ahead_free(struct tree_ahead *a)
{
	free(a);
}

void tree_ahead_forget(struct tree_ahead *a)
{
	if (a == NULL)
		return;
	a->from = a->to = a->next;
	a->reads = false;
}

static struct batch *other(struct tree_ahead *a)
{
	return a->now == &a->batches[0] ? &a->batches[1] : &a->batches[0];
}

static bool is_empty(const struct batch *b)
{
	return b->n == 0 && !b->ended;
}

static void read_names(struct batch *b, DIR *dir, size_t max)
{
	b->text_n = 0;
	/* Few file systems have names of more than 255 bytes, and none has longer paths. */
	while (b->n < max && b->text_n + PATH_MAX <= sizeof b->text && !b->ended) {
		errno = 0;
		const struct dirent *e = readdir(dir);
		b->error = e == NULL ? -errno : 0;
		b->ended = e == NULL;
		if (e == NULL)
			continue;
		size_t size = strlen(e->d_name) + 1;
		b->at[b->n++] = (uint32_t)b->text_n;
		memcpy(b->text + b->text_n, e->d_name, size);
		b->text_n += size;
	}
}

static bool has_more(const struct tree_ahead *a)
{
	return a->next < a->now->n || a->now->ended;
}

/* To the other batch, which was read. */
static void turn_over(struct tree_ahead *a)
{
	a->now->n = 0;
	a->now = other(a);
	a->next = 0;
	tree_ahead_forget(a);
}

static void do_piece(void *ctx, size_t piece)
{
	struct tree_ahead *a = ctx;
	if (a->reads && piece-- == 0) {
		read_names(other(a), a->dir, a->max);
		return;
	}
	size_t i = a->from + piece * PIECE;
	size_t end = i + PIECE < a->to ? i + PIECE : a->to;
	for (; i < end; i++) {
		struct look *look = &a->looks[i];
		look->error = tree_ident_in(a->dirfd, a->numbers, a->now->text + a->now->at[i],
		                            &look->ident, &look->kind);
	}
}

void tree_ahead_begin(struct tree_ahead *a, struct crew *crew, size_t max)
{
	a->max = max < TREE_AHEAD_MAX ? max : TREE_AHEAD_MAX;
	if (!has_more(a) && is_empty(other(a)))
		read_names(other(a), a->dir, a->max);
	if (!has_more(a))
		turn_over(a);
	size_t left = a->now->n - a->next;
	a->from = a->next;
	a->to = a->next + (left < a->max ? left : a->max);
	a->reads = !a->now->ended && is_empty(other(a));
	size_t looks = (a->to - a->from + PIECE - 1) / PIECE;
	if (looks > 0)
		crew_begin(crew, do_piece, a, a->reads + looks);
	else
		tree_ahead_forget(a);
}

bool tree_ahead_next(struct tree_ahead *a, struct crew *crew, int *ret_error, const char **ret_name)
{
	if (a == NULL)
		return false;
	if (!has_more(a)) {
		if (a->reads)
			crew_need(crew, 0);
		crew_end(crew);
		if (is_empty(other(a)))
			return false;
		turn_over(a);
	}
	*ret_error = 0;
	*ret_name = NULL;
	if (a->next < a->now->n)
		*ret_name = a->now->text + a->now->at[a->next++];
	else
		*ret_error = a->now->error;
	return true;
}

bool tree_ahead_look(struct tree_ahead *a, struct crew *crew, int *ret_error,
                     struct file_ident *ret_ident, enum entry_kind *ret_kind)
{
	if (a == NULL || a->next <= a->from || a->next > a->to)
		return false;
	size_t i = a->next - 1;
	crew_need(crew, a->reads + (i - a->from) / PIECE);
	const struct look *look = &a->looks[i];
	*ret_error = look->error;
	if (look->error == 0) {
		*ret_ident = look->ident;
		*ret_kind = look->kind;
	}
	return true;
}
