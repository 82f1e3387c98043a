#include "tree_world.h"

#include <inttypes.h>

TestSuite(tree_numbers, .init = world_begin, .fini = world_end, .timeout = 240);

static void write_text(const char *text)
{
	int fd = openat(t->rootfd, ".spoold/numbers", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	fd_close(fd);
}

Test(tree_numbers, what_was_written_is_read)
{
	uint64_t below = 7;
	cr_assert_eq(tree_read_numbers(t, &below), -ENOENT);
	for (uint64_t n = 1; n != 0; n = n == UINT64_MAX ? 0 : n > UINT64_MAX / 10 ? UINT64_MAX : n * 10) {
		cr_assert_eq(tree_write_numbers(t, n), 0);
		cr_assert_eq(tree_read_numbers(t, &below), 0);
		cr_assert_eq(below, n, "%" PRIu64, below);
	}
}

Test(tree_numbers, what_is_not_whole_is_no_number)
{
	const char *damaged[] = {"", "spoold numbers 1\n", "spoold numbers 1\nbelow 12",
	                         "spoold numbers 1\nbelow \n", "spoold numbers 1\nbelow 0\n",
	                         "spoold numbers 1\nbelow 012\n", "spoold numbers 2\nbelow 12\n",
	                         "spoold numbers 1\nbelow -3\n",
	                         "spoold numbers 1\nbelow 18446744073709551616\n"};
	for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
		uint64_t below = 7;
		write_text(damaged[i]);
		cr_expect_eq(tree_read_numbers(t, &below), -EBADMSG, "%s", damaged[i]);
		cr_expect_eq(below, 7);
	}
}

Test(tree_numbers, no_link_is_followed)
{
	uint64_t below;
	cr_assert_eq(symlinkat("marker", t->rootfd, ".spoold/numbers"), 0);
	cr_assert_eq(tree_read_numbers(t, &below), -ELOOP);
	cr_assert_eq(tree_write_numbers(t, 5), 0, "it is replaced");
	cr_assert_eq(tree_read_numbers(t, &below), 0);
	cr_assert_eq(below, 5);
}
