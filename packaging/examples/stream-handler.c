/* A stream handler in C: counts the lines of each file. See spool-handler(7).
 *
 *   cc -O2 -o count-lines stream-handler.c -ljansson
 *
 * In config.json:
 *   "handler": { "command": ["path/to/count-lines"], "mode": "stream" } */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A name that is no UTF-8 comes with its odd bytes as \xHH and its backslashes
 * doubled; "escaped" says so. */
static void unescape(char *text)
{
	char *out = text;
	for (const char *in = text; *in != '\0';) {
		unsigned byte;
		if (in[0] == '\\' && in[1] == 'x' && sscanf(in + 2, "%2x", &byte) == 1) {
			*out++ = (char)byte;
			in += 4;
		} else {
			in += in[0] == '\\' && in[1] == '\\';
			*out++ = *in++;
		}
	}
	*out = '\0';
}

/* Lines, or -1 where the file cannot be read. */
static long count_lines(const json_t *job)
{
	const char *name = json_string_value(json_object_get(job, "file"));
	char *path = name == NULL ? NULL : strdup(name);
	if (path != NULL && json_is_true(json_object_get(job, "escaped")))
		unescape(path);
	FILE *file = path == NULL ? NULL : fopen(path, "r");
	long lines = file == NULL ? -1 : 0;
	for (int c; file != NULL && (c = getc_unlocked(file)) != EOF;)
		lines += c == '\n';
	if (file != NULL && ferror(file))
		lines = -1;
	if (lines < 0)
		perror(path);
	if (file != NULL)
		fclose(file);
	free(path);
	return lines;
}

static void answer(const json_t *job)
{
	long lines = count_lines(job);
	json_t *line = json_pack("{s:O, s:s}", "job", json_object_get(job, "job"), "result",
	                         lines > 0 ? "done" : lines == 0 ? "permanent" : "failed");
	if (lines > 0)
		json_object_set_new(line, "records", json_integer(lines));
	else
		json_object_set_new(line, "message", json_string(lines == 0 ? "the file has no line"
		                                                            : "the file cannot be read"));
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(line);
}

int main(void)
{
	char *line = NULL;
	size_t room = 0;
	while (getline(&line, &room, stdin) > 0) {
		json_t *job = json_loads(line, 0, NULL);
		if (job == NULL)
			return 1;
		answer(job);
		json_decref(job);
	}
	free(line);
	return 0;
}
