#include "base/fd.h"

#include "descriptors.h"
#include "scratch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(fd, .init = scratch_make, .fini = scratch_remove);

static void put(const char *name, const char *text)
{
	int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static char *get(const char *name)
{
	int fd = openat(dirfd_, name, O_RDONLY | O_CLOEXEC);
	char *data = NULL;
	size_t size;
	cr_assert_geq(fd, 0, "%s", name);
	cr_assert_eq(fd_read_all(fd, 1 << 20, &data, &size), 0);
	close(fd);
	return data;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

Test(fd, close_returns_minus_one_and_keeps_errno)
{
	int fd = dup(dirfd_);
	errno = ENOTTY;
	cr_expect_eq(fd_close(fd), -1);
	cr_expect_not(is_open(fd));
	errno = ENOTTY;
	cr_expect_eq(fd_close(-1), -1);
	cr_expect_eq(errno, ENOTTY);
}

Test(fd, read_all_reads_pieces)
{
	int ends[2];
	char *data;
	size_t size;
	cr_assert_eq(pipe(ends), 0);
	/* More than a pipe holds, so it comes in pieces. */
	enum { BYTES = 300000 };
	pid_t child = fork();
	if (child == 0) {
		char *text = malloc(BYTES);
		memset(text, 'x', BYTES);
		_exit(text == NULL || fd_write_all(ends[1], text, BYTES) < 0);
	}
	close(ends[1]);
	cr_assert_eq(fd_read_all(ends[0], BYTES, &data, &size), 0);
	cr_expect_eq(size, BYTES);
	cr_expect_eq(strlen(data), BYTES);
	free(data);
	waitpid(child, NULL, 0);
	close(ends[0]);
}

Test(fd, read_all_of_nothing_is_an_empty_string)
{
	put("empty", "");
	char *data = get("empty");
	cr_expect_str_eq(data, "");
	free(data);
}

Test(fd, read_all_has_a_limit)
{
	put("file", "12345");
	char *data = NULL;
	size_t size = 77;
	int fd = openat(dirfd_, "file", O_RDONLY);
	cr_expect_eq(fd_read_all(fd, 4, &data, &size), -EFBIG);
	cr_expect_null(data);
	cr_expect_eq(size, 77);
	lseek(fd, 0, SEEK_SET);
	cr_assert_eq(fd_read_all(fd, 5, &data, &size), 0);
	cr_expect_eq(size, 5);
	free(data);
	close(fd);
}

Test(fd, read_and_write_report_errors)
{
	char *data;
	size_t size;
	cr_expect_eq(fd_read_all(dirfd_, 10, &data, &size), -EISDIR);
	cr_expect_eq(fd_read_all(-1, 10, &data, &size), -EBADF);
	cr_expect_eq(fd_write_all(-1, "x", 1), -EBADF);
	int full = open("/dev/full", O_WRONLY);
	cr_expect_eq(fd_write_all(full, "x", 1), -ENOSPC);
	close(full);
}

Test(fd, write_file_makes_and_replaces)
{
	cr_assert_eq(fd_write_file(dirfd_, "result", "one", 3, 0640), 0);
	cr_assert_eq(fd_write_file(dirfd_, "result", "two", 3, 0640), 0);
	char *data = get("result");
	cr_expect_str_eq(data, "two");
	free(data);
	struct stat st;
	cr_assert_eq(fstatat(dirfd_, "result", &st, 0), 0);
	cr_expect_eq(st.st_mode & 0777, 0640);
	cr_expect_eq(faccessat(dirfd_, "result.new", F_OK, 0), -1);
}

Test(fd, write_file_never_writes_through_what_lies_aside)
{
	put("victim", "mine");
	cr_assert_eq(linkat(dirfd_, "victim", dirfd_, "result.new", 0), 0);
	cr_assert_eq(fd_write_file(dirfd_, "result", "two", 3, 0600), 0);
	char *data = get("victim");
	cr_expect_str_eq(data, "mine");
	free(data);
}

/* Would wait for a reader for ever. */
Test(fd, write_file_is_not_stopped_by_a_fifo, .timeout = 60)
{
	cr_assert_eq(mkfifoat(dirfd_, "result.new", 0600), 0);
	cr_assert_eq(fd_write_file(dirfd_, "result", "two", 3, 0600), 0);
	char *data = get("result");
	cr_expect_str_eq(data, "two");
	free(data);
}

Test(fd, write_file_errors_leave_the_old_content)
{
	put("result", "old");
	cr_assert_eq(mkdirat(dirfd_, "result.new", 0700), 0);
	cr_expect_eq(fd_write_file(dirfd_, "result", "new", 3, 0600), -EISDIR);
	char *data = get("result");
	cr_expect_str_eq(data, "old");
	free(data);
	char name[301];
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	cr_expect_eq(fd_write_file(dirfd_, name, "x", 1, 0600), -ENAMETOOLONG);
	cr_assert_eq(mkdirat(dirfd_, "sub", 0700), 0);
	cr_expect_eq(fd_write_file(dirfd_, "sub", "x", 1, 0600), -EISDIR);
	cr_expect_eq(faccessat(dirfd_, "sub.new", F_OK, 0), -1);
}

Test(fd, open_beneath_stays_beneath)
{
	put("file", "x");
	cr_assert_eq(mkdirat(dirfd_, "sub", 0700), 0);
	cr_assert_eq(symlinkat("file", dirfd_, "link"), 0);
	cr_assert_eq(symlinkat(".", dirfd_, "loop"), 0);
	int fd = fd_open_beneath(dirfd_, "file", O_RDONLY, 0);
	cr_assert_geq(fd, 0);
	cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	cr_expect_eq(fd_open_beneath(dirfd_, "link", O_RDONLY, 0), -ELOOP);
	cr_expect_eq(fd_open_beneath(dirfd_, "loop/file", O_RDONLY, 0), -ELOOP);
	cr_expect_eq(fd_open_beneath(dirfd_, "../x", O_RDONLY, 0), -EXDEV);
	cr_expect_eq(fd_open_beneath(dirfd_, "/etc/passwd", O_RDONLY, 0), -EXDEV);
	cr_expect_eq(fd_open_beneath(dirfd_, "none", O_RDONLY, 0), -ENOENT);
	fd = fd_open_beneath(dirfd_, "sub/../file", O_RDONLY, 0);
	cr_expect_geq(fd, 0);
	close(fd);
}

Test(fd, open_beneath_creates)
{
	umask(0);
	int fd = fd_open_beneath(dirfd_, "made", O_WRONLY | O_CREAT | O_EXCL, 0640);
	struct stat st;
	cr_assert_geq(fd, 0);
	fstat(fd, &st);
	cr_expect_eq(st.st_mode & 0777, 0640);
	close(fd);
	cr_expect_eq(fd_open_beneath(dirfd_, "made", O_WRONLY | O_CREAT | O_EXCL, 0640), -EEXIST);
}

Test(fd, open_beneath_needs_no_mode_where_nothing_is_created)
{
	cr_assert_eq(mkdirat(dirfd_, "sub", 0700), 0);
	int fd = fd_open_beneath(dirfd_, "sub", O_RDONLY | O_DIRECTORY, 0755);
	cr_expect_geq(fd, 0);
	fd_close(fd);
}

/* Whoever owns the file can take a lease on it: that must not keep us busy. */
Test(fd, open_beneath_does_not_spin_on_a_lease, .timeout = 120)
{
	put("leased", "x");
	int ready[2], over[2];
	cr_assert_eq(pipe(ready), 0);
	cr_assert_eq(pipe(over), 0);
	pid_t child = fork();
	if (child == 0) {
		close(over[1]);
		signal(SIGIO, SIG_IGN);
		int fd = openat(dirfd_, "leased", O_RDWR);
		char c = fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
		if (write(ready[1], &c, 1) == 1)
			(void)!read(over[0], &c, 1);
		_exit(0);
	}
	char leased = 0;
	cr_assert_eq(read(ready[0], &leased, 1), 1);
	cr_assert(leased);
	cr_expect_eq(fd_open_beneath(dirfd_, "leased", O_RDONLY | O_NONBLOCK, 0), -EAGAIN);
	close(over[1]);
	close(over[0]);
	waitpid(child, NULL, 0);
}

static void make_pair(int *pair)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

Test(fd, packets_carry_descriptors)
{
	int pair[2], fds[FD_PASS_MAX];
	char data[64];
	size_t size;
	make_pair(pair);
	int sent[] = {dirfd_, pair[0]};
	cr_assert_eq(fd_send(pair[0], "hello", 5, sent, 2), 0);
	cr_assert_eq(fd_recv(pair[1], data, sizeof data, &size, fds), 0);
	cr_expect_eq(size, 5);
	cr_expect_arr_eq(data, "hello", 5);
	struct stat a, b;
	fstat(dirfd_, &a);
	cr_assert_eq(fstat(fds[0], &b), 0);
	cr_expect_eq(a.st_ino, b.st_ino);
	cr_expect_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	cr_expect_geq(fds[1], 0);
	cr_expect_eq(fds[2], -1);
	cr_expect_eq(fds[3], -1);
}

Test(fd, packets_without_descriptors_and_the_end)
{
	int pair[2], fds[FD_PASS_MAX] = {5, 5, 5, 5};
	char data[64];
	size_t size = 77;
	make_pair(pair);
	cr_expect_eq(fd_recv(pair[1], data, sizeof data, &size, fds), -EAGAIN);
	cr_expect_eq(size, 77);
	cr_assert_eq(fd_send(pair[0], "x", 1, NULL, 0), 0);
	cr_assert_eq(fd_recv(pair[1], data, sizeof data, &size, fds), 0);
	cr_expect_eq(size, 1);
	cr_expect_eq(fds[0], -1);
	close(pair[0]);
	cr_assert_eq(fd_recv(pair[1], data, sizeof data, &size, fds), 0);
	cr_expect_eq(size, 0);
	cr_expect_eq(fd_send(pair[1], "x", 1, NULL, 0), -EPIPE);
}

Test(fd, a_packet_too_large_leaves_no_descriptor_behind)
{
	int pair[2], fds[FD_PASS_MAX];
	char data[4];
	size_t size;
	make_pair(pair);
	unsigned before = descriptors_below(dir);
	cr_assert_eq(fd_send(pair[0], "hello", 5, &dirfd_, 1), 0);
	cr_expect_eq(fd_recv(pair[1], data, sizeof data, &size, fds), -EMSGSIZE);
	cr_expect_eq(fds[0], -1);
	cr_expect_eq(descriptors_below(dir), before);
}

Test(fd, too_many_descriptors_are_refused)
{
	int pair[2], fds[FD_PASS_MAX + 1] = {0};
	make_pair(pair);
	cr_expect_eq(fd_send(pair[0], "x", 1, fds, FD_PASS_MAX + 1), -EINVAL);
}

Test(fd, a_full_socket_says_so)
{
	int pair[2], r;
	char data[8192] = {0};
	make_pair(pair);
	while ((r = fd_send(pair[0], data, sizeof data, NULL, 0)) == 0)
		;
	cr_expect_eq(r, -EAGAIN);
}

Test(fd, nonblock_is_switched)
{
	int ends[2];
	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(fd_set_nonblock(ends[0], true), 0);
	cr_expect(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
	cr_assert_eq(fd_set_nonblock(ends[0], false), 0);
	cr_expect_not(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
	cr_expect_eq(fd_set_nonblock(-1, true), -EBADF);
}
