/* The private directories of jobs that ended, with their empty output directories,
 * kept for the user's next ones: making and removing directories is most of what a
 * small job costs a disk. On the disk each is the last move of a job cut short just
 * before its end, which every start knows how to finish. The oldest serves first: none
 * lies for long while others are used.
 *
 * An output directory shows that a job was handed to a worker: its claim is over.
 * One that came with the directory does not, so there an attribute says for which
 * job it was handed over last. */
#include "io/tree_private.h"

#include "base/dir.h"
#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define HANDED_ATTRIBUTE "user.spoold.handed"
#define OUTPUT "output" /* the only name of it that is handed on */

enum {
	USERS = 512,    /* of as many users */
	NEIGHBOURS = 8, /* from its place on, a user's may be in so many */
	MOST = 68,      /* of one user: as many as its worker may have jobs, and some */
};

struct spare {
	uint64_t id;
	bool in_use; /* handed on to job `id`; else left by it */
	bool noted;  /* in the attribute */
	struct spare *next;
};

struct tree_spare {
	char *user;           /* NULL: nobody's */
	struct spare *spares; /* the oldest first */
	unsigned n;
};

/* Those of this user, or NULL; *ret_free is where they may be put, for which
 * another one's may have to go. */
static struct tree_spare *look_up(const struct tree *t, const char *user,
                                  struct tree_spare **ret_free)
{
	uint32_t at = tree_hash(user);
	*ret_free = &t->spares[at % USERS];
	for (uint32_t i = 0; i < NEIGHBOURS; i++) {
		struct tree_spare *of = &t->spares[(at + i) % USERS];
		if (of->user != NULL && strcmp(of->user, user) == 0)
			return of;
		if (of->user == NULL && (*ret_free)->user != NULL)
			*ret_free = of;
	}
	return NULL;
}

static struct tree_spare *find_user(const struct tree *t, const char *user)
{
	struct tree_spare *unused;
	return t->spares == NULL ? NULL : look_up(t, user, &unused);
}

static struct spare *find(const struct tree_spare *of, uint64_t id)
{
	struct spare *s = of == NULL ? NULL : of->spares;
	while (s != NULL && s->id != id)
		s = s->next;
	return s;
}

static struct spare *find_used(const struct tree *t, const char *user, uint64_t id)
{
	struct spare *s = find(find_user(t, user), id);
	return s != NULL && s->in_use ? s : NULL;
}

static void name_of(uint64_t id, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64, id);
}

static void forget(struct tree_spare *of, const struct spare *gone)
{
	struct spare **at = &of->spares;
	while (*at != gone)
		at = &(*at)->next;
	struct spare *s = *at;
	*at = s->next;
	free(s);
	of->n--;
}

static void remove_both(int processing, const char *name)
{
	int fd = fd_open_beneath(processing, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0)
		unlinkat(fd, OUTPUT, AT_REMOVEDIR);
	fd_close(fd);
	unlinkat(processing, name, AT_REMOVEDIR);
}

static void drop(struct tree *t, struct tree_spare *of, const struct spare *s)
{
	char name[32];
	int processing = s->in_use ? -1 : tree_borrow_place(t, of->user, PLACE_PROCESSING);
	name_of(s->id, name, sizeof name);
	if (processing >= 0) {
		remove_both(processing, name);
		tree_return_place(t, of->user, processing);
	}
	forget(of, s);
}

static void drop_all(struct tree *t, struct tree_spare *of)
{
	while (of->spares != NULL)
		drop(t, of, of->spares);
	free(of->user);
	*of = (struct tree_spare){0};
}

bool tree_is_spare_output(int privfd, const char *name)
{
	return strcmp(name, OUTPUT) == 0 && dir_is_unused(privfd, OUTPUT);
}

static int note(int privfd, uint64_t id)
{
	char text[32];
	name_of(id, text, sizeof text);
	return fsetxattr(privfd, HANDED_ATTRIBUTE, text, strlen(text), 0) < 0 ? -errno : 0;
}

bool tree_is_unhanded(int privfd, uint64_t id)
{
	char text[32], have[32];
	name_of(id, text, sizeof text);
	ssize_t n = fgetxattr(privfd, HANDED_ATTRIBUTE, have, sizeof have);
	return n > 0 && ((size_t)n != strlen(text) || memcmp(have, text, (size_t)n) != 0);
}

bool tree_came_with_output(const struct tree *t, const char *user, uint64_t id)
{
	const struct spare *s = find_used(t, user, id);
	return s != NULL && !s->noted;
}

int tree_note_handed(struct tree *t, const char *user, uint64_t id, int privfd)
{
	struct spare *s = find_used(t, user, id);
	if (s != NULL ? s->noted : !tree_is_unhanded(privfd, id))
		return 0;
	int r = note(privfd, id);
	if (s != NULL)
		s->noted = r == 0;
	return r;
}

static struct tree_spare *add_user(struct tree *t, const char *user)
{
	struct tree_spare *place;
	if (t->spares == NULL)
		t->spares = calloc(USERS, sizeof *t->spares);
	struct tree_spare *of = t->spares == NULL ? NULL : look_up(t, user, &place);
	if (of != NULL || t->spares == NULL)
		return of;
	char *copy = strdup(user);
	if (copy == NULL)
		return NULL;
	drop_all(t, place);
	place->user = copy;
	return place;
}

static bool add(struct tree *t, struct tree_spare *of, uint64_t id)
{
	struct spare **at = &of->spares, *s = calloc(1, sizeof *s);
	if (s == NULL)
		return false;
	if (of->n == MOST)
		drop(t, of, of->spares);
	while (*at != NULL)
		at = &(*at)->next;
	*at = s;
	of->n++;
	*s = (struct spare){.id = id, .noted = true};
	return true;
}

bool tree_keep_spare(struct tree *t, const char *user, uint64_t id, int privfd)
{
	/* What another account had, or what its handler changed, is for nobody else. */
	struct tree_spare *of = dir_is_as_made(privfd) ? add_user(t, user) : NULL;
	const struct spare *s = find(of, id);
	bool noted = s != NULL && s->noted;
	/* Where that cannot be noted it would seem to be handed over when it is not. */
	if (of == NULL || (!noted && note(privfd, id) < 0))
		return false;
	if (s != NULL)
		forget(of, s);
	return add(t, of, id);
}

/* The first one that was left. */
static struct spare *next_spare(const struct tree_spare *of)
{
	struct spare *s = of == NULL ? NULL : of->spares;
	while (s != NULL && s->in_use)
		s = s->next;
	return s;
}

int tree_use_spare(struct tree *t, const char *user, uint64_t id, const char *base, int processing)
{
	char old_name[32], new_name[32];
	struct tree_spare *of = find_user(t, user);
	struct spare *s = next_spare(of);
	if (s == NULL)
		return -ENOENT;
	name_of(s->id, old_name, sizeof old_name);
	name_of(id, new_name, sizeof new_name);
	int r = strcmp(base, OUTPUT) == 0 ? -EEXIST : 0;
	if (r == 0 &&
	    renameat2(processing, old_name, processing, new_name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0) {
		drop(t, of, s);
		return r;
	}
	s->id = id;
	s->in_use = true;
	s->noted = false;
	return 0;
}

void tree_unspare(struct tree *t, const char *user, uint64_t id)
{
	struct tree_spare *of = find_user(t, user);
	const struct spare *s = find(of, id);
	if (s != NULL)
		forget(of, s);
}

void tree_drop_spare(struct tree *t, const char *user)
{
	struct tree_spare *of = find_user(t, user);
	if (of != NULL)
		drop_all(t, of);
}

void tree_drop_spares(struct tree *t)
{
	for (int i = 0; t->spares != NULL && i < USERS; i++)
		drop_all(t, &t->spares[i]);
	free(t->spares);
	t->spares = NULL;
}
