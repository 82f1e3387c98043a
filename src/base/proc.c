#include "base/proc.h"

#include "base/fd.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENVIRON_MAX = 8 << 20 };

struct seen {
	pid_t pid, parent;
	bool chosen;
};

struct walk {
	const struct proc_tree *tree; /* or NULL: by `entry` */
	const char *entry;
	int sig;
	int proc_fd;
	struct seen *seen; /* ascending by pid, as /proc lists them */
	size_t n, room;
	int alive;
};

static int read_proc_file(int dir, const char *name, size_t limit, char **ret_data, size_t *ret_size)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = fd_read_all(fd, limit, ret_data, ret_size);
	fd_close(fd);
	return r;
}

/* "pid (name) state parent ...": the name may hold anything, ")" included. */
static int read_stat(int dir, pid_t *ret_parent, char *ret_state)
{
	char *text = NULL;
	size_t size;
	int r = read_proc_file(dir, "stat", 8192, &text, &size);
	if (r < 0)
		return r;
	assert(text != NULL);
	char *end = strrchr(text, ')');
	char state;
	int parent;
	r = end != NULL && sscanf(end + 1, " %c %d", &state, &parent) == 2 ? 0 : -EIO;
	free(text);
	if (r < 0)
		return r;
	*ret_parent = parent;
	*ret_state = state;
	return 0;
}

/* What follows `prefix` in the environment: a new string, or NULL. */
static char *find_entry(int dir, const char *prefix)
{
	char *text = NULL, *rest = NULL;
	size_t size = 0, prefix_n = strlen(prefix);
	if (read_proc_file(dir, "environ", ENVIRON_MAX, &text, &size) < 0)
		return NULL;
	for (size_t at = 0; at < size && rest == NULL; at += strlen(text + at) + 1)
		if (strncmp(text + at, prefix, prefix_n) == 0)
			rest = strdup(text + at + prefix_n);
	free(text);
	return rest;
}

static bool has_entry(int dir, const char *entry)
{
	char *rest = find_entry(dir, entry);
	bool found = rest != NULL && rest[0] == '\0';
	free(rest);
	return found;
}

static struct seen *find(const struct walk *w, pid_t pid)
{
	size_t low = 0, high = w->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (w->seen[middle].pid < pid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < w->n && w->seen[low].pid == pid ? &w->seen[low] : NULL;
}

static bool is_spared(const struct proc_tree *tree, pid_t pid)
{
	for (size_t i = 0; i < tree->spare_n; i++)
		if (tree->spare[i] == pid)
			return true;
	return false;
}

static bool is_chosen(const struct walk *w, int dir, pid_t pid, pid_t parent)
{
	if (pid == getpid())
		return false;
	if (w->tree != NULL && is_spared(w->tree, pid))
		return false;
	if (w->tree != NULL && parent == w->tree->root)
		return true;
	const struct seen *above = find(w, parent);
	if (above != NULL && above->chosen)
		return true;
	return w->tree == NULL && has_entry(dir, w->entry);
}

static void send_signal(int dir, pid_t pid, int sig)
{
	if (sig == 0 || syscall(SYS_pidfd_send_signal, dir, sig, NULL, 0) == 0)
		return;
	/* Kernels and checkers that do not take a /proc descriptor here. */
	if (errno == ENOSYS || errno == EBADF || errno == EINVAL)
		kill(pid, sig);
}

/* Looks at one process; returns whether it was chosen. */
static bool look(struct walk *w, pid_t pid, pid_t *ret_parent)
{
	char name[16];
	snprintf(name, sizeof name, "%d", pid);
	int dir = openat(w->proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return false;
	char state;
	bool chosen = false;
	if (read_stat(dir, ret_parent, &state) == 0 && is_chosen(w, dir, pid, *ret_parent)) {
		chosen = true;
		/* A zombie too: it may be a dead first thread with living others. */
		send_signal(dir, pid, w->sig);
		w->alive += state != 'Z' && state != 'X';
	}
	fd_close(dir);
	return chosen;
}

static int remember(struct walk *w, struct seen seen)
{
	if (w->n == w->room) {
		size_t room = w->room == 0 ? 256 : w->room * 2;
		struct seen *more = realloc(w->seen, room * sizeof *more);
		if (more == NULL)
			return -ENOMEM;
		w->seen = more;
		w->room = room;
	}
	w->seen[w->n++] = seen;
	return 0;
}

/* Children have higher numbers than their parents, but for where the numbers
 * wrapped around: those are found here. */
static void choose_wrapped(struct walk *w)
{
	bool again = true;
	while (again) {
		again = false;
		for (size_t i = 0; i < w->n; i++) {
			struct seen *s = &w->seen[i];
			const struct seen *above = s->chosen ? NULL : find(w, s->parent);
			if (above == NULL || !above->chosen)
				continue;
			s->chosen = look(w, s->pid, &s->parent);
			again = again || s->chosen;
			if (!s->chosen)
				s->parent = 0;
		}
	}
}

static int walk(struct walk *w)
{
	DIR *proc = opendir("/proc");
	if (proc == NULL)
		return -errno;
	w->proc_fd = dirfd(proc);
	int r = 0;
	struct dirent *entry;
	while (r == 0 && (errno = 0, entry = readdir(proc)) != NULL) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);
		if (pid <= 0 || *end != '\0')
			continue;
		struct seen seen = {.pid = (pid_t)pid};
		seen.chosen = look(w, seen.pid, &seen.parent);
		r = remember(w, seen);
	}
	if (r == 0 && errno != 0)
		r = -errno;
	if (r == 0)
		choose_wrapped(w);
	closedir(proc);
	free(w->seen);
	return r < 0 ? r : w->alive;
}

int proc_signal_tree(const struct proc_tree *tree, int sig)
{
	struct walk w = {.tree = tree, .sig = sig};
	return walk(&w);
}

int proc_signal_marked(const char *entry, int sig)
{
	struct walk w = {.entry = entry, .sig = sig};
	return walk(&w);
}

/* Calls `look_at` with the /proc directory of each process but ours. */
static int each_process(void (*look_at)(void *ctx, int dir, pid_t pid), void *ctx)
{
	DIR *proc = opendir("/proc");
	if (proc == NULL)
		return -errno;
	struct dirent *entry;
	while ((errno = 0, entry = readdir(proc)) != NULL) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);
		if (pid <= 0 || *end != '\0' || pid == getpid())
			continue;
		int dir = openat(dirfd(proc), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir >= 0)
			look_at(ctx, dir, (pid_t)pid);
		fd_close(dir);
	}
	int r = -errno;
	closedir(proc);
	return r;
}

struct marks {
	const char *prefix;
	void (*found)(void *ctx, const char *rest);
	void *ctx;
};

static void tell_mark(void *ctx, int dir, pid_t pid)
{
	const struct marks *m = ctx;
	char *rest = find_entry(dir, m->prefix);
	(void)pid;
	if (rest != NULL)
		m->found(m->ctx, rest);
	free(rest);
}

int proc_each_mark(const char *prefix, void (*found)(void *ctx, const char *rest), void *ctx)
{
	struct marks m = {.prefix = prefix, .found = found, .ctx = ctx};
	return each_process(tell_mark, &m);
}

struct holders {
	bool (*is_it)(void *ctx, const char *path);
	void *ctx;
	int n;
};

static bool has_it_open(const struct holders *h, int dir)
{
	int fd = openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *files = fd < 0 ? NULL : fdopendir(fd);
	if (files == NULL) {
		fd_close(fd);
		return false;
	}
	bool found = false;
	const struct dirent *entry;
	while (!found && (entry = readdir(files)) != NULL) {
		char path[PATH_MAX];
		ssize_t n = readlinkat(dirfd(files), entry->d_name, path, sizeof path - 1);
		path[n < 0 ? 0 : n] = '\0';
		found = n > 0 && h->is_it(h->ctx, path);
	}
	closedir(files);
	return found;
}

static void wake_holder(void *ctx, int dir, pid_t pid)
{
	struct holders *h = ctx;
	pid_t parent;
	char state;
	if (read_stat(dir, &parent, &state) < 0 || state != 'T' || !has_it_open(h, dir))
		return;
	send_signal(dir, pid, SIGCONT);
	h->n++;
}

int proc_wake_holders(bool (*is_it)(void *ctx, const char *path), void *ctx)
{
	struct holders h = {.is_it = is_it, .ctx = ctx};
	int r = each_process(wake_holder, &h);
	return r < 0 ? r : h.n;
}
