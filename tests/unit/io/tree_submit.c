/* Promises: a submitted file is there whole or not at all, and a name of the
 * outside world means one file of the spool or none. */
#include "tree_final_world.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

TestSuite(tree_submit, .init = begin_world, .fini = end_world, .timeout = 240);

static int submit_text(const char *name, const char *text)
{
	int fds[2];
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(fd_write_all(fds[1], text, strlen(text)), 0);
	close(fds[1]);
	int r = tree_submit(t, USER, fds[0], name, NULL, NULL);
	close(fds[0]);
	return r;
}

static void note_progress(void *ctx, uint64_t bytes)
{
	uint64_t *last = ctx;
	cr_expect_gt(bytes, *last);
	*last = bytes;
}

Test(tree_submit, a_file_is_copied_whole)
{
	enum { SIZE = 3 * 1024 * 1024 + 17 };
	char *data = malloc(SIZE);
	uint64_t last = 0;
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (char)('a' + i * 7 % 23);
	int fd = open(at("../file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_eq(fd_write_all(fd, data, SIZE), 0);
	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	cr_expect_eq(tree_submit(t, USER, fd, "big", note_progress, &last), 0);
	cr_expect_eq(last, SIZE);
	close(fd);
	size_t n;
	char *got = NULL;
	fd = open(at("incoming/big"), O_RDONLY | O_CLOEXEC);
	cr_assert_eq(fd_read_all(fd, SIZE, &got, &n), 0);
	cr_expect_eq(n, SIZE);
	cr_expect_eq(memcmp(got, data, SIZE), 0);
	close(fd);
	free(got);
	free(data);
	cr_expect_eq(count(at("incoming")), 1);
}

Test(tree_submit, from_a_pipe_and_from_nothing)
{
	cr_expect_eq(submit_text("piped", "through"), 0);
	cr_expect(holds(at("incoming/piped"), "through"));
	cr_expect_eq(submit_text("empty", ""), 0);
	cr_expect(holds(at("incoming/empty"), ""));
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	cr_expect_eq(tree_submit(t, USER, fd, "status", NULL, NULL), 0);
	cr_expect_gt(ident_of(at("incoming/status")).size, 0);
	close(fd);
}

Test(tree_submit, names_are_bytes)
{
	char longest[256], too_long[257];
	memset(longest, 'l', 255);
	longest[255] = '\0';
	memset(too_long, 'l', 256);
	too_long[256] = '\0';
	const char *const good[] = {longest, "a\nb", "\xff\x80", "-rf", "%s%n", "a b", ".hidden", "..."};
	for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
		cr_expect_eq(submit_text(good[i], "1"), 0, "%s", good[i]);
		cr_expect(holds(at("incoming/%s", good[i]), "1"));
	}
	const char *const bad[] = {"", ".", "..", "a/b", "/", "../x", "a/"};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		cr_expect_eq(submit_text(bad[i], "1"), -EINVAL, "%s", bad[i]);
	cr_expect_eq(submit_text(too_long, "1"), -ENAMETOOLONG);
	cr_expect_eq(count(at("incoming")), sizeof good / sizeof *good);
}

Test(tree_submit, a_taken_name_stays_what_it_is)
{
	put(at("incoming/x"), "first");
	mkdir(at("incoming/d"), 0700);
	cr_assert_eq(symlink("nowhere", at("incoming/s")), 0);
	cr_expect_eq(submit_text("x", "second"), -EEXIST);
	cr_expect_eq(submit_text("d", "second"), -EEXIST);
	cr_expect_eq(submit_text("s", "second"), -EEXIST);
	cr_expect(holds(at("incoming/x"), "first"));
	cr_expect_eq(count(at("incoming")), 3);
}

static void take_name(void *ctx, uint64_t bytes)
{
	(void)ctx;
	(void)bytes;
	int fd = open(at("incoming/x"), O_WRONLY | O_CREAT | O_EXCL, 0600);
	fd_write_all(fd, "first", 5);
	close(fd);
}

Test(tree_submit, a_name_that_is_taken_during_the_copy)
{
	put(at("../file"), "second");
	int fd = open(at("../file"), O_RDONLY | O_CLOEXEC);
	cr_expect_eq(tree_submit(t, USER, fd, "x", take_name, NULL), -EEXIST);
	cr_expect(holds(at("incoming/x"), "first"));
	cr_expect_eq(count(at("incoming")), 1);
	close(fd);
}

Test(tree_submit, errors_leave_no_temporary)
{
	int folder = open(at("done"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_expect_eq(tree_submit(t, USER, folder, "x", NULL, NULL), -EISDIR);
	close(folder);
	cr_expect_eq(tree_submit(t, USER, -1, "x", NULL, NULL), -EBADF);
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cr_expect_eq(tree_submit(t, "nobody-here", fd, "x", NULL, NULL), -ENOENT);
	cr_expect_eq(tree_submit(t, "../" USER, fd, "x", NULL, NULL), -EINVAL);
	cr_expect_eq(tree_submit(t, "", fd, "x", NULL, NULL), -EINVAL);
	close(fd);
	cr_expect_eq(count(at("incoming")), 0);
	cr_assert_eq(rmdir(at("incoming")), 0);
	cr_assert_eq(symlink("/tmp", at("incoming")), 0);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cr_expect_eq(tree_submit(t, USER, fd, "spoold-must-not-be-here", NULL, NULL), -ELOOP);
	close(fd);
	cr_expect(!is_there("/tmp/spoold-must-not-be-here"));
	unlink(at("incoming"));
	mkdir(at("incoming"), 0700);
}

/* A limit on the size of files stands in for the disk. */
static int submit_too_much(void)
{
	struct rlimit limit = {.rlim_cur = 100000, .rlim_max = 100000};
	signal(SIGXFSZ, SIG_IGN);
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 1;
	return tree_submit(t, USER, zero, "x", NULL, NULL) == -EFBIG ? 0 : 2;
}

Test(tree_submit, a_disk_that_fills_leaves_no_temporary)
{
	int status;
	pid_t child = fork();
	if (child == 0)
		_exit(submit_too_much());
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_expect_eq(count(at("incoming")), 0);
}

Test(tree_submit, it_belongs_to_the_user)
{
	if (geteuid() != 0)
		cr_skip("needs root\n");
	cr_assert_eq(chown(at("incoming"), 4242, 4343), 0);
	cr_expect_eq(submit_text("x", "1"), 0);
	cr_expect_eq(ident_of(at("incoming/x")).uid, 4242);
	cr_expect_eq(ident_of(at("incoming/x")).gid, 4343);
}

static void expect_located(const char *outside, enum place place, const char *path)
{
	char *user = NULL, *got = NULL;
	enum place where = PLACE_NOWHERE;
	int r = tree_locate(t, outside, &user, &where, &got);
	cr_assert_eq(r, 0, "%s: %s", outside, strerror(-r));
	cr_expect_str_eq(user, USER, "%s", outside);
	cr_expect_eq(where, place, "%s", outside);
	cr_expect_str_eq(got, path, "%s: %s", outside, got);
	free(user);
	free(got);
}

static void expect_refused(const char *outside, int error)
{
	char *user = NULL, *got = NULL;
	enum place where = PLACE_NOWHERE;
	int r = tree_locate(t, outside, &user, &where, &got);
	cr_expect_eq(r, error, "%s: %d", outside, r);
	cr_expect_null(user);
	cr_expect_null(got);
	cr_expect_eq(where, PLACE_NOWHERE);
}

Test(tree_submit, names_of_the_outside_are_located)
{
	put(at("incoming/sub/x.csv"), "1");
	expect_located(at("incoming/sub/x.csv"), PLACE_INCOMING, "sub/x.csv");
	expect_located(at("incoming/sub/x.csv/"), PLACE_INCOMING, "sub/x.csv");
	expect_located(at("incoming//sub/./x.csv"), PLACE_INCOMING, "sub/x.csv");
	expect_located(at("incoming/missing//a/./b"), PLACE_INCOMING, "missing/a/b");
	expect_located(at("incoming/sub/../sub/x.csv"), PLACE_INCOMING, "sub/x.csv");
	expect_located(at("incoming/sub/."), PLACE_INCOMING, "sub");
	expect_located(at("processing/12/x.csv"), PLACE_PROCESSING, "12/x.csv");
	expect_located(at("done/a\nb"), PLACE_DONE, "a\nb");
	expect_located(at("failed/-"), PLACE_FAILED, "-");
	cr_assert_eq(chdir(tree_root(t)), 0);
	expect_located(USER "/incoming/sub/x.csv", PLACE_INCOMING, "sub/x.csv");
	expect_located("./" USER "/done/../incoming/none", PLACE_INCOMING, "none");
	cr_assert_eq(chdir(at("incoming/sub")), 0);
	expect_located("x.csv", PLACE_INCOMING, "sub/x.csv");
	expect_located("none", PLACE_INCOMING, "sub/none");
	expect_located("../y", PLACE_INCOMING, "y");
	expect_located(".", PLACE_INCOMING, "sub");
	expect_located("../../done/y", PLACE_DONE, "y");
	cr_assert_eq(chdir("/"), 0);
}

Test(tree_submit, symlinks_are_followed_on_the_way_but_not_at_the_end)
{
	char link[96];
	snprintf(link, sizeof link, "%s/link", dir);
	cr_assert_eq(symlink(tree_root(t), link), 0);
	put(at("incoming/x.csv"), "1");
	snprintf(link, sizeof link, "%s/link/" USER "/incoming/x.csv", dir);
	expect_located(link, PLACE_INCOMING, "x.csv");
	cr_assert_eq(symlink("/etc/passwd", at("incoming/s")), 0);
	expect_located(at("incoming/s"), PLACE_INCOMING, "s");
	cr_assert_eq(symlink("/etc", at("incoming/etc")), 0);
	expect_refused(at("incoming/etc/passwd"), -EXDEV);
	cr_assert_eq(symlink("loop", at("incoming/loop")), 0);
	expect_refused(at("incoming/loop/x"), -ELOOP);
}

Test(tree_submit, what_is_elsewhere_is_refused)
{
	expect_refused("/etc/passwd", -EXDEV);
	expect_refused("/", -EXDEV);
	expect_refused("/nowhere/at/all", -EXDEV);
	expect_refused(dir, -EXDEV);
	char sibling[96];
	snprintf(sibling, sizeof sibling, "%s/spool2/" USER "/incoming/x", dir);
	expect_refused(sibling, -EXDEV);
	expect_refused(tree_root(t), -EINVAL);
	expect_refused(at("."), -EINVAL);
	expect_refused(at("incoming"), -EINVAL);
	expect_refused(at("incoming/"), -EINVAL);
	expect_refused(at("incoming/."), -EINVAL);
	expect_refused(at("elsewhere/x"), -EINVAL);
	expect_refused(at(".lock"), -EINVAL);
	expect_refused(at("incoming/missing/../../../../etc/passwd"), -ENOENT);
	expect_refused("", -ENOENT);
}
