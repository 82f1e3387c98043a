#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *entry_kind_problem(enum entry_kind kind)
{
	switch (kind) {
	case ENTRY_FILE: return NULL;
	case ENTRY_DIRECTORY: return "is a directory";
	case ENTRY_SYMLINK: return "is a symbolic link";
	case ENTRY_SPECIAL: return "is a FIFO, socket or device";
	case ENTRY_HARDLINKED: return "has more than one name (hard links)";
	}
	return "is of an unknown kind";
}

/* Opens the directory in incoming that holds `path`. */
static int open_holder(struct tree *t, const char *user, const char *path, const char **ret_base)
{
	int placefd = tree_open_place(t, user, PLACE_INCOMING);
	if (placefd < 0)
		return placefd;
	if (strchr(path, '/') == NULL) {
		*ret_base = path;
		return placefd;
	}
	int fd = tree_open_parent(placefd, path, 0, ret_base);
	fd_close(placefd);
	return fd == -ENOTDIR ? -ENOENT : fd;
}

int tree_look(struct tree *t, const char *user, const char *path, struct file_ident *ret_ident,
              enum entry_kind *ret_kind)
{
	const char *base;
	int fd = open_holder(t, user, path, &base);
	int r = fd < 0 ? fd : tree_ident_at(fd, base, ret_ident, ret_kind);
	fd_close(fd);
	return r;
}

/* A read lease is granted only while nobody has the file open for writing. It
 * is given back at once, so that no writer ever waits for us; one that comes in
 * between sends a signal, and SIGURG is one that does nothing. */
static enum writers probe(int dirfd, const char *name)
{
	struct stat st;
	enum writers answer = WRITERS_UNKNOWN;
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	/* Somebody's lease is in the way: it is being worked on. */
	if (fd < 0)
		return errno == EAGAIN ? WRITERS_SOME : WRITERS_UNKNOWN;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fcntl(fd, F_SETSIG, SIGURG) == 0) {
		if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
			fcntl(fd, F_SETLEASE, F_UNLCK);
			answer = WRITERS_NONE;
		} else if (errno == EAGAIN) {
			answer = WRITERS_SOME;
		}
	}
	fd_close(fd);
	return answer;
}

enum writers tree_probe_writer(struct tree *t, const char *user, const char *path)
{
	const char *base;
	int fd = open_holder(t, user, path, &base);
	enum writers answer = fd < 0 ? WRITERS_UNKNOWN : probe(fd, base);
	fd_close(fd);
	return answer;
}

int tree_open_upload(struct tree *t, const char *user, const char *path)
{
	const char *base;
	int dirfd = open_holder(t, user, path, &base);
	if (dirfd < 0)
		return dirfd;
	int r = openat(dirfd, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (r < 0)
		r = -errno;
	fd_close(dirfd);
	return r;
}

int tree_open_incoming(struct tree *t, const char *user, const char *path)
{
	int placefd = tree_open_place(t, user, PLACE_INCOMING);
	if (placefd < 0 || path[0] == '\0')
		return placefd;
	struct stat st;
	const char *base;
	int fd = tree_open_parent(placefd, path, 0, &base);
	fd_close(placefd);
	/* A directory itself, or the one that holds a file. */
	if (fd >= 0 && fstatat(fd, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
		int inner = fd_open_beneath(fd, base, O_RDONLY | O_DIRECTORY, 0);
		fd_close(fd);
		return inner;
	}
	return fd;
}

static int make_private(struct tree *t, const char *user, uint64_t id, int *ret_processing)
{
	char name[32];
	int processing = tree_open_place(t, user, PLACE_PROCESSING);
	if (processing < 0)
		return processing;
	snprintf(name, sizeof name, "%" PRIu64, id);
	if (mkdirat(processing, name, 0700) < 0 && errno != EEXIST) {
		int r = -errno;
		fd_close(processing);
		return r;
	}
	int fd = tree_open_private(t, user, id);
	if (fd < 0)
		fd_close(processing);
	else
		*ret_processing = processing;
	return fd;
}

/* It is out of the uploader's reach now: is it what was accepted, and is nobody
 * left who writes it? */
static int check_taken(int privfd, const char *base, const struct file_ident *ident)
{
	struct file_ident now;
	enum entry_kind kind;
	int r = tree_ident_at(privfd, base, &now, &kind);
	if (r < 0)
		return r;
	if (kind != ENTRY_FILE || !file_ident_same(&now, ident))
		return -ESTALE;
	return probe(privfd, base) == WRITERS_SOME ? -ESTALE : 0;
}

/* Not the file that was accepted: back to where it was; where its name is taken
 * meanwhile, to failed, with the reason. */
static int put_back(struct tree *t, const char *user, uint64_t id, const char *path, int privfd,
                    int dirfd, char **ret_kept)
{
	const char *base = name_base(path);
	int r = tree_rename(privfd, base, dirfd, base);
	if (r != -EEXIST)
		return r;
	char *kept = NULL;
	r = tree_rename_final(t, user, PLACE_FAILED, privfd, base, path, id, &kept);
	if (r == 0)
		*ret_kept = kept;
	return r;
}

static int take(struct tree *t, const char *user, uint64_t id, const char *path,
                const struct file_ident *ident, int dirfd, int privfd, char **ret_kept)
{
	const char *base = name_base(path);
	struct file_ident now;
	enum entry_kind kind;
	int r = tree_ident_at(dirfd, base, &now, &kind);
	if (r < 0)
		return r;
	if (kind != ENTRY_FILE || !file_ident_same(&now, ident))
		return -ESTALE;
	r = tree_rename(dirfd, base, privfd, base);
	if (r < 0)
		return r;
	r = check_taken(privfd, base, ident);
	if (r < 0) {
		int back = put_back(t, user, id, path, privfd, dirfd, ret_kept);
		return back < 0 ? back : -ESTALE;
	}
	return 0;
}

int tree_claim(struct tree *t, const char *user, uint64_t id, const char *path,
               const struct file_ident *ident, char **ret_kept)
{
	char name[32];
	const char *base;
	int processing = -1;
	*ret_kept = NULL;
	int privfd = make_private(t, user, id, &processing);
	if (privfd < 0)
		return privfd;
	int r = check_taken(privfd, name_base(path), ident);
	if (r == -ENOENT) {
		int dirfd = open_holder(t, user, path, &base);
		r = dirfd < 0 ? dirfd : take(t, user, id, path, ident, dirfd, privfd, ret_kept);
		fd_close(dirfd);
	}
	snprintf(name, sizeof name, "%" PRIu64, id);
	if (r < 0)
		unlinkat(processing, name, AT_REMOVEDIR);
	fd_close(privfd);
	fd_close(processing);
	return r;
}

int tree_open_job(struct tree *t, const char *user, uint64_t id, const char *path)
{
	struct stat st;
	const char *base = name_base(path);
	int fd = tree_open_private(t, user, id);
	if (fd < 0)
		return fd;
	int r = fstatat(fd, base, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	if (r == 0 && mkdirat(fd, name_output(base), 0700) < 0 && errno != EEXIST)
		r = -errno;
	if (r < 0)
		fd_close(fd);
	return r < 0 ? r : fd;
}

char *tree_job_path(struct tree *t, const char *user, uint64_t id)
{
	char *path = NULL;
	int n = asprintf(&path, "%s/%s/%s/%" PRIu64, t->root, user,
	                 tree_place_dir(PLACE_PROCESSING), id);
	return n < 0 ? NULL : path;
}
