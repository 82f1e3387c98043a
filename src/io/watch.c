#include "io/watch.h"

#include "base/fd.h"
#include "core/job.h"
#include "io/watch_events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Out of memory must not end the program: a failed add leaves hh.tbl NULL. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

enum {
	/* The end of a directory needs no bit: IN_IGNORED always comes. */
	INCOMING_MASK = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
	                IN_ATTRIB | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK,
	ROOT_MASK = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR,
	NO_KIND = -1,
};

/* One watched directory. Kept small: there is one for each user. */
struct place_watched {
	int wd;
	uint32_t user;
	struct place_watched *prev, *next; /* the same user's */
	UT_hash_handle hh;
	bool alive; /* used while pruning */
	char dir[];
};

struct watcher {
	uint32_t user;
	struct place_watched *first;
	UT_hash_handle hh;
};

struct watch {
	int fd;
	struct place_watched *by_wd;
	struct watcher *by_user;
	struct watch_events events;
	const struct inotify_event *last;  /* of these: the one the last hint came from */
	char dir[JOB_PATH_MAX + 1];        /* the hint's own copy: its watch may be gone */
};

int watch_new(struct watch **ret)
{
	struct watch *w = calloc(1, sizeof *w);
	if (w == NULL)
		return -ENOMEM;
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	int r = w->fd < 0 ? -errno : watch_events_init(&w->events, w->fd);
	if (r < 0) {
		fd_close(w->fd);
		free(w);
		return r;
	}
	*ret = w;
	return 0;
}

int watch_fd(const struct watch *w)
{
	return w->fd;
}

size_t watch_count(const struct watch *w)
{
	return HASH_COUNT(w->by_wd);
}

static struct place_watched *find_wd(const struct watch *w, int wd)
{
	struct place_watched *p;
	HASH_FIND_INT(w->by_wd, &wd, p);
	return p;
}

static struct watcher *find_user(const struct watch *w, uint32_t user)
{
	struct watcher *u;
	HASH_FIND(hh, w->by_user, &user, sizeof user, u);
	return u;
}

static struct watcher *need_user(struct watch *w, uint32_t user)
{
	struct watcher *u = find_user(w, user);
	if (u != NULL)
		return u;
	u = calloc(1, sizeof *u);
	if (u == NULL)
		return NULL;
	u->user = user;
	HASH_ADD(hh, w->by_user, user, sizeof u->user, u);
	if (u->hh.tbl == NULL) {
		free(u);
		return NULL;
	}
	return u;
}

static void drop_user_if_empty(struct watch *w, struct watcher *u)
{
	if (u->first != NULL)
		return;
	HASH_DEL(w->by_user, u);
	free(u);
}

/* Takes it out of our tables; what the kernel knows is the caller's business. */
static void drop(struct watch *w, struct place_watched *p)
{
	struct watcher *u = find_user(w, p->user);
	DL_DELETE(u->first, p);
	drop_user_if_empty(w, u);
	HASH_DEL(w->by_wd, p);
	free(p);
}

static int insert(struct watch *w, struct place_watched *p)
{
	struct watcher *u = need_user(w, p->user);
	if (u == NULL)
		return -ENOMEM;
	HASH_ADD_INT(w->by_wd, wd, p);
	if (p->hh.tbl == NULL) {
		drop_user_if_empty(w, u);
		return -ENOMEM;
	}
	DL_APPEND(u->first, p);
	return 0;
}

void watch_free(struct watch *w)
{
	if (w == NULL)
		return;
	struct place_watched *p, *next;
	HASH_ITER(hh, w->by_wd, p, next)
		drop(w, p);
	watch_events_clear(&w->events);
	fd_close(w->fd);
	free(w);
}

static struct place_watched *new_place(uint32_t user, const char *dir)
{
	size_t n = strlen(dir);
	struct place_watched *p = calloc(1, sizeof *p + n + 1);
	if (p == NULL)
		return NULL;
	p->user = user;
	memcpy(p->dir, dir, n + 1);
	return p;
}

static int take_over(struct watch *w, struct place_watched *p)
{
	struct place_watched *old = find_wd(w, p->wd);
	if (old != NULL && old->user == p->user && strcmp(old->dir, p->dir) == 0) {
		free(p);
		return 0;
	}
	if (old != NULL)
		drop(w, old);
	int r = insert(w, p);
	if (r < 0) {
		inotify_rm_watch(w->fd, p->wd);
		free(p);
	}
	return r;
}

int watch_add(struct watch *w, int dirfd, uint32_t user, const char *dir)
{
	if (strlen(dir) > JOB_PATH_MAX)
		return -ENAMETOOLONG;
	struct place_watched *p = new_place(user, dir);
	if (p == NULL)
		return -ENOMEM;
	char path[32];
	/* By descriptor: whatever was renamed meanwhile, it is this directory. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", dirfd);
	p->wd = inotify_add_watch(w->fd, path, user == 0 ? ROOT_MASK : INCOMING_MASK);
	if (p->wd < 0) {
		int r = -errno;
		free(p);
		return r;
	}
	return take_over(w, p);
}

void watch_forget(struct watch *w, uint32_t user)
{
	struct watcher *u = find_user(w, user);
	struct place_watched *p = u == NULL ? NULL : u->first;
	while (p != NULL) {
		struct place_watched *next = p->next;
		inotify_rm_watch(w->fd, p->wd);
		drop(w, p);
		p = next;
	}
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return n == 0 || (strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

/* A directory that was renamed: neither its path nor that of the directories
 * in it is what we were told. `dir` is a copy, as the original goes first. */
static void drop_moved(struct watch *w, uint32_t user, const char *dir)
{
	struct watcher *u = find_user(w, user);
	struct place_watched *p = u == NULL ? NULL : u->first;
	while (p != NULL) {
		struct place_watched *next = p->next;
		if (is_below(p->dir, dir)) {
			inotify_rm_watch(w->fd, p->wd);
			drop(w, p);
		}
		p = next;
	}
}

static void mark_alive(struct watch *w, FILE *fdinfo)
{
	char line[512];
	while (fgets(line, sizeof line, fdinfo) != NULL) {
		int wd;
		if (sscanf(line, "inotify wd:%x", (unsigned *)&wd) != 1)
			continue;
		struct place_watched *p = find_wd(w, wd);
		if (p != NULL)
			p->alive = true;
	}
}

/* After an overflow: IN_IGNORED may be among what was lost, so ask the kernel
 * what it still watches. Where it cannot be asked, only memory is lost. */
static void prune(struct watch *w)
{
	char path[40];
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", w->fd);
	FILE *fdinfo = fopen(path, "re");
	if (fdinfo == NULL)
		return;
	struct place_watched *p, *next;
	HASH_ITER(hh, w->by_wd, p, next)
		p->alive = false;
	mark_alive(w, fdinfo);
	bool complete = ferror(fdinfo) == 0;
	fclose(fdinfo);
	HASH_ITER(hh, w->by_wd, p, next)
		if (complete && !p->alive)
			drop(w, p);
}

int watch_gather(struct watch *w)
{
	/* What it was compared with was told, and looked at, before what is read now. */
	w->last = NULL;
	return watch_events_gather(&w->events);
}

uint64_t watch_mark(const struct watch *w)
{
	return watch_events_gathered(&w->events);
}

bool watch_is_past(const struct watch *w, uint64_t mark)
{
	return watch_events_taken(&w->events) >= mark;
}

bool watch_waits(const struct watch *w)
{
	return watch_events_any(&w->events);
}

static const char *event_name(const struct inotify_event *e)
{
	return e->len > 0 ? e->name : "";
}

static int kind_of(const struct inotify_event *e)
{
	bool about_directory = (e->mask & IN_ISDIR) != 0 && e->len > 0;
	if ((e->mask & IN_Q_OVERFLOW) != 0)
		return WATCH_OVERFLOW;
	if ((e->mask & (IN_IGNORED | IN_MOVE_SELF)) != 0)
		return WATCH_LOST;
	if ((e->mask & (IN_MOVED_FROM | IN_DELETE)) != 0)
		return WATCH_LEFT;
	if ((e->mask & IN_MOVED_TO) != 0 && about_directory)
		return WATCH_DIRECTORY_IN;
	if ((e->mask & (IN_CREATE | IN_ATTRIB)) != 0 && about_directory)
		return WATCH_DIRECTORY;
	if ((e->mask & IN_CLOSE_WRITE) != 0)
		return WATCH_CLOSED;
	if ((e->mask & IN_MOVED_TO) != 0)
		return WATCH_RENAMED_IN;
	if ((e->mask & (IN_CREATE | IN_ATTRIB)) != 0)
		return WATCH_CHANGED;
	return NO_KIND;
}

/* The last hint once more? It was read together with this one, so whoever got
 * it looks later than both happened. */
static bool is_repeated(const struct watch *w, const struct inotify_event *e)
{
	return w->last != NULL && w->last->wd == e->wd && kind_of(w->last) == kind_of(e) &&
	       strcmp(event_name(w->last), event_name(e)) == 0;
}

static bool to_hint(struct watch *w, const struct inotify_event *e, struct watch_hint *ret)
{
	int kind = kind_of(e);
	if (kind == WATCH_OVERFLOW) {
		prune(w);
		*ret = (struct watch_hint){.kind = WATCH_OVERFLOW, .dir = "", .name = ""};
		return true;
	}
	struct place_watched *p = find_wd(w, e->wd);
	if (kind == NO_KIND || p == NULL)
		return false;
	uint32_t user = p->user;
	strcpy(w->dir, p->dir);
	if ((e->mask & IN_IGNORED) != 0)
		drop(w, p);
	else if (kind == WATCH_LOST)
		drop_moved(w, user, w->dir);
	*ret = (struct watch_hint){
		.kind = (enum watch_kind)kind, .user = user, .dir = w->dir, .name = event_name(e)};
	return true;
}

bool watch_next(struct watch *w, struct watch_hint *ret)
{
	while (watch_events_any(&w->events)) {
		const struct inotify_event *e = watch_events_take(&w->events);
		if (is_repeated(w, e) || !to_hint(w, e, ret))
			continue;
		w->last = e;
		return true;
	}
	return false;
}
