/* The empty private directory of a job that ended, kept for the user's next one:
 * making and removing directories is most of what a small job costs a disk. On
 * the disk it is the last move of a job cut short just before its end, which
 * every start knows how to finish. */
#include "io/tree_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SPARES = 256 }; /* of as many users; each has a fixed place among them */

struct tree_spare {
	char *user;
	uint64_t id; /* of the job that had it; 0: none */
};

static struct tree_spare *spare_of(const struct tree *t, const char *user)
{
	uint32_t hash = 2166136261;
	for (const char *p = user; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619;
	return &t->spares[hash % SPARES];
}

static void name_of(uint64_t id, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64, id);
}

static void forget(struct tree_spare *s)
{
	free(s->user);
	*s = (struct tree_spare){0};
}

static void drop(struct tree *t, struct tree_spare *s)
{
	char name[32];
	int processing = s->id == 0 ? -1 : tree_borrow_place(t, s->user, PLACE_PROCESSING);
	name_of(s->id, name, sizeof name);
	if (processing >= 0) {
		unlinkat(processing, name, AT_REMOVEDIR);
		tree_return_place(t, s->user, processing);
	}
	forget(s);
}

/* As mkdirat() made it: what another account had, or what its handler changed, is
 * for nobody else. */
static bool is_as_made(int privfd)
{
	struct stat st;
	return fstat(privfd, &st) == 0 && st.st_uid == geteuid() &&
	       (st.st_mode & 07777 & ~(mode_t)S_ISGID) == 0700;
}

bool tree_keep_spare(struct tree *t, const char *user, uint64_t id, int privfd)
{
	if (t->spares == NULL)
		t->spares = calloc(SPARES, sizeof *t->spares);
	char *copy = t->spares == NULL || !is_as_made(privfd) ? NULL : strdup(user);
	if (copy == NULL)
		return false;
	struct tree_spare *s = spare_of(t, user);
	drop(t, s);
	*s = (struct tree_spare){.user = copy, .id = id};
	return true;
}

int tree_use_spare(struct tree *t, const char *user, uint64_t id, int processing)
{
	char old_name[32], new_name[32];
	struct tree_spare *s = t->spares == NULL ? NULL : spare_of(t, user);
	if (s == NULL || s->id == 0 || strcmp(s->user, user) != 0)
		return -ENOENT;
	name_of(s->id, old_name, sizeof old_name);
	name_of(id, new_name, sizeof new_name);
	int r = renameat2(processing, old_name, processing, new_name, RENAME_NOREPLACE) < 0 ? -errno
	                                                                                    : 0;
	if (r < 0)
		drop(t, s);
	else
		forget(s);
	return r;
}

void tree_unspare(struct tree *t, const char *user, uint64_t id)
{
	struct tree_spare *s = t->spares == NULL ? NULL : spare_of(t, user);
	if (s != NULL && s->id != 0 && s->id == id && strcmp(s->user, user) == 0)
		forget(s);
}

void tree_drop_spare(struct tree *t, const char *user)
{
	struct tree_spare *s = t->spares == NULL ? NULL : spare_of(t, user);
	if (s != NULL && s->id != 0 && strcmp(s->user, user) == 0)
		drop(t, s);
}

void tree_drop_spares(struct tree *t)
{
	for (int i = 0; t->spares != NULL && i < SPARES; i++)
		drop(t, &t->spares[i]);
	free(t->spares);
	t->spares = NULL;
}
