#include "io/runner_private.h"

#include "core/name.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void runner_command_free(char **list)
{
	for (char **item = list; item != NULL && *item != NULL; item++)
		free(*item);
	free(list);
}

/* Writes what a placeholder at the start of `text` stands for; returns its
 * length, 0 where there is none. */
static size_t expand_one(FILE *out, const char *text, const struct run_order *order)
{
	if (strncmp(text, "{file}", 6) == 0)
		return fprintf(out, "%s/%s", order->dir, order->name), 6;
	if (strncmp(text, "{user}", 6) == 0)
		return fputs(order->user, out), 6;
	if (strncmp(text, "{job}", 5) == 0)
		return fprintf(out, "%" PRIu64, order->job), 5;
	if (strncmp(text, "{name}", 6) == 0)
		return fputs(order->name, out), 6;
	if (strncmp(text, "{output}", 8) == 0)
		return fprintf(out, "%s/%s", order->dir, name_output(order->name)), 8;
	return 0;
}

static char *expand(const char *element, const struct run_order *order)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return NULL;
	while (*element != '\0') {
		size_t n = expand_one(out, element, order);
		if (n == 0)
			putc(*element++, out);
		element += n;
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

char **runner_command_expand(const struct run_order *order)
{
	size_t n = 0;
	while (order->command[n] != NULL)
		n++;
	char **argv = calloc(n + 1, sizeof *argv);
	for (size_t i = 0; argv != NULL && i < n; i++) {
		argv[i] = expand(order->command[i], order);
		if (argv[i] == NULL) {
			runner_command_free(argv);
			return NULL;
		}
	}
	return argv;
}

/* The first ones say which file; a stream handler is told of those later. */
static int environment_strings(const struct run_order *order, const char *home, char **out)
{
	const char *output = name_output(order->name);
	if (!order->stream &&
	    (asprintf(out++, "SPOOL_FILE=%s/%s", order->dir, order->name) < 0 ||
	       asprintf(out++, "SPOOL_NAME=%s", order->name) < 0 ||
	       asprintf(out++, "SPOOL_JOB=%" PRIu64, order->job) < 0 ||
	       asprintf(out++, "SPOOL_ATTEMPT=%" PRIu32, order->attempt) < 0 ||
	       asprintf(out++, "SPOOL_OUTPUT_DIR=%s/%s", order->dir, output) < 0 ||
	       asprintf(out++, "SPOOL_REPORT_FD=3") < 0))
		return -1;
	return asprintf(out++, "SPOOL_USER=%s", order->user) < 0 ||
	       asprintf(out++, "SPOOL_COOKIE=%s", order->cookie) < 0 ||
	       asprintf(out++, "PATH=%s", HANDLER_PATH) < 0 ||
	       asprintf(out++, "HOME=%s", home) < 0 ||
	       asprintf(out, "LANG=C.UTF-8") < 0 ? -1 : 0;
}

char **runner_command_environment(const struct run_order *order, const char *home)
{
	enum { VARIABLES = 11 };
	char **list = calloc(VARIABLES + 1, sizeof *list);
	if (list == NULL)
		return NULL;
	if (environment_strings(order, home, list) < 0) {
		/* What asprintf() leaves behind on failure is not defined. */
		free(list);
		return NULL;
	}
	return list;
}
