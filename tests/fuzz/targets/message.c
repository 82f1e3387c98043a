/* Packets between daemon and worker, and the result a worker leaves behind:
 * what is taken can be said again, and means the same then. */
#include "core/message.h"

#include "fuzz.h"

/* What a worker may rely on. */
static void must_do_no_harm(const struct run_order *order)
{
	MUST(order->job > 0 && order->attempt > 0 && order->dir[0] == '/');
	MUST(order->name[0] != '\0' && strchr(order->name, '/') == NULL);
	MUST(strcmp(order->name, ".") != 0 && strcmp(order->name, "..") != 0);
	MUST(order->user[0] != '.' && strchr(order->user, '/') == NULL);
	MUST(order->command[0] != NULL && order->command[0][0] != '\0' && order->cookie[0] != '\0');
}

static void decode_message(const char *data, size_t size)
{
	struct message message, again;
	char *first = NULL, *second = NULL;
	size_t first_n = 0, second_n = 0;
	int r = message_decode(data, size, &message);
	MUST(r == 0 || r == -EBADMSG);
	if (r < 0)
		return;
	if (message.type == MESSAGE_RUN)
		must_do_no_harm(&message.order);
	r = message_encode(&message, &first, &first_n);
	MUST(r == 0 && first_n <= size);
	MUST(message_decode(first, first_n, &again) == 0 && again.type == message.type);
	MUST(message_encode(&again, &second, &second_n) == 0);
	MUST(second_n == first_n && memcmp(first, second, first_n) == 0);
	message_clear(&again);
	free(first);
	free(second);
	message_clear(&message);
}

static void decode_result(const char *data, size_t size)
{
	struct run_result result, again;
	char *first = NULL;
	size_t first_n = 0;
	int r = run_result_decode(data, size, &result);
	MUST(r == 0 || r == -EBADMSG);
	if (r < 0)
		return;
	MUST(result.job > 0 && result.attempt > 0);
	MUST(result.outcome > OUTCOME_NONE && result.outcome < OUTCOMES);
	r = run_result_encode(&result, &first, &first_n);
	MUST(r == 0 || r == -EMSGSIZE);
	if (r == 0) {
		MUST(run_result_decode(first, first_n, &again) == 0);
		MUST(again.job == result.job && again.attempt == result.attempt &&
		     again.outcome == result.outcome && again.exit_code == result.exit_code &&
		     again.started_ms == result.started_ms &&
		     again.finished_ms == result.finished_ms && again.ran_ms == result.ran_ms &&
		     again.records == result.records);
		MUST(same_text(again.error, result.error) && same_text(again.message, result.message));
		run_result_clear(&again);
	}
	free(first);
	run_result_clear(&result);
}

static char **take_command(struct input *in)
{
	size_t n = take_below(in, 4);
	char **command = calloc(n + 1, sizeof *command);
	MUST(command != NULL);
	for (size_t i = 0; i < n; i++)
		command[i] = take_text(in, 64);
	return command;
}

static bool same_list(char **a, char **b)
{
	while (*a != NULL && *b != NULL && strcmp(*a, *b) == 0) {
		a++;
		b++;
	}
	return *a == NULL && *b == NULL;
}

/* An order of any names: it is refused, or arrives as it was. */
static void encode_order(struct input *in)
{
	struct message message = {
		.type = MESSAGE_RUN,
		.order = {
			.job = take_number(in, 8), .attempt = (uint32_t)take_number(in, 4),
			.timeout_ms = take_number(in, 8), .ident_ino = take_number(in, 8),
			.user = take_text(in, 110), .name = take_text(in, 300), .dir = take_text(in, 300),
			.command = take_command(in), .run_as = take_text_or_null(in, 40),
			.cookie = take_text(in, 40), .limits.processes = take_number(in, 8),
		},
	};
	struct message back;
	char *text = NULL;
	size_t n = 0;
	int r = message_encode(&message, &text, &n);
	MUST(r == 0 || (r == -EINVAL && message.order.command[0] == NULL));
	if (r == 0)
		r = message_decode(text, n, &back);
	MUST(r == 0 || r == -EBADMSG || r == -EINVAL);
	if (r == 0) {
		const struct run_order *a = &message.order, *b = &back.order;
		MUST(a->job == b->job && a->attempt == b->attempt && a->timeout_ms == b->timeout_ms &&
		     a->ident_ino == b->ident_ino && a->limits.processes == b->limits.processes);
		MUST(same_text(a->user, b->user) && same_text(a->name, b->name) &&
		     same_text(a->dir, b->dir) && same_text(a->run_as, b->run_as) &&
		     same_text(a->cookie, b->cookie) && same_list(a->command, b->command));
		must_do_no_harm(b);
		message_clear(&back);
	}
	free(text);
	message_clear(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	decode_message((const char *)data, size);
	decode_result((const char *)data, size);
	encode_order(&in);
	return 0;
}
