#include "io/control_private.h"

#include "base/fd.h"

#include <string.h>
#include <utlist.h>

/* Unread answers of all unprivileged clients together. */
#define UNREAD_MAX ((size_t)2 * CONTROL_OUT_HARD_MAX)

static const char too_many[] =
	"{\"ok\":false,\"error\":\"too many clients, try again later\",\"exit\":1}\n";
static const char too_large[] =
	"{\"ok\":false,\"error\":\"the answer is too large, or too many answers wait to be read: "
	"ask for less, or try again later\",\"exit\":1}\n";

struct sink {
	struct buffer *buffer;
	size_t left; /* bytes the answer may still take */
};

static int append(const char *data, size_t size, void *arg)
{
	struct sink *sink = arg;
	if (size > sink->left || buffer_reserve(sink->buffer, size) < 0)
		return -1;
	memcpy(sink->buffer->data + sink->buffer->end, data, size);
	sink->buffer->end += size;
	sink->left -= size;
	return 0;
}

static size_t rest(size_t limit, size_t used)
{
	return used < limit ? limit - used : 0;
}

/* How large its answer may be, so that nobody fills the memory with answers
 * that are not read. */
static size_t allowance(const struct control *c, const struct client *cl)
{
	if (cl->privileged)
		return CONTROL_OUT_HARD_MAX;
	size_t same_uid = 0, all = 0;
	struct client *other;
	DL_FOREACH(c->clients, other) {
		size_t unread = other->privileged ? 0 : buffer_size(&other->out);
		all += unread;
		same_uid += other->peer.uid == cl->peer.uid ? unread : 0;
	}
	size_t own = rest(CONTROL_OUT_HARD_MAX, same_uid), shared = rest(UNREAD_MAX, all);
	return own < shared ? own : shared;
}

void answer_put(struct control *c, struct client *cl, json_t *answer)
{
	size_t before = buffer_size(&cl->out);
	struct sink sink = {&cl->out, allowance(c, cl)};
	if (answer == NULL || json_dump_callback(answer, append, &sink, JSON_COMPACT | JSON_REAL_PRECISION(15)) < 0 ||
	    append("\n", 1, &sink) < 0) {
		cl->out.end = cl->out.pos + before;
		if (before == 0)
			buffer_clear(&cl->out);
		sink.left = sizeof too_large;
		/* Without an answer the order would be lost: then rather end. */
		if (append(too_large, sizeof too_large - 1, &sink) < 0)
			cl->closing = true;
	}
	json_decref(answer);
}

json_t *answer_error(const char *message, int exit_code)
{
	return json_pack("{s:b, s:s, s:i}", "ok", 0, "error", message, "exit", exit_code);
}

void answer_refuse(int fd)
{
	ssize_t n = send(fd, too_many, sizeof too_many - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)n;
	fd_close(fd);
}
