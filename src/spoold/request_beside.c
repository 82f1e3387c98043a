#include "core/beside.h"
#include "spoold/request_private.h"

struct where {
	struct daemon *d;
	const struct user *u;
	enum place place;
};

static bool find_there(void *ctx, const char *own, bool output, const char *name, struct job *ret)
{
	const struct where *w = ctx;
	return tree_is_beside(w->d->tree, w->u->name, w->place, own, output) &&
	       index_find_final(w->d->index, w->u->number, w->place, name, ret) == 0;
}

bool answer_beside(struct daemon *d, const struct asker *a, const char *outside,
                   const struct user *u, enum place place, const char *path)
{
	struct where where = {.d = d, .u = u, .place = place};
	struct beside b = {0};
	if ((place != PLACE_DONE && place != PLACE_FAILED) ||
	    !tree_is_there(d->tree, u->name, place, path) || !beside_find(path, find_there, &where, &b))
		return false;
	/* Where that is there, this one is an earlier job's. */
	bool other = b.numbered != NULL && tree_is_beside(d->tree, u->name, place, b.numbered, b.output);
	if (!other)
		answer(d, a, beside_explain(&b, outside, place == PLACE_DONE ? u->settings->keep_done_ms
		                                                             : u->settings->keep_failed_ms,
		                            d->wall_ms));
	beside_clear(&b);
	return !other;
}
