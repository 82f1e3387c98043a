#include "core/message_private.h"

#include "base/escape.h"
#include "core/job.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
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

static int number_from_json(const json_t *json, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;
	if (json_is_integer(json)) {
		json_int_t i = json_integer_value(json);
		if (i < 0)
			return -EBADMSG;
		value = (uint64_t)i;
	} else if (json_is_string(json)) {
		const char *text = json_string_value(json);
		char *end;
		errno = 0;
		unsigned long long parsed = strtoull(text, &end, 10);
		if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
			return -EBADMSG;
		value = parsed;
	} else {
		return -EBADMSG;
	}
	if (value > max)
		return -EBADMSG;
	*ret = value;
	return 0;
}

static json_t *bytes_to_json(const char *bytes)
{
	char *escaped = escape_str(bytes);
	json_t *json = escaped == NULL ? NULL : json_string(escaped);
	free(escaped);
	return json;
}

static int bytes_from_json(const json_t *json, char **ret)
{
	if (!json_is_string(json))
		return -EBADMSG;
	char *bytes = unescape_name(json_string_value(json));
	if (bytes == NULL)
		return errno == ENOMEM ? -ENOMEM : -EBADMSG;
	*ret = bytes;
	return 0;
}

static json_t *list_to_json(char *const *list)
{
	json_t *array = json_array();
	for (; array != NULL && *list != NULL; list++) {
		if (json_array_append_new(array, bytes_to_json(*list)) < 0) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

static int list_from_json(const json_t *json, char ***ret)
{
	size_t n = json_array_size(json);
	if (n == 0)
		return -EBADMSG;
	char **list = calloc(n + 1, sizeof *list);
	if (list == NULL)
		return -ENOMEM;
	*ret = list;
	for (size_t i = 0; i < n; i++) {
		int r = bytes_from_json(json_array_get(json, i), &list[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static json_t *numbers_to_json(const uint64_t *numbers)
{
	json_t *array = json_array();
	for (; array != NULL && *numbers != 0; numbers++) {
		if (json_array_append_new(array, number_to_json(*numbers)) < 0) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

static int numbers_from_json(const json_t *json, uint64_t **ret)
{
	size_t n = json_array_size(json);
	if (n == 0)
		return -EBADMSG;
	uint64_t *numbers = calloc(n + 1, sizeof *numbers);
	if (numbers == NULL)
		return -ENOMEM;
	*ret = numbers;
	for (size_t i = 0; i < n; i++) {
		int r = number_from_json(json_array_get(json, i), UINT64_MAX, &numbers[i]);
		if (r < 0)
			return r;
		if (numbers[i] == 0)
			return -EBADMSG;
	}
	return 0;
}

static json_t *field_to_json(enum field_kind kind, const void *at)
{
	switch (kind) {
	case FIELD_U64:
	case FIELD_COUNT:
	case FIELD_RECORDS:
		return number_to_json(*(const uint64_t *)at);
	case FIELD_U32:
		return json_integer(*(const uint32_t *)at);
	case FIELD_BOOL:
	case FIELD_FLAG:
		return json_boolean(*(const bool *)at);
	case FIELD_EXIT_CODE:
		return json_integer(*(const int32_t *)at);
	case FIELD_OUTCOME:
		return json_string(outcome_name(*(const enum outcome *)at));
	case FIELD_FRACTION:
		return json_real(*(const double *)at);
	case FIELD_STRING:
	case FIELD_TEXT:
		return bytes_to_json(*(char *const *)at);
	case FIELD_LIST:
		return list_to_json(*(char **const *)at);
	case FIELD_NUMBERS:
	case FIELD_ANY_NUMBERS:
		return numbers_to_json(*(uint64_t *const *)at);
	}
	return NULL;
}

static bool is_absent(enum field_kind kind, const void *at)
{
	if (kind == FIELD_RECORDS)
		return *(const uint64_t *)at == RECORDS_NONE;
	if (kind == FIELD_FRACTION)
		return !(*(const double *)at >= 0);
	if (kind == FIELD_FLAG)
		return !*(const bool *)at;
	if (kind == FIELD_COUNT)
		return *(const uint64_t *)at == 0;
	if (kind == FIELD_ANY_NUMBERS)
		return *(uint64_t *const *)at == NULL;
	return kind == FIELD_TEXT && *(char *const *)at == NULL;
}

static bool is_missing(enum field_kind kind, const void *at)
{
	return (kind == FIELD_STRING && *(char *const *)at == NULL) ||
	       (kind == FIELD_LIST && *(char **const *)at == NULL) ||
	       (kind == FIELD_NUMBERS && (*(uint64_t *const *)at == NULL || **(uint64_t *const *)at == 0)) ||
	       (kind == FIELD_FRACTION && *(const double *)at > 1);
}

int fields_encode(json_t *object, const struct field *fields, size_t n, const void *base)
{
	for (size_t i = 0; i < n; i++) {
		const void *at = (const char *)base + fields[i].offset;
		if (is_absent(fields[i].kind, at))
			continue;
		if (is_missing(fields[i].kind, at))
			return -EINVAL;
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

static int fraction_from_json(const json_t *json, double *ret)
{
	double value = json_number_value(json);
	if (!json_is_number(json) || !isfinite(value) || value < 0 || value > 1)
		return -EBADMSG;
	*ret = value;
	return 0;
}

static int absent_field(enum field_kind kind, void *at)
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

static int field_from_json(enum field_kind kind, const json_t *json, void *at)
{
	uint64_t number = 0;
	int r;
	switch (kind) {
	case FIELD_U64:
	case FIELD_COUNT:
		return number_from_json(json, UINT64_MAX, at);
	case FIELD_RECORDS:
		return number_from_json(json, RECORDS_NONE - 1, at);
	case FIELD_U32:
		r = number_from_json(json, UINT32_MAX, &number);
		if (r == 0)
			*(uint32_t *)at = (uint32_t)number;
		return r;
	case FIELD_BOOL:
	case FIELD_FLAG:
		if (!json_is_boolean(json))
			return -EBADMSG;
		*(bool *)at = json_is_true(json);
		return 0;
	case FIELD_EXIT_CODE:
		return exit_code_from_json(json, at);
	case FIELD_OUTCOME:
		return outcome_from_json(json, at);
	case FIELD_FRACTION:
		return fraction_from_json(json, at);
	case FIELD_STRING:
	case FIELD_TEXT:
		return bytes_from_json(json, at);
	case FIELD_LIST:
		return list_from_json(json, at);
	case FIELD_NUMBERS:
	case FIELD_ANY_NUMBERS:
		return numbers_from_json(json, at);
	}
	return -EBADMSG;
}

int fields_decode(const json_t *object, const struct field *fields, size_t n, void *base)
{
	for (size_t i = 0; i < n; i++) {
		void *at = (char *)base + fields[i].offset;
		const json_t *json = json_object_get(object, fields[i].key);
		int r = json == NULL ? absent_field(fields[i].kind, at)
		                     : field_from_json(fields[i].kind, json, at);
		if (r < 0)
			return r;
	}
	return 0;
}
