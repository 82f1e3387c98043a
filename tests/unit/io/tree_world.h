/* A spool of its own for each test, with the user "alice", and short ways to
 * make and look at things in it. */
#pragma once

#include "base/fd.h"
#include "core/name.h"
#include "io/tree_private.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { UPLOADER = 65534 };

static char world[] = "/tmp/spoold-tree-XXXXXX"; /* holds the spool, and what is outside of it */
static char root[64];
static struct tree *t;

static inline int world_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void world_remove(const char *path)
{
	nftw(path, world_unlink, 32, FTW_DEPTH | FTW_PHYS);
}

static inline void world_begin(void)
{
	bool existed;
	unsigned made;
	umask(0077); /* modes must not depend on it */
	cr_assert_not_null(mkdtemp(world));
	cr_assert_eq(chmod(world, 0755), 0);
	snprintf(root, sizeof root, "%s/spool", world);
	cr_assert_eq(tree_init(root, &existed), 0);
	cr_assert_eq(chmod(root, 0755), 0);
	cr_assert_eq(tree_open(root, &t), 0);
	cr_assert_eq(tree_make_user(t, "alice", geteuid() == 0 ? UPLOADER : geteuid(),
	                            geteuid() == 0 ? UPLOADER : getegid(), &made),
	             0);
}

static inline void world_end(void)
{
	tree_close(t);
	t = NULL;
	world_remove(world);
}

/* "incoming/x" → its absolute path; four of them can be in use at a time. */
static inline const char *at(const char *path)
{
	static char out[4][JOB_PATH_MAX + 256];
	static unsigned next;
	char *p = out[next++ % 4];
	snprintf(p, sizeof out[0], "%s/alice/%s", root, path);
	return p;
}

static inline void put(const char *path, const char *content)
{
	int fd = open(at(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	cr_assert(fd >= 0, "%s: %m", path);
	cr_assert_eq(fd_write_all(fd, content, strlen(content)), 0);
	fd_close(fd);
}

static inline void make_dir(const char *path)
{
	cr_assert_eq(mkdir(at(path), 0755), 0, "%s: %m", path);
}

static inline bool there(const char *path)
{
	struct stat st;
	return lstat(at(path), &st) == 0;
}

/* Content of a small file, or "" where there is none. */
static inline const char *content(const char *path)
{
	static char text[2048];
	text[0] = '\0';
	int fd = open(at(path), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		ssize_t n = read(fd, text, sizeof text - 1);
		text[n < 0 ? 0 : n] = '\0';
	}
	fd_close(fd);
	return text;
}

static inline unsigned mode_of(const char *path)
{
	struct stat st;
	cr_assert_eq(lstat(at(path), &st), 0, "%s: %m", path);
	return st.st_mode & 07777;
}

static inline struct file_ident ident_of(const char *path)
{
	struct file_ident ident;
	enum entry_kind kind;
	cr_assert_eq(tree_look(t, "alice", path, &ident, &kind), 0, "%s", path);
	return ident;
}

/* From here on this system call gives this error to this process. */
static inline bool world_without(unsigned call, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* A kernel without RENAME_NOREPLACE, as network file systems are. */
static inline bool world_without_renameat2(void)
{
	return world_without(SYS_renameat2, EINVAL);
}

/* Mounts made from here on are this process's own. */
static inline bool world_own_mounts(void)
{
	return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}
