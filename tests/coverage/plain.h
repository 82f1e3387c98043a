/* Included first where coverage is measured: jansson's type tests as functions.
 * As macros they also ask for NULL, wherever they are used, and those branches
 * would count as the caller's. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#undef json_is_object
#undef json_is_array
#undef json_is_string
#undef json_is_integer
#undef json_is_real
#undef json_is_number
#undef json_is_true
#undef json_is_false
#undef json_is_boolean
#undef json_is_null

static inline bool plain_is(const json_t *json, json_type type)
{
	return json != NULL && json_typeof(json) == type;
}

#define PLAIN(name, condition) \
	static inline bool json_is_##name(const json_t *json) \
	{ \
		return condition; \
	}
PLAIN(object, plain_is(json, JSON_OBJECT))
PLAIN(array, plain_is(json, JSON_ARRAY))
PLAIN(string, plain_is(json, JSON_STRING))
PLAIN(integer, plain_is(json, JSON_INTEGER))
PLAIN(real, plain_is(json, JSON_REAL))
PLAIN(number, plain_is(json, JSON_INTEGER) || plain_is(json, JSON_REAL))
PLAIN(true, plain_is(json, JSON_TRUE))
PLAIN(false, plain_is(json, JSON_FALSE))
PLAIN(boolean, plain_is(json, JSON_TRUE) || plain_is(json, JSON_FALSE))
PLAIN(null, plain_is(json, JSON_NULL))
