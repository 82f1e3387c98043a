/* What is wrong with a user's directories, in words, and what mends it. */
#include "io/tree_private.h"

#include "base/dir.h"
#include "base/escape.h"
#include "base/fd.h"
#include "base/shell.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct check {
	struct tree *t;
	const char *user;
	void (*report)(void *ctx, bool fatal, const char *what, const char *mend);
	void *ctx;
	int found;
	uid_t daemon, uploader;
	gid_t uploader_gid;
	dev_t dev;
	char chown[32]; /* the command that gives something to the daemon */
};

/* `mend` with the words behind it: a new string, or NULL. */
static char *command(const char *mend, const char *first, const char *second)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	if (out == NULL)
		return NULL;
	fprintf(out, "%s ", mend);
	shell_word(out, first);
	if (second != NULL) {
		fputc(' ', out);
		shell_word(out, second);
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static char *path_of(const struct check *c, const char *dir, const char *suffix)
{
	char *path = NULL;
	int n = asprintf(&path, "%s/%s%s%s%s", c->t->root, c->user, dir[0] == '\0' ? "" : "/", dir,
	                 suffix);
	return n < 0 ? NULL : path;
}

/* Takes ownership of `mend`. */
static void tell(struct check *c, bool fatal, char *mend, const char *what)
{
	c->report(c->ctx, fatal, what, mend);
	c->found++;
	free(mend);
}

/* `mend` is a command that takes the directory, or NULL. */
static void found(struct check *c, bool fatal, const char *dir, const char *mend, const char *what,
                  ...) __attribute__((format(printf, 5, 6)));

static void found(struct check *c, bool fatal, const char *dir, const char *mend, const char *what,
                  ...)
{
	char text[512];
	va_list args;
	va_start(args, what);
	vsnprintf(text, sizeof text, what, args);
	va_end(args);
	char *path = mend == NULL ? NULL : path_of(c, dir, "");
	tell(c, fatal, path == NULL ? NULL : command(mend, path, NULL), text);
	free(path);
}

static void found_missing(struct check *c, const char *what)
{
	tell(c, true, command("spoolctl user add", c->user, NULL), what);
}

/* In the way of a directory: moved, never deleted. */
static void found_in_the_way(struct check *c, const char *dir, bool symlink)
{
	char text[160];
	char *path = path_of(c, dir, ""), *aside = path_of(c, dir, ".old");
	snprintf(text, sizeof text, "%s is %s", dir[0] == '\0' ? "the user's directory" : dir,
	         symlink ? "a symbolic link; spoold follows none, it must be a directory"
	                 : "not a directory");
	tell(c, true, path == NULL || aside == NULL ? NULL : command("mv", path, aside), text);
	free(path);
	free(aside);
}

static void check_incoming(struct check *c, const struct stat *st, const char *name)
{
	if ((st->st_mode & 0300) != 0300)
		found(c, false, name, "chmod u+rwx",
		      "%s is not writable by its owner: nothing can be uploaded", name);
	if ((st->st_mode & 0002) != 0)
		found(c, false, name, "chmod o-w", "%s is writable by everybody", name);
}

static bool uploader_reads(const struct check *c, const struct stat *st)
{
	if (c->uploader == 0 || st->st_uid == c->uploader)
		return true;
	mode_t mode = st->st_gid == c->uploader_gid ? st->st_mode >> 3 : st->st_mode;
	return (mode & 05) == 05;
}

static void check_kept(struct check *c, const struct stat *st, const struct tree_wanted *w,
                       const char *name)
{
	char mend[32];
	if (st->st_uid == c->uploader && c->uploader != c->daemon)
		found(c, false, name, c->chown,
		      "%s belongs to the uploader, who could change what is in it", name);
	else if (st->st_uid != c->daemon)
		found(c, false, name, c->chown, "%s does not belong to the account that spoold runs as",
		      name);
	if ((st->st_mode & 0022) != 0)
		found(c, false, name, "chmod go-w", "%s is writable by others than spoold", name);
	if (w->place == PLACE_PROCESSING) {
		if ((st->st_mode & 0044) != 0)
			found(c, false, name, "chmod go-rw", "%s can be listed by others than spoold", name);
	} else if (!uploader_reads(c, st)) {
		bool group = st->st_gid == c->uploader_gid;
		snprintf(mend, sizeof mend, "chgrp %u", (unsigned)c->uploader_gid);
		found(c, false, name, group ? "chmod g+rx" : mend,
		      "%s cannot be read by the uploader", name);
	}
}

/* What another account may is not told by what we may. */
static bool may_judge(const struct check *c)
{
	return geteuid() == 0 || geteuid() == c->daemon;
}

/* What lets the daemon's account in: to own it, or, where it does, the mode. */
static const char *let_in(const struct check *c, const struct stat *st)
{
	return st->st_uid == c->daemon ? "chmod u+rwx" : c->chown;
}

static void check_directory(struct check *c, int userfd, const struct tree_wanted *w)
{
	const char *name = tree_place_dir(w->place);
	struct stat st;
	if (fstatat(userfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		char text[160];
		snprintf(text, sizeof text, "%s is missing", name);
		if (errno == ENOENT)
			found_missing(c, text);
		else
			found(c, true, name, NULL, "%s cannot be looked at: %s", name, strerror(errno));
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		found_in_the_way(c, name, S_ISLNK(st.st_mode));
		return;
	}
	if (st.st_dev != c->dev)
		found(c, true, name, NULL,
		      "%s lies on another file system than its user's directory, and files cannot be "
		      "moved between them: put all of the user's directories on one", name);
	/* Said once, of the user's directory. */
	if (may_judge(c) && faccessat(userfd, name, R_OK | W_OK | X_OK, AT_EACCESS) < 0 &&
	    errno != EROFS)
		found(c, true, name,
		      w->of_uploader && st.st_uid != c->daemon ? "chmod g+rwx" : let_in(c, &st),
		      "%s cannot be read and written by the account that spoold runs as", name);
	if (w->of_uploader)
		check_incoming(c, &st, name);
	else
		check_kept(c, &st, w, name);
}

static bool is_read_only(int fd)
{
	struct statvfs fs;
	return fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0;
}

static void check_user_directory(struct check *c, int userfd, const struct stat *st)
{
	if (is_read_only(userfd))
		found(c, true, "", "findmnt --target",
		      "the user's directory is on a file system that is mounted read-only: mount it "
		      "read-write again; the system's log may say why it is not");
	if (c->uploader != c->daemon && st->st_uid == c->uploader)
		found(c, false, "", c->chown,
		      "the user's directory belongs to the uploader: sshd refuses it as a chroot, and its "
		      "directories could be replaced");
	else if (st->st_uid != 0 && st->st_uid != c->daemon)
		found(c, false, "", c->chown,
		      "the user's directory belongs neither to root nor to the account that spoold runs as: "
		      "sshd refuses it as a chroot, and its directories could be replaced");
	if ((st->st_mode & 0022) != 0)
		found(c, false, "", "chmod go-w",
		      "the user's directory is writable by others: sshd refuses it as a chroot, and its "
		      "directories could be replaced");
	struct stat lock;
	bool lockable = faccessat(userfd, ".lock", R_OK | W_OK, AT_EACCESS) == 0 ||
	                (errno == ENOENT && faccessat(userfd, ".", W_OK | X_OK, AT_EACCESS) == 0);
	if (!may_judge(c) || lockable || errno == EROFS)
		return;
	bool made = fstatat(userfd, ".lock", &lock, AT_SYMLINK_NOFOLLOW) == 0;
	found(c, true, made ? ".lock" : "", let_in(c, made ? &lock : st),
	      "the account that spoold runs as cannot make or open .lock in the user's directory");
}

static void check_open_failed(struct check *c, int error)
{
	if (error == ENOENT)
		found_missing(c, "the user has no directory in the spool");
	else if (error == ELOOP || error == ENOTDIR)
		found_in_the_way(c, "", error == ELOOP);
	else
		found(c, true, "", c->chown, "the user's directory cannot be opened: %s",
		      strerror(error));
}

/* Whoever holds the spool's lock, or did last: an operator may ask as root. */
static uid_t daemon_uid(const struct tree *t)
{
	struct stat st;
	int fd = fd_open_beneath(t->rootfd, ".spoold", O_RDONLY | O_DIRECTORY, 0);
	bool known = fd >= 0 && fstatat(fd, "daemon.lock", &st, AT_SYMLINK_NOFOLLOW) == 0;
	fd_close(fd);
	return known ? st.st_uid : geteuid();
}

static void tell_unmounted(struct check *c)
{
	char *mend = NULL;
	if (asprintf(&mend, "mount it; where it is to be a mount no more: rm %s/.spoold/mounts/%s",
	             c->t->root, c->user) < 0)
		mend = NULL;
	tell(c, true, mend, "its directory was a mount of its own, which is not there");
}

/* Of a chroot, say. */
static bool belongs_beside(const char *name)
{
	static const char *const names[] = {"bin", "dev", "etc", "lib", "lib64", "lost+found", "usr"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	for (size_t i = 0; i < TREE_WANTED; i++)
		if (strcmp(name, tree_place_dir(tree_wanted[i].place)) == 0)
			return true;
	return name[0] == '.';
}

struct beside {
	struct check *c;
	int userfd;
};

/* A directory that was moved aside, or in by mistake: what is in it nobody works on. */
static int check_beside(void *ctx, const char *name, uint64_t ino)
{
	const struct beside *b = ctx;
	(void)ino;
	int fd = belongs_beside(name) ? -1 : fd_open_beneath(b->userfd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0 && dir_is_empty(fd) == 0) {
		char *shown = escape_str(name);
		found(b->c, false, "", NULL,
		      "%s is none of spoold's directories, and not empty: nothing in it is worked on. Was "
		      "it moved? Move it back, and restart spoold; or move what is in it to incoming",
		      shown == NULL ? "a directory of it" : shown);
		free(shown);
	}
	fd_close(fd);
	return 0;
}

int tree_check_user(struct tree *t, const char *user,
                    void (*report)(void *ctx, bool fatal, const char *what, const char *mend),
                    void *ctx)
{
	struct check c = {
		.t = t, .user = user, .report = report, .ctx = ctx, .daemon = daemon_uid(t)};
	struct stat st, incoming;
	const char *problem = name_user_problem(user);
	snprintf(c.chown, sizeof c.chown, "chown %u", (unsigned)c.daemon);
	if (problem != NULL) {
		found(&c, true, "", NULL, "the name %s; rename the directory", problem);
		return c.found;
	}
	int mounted = tree_user_mounted(t, user);
	if (mounted == -ETIMEDOUT) {
		tell(&c, true, NULL, "what its directory lies on, a network mount, does not answer: see to its "
		     "server, or unmount it (umount -l)");
		return c.found;
	}
	if (mounted == -ENODEV) {
		tell_unmounted(&c);
		return c.found;
	}
	int userfd = fd_open_beneath(t->rootfd, user, O_RDONLY | O_DIRECTORY, 0);
	if (userfd < 0 || fstat(userfd, &st) < 0) {
		check_open_failed(&c, userfd < 0 ? -userfd : errno);
		fd_close(userfd);
		return c.found;
	}
	if (fstatat(userfd, tree_place_dir(PLACE_INCOMING), &incoming, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISDIR(incoming.st_mode))
		incoming = st;
	c.uploader = incoming.st_uid;
	c.uploader_gid = incoming.st_gid;
	c.dev = st.st_dev;
	check_user_directory(&c, userfd, &st);
	for (size_t i = 0; i < TREE_WANTED; i++)
		check_directory(&c, userfd, &tree_wanted[i]);
	struct beside beside = {.c = &c, .userfd = userfd};
	dir_walk(userfd, check_beside, &beside);
	fd_close(userfd);
	return c.found;
}
