/* The parts of the control room: the socket, its clients, what they buffer. */
#pragma once

#include "io/control.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Bytes at data[pos..end). */
struct buffer {
	char *data;
	size_t pos, end, room;
};

/* Room for `more` bytes at the end; -ENOMEM. */
int buffer_reserve(struct buffer *b, size_t more);
size_t buffer_size(const struct buffer *b);
/* Takes `n` bytes from the front; an empty buffer gives its memory back. */
void buffer_consume(struct buffer *b, size_t n);
void buffer_clear(struct buffer *b);

struct client {
	uint64_t id;
	int fd;
	struct ucred peer;
	bool privileged;   /* root, or the daemon's own user: has reserved places */
	bool busy;         /* its request is with the caller */
	bool eof;          /* it will send no more */
	bool closing;      /* to be dropped as soon as its answers are read */
	bool stirred;      /* set since_ms to the time of the next look */
	uint32_t events;   /* what epoll waits for */
	uint64_t since_ms; /* steady clock: begin of the line, or the last time something was done */
	struct buffer in;
	size_t searched;   /* bytes of `in` without a newline */
	struct buffer out;
	struct client *prev, *next; /* in the order of their turns */
};

struct control {
	int epoll;
	int listener;
	int spare;         /* given up for a moment to refuse a client when descriptors run out */
	int wake;          /* eventfd: a client has a whole line that no event will announce */
	char *path;
	struct stat made;  /* the socket as we made it */
	uid_t uid;
	struct client *clients;
	uint64_t last_id;
	bool paused;         /* the listener, after an error */
	uint64_t paused_ms;
	json_t *body;        /* of the request at hand */
	gid_t *groups;       /* of its peer */
	size_t groups_room;
};

/* control_socket.c */
int socket_listen(const char *path, int *ret_fd, struct stat *ret_made);
void socket_remove(const char *path, const struct stat *made);

/* control_accept.c */
int listener_watch(struct control *c);
void accept_open_spare(struct control *c);
/* Takes those who wait, up to a bound, or refuses them. */
void accept_clients(struct control *c, uint64_t now_ms);
/* Listens again after a pause, when it is time. */
void accept_resume(struct control *c, uint64_t now_ms);

/* control_client.c */
#define EVENT_LISTENER UINT64_C(0) /* what epoll reports; clients have their ids */
#define EVENT_WAKE UINT64_MAX

struct client *client_find(const struct control *c, uint64_t id);
/* Takes `fd` over; -ENOMEM and the like: it is closed. */
int client_add(struct control *c, int fd, const struct ucred *peer);
void client_drop(struct control *c, struct client *cl);
/* Both: false where the connection is broken and the client to be dropped. */
bool client_read(struct client *cl);
bool client_flush(struct client *cl);
/* Is a whole line there? Then it is `searched` bytes long. */
bool client_has_line(struct client *cl);
/* May its next request be read? */
bool client_is_heard(const struct client *cl);
bool client_is_privileged(const struct control *c, uid_t uid);
/* Is nothing of it, or for it, under way? */
bool client_is_idle(const struct client *cl);
/* Waits at epoll for what the client is ready for. */
void client_update(struct control *c, struct client *cl);

/* control_line.c: the client's next request (a new reference), or NULL. Lines
 * that are none are answered. */
json_t *line_next(struct control *c, struct client *cl);

/* control_answer.c: lines to a client. */
/* Steals the reference; NULL stands for one that memory had no room for. */
void answer_put(struct control *c, struct client *cl, json_t *answer);
/* {"ok": false, "error": message, "exit": exit_code}; `message` is UTF-8. */
json_t *answer_error(const char *message, int exit_code);
/* Tells a connection that it cannot be served, as far as that goes, and closes it. */
void answer_refuse(int fd);
