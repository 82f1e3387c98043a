#include "io/digest.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LIMIT_MS = 60000 };

static struct digest *g;

static void begin(void)
{
	cr_assert_eq(digest_new(&g), 0);
}

static void end(void)
{
	digest_free(g);
	g = NULL;
}

TestSuite(digest, .init = begin, .fini = end, .timeout = 120);

static int file_of(const void *data, size_t size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	cr_assert(fd >= 0);
	cr_assert_eq(fd_write_all(fd, data, size), 0);
	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* Zeros, without their memory. */
static int large_file(off_t size)
{
	int fd = memfd_create("large", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(fd, size), 0);
	return fd;
}

static bool wait_ready(int timeout_ms)
{
	struct pollfd p = {.fd = digest_fd(g), .events = POLLIN};
	return poll(&p, 1, timeout_ms) == 1;
}

struct result {
	uint64_t tag;
	int error;
	uint8_t sum[DIGEST_SIZE];
};

static struct result next(void)
{
	struct result r;
	while (digest_next(g, &r.tag, &r.error, r.sum) == 0)
		cr_assert(wait_ready(LIMIT_MS), "a result comes");
	return r;
}

static void expect_sum(const uint8_t *sum, const char *hex)
{
	for (int i = 0; i < DIGEST_SIZE; i++) {
		char two[3];
		snprintf(two, sizeof two, "%02x", sum[i]);
		cr_assert(memcmp(two, hex + 2 * i, 2) == 0, "byte %d", i);
	}
}

#define SUM_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SUM_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

Test(digest, known_answers)
{
	cr_assert_eq(digest_add(g, 5, file_of("abc", 3), 3), 0);
	cr_assert_eq(digest_add(g, 6, file_of("", 0), 0), 0);
	struct result r = next();
	cr_assert_eq(r.tag, 5);
	cr_assert_eq(r.error, 0);
	expect_sum(r.sum, SUM_ABC);
	r = next();
	cr_assert_eq(r.tag, 6);
	expect_sum(r.sum, SUM_EMPTY);
	cr_assert_not(wait_ready(0), "nothing is left");
}

Test(digest, whole)
{
	uint8_t sum[DIGEST_SIZE];
	int fd = file_of("abc", 3);
	cr_assert_eq(digest_whole(fd, sum), 0);
	expect_sum(sum, SUM_ABC);
	fd_close(fd);
	cr_assert_eq(digest_whole(-1, sum), -EBADF);
}

/* One that grows for ever ends all the same; one that was cut ends where it ends. */
Test(digest, reads_what_it_was_told_and_no_more_than_there_is)
{
	cr_assert_eq(digest_add(g, 1, file_of("abcdef", 6), 3), 0);
	cr_assert_eq(digest_add(g, 2, file_of("abc", 3), 6), 0);
	expect_sum(next().sum, SUM_ABC);
	expect_sum(next().sum, SUM_ABC);
}

Test(digest, several_turns_give_the_same_as_one_read)
{
	uint8_t sum[DIGEST_SIZE];
	off_t size = (off_t)DIGEST_SLICE * 3 + 12345;
	int fd = large_file(size);
	cr_assert_eq(pwrite(fd, "mark", 4, DIGEST_SLICE - 2), 4);
	cr_assert_eq(digest_whole(fd, sum), 0);
	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	cr_assert_eq(digest_add(g, 1, fd, (uint64_t)size), 0);
	cr_assert_eq(memcmp(next().sum, sum, DIGEST_SIZE), 0);
}

Test(digest, a_small_file_does_not_wait_for_a_large_one)
{
	cr_assert_eq(digest_add(g, 1, large_file((off_t)1 << 40), (uint64_t)1 << 40), 0);
	cr_assert_eq(digest_add(g, 2, file_of("abc", 3), 3), 0);
	cr_assert_eq(next().tag, 2);
	while (digest_progress(g, 1) == 0)
		usleep(1000);
	cr_assert_lt(digest_progress(g, 1), (uint64_t)1 << 40);
	cr_assert_eq(digest_progress(g, 99), 0);
}

Test(digest, canceled_gives_no_result)
{
	cr_assert_eq(digest_add(g, 1, large_file((off_t)1 << 40), (uint64_t)1 << 40), 0);
	while (digest_progress(g, 1) == 0)
		usleep(1000);
	digest_cancel(g, 1);
	cr_assert_eq(digest_add(g, 2, file_of("abc", 3), 3), 0);
	cr_assert(wait_ready(LIMIT_MS));
	digest_cancel(g, 2);
	cr_assert_not(wait_ready(0), "its result was taken back");
	digest_cancel(g, 77);
	cr_assert_eq(digest_add(g, 3, file_of("abc", 3), 3), 0);
	cr_assert_eq(next().tag, 3);
}

Test(digest, an_error_of_the_read_is_told)
{
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(digest_add(g, 1, fd, 10), 0);
	struct result r = next();
	cr_assert_eq(r.error, -EISDIR);
}

Test(digest, descriptors_are_closed)
{
	int first = file_of("abc", 3);
	cr_assert_eq(digest_add(g, 1, first, 3), 0);
	next();
	cr_assert_eq(fcntl(first, F_GETFD), -1);
}

Test(digest, ends_with_work_left)
{
	for (uint64_t tag = 1; tag <= 20; tag++)
		cr_assert_eq(digest_add(g, tag, large_file((off_t)1 << 40), (uint64_t)1 << 40), 0);
}
