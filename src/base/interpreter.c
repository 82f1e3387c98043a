#include "base/interpreter.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* So much of a file is looked at by the kernel. */
enum { HEAD_SIZE = 256 };

static const char mend_name[] = "correct its first line, or install the interpreter";

/* How many bytes of it were read; negative where it is no file, or may not be read. */
static ssize_t read_head(const char *program, char head[HEAD_SIZE])
{
	struct stat st;
	/* A fifo or a device is not opened: that may do something. */
	int fd = stat(program, &st) < 0 || !S_ISREG(st.st_mode)
		? -1 : open(program, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : pread(fd, head, HEAD_SIZE - 1, 0);
	fd_close(fd);
	if (n >= 0)
		head[n] = '\0';
	return n;
}

/* The first line behind "#!", without blanks around it. */
static bool read_line(const char *program, char line[HEAD_SIZE])
{
	char head[HEAD_SIZE];
	ssize_t n = read_head(program, head);
	if (n < 2 || head[0] != '#' || head[1] != '!')
		return false;
	const char *from = head + 2 + strspn(head + 2, " \t");
	size_t size = strcspn(from, "\n");
	/* A longer one is cut by the kernel, which may refuse it. */
	if (from[size] == '\0' && n == HEAD_SIZE - 1)
		return false;
	while (size > 0 && (from[size - 1] == ' ' || from[size - 1] == '\t'))
		size--;
	memcpy(line, from, size);
	line[size] = '\0';
	return size > 0;
}

/* 0, or an errno. */
static int check_program(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return EISDIR;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

static bool is_in_path(const char *search, const char *name)
{
	char path[PATH_MAX];
	for (const char *p = search;;) {
		size_t n = strcspn(p, ":");
		int length = snprintf(path, sizeof path, "%.*s/%s", (int)n, p, name);
		if (length > 0 && (size_t)length < sizeof path && check_program(path) == 0)
			return true;
		p += n;
		if (*p++ == '\0')
			return false;
	}
}

static bool found(struct interpreter_problem *ret, const char *name, const char *mend,
                  const char *what)
{
	/* An editor of another system wrote it. It does not show when the name is read. */
	size_t n = strlen(name);
	if (n > 0 && name[n - 1] == '\r')
		mend = "take the carriage returns off its lines (sed -i 's/\\r$//')";
	snprintf(ret->name, sizeof ret->name, "%s", name);
	snprintf(ret->what, sizeof ret->what, "%s", what);
	ret->mend = mend;
	return true;
}

static bool check_interpreter(const char *path, struct interpreter_problem *ret)
{
	/* It would be looked for where the script is started. */
	if (*path != '/')
		return found(ret, path, "write its whole path there", "which is no absolute path");
	switch (check_program(path)) {
	case ENOENT:
	case ENOTDIR:
		return found(ret, path, mend_name, "which is not there");
	case EISDIR:
		return found(ret, path, mend_name, "which is no program");
	case EACCES:
		return found(ret, path, "make the interpreter executable, or name another",
		             "which is not executable");
	default:
		return false;
	}
}

static bool is_env(const char *path)
{
	const char *slash = strrchr(path, '/');
	return strcmp(slash == NULL ? path : slash + 1, "env") == 0;
}

/* Without -S, env gets all the rest as one word, as the kernel hands it over. */
static bool check_env(char *word, const char *search, struct interpreter_problem *ret)
{
	char what[INTERPRETER_WHAT_SIZE];
	bool split = strncmp(word, "-S", 2) == 0;
	if (split) {
		word += 2 + strspn(word + 2, " \t");
		word[strcspn(word, " \t")] = '\0';
	}
	/* Variables, options, quotes: more than is judged here. */
	if (*word == '\0' || *word == '-' || strpbrk(word, "=/") != NULL ||
	    (split && strpbrk(word, "\\\"'$") != NULL) || is_in_path(search, word))
		return false;
	snprintf(what, sizeof what, "which env does not find in PATH=%s", search);
	return found(ret, word, "correct its first line, install it there, or write its whole path", what);
}

bool interpreter_find_problem(const char *program, const char *search,
                              struct interpreter_problem *ret)
{
	char line[HEAD_SIZE];
	if (!read_line(program, line))
		return false;
	size_t n = strcspn(line, " \t");
	char *rest = line + n + strspn(line + n, " \t");
	line[n] = '\0';
	return check_interpreter(line, ret) || (is_env(line) && check_env(rest, search, ret));
}

bool interpreter_is_unnamed(const char *program)
{
	char head[HEAD_SIZE];
	ssize_t n = read_head(program, head);
	/* What is no text may be of a format that the kernel was told of. */
	return n == 0 || (n > 0 && strncmp(head, "#!", 2) != 0 && strlen(head) == (size_t)n);
}
