/* What a walk found and is not known: the oldest of it, as many as there is room
 * for. The next walk finds the others again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FOUND_PORTION = 131072,        /* files that are kept, twice as many while a walk goes on */
	FOUND_NAMES_MAX = 16 << 20,    /* bytes of their paths, likewise */
};

struct found_file {
	int64_t ctime_ns;
	uint32_t at;            /* of its path among the names */
	uint32_t turn;          /* while ties are put in order */
};

struct found {
	struct found_file *files;
	char *names;
	size_t n, room, names_n, names_room;
	bool cut;               /* not all of it was kept */
	int64_t newest_ns;      /* of what was, then: what is younger need not be looked at */
	uint64_t dice;
};

/* -ENOMEM: it is not kept. */
int found_add(struct found *f, const char *path, int64_t ctime_ns);
/* All was added: at most a portion is left, the oldest first. */
void found_end(struct found *f);
/* Where all of the same ctime have a turn, they go by it, and not by their names as otherwise. `turn`
 * returns false for one that has none. Turns are numbers that count on from 0 after the last one. */
void found_order_ties(struct found *f, bool (*turn)(void *ctx, const char *path, uint32_t *ret),
                      void *ctx);
const char *found_path(const struct found *f, size_t i);
/* Those after the first n. */
void found_leave(struct found *f, size_t n);
void found_clear(struct found *f);
