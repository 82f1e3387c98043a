#include "io/control_private.h"

#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <utlist.h>

enum {
	READ_SIZE = 16 * 1024,
	/* A fast reader of a large answer must not keep us at it. */
	SEND_SIZE = 256 * 1024,
};

struct client *client_find(const struct control *c, uint64_t id)
{
	struct client *cl;
	DL_FOREACH(c->clients, cl)
		if (cl->id == id)
			return cl;
	return NULL;
}

bool client_is_privileged(const struct control *c, uid_t uid)
{
	return uid == 0 || uid == c->uid;
}

int client_add(struct control *c, int fd, const struct ucred *peer)
{
	struct client *cl = calloc(1, sizeof *cl);
	if (cl == NULL) {
		fd_close(fd);
		return -ENOMEM;
	}
	cl->id = c->last_id + 1;
	cl->fd = fd;
	cl->peer = *peer;
	cl->privileged = client_is_privileged(c, peer->uid);
	cl->stirred = true;
	cl->events = EPOLLIN;
	struct epoll_event event = {.events = cl->events, .data.u64 = cl->id};
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		int r = -errno;
		fd_close(fd);
		free(cl);
		return r;
	}
	c->last_id++;
	DL_APPEND(c->clients, cl);
	return 0;
}

void client_drop(struct control *c, struct client *cl)
{
	DL_DELETE(c->clients, cl);
	fd_close(cl->fd);
	buffer_clear(&cl->in);
	buffer_clear(&cl->out);
	free(cl);
}

bool client_read(struct client *cl)
{
	size_t have = buffer_size(&cl->in);
	size_t wanted = CONTROL_LINE_MAX + 1 - have;
	if (wanted > READ_SIZE)
		wanted = READ_SIZE;
	if (buffer_reserve(&cl->in, wanted) < 0)
		return false;
	ssize_t n = recv(cl->fd, cl->in.data + cl->in.end, wanted, 0);
	if (n < 0) {
		if (have == 0)
			buffer_clear(&cl->in);
		return errno == EAGAIN || errno == EINTR;
	}
	cl->in.end += (size_t)n;
	if (n == 0)
		cl->eof = true;
	else if (have == 0)
		cl->stirred = true;
	if (buffer_size(&cl->in) == 0)
		buffer_clear(&cl->in);
	return true;
}

bool client_flush(struct client *cl)
{
	size_t size = buffer_size(&cl->out);
	if (size == 0)
		return true;
	size_t piece = size < SEND_SIZE ? size : SEND_SIZE;
	ssize_t n = send(cl->fd, cl->out.data + cl->out.pos, piece, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n > 0)
		cl->stirred = true;
	buffer_consume(&cl->out, (size_t)n);
	return true;
}

bool client_has_line(struct client *cl)
{
	size_t size = buffer_size(&cl->in);
	if (cl->searched == size)
		return false;
	const char *start = cl->in.data + cl->in.pos;
	const char *newline = memchr(start + cl->searched, '\n', size - cl->searched);
	cl->searched = newline == NULL ? size : (size_t)(newline - start);
	return newline != NULL;
}

bool client_is_heard(const struct client *cl)
{
	return !cl->busy && !cl->closing && buffer_size(&cl->out) <= CONTROL_OUT_MAX;
}

bool client_is_idle(const struct client *cl)
{
	return !cl->busy && !cl->closing && buffer_size(&cl->in) == 0 && buffer_size(&cl->out) == 0;
}

void client_update(struct control *c, struct client *cl)
{
	uint32_t events = 0;
	if (client_is_heard(cl) && !cl->eof && !client_has_line(cl))
		events |= EPOLLIN;
	if (buffer_size(&cl->out) > 0)
		events |= EPOLLOUT;
	if (events == cl->events)
		return;
	struct epoll_event event = {.events = events, .data.u64 = cl->id};
	if (epoll_ctl(c->epoll, EPOLL_CTL_MOD, cl->fd, &event) == 0)
		cl->events = events;
}
