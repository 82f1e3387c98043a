/* The private directory of a job that ended, with its empty output directory,
 * kept for the user's next one: making and removing directories is most of what a
 * small job costs a disk. On the disk it is the last move of a job cut short just
 * before its end, which every start knows how to finish.
 *
 * An output directory shows that a job was handed to a worker: its claim is over.
 * One that came with the directory does not, so there an attribute says for which
 * job it was handed over last. */
#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define HANDED_ATTRIBUTE "user.spoold.handed"
#define OUTPUT "output" /* the only name of it that is handed on */

enum {
	SPARES = 512, /* of as many users */
	NEIGHBOURS = 8, /* from its place on, a user's may be in so many */
};

struct tree_spare {
	char *user;
	uint64_t id; /* 0: none */
	bool in_use; /* handed on to job `id`; else left by it */
	bool noted;  /* in the attribute */
};

/* That of this user, or NULL; *ret_free is where it may be put, for which
 * another one may have to go. */
static struct tree_spare *look_up(const struct tree *t, const char *user,
                                  struct tree_spare **ret_free)
{
	uint32_t at = tree_hash(user);
	*ret_free = &t->spares[at % SPARES];
	for (uint32_t i = 0; i < NEIGHBOURS; i++) {
		struct tree_spare *s = &t->spares[(at + i) % SPARES];
		if (s->id != 0 && strcmp(s->user, user) == 0)
			return s;
		if (s->id == 0 && (*ret_free)->id != 0)
			*ret_free = s;
	}
	return NULL;
}

static struct tree_spare *find(const struct tree *t, const char *user)
{
	struct tree_spare *unused;
	return t->spares == NULL ? NULL : look_up(t, user, &unused);
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

static void remove_both(int processing, const char *name)
{
	int fd = fd_open_beneath(processing, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0)
		unlinkat(fd, OUTPUT, AT_REMOVEDIR);
	fd_close(fd);
	unlinkat(processing, name, AT_REMOVEDIR);
}

static void drop(struct tree *t, struct tree_spare *s)
{
	char name[32];
	bool left = s->id != 0 && !s->in_use;
	int processing = left ? tree_borrow_place(t, s->user, PLACE_PROCESSING) : -1;
	name_of(s->id, name, sizeof name);
	if (processing >= 0) {
		remove_both(processing, name);
		tree_return_place(t, s->user, processing);
	}
	forget(s);
}

/* As mkdirat() made it: what another account had, or what its handler changed, is
 * for nobody else. */
static bool is_as_made(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	       (st.st_mode & 07777 & ~(mode_t)S_ISGID) == 0700;
}

static int any_entry(void *ctx, const char *name, uint64_t ino)
{
	(void)ctx, (void)name, (void)ino;
	return 1;
}

bool tree_is_spare_output(int privfd, const char *name)
{
	if (strcmp(name, OUTPUT) != 0)
		return false;
	int fd = openat(privfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool usable = fd >= 0 && is_as_made(fd) && tree_walk(fd, any_entry, NULL) == 0;
	fd_close(fd);
	return usable;
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
	const struct tree_spare *s = find(t, user);
	return s != NULL && s->id == id && s->in_use && !s->noted;
}

int tree_note_handed(struct tree *t, const char *user, uint64_t id, int privfd)
{
	struct tree_spare *s = find(t, user);
	bool known = s != NULL && s->id == id && s->in_use;
	if (known ? s->noted : !tree_is_unhanded(privfd, id))
		return 0;
	int r = note(privfd, id);
	if (known)
		s->noted = r == 0;
	return r;
}

bool tree_keep_spare(struct tree *t, const char *user, uint64_t id, int privfd)
{
	if (t->spares == NULL)
		t->spares = calloc(SPARES, sizeof *t->spares);
	if (t->spares == NULL || !is_as_made(privfd))
		return false;
	struct tree_spare *place, *last = look_up(t, user, &place);
	bool noted = last != NULL && last->id == id && last->noted;
	/* Where that cannot be noted it would seem to be handed over when it is not. */
	char *copy = !noted && note(privfd, id) < 0 ? NULL : strdup(user);
	if (copy == NULL)
		return false;
	if (last != NULL)
		place = last;
	if (last != NULL && last->id == id)
		forget(last);
	else
		drop(t, place);
	*place = (struct tree_spare){.user = copy, .id = id, .noted = true};
	return true;
}

int tree_use_spare(struct tree *t, const char *user, uint64_t id, const char *base, int processing)
{
	char old_name[32], new_name[32];
	struct tree_spare *s = find(t, user);
	if (s == NULL || s->in_use)
		return -ENOENT;
	name_of(s->id, old_name, sizeof old_name);
	name_of(id, new_name, sizeof new_name);
	int r = strcmp(base, OUTPUT) == 0 ? -EEXIST : 0;
	if (r == 0 &&
	    renameat2(processing, old_name, processing, new_name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0) {
		drop(t, s);
		return r;
	}
	s->id = id;
	s->in_use = true;
	s->noted = false;
	return 0;
}

void tree_unspare(struct tree *t, const char *user, uint64_t id)
{
	struct tree_spare *s = find(t, user);
	if (s != NULL && s->id == id)
		forget(s);
}

void tree_drop_spare(struct tree *t, const char *user)
{
	struct tree_spare *s = find(t, user);
	if (s != NULL)
		drop(t, s);
}

void tree_drop_spares(struct tree *t)
{
	for (int i = 0; t->spares != NULL && i < SPARES; i++)
		drop(t, &t->spares[i]);
	free(t->spares);
	t->spares = NULL;
}
