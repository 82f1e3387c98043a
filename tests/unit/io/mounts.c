/* Do network mounts answer? With real ones: tests/system/test_hanging_mount.py. */
#include "io/mounts.h"

#include <criterion/criterion.h>

TestSuite(mounts, .timeout = 60);

Test(mounts, what_is_local_is_not_asked)
{
	struct mounts *m;
	cr_assert_eq(mounts_ask(NULL, "/", NULL, true), 0);
	cr_assert_eq(mounts_new(1000, &m), 0);
	mounts_set_patience(m, 1);
	cr_assert_eq(mounts_ask(m, "/", NULL, false), 0);
	cr_assert_eq(mounts_ask(m, "/proc", "self", false), 0);
	cr_assert_eq(mounts_ask(m, "/there/is/nothing", "alice", true), 0);
	mounts_free(m);
	mounts_free(NULL);
}
