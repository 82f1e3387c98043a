/* Promises: a walk finds all of a directory, at all depths, and follows nothing out of
 * it; a writer of any of its files is seen; many walks go on side by side. */
#include "io/wholes.h"

#include "base/clock.h"
#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LIMIT_MS = 60000 };

static char base[64];
static int dirfd;

static void begin(void)
{
	snprintf(base, sizeof base, "/tmp/spoold-wholes-XXXXXX");
	cr_assert_not_null(mkdtemp(base));
	dirfd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(dirfd >= 0);
}

static void end(void)
{
	char command[128];
	fd_close(dirfd);
	snprintf(command, sizeof command, "rm -rf %s", base);
	cr_expect_eq(system(command), 0);
}

TestSuite(wholes, .init = begin, .fini = end, .timeout = 240);

static void put(const char *path, const char *text)
{
	int fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert(fd >= 0, "%s", path);
	cr_assert_eq(fd_write_all(fd, text, strlen(text)), 0);
	fd_close(fd);
}

static void make(const char *path)
{
	cr_assert_eq(mkdirat(dirfd, path, 0700), 0);
}

static struct wholes_result look(struct wholes_order order)
{
	struct wholes_result result;
	wholes_look(dirfd, &order, &result);
	return result;
}

static void make_tree(void)
{
	make("d");
	make("d/e");
	put("a", "12345");
	put("d/b", "123");
	put("d/e/c", "1");
}

Test(wholes, all_of_it_is_found_and_the_same_twice)
{
	make_tree();
	struct wholes_result plain = look((struct wholes_order){0});
	struct wholes_result probed = look((struct wholes_order){.probe = true, .sync = true});
	struct wholes_result all = look((struct wholes_order){.sync_all = true});
	cr_expect_eq(plain.error, 0);
	cr_expect_eq(plain.whole.files, 3);
	cr_expect_eq(plain.whole.directories, 2);
	cr_expect_eq(plain.whole.ident.size, 9);
	cr_expect_eq(plain.whole.flaw, WHOLE_SOUND);
	cr_expect_not(plain.whole.writer);
	cr_expect(file_ident_same(&plain.whole.ident, &probed.whole.ident));
	cr_expect(file_ident_same(&plain.whole.ident, &all.whole.ident));
	cr_expect_eq(probed.unsynced, 0);
	cr_expect_eq(all.unsynced, 0);
	put("d/e/c", "2");
	struct wholes_result after = look((struct wholes_order){0});
	cr_expect_not(file_ident_same(&plain.whole.ident, &after.whole.ident));
	cr_expect(file_ident_same_top(&plain.whole.ident, &after.whole.ident));
	cr_expect_geq(after.whole.newest_ns, plain.whole.newest_ns);
}

Test(wholes, a_rename_of_it_changes_nothing)
{
	char moved[80];
	make_tree();
	struct wholes_result before = look((struct wholes_order){0});
	snprintf(moved, sizeof moved, "%s.moved", base);
	cr_assert_eq(rename(base, moved), 0);
	struct wholes_result after = look((struct wholes_order){0});
	cr_assert_eq(rename(moved, base), 0);
	cr_expect(file_ident_same(&before.whole.ident, &after.whole.ident));
}

/* The same stamp as a look at it alone gives, or it would be another one each time. */
Test(wholes, a_stamp_of_a_far_year_is_the_one_that_a_look_gives)
{
	const struct timespec far[] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = INT64_C(12000000000)}};
	struct stat st;
	put("a", "1");
	cr_assert_eq(futimens(dirfd, far), 0);
	cr_assert_eq(fstat(dirfd, &st), 0);
	struct wholes_result result = look((struct wholes_order){0});
	cr_assert_eq(result.error, 0);
	cr_expect_eq(result.whole.ident.mtime_ns,
	             clock_stamp_ns(st.st_mtim.tv_sec, st.st_mtim.tv_nsec));
}

Test(wholes, a_writer_at_any_depth_is_seen)
{
	make_tree();
	int fd = openat(dirfd, "d/e/c", O_WRONLY | O_APPEND | O_CLOEXEC);
	cr_expect(look((struct wholes_order){.probe = true}).whole.writer);
	cr_expect_not(look((struct wholes_order){0}).whole.writer, "not asked");
	fd_close(fd);
	cr_expect_not(look((struct wholes_order){.probe = true}).whole.writer);
}

static void expect_refused(const char *at, const char *words)
{
	struct wholes_result r = look((struct wholes_order){.probe = true});
	cr_expect_eq(r.error, 0);
	cr_expect_eq(r.whole.flaw, WHOLE_REFUSED, "%s", at);
	cr_assert_not_null(r.whole.problem, "%s", at);
	cr_expect_not_null(strstr(r.whole.problem, words), "%s: %s", at, r.whole.problem);
	cr_expect_str_eq(r.whole.at, at);
	unlinkat(dirfd, at, 0);
}

Test(wholes, nothing_but_files_and_directories)
{
	make_tree();
	cr_assert_eq(symlinkat("/etc", dirfd, "d/link"), 0);
	expect_refused("d/link", "symbolic link");
	cr_assert_eq(symlinkat("..", dirfd, "up"), 0);
	expect_refused("up", "symbolic link");
	cr_assert_eq(mkfifoat(dirfd, "d/e/fifo", 0600), 0);
	expect_refused("d/e/fifo", "FIFO");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s/d/socket", base);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	fd_close(fd);
	expect_refused("d/socket", "socket");
	put("one", "");
	cr_assert_eq(linkat(dirfd, "one", dirfd, "two", 0), 0);
	struct wholes_result r = look((struct wholes_order){.probe = true});
	cr_expect_eq(r.whole.flaw, WHOLE_REFUSED);
	cr_expect_not_null(strstr(r.whole.problem, "hard links"));
	cr_assert_eq(unlinkat(dirfd, "two", 0), 0);
	cr_expect_eq(look((struct wholes_order){.probe = true}).whole.flaw, WHOLE_SOUND);
}

Test(wholes, too_deep_is_refused)
{
	char path[256] = "x";
	for (int depth = 1; depth < WHOLES_DEPTH_MAX; depth++) {
		make(path);
		strcat(path, "/x");
	}
	cr_expect_eq(look((struct wholes_order){0}).whole.flaw, WHOLE_SOUND);
	make(path);
	cr_expect_eq(look((struct wholes_order){0}).whole.flaw, WHOLE_REFUSED);
}

Test(wholes, unfinished_names_are_told)
{
	static const char *const ignore[] = {".*", "*.part", NULL};
	make_tree();
	put(".DS_Store", "");
	cr_expect_eq(look((struct wholes_order){.ignore = ignore}).whole.flaw, WHOLE_SOUND);
	put("d/e/x.part", "");
	struct wholes_result r = look((struct wholes_order){.ignore = ignore});
	cr_expect_eq(r.whole.flaw, WHOLE_UNFINISHED);
	cr_expect_str_eq(r.whole.at, "d/e/x.part");
	cr_expect_eq(r.whole.files, 5, "the walk goes on");
}

static bool wait_result(struct wholes *w, uint64_t *ret_tag, struct wholes_result *ret)
{
	struct pollfd p = {.fd = wholes_fd(w), .events = POLLIN};
	return poll(&p, 1, LIMIT_MS) == 1 && wholes_next(w, ret_tag, ret) == 1;
}

Test(wholes, small_ones_do_not_wait_for_a_large_one)
{
	struct wholes *w;
	struct wholes_order order = {.probe = true};
	struct wholes_result r;
	uint64_t tag;
	char name[32];
	make("large");
	make("small");
	put("small/a", "a");
	for (int i = 0; i < 20 * WHOLES_SLICE; i++) {
		snprintf(name, sizeof name, "large/%d", i);
		put(name, "");
	}
	cr_assert_eq(wholes_new(&w), 0);
	const char *const names[] = {"large", "small"};
	for (uint64_t i = 0; i < 2; i++) {
		int fd = openat(dirfd, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		cr_assert_eq(wholes_add(w, i + 1, fd, &order), 0);
	}
	cr_assert(wait_result(w, &tag, &r));
	cr_expect_eq(tag, 2);
	cr_expect_eq(r.whole.files, 1);
	cr_assert(wait_result(w, &tag, &r));
	cr_expect_eq(tag, 1);
	cr_expect_eq(r.whole.files, 20 * WHOLES_SLICE);
	cr_expect_eq(wholes_next(w, &tag, &r), 0);
	wholes_free(w);
}

Test(wholes, of_a_walk_that_is_canceled_nothing_comes)
{
	struct wholes *w;
	struct wholes_order order = {0};
	struct wholes_result r;
	uint64_t tag;
	make_tree();
	cr_assert_eq(wholes_new(&w), 0);
	for (uint64_t i = 1; i <= 50; i++) {
		cr_assert_eq(wholes_add(w, i, dup(dirfd), &order), 0);
		if (i % 2 == 0)
			wholes_cancel(w, i);
	}
	wholes_cancel(w, 1000);
	for (int n = 0; n < 25; n++) {
		cr_assert(wait_result(w, &tag, &r));
		cr_expect_eq(tag % 2, 1);
	}
	cr_expect_eq(wholes_next(w, &tag, &r), 0);
	cr_assert_eq(wholes_add(w, 51, dup(dirfd), &order), 0);
	wholes_free(w);
}

Test(wholes, one_that_cannot_be_read_says_so)
{
	if (geteuid() == 0) {
		cr_expect(true, "root may read anything");
		return;
	}
	make_tree();
	cr_assert_eq(fchmodat(dirfd, "d/e", 0, 0), 0);
	cr_expect_eq(look((struct wholes_order){0}).error, -EACCES);
	cr_assert_eq(fchmodat(dirfd, "d/e", 0700, 0), 0);
}
