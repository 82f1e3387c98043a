/* Numbers and runs of bytes, one after the other, in a buffer of the caller's. Numbers
 * are little-endian, of 0 to 8 bytes. What goes wrong stays: it is asked for once, at
 * the end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes_out {
	unsigned char *at;
	size_t left, used;
	bool full; /* something did not fit, and is not there */
};

void bytes_put(struct bytes_out *out, const void *data, size_t size);
void bytes_put_number(struct bytes_out *out, uint64_t value, size_t width);

/* The first of all that was put. */
const unsigned char *bytes_start(const struct bytes_out *out);

/* The number of bytes that a number needs: 0 for 0. */
size_t bytes_width(uint64_t value);

struct bytes_in {
	const unsigned char *at;
	size_t left;
	int error; /* the first one: -EBADMSG, -ENOMEM; nothing is left then */
};

void bytes_fail(struct bytes_in *in, int error);
/* NULL, where there are not so many. */
const void *bytes_get(struct bytes_in *in, size_t size);
uint64_t bytes_get_number(struct bytes_in *in, size_t width);
/* The next `size` bytes, a text of the caller's to free. NULL: -EBADMSG (one of them
 * is none of a text), -ENOMEM. */
char *bytes_get_text(struct bytes_in *in, size_t size);
