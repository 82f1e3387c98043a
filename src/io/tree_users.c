#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_directory(int dirfd, const struct dirent *e)
{
	struct stat st;
	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_DIR;
	return fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

int tree_each_user(struct tree *t, int (*each)(void *ctx, const char *user, const char *problem),
                   void *ctx)
{
	int copy = openat(t->rootfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	int r = 0;
	if (dir == NULL) {
		r = -errno;
		fd_close(copy);
		return r;
	}
	for (const struct dirent *e = readdir(dir); e != NULL && r == 0; e = readdir(dir)) {
		const char *name = e->d_name;
		/* "." and "..", our own, and what a file system keeps for itself. */
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    strcmp(name, ".spoold") == 0 || strcmp(name, "lost+found") == 0 ||
		    !is_directory(dirfd(dir), e))
			continue;
		r = each(ctx, name, name_user_problem(name));
	}
	closedir(dir);
	return r;
}

struct wanted {
	enum place place;
	mode_t mode;
	bool of_uploader;       /* owned by the uploader; else only its group */
};

static const struct wanted wanted[] = {
	{PLACE_INCOMING, 0770, true},
	{PLACE_PROCESSING, 0711, false},
	{PLACE_DONE, 0750, false},
	{PLACE_FAILED, 0750, false},
};
enum { WANTED = sizeof wanted / sizeof *wanted };

/* 1 = made, 0 = was there. */
static int make_directory(int userfd, const struct wanted *w, uid_t uid, gid_t gid)
{
	const char *name = tree_place_dir(w->place);
	if (mkdirat(userfd, name, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	int fd = fd_open_beneath(userfd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	int r = 0;
	if (geteuid() == 0 && w->place != PLACE_PROCESSING &&
	    fchown(fd, w->of_uploader ? uid : geteuid(), gid) < 0)
		r = -errno;
	if (r == 0 && fchmod(fd, w->mode) < 0)
		r = -errno;
	fd_close(fd);
	return r < 0 ? r : 1;
}

/* Whose uploads these are, where nobody said so. */
static int find_owner(int userfd, uid_t *uid, gid_t *gid)
{
	struct stat st;
	if (fstatat(userfd, tree_place_dir(PLACE_INCOMING), &st, AT_SYMLINK_NOFOLLOW) < 0 &&
	    fstat(userfd, &st) < 0)
		return -errno;
	if (*uid == (uid_t)-1)
		*uid = st.st_uid;
	if (*gid == (gid_t)-1)
		*gid = st.st_gid;
	return 0;
}

int tree_make_user(struct tree *t, const char *user, uid_t uid, gid_t gid, unsigned *ret_made)
{
	unsigned made = 0;
	if (name_user_problem(user) != NULL)
		return -EINVAL;
	if (mkdirat(t->rootfd, user, 0755) == 0)
		made++;
	else if (errno != EEXIST)
		return -errno;
	int userfd = fd_open_beneath(t->rootfd, user, O_RDONLY | O_DIRECTORY, 0);
	if (userfd < 0)
		return userfd;
	int r = 0;
	if (made > 0 && fchmod(userfd, 0755) < 0)
		r = -errno;
	if (r == 0)
		r = find_owner(userfd, &uid, &gid);
	for (size_t i = 0; i < WANTED && r >= 0; i++) {
		r = make_directory(userfd, &wanted[i], uid, gid);
		made += r > 0;
	}
	fd_close(userfd);
	if (r < 0)
		return r;
	*ret_made = made;
	return 0;
}

/* A check at hand. */
struct check {
	struct tree *t;
	const char *user;
	void (*report)(void *ctx, bool fatal, const char *what, const char *mend);
	void *ctx;
	int found;
	uid_t uploader;
	dev_t dev;
};

/* `mend` is a command with %s for the directory, or NULL. */
static void found(struct check *c, bool fatal, const char *dir, const char *mend, const char *what,
                  ...) __attribute__((format(printf, 5, 6)));

static void found(struct check *c, bool fatal, const char *dir, const char *mend, const char *what,
                  ...)
{
	char text[512], command[4608];
	va_list args;
	va_start(args, what);
	vsnprintf(text, sizeof text, what, args);
	va_end(args);
	if (mend != NULL)
		snprintf(command, sizeof command, "%s %s/%s%s%s", mend, c->t->root, c->user,
		         dir[0] == '\0' ? "" : "/", dir);
	c->report(c->ctx, fatal, text, mend == NULL ? NULL : command);
	c->found++;
}

static void check_access(struct check *c, int userfd, const char *name)
{
	if (faccessat(userfd, name, R_OK | W_OK | X_OK, AT_EACCESS) < 0)
		found(c, true, name, "chown spoold's account:",
		      "%s cannot be read and written by the account that spoold runs as", name);
}

static void check_owner(struct check *c, const struct stat *st, const struct wanted *w,
                        const char *name)
{
	bool uploader_writes = (st->st_uid == c->uploader && (st->st_mode & 0200) != 0) ||
	                       (st->st_mode & 0020) != 0 || (st->st_mode & 0002) != 0;
	if (w->of_uploader) {
		if (!uploader_writes)
			found(c, false, name, "chmod u+rwx,g+rwx",
			      "%s is not writable by its owner: nothing can be uploaded", name);
		if ((st->st_mode & 0002) != 0)
			found(c, false, name, "chmod o-w", "%s is writable by everybody", name);
		return;
	}
	if (c->uploader != geteuid() && st->st_uid == c->uploader)
		found(c, false, name, "chown root", "%s belongs to the uploader, who could change what is "
		      "in it", name);
	else if ((st->st_mode & 0022) != 0)
		found(c, false, name, "chmod go-w", "%s is writable by others than spoold", name);
	if (w->place == PLACE_PROCESSING && (st->st_mode & 0044) != 0)
		found(c, false, name, "chmod 711", "%s can be listed by others than spoold", name);
}

static void check_directory(struct check *c, int userfd, const struct wanted *w)
{
	const char *name = tree_place_dir(w->place);
	struct stat st;
	if (fstatat(userfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			found(c, true, name, "mkdir", "%s is missing", name);
		else
			found(c, true, name, NULL, "%s cannot be looked at: %s", name, strerror(errno));
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		found(c, true, name, "rm",
		      S_ISLNK(st.st_mode) ? "%s is a symbolic link; spoold follows none, it must be a "
		                            "directory" : "%s is not a directory", name);
		return;
	}
	if (st.st_dev != c->dev)
		found(c, true, name, "umount",
		      "%s lies on another file system than its user's directory: files cannot be moved "
		      "between them", name);
	check_access(c, userfd, name);
	check_owner(c, &st, w, name);
}

static void check_user_directory(struct check *c, const struct stat *st)
{
	if (c->uploader != geteuid() && st->st_uid == c->uploader)
		found(c, false, "", "chown root:root",
		      "the user's directory belongs to the uploader: sshd refuses it as a chroot, and its "
		      "directories could be replaced");
	else if ((st->st_mode & 0022) != 0)
		found(c, false, "", "chmod go-w",
		      "the user's directory is writable by others: sshd refuses it as a chroot, and its "
		      "directories could be replaced");
}

int tree_check_user(struct tree *t, const char *user,
                    void (*report)(void *ctx, bool fatal, const char *what, const char *mend),
                    void *ctx)
{
	struct check c = {.t = t, .user = user, .report = report, .ctx = ctx};
	struct stat st, incoming;
	const char *problem = name_user_problem(user);
	if (problem != NULL) {
		found(&c, true, "", NULL, "the name %s; rename the directory", problem);
		return c.found;
	}
	int userfd = fd_open_beneath(t->rootfd, user, O_RDONLY | O_DIRECTORY, 0);
	if (userfd < 0 || fstat(userfd, &st) < 0) {
		int error = userfd < 0 ? -userfd : errno;
		found(&c, true, "", error == ENOENT ? "mkdir" : NULL,
		      error == ELOOP ? "the user's directory is a symbolic link; spoold follows none"
		                     : "the user's directory cannot be opened: %s", strerror(error));
		fd_close(userfd);
		return c.found;
	}
	bool has_incoming = fstatat(userfd, tree_place_dir(PLACE_INCOMING), &incoming,
	                            AT_SYMLINK_NOFOLLOW) == 0;
	c.uploader = has_incoming ? incoming.st_uid : st.st_uid;
	c.dev = st.st_dev;
	check_user_directory(&c, &st);
	for (size_t i = 0; i < WANTED; i++)
		check_directory(&c, userfd, &wanted[i]);
	fd_close(userfd);
	return c.found;
}
