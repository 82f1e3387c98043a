#include "io/tree_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MARKER ".spoold/marker"

/* The head of the marker; the rest is for people. */
#define MARKER_HEAD "spoold spool 1\nid %016" PRIx64 "\n"

/* Only what write_marker() writes: an id of which a part is lost would be that
 * of another spool. */
static int parse_marker(const char *text, uint64_t *ret_id)
{
	char head[64];
	uint64_t id = 0;
	if (sscanf(text, "spoold spool 1\nid %16" SCNx64, &id) != 1 || id == 0)
		return -EBADMSG;
	int n = snprintf(head, sizeof head, MARKER_HEAD, id);
	if (strncmp(text, head, (size_t)n) != 0)
		return -EBADMSG;
	*ret_id = id;
	return 0;
}

int tree_read_text(int rootfd, const char *path, char *text, size_t size)
{
	int fd = fd_open_beneath(rootfd, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	ssize_t n = read(fd, text, size - 1);
	int r = n < 0 ? -errno : 0;
	fd_close(fd);
	if (r == 0)
		text[n] = '\0';
	return r;
}

static int read_marker(int rootfd, uint64_t *ret_id)
{
	char text[256];
	int r = tree_read_text(rootfd, MARKER, text, sizeof text);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? -ENODEV : r;
	/* One that cannot be understood is never taken for a missing one, which
	 * tree_init() would write anew. */
	return parse_marker(text, ret_id);
}

static int open_root(const char *root)
{
	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fd;
}

int tree_open(const char *root, struct tree **ret)
{
	struct stat st;
	struct tree *t = calloc(1, sizeof *t);
	if (t == NULL)
		return -ENOMEM;
	t->rootfd = open_root(root);
	int r = t->rootfd < 0 ? t->rootfd : read_marker(t->rootfd, &t->id);
	if (r == 0 && fstat(t->rootfd, &st) < 0)
		r = -errno;
	if (r == 0) {
		t->dev = st.st_dev;
		t->root = realpath(root, NULL);
		r = t->root == NULL ? -errno : 0;
	}
	if (r == 0 && asprintf(&t->marker, "%s/" MARKER, t->root) < 0) {
		t->marker = NULL;
		r = -ENOMEM;
	}
	if (r < 0) {
		tree_close(t);
		return r;
	}
	*ret = t;
	return 0;
}

void tree_set_guard(struct tree *t, struct tree_guard guard)
{
	t->guard = guard;
}

struct tree_guard tree_get_guard(const struct tree *t)
{
	return t->guard;
}

int tree_answers(const struct tree *t, const char *user, bool wait)
{
	return t->guard.ask == NULL ? 0 : t->guard.ask(t->guard.ctx, t->root, user, wait);
}

void tree_close(struct tree *t)
{
	if (t == NULL)
		return;
	tree_drop_spares(t);
	tree_free_kept(t);
	fd_close(t->rootfd);
	free(t->marker);
	free(t->root);
	free(t);
}

/* mkdir -p for the root itself. */
static int make_root(const char *root)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof path, "%s", root);
	if (n < 0 || (size_t)n >= sizeof path)
		return -ENAMETOOLONG;
	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int write_marker(int rootfd)
{
	char text[256];
	uint64_t id = 0;
	if (mkdirat(rootfd, ".spoold", 0755) < 0 && errno != EEXIST)
		return -errno;
	int dirfd = fd_open_beneath(rootfd, ".spoold", O_RDONLY | O_DIRECTORY, 0);
	if (dirfd < 0)
		return dirfd;
	/* Users read the marker, whatever the umask of the operator. */
	int r = fchmod(dirfd, 0755) < 0 ? -errno : 0;
	while (r == 0 && id == 0)
		r = getrandom(&id, sizeof id, 0) == sizeof id ? 0 : -EIO;
	int n = snprintf(text, sizeof text,
	                 MARKER_HEAD
	                 "This file tells a mounted spool from an empty directory. Keep it.\n", id);
	if (r == 0)
		r = fd_write_file(dirfd, "marker", text, (size_t)n, 0644);
	if (r == 0 && fchmodat(dirfd, "marker", 0644, 0) < 0)
		r = -errno;
	fd_close(dirfd);
	if (r == 0 && fsync(rootfd) < 0)
		r = -errno;
	return r;
}

int tree_init(const char *root, bool *ret_existed)
{
	uint64_t id;
	int r = make_root(root);
	if (r < 0)
		return r;
	int rootfd = open_root(root);
	if (rootfd < 0)
		return rootfd;
	r = read_marker(rootfd, &id);
	bool existed = r == 0;
	if (r == -ENODEV)
		r = write_marker(rootfd);
	fd_close(rootfd);
	if (r == 0)
		*ret_existed = existed;
	return r;
}

uint64_t tree_id(const struct tree *t)
{
	return t->id;
}

/* The path, not the device: that has another number after a remount. */
uint64_t tree_copy_id(const struct tree *t)
{
	uint64_t hash = t->id ^ UINT64_C(14695981039346656037);
	for (const char *p = t->root; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * UINT64_C(1099511628211);
	return hash;
}

const char *tree_root(const struct tree *t)
{
	return t->root;
}

int tree_open_root(const struct tree *t)
{
	return open_root(t->root);
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* By the path: the descriptor we hold would go on showing what was there. */
static int look_for_marker(struct tree *t)
{
	struct stat st, marker = {0};
	uint64_t id = 0;
	if (lstat(t->marker, &marker) == 0 && is_same_file(&marker, &t->marker_seen))
		return 0;
	int fd = open_root(t->root);
	int r = fd < 0 ? fd : fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0)
		r = st.st_dev == t->dev ? read_marker(fd, &id) : -ENODEV;
	if (r == 0 && id != t->id)
		r = -ENODEV;
	fd_close(fd);
	/* Where others may change it, caches tell of that late. */
	if (r == 0 && tree_is_network(t, NULL) == 0)
		t->marker_seen = marker;
	return r == -ENOENT || r == -ENOTDIR ? -ENODEV : r;
}

int tree_mounted(struct tree *t)
{
	int answers = tree_answers(t, NULL, true);
	return answers < 0 ? answers : look_for_marker(t);
}

static const struct fs_type {
	unsigned long magic;
	const char *name;
	bool network; /* others may write there without our kernel knowing */
} fs_types[] = {
	{0x6969, "nfs", true},         {0x517b, "smb", true},        {0xff534d42, "cifs", true},
	{0xfe534d42, "smb2", true},    {0x65735546, "fuse", true},   {0x01021997, "9p", true},
	{0x00c36400, "ceph", true},    {0x5346414f, "afs", true},    {0x6b414653, "kafs", true},
	{0x73757245, "coda", true},    {0x564c, "ncp", true},        {0x47504653, "gpfs", true},
	{0x0bd00bd0, "lustre", true},  {0x7461636f, "ocfs2", true},  {0x01161970, "gfs2", true},
	{0x786f4256, "vboxsf", true},  {0xef53, "ext4", false},      {0x58465342, "xfs", false},
	{0x9123683e, "btrfs", false},  {0x01021994, "tmpfs", false}, {0x794c7630, "overlay", false},
	{0x2fc12fc1, "zfs", false},    {0xf2f52010, "f2fs", false},  {0xca451a4e, "bcachefs", false},
};

static const struct fs_type *find_type(const struct statfs *fs)
{
	unsigned long magic = (unsigned long)fs->f_type & 0xffffffffUL;
	for (size_t i = 0; i < sizeof fs_types / sizeof *fs_types; i++)
		if (fs_types[i].magic == magic)
			return &fs_types[i];
	return NULL;
}

static bool is_network(const struct statfs *fs)
{
	const struct fs_type *type = find_type(fs);
	return type != NULL && type->network;
}

bool tree_path_is_network(const char *path, const char **ret_type)
{
	char parent[PATH_MAX];
	struct statfs fs;
	int n = snprintf(parent, sizeof parent, "%s", path);
	if (n < 0 || (size_t)n >= sizeof parent)
		return false;
	/* What does not exist yet will lie where its parent lies. */
	while (statfs(parent, &fs) < 0) {
		char *slash = strrchr(parent, '/');
		if (strcmp(parent, "/") == 0 || strcmp(parent, ".") == 0)
			return false;
		if (slash == NULL || slash == parent)
			strcpy(parent, slash == NULL ? "." : "/");
		else
			*slash = '\0';
	}
	const struct fs_type *type = find_type(&fs);
	*ret_type = type == NULL ? "unknown" : type->name;
	return type != NULL && type->network;
}

int tree_is_network(struct tree *t, const char *user)
{
	struct statfs fs;
	int fd = user == NULL ? t->rootfd : tree_open_place(t, user, PLACE_INCOMING);
	int r = fd < 0 ? fd : fstatfs(fd, &fs) < 0 ? -errno : is_network(&fs);
	if (user != NULL)
		fd_close(fd);
	return r;
}

/* An OFD lock: it belongs to the open file, so it is passed on and inherited
 * with the descriptor, and lives until the last copy is closed. */
static int lock_file(int rootfd, const char *path, bool make)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | (make ? O_CREAT : 0);
	int fd = fd_open_beneath(rootfd, path, flags, make ? 0600 : 0);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		int r = errno == EACCES ? -EAGAIN : -errno;
		fd_close(fd);
		return r;
	}
	return fd;
}

int tree_lock_daemon(struct tree *t)
{
	return lock_file(t->rootfd, TREE_DAEMON_LOCK, true);
}

/* A mount that hangs keeps whoever closes a file on it, and so whoever ends with one
 * open; beside the note of a mount the lock is on our side of it. */
int tree_lock_user(struct tree *t, const char *user)
{
	char path[300];
	int n = snprintf(path, sizeof path, TREE_MOUNTS "/%s", user);
	if (n < 0 || (size_t)n >= sizeof path)
		return -ENAMETOOLONG;
	int r = tree_answers(t, user, true);
	if (r < 0)
		return r;
	r = lock_file(t->rootfd, path, false);
	if (r != -ENOENT)
		return r;
	snprintf(path, sizeof path, "%s/.lock", user);
	return lock_file(t->rootfd, path, true);
}

static bool is_at(int rootfd, const char *path, const struct stat *wanted)
{
	struct stat st;
	return fstatat(rootfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == wanted->st_ino &&
	       st.st_dev == wanted->st_dev;
}

bool tree_is_lock_in_place(struct tree *t, const char *user, int lockfd)
{
	char note[300], lock[300];
	struct stat st;
	if (fstat(lockfd, &st) < 0 || !tree_has_user(t, user))
		return true;
	snprintf(note, sizeof note, TREE_MOUNTS "/%s", user);
	snprintf(lock, sizeof lock, "%s/.lock", user);
	return is_at(t->rootfd, note, &st) || is_at(t->rootfd, lock, &st);
}

bool tree_is_lock(const struct tree *t, const char *path)
{
	char link[40], root[PATH_MAX];
	snprintf(link, sizeof link, "/proc/self/fd/%d", t->rootfd);
	ssize_t n = readlink(link, root, sizeof root);
	if (n <= 0 || (size_t)n == sizeof root || strncmp(path, root, (size_t)n) != 0 ||
	    path[n] != '/')
		return false;
	const char *rest = path + n + 1;
	if (strncmp(rest, TREE_MOUNTS "/", strlen(TREE_MOUNTS "/")) == 0)
		return true;
	const char *slash = strchr(rest, '/');
	return slash != NULL && strcmp(slash, "/.lock") == 0;
}

int tree_user_space(struct tree *t, const char *user, uint64_t *ret_bytes)
{
	struct statvfs fs;
	int fd = tree_open_place(t, user, PLACE_INCOMING);
	if (fd < 0)
		return fd;
	int r = fstatvfs(fd, &fs) < 0 ? -errno : 0;
	fd_close(fd);
	if (r == 0)
		*ret_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return r;
}
