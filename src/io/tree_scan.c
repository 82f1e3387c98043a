#include "io/tree_private.h"

#include "base/crew.h"
#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	SCAN_DEPTH_MAX = 32,
	AHEAD_FROM = 1024, /* entries; in a directory that has more, threads look ahead */
	AHEAD_THREADS = 3, /* beside ours: some, so that a disk has several things to look for */
};

struct level {
	DIR *dir;
	size_t seen;              /* entries */
	struct tree_ahead *ahead; /* NULL: none needed yet */
	size_t path_n; /* length of the path of this directory */
	struct tree_numbers numbers;
	bool bare;     /* so far nothing but directories was in it, and bare ones */
	bool leaf;     /* not even these */
};

struct tree_scan {
	char *user;
	struct level levels[SCAN_DEPTH_MAX];
	int depth;              /* levels open; the last one is being read */
	bool enter;             /* the last entry was a directory: go into it */
	int64_t began_ns, tick_ns;
	struct tidying tidy;
	struct crew *crew;      /* NULL: none needed yet */
	char path[JOB_PATH_MAX + 1];
};

bool tree_is_too_deep(const char *path, bool directory)
{
	int levels = directory ? 2 : 1; /* incoming itself, and this one */
	for (; *path != '\0'; path++)
		levels += *path == '/';
	return levels > SCAN_DEPTH_MAX;
}

static int64_t read_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int tree_scan_begin(struct tree *t, const char *user, struct tree_scan **ret)
{
	struct tree_scan *s = calloc(1, sizeof *s);
	if (s == NULL)
		return -ENOMEM;
	/* Stamps are of the coarse clock, as a rule, or finer. */
	s->tick_ns = read_ns(CLOCK_REALTIME_COARSE);
	s->began_ns = read_ns(CLOCK_REALTIME);
	int fd = tree_open_place(t, user, PLACE_INCOMING);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int r = fd < 0 ? fd : dir == NULL ? -errno : 0;
	if (dir != NULL) {
		s->levels[s->depth++].dir = dir;
		tree_numbers_of(fd, &s->levels[0].numbers);
		s->user = strdup(user);
		r = s->user == NULL ? -ENOMEM : 0;
	} else {
		fd_close(fd);
	}
	if (r < 0) {
		tree_scan_end(s);
		return r;
	}
	*ret = s;
	return 0;
}

void tree_scan_skip(struct tree_scan *s)
{
	s->enter = false;
	s->levels[s->depth - 1].bare = false;
}

void tree_scan_tidy(struct tree_scan *s, const struct tree_tidy *rule)
{
	struct stat st;
	if (fstat(dirfd(s->levels[0].dir), &st) < 0)
		return;
	s->tidy = (struct tidying){.rule = *rule, .on = true, .dev = st.st_dev, .uid = st.st_uid};
}

uint64_t tree_scan_tidy_due_ms(const struct tree_scan *s)
{
	/* Rounded up: not looked at a moment too early. */
	return s->tidy.due_ns == 0 ? 0 : (uint64_t)(s->tidy.due_ns / 1000000 + 1);
}

int64_t tree_scan_began_ns(const struct tree_scan *s)
{
	return s->began_ns;
}

int64_t tree_scan_tick_ns(const struct tree_scan *s)
{
	return s->tick_ns;
}

static void close_level(struct tree_scan *s)
{
	struct level *l = &s->levels[--s->depth];
	if (l->ahead != NULL)
		crew_end(s->crew);
	tree_ahead_free(l->ahead);
	closedir(l->dir);
}

void tree_scan_end(struct tree_scan *s)
{
	if (s == NULL)
		return;
	while (s->depth > 0)
		close_level(s);
	crew_free(s->crew);
	free(s->user);
	free(s);
}

static bool has_crew(struct tree_scan *s)
{
	return s->crew != NULL || crew_new(AHEAD_THREADS, &s->crew) == 0;
}

void tree_scan_look_ahead(struct tree_scan *s, size_t n)
{
	if (s->crew != NULL)
		crew_end(s->crew);
	for (int i = 0; i < s->depth; i++)
		tree_ahead_forget(s->levels[i].ahead);
	if (s->depth == 0 || s->enter || s->tidy.removing)
		return;
	struct level *here = &s->levels[s->depth - 1];
	if (here->seen < AHEAD_FROM || !has_crew(s))
		return;
	if (here->ahead != NULL || tree_ahead_new(here->dir, &here->numbers, &here->ahead) == 0)
		tree_ahead_begin(here->ahead, s->crew, n);
}

static void warn(const struct tree_scan *s, const char *problem)
{
	char *shown = escape_str(s->path);
	log_warning("user %s: incoming/%s is left out: %s", s->user, shown == NULL ? "?" : shown,
	            problem);
	free(shown);
}

static const char *base_of(const struct tree_scan *s, const struct level *above)
{
	return s->path + above->path_n + (above->path_n > 0 ? 1 : 0);
}

/* Goes into the directory that was found last; what cannot be entered is left
 * out. */
static bool enter(struct tree_scan *s)
{
	struct level *here = &s->levels[s->depth - 1];
	s->enter = false;
	if (s->depth == SCAN_DEPTH_MAX) {
		here->bare = false;
		warn(s, "its directories are nested too deep");
		return false;
	}
	int fd = fd_open_beneath(dirfd(here->dir), base_of(s, here), O_RDONLY | O_DIRECTORY, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int r = fd < 0 ? fd : dir == NULL ? -errno : 0;
	if (dir != NULL) {
		s->levels[s->depth++] = (struct level){
			.dir = dir, .path_n = strlen(s->path), .bare = true, .leaf = true};
		tree_numbers_of(fd, &s->levels[s->depth - 1].numbers);
		return true;
	}
	fd_close(fd);
	here->bare = false;
	/* Gone by now, or something else of that name. */
	if (r != -ENOENT && r != -ENOTDIR && r != -ELOOP)
		warn(s, strerror(-r));
	return false;
}

/* Writes the path of an entry; false where it would be too long to be a job. */
static bool set_path(struct tree_scan *s, const char *name)
{
	size_t at = s->levels[s->depth - 1].path_n, n = strlen(name);
	size_t slash = at > 0 ? 1 : 0;
	if (at + slash + n > JOB_PATH_MAX)
		return false;
	if (slash > 0)
		s->path[at] = '/';
	memcpy(s->path + at + slash, name, n + 1);
	return true;
}

/* Back to incoming: what is not removed by now stays. */
static void stop_removing(struct tree_scan *s)
{
	while (s->depth > 1)
		close_level(s);
	s->enter = false;
	tree_tidy_begin(&s->tidy);
}

/* Removes the directory that was just read to its end, where it is empty.
 * Nothing else can be lost by that, whatever has its name by now. */
static bool remove_left(struct tree_scan *s)
{
	close_level(s);
	const struct level *above = &s->levels[s->depth - 1];
	bool removed = unlinkat(dirfd(above->dir), base_of(s, above), AT_REMOVEDIR) == 0;
	if (!removed || s->depth == 1)
		stop_removing(s);
	return removed;
}

/* Goes back to the directory above. A directory right in incoming that holds
 * nothing but directories is gone through once more, to be removed. */
static void leave(struct tree_scan *s)
{
	const struct level *here = &s->levels[s->depth - 1];
	bool bare = s->tidy.on && s->depth > 1 && here->bare &&
	            tree_tidy_judge(&s->tidy, dirfd(here->dir), here->leaf);
	close_level(s);
	if (s->depth > 0 && !bare)
		s->levels[s->depth - 1].bare = false;
	if (s->depth != 1)
		return;
	bool remove = bare && tree_tidy_is_due(&s->tidy, s->began_ns);
	if (remove)
		s->tidy.removing = s->enter = true;
	else
		tree_tidy_begin(&s->tidy);
}

/* 1 = there is an entry, 0 = not any more or not to be looked at. */
static int look(struct tree_scan *s, const char *name, struct file_ident *ret_ident,
                enum entry_kind *ret_kind)
{
	struct level *here = &s->levels[s->depth - 1];
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	int r = set_path(s, name) ? 0 : -ENAMETOOLONG;
	if (r == 0 && !tree_ahead_look(here->ahead, s->crew, &r, ret_ident, ret_kind))
		r = tree_ident_in(dirfd(here->dir), &here->numbers, name, ret_ident, ret_kind);
	here->leaf = false;
	if (r < 0 || *ret_kind != ENTRY_DIRECTORY)
		here->bare = false;
	if (r == 0)
		return 1;
	/* A mount that went away must not look like an empty directory. */
	if (r == -ENOTCONN || r == -ENODEV)
		return r;
	if (r != -ENOENT && r != -ESTALE && r != -ENAMETOOLONG)
		warn(s, strerror(-r));
	return 0;
}

/* NULL at the end. */
static int read_name(const struct level *l, const char **ret_name)
{
	errno = 0;
	const struct dirent *e = readdir(l->dir);
	*ret_name = e == NULL ? NULL : e->d_name;
	return e == NULL ? -errno : 0;
}

/* The next name in the directory at hand: 1; 0 at its end; what ends the walk is
 * an error. */
static int next_name(struct tree_scan *s, const char **ret_name)
{
	struct level *here = &s->levels[s->depth - 1];
	int r = 0;
	if (!tree_ahead_next(here->ahead, s->crew, &r, ret_name))
		r = read_name(here, ret_name);
	if (*ret_name != NULL) {
		here->seen++;
		return 1;
	}
	if (r < 0 && (s->depth == 1 || r == -ENOTCONN || r == -ENODEV))
		return r;
	s->path[here->path_n] = '\0';
	if (r < 0) {
		here->bare = false;
		warn(s, strerror(-r));
	}
	return 0;
}

/* One step in a directory that is to be removed: 1 = one was. */
static int removing_step(struct tree_scan *s)
{
	const char *name;
	struct file_ident ident;
	enum entry_kind kind = ENTRY_FILE;
	if (s->enter && !(enter(s) && tree_tidy_unchanged(&s->tidy,
	                                                  dirfd(s->levels[s->depth - 1].dir)))) {
		stop_removing(s);
		return 0;
	}
	int r = next_name(s, &name);
	if (r == 0)
		return remove_left(s);
	if (r > 0)
		r = look(s, name, &ident, &kind);
	s->enter = r > 0 && kind == ENTRY_DIRECTORY;
	if (r > 0 && !s->enter)
		stop_removing(s);
	return r < 0 ? r : 0;
}

static int walking_step(struct tree_scan *s, struct file_ident *ret_ident,
                        enum entry_kind *ret_kind)
{
	const char *name;
	if (s->enter)
		enter(s);
	int r = next_name(s, &name);
	if (r == 0)
		leave(s);
	if (r > 0)
		r = look(s, name, ret_ident, ret_kind);
	if (r > 0)
		s->enter = *ret_kind == ENTRY_DIRECTORY;
	return r;
}

int tree_scan_next(struct tree_scan *s, const char **ret_path, struct file_ident *ret_ident,
                   enum entry_kind *ret_kind)
{
	while (s->depth > 0) {
		bool removing = s->tidy.removing;
		int r = removing ? removing_step(s) : walking_step(s, ret_ident, ret_kind);
		if (r == 0)
			continue;
		if (r < 0)
			return r;
		*ret_path = s->path;
		return removing;
	}
	return -ENOENT;
}
