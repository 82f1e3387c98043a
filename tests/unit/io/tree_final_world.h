/* A real spool under /tmp with one user, for the tests of the last moves. */
#pragma once

#include "io/tree_private.h"

#include "base/dir.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER "alice"

static char dir[] = "/tmp/spoold-tree-XXXXXX";
static struct tree *t;

static void begin_world(void)
{
	char root[64];
	bool existed;
	unsigned made;
	umask(077);
	log_set_level(LOG_LEVEL_ERROR);
	cr_assert_not_null(mkdtemp(dir));
	snprintf(root, sizeof root, "%s/spool", dir);
	cr_assert_eq(tree_init(root, &existed), 0);
	cr_assert_eq(tree_open(root, &t), 0);
	cr_assert_eq(tree_make_user(t, USER, (uid_t)-1, (gid_t)-1, &made), 0);
}

static int unlink_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void end_world(void)
{
	tree_close(t);
	cr_expect_eq(nftw(dir, unlink_one, 200, FTW_DEPTH | FTW_PHYS), 0);
}

/* After a change of mounts: a descriptor keeps to the old ones. */
__attribute__((unused)) static void reopen_world(void)
{
	char root[64];
	snprintf(root, sizeof root, "%s/spool", dir);
	tree_close(t);
	cr_assert_eq(tree_open(root, &t), 0);
}

/* The absolute path of something below the user's directory; a few live at once. */
__attribute__((format(printf, 1, 2), unused)) static const char *at(const char *format, ...)
{
	static char paths[8][PATH_MAX];
	static unsigned next;
	char *out = paths[next++ % 8];
	int n = snprintf(out, PATH_MAX, "%s/" USER "/", tree_root(t));
	va_list args;
	va_start(args, format);
	vsnprintf(out + n, (size_t)(PATH_MAX - n), format, args);
	va_end(args);
	return out;
}

__attribute__((unused)) static void make_parents(const char *path)
{
	char *copy = strdup(path);
	for (char *s = strchr(copy + 1, '/'); s != NULL; s = strchr(s + 1, '/')) {
		*s = '\0';
		mkdir(copy, 0750);
		*s = '/';
	}
	free(copy);
}

__attribute__((unused)) static void put(const char *path, const char *text)
{
	make_parents(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

/* A new string, or NULL. */
__attribute__((unused)) static char *get(const char *path)
{
	char *data = NULL;
	size_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		fd_read_all(fd, 1 << 28, &data, &n);
	fd_close(fd);
	return data;
}

__attribute__((unused)) static bool holds(const char *path, const char *text)
{
	char *data = get(path);
	bool same = data != NULL && strcmp(data, text) == 0;
	free(data);
	return same;
}

__attribute__((unused)) static bool is_there(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

__attribute__((unused)) static struct file_ident ident_of(const char *path)
{
	struct file_ident ident = {0};
	enum entry_kind kind;
	char *copy = strdup(path), *slash = strrchr(copy, '/');
	*slash = '\0';
	int fd = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(tree_ident_at(fd, slash + 1, &ident, &kind), 0, "%s", path);
	close(fd);
	free(copy);
	return ident;
}

/* Entries of a directory but "." and "..". */
static int count_one(void *ctx, const char *name, uint64_t ino)
{
	(void)name;
	(void)ino;
	++*(unsigned *)ctx;
	return 0;
}

__attribute__((unused)) static unsigned count(const char *path)
{
	unsigned n = 0;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(fd >= 0, "%s", path);
	cr_assert_eq(dir_walk(fd, count_one, &n), 0);
	close(fd);
	return n;
}

/* A job as it lies in processing when its handler has ended. */
struct work {
	struct file_ident ident;
	struct tree_finish f;
	char path[JOB_PATH_MAX + 1];
};

__attribute__((unused)) static void start_work(struct work *w, uint64_t id, const char *path,
                                               const char *text)
{
	memset(w, 0, sizeof *w);
	snprintf(w->path, sizeof w->path, "%s", path);
	const char *file = at("processing/%" PRIu64 "/%s", id, name_base(path));
	put(file, text);
	mkdir(at("processing/%" PRIu64 "/%s", id, name_output(name_base(path))), 0700);
	w->ident = ident_of(file);
	w->f = (struct tree_finish){.user = USER, .id = id, .path = w->path, .ident = &w->ident,
	                            .from = PLACE_PROCESSING, .to = PLACE_DONE, .keep_output = true};
}

__attribute__((unused)) static struct job job_of(const struct work *w, enum job_state state)
{
	return (struct job){.id = w->f.id, .state = state, .path = (char *)(uintptr_t)w->path,
	                    .ident = w->ident};
}

/* Finishes and expects this name (NULL: none). */
__attribute__((unused)) static void finish(const struct work *w, const char *want)
{
	char unset[] = "unset", *name = unset;
	int r = tree_finish(t, &w->f, &name);
	cr_assert_eq(r, 0, "%s: %s", w->path, strerror(-r));
	if (want == NULL)
		cr_expect_null(name, "%s: %s", w->path, name == NULL ? "" : name);
	else
		cr_expect_str_eq(name == NULL ? "(none)" : name, want);
	if (name != unset)
		free(name);
}

/* Nothing is left of it in processing. */
__attribute__((unused)) static void expect_clean(uint64_t id)
{
	cr_expect(!is_there(at("processing/%" PRIu64, id)));
}
