#include "io/mounts.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long the list is taken to be what it was. */
enum { LIST_MS = 50 };
enum { GOODBYE_MS = 1000 };
/* One server may have many mounts: when one of them was waited for in vain, others
 * are for a shorter time. */
enum { NEXT_PATIENCE_MS = 100 };

struct mount {
	struct mount *next;
	uint64_t id;
	char *path;
	bool network;
	bool there;           /* in the list that is being read */
	int sock;             /* to the process that asks it, or -1 */
	bool asked;           /* and no answer yet */
	uint64_t asked_ms;    /* steady */
	uint64_t answered_ms; /* steady, when it did last; 0 = never */
};

struct mounts {
	int list;             /* /proc/self/mountinfo: POLLPRI when it changed */
	uint64_t looked_ms;   /* steady */
	uint64_t patience_ms;
	uint64_t in_vain_ms;  /* steady, when one was waited for and did not answer; 0 = never */
	struct mount *mounts; /* all of them, the later mounted ones first */
	unsigned network_n;
	bool warned;          /* that one cannot be asked: said once */
};

/* After fork() in a program with threads: nothing but system calls. It holds no
 * file of ours, so that it keeps no lock and no disk when it cannot end. */
__attribute__((noreturn)) static void serve(int sock, const char *path)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_NAME, "spoold-asks");
	if (dup2(sock, 0) < 0 || close_range(1, ~0U, 0) < 0 || chdir("/") < 0)
		_exit(1);
	char byte;
	while (read(0, &byte, 1) == 1) {
		struct statfs fs;
		statfs(path, &fs);
		uint64_t now_ms = clock_steady_ms();
		if (write(0, &now_ms, sizeof now_ms) != sizeof now_ms)
			break;
	}
	_exit(0);
}

/* As a child of init, which reaps it whenever its mount lets it go. */
static pid_t fork_off(void)
{
	pid_t pid = fork();
	if (pid == 0 && fork() != 0)
		_exit(0);
	return pid;
}

static int start(struct mount *m)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid_t pid = fork_off();
	if (pid == 0)
		serve(pair[1], m->path);
	int r = pid < 0 ? -errno : fd_set_nonblock(pair[0], true);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	fd_close(pair[1]);
	if (r < 0) {
		fd_close(pair[0]);
		return r;
	}
	m->sock = pair[0];
	return 0;
}

static bool is_readable(int fd, short events, uint64_t wait_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};
	return poll(&poll_fd, 1, wait_ms > INT_MAX ? INT_MAX : (int)wait_ms) > 0;
}

/* It ends when it sees that; one that waits for its mount, when that answers. */
static void dismiss(struct mount *m)
{
	if (m->sock >= 0 && !m->asked) {
		shutdown(m->sock, SHUT_WR);
		is_readable(m->sock, POLLIN, GOODBYE_MS);
	}
	m->sock = fd_close(m->sock);
	m->asked = false;
}

static void mount_free(struct mount *m)
{
	dismiss(m);
	free(m->path);
	free(m);
}

static int note_mount(void *ctx, const struct mountinfo *info)
{
	struct mounts *all = ctx;
	for (struct mount *m = all->mounts; m != NULL; m = m->next) {
		if (m->id == info->id && m->network == info->network &&
		    strcmp(m->path, info->path) == 0) {
			m->there = true;
			return 0;
		}
	}
	struct mount *m = calloc(1, sizeof *m);
	char *path = m == NULL ? NULL : strdup(info->path);
	if (path == NULL) {
		free(m);
		return -ENOMEM;
	}
	*m = (struct mount){.next = all->mounts, .id = info->id, .path = path, .sock = -1,
	                    .network = info->network, .there = true};
	all->mounts = m;
	return 0;
}

static void forget_gone(struct mounts *all)
{
	all->network_n = 0;
	for (struct mount **at = &all->mounts; *at != NULL;) {
		struct mount *m = *at;
		if (!m->there) {
			*at = m->next;
			mount_free(m);
			continue;
		}
		all->network_n += m->network;
		m->there = false;
		at = &m->next;
	}
}

static void read_list(struct mounts *all)
{
	/* Where it cannot be read, what was known holds on. */
	if (mountinfo_each(note_mount, all) == 0)
		forget_gone(all);
}

static void look_at_list(struct mounts *all, uint64_t now_ms)
{
	if (now_ms < all->looked_ms + LIST_MS)
		return;
	all->looked_ms = now_ms;
	if (is_readable(all->list, POLLPRI, 0))
		read_list(all);
}

/* The one that the path is on: the later one of two at the same place. */
static struct mount *find(const struct mounts *all, const char *path)
{
	struct mount *nearest = NULL;
	size_t nearest_n = 0;
	for (struct mount *m = all->mounts; m != NULL; m = m->next) {
		size_t n = strlen(m->path);
		if ((nearest == NULL || n > nearest_n) && mountinfo_is_below(path, m->path)) {
			nearest = m;
			nearest_n = n;
		}
	}
	return nearest;
}

static void read_answer(struct mount *m)
{
	uint64_t answered_ms;
	ssize_t n = m->sock < 0 ? -1 : recv(m->sock, &answered_ms, sizeof answered_ms, 0);
	if (n == sizeof answered_ms) {
		m->asked = false;
		m->answered_ms = answered_ms;
	} else if (n == 0) {
		/* Somebody ended it. */
		dismiss(m);
	}
}

static int send_question(struct mount *m, uint64_t now_ms)
{
	int r = m->sock < 0 ? start(m) : 0;
	if (r < 0)
		return r;
	if (send(m->sock, "?", 1, MSG_NOSIGNAL) < 0) {
		r = -errno;
		dismiss(m);
		return r;
	}
	m->asked = true;
	m->asked_ms = now_ms;
	return 0;
}

static bool is_fresh(const struct mount *m, uint64_t now_ms, uint64_t for_ms)
{
	return m->answered_ms != 0 && now_ms <= m->answered_ms + for_ms;
}

static int no_question(struct mounts *all, const struct mount *m, int error)
{
	if (!all->warned)
		log_warning("whether the mount %s answers cannot be asked: %s", m->path, strerror(-error));
	all->warned = true;
	return 0;
}

/* Until when it is waited for. */
static uint64_t patient_until_ms(const struct mounts *all, const struct mount *m, uint64_t now_ms)
{
	uint64_t until_ms = m->asked_ms + all->patience_ms;
	bool next = all->in_vain_ms != 0 && now_ms < all->in_vain_ms + all->patience_ms;
	return next && until_ms > now_ms + NEXT_PATIENCE_MS ? now_ms + NEXT_PATIENCE_MS : until_ms;
}

static int ask(struct mounts *all, struct mount *m, bool wait)
{
	uint64_t now_ms = clock_steady_ms();
	read_answer(m);
	/* Asked again before the answer is old, so that nobody has to wait for it. */
	if (!m->asked && !is_fresh(m, now_ms, MOUNTS_FRESH_MS / 2)) {
		int r = send_question(m, now_ms);
		if (r < 0)
			return no_question(all, m, r);
	}
	uint64_t until_ms = patient_until_ms(all, m, now_ms);
	bool waited = false;
	for (;;) {
		if (is_fresh(m, now_ms, MOUNTS_FRESH_MS) || !m->asked)
			return 0;
		if (!wait && now_ms < m->asked_ms + all->patience_ms)
			return -EAGAIN;
		if (now_ms >= until_ms || !wait) {
			all->in_vain_ms = waited ? now_ms : all->in_vain_ms;
			return -ETIMEDOUT;
		}
		waited = is_readable(m->sock, POLLIN, until_ms - now_ms) == 0;
		read_answer(m);
		now_ms = clock_steady_ms();
	}
}

int mounts_ask(void *mounts, const char *root, const char *user, bool wait)
{
	struct mounts *all = mounts;
	char path[PATH_MAX];
	if (all == NULL)
		return 0;
	look_at_list(all, clock_steady_ms());
	if (all->network_n == 0)
		return 0;
	int n = user == NULL ? snprintf(path, sizeof path, "%s", root)
	                     : snprintf(path, sizeof path, "%s/%s", root, user);
	struct mount *m = n < 0 || (size_t)n >= sizeof path ? NULL : find(all, path);
	return m == NULL || !m->network ? 0 : ask(all, m, wait);
}

int mounts_new(uint64_t patience_ms, struct mounts **ret)
{
	struct mounts *all = calloc(1, sizeof *all);
	if (all == NULL)
		return -ENOMEM;
	all->patience_ms = patience_ms;
	all->list = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (all->list < 0) {
		int r = -errno;
		free(all);
		return r;
	}
	read_list(all);
	*ret = all;
	return 0;
}

void mounts_free(struct mounts *all)
{
	if (all == NULL)
		return;
	while (all->mounts != NULL) {
		struct mount *m = all->mounts;
		all->mounts = m->next;
		mount_free(m);
	}
	fd_close(all->list);
	free(all);
}

void mounts_set_patience(struct mounts *all, uint64_t patience_ms)
{
	all->patience_ms = patience_ms;
}
