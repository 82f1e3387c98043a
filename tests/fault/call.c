#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined __x86_64__
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#error "the filter does not know this machine"
#endif

/* Where a path or a descriptor stands among the arguments; NONE: nowhere. */
enum { NONE = -1, ARGS = 6 };

struct entry {
	int nr;
	const char *name;
	enum kind kind;
	int fd, path, path2; /* arguments */
};

#define CALL(name, kind, ...) {SYS_##name, #name, kind, __VA_ARGS__}
static const struct entry entries[] = {
	CALL(openat, CALL_OPEN, 0, 1, NONE),
	CALL(openat2, CALL_OPEN, 0, 1, NONE),
	CALL(write, CALL_WRITE, 0, NONE, NONE),
	CALL(pwrite64, CALL_WRITE, 0, NONE, NONE),
	CALL(writev, CALL_WRITE, 0, NONE, NONE),
	CALL(pwritev, CALL_WRITE, 0, NONE, NONE),
	CALL(fsync, CALL_SYNC, 0, NONE, NONE),
	CALL(fdatasync, CALL_SYNC, 0, NONE, NONE),
	CALL(syncfs, CALL_SYNC, 0, NONE, NONE),
	CALL(sync_file_range, CALL_SYNC, 0, NONE, NONE),
	CALL(msync, CALL_SYNC, NONE, NONE, NONE),
	CALL(renameat2, CALL_RENAME, NONE, 1, 3),
	CALL(linkat, CALL_LINK, NONE, 1, 3),
	CALL(symlinkat, CALL_LINK, NONE, 0, 2),
	CALL(unlinkat, CALL_UNLINK, 0, 1, NONE),
	CALL(mkdirat, CALL_MKDIR, 0, 1, NONE),
	CALL(ftruncate, CALL_TRUNCATE, 0, NONE, NONE),
	CALL(fallocate, CALL_TRUNCATE, 0, NONE, NONE),
	CALL(fchown, CALL_OWN, 0, NONE, NONE),
	CALL(fchmod, CALL_OWN, 0, NONE, NONE),
	CALL(fchownat, CALL_OWN, 0, 1, NONE),
	CALL(fchmodat, CALL_OWN, 0, 1, NONE),
	CALL(fsetxattr, CALL_OWN, 0, NONE, NONE),
	CALL(sendmsg, CALL_SEND, 0, NONE, NONE),
	CALL(fcntl, CALL_LOCK, 0, NONE, NONE),
	CALL(clone, CALL_SPAWN, NONE, NONE, NONE),
	CALL(clone3, CALL_SPAWN, NONE, NONE, NONE),
	CALL(kill, CALL_KILL, NONE, NONE, NONE),
	CALL(pidfd_send_signal, CALL_KILL, NONE, NONE, NONE),
	CALL(bind, CALL_BIND, 0, NONE, NONE),
	CALL(newfstatat, CALL_STAT, 0, 1, NONE),
	CALL(statx, CALL_STAT, 0, 1, NONE),
	CALL(fstat, CALL_STAT, 0, NONE, NONE),
	CALL(fstatfs, CALL_STAT, 0, NONE, NONE),
	CALL(faccessat, CALL_STAT, 0, 1, NONE),
	CALL(faccessat2, CALL_STAT, 0, 1, NONE),
	CALL(fgetxattr, CALL_STAT, 0, NONE, NONE),
	CALL(getdents64, CALL_LIST, 0, NONE, NONE),
	CALL(read, CALL_READ, 0, NONE, NONE),
	CALL(pread64, CALL_READ, 0, NONE, NONE),
	CALL(pipe2, CALL_FD, NONE, NONE, NONE),
	CALL(eventfd2, CALL_FD, NONE, NONE, NONE),
	CALL(epoll_create1, CALL_FD, NONE, NONE, NONE),
	CALL(timerfd_create, CALL_FD, NONE, NONE, NONE),
	CALL(signalfd4, CALL_FD, NONE, NONE, NONE),
	CALL(inotify_init1, CALL_FD, NONE, NONE, NONE),
	CALL(socket, CALL_FD, NONE, NONE, NONE),
	CALL(socketpair, CALL_FD, NONE, NONE, NONE),
	CALL(pidfd_open, CALL_FD, NONE, NONE, NONE),
	CALL(inotify_add_watch, CALL_WATCH, NONE, 1, NONE),
	CALL(mmap, CALL_MAP, 4, NONE, NONE),
#ifdef __x86_64__
	CALL(open, CALL_OPEN, NONE, 0, NONE),
	CALL(rename, CALL_RENAME, NONE, 0, 1),
	CALL(renameat, CALL_RENAME, NONE, 1, 3),
	CALL(unlink, CALL_UNLINK, NONE, 0, NONE),
	CALL(mkdir, CALL_MKDIR, NONE, 0, NONE),
	CALL(rmdir, CALL_RMDIR, NONE, 0, NONE),
	CALL(chmod, CALL_OWN, NONE, 0, NONE),
	CALL(chown, CALL_OWN, NONE, 0, NONE),
	CALL(fork, CALL_SPAWN, NONE, NONE, NONE),
	CALL(vfork, CALL_SPAWN, NONE, NONE, NONE),
	CALL(stat, CALL_STAT, NONE, 0, NONE),
	CALL(lstat, CALL_STAT, NONE, 0, NONE),
	CALL(access, CALL_STAT, NONE, 0, NONE),
#endif
};
#undef CALL
enum { ENTRIES = sizeof entries / sizeof *entries };

static const char *const kind_names[CALL_KINDS] = {
	[CALL_CREATE] = "create", [CALL_WRITE] = "write",       [CALL_SYNC] = "sync",
	[CALL_RENAME] = "rename", [CALL_LINK] = "link",         [CALL_UNLINK] = "unlink",
	[CALL_MKDIR] = "mkdir",   [CALL_RMDIR] = "rmdir",       [CALL_TRUNCATE] = "truncate",
	[CALL_OWN] = "own",       [CALL_SEND] = "send",         [CALL_LOCK] = "lock",
	[CALL_LEASE] = "lease",   [CALL_SPAWN] = "spawn",       [CALL_KILL] = "kill",
	[CALL_BIND] = "bind",     [CALL_OPEN] = "open",         [CALL_STAT] = "stat",
	[CALL_LIST] = "list",     [CALL_READ] = "read",         [CALL_FD] = "fd",
	[CALL_WATCH] = "watch",   [CALL_MAP] = "map",
};

const char *call_kind_name(enum kind kind)
{
	return kind < CALL_KINDS ? kind_names[kind] : "other";
}

static bool add_word(const char *word, bool *kinds)
{
	bool changes = strcmp(word, "changes") == 0, looks = strcmp(word, "looks") == 0, known = false;
	for (int k = 0; k < (int)CALL_KINDS; k++) {
		bool chosen = (changes && k < (int)CALLS_CHANGING) || (looks && k >= (int)CALLS_CHANGING) ||
		              strcmp(word, kind_names[k]) == 0;
		kinds[k] = kinds[k] || chosen;
		known = known || chosen;
	}
	return known;
}

bool call_parse_kinds(const char *text, bool ret[CALL_KINDS])
{
	char copy[256], *rest = copy, *word;
	memset(ret, 0, sizeof *ret * CALL_KINDS);
	snprintf(copy, sizeof copy, "%s", text);
	while ((word = strsep(&rest, ",")) != NULL)
		if (!add_word(word, ret))
			return false;
	return true;
}

size_t call_filter(struct sock_filter *out, size_t room)
{
	size_t n = 0;
	if (room < ENTRIES + 6)
		return 0;
	out[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
	                                        offsetof(struct seccomp_data, arch));
	out[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
	out[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	out[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
	                                        offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ENTRIES; i++)
		out[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
		                                        (unsigned)entries[i].nr,
		                                        (unsigned char)(ENTRIES - i), 0);
	out[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	out[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	return n;
}

static bool peek(pid_t pid, unsigned long long address, void *out, size_t size)
{
	struct iovec ours = {.iov_base = out, .iov_len = size};
	struct iovec theirs = {.iov_base = (void *)(uintptr_t)address, .iov_len = size};
	return process_vm_readv(pid, &ours, 1, &theirs, 1, 0) == (ssize_t)size;
}

/* A string ends before its page does, or goes on in the next one. */
static void peek_string(pid_t pid, unsigned long long address, char *out, size_t size)
{
	size_t n = 0;
	while (n + 1 < size && peek(pid, address + n, out + n, 1) && out[n] != '\0')
		n++;
	out[n] = '\0';
}

static void name_of_fd(pid_t pid, int fd, char *out, size_t size)
{
	char link[64];
	if (fd == AT_FDCWD)
		snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
	else
		snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, fd);
	ssize_t n = readlink(link, out, size - 1);
	out[n < 0 ? 0 : n] = '\0';
}

static void join(pid_t pid, int dirfd, const char *path, char *out, size_t size)
{
	char dir[256] = "";
	if (path[0] != '/')
		name_of_fd(pid, dirfd, dir, sizeof dir);
	snprintf(out, size, "%s%s%s", dir, dir[0] != '\0' && path[0] != '\0' ? "/" : "", path);
}

/* The directory of a path stands before it, where there is one. */
static int dirfd_of(const struct entry *e, const struct seccomp_notif *req, int path)
{
	bool has = path > 0 && (e->fd == path - 1 || e->path2 != NONE);
	return has ? (int)req->data.args[path - 1] : AT_FDCWD;
}

static void describe(const struct entry *e, const struct seccomp_notif *req, struct call *call)
{
	char path[256], first[300] = "", second[300] = "";
	pid_t pid = (pid_t)req->pid;
	if (e->path != NONE) {
		peek_string(pid, req->data.args[e->path], path, sizeof path);
		join(pid, dirfd_of(e, req, e->path), path, first, sizeof first);
	} else if (e->fd != NONE) {
		name_of_fd(pid, (int)req->data.args[e->fd], first, sizeof first);
	}
	if (e->path2 != NONE) {
		peek_string(pid, req->data.args[e->path2], path, sizeof path);
		join(pid, dirfd_of(e, req, e->path2), path, second, sizeof second);
	}
	snprintf(call->about, sizeof call->about, "%.240s%s%.240s", first,
	         second[0] != '\0' ? " -> " : "", second);
}

static bool opens_to_create(const struct entry *e, const struct seccomp_notif *req)
{
	const unsigned long long *args = (const void *)req->data.args;
	struct open_how how = {0};
	unsigned long long flags = 0;
	if (e->nr == SYS_openat2)
		flags = peek((pid_t)req->pid, args[2], &how, sizeof how) ? how.flags : 0;
	else
		flags = args[e->path + 1];
	return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

static enum kind kind_of_fcntl(int command)
{
	switch (command) {
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_SETLK:
	case F_OFD_SETLKW: return CALL_LOCK;
	case F_SETLEASE: return CALL_LEASE;
	case F_DUPFD:
	case F_DUPFD_CLOEXEC: return CALL_FD;
	default: return CALL_OTHER;
	}
}

static bool starts_thread(const struct entry *e, const struct seccomp_notif *req)
{
	unsigned long long flags = req->data.args[0];
	if (e->nr == SYS_clone3 && !peek((pid_t)req->pid, req->data.args[0], &flags, sizeof flags))
		return false;
	return (e->nr == SYS_clone || e->nr == SYS_clone3) && (flags & CLONE_THREAD) != 0;
}

static bool is_system_path(const char *path)
{
	static const char *const tops[] = {"/lib", "/usr/", "/etc/", "/proc/", "/sys/", "/dev/"};
	/* A spool of the tests may lie there. */
	if (strncmp(path, "/dev/shm/", 9) == 0)
		return false;
	for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
		if (strncmp(path, tops[i], strlen(tops[i])) == 0)
			return true;
	return false;
}

static bool maps_a_file(const struct seccomp_notif *req)
{
	return (int)req->data.args[4] >= 0 && (req->data.args[3] & MAP_SHARED) != 0;
}

/* Files and directories: not pipes, sockets and what the kernel makes up. */
static bool is_about_file(const struct call *call)
{
	return call->about[0] == '/';
}

static enum kind refine(const struct entry *e, const struct seccomp_notif *req,
                        const struct call *call)
{
	bool of_file = is_about_file(call);
	switch (e->kind) {
	case CALL_OPEN: return opens_to_create(e, req) ? CALL_CREATE : CALL_OPEN;
	case CALL_UNLINK:
		return e->nr == SYS_unlinkat && (req->data.args[2] & AT_REMOVEDIR) != 0 ? CALL_RMDIR
		                                                                        : CALL_UNLINK;
	case CALL_LOCK: return kind_of_fcntl((int)req->data.args[1]);
	case CALL_SPAWN: return starts_thread(e, req) ? CALL_OTHER : CALL_SPAWN;
	case CALL_MAP: return maps_a_file(req) ? CALL_MAP : CALL_OTHER;
	/* The log is nobody's truth. */
	case CALL_WRITE: return of_file && req->data.args[0] > STDERR_FILENO ? e->kind : CALL_OTHER;
	case CALL_READ:
	case CALL_LIST:
	case CALL_STAT: return of_file ? e->kind : CALL_OTHER;
	default: return e->kind;
	}
}

void call_read(const struct seccomp_notif *req, struct call *ret)
{
	*ret = (struct call){.kind = CALL_OTHER, .name = "?"};
	for (size_t i = 0; i < ENTRIES; i++) {
		const struct entry *e = &entries[i];
		if (e->nr != req->data.nr)
			continue;
		ret->name = e->name;
		describe(e, req, ret);
		ret->kind = refine(e, req, ret);
		if (is_about_file(ret) && is_system_path(ret->about))
			ret->kind = CALL_OTHER;
		return;
	}
}
