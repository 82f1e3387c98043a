/* Fields as JSON, in what a worker leaves behind: an operator can read it, and other
 * versions of spoold. */
#include "core/message_private.h"

#include "base/escape.h"
#include "core/job.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* JSON integers end at INT64_MAX; larger numbers travel as digits. */
static json_t *number_to_json(uint64_t value)
{
	if (value <= INT64_MAX)
		return json_integer((json_int_t)value);
	char digits[24];
	snprintf(digits, sizeof digits, "%" PRIu64, value);
	return json_string(digits);
}

static int number_from_json(const json_t *json, uint64_t *ret)
{
	if (json_is_integer(json)) {
		json_int_t i = json_integer_value(json);
		*ret = (uint64_t)i;
		return i < 0 ? -EBADMSG : 0;
	}
	const char *text = json_string_value(json);
	char *end;
	if (text == NULL || text[0] < '0' || text[0] > '9')
		return -EBADMSG;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return *end != '\0' || errno != 0 ? -EBADMSG : 0;
}

static json_t *text_to_json(const char *bytes)
{
	char *escaped = escape_str(bytes);
	json_t *json = escaped == NULL ? NULL : json_string(escaped);
	free(escaped);
	return json;
}

static int text_from_json(const json_t *json, char **ret)
{
	if (!json_is_string(json))
		return -EBADMSG;
	char *bytes = unescape_name(json_string_value(json));
	if (bytes == NULL)
		return errno == ENOMEM ? -ENOMEM : -EBADMSG;
	*ret = bytes;
	return 0;
}

static json_t *field_to_json(enum field_kind kind, const void *at)
{
	switch (kind) {
	case FIELD_U64:
	case FIELD_RECORDS: return number_to_json(*(const uint64_t *)at);
	case FIELD_U32: return json_integer(*(const uint32_t *)at);
	case FIELD_FLAG: return json_boolean(*(const bool *)at);
	case FIELD_EXIT_CODE: return json_integer(*(const int32_t *)at);
	case FIELD_OUTCOME: return json_string(outcome_name(*(const enum outcome *)at));
	case FIELD_TEXT: return text_to_json(*(char *const *)at);
	default:
		assert(!"no field of a result");
		return NULL;
	}
}

int fields_to_json(json_t *object, const struct field *fields, size_t n, const void *base)
{
	for (size_t i = 0; i < n; i++) {
		const void *at = (const char *)base + fields[i].offset;
		if (field_is_absent(fields[i].kind, at))
			continue;
		if (json_object_set_new(object, fields[i].key, field_to_json(fields[i].kind, at)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int exit_code_from_json(const json_t *json, int32_t *ret)
{
	json_int_t code = json_integer_value(json);
	if (!json_is_integer(json) || code < EXIT_CODE_NONE || code > 255)
		return -EBADMSG;
	*ret = (int32_t)code;
	return 0;
}

static int outcome_from_json(const json_t *json, enum outcome *ret)
{
	if (!json_is_string(json))
		return -EBADMSG;
	for (enum outcome o = OUTCOME_SUCCEEDED; o < OUTCOMES; o++) {
		if (strcmp(outcome_name(o), json_string_value(json)) == 0) {
			*ret = o;
			return 0;
		}
	}
	return -EBADMSG;
}

static int field_from_json(enum field_kind kind, const json_t *json, void *at)
{
	uint64_t number = 0;
	switch (kind) {
	case FIELD_FLAG:
		*(bool *)at = json_is_true(json);
		return json_is_boolean(json) ? 0 : -EBADMSG;
	case FIELD_EXIT_CODE:
		return exit_code_from_json(json, at);
	case FIELD_OUTCOME:
		return outcome_from_json(json, at);
	case FIELD_TEXT:
		return text_from_json(json, at);
	default:
		return number_from_json(json, &number) < 0 ? -EBADMSG : field_set_number(kind, number, at);
	}
}

int fields_from_json(const json_t *object, const struct field *fields, size_t n, void *base)
{
	for (size_t i = 0; i < n; i++) {
		void *at = (char *)base + fields[i].offset;
		const json_t *json = json_object_get(object, fields[i].key);
		int r = json == NULL ? field_set_absent(fields[i].kind, at)
		                     : field_from_json(fields[i].kind, json, at);
		if (r < 0)
			return r;
	}
	return 0;
}
