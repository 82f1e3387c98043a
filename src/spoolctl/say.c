/* What spoolctl says: errors, remarks, JSON. */
#include "spoolctl/progress.h"
#include "spoolctl/view.h"

#include "base/escape.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

void *ctl_need(void *p)
{
	if (p == NULL) {
		fputs("spoolctl: memory is out\n", stderr);
		exit(CTL_NO);
	}
	return p;
}

char *ctl_escape(const char *name)
{
	return ctl_need(escape_str(name));
}

void ctl_print_json(const struct ctl *ctl, json_t *value)
{
	ctl_need(value);
	/* 0.9, not 0.90000000000000002. */
	json_dumpf(value, stdout, (ctl->terminal ? JSON_INDENT(2) : JSON_COMPACT) |
	                                  JSON_REAL_PRECISION(15));
	putchar('\n');
	json_decref(value);
}

static char *format_text(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
static char *format_text(const char *format, va_list args)
{
	char *text = NULL;
	return vasprintf(&text, format, args) < 0 ? NULL : text;
}

void ctl_say(unsigned indent, const char *text)
{
	struct winsize size = {0};
	bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0;
	view_print(&(struct look){.width = known ? size.ws_col : 0}, indent, text, stderr);
}

static void say_named(const char *text)
{
	char *named = NULL;
	ctl_need(asprintf(&named, "spoolctl: %s", text) < 0 ? NULL : named);
	ctl_say(0, named);
	free(named);
}

void ctl_error(struct ctl *ctl, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *text = ctl_need(format_text(format, args));
	va_end(args);
	if (ctl->json) {
		ctl_print_json(ctl, json_pack("{s:s}", "error", text));
	} else {
		/* A line of its own, not the end of what was drawn. */
		progress_end(ctl);
		say_named(text);
	}
	free(text);
}

void ctl_note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *text = ctl_need(format_text(format, args));
	va_end(args);
	say_named(text);
	free(text);
}

json_t *ctl_request(const char *command)
{
	return ctl_need(json_pack("{s:s}", "command", command));
}

void ctl_put(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) < 0)
		ctl_need(NULL);
}

void ctl_put_name(json_t *object, const char *key, const char *name)
{
	char *escaped = ctl_escape(name);
	ctl_put(object, key, json_string(escaped));
	free(escaped);
}
