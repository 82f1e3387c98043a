#include "spoolctl/jobs.h"
#include "spoolctl/view.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FOLLOW_MS = 500 };

struct args {
	struct job_list jobs;
	bool follow;
};

static const struct argp_option options[] = {
	{"follow", 'f', NULL, 0, "Go on until the job has ended", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *args = state->input;
	switch (key) {
	case 'f':
		args->follow = true;
		return 0;
	case ARGP_KEY_ARG:
		return args->jobs.n > 0 ? ARGP_ERR_UNKNOWN : job_list_add(&args->jobs, arg, state);
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which job? \"spoolctl list\" shows their numbers");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "JOB",
	.doc = "Prints what the handler of a job wrote: its bytes as they are into a pipe, control "
	       "characters escaped on a terminal.\v"
	       "Example: spoolctl log 42 --follow",
};

/* Bytes that came but are not printed yet: the beginning of a character. */
struct pending {
	char bytes[4];
	size_t n;
};

/* The daemon sends one character U+0000..U+00FF for each byte. */
static char *to_bytes(const json_t *data, size_t *ret_n)
{
	size_t n = json_string_length(data), used = 0;
	const char *text = json_string_value(data);
	char *out = ctl_need(malloc(n + 1));
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c >= 0xc0 && i + 1 < n)
			c = (unsigned char)((c & 3) << 6 | ((unsigned char)text[++i] & 0x3f));
		out[used++] = (char)c;
	}
	*ret_n = used;
	return out;
}

/* Length of a UTF-8 character that has begun but not ended at the end of the
 * bytes: its rest may come with the next ones. */
static size_t unfinished(const char *bytes, size_t n)
{
	for (size_t back = 1; back <= 3 && back <= n; back++) {
		unsigned char c = (unsigned char)bytes[n - back];
		if ((c & 0xc0) == 0x80)
			continue;
		size_t wanted = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
		return wanted > back ? back : 0;
	}
	return 0;
}

static void print_safely(struct pending *pending, const char *bytes, size_t n, bool last)
{
	char *all = ctl_need(malloc(pending->n + n + 1));
	memcpy(all, pending->bytes, pending->n);
	memcpy(all + pending->n, bytes, n);
	n += pending->n;
	pending->n = last ? 0 : unfinished(all, n);
	n -= pending->n;
	memcpy(pending->bytes, all + n, pending->n);
	char *text = ctl_need(text_printable(all, n, "\n\t"));
	fputs(text, stdout);
	free(text);
	free(all);
}

/* `followed`: some of it was asked for before. That it is gone since is no error then. */
static int ask_chunk(struct ctl *ctl, uint64_t job, json_int_t offset, bool followed,
                     enum patience patience, json_t **ret)
{
	json_t *request = ctl_request("log");
	if (followed)
		ctl_put(request, "followed", json_true());
	ctl_put(request, "job", json_integer((json_int_t)job));
	ctl_put(request, "offset", json_integer(offset));
	return ctl_ask(ctl, request, patience, ret);
}

static void rest(void)
{
	const struct timespec pause = {.tv_nsec = FOLLOW_MS * 1000 * 1000};
	fflush(stdout);
	nanosleep(&pause, NULL);
}

static int print_log(struct ctl *ctl, const struct args *args)
{
	struct pending pending = {0};
	json_int_t offset = 0;
	for (bool followed = false;; followed = true) {
		json_t *answer = NULL;
		size_t n;
		int code = ask_chunk(ctl, args->jobs.ids[0], offset, followed,
		                     args->follow ? ASK_THROUGH_RESTARTS : ASK_SOON, &answer);
		if (code != CTL_OK)
			return code;
		bool final = view_true(answer, "final");
		char *bytes = to_bytes(json_object_get(answer, "data"), &n);
		bool last = n == 0 && (final || !args->follow);
		if (ctl->terminal)
			print_safely(&pending, bytes, n, last);
		else
			fwrite(bytes, 1, n, stdout);
		free(bytes);
		offset = view_has(answer, "next") ? view_number(answer, "next") : offset + (json_int_t)n;
		json_decref(answer);
		if (last || ferror(stdout))
			return CTL_OK;
		if (n == 0)
			rest();
	}
}

/* The whole log as one object; "data" as on the socket. */
static int print_json(struct ctl *ctl, uint64_t job)
{
	json_t *whole = ctl_need(json_string(""));
	json_int_t offset = 0;
	bool final = false;
	for (bool followed = false;; followed = true) {
		json_t *answer = NULL;
		int code = ask_chunk(ctl, job, offset, followed, ASK_SOON, &answer);
		if (code != CTL_OK) {
			json_decref(whole);
			return code;
		}
		const json_t *data = json_object_get(answer, "data");
		size_t n = json_string_length(data), have = json_string_length(whole);
		char *text = ctl_need(malloc(have + n + 1));
		memcpy(text, json_string_value(whole), have);
		memcpy(text + have, n > 0 ? json_string_value(data) : "", n);
		json_decref(whole);
		whole = ctl_need(json_stringn(text, have + n));
		free(text);
		offset = view_number(answer, "next");
		final = view_true(answer, "final");
		json_decref(answer);
		if (n == 0)
			break;
	}
	ctl_print_json(ctl, json_pack("{s:I,s:o,s:b}", "job", (json_int_t)job, "data", whole, "final",
	                              (int)final));
	return CTL_OK;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct args args = {0};
	int code = CTL_USAGE;
	if (ctl_parse(ctl, &argp, argc, argv, &args)) {
		if (ctl->json && args.follow)
			ctl_error(ctl, "--follow is for people: leave out --json");
		else
			code = ctl->json ? print_json(ctl, args.jobs.ids[0]) : print_log(ctl, &args);
	}
	free(args.jobs.ids);
	return code;
}

const struct cmd cmd_log = {
	.name = "log",
	.args = "JOB [--follow]",
	.summary = "what its handler wrote",
	.run = run,
};
