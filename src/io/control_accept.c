#include "io/control_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utlist.h>

enum {
	ACCEPTS_AT_ONCE = 64,
	PAUSE_MS = 1000,
};

int listener_watch(struct control *c)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = EVENT_LISTENER};
	return epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->listener, &event) < 0 ? -errno : 0;
}

void accept_open_spare(struct control *c)
{
	if (c->spare < 0)
		c->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void pause_listener(struct control *c, uint64_t now_ms)
{
	epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->listener, NULL);
	c->paused = true;
	c->paused_ms = now_ms;
}

void accept_resume(struct control *c, uint64_t now_ms)
{
	if (!c->paused || now_ms - c->paused_ms < PAUSE_MS)
		return;
	accept_open_spare(c);
	c->paused = listener_watch(c) < 0;
	c->paused_ms = now_ms;
}

struct census {
	size_t all, unprivileged, same_uid;
};

static struct census count(const struct control *c, uid_t uid)
{
	struct census n = {0};
	struct client *cl;
	DL_FOREACH(c->clients, cl) {
		n.all++;
		n.unprivileged += !cl->privileged;
		n.same_uid += cl->peer.uid == uid;
	}
	return n;
}

/* The one that was idle longest, among those that may make room for `uid`. */
static struct client *find_evictable(const struct control *c, uid_t uid, bool only_own,
                                     uint64_t now_ms)
{
	bool privileged = client_is_privileged(c, uid);
	struct client *best = NULL, *cl;
	DL_FOREACH(c->clients, cl) {
		if (only_own ? cl->peer.uid != uid : cl->privileged && !privileged)
			continue;
		if (cl->stirred || !client_is_idle(cl) || now_ms - cl->since_ms < CONTROL_EVICT_MS)
			continue;
		if (best == NULL || cl->since_ms < best->since_ms)
			best = cl;
	}
	return best;
}

static bool make_room(struct control *c, uid_t uid, uint64_t now_ms)
{
	struct census n = count(c, uid);
	bool privileged = client_is_privileged(c, uid);
	bool too_many_own = !privileged && n.same_uid >= CONTROL_CLIENTS_PER_UID;
	bool full = n.all >= CONTROL_CLIENTS_MAX ||
	            (!privileged && n.unprivileged >= CONTROL_CLIENTS_MAX - CONTROL_RESERVED);
	if (!too_many_own && !full)
		return true;
	struct client *idle = find_evictable(c, uid, too_many_own, now_ms);
	if (idle == NULL)
		return false;
	client_drop(c, idle);
	return true;
}

static void admit(struct control *c, int fd, uint64_t now_ms)
{
	struct ucred peer;
	socklen_t size = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		fd_close(fd);
	else if (!make_room(c, peer.uid, now_ms))
		answer_refuse(fd);
	else
		client_add(c, fd, &peer);
}

static int accept_one(const struct control *c)
{
	/* cppcheck-suppress nullPointer ; as accept, which it knows, accept4 needs no address */
	int fd = accept4(c->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Out of descriptors: the spare one serves to tell a client so, else it would
 * wait and the listener wake us for ever. 0, or a negative errno. */
static int refuse_one(struct control *c)
{
	if (c->spare < 0)
		return -EMFILE;
	c->spare = fd_close(c->spare);
	int fd = accept_one(c);
	if (fd >= 0)
		answer_refuse(fd);
	accept_open_spare(c);
	return fd < 0 ? fd : 0;
}

void accept_clients(struct control *c, uint64_t now_ms)
{
	for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
		int fd = accept_one(c);
		if (fd >= 0) {
			admit(c, fd, now_ms);
			continue;
		}
		int r = fd == -EMFILE || fd == -ENFILE ? refuse_one(c) : fd;
		if (r == -EAGAIN)
			return;
		if (r == 0 || r == -EINTR || r == -ECONNABORTED)
			continue;
		pause_listener(c, now_ms);
		return;
	}
}
