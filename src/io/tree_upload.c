/* Uploads in incoming, looked at and opened. */
#include "io/tree_private.h"

#include "base/fd.h"
#include "core/name.h"
#include "core/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
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

int tree_borrow_holder(struct tree *t, const char *user, const char *path, const char **ret_base)
{
	int placefd = tree_borrow_place(t, user, PLACE_INCOMING);
	if (placefd < 0)
		return placefd;
	if (strchr(path, '/') == NULL) {
		*ret_base = path;
		return placefd;
	}
	int fd = tree_open_parent(placefd, path, 0, ret_base);
	tree_return_place(t, user, placefd);
	return fd == -ENOTDIR ? -ENOENT : fd;
}

int tree_look(struct tree *t, const char *user, const char *path, struct file_ident *ret_ident,
              enum entry_kind *ret_kind)
{
	const char *base;
	int fd = tree_borrow_holder(t, user, path, &base);
	int r = fd < 0 ? fd : tree_ident_at(fd, base, ret_ident, ret_kind);
	tree_return_place(t, user, fd);
	return r;
}

bool tree_is_shortage(int asked)
{
	return asked == -EMFILE || asked == -ENFILE || asked == -ENOMEM || asked == -EIO;
}

/* Somebody writes where asking gave EAGAIN; where it cannot be asked now, it is
 * asked again; any other error says nothing. */
static enum writers writers_of(int asked)
{
	if (asked == 0)
		return WRITERS_NONE;
	return asked == -EAGAIN || tree_is_shortage(asked) ? WRITERS_SOME : WRITERS_UNKNOWN;
}

void tree_refresh(struct tree *t, const char *user, const char *path)
{
	struct statx st;
	/* To open it is what NFS and sshfs take for a reason to ask the server; the
	 * kernel has to be asked not to answer by itself. */
	int fd = tree_open_upload(t, user, path);
	if (fd >= 0 && statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st) < 0)
		fd = fd_close(fd);
	fd_close(fd);
}

/* A read lease is granted only while nobody has the file open for writing. It
 * is given back at once, so that no writer ever waits for us; one that comes in
 * between sends a signal, and SIGURG is one that does nothing. */
static int take_lease(int fd)
{
	bool got = fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
	if (got || errno == EAGAIN)
		return got ? 0 : -EAGAIN;
	return -EOPNOTSUPP;
}

int tree_look_at(int dirfd, const char *name, struct file_ident *ret_ident,
                 enum entry_kind *ret_kind, int *ret_asked)
{
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0) {
		/* EAGAIN: somebody's lease is in the way, it is being worked on. */
		*ret_asked = -errno;
		return tree_ident_at(dirfd, name, ret_ident, ret_kind);
	}
	*ret_asked = take_lease(fd);
	int r = tree_ident_fd(fd, ret_ident, ret_kind);
	if (*ret_asked == 0)
		fcntl(fd, F_SETLEASE, F_UNLCK);
	fd_close(fd);
	return r;
}

int tree_look_closely(struct tree *t, const char *user, const char *path,
                      struct file_ident *ret_ident, enum entry_kind *ret_kind,
                      enum writers *ret_writers)
{
	const char *base;
	int asked, fd = tree_borrow_holder(t, user, path, &base);
	int r = fd < 0 ? fd : tree_look_at(fd, base, ret_ident, ret_kind, &asked);
	tree_return_place(t, user, fd);
	if (r < 0)
		return r;
	if (tree_is_shortage(asked))
		return asked;
	*ret_writers = writers_of(asked);
	return 0;
}

enum writers tree_probe_writer(struct tree *t, const char *user, const char *path)
{
	struct file_ident ident;
	enum entry_kind kind;
	const char *base;
	int fd = tree_borrow_holder(t, user, path, &base), asked = fd;
	if (fd >= 0)
		tree_look_at(fd, base, &ident, &kind, &asked);
	tree_return_place(t, user, fd);
	return writers_of(asked);
}

/* `ident`: of the one that it must be, or NULL. */
static int open_upload(struct tree *t, const char *user, const char *path,
                       const struct file_ident *ident)
{
	const char *base;
	int dirfd = tree_borrow_holder(t, user, path, &base);
	if (dirfd < 0)
		return dirfd;
	struct file_ident now = {0};
	enum entry_kind kind = ENTRY_SPECIAL;
	int fd = openat(dirfd, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int r = fd < 0 ? -errno : tree_ident_fd(fd, &now, &kind);
	tree_return_place(t, user, dirfd);
	if (r == 0 && kind != ENTRY_FILE && kind != ENTRY_HARDLINKED)
		r = -EINVAL;
	if (r == 0 && ident != NULL && !file_ident_same_inode(&now, ident))
		r = -EAGAIN;
	if (r < 0)
		fd_close(fd);
	return r < 0 ? r : fd;
}

int tree_open_upload(struct tree *t, const char *user, const char *path)
{
	return open_upload(t, user, path, NULL);
}

int tree_open_judged(struct tree *t, const char *user, const char *path,
                     const struct file_ident *ident)
{
	return open_upload(t, user, path, ident);
}

#define UNSAFE_ATTRIBUTE "user.spoold.unsafe"

static void unsafe_text(const struct file_ident *ident, int error, char *out, size_t size)
{
	snprintf(out, size, "%d %" PRIu64 " %" PRIu64 " %" PRId64, -error, ident->ino, ident->size,
	         ident->mtime_ns);
}

int tree_mark_unsafe_fd(int fd, const struct file_ident *ident, int error)
{
	char text[96];
	unsafe_text(ident, error, text, sizeof text);
	return fsetxattr(fd, UNSAFE_ATTRIBUTE, text, strlen(text), 0) < 0 ? -errno : 0;
}

int tree_mark_unsafe(struct tree *t, const char *user, const char *path,
                     const struct file_ident *ident, int error)
{
	int fd = tree_open_judged(t, user, path, ident);
	int r = fd < 0 ? fd : tree_mark_unsafe_fd(fd, ident, error);
	fd_close(fd);
	return r;
}

int tree_is_unsafe(int fd, const struct file_ident *ident)
{
	char have[96], want[96];
	ssize_t n = fgetxattr(fd, UNSAFE_ATTRIBUTE, have, sizeof have - 1);
	if (n <= 0)
		return 0;
	have[n] = '\0';
	int error = -atoi(have);
	unsafe_text(ident, error, want, sizeof want);
	return error < 0 && strcmp(have, want) == 0 ? error : 0;
}

#define UNRENAMED_ATTRIBUTE "user.spoold.unrenamed"

/* Under another name it is one that was renamed. */
static void unrenamed_text(const char *path, char out[24])
{
	snprintf(out, 24, "%016" PRIx64, record_path_hash(path));
}

void tree_mark_unrenamed(struct tree *t, const char *user, const char *path)
{
	char text[24];
	int fd = tree_open_upload(t, user, path);
	unrenamed_text(path, text);
	if (fd >= 0)
		(void)!fsetxattr(fd, UNRENAMED_ATTRIBUTE, text, strlen(text), 0);
	fd_close(fd);
}

bool tree_is_unrenamed(struct tree *t, const char *user, const char *path)
{
	char have[24], want[24];
	int fd = tree_open_upload(t, user, path);
	ssize_t n = fd < 0 ? -1 : fgetxattr(fd, UNRENAMED_ATTRIBUTE, have, sizeof have - 1);
	fd_close(fd);
	if (n <= 0)
		return false;
	have[n] = '\0';
	unrenamed_text(path, want);
	return strcmp(have, want) == 0;
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

int tree_open_whole(struct tree *t, const char *user, const char *path)
{
	const char *base;
	int dirfd = tree_borrow_holder(t, user, path, &base);
	int fd = dirfd < 0 ? dirfd : fd_open_beneath(dirfd, base, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0 && faccessat(dirfd, base, W_OK | X_OK, AT_EACCESS) < 0) {
		fd_close(fd);
		fd = -EPERM;
	}
	tree_return_place(t, user, dirfd);
	return fd;
}

int tree_open_holder(struct tree *t, const char *user, const char *path)
{
	const char *base;
	int fd = tree_borrow_holder(t, user, path, &base);
	int copy = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && copy < 0)
		copy = -errno;
	tree_return_place(t, user, fd);
	return copy;
}
