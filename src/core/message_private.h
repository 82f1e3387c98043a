/* Tables that say which fields of a struct travel under which key, and the
 * two directions of reading such a table. */
#pragma once

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

struct field {
	const char *key;
	enum field_kind kind;
	size_t offset;
};

/* -ENOMEM; -EINVAL where a value is none that could travel. */
int fields_encode(json_t *object, const struct field *fields, size_t n, const void *base);
/* -EBADMSG, -ENOMEM. What was set until then is for the caller to free. */
int fields_decode(const json_t *object, const struct field *fields, size_t n, void *base);
