#include "core/name.h"

#include "base/escape.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *name_user_problem(const char *user)
{
	size_t n = strlen(user);
	if (n == 0)
		return "is empty";
	if (n > NAME_USER_MAX)
		return "is longer than 100 bytes";
	if (user[0] == '.')
		return "starts with a dot";
	if (user[0] == '-')
		return "starts with a dash";
	if (strcmp(user, "lost+found") == 0)
		return "is kept for what fsck finds";
	if (strpbrk(user, " /\\") != NULL)
		return "has a space, slash or backslash in it";
	return escape_is_plain(user, n) ? NULL : "has a control character in it or is not UTF-8";
}

/* How many bytes of a pattern stand for themselves. */
static size_t plain_length(const char *pattern)
{
	size_t n = 0;
	while (pattern[n] != '\0' && pattern[n] != '*' && pattern[n] != '?' && pattern[n] != '[' &&
	       pattern[n] != '\\')
		n++;
	return n;
}

static bool ends_with(const char *name, const char *tail, size_t n)
{
	size_t length = strlen(name);
	return length >= n && memcmp(name + length - n, tail, n) == 0;
}

/* Most patterns are ".*" or "*.tmp", and a scan holds each name against all of them. */
static bool matches(const char *name, const char *pattern)
{
	size_t n = plain_length(pattern);
	if (pattern[n] == '*' && pattern[n + 1] == '\0')
		return strncmp(name, pattern, n) == 0;
	if (pattern[0] == '*') {
		n = plain_length(pattern + 1);
		if (pattern[n + 1] == '\0')
			return ends_with(name, pattern + 1, n);
	}
	return fnmatch(pattern, name, 0) == 0;
}

bool name_matches(const char *name, const char *const *patterns)
{
	for (; patterns != NULL && *patterns != NULL; patterns++)
		if (matches(name, *patterns))
			return true;
	return false;
}

bool name_path_matches(const char *path, const char *const *patterns)
{
	char name[NAME_FILE_MAX + 1];
	for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
		size_t n = (size_t)(slash - path);
		if (n > NAME_FILE_MAX)
			continue;
		memcpy(name, path, n);
		name[n] = '\0';
		if (name_matches(name, patterns))
			return true;
	}
	return name_matches(path, patterns);
}

const char *name_base(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash == NULL ? path : slash + 1;
}

/* directories + stem cut to fit + tail */
static char *join(const char *path, size_t stem, const char *tail)
{
	size_t dirs = (size_t)(name_base(path) - path);
	size_t tail_n = strlen(tail);
	if (stem + tail_n > NAME_FILE_MAX)
		stem = tail_n < NAME_FILE_MAX ? NAME_FILE_MAX - tail_n : 0;
	char *out = malloc(dirs + stem + tail_n + 1);
	if (out == NULL)
		return NULL;
	memcpy(out, path, dirs + stem);
	memcpy(out + dirs + stem, tail, tail_n + 1);
	return out;
}

char *name_with_id(const char *path, uint64_t id)
{
	const char *base = name_base(path);
	const char *dot = strrchr(base, '.');
	/* A leading dot starts a name, not an extension; nor is a very long tail one. */
	bool has_extension = dot != NULL && dot != base && strlen(dot) <= 32;
	size_t stem = has_extension ? (size_t)(dot - base) : strlen(base);
	char tail[64];
	snprintf(tail, sizeof tail, ".%" PRIu64 "%s", id, has_extension ? dot : "");
	return join(path, stem, tail);
}

char *name_candidate(const char *path, uint64_t id, unsigned n)
{
	if (n == 0)
		return strdup(path);
	char *named = name_with_id(path, id);
	if (n == 1 || named == NULL)
		return named;
	char *numbered = name_with_id(named, n);
	free(named);
	return numbered;
}

char *name_with_suffix(const char *path, const char *suffix)
{
	return join(path, strlen(name_base(path)), suffix);
}

const char *name_log(const char *base)
{
	return strcmp(base, "log") == 0 ? "log.spoold" : "log";
}

const char *name_output(const char *base)
{
	return strcmp(base, "output") == 0 ? "output.spoold" : "output";
}
