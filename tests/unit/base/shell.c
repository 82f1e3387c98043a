#include "base/shell.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static void expect(const char *word, const char *shown)
{
	char *text = shell_command("chmod o+x", word);
	cr_assert_str_eq(text, shown);
	free(text);
}

Test(shell, a_name_is_one_word)
{
	expect("/srv/spool/alice", "chmod o+x /srv/spool/alice");
	expect("", "chmod o+x ''");
	expect("two words", "chmod o+x 'two words'");
	expect("$(touch x)", "chmod o+x '$(touch x)'");
	expect("it's", "chmod o+x 'it'\\''s'");
}
