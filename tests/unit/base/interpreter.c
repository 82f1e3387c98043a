/* What a script's first line names is found missing before the script is started; what
 * cannot be told is left alone. */
#include "base/interpreter.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char search[] = "/no/such/place:/usr/bin:/bin";

static void write_program(char *path, const char *text, size_t n)
{
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, n), (ssize_t)n);
	close(fd);
}

static bool look(const char *text, size_t n, struct interpreter_problem *ret)
{
	char path[] = "/tmp/spoold-interpreter-XXXXXX";
	write_program(path, text, n);
	bool found = interpreter_find_problem(path, search, ret);
	unlink(path);
	return found;
}

static bool unnamed(const char *text, size_t n)
{
	char path[] = "/tmp/spoold-interpreter-XXXXXX";
	write_program(path, text, n);
	bool found = interpreter_is_unnamed(path);
	unlink(path);
	return found;
}

Test(interpreter, a_text_without_a_first_line_is_told)
{
	char longer[1000];
	memset(longer, 'x', sizeof longer);
	cr_assert(unnamed("echo\n", 5));
	cr_assert(unnamed("# a comment\n", 12));
	cr_assert(unnamed("\xef\xbb\xbf#!/bin/sh\n", 13), "a mark that an editor put before it");
	cr_assert(unnamed("", 0));
	cr_assert(unnamed(longer, sizeof longer));
	cr_assert_not(unnamed("#!/bin/sh\n", 10));
	cr_assert_not(unnamed("#!", 2));
	cr_assert_not(unnamed("\x7f" "ELF\2\1\1\0\0", 9));
	cr_assert_not(interpreter_is_unnamed("/no/such/program"));
	cr_assert_not(interpreter_is_unnamed("/bin/ls"));
	cr_assert_not(interpreter_is_unnamed("/dev/null"));
}

static void fine(const char *text)
{
	struct interpreter_problem p;
	cr_assert_not(look(text, strlen(text), &p), "%s", text);
}

static void bad(const char *text, const char *name, const char *what, const char *mend)
{
	struct interpreter_problem p;
	cr_assert(look(text, strlen(text), &p), "%s", text);
	cr_assert_str_eq(p.name, name);
	cr_assert_str_eq(p.what, what);
	cr_assert_not_null(strstr(p.mend, mend), "%s", p.mend);
}

Test(interpreter, what_runs_is_let_be)
{
	fine("#!/bin/sh\necho\n");
	fine("#! \t/bin/sh -e \n");
	fine("#!/bin/sh");
	fine("#!/usr/bin/env sh\n");
	fine("#!/usr/bin/env sh  \t\n");
	fine("#!/usr/bin/env /no/judgement\n");
	fine("#!/usr/bin/env -S sh -e\n");
	fine("#!/usr/bin/env -i\n");
	fine("#!/usr/bin/env -S -i sh\n");
	fine("#!/usr/bin/env -S PATH=/opt/bin pyhton3\n");
	fine("#!/usr/bin/env -S ${HOME}\n");
	fine("#!/usr/bin/env\n");
}

Test(interpreter, what_is_no_script_is_let_be)
{
	struct interpreter_problem p;
	fine("");
	fine("#");
	fine("#!");
	fine("#!\n/no/such\n");
	fine("# !/no/such\n");
	fine("\x7f" "ELF");
	cr_assert_not(interpreter_find_problem("/no/such/script", search, &p));
	cr_assert_not(interpreter_find_problem("/tmp", search, &p));
	cr_assert_not(interpreter_find_problem("/dev/null", search, &p));
	/* Nobody hangs on it. */
	char path[64];
	snprintf(path, sizeof path, "/tmp/spoold-interpreter.%d", (int)getpid());
	cr_assert_eq(mkfifo(path, 0700), 0);
	cr_assert_not(interpreter_find_problem(path, search, &p));
	unlink(path);
}

Test(interpreter, what_is_missing_is_named)
{
	bad("#!/usr/bin/pyhton3\n", "/usr/bin/pyhton3", "which is not there", "install");
	bad("#!  /usr/bin/pyhton3 -u\n", "/usr/bin/pyhton3", "which is not there", "install");
	bad("#!/bin/sh/sh", "/bin/sh/sh", "which is not there", "install");
	bad("#!/usr/bin\n", "/usr/bin", "which is no program", "first line");
	bad("#!/etc/passwd\n", "/etc/passwd", "which is not executable", "executable");
	bad("#!python3\n", "python3", "which is no absolute path", "whole path");
}

Test(interpreter, what_env_does_not_find_is_named)
{
	const char *what = "which env does not find in PATH=/no/such/place:/usr/bin:/bin";
	bad("#!/usr/bin/env pyhton3\n", "pyhton3", what, "whole path");
	bad("#!/usr/bin/env -S pyhton3 -u\n", "pyhton3", what, "whole path");
	/* All behind env is one word. */
	bad("#!/usr/bin/env sh -e\n", "sh -e", what, "whole path");
	bad("#!/no/env sh\n", "/no/env", "which is not there", "install");
}

Test(interpreter, an_editor_that_ends_lines_with_carriage_returns)
{
	bad("#!/bin/sh\r\necho\r\n", "/bin/sh\r", "which is not there", "carriage return");
	bad("#!/usr/bin/env sh\r\n", "sh\r",
	    "which env does not find in PATH=/no/such/place:/usr/bin:/bin", "carriage return");
}

Test(interpreter, a_line_longer_than_the_kernel_reads_is_let_be)
{
	struct interpreter_problem p;
	char text[600];
	memset(text, 'x', sizeof text);
	memcpy(text, "#!/", 3);
	for (size_t n = 200; n < sizeof text; n++) {
		bool found = look(text, n, &p);
		cr_assert_eq(found, n < 255, "%zu", n);
	}
}
