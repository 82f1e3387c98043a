/* The private directories of jobs that ended, with their empty output directories,
 * kept for the user's next ones: making and removing directories is most of what a
 * small job costs a disk. On the disk each is the last move of a job cut short just
 * before its end, which every start knows how to finish. The oldest serves first: none
 * lies for long while others are used.
 *
 * An output directory shows that a job was handed to a worker: its claim is over.
 * One that came with the directory does not, so there an attribute says for which
 * job it was handed over last.
 *
 * They stay open as they go from one job to the next, as far as there is room; who ends a
 * job asks whether that is still the one at its place. And an output directory that did not
 * change since it was found empty is not read again. */
#include "io/tree_private.h"

#include "base/clock.h"
#include "base/dir.h"
#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define HANDED_ATTRIBUTE "user.spoold.handed"
#define OUTPUT "output" /* the only name of it that is handed on */

enum {
	USERS = 512,    /* of as many users */
	NEIGHBOURS = 8, /* from its place on, a user's may be in so many */
	MOST = 68,      /* of one user: as many as its worker may have jobs, and some */
	OPEN = 1024,    /* of them all stay open, or less: */
	OPEN_SHARE = 8, /* most descriptors are for others */
	SLACK_MS = 20,  /* the clock of files lags behind, and two changes may have one time */
};

struct spare {
	uint64_t id;
	bool in_use; /* handed on to job `id`; else left by it */
	bool noted;  /* in the attribute */
	int fd;      /* -1: not open */
	dev_t dev;   /* of it */
	ino_t ino;
	ino_t output_ino; /* its output directory when it was found empty, at rest; 0: never */
	struct timespec output_changed;
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

static struct spare *take_out(struct tree_spare *of, const struct spare *wanted)
{
	struct spare **at = &of->spares;
	while (*at != wanted)
		at = &(*at)->next;
	struct spare *s = *at;
	*at = s->next;
	of->n--;
	return s;
}

static int take_fd(struct tree *t, struct spare *s)
{
	int fd = s->fd;
	t->open_spares -= fd >= 0;
	s->fd = -1;
	return fd;
}

static void forget(struct tree *t, struct tree_spare *of, const struct spare *gone)
{
	struct spare *s = take_out(of, gone);
	fd_close(take_fd(t, s));
	free(s);
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
	forget(t, of, s);
}

static void drop_all(struct tree *t, struct tree_spare *of)
{
	while (of->spares != NULL)
		drop(t, of, of->spares);
	free(of->user);
	*of = (struct tree_spare){0};
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_output_as_seen(const struct spare *s, int privfd)
{
	struct stat st;
	return s->output_ino != 0 && fstatat(privfd, OUTPUT, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_ino == s->output_ino && is_same_time(&st.st_ctim, &s->output_changed);
}

/* Whatever is done to it after that gives it another time: so only where its last change
 * was before `now_ms`, for sure. */
static void note_output(struct spare *s, const struct stat *st, uint64_t now_ms)
{
	uint64_t changed_ms = (uint64_t)st->st_ctim.tv_sec * 1000 + (uint64_t)st->st_ctim.tv_nsec / 1000000;
	bool rests = changed_ms + SLACK_MS < now_ms;
	s->output_ino = rests ? st->st_ino : 0;
	s->output_changed = st->st_ctim;
}

bool tree_is_spare_output(struct tree *t, const char *user, uint64_t id, int privfd,
                          const char *name)
{
	struct stat st;
	struct spare *s = find_used(t, user, id);
	uint64_t now_ms = s == NULL ? 0 : clock_wall_ms();
	if (strcmp(name, OUTPUT) != 0)
		return false;
	if (s != NULL && is_output_as_seen(s, privfd))
		return true;
	bool unused = dir_is_unused(privfd, OUTPUT, &st);
	if (unused && s != NULL)
		note_output(s, &st, now_ms);
	return unused;
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

static unsigned room(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= OPEN * OPEN_SHARE)
		return OPEN;
	return (unsigned)limit.rlim_cur / OPEN_SHARE;
}

static struct tree_spare *add_user(struct tree *t, const char *user)
{
	struct tree_spare *place;
	if (t->spares == NULL) {
		t->spares = calloc(USERS, sizeof *t->spares);
		t->open_spares_room = room();
	}
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

static void put_last(struct tree *t, struct tree_spare *of, struct spare *s)
{
	struct spare **at = &of->spares;
	if (of->n == MOST)
		drop(t, of, of->spares);
	while (*at != NULL)
		at = &(*at)->next;
	s->next = NULL;
	*at = s;
	of->n++;
}

/* Takes the descriptor over, or not. */
static void keep_open(struct tree *t, struct spare *s, const struct stat *st, int *fd)
{
	if (s->fd >= 0 || t->open_spares >= t->open_spares_room || !tree_may_stay_open(t, st->st_dev))
		return;
	s->fd = *fd;
	s->dev = st->st_dev;
	s->ino = st->st_ino;
	*fd = -1;
	t->open_spares++;
}

bool tree_keep_spare(struct tree *t, const char *user, uint64_t id, int *privfd)
{
	struct stat st;
	/* What another account had, or what its handler changed, is for nobody else. */
	bool usable = fstat(*privfd, &st) == 0 && dir_is_as_made(&st);
	struct tree_spare *of = usable ? add_user(t, user) : NULL;
	const struct spare *known = find(of, id);
	bool noted = known != NULL && known->noted;
	/* Where that cannot be noted it would seem to be handed over when it is not. */
	if (of == NULL || (!noted && note(*privfd, id) < 0))
		return false;
	struct spare *s = known != NULL ? take_out(of, known) : calloc(1, sizeof *s);
	if (s == NULL)
		return false;
	if (known == NULL)
		*s = (struct spare){.id = id, .fd = -1};
	s->in_use = false;
	s->noted = true;
	put_last(t, of, s);
	keep_open(t, s, &st, privfd);
	return true;
}

/* Whoever moved it, or one of those above it, has it; and a handler of our own account may
 * have closed it to itself, and so to us. */
static bool is_in_place(struct tree *t, const char *user, const struct spare *s)
{
	char name[32];
	struct stat st;
	int processing = tree_borrow_place(t, user, PLACE_PROCESSING);
	name_of(s->id, name, sizeof name);
	bool is = processing >= 0 && fstatat(processing, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	          st.st_ino == s->ino && st.st_dev == s->dev && (st.st_mode & S_IRWXU) == S_IRWXU;
	tree_return_place(t, user, processing);
	return is;
}

int tree_open_to_end(struct tree *t, const char *user, uint64_t id)
{
	struct spare *s = find_used(t, user, id);
	if (s == NULL || s->fd < 0)
		return tree_open_private(t, user, id);
	bool is = is_in_place(t, user, s);
	int fd = take_fd(t, s);
	if (is)
		return fd;
	fd_close(fd);
	return tree_open_private(t, user, id);
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
		forget(t, of, s);
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
