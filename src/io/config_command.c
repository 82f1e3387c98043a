/* Who runs what: the handler's program, its placeholders, its account. Checked
 * when the configuration is loaded, not when the first file is there. */
#include "io/config_private.h"

#include "base/interpreter.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SPOOLD_LIBEXECDIR
#define SPOOLD_LIBEXECDIR "/usr/local/libexec"
#endif

#define PRESET_BESIDE "packaging/handlers/count-records"
#define PRESET_INSTALLED SPOOLD_LIBEXECDIR "/spoold/handlers/count-records"

static const char *const placeholders[] = {"{file}", "{user}", "{job}", "{name}", "{output}"};
enum { PLACEHOLDERS = sizeof placeholders / sizeof *placeholders };

/* Length of the "{word}" at `p`, or 0: other braces are just text. */
static size_t braced_word(const char *p)
{
	size_t n = 1;
	if (*p != '{')
		return 0;
	while (isalpha((unsigned char)p[n]) || p[n] == '_')
		n++;
	return n > 1 && p[n] == '}' ? n + 1 : 0;
}

static bool check_placeholders(struct config_loader *l, const struct config_node *node,
                               const char *where)
{
	bool good = true;
	for (const char *p = node->text; *p != '\0'; p++) {
		char word[32], quoted[CONFIG_QUOTE_SIZE];
		size_t n = braced_word(p), i = 0;
		if (n == 0)
			continue;
		snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1),
		         p);
		while (i < PLACEHOLDERS && strcmp(word, placeholders[i]) != 0)
			i++;
		if (i < PLACEHOLDERS)
			continue;
		const char *near = config_nearest(word, placeholders, PLACEHOLDERS);
		good = false;
		config_error(l, node->at, where, "%s is not a placeholder; %s%s%sthere are {file}, "
		             "{user}, {job}, {name} and {output}", config_quote(p, n, quoted),
		             near != NULL ? "did you mean \"" : "", near != NULL ? near : "",
		             near != NULL ? "\"? " : "");
	}
	return good;
}

/* Why `path` is no program that can be run; NULL where it is. */
static const char *program_problem(const char *path, const char **ret_mend)
{
	struct stat st;
	if (stat(path, &st) < 0) {
		*ret_mend = errno == EACCES ? "let spoold search the directories above it"
		                            : "correct the path; it is relative to the directory "
		                              "of this file";
		return errno == ENOENT || errno == ENOTDIR ? "does not exist" : strerror(errno);
	}
	*ret_mend = "name the program itself";
	if (S_ISDIR(st.st_mode))
		return "is a directory";
	if (!S_ISREG(st.st_mode))
		return "is not a regular file";
	*ret_mend = "make it executable with chmod +x";
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? "is not executable" : NULL;
}

static char *join(struct config_loader *l, const char *dir, size_t n, const char *name)
{
	size_t size = n + strlen(name) + 2;
	char *path = config_alloc(l->memory, size);
	if (path == NULL)
		l->out_of_memory = true;
	else
		snprintf(path, size, "%.*s/%s", (int)n, dir, name);
	return path;
}

/* In PATH; directories that are not absolute would depend on where spoold was
 * started. NULL where it is not found. */
static char *find_in_path(struct config_loader *l, const char *name)
{
	const char *path = getenv("PATH");
	if (path == NULL || *path == '\0')
		path = "/usr/local/bin:/usr/bin:/bin";
	for (const char *p = path;;) {
		const char *mend;
		size_t n = strcspn(p, ":");
		char *candidate = *p == '/' ? join(l, p, n, name) : NULL;
		if (candidate != NULL && program_problem(candidate, &mend) == NULL)
			return candidate;
		p += n;
		if (*p++ == '\0')
			return NULL;
	}
}

/* A script whose interpreter is missing would fail each job. */
static bool check_interpreter(struct config_loader *l, size_t at, const char *where,
                              const char *path)
{
	struct interpreter_problem problem;
	char program[CONFIG_QUOTE_SIZE], name[CONFIG_QUOTE_SIZE];
	if (l->client)
		return true;
	/* No mistake for certain: the kernel can be told of more formats. */
	if (interpreter_is_unnamed(path))
		config_warning(l, at, where, "the program %s is a text without a first line like #!/bin/sh: as "
		               "long as the kernel does not run it, its jobs wait",
		               config_quote(path, strlen(path), program));
	if (!interpreter_find_problem(path, HANDLER_PATH, &problem))
		return true;
	config_error(l, at, where, "the program %s cannot be run: its first line names %s, %s: %s",
	             config_quote(path, strlen(path), program),
	             config_quote(problem.name, strlen(problem.name), name), problem.what,
	             problem.mend);
	return false;
}

static char *resolve_program(struct config_loader *l, const struct config_node *node,
                             const char *where)
{
	char quoted[CONFIG_QUOTE_SIZE];
	const char *mend, *name = node->text;
	bool is_path = strchr(name, '/') != NULL;
	char *path = is_path ? config_absolute(l, name) : find_in_path(l, name);
	if (path == NULL && is_path)
		l->out_of_memory = true;
	if (l->client && path == NULL)
		return config_strndup(l->memory, name, strlen(name));
	if (path == NULL) {
		config_quote(name, strlen(name), quoted);
		config_error(l, node->at, where,
		             "there is no program %s in PATH: install it, or write "
		             "its path with a slash",
		             quoted);
		return NULL;
	}
	const char *problem = l->client ? NULL : program_problem(path, &mend);
	if (problem == NULL)
		return check_interpreter(l, node->at, where, path) ? path : NULL;
	config_error(l, node->at, where, "the program %s %s: %s",
	             config_quote(path, strlen(path), quoted), problem, mend);
	return NULL;
}

void config_store_command(struct config_loader *l, const struct config_setting *s,
                          const struct config_node *node, const char *where, char ***ret)
{
	char **command = config_store_texts(l, s, node, where);
	if (command == NULL)
		return;
	const struct config_node *program = node->first;
	if (program == NULL || *program->text == '\0') {
		config_error(l, node->at, where,
		             "names no program: the first element is the program, "
		             "like in [\"/usr/bin/wc\", \"{file}\"]");
		return;
	}
	bool good = true;
	for (const struct config_node *c = program->next; c != NULL; c = c->next)
		good = check_placeholders(l, c, where) && good;
	for (const char *p = program->text; *p != '\0'; p++) {
		if (braced_word(p) == 0)
			continue;
		config_error(l, program->at, where,
		             "the program cannot have a placeholder in its path: it is checked here and now. Its "
		             "arguments can; each is an element of its own, like in "
		             "[\"/usr/bin/wc\", \"{file}\"]");
		return;
	}
	command[0] = resolve_program(l, program, where);
	if (command[0] != NULL && good)
		*ret = command;
}

void config_preset_command(struct config_loader *l, size_t at, char ***ret)
{
	const char *mend;
	char **command = config_alloc(l->memory, 3 * sizeof *command);
	char *beside = config_absolute(l, PRESET_BESIDE);
	char *installed = config_absolute(l, PRESET_INSTALLED);
	char *file = config_strndup(l->memory, "{file}", strlen("{file}"));
	if (command == NULL || beside == NULL || installed == NULL || file == NULL) {
		l->out_of_memory = true;
		return;
	}
	command[0] = program_problem(beside, &mend) == NULL ? beside : installed;
	command[1] = file;
	if (!l->client && program_problem(command[0], &mend) != NULL) {
		char here[CONFIG_QUOTE_SIZE], there[CONFIG_QUOTE_SIZE];
		config_error(l, at, "handler.command",
		             "is not set, and its default is neither %s nor %s: set "
		             "handler.command to the program that is to process the files, like "
		             "[\"/usr/bin/wc\", \"{file}\"]",
		             config_quote(beside, strlen(beside), here),
		             config_quote(installed, strlen(installed), there));
		return;
	}
	if (check_interpreter(l, at, "handler.command", command[0]))
		*ret = command;
}

static bool find_account(const char *name, uid_t *ret)
{
	const struct passwd *account = getpwnam(name);
	if (account == NULL)
		return false;
	*ret = account->pw_uid;
	return true;
}

void config_store_account(struct config_loader *l, const struct config_node *node,
                          const char *where, char **ret)
{
	char quoted[CONFIG_QUOTE_SIZE];
	bool per_user = strcmp(node->text, "{user}") == 0;
	bool checked = *node->text != '\0' && !l->client;
	uid_t uid = 0;
	config_quote(node->text, strlen(node->text), quoted);
	if (checked && !per_user && !find_account(node->text, &uid)) {
		config_error(l, node->at, where,
		             "there is no account %s on this system: create it, or use "
		             "\"\" for the account of spoold or \"{user}\" for that of the user",
		             quoted);
		return;
	}
	if (checked && geteuid() != 0 && (per_user || uid != geteuid())) {
		config_error(l, node->at, where,
		             "spoold does not run as root and cannot switch to %s: "
		             "start it as root, or set this to \"\"",
		             quoted);
		return;
	}
	char *name = config_strndup(l->memory, node->text, strlen(node->text));
	if (name == NULL)
		l->out_of_memory = true;
	else
		*ret = name;
}
