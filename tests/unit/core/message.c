#include "core/message.h"
#include "core/name.h"

#include <criterion/criterion.h>
#include <errno.h>
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
	cr_assert_eq(message_decode(data, size, &got), 0);
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

/* Bytes as they travel: a letter, then for each field its number, the size of its value
 * in two bytes, and the value. The end of a text is that of the message, too. */
struct raw {
	const char *bytes;
	size_t size;
};
#define RAW(text) {text, sizeof text}
#define CUT(text) {text, sizeof text - 1}

Test(message, garbage_is_refused)
{
	static const struct raw raws[] = {
		CUT(""), RAW(""), RAW("x"), CUT("{\"type\":\"quit\"}"), RAW("{\"type\":\"quit\"}"),
		CUT("Q"), RAW("Q\0"), RAW("Q\1"), RAW("Q\1\5\0" "123"), RAW("Q\0\1\0"),
		RAW("A"), RAW("A\1\0\0"), RAW("A\1\1\0\1" "\1\0\0"), RAW("A\1\11\0" "123456789"),
		RAW("A\1\1\0\1" "\0\0\0"), RAW("A\1\1\0\1" "x"), RAW("C"), CUT("C\1\1\0\5" "\2\1\0\1"),
		RAW("C\1\0\0" "\2\1\0\1"), RAW("C\1\1\0\5" "\2\1\0\2"), RAW("C\1\1\0\5"),
		RAW("C\2\1\0\1" "\1\1\0\5"), RAW("C\1\1\0\5" "\1\1\0\5" "\2\1\0\1"), RAW("C\1\1"),
		RAW("C\1\1\0\5" "\2\1\0\1" "\1\1\0\5"), RAW("C\1\1\0\5" "\2\1\0\1" "\3\2\0x"),
		RAW("P\1\1\0\1" "\2\10\0\0\0\0\0\0\0\370\77"),   /* 1.5 */
		RAW("P\1\1\0\1" "\2\10\0\0\0\0\0\0\0\340\277"),  /* -0.5 */
		RAW("P\1\1\0\1" "\2\10\0\0\0\0\0\0\0\370\177"),  /* not a number */
		RAW("P\1\1\0\1" "\4\1\0\0"), RAW("P\1\1\0\1" "\3\10\0\377\377\377\377\377\377\377\377"),
		RAW("E\1\1\0\1" "\2\5\0\0\0\0\0\1" "\3\1\0\2" "\4\1\0\2" "\7\0\0" "\10\0\0" "\11\0\0"),
		RAW("E\1\1\0\1" "\2\1\0\1" "\3\0\0" "\4\1\0\2" "\7\0\0" "\10\0\0" "\11\0\0"),
		RAW("E\1\1\0\1" "\2\1\0\1" "\3\1\0\143" "\4\1\0\2" "\7\0\0" "\10\0\0" "\11\0\0"),
		RAW("E\1\1\0\1" "\2\1\0\1" "\3\1\0\2" "\4\2\0\1\1" "\7\0\0" "\10\0\0" "\11\0\0"),
	};
	for (size_t i = 0; i < sizeof raws / sizeof *raws; i++) {
		struct message got = {.type = MESSAGE_QUIT, .job = 99};
		cr_assert_eq(message_decode(raws[i].bytes, raws[i].size, &got), -EBADMSG, "%zu", i);
		cr_assert_eq(got.job, 99u, "touched by %zu", i);
	}
}

/* So that each of those above is refused for what is wrong with it. */
Test(message, what_is_sound_is_taken)
{
	static const struct raw raws[] = {
		RAW("A\1\1\0\1" "\1\1\0\2"), RAW("B"), RAW("C\1\1\0\5" "\2\1\0\1"),
		RAW("P\1\1\0\1" "\2\10\0\0\0\0\0\0\0\340\77"), RAW("P\1\1\0\1"),
		RAW("E\1\1\0\1" "\2\1\0\1" "\3\1\0\2" "\4\2\0\0\1" "\7\0\0" "\10\0\0" "\11\0\0"),
	};
	for (size_t i = 0; i < sizeof raws / sizeof *raws; i++) {
		struct message got = {0};
		cr_assert_eq(message_decode(raws[i].bytes, raws[i].size, &got), 0, "%zu", i);
		message_clear(&got);
	}
}

Test(message, what_a_newer_version_adds_is_passed_over)
{
	static const struct raw raw = RAW("C\1\1\0\5" "\2\1\0\1" "\3\2\0xy" "\11\0\0");
	struct message got = {0};
	cr_assert_eq(message_decode(raw.bytes, raw.size, &got), 0);
	cr_assert(got.type == MESSAGE_CANCEL && got.job == 5 && got.interrupt);
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

/* The size of the field that begins here, with its head. */
static size_t field_size(const char *at)
{
	return 3 + (size_t)(unsigned char)at[1] + 256 * (size_t)(unsigned char)at[2];
}

/* The message without the field at `at`, and instead `with`. */
static int decode_with(const char *data, size_t size, size_t at, const char *with, size_t with_n)
{
	struct message got = {0};
	size_t after = at + field_size(data + at);
	char *spoilt = malloc(size + with_n);
	memcpy(spoilt, data, at);
	memcpy(spoilt + at, with, with_n);
	memcpy(spoilt + at + with_n, data + after, size - after);
	int r = message_decode(spoilt, size - (after - at) + with_n, &got);
	if (r == 0)
		message_clear(&got);
	free(spoilt);
	return r;
}

/* One field after the other is missing, or is neither a number nor a text. */
Test(message, each_field_is_there_and_of_its_kind)
{
	char text[] = "text", *command[] = {text, text, NULL};
	struct {
		struct message message;
		const char *optional; /* the numbers of fields */
		size_t fields;
	} cases[] = {
		/* An account, five limits. */
		{{.type = MESSAGE_RUN, .order = an_order(command)}, "\7\17\20\21\22\23", 19},
		{{.type = MESSAGE_CANCEL, .job = 1, .interrupt = true}, "", 2},
		{{.type = MESSAGE_STARTED, .job = 1, .started_ms = 1}, "", 2},
		/* Records, error, message. */
		{{.type = MESSAGE_RESULT, .result = {.job = 1, .attempt = 1, .outcome = OUTCOME_FAILED,
		  .error = text, .message = text}}, "\12\13\14", 10},
		{{.type = MESSAGE_PROGRESS, .progress = {.job = 1, .progress = 0.5, .message = text}},
		 "\2\3\4", 4},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *data = NULL;
		size_t size = 0, fields = 0;
		cr_assert_eq(message_encode(&cases[i].message, &data, &size), 0);
		char before = 0;
		for (size_t at = 1; data[at] != 0; at += field_size(data + at)) {
			size_t next = at + field_size(data + at);
			char number = data[at], broken[12] = {number, 9};
			bool one_of_several = number == before || data[next] == number;
			bool may_miss = one_of_several || strchr(cases[i].optional, number) != NULL;
			cr_assert_eq(decode_with(data, size, at, "", 0), may_miss ? 0 : -EBADMSG,
			             "%zu: field %d", i, number);
			cr_assert_eq(decode_with(data, size, at, broken, sizeof broken), -EBADMSG,
			             "%zu: field %d", i, number);
			before = number;
			fields++;
		}
		cr_assert_eq(fields, cases[i].fields);
		free(data);
	}
	cases[0].message.order.command = NULL;
	message_clear(&cases[0].message);
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
	char *data = calloc(1, MESSAGE_MAX + 1);
	/* An empty field that a newer version added, and what is left of the size in a second. */
	memcpy(data, "Q\1\0\0\2\370\377", 7);
	cr_assert_eq(message_decode(data, MESSAGE_MAX, &got), 0);
	memcpy(data, "Q\1\1\0\0\2\370\377", 8);
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
		cr_assert_eq(memmem(data, size, "\5\1\0\1", 4) != NULL, i == 1);
		cr_assert_eq(message_decode(data, size, &got), 0);
		cr_assert_eq(got.result.permanent, i == 1);
		message_clear(&got);
		free(data);
	}
}
