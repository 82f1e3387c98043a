#include "base/dir.h"

#include "base/fd.h"

#include "scratch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(dir, .init = scratch_make, .fini = scratch_remove);

static void make_file(const char *name)
{
	int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	fd_close(fd);
}

struct seen {
	unsigned n, dots;
	uint64_t ino; /* of "x" */
};

static int see(void *ctx, const char *name, uint64_t ino)
{
	struct seen *s = ctx;
	s->n++;
	s->dots += name[0] == '.' && (name[1] == '\0' || strcmp(name, "..") == 0);
	if (strcmp(name, "x") == 0)
		s->ino = ino;
	return 0;
}

Test(dir, a_walk_tells_each_name_once_and_no_dots)
{
	enum { FILES = 500 }; /* more than one call of the kernel gives */
	struct seen s = {0};
	struct stat st;
	char name[32];
	make_file("x");
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "%030d", i);
		make_file(name);
	}
	cr_expect_eq(dir_walk(dirfd_, see, &s), 0);
	cr_expect_eq(s.n, FILES + 1);
	cr_expect_eq(s.dots, 0);
	cr_assert_eq(fstatat(dirfd_, "x", &st, 0), 0);
	cr_expect_eq(s.ino, st.st_ino);
	s = (struct seen){0};
	cr_expect_eq(dir_walk(dirfd_, see, &s), 0);
	cr_expect_eq(s.n, FILES + 1, "a second walk begins at the beginning");
}

static int count_and_end(void *ctx, const char *name, uint64_t ino)
{
	(void)name, (void)ino;
	++*(int *)ctx;
	return -ESTALE;
}

Test(dir, what_is_returned_ends_a_walk)
{
	int calls = 0;
	make_file("a");
	make_file("b");
	cr_expect_eq(dir_walk(dirfd_, count_and_end, &calls), -ESTALE);
	cr_expect_eq(calls, 1);
}

Test(dir, what_cannot_be_read_is_neither_empty_nor_not)
{
	int calls = 0;
	make_file("a");
	int file = openat(dirfd_, "a", O_RDONLY | O_CLOEXEC);
	cr_expect_eq(dir_walk(file, count_and_end, &calls), -ENOTDIR);
	cr_expect_eq(dir_is_empty(file), -ENOTDIR);
	struct stat st;
	cr_assert_eq(fstat(file, &st), 0);
	cr_expect_not(dir_is_as_made(&st));
	cr_expect_eq(dir_is_empty(-1), -EBADF);
	cr_expect_eq(calls, 0);
	fd_close(file);
}

Test(dir, one_is_empty_until_something_is_in_it)
{
	cr_expect_eq(dir_is_empty(dirfd_), 1);
	make_file(".hidden");
	cr_expect_eq(dir_is_empty(dirfd_), 0);
}

static bool is_unused(const char *name)
{
	struct stat st;
	return dir_is_unused(dirfd_, name, &st);
}

Test(dir, one_is_unused_as_it_was_made)
{
	cr_expect_not(is_unused("d"), "there is none");
	struct stat st = {0}, now;
	cr_assert_eq(mkdirat(dirfd_, "d", 0700), 0);
	cr_expect(dir_is_unused(dirfd_, "d", &st));
	cr_assert_eq(fstatat(dirfd_, "d", &now, 0), 0);
	cr_expect_eq(st.st_ino, now.st_ino);
	cr_assert_eq(fchmodat(dirfd_, "d", 0750, 0), 0);
	cr_expect_not(is_unused("d"), "others may read it");
	cr_assert_eq(fchmodat(dirfd_, "d", 0500, 0), 0);
	cr_expect_not(is_unused("d"), "nobody may write to it");
	cr_assert_eq(fchmodat(dirfd_, "d", 02700, 0), 0);
	cr_expect(is_unused("d"), "the group was handed down");
	cr_assert_eq(symlinkat("d", dirfd_, "link"), 0);
	cr_expect_not(is_unused("link"));
	make_file("d/x");
	cr_expect_not(is_unused("d"));
}

Test(dir, that_of_another_owner_is_not_as_it_was_made)
{
	if (geteuid() != 0)
		cr_skip_test("only root can give a directory away");
	cr_assert_eq(mkdirat(dirfd_, "d", 0700), 0);
	cr_assert_eq(fchownat(dirfd_, "d", 65534, (gid_t)-1, 0), 0);
	cr_expect_not(is_unused("d"));
}
