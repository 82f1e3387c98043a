#include "io/watch_events.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The kernel wants room for its longest event. */
enum { LONGEST = sizeof(struct inotify_event) + NAME_MAX + 1 };

int watch_events_init(struct watch_events *e, int fd)
{
	*e = (struct watch_events){.fd = fd, .size = WATCH_EVENTS_LEAST};
	e->buffer = malloc(e->size);
	return e->buffer == NULL ? -ENOMEM : 0;
}

void watch_events_clear(struct watch_events *e)
{
	free(e->buffer);
	e->buffer = NULL;
}

bool watch_events_any(const struct watch_events *e)
{
	return e->pos < e->used;
}

uint64_t watch_events_gathered(const struct watch_events *e)
{
	return e->gathered;
}

uint64_t watch_events_taken(const struct watch_events *e)
{
	return e->gathered - (e->used - e->pos);
}

static void resize(struct watch_events *e, size_t size)
{
	char *buffer = realloc(e->buffer, size);
	if (buffer == NULL)
		return;
	e->buffer = buffer;
	e->size = size;
}

/* Is there room for one more? Where memory is short, what is left stays in the kernel. */
static bool make_room(struct watch_events *e)
{
	if (e->pos == e->used) {
		e->pos = e->used = 0;
		if (e->size > WATCH_EVENTS_LEAST)
			resize(e, WATCH_EVENTS_LEAST);
	}
	if (e->pos > 0 && e->size - e->used < LONGEST) {
		memmove(e->buffer, e->buffer + e->pos, e->used - e->pos);
		e->used -= e->pos;
		e->pos = 0;
	}
	if (e->used > e->size / 2 && e->size < WATCH_EVENTS_MOST)
		resize(e, 2 * e->size);
	return e->size - e->used >= LONGEST;
}

int watch_events_gather(struct watch_events *e)
{
	while (make_room(e)) {
		size_t room = e->size - e->used;
		ssize_t n = read(e->fd, e->buffer + e->used, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		e->used += (size_t)n;
		e->gathered += (uint64_t)n;
		/* It had no more. */
		if (room - (size_t)n >= LONGEST)
			return 0;
	}
	return 0;
}

const struct inotify_event *watch_events_take(struct watch_events *e)
{
	/* They are multiples of its alignment, and malloc() aligns the first. */
	const void *at = e->buffer + e->pos;
	const struct inotify_event *event = at;
	e->pos += sizeof *event + event->len;
	return event;
}
