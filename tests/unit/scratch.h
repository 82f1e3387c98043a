/* A directory of its own for each test, gone when it ends: its path, and open. */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[] = "/tmp/spoold-unit-XXXXXX";
static int dirfd_ = -1;

static inline void scratch_make(void)
{
	cr_assert_not_null(mkdtemp(dir));
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dirfd_, 0);
}

static inline void scratch_remove(void)
{
	char command[64];
	snprintf(command, sizeof command, "rm -rf %s", dir);
	cr_expect_eq(system(command), 0);
	close(dirfd_);
}
