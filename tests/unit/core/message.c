#include "core/message.h"
#include "core/name.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct run_order an_order(char **command)
{
	return (struct run_order){
		.job = 42,
		.attempt = 3,
		.user = strdup("alice"),
		.name = strdup("odd \xff\x1b[31m\"\\name\n.csv"),
		.dir = strdup("/spool/alice/processing/42"),
		.command = command,
		.run_as = strdup("bob"),
		.timeout_ms = UINT64_MAX,
		.kill_grace_ms = 10000,
		.log_limit_bytes = 262144,
		.sync = true,
		.ident_ino = UINT64_C(0xfffffffffffffff0),
		.cookie = strdup("c0ffee"),
		.limits = {.cpu_seconds = 1, .memory_bytes = 2, .file_bytes = 3, .open_files = 4, .processes = 5},
	};
}

static char **a_command(void)
{
	char **command = calloc(4, sizeof *command);
	command[0] = strdup("/bin/handler");
	command[1] = strdup("");
	command[2] = strdup("--in={file}\xc3");
	return command;
}

static struct message travel(const struct message *m)
{
	char *data = NULL;
	size_t size = 0;
	struct message got = {0};
	cr_assert_eq(message_encode(m, &data, &size), 0);
	cr_assert_eq(strlen(data), size);
	cr_assert_eq(message_decode(data, size, &got), 0, "%s", data);
	cr_assert_eq(got.type, m->type);
	free(data);
	return got;
}

Test(message, an_order_travels_with_any_bytes_and_numbers)
{
	struct message m = {.type = MESSAGE_RUN, .order = an_order(a_command())};
	m.order.after = 41;
	m.order.log_always = true;
	m.order.directory = true;
	m.order.whole = 77;
	m.order.whole_ino = 78;
	struct message got = travel(&m);
	const struct run_order *o = &got.order;
	cr_assert_eq(o->job, 42u);
	cr_assert_eq(o->attempt, 3u);
	cr_assert_str_eq(o->user, m.order.user);
	cr_assert_str_eq(o->name, m.order.name);
	cr_assert_str_eq(o->dir, m.order.dir);
	cr_assert_str_eq(o->run_as, "bob");
	cr_assert_str_eq(o->cookie, "c0ffee");
	cr_assert_str_eq(o->command[0], "/bin/handler");
	cr_assert_str_eq(o->command[1], "");
	cr_assert_str_eq(o->command[2], "--in={file}\xc3");
	cr_assert_null(o->command[3]);
	cr_assert_eq(o->timeout_ms, UINT64_MAX);
	cr_assert_eq(o->kill_grace_ms, 10000u);
	cr_assert_eq(o->log_limit_bytes, 262144u);
	cr_assert(o->log_always);
	cr_assert(o->sync);
	cr_assert_eq(o->after, 41u);
	cr_assert(o->directory);
	cr_assert_eq(o->whole, 77u);
	cr_assert_eq(o->whole_ino, 78u);
	cr_assert_eq(o->ident_ino, UINT64_C(0xfffffffffffffff0));
	cr_assert_eq(memcmp(&o->limits, &m.order.limits, sizeof o->limits), 0);
	message_clear(&got);
	message_clear(&m);
}

Test(message, an_order_may_bring_acknowledgements)
{
	struct message m = {.type = MESSAGE_RUN, .order = an_order(a_command())};
	struct message got = travel(&m);
	cr_assert_null(got.order.acked);
	message_clear(&got);
	m.order.acked = calloc(3, sizeof *m.order.acked);
	m.order.acked[0] = 6;
	m.order.acked[1] = UINT64_MAX;
	got = travel(&m);
	cr_assert(got.order.acked[0] == 6 && got.order.acked[1] == UINT64_MAX && got.order.acked[2] == 0);
	message_clear(&got);
	message_clear(&m);
}

Test(message, an_order_without_an_account_has_none)
{
	struct message m = {.type = MESSAGE_RUN, .order = an_order(a_command())};
	free(m.order.run_as);
	m.order.run_as = NULL;
	struct message got = travel(&m);
	cr_assert_null(got.order.run_as);
	message_clear(&got);
	message_clear(&m);
}

Test(message, progress_travels)
{
	struct message m = {.type = MESSAGE_PROGRESS,
		.progress = {.job = 7, .progress = 0.25, .records = 0, .message = strdup("50\xff%")}};
	struct message got = travel(&m);
	cr_assert_eq(got.progress.job, 7u);
	cr_assert_float_eq(got.progress.progress, 0.25, 1e-12);
	cr_assert_eq(got.progress.records, 0u);
	cr_assert_str_eq(got.progress.message, "50\xff%");
	message_clear(&got);
	free(m.progress.message);
	m.progress = (struct run_progress){.job = 7, .progress = -1, .records = RECORDS_NONE};
	got = travel(&m);
	cr_assert_float_eq(got.progress.progress, -1, 1e-12);
	cr_assert_eq(got.progress.records, RECORDS_NONE);
	cr_assert_null(got.progress.message);
	message_clear(&got);
}

Test(message, a_result_travels_with_every_outcome)
{
	for (enum outcome o = OUTCOME_SUCCEEDED; o < OUTCOMES; o++) {
		struct run_result result = {.job = 9, .attempt = 2, .outcome = o, .exit_code = 137,
			.started_ms = 1, .finished_ms = 2, .ran_ms = 3, .records = 4,
			.error = strdup("killed"), .message = NULL};
		struct message m = {.type = MESSAGE_RESULT, .result = result};
		struct message got = travel(&m);
		cr_assert_eq(got.result.outcome, o);
		cr_assert_eq(got.result.exit_code, 137);
		cr_assert_eq(got.result.started_ms, 1u);
		cr_assert_eq(got.result.finished_ms, 2u);
		cr_assert_eq(got.result.ran_ms, 3u);
		cr_assert_eq(got.result.records, 4u);
		cr_assert_str_eq(got.result.error, "killed");
		cr_assert_null(got.result.message);
		message_clear(&got);
		message_clear(&m);
	}
}

Test(message, small_ones_travel)
{
	struct message m = {.type = MESSAGE_CANCEL, .job = 5, .interrupt = true};
	struct message got = travel(&m);
	cr_assert(got.job == 5 && got.interrupt);
	uint64_t jobs[] = {6, UINT64_MAX, 0};
	m = (struct message){.type = MESSAGE_ACK, .jobs = jobs};
	got = travel(&m);
	cr_assert(got.jobs[0] == 6 && got.jobs[1] == UINT64_MAX && got.jobs[2] == 0);
	message_clear(&got);
	m = (struct message){.type = MESSAGE_STARTED, .job = 6, .started_ms = 77};
	got = travel(&m);
	cr_assert_eq(got.started_ms, 77u);
	m = (struct message){.type = MESSAGE_QUIT};
	travel(&m);
	m = (struct message){.type = MESSAGE_RECALL};
	travel(&m);
}

Test(message, a_kept_result_is_read_again)
{
	struct run_result result = {.job = 9, .attempt = 2, .outcome = OUTCOME_FAILED,
		.exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE, .error = strdup("cannot \x01")};
	struct run_result got = {0};
	char *data = NULL;
	size_t size = 0;
	cr_assert_eq(run_result_encode(&result, &data, &size), 0);
	cr_assert_eq(run_result_decode(data, size, &got), 0);
	cr_assert_eq(got.exit_code, EXIT_CODE_NONE);
	cr_assert_eq(got.records, RECORDS_NONE);
	cr_assert_str_eq(got.error, "cannot \x01");
	run_result_clear(&got);
	for (size_t cut = 0; cut < size; cut++)
		cr_assert_eq(run_result_decode(data, cut, &got), -EBADMSG);
	free(data);
	run_result_clear(&result);
}

Test(message, a_kept_result_of_another_version_is_refused)
{
	static const char text[] = "{\"version\":2,\"job\":9,\"attempt\":2,\"outcome\":\"failed\","
		"\"exit_code\":1,\"started_ms\":0,\"finished_ms\":0,\"ran_ms\":0}";
	struct run_result got = {0};
	cr_assert_eq(run_result_decode(text, sizeof text - 1, &got), -EBADMSG);
}

Test(message, what_is_too_large_is_not_sent)
{
	char **command = calloc(2, sizeof *command);
	command[0] = malloc(MESSAGE_MAX + 1);
	memset(command[0], 'x', MESSAGE_MAX);
	command[0][MESSAGE_MAX] = '\0';
	struct message m = {.type = MESSAGE_RUN, .order = an_order(command)};
	char *data = NULL;
	size_t size = 0;
	cr_assert_eq(message_encode(&m, &data, &size), -EMSGSIZE);
	cr_assert_null(data);
	message_clear(&m);
}

Test(message, a_progress_that_is_no_number_is_not_sent)
{
	struct message m = {.type = MESSAGE_PROGRESS,
		.progress = {.job = 7, .progress = 1.5, .records = RECORDS_NONE}};
	char *data = NULL;
	size_t size = 0;
	cr_assert_eq(message_encode(&m, &data, &size), -EINVAL);
	m = (struct message){.type = MESSAGE_ACK};
	cr_assert_eq(message_encode(&m, &data, &size), -EINVAL, "of nothing");
}

Test(message, garbage_is_refused)
{
	static const char *const texts[] = {
		"", "x", "[]", "null", "{}", "{\"type\":\"\"}", "{\"type\":7}", "{\"type\":\"fly\"}",
		"{\"type\":\"ack\"}", "{\"type\":\"ack\",\"jobs\":[]}", "{\"type\":\"ack\",\"jobs\":7}",
		"{\"type\":\"ack\",\"jobs\":[1,0]}", "{\"type\":\"ack\",\"jobs\":[\"x\"]}",
		"{\"type\":\"ack\",\"jobs\":[1]}x",
		"{\"type\":\"recall\",\"job\":1,\"job\":2}",
		"{\"type\":\"cancel\",\"job\":0,\"interrupt\":true}",
		"{\"type\":\"cancel\",\"job\":-1,\"interrupt\":true}",
		"{\"type\":\"cancel\",\"job\":1.5,\"interrupt\":true}",
		"{\"type\":\"cancel\",\"job\":\"18446744073709551616\",\"interrupt\":true}",
		"{\"type\":\"cancel\",\"job\":\"\",\"interrupt\":true}",
		"{\"type\":\"cancel\",\"job\":\"-1\",\"interrupt\":true}",
		"{\"type\":\"cancel\",\"job\":\"1x\",\"interrupt\":true}",
		"{\"type\":\"cancel\",\"job\":1,\"interrupt\":1}",
		"{\"type\":\"progress\",\"job\":1,\"progress\":1.5}",
		"{\"type\":\"progress\",\"job\":1,\"progress\":-0.5}",
		"{\"type\":\"progress\",\"job\":1,\"progress\":\"0.5\"}",
		"{\"type\":\"progress\",\"job\":1,\"message\":\"\\\\x00\"}",
		"{\"type\":\"progress\",\"job\":1,\"message\":\"\\u0000\"}",
		"{\"type\":\"progress\",\"job\":1,\"message\":[]}",
		"{\"type\":\"progress\",\"job\":1,\"records\":\"18446744073709551615\"}",
		"{\"type\":\"result\",\"job\":1,\"attempt\":4294967296,\"outcome\":\"failed\",\"exit_code\":1,"
		"\"started_ms\":0,\"finished_ms\":0,\"ran_ms\":0}",
		"{\"type\":\"result\",\"job\":1,\"attempt\":1,\"outcome\":\"running\",\"exit_code\":1,"
		"\"started_ms\":0,\"finished_ms\":0,\"ran_ms\":0}",
		"{\"type\":\"result\",\"job\":1,\"attempt\":1,\"outcome\":\"failed\",\"exit_code\":-2,"
		"\"started_ms\":0,\"finished_ms\":0,\"ran_ms\":0}",
		"{\"type\":\"result\",\"job\":1,\"attempt\":1,\"outcome\":\"failed\",\"exit_code\":256,"
		"\"started_ms\":0,\"finished_ms\":0,\"ran_ms\":0}",
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct message got = {.type = MESSAGE_QUIT, .job = 99};
		cr_assert_eq(message_decode(texts[i], strlen(texts[i]), &got), -EBADMSG, "%s", texts[i]);
		cr_assert_eq(got.job, 99u, "touched by %s", texts[i]);
	}
}

static void refuse_json(const json_t *json, int expected, const char *what)
{
	struct message got = {0};
	char *text = json_dumps(json, JSON_COMPACT);
	cr_assert_eq(message_decode(text, strlen(text), &got), expected, "%s: %s", what, text);
	if (expected == 0)
		message_clear(&got);
	free(text);
}

static void refuse_order(const char *what, void (*spoil)(struct run_order *))
{
	struct message m = {.type = MESSAGE_RUN, .order = an_order(a_command())};
	struct message got = {0};
	char *data = NULL;
	size_t size = 0;
	spoil(&m.order);
	cr_assert_eq(message_encode(&m, &data, &size), 0);
	cr_assert_eq(message_decode(data, size, &got), -EBADMSG, "%s", what);
	free(data);
	message_clear(&m);
}

static void set(char **field, const char *text)
{
	free(*field);
	*field = strdup(text);
}

static void slash_in_name(struct run_order *o) { set(&o->name, "../x"); }
static void dots_as_name(struct run_order *o) { set(&o->name, ".."); }
static void relative_dir(struct run_order *o) { set(&o->dir, "spool"); }
static void strange_user(struct run_order *o) { set(&o->user, "../root"); }
static void no_cookie(struct run_order *o) { set(&o->cookie, ""); }
static void no_program(struct run_order *o) { set(&o->command[0], ""); }
static void no_attempt(struct run_order *o) { o->attempt = 0; }
static void no_job(struct run_order *o) { o->job = 0; }
static void no_name(struct run_order *o) { set(&o->name, ""); }
static void dot_as_name(struct run_order *o) { set(&o->name, "."); }
static void long_name(struct run_order *o)
{
	char name[NAME_FILE_MAX + 2];
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	set(&o->name, name);
}

Test(message, orders_that_could_do_harm_are_refused)
{
	refuse_order("name with slash", slash_in_name);
	refuse_order("name ..", dots_as_name);
	refuse_order("relative directory", relative_dir);
	refuse_order("user", strange_user);
	refuse_order("cookie", no_cookie);
	refuse_order("program", no_program);
	refuse_order("attempt", no_attempt);
	refuse_order("job", no_job);
	refuse_order("no name", no_name);
	refuse_order("name .", dot_as_name);
	refuse_order("name that no file has", long_name);
}

/* One field after the other is missing, or of another kind than it should be. */
Test(message, each_field_is_there_and_of_its_kind)
{
	static const char *const optional[] = {"run_as", "records", "error", "message",
		"cpu_seconds", "memory_bytes", "file_bytes", "open_files", "processes", "acked"};
	struct message messages[] = {
		{.type = MESSAGE_RUN, .order = an_order(a_command())},
		{.type = MESSAGE_CANCEL, .job = 1, .interrupt = true},
		{.type = MESSAGE_RESULT, .result = {.job = 1, .attempt = 1, .outcome = OUTCOME_FAILED}},
		{.type = MESSAGE_PROGRESS, .progress = {.job = 1, .progress = 0.5}},
	};
	for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
		char *data = NULL;
		size_t size = 0;
		const char *key;
		json_t *value;
		cr_assert_eq(message_encode(&messages[i], &data, &size), 0);
		json_t *whole = json_loads(data, 0, NULL);
		free(data);
		json_object_foreach(whole, key, value) {
			bool may_miss = strcmp(key, "progress") == 0;
			for (size_t o = 0; o < sizeof optional / sizeof *optional; o++)
				may_miss = may_miss || strcmp(key, optional[o]) == 0;
			json_t *spoilt = json_copy(whole);
			json_object_del(spoilt, key);
			refuse_json(spoilt, may_miss ? 0 : -EBADMSG, key);
			json_object_set_new(spoilt, key, json_object());
			refuse_json(spoilt, -EBADMSG, key);
			json_object_set_new(spoilt, key, json_pack("[{}]"));
			refuse_json(spoilt, -EBADMSG, key);
			json_decref(spoilt);
		}
		json_decref(whole);
		message_clear(&messages[i]);
	}
}

Test(message, what_could_not_arrive_is_not_sent)
{
	struct message m = {.type = MESSAGE_RUN, .order = an_order(a_command())};
	char *data = NULL, *cookie = m.order.cookie, **command = m.order.command;
	size_t size = 0;
	m.order.cookie = NULL;
	cr_assert_eq(message_encode(&m, &data, &size), -EINVAL);
	m.order.cookie = cookie;
	m.order.command = NULL;
	cr_assert_eq(message_encode(&m, &data, &size), -EINVAL);
	m.order.command = command;
	message_clear(&m);
}

Test(message, what_is_too_large_is_not_read)
{
	struct message got = {.type = MESSAGE_TYPES};
	char *data = malloc(MESSAGE_MAX + 2);
	memset(data, ' ', MESSAGE_MAX + 1);
	memcpy(data, "{\"type\":\"quit\"}", 15);
	cr_assert_eq(message_decode(data, MESSAGE_MAX, &got), 0);
	got.type = MESSAGE_TYPES;
	cr_assert_eq(message_decode(data, MESSAGE_MAX + 1, &got), -EBADMSG);
	cr_assert_eq(got.type, MESSAGE_TYPES);
	free(data);
}

Test(message, a_kept_result_of_no_job_or_attempt_is_refused)
{
	struct run_result result = {.job = 1, .attempt = 1, .outcome = OUTCOME_FAILED}, got = {0};
	char *data = NULL;
	size_t size = 0;
	result.job = 0;
	cr_assert_eq(run_result_encode(&result, &data, &size), 0);
	cr_assert_eq(run_result_decode(data, size, &got), -EBADMSG);
	free(data);
	result = (struct run_result){.job = 1, .outcome = OUTCOME_FAILED};
	cr_assert_eq(run_result_encode(&result, &data, &size), 0);
	cr_assert_eq(run_result_decode(data, size, &got), -EBADMSG);
	free(data);
}

Test(message, cut_and_flipped_bytes_never_do_harm)
{
	struct message m = {.type = MESSAGE_RUN, .order = an_order(a_command())};
	char *data = NULL;
	size_t size = 0;
	cr_assert_eq(message_encode(&m, &data, &size), 0);
	for (size_t i = 0; i < size; i++) {
		struct message got = {0};
		cr_assert_eq(message_decode(data, i, &got), -EBADMSG);
		for (unsigned bit = 0; bit < 8; bit++) {
			data[i] = (char)(data[i] ^ 1 << bit);
			if (message_decode(data, size, &got) == 0)
				message_clear(&got);
			data[i] = (char)(data[i] ^ 1 << bit);
		}
	}
	free(data);
	message_clear(&m);
}

Test(message, what_a_stream_handler_is_started_with_is_one_text)
{
	char *command[] = {strdup("/bin/x"), strdup("a b"), NULL};
	struct run_order a = {.job = 1, .attempt = 1, .user = strdup("alice"), .command = command,
	                      .cookie = strdup("c"), .timeout_ms = 5};
	struct run_order b = a;
	b.job = 2;
	b.attempt = 3;
	b.timeout_ms = 7;
	char *key = run_order_handler(&a), *same = run_order_handler(&b);
	cr_assert_str_eq(key, same);
	free(same);
	char *others[] = {strdup("/bin/x"), strdup("a"), strdup("b"), NULL}, bob[] = "bob", nobody[] = "nobody";
	struct run_order differing[] = {a, a, a, a};
	differing[0].command = others;
	differing[1].user = bob;
	differing[2].run_as = nobody;
	differing[3].limits.processes = 1;
	for (size_t i = 0; i < sizeof differing / sizeof *differing; i++) {
		char *other = run_order_handler(&differing[i]);
		cr_assert_str_neq(key, other, "%zu", i);
		free(other);
	}
	free(key);
	for (size_t i = 0; i < 3; i++)
		free(others[i]);
	free(command[0]);
	free(command[1]);
	free(a.user);
	free(a.cookie);
}

Test(message, what_is_seldom_said_is_absent_and_false)
{
	struct message got, m = {.type = MESSAGE_RESULT, .result = {.job = 1, .attempt = 1,
		.outcome = OUTCOME_FAILED, .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE}};
	for (int i = 0; i < 2; i++) {
		char *data;
		size_t size;
		m.result.permanent = i == 1;
		cr_assert_eq(message_encode(&m, &data, &size), 0);
		cr_assert_eq(strstr(data, "permanent") != NULL, i == 1);
		cr_assert_eq(message_decode(data, size, &got), 0);
		cr_assert_eq(got.result.permanent, i == 1);
		message_clear(&got);
		free(data);
	}
}
