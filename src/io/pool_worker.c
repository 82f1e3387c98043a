#include "io/pool_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORKER_SOCKET = 3 };

static int plan_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	int r = posix_spawnattr_init(attributes);
	if (r != 0)
		return r;
	posix_spawnattr_setsigmask(attributes, &none);
	posix_spawnattr_setsigdefault(attributes, &all);
	/* A session of its own: no terminal's Ctrl-C reaches it. */
	r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
	                                         POSIX_SPAWN_SETSIGDEF);
	if (r != 0)
		posix_spawnattr_destroy(attributes);
	return r;
}

static int plan_descriptors(posix_spawn_file_actions_t *actions, int sock)
{
	int r = posix_spawn_file_actions_init(actions);
	if (r != 0)
		return r;
	r = posix_spawn_file_actions_adddup2(actions, sock, WORKER_SOCKET);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(actions, WORKER_SOCKET + 1);
	if (r != 0)
		posix_spawn_file_actions_destroy(actions);
	return r;
}

static int spawn(const char *path, int sock, pid_t *ret_pid)
{
	char name[] = "spool-worker", number[] = "3";
	char *argv[] = {name, number, NULL};
	posix_spawnattr_t attributes;
	posix_spawn_file_actions_t actions;
	int r = plan_attributes(&attributes);
	if (r != 0)
		return -r;
	r = plan_descriptors(&actions, sock);
	if (r == 0) {
		r = posix_spawn(ret_pid, path, &actions, &attributes, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	posix_spawnattr_destroy(&attributes);
	return -r;
}

int pool_worker_start(struct pool *p, struct worker **ret)
{
	int ends[2] = {-1, -1};
	struct worker *w = calloc(1, sizeof *w);
	if (w == NULL)
		return -ENOMEM;
	w->sock = -1;
	struct epoll_event event = {.events = EPOLLIN};
	int r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
	if (r == 0) {
		w->sock = event.data.fd = ends[0];
		r = fd_set_nonblock(w->sock, true);
	}
	if (r == 0 && epoll_ctl(p->epoll, EPOLL_CTL_ADD, w->sock, &event) < 0)
		r = -errno;
	if (r == 0)
		r = spawn(p->path, ends[1], &w->pid);
	fd_close(ends[1]);
	if (r < 0)
		goto fail;
	w->next = p->workers;
	p->workers = w;
	*ret = w;
	return 0;
fail:
	fd_close(w->sock);
	free(w);
	return r;
}

int pool_worker_send(struct worker *w, const struct message *message, const int *fds, size_t n)
{
	char *data;
	size_t size;
	int r = message_encode(message, &data, &size);
	if (r < 0)
		return r;
	r = fd_send(w->sock, data, size, fds, n);
	free(data);
	return r;
}

void pool_worker_kill(struct pool *p, struct worker *w)
{
	w->owes = pool_task_first(w) != NULL;
	w->state = w->reaped ? WORKER_DEAD : WORKER_DYING;
	w->sock = fd_close(w->sock);
	/* A child that is not reaped keeps its number. */
	if (!w->reaped)
		kill(w->pid, SIGKILL);
	pool_sweep_begin(p);
}

void pool_worker_remove(struct pool *p, struct worker *w)
{
	struct worker **at = &p->workers;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	fd_close(w->sock);
	while (w->tasks != NULL)
		pool_task_remove(w, w->tasks->job);
	free(w->handler);
	free(w->user);
	free(w);
}
