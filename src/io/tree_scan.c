#include "io/tree_private.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SCAN_DEPTH_MAX = 32 };

struct level {
	DIR *dir;
	size_t path_n; /* length of the path of this directory */
};

struct tree_scan {
	char *user;
	struct level levels[SCAN_DEPTH_MAX];
	int depth;              /* levels open; the last one is being read */
	bool enter;             /* the last entry was a directory: go into it */
	int64_t began_ns;
	char path[JOB_PATH_MAX + 1];
};

bool tree_is_too_deep(const char *path, bool directory)
{
	int levels = directory ? 2 : 1; /* incoming itself, and this one */
	for (; *path != '\0'; path++)
		levels += *path == '/';
	return levels > SCAN_DEPTH_MAX;
}

int tree_scan_begin(struct tree *t, const char *user, struct tree_scan **ret)
{
	struct tree_scan *s = calloc(1, sizeof *s);
	if (s == NULL)
		return -ENOMEM;
	/* Not the coarse clock: stamps may be finer than that. */
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	s->began_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	int fd = tree_open_place(t, user, PLACE_INCOMING);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int r = fd < 0 ? fd : dir == NULL ? -errno : 0;
	if (dir != NULL) {
		s->levels[s->depth++].dir = dir;
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

int64_t tree_scan_began_ns(const struct tree_scan *s)
{
	return s->began_ns;
}

void tree_scan_end(struct tree_scan *s)
{
	if (s == NULL)
		return;
	while (s->depth > 0)
		closedir(s->levels[--s->depth].dir);
	free(s->user);
	free(s);
}

static void warn(const struct tree_scan *s, const char *problem)
{
	char *shown = escape_str(s->path);
	log_warning("user %s: incoming/%s is left out: %s", s->user, shown == NULL ? "?" : shown,
	            problem);
	free(shown);
}

/* Goes into the directory that was reported last; what cannot be entered is
 * left out. */
static void enter(struct tree_scan *s)
{
	const struct level *here = &s->levels[s->depth - 1];
	const char *name = s->path + here->path_n + (here->path_n > 0 ? 1 : 0);
	s->enter = false;
	if (s->depth == SCAN_DEPTH_MAX) {
		warn(s, "its directories are nested too deep");
		return;
	}
	int fd = fd_open_beneath(dirfd(here->dir), name, O_RDONLY | O_DIRECTORY, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int r = fd < 0 ? fd : dir == NULL ? -errno : 0;
	if (dir != NULL) {
		s->levels[s->depth++] = (struct level){.dir = dir, .path_n = strlen(s->path)};
		return;
	}
	fd_close(fd);
	/* Gone by now, or something else of that name. */
	if (r != -ENOENT && r != -ENOTDIR && r != -ELOOP)
		warn(s, strerror(-r));
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

/* Goes back to the directory above. */
static void leave(struct tree_scan *s)
{
	closedir(s->levels[--s->depth].dir);
}

/* 1 = there is an entry, 0 = not any more or not to be looked at. */
static int look(struct tree_scan *s, const char *name, struct file_ident *ret_ident,
                enum entry_kind *ret_kind)
{
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || !set_path(s, name))
		return 0;
	int r = tree_ident_at(dirfd(s->levels[s->depth - 1].dir), name, ret_ident, ret_kind);
	if (r == 0)
		return 1;
	/* A mount that went away must not look like an empty directory. */
	if (r == -ENOTCONN || r == -ENODEV)
		return r;
	if (r != -ENOENT && r != -ESTALE)
		warn(s, strerror(-r));
	return 0;
}

int tree_scan_next(struct tree_scan *s, const char **ret_path, struct file_ident *ret_ident,
                   enum entry_kind *ret_kind)
{
	if (s->enter)
		enter(s);
	while (s->depth > 0) {
		const struct level *here = &s->levels[s->depth - 1];
		errno = 0;
		const struct dirent *e = readdir(here->dir);
		int error = e == NULL ? errno : 0;
		if (error != 0 && (s->depth == 1 || error == ENOTCONN || error == ENODEV))
			return -error;
		if (e == NULL) {
			s->path[here->path_n] = '\0';
			if (error != 0)
				warn(s, strerror(error));
			leave(s);
			continue;
		}
		int r = look(s, e->d_name, ret_ident, ret_kind);
		if (r < 0)
			return r;
		if (r > 0) {
			s->enter = *ret_kind == ENTRY_DIRECTORY;
			*ret_path = s->path;
			return 0;
		}
	}
	return -ENOENT;
}
