/* Directories that stay open for a moment. Beneath-the-root is asked once for each of
 * them, not for every step of every job. */
#include "io/tree_private.h"

#include "base/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum {
	KEPT_USERS = 256, /* at up to four descriptors each */
	NEIGHBOURS = 8,   /* from its place on, a user's slot may be one of so many */
	KEPT_USER_SIZE = 112, /* bytes: NAME_USER_MAX and more */
};

/* So long: who moves a directory away while jobs run may find a file in it that came just
 * then, and who unmounts one is not kept from it for longer. */
enum { KEPT_MS = 200 };

struct kept_user {
	char user[KEPT_USER_SIZE];
	int fds[PLACES];
	bool brief;        /* only until the end of the turn */
	uint64_t until_ms; /* 0: opened in this turn */
};

struct tree_kept {
	struct kept_user slots[KEPT_USERS];
	unsigned used[KEPT_USERS], used_n; /* slots with something in them */
	unsigned room; /* so many: most descriptors are for others */
	bool far; /* the spool is on a network mount: to close there may hang */
	/* The private directory of the last claim, for who runs it. */
	char user[KEPT_USER_SIZE];
	uint64_t job;
	int job_fd;
};

uint32_t tree_hash(const char *user)
{
	uint32_t hash = 2166136261;
	for (const char *p = user; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619;
	return hash;
}

/* The one it has, or may have. */
static struct kept_user *slot_of(struct tree_kept *k, const char *user)
{
	uint32_t at = tree_hash(user);
	struct kept_user *unused = NULL;
	for (uint32_t i = 0; i < NEIGHBOURS; i++) {
		struct kept_user *slot = &k->slots[(at + i) % KEPT_USERS];
		if (strcmp(slot->user, user) == 0)
			return slot;
		if (unused == NULL && slot->user[0] == '\0')
			unused = slot;
	}
	return unused != NULL ? unused : &k->slots[at % KEPT_USERS];
}

static void empty(struct kept_user *slot)
{
	for (int place = 0; place < PLACES; place++)
		slot->fds[place] = fd_close(slot->fds[place]);
	slot->user[0] = '\0';
}

/* Those that are to be closed by then. Returns when the next ones are. */
static uint64_t close_until(struct tree_kept *k, uint64_t now_ms)
{
	uint64_t next = UINT64_MAX;
	for (unsigned i = k->used_n; i-- > 0;) {
		struct kept_user *slot = &k->slots[k->used[i]];
		if (slot->until_ms == 0 && !slot->brief && now_ms != UINT64_MAX)
			slot->until_ms = now_ms + KEPT_MS;
		if (slot->until_ms <= now_ms) {
			empty(slot);
			k->used[i] = k->used[--k->used_n];
		} else if (slot->until_ms < next) {
			next = slot->until_ms;
		}
	}
	k->job_fd = fd_close(k->job_fd);
	return next;
}

void tree_forget_kept(struct tree *t)
{
	if (t->kept != NULL)
		close_until(t->kept, UINT64_MAX);
}

void tree_free_kept(struct tree *t)
{
	tree_forget_kept(t);
	free(t->kept);
	t->kept = NULL;
}

static unsigned room(void)
{
	struct rlimit limit;
	enum { SHARE = 4 * PLACES };
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= KEPT_USERS * SHARE)
		return KEPT_USERS;
	return (unsigned)limit.rlim_cur / SHARE;
}

static struct tree_kept *new_kept(struct tree *t)
{
	struct tree_kept *k = calloc(1, sizeof *k);
	if (k == NULL)
		return NULL;
	k->job_fd = -1;
	k->room = room();
	k->far = tree_is_network(t, NULL) != 0;
	for (int i = 0; i < KEPT_USERS; i++)
		for (int place = 0; place < PLACES; place++)
			k->slots[i].fds[place] = -1;
	return k;
}

uint64_t tree_turn(struct tree *t, uint64_t now_ms)
{
	/* Without memory for it they are opened each time, as by everybody else. */
	if (t->kept == NULL)
		t->kept = new_kept(t);
	if (t->kept == NULL)
		return UINT64_MAX;
	/* Nearly full: room for those of the next turn. */
	bool crowded = t->kept->used_n > t->kept->room / 4 * 3;
	return close_until(t->kept, crowded ? UINT64_MAX : now_ms);
}

static void take_slot(struct tree_kept *k, struct kept_user *slot, const char *user)
{
	if (slot->user[0] == '\0')
		k->used[k->used_n++] = (unsigned)(slot - k->slots);
	else
		for (int place = 0; place < PLACES; place++)
			slot->fds[place] = fd_close(slot->fds[place]);
	strcpy(slot->user, user);
	slot->brief = k->far;
	slot->until_ms = 0;
}

/* A mount of its own may be unmounted at any time, and hang. */
static bool is_mounted_there(const struct tree *t, int fd)
{
	struct stat st;
	return fstat(fd, &st) < 0 || st.st_dev != t->dev;
}

bool tree_may_stay_open(const struct tree *t, dev_t dev)
{
	return t->kept != NULL && !t->kept->far && dev == t->dev;
}

int tree_borrow_place(struct tree *t, const char *user, enum place place)
{
	struct tree_kept *k = t->kept;
	if (k == NULL || user[0] == '\0' || strlen(user) >= KEPT_USER_SIZE)
		return tree_open_place(t, user, place);
	struct kept_user *slot = slot_of(k, user);
	if (slot->user[0] == '\0' && k->used_n >= k->room)
		return tree_open_place(t, user, place);
	if (strcmp(slot->user, user) != 0)
		take_slot(k, slot, user);
	int answers = slot->fds[place] < 0 ? 0 : tree_answers(t, user, true);
	if (answers < 0)
		return answers;
	if (slot->fds[place] < 0) {
		int fd = tree_open_place(t, user, place);
		if (fd < 0)
			return fd;
		slot->fds[place] = fd;
		if (is_mounted_there(t, fd)) {
			slot->brief = true;
			slot->until_ms = 0;
		}
	}
	return slot->fds[place];
}

void tree_return_place(struct tree *t, const char *user, int fd)
{
	const struct kept_user *slot = t->kept == NULL ? NULL : slot_of(t->kept, user);
	for (int place = 0; slot != NULL && place < PLACES; place++)
		if (slot->fds[place] == fd)
			return;
	fd_close(fd);
}

void tree_keep_job(struct tree *t, const char *user, uint64_t id, int fd)
{
	struct tree_kept *k = t->kept;
	if (k == NULL || strlen(user) >= KEPT_USER_SIZE) {
		fd_close(fd);
		return;
	}
	fd_close(k->job_fd);
	k->job_fd = fd;
	k->job = id;
	strcpy(k->user, user);
}

int tree_take_kept_job(struct tree *t, const char *user, uint64_t id)
{
	struct tree_kept *k = t->kept;
	if (k == NULL || k->job_fd < 0 || k->job != id || strcmp(k->user, user) != 0)
		return -ENOENT;
	int fd = k->job_fd;
	k->job_fd = -1;
	return fd;
}
