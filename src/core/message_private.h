/* Tables that say which fields of a struct travel, and the two directions of reading
 * such a table: as bytes between daemon and worker, as JSON in the result that a worker
 * leaves behind. */
#pragma once

#include "base/bytes.h"

#include <jansson.h>
#include <stddef.h>

enum field_kind {
	FIELD_U64,
	FIELD_U32,
	FIELD_COUNT,     /* uint64_t; absent: 0 */
	FIELD_BOOL,
	FIELD_FLAG,      /* bool; absent: false */
	FIELD_EXIT_CODE, /* int32_t: EXIT_CODE_NONE, 0..255 */
	FIELD_OUTCOME,   /* of an attempt that ended */
	FIELD_RECORDS,   /* uint64_t; absent: RECORDS_NONE */
	FIELD_FRACTION,  /* double 0..1; absent: -1 */
	FIELD_STRING,    /* char *, always there */
	FIELD_TEXT,      /* char *; absent: NULL */
	FIELD_LIST,      /* NULL-terminated char **, at least one element */
	FIELD_NUMBERS,   /* uint64_t *, at least one, ended by 0 */
	FIELD_ANY_NUMBERS, /* the same; absent: NULL */
};

/* Its place in the table is its number between programs: of two versions that meet for
 * the moment of an upgrade, one passes over what it does not know. New ones come last. */
struct field {
	const char *key;
	enum field_kind kind;
	size_t offset;
};

bool field_is_absent(enum field_kind kind, const void *at);
/* Sets what it means. -EBADMSG: it has to be there. */
int field_set_absent(enum field_kind kind, void *at);
/* -EBADMSG where a number is none that its kind can have. */
int field_set_number(enum field_kind kind, uint64_t number, void *at);

/* -EINVAL where a value is none that could travel. */
int fields_encode(struct bytes_out *out, const struct field *fields, size_t n, const void *base);
/* To the end of `in`. -EBADMSG, -ENOMEM. What was set until then is for the caller to free. */
int fields_decode(struct bytes_in *in, const struct field *fields, size_t n, void *base);

/* The same with JSON, for what a result is made of; -ENOMEM as well. */
int fields_to_json(json_t *object, const struct field *fields, size_t n, const void *base);
int fields_from_json(const json_t *object, const struct field *fields, size_t n, void *base);
