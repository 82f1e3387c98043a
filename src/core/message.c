#include "core/message.h"

#include "core/message_private.h"
#include "core/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* NAME_RESULT outlives the program that wrote it. */
enum { RESULT_VERSION = 1 };

static const struct field order_fields[] = {
	{"job", FIELD_U64, offsetof(struct run_order, job)},
	{"attempt", FIELD_U32, offsetof(struct run_order, attempt)},
	{"user", FIELD_STRING, offsetof(struct run_order, user)},
	{"name", FIELD_STRING, offsetof(struct run_order, name)},
	{"dir", FIELD_STRING, offsetof(struct run_order, dir)},
	{"command", FIELD_LIST, offsetof(struct run_order, command)},
	{"run_as", FIELD_TEXT, offsetof(struct run_order, run_as)},
	{"timeout_ms", FIELD_U64, offsetof(struct run_order, timeout_ms)},
	{"kill_grace_ms", FIELD_U64, offsetof(struct run_order, kill_grace_ms)},
	{"log_limit_bytes", FIELD_U64, offsetof(struct run_order, log_limit_bytes)},
	{"log_always", FIELD_FLAG, offsetof(struct run_order, log_always)},
	{"sync", FIELD_BOOL, offsetof(struct run_order, sync)},
	{"ident_ino", FIELD_U64, offsetof(struct run_order, ident_ino)},
	{"cookie", FIELD_STRING, offsetof(struct run_order, cookie)},
	{"cpu_seconds", FIELD_COUNT, offsetof(struct run_order, limits.cpu_seconds)},
	{"memory_bytes", FIELD_COUNT, offsetof(struct run_order, limits.memory_bytes)},
	{"file_bytes", FIELD_COUNT, offsetof(struct run_order, limits.file_bytes)},
	{"open_files", FIELD_COUNT, offsetof(struct run_order, limits.open_files)},
	{"processes", FIELD_COUNT, offsetof(struct run_order, limits.processes)},
	{"fresh", FIELD_FLAG, offsetof(struct run_order, fresh)},
	{"stream", FIELD_FLAG, offsetof(struct run_order, stream)},
	{"recycle_jobs", FIELD_COUNT, offsetof(struct run_order, recycle_jobs)},
	{"recycle_ms", FIELD_COUNT, offsetof(struct run_order, recycle_ms)},
	{"idle_ms", FIELD_COUNT, offsetof(struct run_order, idle_ms)},
	{"directory", FIELD_FLAG, offsetof(struct run_order, directory)},
	{"whole", FIELD_COUNT, offsetof(struct run_order, whole)},
	{"whole_ino", FIELD_COUNT, offsetof(struct run_order, whole_ino)},
	{"after", FIELD_COUNT, offsetof(struct run_order, after)},
	{"acked", FIELD_ANY_NUMBERS, offsetof(struct run_order, acked)},
};

/* What a stream handler was started with, and cannot change. */
static const struct field handler_fields[] = {
	{"user", FIELD_STRING, offsetof(struct run_order, user)},
	{"command", FIELD_LIST, offsetof(struct run_order, command)},
	{"run_as", FIELD_TEXT, offsetof(struct run_order, run_as)},
	{"cookie", FIELD_STRING, offsetof(struct run_order, cookie)},
	{"cpu_seconds", FIELD_COUNT, offsetof(struct run_order, limits.cpu_seconds)},
	{"memory_bytes", FIELD_COUNT, offsetof(struct run_order, limits.memory_bytes)},
	{"file_bytes", FIELD_COUNT, offsetof(struct run_order, limits.file_bytes)},
	{"open_files", FIELD_COUNT, offsetof(struct run_order, limits.open_files)},
	{"processes", FIELD_COUNT, offsetof(struct run_order, limits.processes)},
};

static const struct field progress_fields[] = {
	{"job", FIELD_U64, offsetof(struct run_progress, job)},
	{"progress", FIELD_FRACTION, offsetof(struct run_progress, progress)},
	{"records", FIELD_RECORDS, offsetof(struct run_progress, records)},
	{"message", FIELD_TEXT, offsetof(struct run_progress, message)},
};

static const struct field result_fields[] = {
	{"job", FIELD_U64, offsetof(struct run_result, job)},
	{"attempt", FIELD_U32, offsetof(struct run_result, attempt)},
	{"outcome", FIELD_OUTCOME, offsetof(struct run_result, outcome)},
	{"exit_code", FIELD_EXIT_CODE, offsetof(struct run_result, exit_code)},
	{"permanent", FIELD_FLAG, offsetof(struct run_result, permanent)},
	{"stale", FIELD_FLAG, offsetof(struct run_result, stale)},
	{"started_ms", FIELD_U64, offsetof(struct run_result, started_ms)},
	{"finished_ms", FIELD_U64, offsetof(struct run_result, finished_ms)},
	{"ran_ms", FIELD_U64, offsetof(struct run_result, ran_ms)},
	{"records", FIELD_RECORDS, offsetof(struct run_result, records)},
	{"error", FIELD_TEXT, offsetof(struct run_result, error)},
	{"message", FIELD_TEXT, offsetof(struct run_result, message)},
	{"unready", FIELD_FLAG, offsetof(struct run_result, unready)},
};

static const struct field cancel_fields[] = {
	{"job", FIELD_U64, offsetof(struct message, job)},
	{"interrupt", FIELD_BOOL, offsetof(struct message, interrupt)},
};

static const struct field ack_fields[] = {
	{"jobs", FIELD_NUMBERS, offsetof(struct message, jobs)},
};

static const struct field started_fields[] = {
	{"job", FIELD_U64, offsetof(struct message, job)},
	{"started_ms", FIELD_U64, offsetof(struct message, started_ms)},
};

#define TABLE(t) t, sizeof t / sizeof *t

static const struct shape {
	unsigned char letter; /* its first byte */
	const struct field *fields;
	size_t n;
	size_t base;
} shapes[MESSAGE_TYPES] = {
	[MESSAGE_RUN] = {'R', TABLE(order_fields), offsetof(struct message, order)},
	[MESSAGE_CANCEL] = {'C', TABLE(cancel_fields), 0},
	[MESSAGE_RECALL] = {'B', NULL, 0, 0},
	[MESSAGE_ACK] = {'A', TABLE(ack_fields), 0},
	[MESSAGE_QUIT] = {'Q', NULL, 0, 0},
	[MESSAGE_STARTED] = {'S', TABLE(started_fields), 0},
	[MESSAGE_PROGRESS] = {'P', TABLE(progress_fields), offsetof(struct message, progress)},
	[MESSAGE_RESULT] = {'E', TABLE(result_fields), offsetof(struct message, result)},
};

bool run_result_never_began(const struct run_result *result)
{
	return result->outcome == OUTCOME_INTERRUPTED && result->started_ms == 0;
}

void run_order_clear(struct run_order *order)
{
	for (char **arg = order->command; arg != NULL && *arg != NULL; arg++)
		free(*arg);
	free(order->command);
	free(order->user);
	free(order->name);
	free(order->dir);
	free(order->run_as);
	free(order->cookie);
	free(order->acked);
	*order = (struct run_order){0};
}

void run_result_clear(struct run_result *result)
{
	free(result->error);
	free(result->message);
	*result = (struct run_result){0};
}

void message_clear(struct message *message)
{
	run_order_clear(&message->order);
	run_result_clear(&message->result);
	free(message->progress.message);
	free(message->jobs);
	*message = (struct message){0};
}

static int copy_out(const struct bytes_out *out, char **ret_data, size_t *ret_size)
{
	char *data = malloc(out->used);
	if (data == NULL)
		return -ENOMEM;
	memcpy(data, bytes_start(out), out->used);
	*ret_data = data;
	*ret_size = out->used;
	return 0;
}

int message_encode(const struct message *message, char **ret_data, size_t *ret_size)
{
	const struct shape *shape = &shapes[message->type];
	unsigned char buffer[MESSAGE_MAX];
	struct bytes_out out = {.at = buffer, .left = sizeof buffer};
	bytes_put_number(&out, shape->letter, 1);
	int r = fields_encode(&out, shape->fields, shape->n, (const char *)message + shape->base);
	if (r == 0 && out.full)
		r = -EMSGSIZE;
	return r < 0 ? r : copy_out(&out, ret_data, ret_size);
}

int run_result_encode(const struct run_result *result, char **ret_data, size_t *ret_size)
{
	json_t *object = json_pack("{si}", "version", RESULT_VERSION);
	int r = object == NULL ? -ENOMEM : fields_to_json(object, TABLE(result_fields), result);
	char *data = r < 0 ? NULL : json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (data == NULL)
		return r < 0 ? r : -ENOMEM;
	size_t size = strlen(data);
	if (size > MESSAGE_MAX) {
		free(data);
		return -EMSGSIZE;
	}
	*ret_data = data;
	*ret_size = size;
	return 0;
}

/* Hexadecimal: a text, whatever the values. */
char *run_order_handler(const struct run_order *order)
{
	unsigned char buffer[MESSAGE_MAX];
	struct bytes_out out = {.at = buffer, .left = sizeof buffer};
	/* What does not fit is not sent either: any key will do. */
	if (fields_encode(&out, TABLE(handler_fields), order) < 0 || out.full)
		return strdup("");
	const unsigned char *bytes = bytes_start(&out);
	char *key = malloc(2 * out.used + 1);
	for (size_t i = 0; key != NULL && i < out.used; i++) {
		key[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
		key[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
	}
	if (key != NULL)
		key[2 * out.used] = '\0';
	return key;
}

static int parse(const char *data, size_t size, json_t **ret)
{
	/* Where memory is out, jansson sets no code, or calls the token invalid. */
	json_error_t error = {0};
	if (size > MESSAGE_MAX)
		return -EBADMSG;
	json_t *json = json_loadb(data, size, JSON_REJECT_DUPLICATES, &error);
	enum json_error_code code = json_error_code(&error);
	if (json == NULL)
		return code == json_error_unknown || code == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
	if (!json_is_object(json)) {
		json_decref(json);
		return -EBADMSG;
	}
	*ret = json;
	return 0;
}

static bool is_base_name(const char *name)
{
	size_t n = strlen(name);
	return n > 0 && n <= NAME_FILE_MAX && strchr(name, '/') == NULL &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool order_is_sound(const struct run_order *order)
{
	return order->job > 0 && order->attempt > 0 && name_user_problem(order->user) == NULL &&
	       is_base_name(order->name) && order->dir[0] == '/' && order->command[0][0] != '\0' &&
	       order->cookie[0] != '\0';
}

static bool result_is_sound(const struct run_result *result)
{
	return result->job > 0 && result->attempt > 0;
}

static bool message_is_sound(const struct message *message)
{
	switch (message->type) {
	case MESSAGE_RUN:
		return order_is_sound(&message->order);
	case MESSAGE_PROGRESS:
		return message->progress.job > 0;
	case MESSAGE_RESULT:
		return result_is_sound(&message->result);
	case MESSAGE_ACK:
	case MESSAGE_RECALL:
	case MESSAGE_QUIT:
		return true;
	default:
		return message->job > 0;
	}
}

static int find_type(uint64_t letter, enum message_type *ret)
{
	for (enum message_type t = 0; t < MESSAGE_TYPES; t++) {
		if (shapes[t].letter == letter) {
			*ret = t;
			return 0;
		}
	}
	return -EBADMSG;
}

int message_decode(const char *data, size_t size, struct message *ret)
{
	struct message message = {0};
	struct bytes_in in = {.at = (const unsigned char *)data, .left = size};
	if (size > MESSAGE_MAX)
		return -EBADMSG;
	int r = find_type(bytes_get_number(&in, 1), &message.type);
	if (r == 0) {
		const struct shape *shape = &shapes[message.type];
		r = fields_decode(&in, shape->fields, shape->n, (char *)&message + shape->base);
	}
	if (r == 0 && !message_is_sound(&message))
		r = -EBADMSG;
	if (r < 0) {
		message_clear(&message);
		return r;
	}
	*ret = message;
	return 0;
}

int run_result_decode(const char *data, size_t size, struct run_result *ret)
{
	struct run_result result = {0};
	json_t *object = NULL;
	int r = parse(data, size, &object);
	if (r == 0 && json_integer_value(json_object_get(object, "version")) != RESULT_VERSION)
		r = -EBADMSG;
	if (r == 0)
		r = fields_from_json(object, TABLE(result_fields), &result);
	if (r == 0 && !result_is_sound(&result))
		r = -EBADMSG;
	json_decref(object);
	if (r < 0) {
		run_result_clear(&result);
		return r;
	}
	*ret = result;
	return 0;
}
