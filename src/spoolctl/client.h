/* The daemon's socket, the client's side: one request, one answer. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct client;

/* Connects. -ENOENT, -ECONNREFUSED: nobody listens; -EACCES; -ENAMETOOLONG. */
int client_open(const char *path, struct client **ret);
void client_free(struct client *client);

/* A descriptor that ends a wait as soon as it is readable (-1: none). */
void client_set_wake(struct client *client, int fd);

/* Sends `request` and waits for its answer: until nothing came for
 * `timeout_ms` (-1: no limit). *ret is an object, to be released. -ETIMEDOUT,
 * -ECONNRESET where the daemon went away, -EINTR by the wake descriptor,
 * -EBADMSG where the answer is no JSON object, -ENOMEM. After a failure the
 * client is of no more use. */
int client_call(struct client *client, const json_t *request, int timeout_ms, json_t **ret);
