/* Names are bytes: their spelling is harmless and leads back to them; what is
 * made of them stays in its directory and within its length. */
#include "core/name.h"

#include "base/escape.h"
#include "base/text.h"
#include "core/shape.h"
#include "fuzz.h"

static void escape_and_back(const char *name, size_t n)
{
	char *escaped = escape_name(name, n);
	MUST(escaped != NULL && is_harmless(escaped, ""));
	MUST(strlen(escaped) >= n && strlen(escaped) <= 4 * n);
	char *back = unescape_name(escaped);
	if (memchr(name, '\0', n) != NULL) {
		MUST(back == NULL && errno == EINVAL);
	} else {
		MUST(back != NULL && strlen(back) == n && memcmp(back, name, n) == 0);
	}
	free(back);
	free(escaped);
}

/* Whatever was typed: refused, or the name has one spelling, which leads to it. */
static void unescape_and_back(const char *text)
{
	char *name = unescape_name(text);
	if (name == NULL) {
		MUST(errno == EINVAL);
		return;
	}
	MUST(strlen(name) <= strlen(text));
	escape_and_back(name, strlen(name));
	free(name);
}

static void for_people(const char *text, size_t n)
{
	char *printable = text_printable(text, n, "\n\t");
	MUST(printable != NULL && is_harmless(printable, "\n\t"));
	free(printable);
	char *harmless = text_printable(text, n, "");
	MUST(harmless != NULL && is_harmless(harmless, ""));
	for (size_t columns = 0; columns < 12; columns += 3) {
		char *middle = text_cut_middle(harmless, columns, n % 2 == 0);
		char *end = text_cut_end(harmless, columns, n % 2 == 0);
		MUST(middle != NULL && text_width(middle) <= columns);
		MUST(end != NULL && text_width(end) <= columns);
		free(middle);
		free(end);
	}
	free(harmless);
}

static void as_json(const char *text)
{
	json_t *name = shape_name(text), *sentence = shape_text(text);
	MUST(json_is_string(name) && is_harmless(json_string_value(name), ""));
	MUST(json_is_string(sentence) && is_harmless(json_string_value(sentence), ""));
	json_decref(name);
	json_decref(sentence);
}

static void must_stay(const char *path, const char *derived)
{
	size_t dirs = (size_t)(name_base(path) - path);
	MUST(derived != NULL && strncmp(path, derived, dirs) == 0);
	MUST(strchr(derived + dirs, '/') == NULL);
	MUST(strlen(derived + dirs) > 0 && strlen(derived + dirs) <= NAME_FILE_MAX);
	MUST(strcmp(derived + dirs, ".") != 0 && strcmp(derived + dirs, "..") != 0);
}

static void derive(const char *path, uint64_t id)
{
	/* A base name the file system has. */
	if (strlen(name_base(path)) > NAME_FILE_MAX || name_base(path)[0] == '\0')
		return;
	char *with_id = name_with_id(path, id), *with_log = name_with_suffix(path, ".log");
	must_stay(path, with_id);
	must_stay(path, with_log);
	MUST(strcmp(with_id, path) != 0);
	MUST(strcmp(name_log(name_base(path)), name_base(path)) != 0);
	MUST(strcmp(name_output(name_base(path)), name_base(path)) != 0);
	free(with_id);
	free(with_log);
}

static void judge_user(const char *user)
{
	const char *problem = name_user_problem(user);
	MUST(problem == NULL || is_harmless(problem, ""));
	if (problem == NULL)
		MUST(is_harmless(user, "") && strpbrk(user, " /\\") == NULL && user[0] != '.' &&
		     user[0] != '-' && strlen(user) > 0 && strlen(user) <= NAME_USER_MAX);
}

/* The patterns of the configuration, on any name. */
static void match(const char *name)
{
	static const char *const ignored[] = {".*", "*.part", "*.filepart", "*.tmp", "*~", NULL};
	size_t n = strlen(name);
	bool expected = name[0] == '.' || (n >= 5 && strcmp(name + n - 5, ".part") == 0) ||
	                (n >= 9 && strcmp(name + n - 9, ".filepart") == 0) ||
	                (n >= 4 && strcmp(name + n - 4, ".tmp") == 0) ||
	                (n >= 1 && name[n - 1] == '~');
	MUST(name_matches(name, ignored) == expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 8192)
		return 0;
	char *text = copy_text(data, size);
	escape_and_back((const char *)data, size);
	unescape_and_back(text);
	for_people(text, size);
	as_json(text);
	derive(text, size > 8 ? data[size - 1] * UINT64_C(72340172838076673) : size);
	judge_user(text);
	match(text);
	free(text);
	return 0;
}
