/* Messages are many, and a tree of values for each is dearer than its text. */
#include "core/message_private.h"

#include "base/escape.h"
#include "core/job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_FIRST = 1024 };

static int make_room(struct writing *w, size_t wanted)
{
	size_t room = w->room == 0 ? ROOM_FIRST : w->room * 2;
	if (wanted <= w->room)
		return 0;
	if (room < wanted)
		room = wanted;
	char *more = realloc(w->data, room);
	if (more == NULL)
		return -ENOMEM;
	w->data = more;
	w->room = room;
	return 0;
}

static void put(struct writing *w, const char *bytes, size_t n)
{
	if (w->error == 0)
		w->error = make_room(w, w->n + n);
	if (w->error != 0)
		return;
	memcpy(w->data + w->n, bytes, n);
	w->n += n;
}

static void put_text(struct writing *w, const char *text)
{
	put(w, text, strlen(text));
}

static void put_key(struct writing *w, const char *key)
{
	put_text(w, w->n == 1 ? "\"" : ",\"");
	put_text(w, key);
	put_text(w, "\":");
}

/* Escaped bytes have no control characters. */
static void put_string(struct writing *w, const char *text)
{
	put_text(w, "\"");
	for (size_t n; *text != '\0'; text += n) {
		n = strcspn(text, "\"\\");
		put(w, text, n);
		if (text[n] != '\0') {
			put_text(w, "\\");
			put(w, text + n++, 1);
		}
	}
	put_text(w, "\"");
}

static void put_bytes(struct writing *w, const char *bytes)
{
	char *escaped = escape_str(bytes);
	if (escaped == NULL)
		w->error = -ENOMEM;
	else
		put_string(w, escaped);
	free(escaped);
}

/* JSON integers end at INT64_MAX; larger numbers travel as digits. */
static void put_number(struct writing *w, uint64_t value)
{
	char digits[32];
	snprintf(digits, sizeof digits, value <= INT64_MAX ? "%" PRIu64 : "\"%" PRIu64 "\"", value);
	put_text(w, digits);
}

static void put_fraction(struct writing *w, double value)
{
	char digits[32];
	uint64_t parts = (uint64_t)(value * 1e9 + 0.5);
	snprintf(digits, sizeof digits, "%" PRIu64 ".%09" PRIu64, parts / 1000000000,
	         parts % 1000000000);
	put_text(w, digits);
}

static void put_exit_code(struct writing *w, int32_t code)
{
	char digits[16];
	snprintf(digits, sizeof digits, "%" PRId32, code);
	put_text(w, digits);
}

static void put_list(struct writing *w, char *const *list)
{
	for (char *const *at = list; *at != NULL; at++) {
		put_text(w, at == list ? "[" : ",");
		put_bytes(w, *at);
	}
	put_text(w, *list == NULL ? "[]" : "]");
}

static void put_numbers(struct writing *w, const uint64_t *numbers)
{
	for (const uint64_t *at = numbers; *at != 0; at++) {
		put_text(w, at == numbers ? "[" : ",");
		put_number(w, *at);
	}
	put_text(w, "]");
}

static void put_value(struct writing *w, enum field_kind kind, const void *at)
{
	switch (kind) {
	case FIELD_U64:
	case FIELD_COUNT:
	case FIELD_RECORDS: put_number(w, *(const uint64_t *)at); break;
	case FIELD_U32: put_number(w, *(const uint32_t *)at); break;
	case FIELD_BOOL:
	case FIELD_FLAG: put_text(w, *(const bool *)at ? "true" : "false"); break;
	case FIELD_EXIT_CODE: put_exit_code(w, *(const int32_t *)at); break;
	case FIELD_OUTCOME: put_string(w, outcome_name(*(const enum outcome *)at)); break;
	case FIELD_FRACTION: put_fraction(w, *(const double *)at); break;
	case FIELD_STRING:
	case FIELD_TEXT: put_bytes(w, *(char *const *)at); break;
	case FIELD_LIST: put_list(w, *(char **const *)at); break;
	case FIELD_NUMBERS: put_numbers(w, *(uint64_t *const *)at); break;
	}
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
	return kind == FIELD_TEXT && *(char *const *)at == NULL;
}

static bool is_missing(enum field_kind kind, const void *at)
{
	if (kind == FIELD_NUMBERS)
		return *(uint64_t *const *)at == NULL || **(uint64_t *const *)at == 0;
	return (kind == FIELD_STRING && *(char *const *)at == NULL) ||
	       (kind == FIELD_LIST && *(char **const *)at == NULL) ||
	       (kind == FIELD_FRACTION && *(const double *)at > 1);
}

void write_begin(struct writing *w)
{
	*w = (struct writing){0};
	put_text(w, "{");
}

void write_word(struct writing *w, const char *key, const char *word)
{
	put_key(w, key);
	put_string(w, word);
}

void write_number(struct writing *w, const char *key, uint64_t value)
{
	put_key(w, key);
	put_number(w, value);
}

void write_fields(struct writing *w, const struct field *fields, size_t n, const void *base)
{
	for (size_t i = 0; i < n && w->error == 0; i++) {
		const void *at = (const char *)base + fields[i].offset;
		if (is_absent(fields[i].kind, at))
			continue;
		if (is_missing(fields[i].kind, at)) {
			w->error = -EINVAL;
			return;
		}
		put_key(w, fields[i].key);
		put_value(w, fields[i].kind, at);
	}
}

int write_end(struct writing *w, char **ret_data, size_t *ret_size)
{
	put(w, "}", sizeof "}");
	if (w->error != 0) {
		free(w->data);
		return w->error;
	}
	*ret_data = w->data;
	*ret_size = w->n - 1;
	return 0;
}
