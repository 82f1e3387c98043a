#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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
	int answers = tree_answers(t, NULL, true);
	if (answers < 0)
		return answers;
	int copy = openat(t->rootfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	int r = 0;
	if (dir == NULL) {
		r = -errno;
		fd_close(copy);
		return r;
	}
	while (r == 0) {
		errno = 0;
		const struct dirent *e = readdir(dir);
		if (e == NULL) {
			r = -errno; /* a mount that went away is not a spool without users */
			break;
		}
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

const struct tree_wanted tree_wanted[TREE_WANTED] = {
	{PLACE_INCOMING, 0770, true},
	{PLACE_PROCESSING, 0700, false},
	{PLACE_DONE, 0750, false},
	{PLACE_FAILED, 0750, false},
};

/* Of a directory until its owner and mode are set. */
enum { MODE_UNSETTLED = 0700 };

/* Gives a directory that was just made its owner and mode. Where the uploader
 * may write, the name may lead to another one by now: that is not given away. */
static int settle_directory(int fd, const struct tree_wanted *w, uid_t uid, gid_t gid)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 07777) != MODE_UNSETTLED)
		return -ESTALE;
	if (geteuid() == 0 && w->place != PLACE_PROCESSING &&
	    fchown(fd, w->of_uploader ? uid : geteuid(), gid) < 0)
		return -errno;
	return fchmod(fd, w->mode) < 0 ? -errno : 0;
}

/* No permission to read it is for tree_check_user() to report. */
static bool is_unreadable(int userfd, const char *name, int error)
{
	struct stat st;
	return error == -EACCES && fstatat(userfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* 1 = made, 0 = was there. Made aside, so that one that is there is never half
 * made, whenever we are killed. */
static int make_directory(int userfd, const struct tree_wanted *w, uid_t uid, gid_t gid)
{
	const char *name = tree_place_dir(w->place);
	char aside[32];
	int fd = fd_open_beneath(userfd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0)
		fd_close(fd);
	if (fd >= 0 || is_unreadable(userfd, name, fd))
		return 0;
	if (fd != -ENOENT)
		return fd;
	snprintf(aside, sizeof aside, ".%s.new", name);
	unlinkat(userfd, aside, AT_REMOVEDIR);
	if (mkdirat(userfd, aside, MODE_UNSETTLED) < 0)
		return -errno;
	fd = fd_open_beneath(userfd, aside, O_RDONLY | O_DIRECTORY, 0);
	int r = fd < 0 ? fd : settle_directory(fd, w, uid, gid);
	fd_close(fd);
	if (r == 0)
		r = tree_rename(userfd, aside, userfd, name);
	if (r < 0)
		unlinkat(userfd, aside, AT_REMOVEDIR);
	return r == -EEXIST ? 0 : r < 0 ? r : 1;
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

/* Number of directories made, or a negative errno. */
static int make_missing(int dirfd, const char *user, uid_t uid, gid_t gid)
{
	int userfd = fd_open_beneath(dirfd, user, O_RDONLY | O_DIRECTORY, 0);
	if (userfd < 0)
		return userfd;
	int made = 0, r = find_owner(userfd, &uid, &gid);
	for (size_t i = 0; i < TREE_WANTED && r >= 0; i++) {
		r = make_directory(userfd, &tree_wanted[i], uid, gid);
		made += r > 0;
	}
	fd_close(userfd);
	return r < 0 ? r : made;
}

static void remove_aside(int ownfd, const char *aside)
{
	int userfd = fd_open_beneath(ownfd, aside, O_RDONLY | O_DIRECTORY, 0);
	for (size_t i = 0; userfd >= 0 && i < TREE_WANTED; i++)
		unlinkat(userfd, tree_place_dir(tree_wanted[i].place), AT_REMOVEDIR);
	fd_close(userfd);
	unlinkat(ownfd, aside, AT_REMOVEDIR);
}

/* A new user appears whole: spoold looks at once, and would give what is still
 * missing to whoever made the user's directory. As make_missing(). */
static int make_whole(const struct tree *t, const char *user, uid_t uid, gid_t gid)
{
	char aside[32];
	int ownfd = fd_open_beneath(t->rootfd, ".spoold", O_RDONLY | O_DIRECTORY, 0);
	if (ownfd < 0)
		return ownfd;
	snprintf(aside, sizeof aside, "new-user.%ld", (long)getpid());
	remove_aside(ownfd, aside);
	int r = mkdirat(ownfd, aside, 0755) < 0 ? -errno : 0;
	if (r == 0)
		r = fchmodat(ownfd, aside, 0755, 0) < 0 ? -errno : make_missing(ownfd, aside, uid, gid);
	if (r >= 0) {
		int moved = tree_rename(ownfd, aside, t->rootfd, user);
		r = moved < 0 ? moved : r + 1;
	}
	if (r < 0)
		remove_aside(ownfd, aside);
	fd_close(ownfd);
	return r;
}

bool tree_wants_owner(struct tree *t, const char *user)
{
	struct stat st;
	/* A mount that hangs must not be touched. */
	if (tree_answers(t, user, true) < 0)
		return false;
	int userfd = fd_open_beneath(t->rootfd, user, O_RDONLY | O_DIRECTORY, 0);
	bool wants = userfd >= 0 && fstat(userfd, &st) == 0 && st.st_uid == 0 &&
	             fstatat(userfd, tree_place_dir(PLACE_INCOMING), &st, AT_SYMLINK_NOFOLLOW) < 0 &&
	             errno == ENOENT;
	fd_close(userfd);
	return wants;
}

static int may_make(struct tree *t, const char *user)
{
	return name_user_problem(user) != NULL ? -EINVAL : tree_user_mounted(t, user);
}

static int count_made(int r, unsigned *ret_made)
{
	if (r < 0)
		return r;
	*ret_made = (unsigned)r;
	return 0;
}

int tree_make_user(struct tree *t, const char *user, uid_t uid, gid_t gid, unsigned *ret_made)
{
	struct stat st;
	int r = may_make(t, user);
	if (r < 0)
		return r;
	tree_forget_kept(t);
	bool is_new = fstatat(t->rootfd, user, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
	r = is_new ? make_whole(t, user, uid, gid) : -EEXIST;
	if (r == -EEXIST)
		r = make_missing(t->rootfd, user, uid, gid);
	return count_made(r, ret_made);
}

int tree_complete_user(struct tree *t, const char *user, uid_t uid, gid_t gid, unsigned *ret_made)
{
	int r = may_make(t, user);
	if (r < 0)
		return r;
	tree_forget_kept(t);
	return count_made(make_missing(t->rootfd, user, uid, gid), ret_made);
}

bool tree_has_user(struct tree *t, const char *user)
{
	struct stat st;
	return name_user_problem(user) == NULL && tree_answers(t, user, true) == 0 &&
	       fstatat(t->rootfd, user, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}
