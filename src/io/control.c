#include "io/control_private.h"

#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

enum { EVENTS_AT_ONCE = 64 };

static int open_all(struct control *c)
{
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (c->epoll < 0)
		return -errno;
	c->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (c->wake < 0)
		return -errno;
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = EVENT_WAKE};
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->wake, &event) < 0)
		return -errno;
	int r = socket_listen(c->path, &c->listener, &c->made);
	return r < 0 ? r : listener_watch(c);
}

int control_new(const char *path, struct control **ret)
{
	struct control *c = calloc(1, sizeof *c);
	if (c == NULL)
		return -ENOMEM;
	c->epoll = c->listener = c->wake = c->spare = -1;
	c->uid = geteuid();
	c->path = strdup(path);
	int r = c->path == NULL ? -ENOMEM : open_all(c);
	if (r < 0) {
		control_free(c);
		return r;
	}
	accept_open_spare(c);
	*ret = c;
	return 0;
}

int control_renew(struct control *c, uint64_t now_steady_ms)
{
	int before = c->listener, fd = -1;
	int r = socket_listen(c->path, &fd, &c->made);
	if (r < 0)
		return r == -EADDRINUSE ? 0 : r;
	/* Those who came before it went. */
	accept_clients(c, now_steady_ms);
	c->listener = fd;
	c->paused = false;
	r = listener_watch(c);
	if (r < 0) {
		socket_remove(c->path, &c->made);
		c->listener = before;
		fd_close(fd);
		return r;
	}
	/* Closed, it leaves epoll as well. */
	fd_close(before);
	return 1;
}

static void forget_request(struct control *c)
{
	json_decref(c->body);
	c->body = NULL;
}

void control_free(struct control *c)
{
	if (c == NULL)
		return;
	struct client *cl, *next;
	DL_FOREACH_SAFE(c->clients, cl, next)
		client_drop(c, cl);
	forget_request(c);
	if (c->listener >= 0)
		socket_remove(c->path, &c->made);
	fd_close(c->listener);
	fd_close(c->spare);
	fd_close(c->wake);
	fd_close(c->epoll);
	free(c->groups);
	free(c->path);
	free(c);
}

int control_fd(const struct control *c)
{
	return c->epoll;
}

bool control_alive(const struct control *c, uint64_t client)
{
	return client_find(c, client) != NULL;
}

bool control_peer_in_group(const struct control_request *request, gid_t group)
{
	if (request->gid == group)
		return true;
	for (size_t i = 0; i < request->group_count; i++)
		if (request->groups[i] == group)
			return true;
	return false;
}

static void on_client(struct control *c, struct client *cl, uint32_t events)
{
	bool keep = (events & (EPOLLERR | EPOLLHUP)) == 0;
	if (keep && (events & EPOLLOUT) != 0)
		keep = client_flush(cl);
	if (keep && (events & EPOLLIN) != 0)
		keep = client_read(cl);
	if (!keep)
		client_drop(c, cl);
}

static void handle_events(struct control *c, uint64_t now_ms)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int n = epoll_wait(c->epoll, events, EVENTS_AT_ONCE, 0);
	for (int i = 0; i < n; i++) {
		if (events[i].data.u64 == EVENT_LISTENER) {
			accept_clients(c, now_ms);
		} else if (events[i].data.u64 == EVENT_WAKE) {
			eventfd_t count;
			eventfd_read(c->wake, &count);
		} else {
			struct client *cl = client_find(c, events[i].data.u64);
			if (cl != NULL)
				on_client(c, cl, events[i].events);
		}
	}
}

static bool is_overdue(const struct client *cl, uint64_t now_ms)
{
	bool owes_us = buffer_size(&cl->out) > 0 || (!cl->busy && buffer_size(&cl->in) > 0);
	return owes_us && now_ms - cl->since_ms >= CONTROL_IDLE_MS;
}

static void drop_overdue(struct control *c, uint64_t now_ms)
{
	struct client *cl, *next;
	DL_FOREACH_SAFE(c->clients, cl, next) {
		if (cl->stirred) {
			cl->since_ms = now_ms;
			cl->stirred = false;
		} else if (is_overdue(cl, now_ms)) {
			client_drop(c, cl);
		}
	}
}

static bool is_finished(const struct client *cl)
{
	return cl->closing && buffer_size(&cl->out) == 0;
}

/* Errors leave the list empty: fewer rights, never more. */
static size_t read_groups(struct control *c, int fd)
{
	for (;;) {
		socklen_t size = (socklen_t)(c->groups_room * sizeof *c->groups);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, c->groups, &size) == 0)
			return size / sizeof *c->groups;
		size_t needed = size / sizeof *c->groups;
		if (errno != ERANGE || needed <= c->groups_room)
			return 0;
		gid_t *groups = realloc(c->groups, size);
		if (groups == NULL)
			return 0;
		c->groups = groups;
		c->groups_room = needed;
	}
}

static void hand_over(struct control *c, struct client *cl, json_t *body,
                      struct control_request *ret)
{
	cl->busy = true;
	client_update(c, cl);
	DL_DELETE(c->clients, cl);
	DL_APPEND(c->clients, cl);
	c->body = body;
	size_t group_count = read_groups(c, cl->fd);
	*ret = (struct control_request){
		.client = cl->id,
		.uid = cl->peer.uid,
		.gid = cl->peer.gid,
		.pid = cl->peer.pid,
		.body = body,
		.groups = c->groups,
		.group_count = group_count,
	};
	/* Others may have whole lines too, which no event will announce. */
	eventfd_write(c->wake, 1);
}

static int take_turns(struct control *c, struct control_request *ret)
{
	struct client *cl, *next;
	DL_FOREACH_SAFE(c->clients, cl, next) {
		json_t *body = line_next(c, cl);
		bool is_blocked = (cl->events & EPOLLOUT) != 0;
		if ((!is_blocked && !client_flush(cl)) || is_finished(cl)) {
			client_drop(c, cl);
			json_decref(body);
			continue;
		}
		if (body != NULL) {
			hand_over(c, cl, body, ret);
			return 1;
		}
		client_update(c, cl);
	}
	return 0;
}

int control_next(struct control *c, uint64_t now_steady_ms, struct control_request *ret)
{
	forget_request(c);
	accept_resume(c, now_steady_ms);
	handle_events(c, now_steady_ms);
	drop_overdue(c, now_steady_ms);
	return take_turns(c, ret);
}

void control_answer(struct control *c, uint64_t client, json_t *answer)
{
	struct client *cl = client_find(c, client);
	if (cl == NULL) {
		json_decref(answer);
		return;
	}
	assert(cl->busy);
	cl->busy = false;
	cl->stirred = true;
	answer_put(c, cl, answer);
	if (!client_flush(cl)) {
		client_drop(c, cl);
		return;
	}
	client_update(c, cl);
	/* What it sent meanwhile is buffered: no event will announce it. */
	if (buffer_size(&cl->in) > 0 || cl->eof || cl->closing)
		eventfd_write(c->wake, 1);
}
