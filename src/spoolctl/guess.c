/* What a configuration seems to say that cannot be read as a whole. */
#include "spoolctl/guess.h"

#include "base/fd.h"
#include "spoolctl/spoolctl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 1024 * 1024 };

static bool is_one_of(char c, const char *some)
{
	return c != '\0' && strchr(some, c) != NULL;
}

/* Past `key`, with or without quotes, and its colon; NULL: it is another word. */
static const char *after_key(const char *text, const char *at, const char *key)
{
	const char *end = at + strlen(key);
	if (at > text && !is_one_of(at[-1], " \t\r\n\"',{"))
		return NULL;
	if (is_one_of(*end, "\"'"))
		end++;
	end += strspn(end, " \t\r\n");
	return *end == ':' ? end + 1 : NULL;
}

/* A string to its quote, a bare word to the end of its line. Nothing where that needs to be
 * understood to be read. */
static char *value_at(const char *from)
{
	from += strspn(from, " \t\r\n");
	bool quoted = is_one_of(*from, "\"'");
	const char stop[] = {*from, '\\', '\n', '\0'};
	const char *begin = quoted ? from + 1 : from;
	size_t n = strcspn(begin, quoted ? stop : ",}#\r\n");
	if (quoted && begin[n] != *from)
		return NULL;
	while (!quoted && n > 0 && is_one_of(begin[n - 1], " \t"))
		n--;
	return n == 0 ? NULL : ctl_need(strndup(begin, n));
}

static char *find_value(const char *text, const char *key)
{
	for (const char *at = text; (at = strstr(at, key)) != NULL; at++) {
		const char *value = after_key(text, at, key);
		if (value != NULL)
			return value_at(value);
	}
	return NULL;
}

char *guess_setting(const char *path, const char *key)
{
	char *text = NULL;
	size_t size;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *value = fd >= 0 && fd_read_all(fd, TEXT_MAX, &text, &size) == 0 ? find_value(text, key) : NULL;
	fd_close(fd);
	free(text);
	return value;
}
