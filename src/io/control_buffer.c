#include "io/control_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 4096 };

size_t buffer_size(const struct buffer *b)
{
	return b->end - b->pos;
}

int buffer_reserve(struct buffer *b, size_t more)
{
	if (b->room - b->end >= more)
		return 0;
	/* Moving pays where at least half of it was taken; else large answers
	 * would be moved for each piece that is read. */
	if (b->pos > 0 && b->pos >= buffer_size(b)) {
		memmove(b->data, b->data + b->pos, buffer_size(b));
		b->end -= b->pos;
		b->pos = 0;
	}
	size_t room = b->room < SMALLEST ? SMALLEST : b->room;
	while (room - b->end < more)
		room *= 2;
	if (room == b->room)
		return 0;
	char *data = realloc(b->data, room);
	if (data == NULL)
		return -ENOMEM;
	b->data = data;
	b->room = room;
	return 0;
}

void buffer_consume(struct buffer *b, size_t n)
{
	b->pos += n;
	if (b->pos == b->end)
		buffer_clear(b);
}

void buffer_clear(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){0};
}
