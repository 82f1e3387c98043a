/* A handler that serves many jobs: a line on its standard input for each, lines
 * about it on its standard output; see spool-handler(7). Whatever it does
 * besides that is its fault: the attempt it has then fails, and it is ended. */
#include "io/runner_private.h"

#include "base/clock.h"
#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Its exit mostly comes with the end of its output, and says more. */
enum { SILENT_PATIENCE_MS = 1000 };
enum {
	SHOWN_MAX = 200,  /* bytes of a bad line */
	BLANKS_MAX = 100, /* lines without anything are let pass, within reason */
};

int runner_stream_begin(struct runner *r)
{
	const struct run_order *order = r->order;
	r->stream = (struct stream){.recycle_jobs = order->recycle_jobs, .recycle_ms = order->recycle_ms,
	                            .idle_ms = order->idle_ms, .born_ms = clock_steady_ms()};
	r->stream.line = malloc(STREAM_LINE_MAX);
	r->stream.handler = run_order_handler(order);
	return r->stream.line == NULL || r->stream.handler == NULL ? -ENOMEM : 0;
}

void runner_stream_end(struct runner *r)
{
	free(r->stream.handler);
	free(r->stream.line);
	free(r->stream.job_line);
	r->stream = (struct stream){0};
}

static bool is_worn(const struct stream *s, uint64_t now)
{
	return (s->recycle_jobs > 0 && s->jobs >= s->recycle_jobs) ||
	       (s->recycle_ms > 0 && now >= runner_later(s->born_ms, s->recycle_ms));
}

bool runner_stream_fits(struct runner *r, const struct run_order *order)
{
	struct stream *s = &r->stream;
	if (!order->stream || s->handler == NULL || r->phase != PHASE_RUNNING || r->exited ||
	    r->report_fd < 0 || s->deaf)
		return false;
	char *handler = run_order_handler(order);
	bool same = handler != NULL && strcmp(handler, s->handler) == 0;
	free(handler);
	s->recycle_jobs = order->recycle_jobs;
	s->recycle_ms = order->recycle_ms;
	s->idle_ms = order->idle_ms;
	return same && !is_worn(s, clock_steady_ms());
}

void runner_stream_leave(struct runner *r)
{
	if (r->stream.handler == NULL || r->phase != PHASE_RUNNING)
		return;
	r->input = fd_close(r->input);
	runner_enter(r, r->kill_grace_ms == 0 ? PHASE_KILLING : PHASE_LEAVING);
}

__attribute__((format(printf, 2, 3)))
static void fault(struct runner *r, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, format);
	int n = vasprintf(&text, format, args);
	va_end(args);
	const char *said = n < 0 ? "it broke the protocol" : text;
	if (runner_attempt_runs(r))
		r->result.error = runner_text("the handler %s", said);
	else
		log_warning("a stream handler %s; it is ended, the next job gets a new one", said);
	if (n >= 0)
		free(text);
	runner_begin_ending(r, OUTCOME_FAILED);
}

void runner_stream_mute(struct runner *r, bool mute)
{
	if (r->stream.muted == mute || r->output < 0)
		return;
	if (mute)
		epoll_ctl(r->epoll, EPOLL_CTL_DEL, r->output, NULL);
	else
		runner_watch(r, r->output, EPOLLIN);
	r->stream.muted = mute;
}

static int add(json_t *line, const char *key, const char *text, bool plain)
{
	char *escaped = plain ? NULL : escape_str(text);
	json_t *value = json_string(plain ? text : escaped);
	free(escaped);
	return json_object_set_new(line, key, value);
}

static bool is_utf8(const char *text)
{
	json_t *value = json_string(text);
	json_decref(value);
	return value != NULL;
}

/* JSON has no bytes: where a name is no UTF-8, all of them are escaped. */
static char *describe_job(const struct run_order *order)
{
	char *file = NULL, *output = NULL, *text = NULL;
	json_t *line = json_object();
	if (asprintf(&file, "%s/%s", order->dir, order->name) < 0)
		file = NULL;
	if (asprintf(&output, "%s/%s", order->dir, name_output(order->name)) < 0)
		output = NULL;
	if (line != NULL && file != NULL && output != NULL) {
		bool plain = is_utf8(file) && is_utf8(order->user);
		if (json_object_set_new(line, "job", json_integer((json_int_t)order->job)) == 0 &&
		    json_object_set_new(line, "attempt", json_integer(order->attempt)) == 0 &&
		    add(line, "user", order->user, plain) == 0 &&
		    add(line, "name", order->name, plain) == 0 &&
		    add(line, "file", file, plain) == 0 && add(line, "output", output, plain) == 0 &&
		    (plain || json_object_set_new(line, "escaped", json_true()) == 0))
			text = json_dumps(line, JSON_COMPACT);
	}
	json_decref(line);
	free(file);
	free(output);
	return text;
}

int runner_stream_send(struct runner *r)
{
	struct stream *s = &r->stream;
	char *line = describe_job(r->order);
	if (line == NULL)
		return -ENOMEM;
	s->jobs++;
	s->job_line = line;
	s->job_line_n = strlen(line);
	line[s->job_line_n++] = '\n'; /* in place of the NUL */
	s->sent = 0;
	s->blanks = 0;
	runner_stream_mute(r, false);
	runner_stream_send_more(r);
	return 0;
}

/* That nobody reads its input any more is told in any case. */
static void wait_to_send(struct runner *r, bool wait)
{
	struct epoll_event event = {.events = wait ? EPOLLOUT : 0, .data.fd = r->input};
	if (r->stream.waits_to_send != wait && !r->stream.deaf)
		epoll_ctl(r->epoll, EPOLL_CTL_MOD, r->input, &event);
	r->stream.waits_to_send = wait;
}

static void forget_line(struct runner *r)
{
	wait_to_send(r, false);
	free(r->stream.job_line);
	r->stream.job_line = NULL;
}

void runner_stream_send_more(struct runner *r)
{
	struct stream *s = &r->stream;
	while (r->input >= 0 && s->job_line != NULL && s->sent < s->job_line_n) {
		ssize_t n = write(r->input, s->job_line + s->sent, s->job_line_n - s->sent);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			wait_to_send(r, true);
			return;
		}
		if (n < 0) {
			runner_stream_deaf(r);
			return;
		}
		s->sent += (size_t)n;
	}
	wait_to_send(r, false);
}

/* Of the attempt it knows nothing. */
static bool is_unread(const struct runner *r)
{
	const struct stream *s = &r->stream;
	int waiting = 0;
	if (!runner_attempt_runs(r) || s->job_line == NULL)
		return false;
	return s->sent < s->job_line_n || (r->input >= 0 && ioctl(r->input, FIONREAD, &waiting) == 0 &&
	                                   (size_t)waiting >= s->job_line_n);
}

void runner_stream_deaf(struct runner *r)
{
	struct stream *s = &r->stream;
	if (!s->deaf)
		epoll_ctl(r->epoll, EPOLL_CTL_DEL, r->input, NULL);
	s->deaf = true;
	if (is_unread(r))
		runner_stream_silent(r);
	else if (!runner_attempt_runs(r))
		runner_stream_leave(r);
}

void runner_stream_silent(struct runner *r)
{
	if (r->stream.silent_ms == 0)
		r->stream.silent_ms = clock_steady_ms();
}

bool runner_stream_unread(const struct runner *r)
{
	return r->stream.jobs > 1 && r->reason == OUTCOME_NONE && is_unread(r);
}

uint64_t runner_stream_due(const struct runner *r)
{
	const struct stream *s = &r->stream;
	if (s->handler == NULL)
		return NEVER;
	if (s->silent_ms != 0)
		return runner_later(s->silent_ms, SILENT_PATIENCE_MS);
	if (runner_attempt_runs(r))
		return NEVER;
	uint64_t worn = s->recycle_ms == 0 ? NEVER : runner_later(s->born_ms, s->recycle_ms);
	uint64_t idle = s->idle_ms == 0 ? NEVER : runner_later(s->idle_since_ms, s->idle_ms);
	return worn < idle ? worn : idle;
}

void runner_stream_advance(struct runner *r, uint64_t now)
{
	if (now < runner_stream_due(r))
		return;
	if (r->stream.silent_ms == 0)
		runner_stream_leave(r);
	else if (runner_stream_unread(r))
		runner_begin_ending(r, OUTCOME_NONE); /* the attempt is for the next one */
	else if (r->report_fd >= 0)
		fault(r, "closed its standard input without reading of the job");
	else
		fault(r, "closed its standard output%s",
		      runner_attempt_runs(r) ? " without an answer" : "");
}

/* With a piece of what it said. */
static void fault_about(struct runner *r, const char *what)
{
	const struct stream *s = &r->stream;
	char *said = runner_printable(s->line, s->used < SHOWN_MAX ? s->used : SHOWN_MAX);
	fault(r, "%s: %s%s", what, said == NULL ? "?" : said, s->used > SHOWN_MAX ? "..." : "");
	free(said);
}

static bool take_progress(struct runner *r, const json_t *value)
{
	if (value == NULL)
		return true;
	double progress = json_number_value(value);
	if (!json_is_number(value) || !isfinite(progress))
		return false;
	r->report.now.progress = progress < 0 ? 0 : progress > 1 ? 1 : progress;
	return true;
}

static bool take_records(struct runner *r, const json_t *value)
{
	if (value == NULL)
		return true;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	r->report.now.records = (uint64_t)json_integer_value(value);
	return true;
}

static bool take_message(struct runner *r, const json_t *value)
{
	if (value == NULL)
		return true;
	if (!json_is_string(value))
		return false;
	char *message = runner_printable(json_string_value(value), json_string_length(value));
	if (message != NULL) {
		free(r->report.now.message);
		r->report.now.message = message;
	}
	return true;
}

static bool take_verdict(struct runner *r, const json_t *value)
{
	const char *word = json_string_value(value);
	if (value == NULL)
		return true;
	if (word == NULL)
		return false;
	if (strcmp(word, "done") == 0)
		r->result.outcome = OUTCOME_SUCCEEDED;
	else if (strcmp(word, "failed") == 0 || strcmp(word, "permanent") == 0)
		r->result.outcome = OUTCOME_FAILED;
	else
		return false;
	r->result.permanent = strcmp(word, "permanent") == 0;
	return true;
}

static void end_attempt(struct runner *r)
{
	struct stream *s = &r->stream;
	/* It did not wait for the whole line: the rest would meet the next one. */
	bool hasty = s->sent < s->job_line_n;
	runner_finish(r);
	forget_line(r);
	s->idle_since_ms = clock_steady_ms();
	if (hasty || s->deaf || is_worn(s, s->idle_since_ms))
		runner_stream_leave(r);
}

static void take_answer(struct runner *r, const json_t *answer)
{
	const json_t *job = json_object_get(answer, "job");
	if (!json_is_integer(job)) {
		fault_about(r, "answered without a \"job\"");
	} else if (json_integer_value(job) != (json_int_t)r->order->job) {
		fault(r, "answered for job %" JSON_INTEGER_FORMAT " while it had job %" PRIu64,
		      json_integer_value(job), r->order->job);
	} else if (!take_progress(r, json_object_get(answer, "progress")) ||
	           !take_records(r, json_object_get(answer, "records")) ||
	           !take_message(r, json_object_get(answer, "message")) ||
	           !take_verdict(r, json_object_get(answer, "result"))) {
		fault_about(r, "wrote an answer with a wrong value");
	} else if (r->result.outcome != OUTCOME_NONE) {
		end_attempt(r);
	} else {
		r->report.news = true;
	}
}

static bool is_blank(const struct stream *s)
{
	for (size_t i = 0; i < s->used; i++)
		if (s->line[i] != ' ' && s->line[i] != '\t' && s->line[i] != '\r')
			return false;
	return true;
}

static void take_line(struct runner *r)
{
	struct stream *s = &r->stream;
	if (is_blank(s) && s->blanks++ < BLANKS_MAX)
		return;
	if (!runner_attempt_runs(r)) {
		fault_about(r, "wrote to its standard output while it had no job");
		return;
	}
	json_t *answer = json_loadb(s->line, s->used, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(answer))
		take_answer(r, answer);
	else
		fault_about(r, "wrote a line that is no answer (what is for the log belongs on standard error)");
	json_decref(answer);
}

/* What it says on its way out changes nothing, unless it left by itself. */
static bool listens(const struct runner *r)
{
	if (!runner_attempt_runs(r))
		return r->phase == PHASE_RUNNING;
	return r->reason == OUTCOME_NONE && (r->phase == PHASE_RUNNING || r->phase == PHASE_KILLING);
}

void runner_stream_feed(struct runner *r, const char *data, size_t n)
{
	struct stream *s = &r->stream;
	for (size_t i = 0; i < n && listens(r); i++) {
		if (data[i] == '\n') {
			take_line(r);
			s->used = 0;
		} else if (s->used < STREAM_LINE_MAX) {
			s->line[s->used++] = data[i];
		} else {
			fault(r, "wrote a line of more than %d KiB", STREAM_LINE_MAX / 1024);
		}
	}
}
