/* Fields as bytes: for each that is there its number (1 and up, rising), the size of its
 * value (16 bits), and the value; 0 at the end. Numbers are as short as they can be; a
 * list is one such entry for each element. */
#include "core/message_private.h"

#include "core/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { END = 0 };
enum { EXIT_CODES = 255 - EXIT_CODE_NONE };

bool field_is_absent(enum field_kind kind, const void *at)
{
	switch (kind) {
	case FIELD_RECORDS: return *(const uint64_t *)at == RECORDS_NONE;
	case FIELD_FRACTION: return !(*(const double *)at >= 0);
	case FIELD_FLAG: return !*(const bool *)at;
	case FIELD_COUNT: return *(const uint64_t *)at == 0;
	case FIELD_ANY_NUMBERS: return *(uint64_t *const *)at == NULL;
	case FIELD_TEXT: return *(char *const *)at == NULL;
	default: return false;
	}
}

int field_set_absent(enum field_kind kind, void *at)
{
	switch (kind) {
	case FIELD_RECORDS:
		*(uint64_t *)at = RECORDS_NONE;
		return 0;
	case FIELD_FRACTION:
		*(double *)at = -1;
		return 0;
	case FIELD_FLAG:
		*(bool *)at = false;
		return 0;
	case FIELD_COUNT:
		*(uint64_t *)at = 0;
		return 0;
	case FIELD_TEXT:
	case FIELD_ANY_NUMBERS:
		return 0;
	default:
		return -EBADMSG;
	}
}

static bool is_missing(enum field_kind kind, const void *at)
{
	switch (kind) {
	case FIELD_STRING: return *(char *const *)at == NULL;
	case FIELD_LIST: return *(char **const *)at == NULL || **(char **const *)at == NULL;
	case FIELD_NUMBERS: return *(uint64_t *const *)at == NULL || **(uint64_t *const *)at == 0;
	case FIELD_FRACTION: return *(const double *)at > 1;
	default: return false;
	}
}

/* As bits, so that it needs no digits. */
static uint64_t bits_of(double value)
{
	uint64_t bits;
	memcpy(&bits, &value, sizeof bits);
	return bits;
}

static uint64_t number_of(enum field_kind kind, const void *at)
{
	switch (kind) {
	case FIELD_U32: return *(const uint32_t *)at;
	case FIELD_BOOL:
	case FIELD_FLAG: return *(const bool *)at;
	/* So that none is 0. */
	case FIELD_EXIT_CODE: return (uint64_t)(*(const int32_t *)at - EXIT_CODE_NONE);
	case FIELD_OUTCOME: return *(const enum outcome *)at;
	case FIELD_FRACTION: return bits_of(*(const double *)at);
	default: return *(const uint64_t *)at;
	}
}

static int set_fraction(uint64_t bits, double *at)
{
	double value;
	memcpy(&value, &bits, sizeof value);
	if (!(value >= 0 && value <= 1))
		return -EBADMSG;
	*at = value;
	return 0;
}

int field_set_number(enum field_kind kind, uint64_t number, void *at)
{
	switch (kind) {
	case FIELD_U64:
	case FIELD_COUNT:
	case FIELD_RECORDS:
		*(uint64_t *)at = number;
		return kind == FIELD_RECORDS && number == RECORDS_NONE ? -EBADMSG : 0;
	case FIELD_U32:
		*(uint32_t *)at = (uint32_t)number;
		return number > UINT32_MAX ? -EBADMSG : 0;
	case FIELD_BOOL:
	case FIELD_FLAG:
		*(bool *)at = number == 1;
		return number > 1 ? -EBADMSG : 0;
	case FIELD_EXIT_CODE:
		if (number > EXIT_CODES)
			return -EBADMSG;
		*(int32_t *)at = (int32_t)number + EXIT_CODE_NONE;
		return 0;
	case FIELD_OUTCOME:
		if (number == OUTCOME_NONE || number >= OUTCOMES)
			return -EBADMSG;
		*(enum outcome *)at = (enum outcome)number;
		return 0;
	case FIELD_FRACTION:
		return set_fraction(number, at);
	default:
		return -EBADMSG;
	}
}

static void put_head(struct bytes_out *out, size_t number, size_t size)
{
	if (size > UINT16_MAX)
		out->full = true;
	bytes_put_number(out, number, 1);
	bytes_put_number(out, size, 2);
}

static void put_number(struct bytes_out *out, size_t number, uint64_t value)
{
	size_t width = bytes_width(value);
	put_head(out, number, width);
	bytes_put_number(out, value, width);
}

static void put_text(struct bytes_out *out, size_t number, const char *text)
{
	size_t size = strlen(text);
	put_head(out, number, size);
	bytes_put(out, text, size);
}

static void put_field(struct bytes_out *out, size_t number, enum field_kind kind, const void *at)
{
	switch (kind) {
	case FIELD_STRING:
	case FIELD_TEXT:
		put_text(out, number, *(char *const *)at);
		return;
	case FIELD_LIST:
		for (char *const *s = *(char **const *)at; *s != NULL; s++)
			put_text(out, number, *s);
		return;
	case FIELD_NUMBERS:
	case FIELD_ANY_NUMBERS:
		for (const uint64_t *value = *(uint64_t *const *)at; *value != 0; value++)
			put_number(out, number, *value);
		return;
	default:
		put_number(out, number, number_of(kind, at));
	}
}

int fields_encode(struct bytes_out *out, const struct field *fields, size_t n, const void *base)
{
	for (size_t i = 0; i < n; i++) {
		const void *at = (const char *)base + fields[i].offset;
		if (field_is_absent(fields[i].kind, at))
			continue;
		if (is_missing(fields[i].kind, at))
			return -EINVAL;
		put_field(out, i + 1, fields[i].kind, at);
	}
	bytes_put_number(out, END, 1);
	return 0;
}

/* Elements of the same number that follow each other. */
static size_t count_same(struct bytes_in in, size_t number)
{
	size_t n = 0;
	while (in.left > 0 && *in.at == number) {
		bytes_get_number(&in, 1);
		bytes_get(&in, bytes_get_number(&in, 2));
		n++;
	}
	return n;
}

/* The size of the next value; its number is known. */
static size_t get_size(struct bytes_in *in)
{
	bytes_get_number(in, 1);
	return bytes_get_number(in, 2);
}

static uint64_t get_number(struct bytes_in *in)
{
	size_t size = get_size(in);
	if (size <= sizeof(uint64_t))
		return bytes_get_number(in, size);
	bytes_fail(in, -EBADMSG);
	return 0;
}

static void get_list(struct bytes_in *in, size_t number, char ***at)
{
	size_t n = count_same(*in, number);
	*at = calloc(n + 1, sizeof **at);
	if (*at == NULL) {
		bytes_fail(in, -ENOMEM);
		return;
	}
	for (size_t i = 0; i < n && in->error == 0; i++)
		(*at)[i] = bytes_get_text(in, get_size(in));
}

static void get_numbers(struct bytes_in *in, size_t number, uint64_t **at)
{
	size_t n = count_same(*in, number);
	*at = calloc(n + 1, sizeof **at);
	if (*at == NULL) {
		bytes_fail(in, -ENOMEM);
		return;
	}
	for (size_t i = 0; i < n && in->error == 0; i++) {
		(*at)[i] = get_number(in);
		if ((*at)[i] == 0)
			bytes_fail(in, -EBADMSG);
	}
}

static void get_field(struct bytes_in *in, size_t number, enum field_kind kind, void *at)
{
	switch (kind) {
	case FIELD_STRING:
	case FIELD_TEXT:
		*(char **)at = bytes_get_text(in, get_size(in));
		return;
	case FIELD_LIST:
		get_list(in, number, at);
		return;
	case FIELD_NUMBERS:
	case FIELD_ANY_NUMBERS:
		get_numbers(in, number, at);
		return;
	default:
		if (field_set_number(kind, get_number(in), at) < 0)
			bytes_fail(in, -EBADMSG);
	}
}

/* And what a newer version says beside. */
static void get_end(struct bytes_in *in, size_t known)
{
	while (in->left > 0 && *in->at > known)
		bytes_get(in, get_size(in));
	if (in->left != 1 || *in->at != END)
		bytes_fail(in, -EBADMSG);
}

int fields_decode(struct bytes_in *in, const struct field *fields, size_t n, void *base)
{
	for (size_t i = 0; i < n; i++) {
		void *at = (char *)base + fields[i].offset;
		if (in->left > 0 && *in->at == i + 1)
			get_field(in, i + 1, fields[i].kind, at);
		else if (field_set_absent(fields[i].kind, at) < 0)
			bytes_fail(in, -EBADMSG);
		if (in->error < 0)
			return in->error;
	}
	get_end(in, n);
	return in->error;
}
