#include "io/control_private.h"

#include "base/escape.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum {
	/* So much of one client's garbage is answered before others have their turn. */
	BAD_LINES_AT_ONCE = 16,
	EXIT_USAGE = 2,
};

static json_t *explain_bad_line(const json_t *body, const json_error_t *error)
{
	char text[1024];
	/* The parser quotes the client's bytes. */
	char *quoted = body == NULL ? escape_str(error->text) : NULL;
	if (body != NULL)
		snprintf(text, sizeof text, "the line is JSON, but no object: send {\"command\": ...}");
	else
		snprintf(text, sizeof text,
		         "the line is not JSON (column %d: %s): send one object per line", error->column,
		         quoted == NULL ? "" : quoted);
	free(quoted);
	return answer_error(text, EXIT_USAGE);
}

/* Takes the line that is there: an object, or NULL where it was answered. */
static json_t *take_line(struct control *c, struct client *cl)
{
	json_error_t error;
	const char *line = cl->in.data + cl->in.pos;
	json_t *body = json_loadb(line, cl->searched, JSON_REJECT_DUPLICATES, &error);
	buffer_consume(&cl->in, cl->searched + 1);
	cl->searched = 0;
	if (json_is_object(body))
		return body;
	answer_put(c, cl, explain_bad_line(body, &error));
	json_decref(body);
	return NULL;
}

/* What will never become a line: too much, or a rest at the end. */
static void judge_rest(struct control *c, struct client *cl)
{
	size_t size = buffer_size(&cl->in);
	if (!client_is_heard(cl) || client_has_line(cl))
		return;
	if (size > CONTROL_LINE_MAX)
		answer_put(c, cl, answer_error("the line is longer than 65536 bytes", EXIT_USAGE));
	else if (cl->eof && size > 0)
		answer_put(c, cl, answer_error("the last line has no newline at its end", EXIT_USAGE));
	else if (!cl->eof)
		return;
	cl->closing = true;
	buffer_clear(&cl->in);
	cl->searched = 0;
}

json_t *line_next(struct control *c, struct client *cl)
{
	for (int bad = 0; client_is_heard(cl) && client_has_line(cl); bad++) {
		if (bad == BAD_LINES_AT_ONCE) {
			eventfd_write(c->wake, 1);
			return NULL;
		}
		json_t *body = take_line(c, cl);
		cl->stirred = true;
		if (body != NULL)
			return body;
	}
	judge_rest(c, cl);
	return NULL;
}
