#include "core/beside.h"

#include "base/escape.h"
#include "base/human.h"
#include "core/name.h"
#include "core/shape.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void beside_clear(struct beside *b)
{
	free(b->own);
	free(b->numbered);
	job_clear(&b->job);
	*b = (struct beside){0};
}

/* Cuts ".42" off; 0 where there is none. */
static uint64_t cut_number(char *name)
{
	char *dot = strrchr(name_base(name), '.');
	if (dot == NULL || dot == name_base(name) || dot[1] == '\0' ||
	    dot[1 + strspn(dot + 1, "0123456789")] != '\0')
		return 0;
	*dot = '\0';
	return strtoull(dot + 1, NULL, 10);
}

/* "a.csv" of "a.csv.log"; where that name was taken, "a.csv.42.log" is beside it, too. */
static bool find_result(char *result, beside_find_fn *find, void *ctx, struct beside *b)
{
	if (find(ctx, b->own, b->output, result, &b->job)) {
		b->numbered = name_with_id(b->own, b->job.id);
		return b->numbered != NULL;
	}
	uint64_t id = cut_number(result);
	return id != 0 && find(ctx, b->own, b->output, result, &b->job) && b->job.id == id;
}

/* `n` bytes of the path, which may be ours. */
static bool try_head(const char *path, size_t n, bool output, beside_find_fn *find, void *ctx,
                     struct beside *ret)
{
	const char *suffix = output ? ".output" : ".log";
	size_t end = strlen(suffix);
	if (n <= end || path[n - end - 1] == '/' || strncmp(path + n - end, suffix, end) != 0)
		return false;
	struct beside b = {.output = output, .own = strndup(path, n)};
	char *result = strndup(path, n - end);
	bool found = b.own != NULL && result != NULL && find_result(result, find, ctx, &b);
	free(result);
	if (found)
		*ret = b;
	else
		beside_clear(&b);
	return found;
}

bool beside_find(const char *path, beside_find_fn *find, void *ctx, struct beside *ret)
{
	for (const char *slash = path; (slash = strchr(slash, '/')) != NULL; slash++)
		if (try_head(path, (size_t)(slash - path), true, find, ctx, ret))
			return true;
	size_t n = strlen(path);
	return try_head(path, n, true, find, ctx, ret) || try_head(path, n, false, find, ctx, ret);
}

static char *say_because(const struct beside *b)
{
	char *text = NULL, *name = escape_str(b->job.path);
	int n = name == NULL ? -1
	        : b->output  ? asprintf(&text, "it is what the handler of job %" PRIu64 " (%s) left in its "
	                                "output directory", b->job.id, name)
	                     : asprintf(&text, "it is the log of job %" PRIu64 " (%s)", b->job.id, name);
	free(name);
	return n < 0 ? NULL : text;
}

static void say_next(const struct beside *b, uint64_t keep_ms, uint64_t now_wall_ms, char *out,
                     size_t size)
{
	char wait[HUMAN_SIZE];
	uint64_t end_ms = b->job.finished_ms + keep_ms;
	if (keep_ms == 0)
		snprintf(out, size, "it stays with its job, which is kept for ever");
	else if (end_ms <= now_wall_ms)
		snprintf(out, size, "it is removed with its job, whose time is over");
	else
		snprintf(out, size, "it is removed with its job, in %s",
		         human_duration(end_ms - now_wall_ms, wait));
}

json_t *beside_explain(const struct beside *b, const char *path, uint64_t keep_ms,
                       uint64_t now_wall_ms)
{
	char next[100], *because = say_because(b);
	say_next(b, keep_ms, now_wall_ms, next, sizeof next);
	json_t *o = because == NULL ? NULL
	                            : json_pack("{s:o, s:I, s:s, s:o, s:o}", "path", shape_name(path),
	                                        "job", (json_int_t)b->job.id, "state",
	                                        b->output ? "output" : "log", "because",
	                                        shape_text(because), "next", shape_text(next));
	free(because);
	return o;
}

char *beside_no_log(const struct job *job, const char *keep_logs)
{
	char *text = NULL;
	int n;
	if (job->attempt == 0)
		n = asprintf(&text, "there is no log of job %" PRIu64 ": it never ran", job->id);
	else if (job->state == JOB_DONE && strcmp(keep_logs, "always") != 0)
		n = asprintf(&text, "the log of job %" PRIu64 " was not kept: it succeeded, and "
		             "handler.keep_logs is \"%s\"", job->id, keep_logs);
	else
		n = asprintf(&text, "the log of job %" PRIu64 " is not there any more: somebody removed "
		             "it, or handler.keep_logs left it out when the job ended", job->id);
	return n < 0 ? NULL : text;
}
