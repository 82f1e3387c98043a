#include "base/bytes.h"

#include <errno.h>
#include <string.h>

void bytes_put(struct bytes_out *out, const void *data, size_t size)
{
	if (out->full || size > out->left) {
		out->full = true;
		return;
	}
	if (size > 0)
		memcpy(out->at, data, size);
	out->at += size;
	out->left -= size;
	out->used += size;
}

void bytes_put_number(struct bytes_out *out, uint64_t value, size_t width)
{
	unsigned char bytes[sizeof value];
	for (size_t i = 0; i < width; i++)
		bytes[i] = (unsigned char)(value >> (8 * i));
	bytes_put(out, bytes, width);
}

const unsigned char *bytes_start(const struct bytes_out *out)
{
	return out->at - out->used;
}

size_t bytes_width(uint64_t value)
{
	size_t width = 0;
	for (; value > 0; value >>= 8)
		width++;
	return width;
}

void bytes_fail(struct bytes_in *in, int error)
{
	if (in->error == 0)
		in->error = error;
	in->left = 0;
}

const void *bytes_get(struct bytes_in *in, size_t size)
{
	if (in->left < size || in->error < 0) {
		bytes_fail(in, -EBADMSG);
		return NULL;
	}
	const void *at = in->at;
	in->at += size;
	in->left -= size;
	return at;
}

uint64_t bytes_get_number(struct bytes_in *in, size_t width)
{
	const unsigned char *bytes = bytes_get(in, width);
	uint64_t value = 0;
	for (size_t i = 0; bytes != NULL && i < width; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

char *bytes_get_text(struct bytes_in *in, size_t size)
{
	const char *bytes = bytes_get(in, size);
	if (bytes == NULL)
		return NULL;
	if (size > 0 && memchr(bytes, '\0', size) != NULL) {
		bytes_fail(in, -EBADMSG);
		return NULL;
	}
	char *text = strndup(bytes, size);
	if (text == NULL)
		bytes_fail(in, -ENOMEM);
	return text;
}
