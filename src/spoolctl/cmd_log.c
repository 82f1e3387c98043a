#include "spoolctl/jobs.h"
#include "spoolctl/offline.h"
#include "spoolctl/view.h"

#include "base/text.h"
#include "core/shape.h"

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

/* Where the pieces of a log come from. */
struct source {
	struct ctl *ctl;
	struct offline_log *offline; /* NULL: from spoold */
	uint64_t job;
	bool follow;
	bool followed; /* some of it was asked for before. That it is gone since is no error then. */
	json_int_t offset;
};

struct piece {
	char *bytes;
	size_t n;
	bool final;
};

/* Who follows waits for spoold, so that what cannot be read without it is not the end. */
static int open_source(struct source *s)
{
	int code = ctl_connect(s->ctl);
	if (code != CTL_NO_DAEMON)
		return code;
	code = offline_log_open(s->ctl, &s->offline);
	return s->follow ? CTL_OK : code;
}

/* From now on spoold is asked, and waited for. */
static void leave_offline(struct source *s)
{
	offline_log_close(s->offline);
	s->offline = NULL;
}

static int ask_daemon(const struct source *s, json_t **ret)
{
	json_t *request = ctl_request("log");
	if (s->followed)
		ctl_put(request, "followed", json_true());
	ctl_put(request, "job", json_integer((json_int_t)s->job));
	ctl_put(request, "offset", json_integer(s->offset));
	return ctl_ask(s->ctl, request, s->follow ? ASK_THROUGH_RESTARTS : ASK_SOON, ret);
}

static int ask(struct source *s, json_t **ret)
{
	if (s->offline == NULL)
		return ask_daemon(s, ret);
	int code = offline_log_read(s->offline, s->job, (uint64_t)s->offset, s->followed, ret);
	if (code != CTL_NO_DAEMON || !s->follow)
		return code;
	leave_offline(s);
	return ask_daemon(s, ret);
}

static int next_piece(struct source *s, struct piece *ret)
{
	json_t *answer = NULL;
	int code = ask(s, &answer);
	if (code != CTL_OK)
		return code;
	ret->bytes = to_bytes(json_object_get(answer, "data"), &ret->n);
	ret->final = view_true(answer, "final");
	s->offset = view_has(answer, "next") ? view_number(answer, "next")
	                                     : s->offset + (json_int_t)ret->n;
	s->followed = true;
	json_decref(answer);
	return CTL_OK;
}

static void rest(void)
{
	const struct timespec pause = {.tv_nsec = FOLLOW_MS * 1000 * 1000};
	fflush(stdout);
	nanosleep(&pause, NULL);
}

static int print_log(struct source *s)
{
	struct pending pending = {0};
	for (;;) {
		struct piece piece;
		int code = next_piece(s, &piece);
		if (code != CTL_OK)
			return code;
		bool more = piece.n > 0, last = !more && (piece.final || !s->follow);
		if (s->ctl->terminal)
			print_safely(&pending, piece.bytes, piece.n, last);
		else
			fwrite(piece.bytes, 1, piece.n, stdout);
		free(piece.bytes);
		if (last || ferror(stdout))
			return CTL_OK;
		if (!more && s->offline != NULL)
			leave_offline(s);
		else if (!more)
			rest();
	}
}

/* The whole log as one object; "data" as on the socket. */
static int print_json(struct source *s)
{
	char *all = NULL;
	size_t size = 0;
	int code;
	struct piece piece;
	FILE *whole = ctl_need(open_memstream(&all, &size));
	while ((code = next_piece(s, &piece)) == CTL_OK) {
		fwrite(piece.bytes, 1, piece.n, whole);
		free(piece.bytes);
		if (piece.n == 0)
			break;
	}
	bool failed = ferror(whole) != 0;
	if (fclose(whole) != 0 || failed)
		ctl_need(NULL);
	if (code == CTL_OK)
		ctl_print_json(s->ctl, json_pack("{s:I,s:o,s:b}", "job", (json_int_t)s->job, "data",
		                                 shape_bytes(all, size), "final", (int)piece.final));
	free(all);
	return code;
}

static int print(struct source *s)
{
	int code = open_source(s);
	if (code == CTL_OK)
		code = s->ctl->json ? print_json(s) : print_log(s);
	offline_log_close(s->offline);
	return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct args args = {0};
	int code = CTL_USAGE;
	if (ctl_parse(ctl, &argp, argc, argv, &args)) {
		if (ctl->json && args.follow)
			ctl_error(ctl, "--follow is for people: leave out --json");
		else
			code = print(&(struct source){.ctl = ctl, .job = args.jobs.ids[0],
			                              .follow = args.follow});
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
