#include "spoolctl/client.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_ROOM = 16 * 1024 };

struct client {
	int fd, wake_fd;
	char *data;          /* what came, beyond the answers already given */
	size_t used, room;
};

int client_open(const char *path, struct client **ret)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	struct client *client = calloc(1, sizeof *client);
	if (client == NULL)
		return -ENOMEM;
	int r = 0;
	client->wake_fd = -1;
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0)
		r = -errno;
	if (r == 0)
		r = fd_set_nonblock(client->fd, true);
	if (r < 0)
		client_free(client);
	else
		*ret = client;
	return r;
}

void client_free(struct client *client)
{
	if (client == NULL)
		return;
	fd_close(client->fd);
	free(client->data);
	free(client);
}

void client_set_wake(struct client *client, int fd)
{
	client->wake_fd = fd;
}

/* Waits until the socket is ready: 0, -ETIMEDOUT or -EINTR. */
static int wait_for(const struct client *client, short events, int timeout_ms)
{
	struct pollfd fds[] = {
		{.fd = client->fd, .events = events},
		{.fd = client->wake_fd, .events = POLLIN},
	};
	uint64_t end_ms = clock_steady_ms() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms);
	for (;;) {
		uint64_t now_ms = clock_steady_ms();
		int left_ms = timeout_ms < 0 ? -1 : now_ms >= end_ms ? 0 : (int)(end_ms - now_ms);
		int n = poll(fds, 2, left_ms);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && fds[1].revents != 0)
			return -EINTR;
		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
	}
}

static int send_all(struct client *client, const char *data, size_t size, int timeout_ms)
{
	while (size > 0) {
		ssize_t n = send(client->fd, data, size, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			int r = wait_for(client, POLLOUT, timeout_ms);
			if (r < 0)
				return r;
			continue;
		}
		/* A daemon that turns a client away may have said why: read that. */
		if (n < 0 && errno == EPIPE)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

static int make_room(struct client *client)
{
	if (client->room - client->used > 1)
		return 0;
	size_t room = client->room == 0 ? FIRST_ROOM : 2 * client->room;
	char *data = realloc(client->data, room);
	if (data == NULL)
		return -ENOMEM;
	client->data = data;
	client->room = room;
	return 0;
}

/* Reads up to the end of a line; *ret_size is its length without newline. */
static int read_line(struct client *client, int timeout_ms, size_t *ret_size)
{
	size_t searched = 0;
	for (;;) {
		const char *end = client->used == searched
		                      ? NULL
		                      : memchr(client->data + searched, '\n', client->used - searched);
		if (end != NULL) {
			*ret_size = (size_t)(end - client->data);
			return 0;
		}
		searched = client->used;
		int r = make_room(client);
		if (r < 0)
			return r;
		ssize_t n = read(client->fd, client->data + client->used, client->room - client->used);
		if (n == 0)
			return -ECONNRESET;
		if (n > 0)
			client->used += (size_t)n;
		else if (errno == EAGAIN)
			r = wait_for(client, POLLIN, timeout_ms);
		else if (errno != EINTR)
			r = -errno;
		if (r < 0)
			return r;
	}
}

int client_call(struct client *client, const json_t *request, int timeout_ms, json_t **ret)
{
	char *line = json_dumps(request, JSON_COMPACT);
	size_t size = 0;
	if (line == NULL)
		return -ENOMEM;
	int r = send_all(client, line, strlen(line), timeout_ms);
	if (r == 0)
		r = send_all(client, "\n", 1, timeout_ms);
	free(line);
	if (r == 0)
		r = read_line(client, timeout_ms, &size);
	if (r < 0)
		return r;
	json_t *answer = json_loadb(client->data, size, JSON_ALLOW_NUL, NULL);
	client->used -= size + 1;
	memmove(client->data, client->data + size + 1, client->used);
	if (!json_is_object(answer)) {
		json_decref(answer);
		return -EBADMSG;
	}
	*ret = answer;
	return 0;
}
