#include "core/notice.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Test(notice, nothing_to_say_is_no_text)
{
	char *text = (char *)1;
	cr_assert(notice_end(notice_begin(), &text));
	cr_assert_null(text);
}

Test(notice, says_which_why_and_what_follows)
{
	char *text;
	struct notice_text *n = notice_begin();
	notice_add(n, "a/b.csv", "it waits", "it goes on");
	notice_add(n, "new\nline", "it is odd", "");
	cr_assert(notice_end(n, &text));
	cr_assert_eq(strncmp(text, NOTICE_MARK, strlen(NOTICE_MARK)), 0);
	const char *body = strstr(text, "\n\n");
	cr_assert_str_eq(body + 1, "\na/b.csv\n    why:  it waits\n    then: it goes on\n"
	                           "\nnew\\x0aline\n    why:  it is odd\n");
	free(text);
}

Test(notice, is_bounded)
{
	char *text, name[32];
	struct notice_text *n = notice_begin();
	for (int i = 1; i <= 1000; i++) {
		snprintf(name, sizeof name, "file%d", i);
		notice_add(n, name, "because", "next");
	}
	cr_assert(notice_end(n, &text));
	cr_assert_not_null(strstr(text, "\nfile50\n"));
	cr_assert_null(strstr(text, "\nfile51\n"));
	cr_assert_not_null(strstr(text, "\nand 950 more\n"));
	free(text);
}
