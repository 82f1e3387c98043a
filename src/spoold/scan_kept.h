/* What a walk found and was not taken in yet, when others had their turn: the next few
 * names of each user are kept, so that nobody is walked through again for each few files.
 *
 * They age while they are kept: what changed since then is left to the next walk, which
 * follows when they are used up. */
#pragma once

#include "core/found.h"

#include <stdbool.h>
#include <stddef.h>

struct daemon;
struct user;
struct kept;

enum {
	SCAN_KEPT_BYTES_MAX = 8 << 20,   /* of their paths, of all users together */
};

struct scan_kept {
	struct kept *by_user;
	size_t files, bytes;
};

/* Keeps what was found from the i-th on, as much as there is room for. */
void scan_keep(struct daemon *d, struct user *u, const struct found *f, size_t i);
/* For one more user? */
bool scan_kept_has_room(const struct daemon *d);
/* Hands out what is kept of this user, in its order. Returns whether there is anything. */
bool scan_kept_take(struct daemon *d, const struct user *u, struct found *ret_found);
void scan_kept_clear(struct daemon *d);
