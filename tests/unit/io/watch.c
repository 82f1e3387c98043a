#include "io/watch.h"
#include "io/watch_events.h"

#include "base/clock.h"
#include "core/job.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_MS = 60000, ALICE = 1, BOB = 2 };

static char root[] = "/tmp/spoold-watch-XXXXXX";
static struct watch *w;

static void begin(void)
{
	cr_assert_not_null(mkdtemp(root));
	cr_assert_eq(chdir(root), 0);
	cr_assert_eq(watch_new(&w), 0);
	cr_assert_eq(mkdir("in", 0755), 0);
}

static void end(void)
{
	char command[64];
	watch_free(w);
	snprintf(command, sizeof command, "rm -rf %s", root);
	cr_expect_eq(system(command), 0);
}

TestSuite(watch, .init = begin, .fini = end, .timeout = 240);

static int try_add(const char *path, uint32_t user, const char *dir)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(fd, 0, "%s", path);
	int r = watch_add(w, fd, user, dir);
	close(fd);
	return r;
}

static void add(const char *path, uint32_t user, const char *dir)
{
	cr_assert_eq(try_add(path, user, dir), 0);
}

static void shell(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

/* The next hint, waiting for it. */
static struct watch_hint next_hint(void)
{
	struct watch_hint hint = {.dir = "", .name = ""};
	struct pollfd p = {.fd = watch_fd(w), .events = POLLIN};
	while (!watch_next(w, &hint)) {
		cr_assert_eq(poll(&p, 1, LIMIT_MS), 1, "no hint came");
		cr_assert_eq(watch_gather(w), 0);
	}
	return hint;
}

static void expect(enum watch_kind kind, uint32_t user, const char *dir, const char *name)
{
	struct watch_hint hint = next_hint();
	cr_expect(hint.kind == kind && hint.user == user && strcmp(hint.dir, dir) == 0 &&
	                  strcmp(hint.name, name) == 0,
	          "got %d of %u: %s | %s, not %d of %u: %s | %s", hint.kind, hint.user, hint.dir,
	          hint.name, kind, user, dir, name);
}

static void expect_none(void)
{
	struct watch_hint hint;
	cr_expect_eq(watch_gather(w), 0);
	cr_expect_not(watch_next(w, &hint));
}

Test(watch, an_upload_is_created_and_closed)
{
	add("in", ALICE, "");
	shell("printf x > in/a.csv");
	expect(WATCH_CHANGED, ALICE, "", "a.csv");
	expect(WATCH_CLOSED, ALICE, "", "a.csv");
	expect_none();
	shell("printf y >> in/a.csv");
	expect(WATCH_CLOSED, ALICE, "", "a.csv");
	expect_none();
}

Test(watch, writing_alone_wakes_nobody)
{
	int fd = open("in/a.csv", O_WRONLY | O_CREAT, 0644);
	add("in", ALICE, "");
	for (int i = 0; i < 100; i++)
		cr_assert_eq(write(fd, "x", 1), 1);
	expect_none();
	close(fd);
	expect(WATCH_CLOSED, ALICE, "", "a.csv");
}

Test(watch, renames_links_and_removals)
{
	shell("printf x > outside; printf y > in/here");
	add("in", ALICE, "");
	shell("mv outside in/a.csv");
	expect(WATCH_RENAMED_IN, ALICE, "", "a.csv");
	shell("mv in/a.csv in/b.csv");
	expect(WATCH_LEFT, ALICE, "", "a.csv");
	expect(WATCH_RENAMED_IN, ALICE, "", "b.csv");
	shell("mv in/b.csv out");
	expect(WATCH_LEFT, ALICE, "", "b.csv");
	shell("ln out in/linked");
	expect(WATCH_CHANGED, ALICE, "", "linked");
	shell("rm in/here");
	/* The file itself may report its count of links first. */
	struct watch_hint hint = next_hint();
	if (hint.kind == WATCH_CHANGED)
		hint = next_hint();
	cr_expect_eq(hint.kind, WATCH_LEFT);
	cr_expect_str_eq(hint.name, "here");
}

Test(watch, a_file_that_gets_its_name_late_is_seen)
{
	add("in", ALICE, "");
	int fd = open("in", O_TMPFILE | O_WRONLY, 0644);
	char path[40];
	cr_assert_geq(fd, 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	cr_assert_eq(linkat(AT_FDCWD, path, AT_FDCWD, "in/late", AT_SYMLINK_FOLLOW), 0);
	close(fd);
	struct watch_hint hint;
	do
		hint = next_hint();
	while (strcmp(hint.name, "late") != 0);
	cr_expect_eq(hint.kind, WATCH_CHANGED);
}

Test(watch, attributes_are_a_change)
{
	shell("printf x > in/a");
	add("in", ALICE, "");
	shell("chmod 600 in/a");
	expect(WATCH_CHANGED, ALICE, "", "a");
	shell("chmod 700 in");
	expect(WATCH_CHANGED, ALICE, "", "");
	expect_none();
}

Test(watch, names_are_bytes)
{
	add("in", ALICE, "");
	char name[256] = "\xff\x01\n";
	memset(name + 3, 'n', 252);
	char path[300];
	snprintf(path, sizeof path, "in/%s", name);
	close(open(path, O_WRONLY | O_CREAT, 0644));
	expect(WATCH_CHANGED, ALICE, "", name);
	expect(WATCH_CLOSED, ALICE, "", name);
}

Test(watch, repeated_hints_are_merged)
{
	shell("printf x > in/a; printf x > in/b");
	add("in", ALICE, "");
	/* Created and changed are the same hint; another in between keeps both. */
	int fd = open("in/c", O_WRONLY | O_CREAT, 0644);
	cr_assert_eq(fchmod(fd, 0600), 0);
	cr_assert_eq(chmod("in/a", 0600), 0);
	cr_assert_eq(chmod("in/b", 0600), 0);
	cr_assert_eq(chmod("in/a", 0640), 0);
	expect(WATCH_CHANGED, ALICE, "", "c");
	expect(WATCH_CHANGED, ALICE, "", "a");
	expect(WATCH_CHANGED, ALICE, "", "b");
	expect(WATCH_CHANGED, ALICE, "", "a");
	expect_none();
	/* What happens after a hint was taken is told again. */
	cr_assert_eq(fchmod(fd, 0640), 0);
	expect(WATCH_CHANGED, ALICE, "", "c");
	cr_assert_eq(fchmod(fd, 0600), 0);
	expect(WATCH_CHANGED, ALICE, "", "c");
	close(fd);
}

Test(watch, the_same_name_in_two_directories_is_two_hints)
{
	shell("mkdir other");
	add("in", ALICE, "");
	add("other", BOB, "");
	shell("mkdir in/x other/x");
	expect(WATCH_DIRECTORY, ALICE, "", "x");
	expect(WATCH_DIRECTORY, BOB, "", "x");
	expect_none();
}

Test(watch, directories)
{
	add("in", ALICE, "");
	shell("mkdir in/2026");
	expect(WATCH_DIRECTORY, ALICE, "", "2026");
	add("in/2026", ALICE, "2026");
	cr_expect_eq(watch_count(w), 2);
	shell("printf x > in/2026/a");
	expect(WATCH_CHANGED, ALICE, "2026", "a");
	expect(WATCH_CLOSED, ALICE, "2026", "a");
	shell("mkdir -p outside/x; mv outside in/moved");
	expect(WATCH_DIRECTORY_IN, ALICE, "", "moved");
	expect_none();
}

Test(watch, the_root_tells_of_users)
{
	cr_assert_eq(chmod(root, 0711), 0);
	add(".", 0, "");
	shell("mkdir carol");
	expect(WATCH_DIRECTORY, 0, "", "carol");
	shell("mv carol dave");
	expect(WATCH_LEFT, 0, "", "carol");
	expect(WATCH_DIRECTORY_IN, 0, "", "dave");
	shell("rmdir dave");
	expect(WATCH_LEFT, 0, "", "dave");
	expect_none();
}

Test(watch, a_removed_directory_is_lost_and_can_come_back)
{
	cr_assert_eq(mkdir("in/sub", 0755), 0);
	add("in", ALICE, "");
	add("in/sub", ALICE, "sub");
	shell("rmdir in/sub");
	expect(WATCH_LOST, ALICE, "sub", "");
	cr_expect_eq(watch_count(w), 1);
	expect(WATCH_LEFT, ALICE, "", "sub");
	expect_none();
	shell("mkdir in/sub");
	expect(WATCH_DIRECTORY, ALICE, "", "sub");
	add("in/sub", ALICE, "sub");
	shell("touch in/sub/x");
	expect(WATCH_CHANGED, ALICE, "sub", "x");
}

Test(watch, a_renamed_directory_is_lost_with_all_below)
{
	shell("mkdir -p in/a/b in/ab");
	add("in", ALICE, "");
	add("in/a", ALICE, "a");
	add("in/a/b", ALICE, "a/b");
	add("in/ab", ALICE, "ab");
	shell("mv in/a in/c");
	expect(WATCH_LEFT, ALICE, "", "a");
	expect(WATCH_DIRECTORY_IN, ALICE, "", "c");
	expect(WATCH_LOST, ALICE, "a", "");
	cr_expect_eq(watch_count(w), 2);
	shell("touch in/c/b/unseen in/ab/seen");
	expect(WATCH_CHANGED, ALICE, "ab", "seen");
	expect(WATCH_CLOSED, ALICE, "ab", "seen");
	add("in/c/b", ALICE, "c/b");
	shell("touch in/c/b/seen");
	expect(WATCH_CHANGED, ALICE, "c/b", "seen");
}

Test(watch, adding_again_is_no_error)
{
	add("in", ALICE, "");
	add("in", ALICE, "");
	cr_expect_eq(watch_count(w), 1);
	shell("touch in/x");
	expect(WATCH_CHANGED, ALICE, "", "x");
	expect(WATCH_CLOSED, ALICE, "", "x");
	expect_none();
}

Test(watch, of_two_owners_the_later_one_gets_the_hints)
{
	add("in", ALICE, "");
	add("in", BOB, "shared");
	cr_expect_eq(watch_count(w), 1);
	shell("touch in/x");
	expect(WATCH_CHANGED, BOB, "shared", "x");
	/* The one that lost it has nothing left to forget. */
	watch_forget(w, ALICE);
	cr_expect_eq(watch_count(w), 1);
}

Test(watch, a_forgotten_user_is_silent)
{
	shell("mkdir in/sub other");
	add("in", ALICE, "");
	add("in/sub", ALICE, "sub");
	add("other", BOB, "");
	shell("touch in/waiting");
	watch_forget(w, ALICE);
	cr_expect_eq(watch_count(w), 1);
	shell("touch in/x in/sub/x other/x");
	expect(WATCH_CHANGED, BOB, "", "x");
	expect(WATCH_CLOSED, BOB, "", "x");
	expect_none();
	watch_forget(w, ALICE);
	watch_forget(w, 77);
	add("in", ALICE, "");
	shell("touch in/y");
	expect(WATCH_CHANGED, ALICE, "", "y");
}

Test(watch, forgetting_while_a_hint_is_at_hand)
{
	cr_assert_eq(mkdir("in/sub", 0755), 0);
	add("in/sub", ALICE, "sub");
	shell("touch in/sub/x");
	struct watch_hint hint = next_hint();
	watch_forget(w, ALICE);
	cr_expect_str_eq(hint.dir, "sub");
	cr_expect_str_eq(hint.name, "x");
	expect_none();
}

Test(watch, it_is_the_open_directory_whatever_its_path_became)
{
	int fd = open("in", O_RDONLY | O_DIRECTORY);
	shell("mv in gone; mkdir in");
	cr_assert_eq(watch_add(w, fd, ALICE, ""), 0);
	close(fd);
	shell("touch in/wrong gone/right");
	expect(WATCH_CHANGED, ALICE, "", "right");
}

Test(watch, what_cannot_be_watched)
{
	int fd = open("file", O_RDWR | O_CREAT, 0644);
	cr_expect_eq(watch_add(w, fd, ALICE, ""), -ENOTDIR);
	close(fd);
	cr_expect_lt(watch_add(w, -1, ALICE, ""), 0);
	char *dir = calloc(1, JOB_PATH_MAX + 2);
	memset(dir, 'd', JOB_PATH_MAX + 1);
	cr_expect_eq(try_add("in", ALICE, dir), -ENAMETOOLONG);
	dir[JOB_PATH_MAX] = '\0';
	cr_expect_eq(try_add("in", ALICE, dir), 0);
	shell("touch in/x");
	expect(WATCH_CHANGED, ALICE, dir, "x");
	free(dir);
	cr_expect_eq(watch_count(w), 1);
}

static long max_queued_events(void)
{
	long n = 0;
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
	if (f == NULL || fscanf(f, "%ld", &n) != 1)
		n = 0;
	if (f != NULL)
		fclose(f);
	return n;
}

/* Two names in turn, so that nothing is merged. */
static void make_events(long n)
{
	for (long i = 0; i < n; i++)
		cr_assert_eq(chmod(i % 2 == 0 ? "in/even" : "in/odd", 0644), 0);
}

Test(watch, an_overflow_is_told_and_lost_ends_are_noticed)
{
	long limit = max_queued_events();
	if (limit == 0 || limit > 1000000)
		cr_skip_test("the queue of inotify holds %ld events", limit);
	shell("mkdir sub; touch in/even in/odd");
	add("in", ALICE, "");
	add("sub", BOB, "");
	make_events(limit + 10);
	shell("rmdir sub");
	struct watch_hint hint;
	long n = 0;
	for (hint = next_hint(); hint.kind != WATCH_OVERFLOW; hint = next_hint())
		n++;
	cr_expect_eq(n, limit);
	cr_expect_eq(hint.user, 0);
	cr_expect_str_eq(hint.dir, "");
	cr_expect_str_eq(hint.name, "");
	/* The end of sub was among what was lost. */
	cr_expect_eq(watch_count(w), 1);
	shell("touch in/after");
	expect(WATCH_CHANGED, ALICE, "", "after");
}

/* Names in their order, while more of them are gathered than were told. */
Test(watch, what_is_gathered_keeps_its_order)
{
	enum { FILES = 6000, AT_ONCE = 500, TOLD = 300 };
	char name[40];
	int told = 0;
	add("in", ALICE, "");
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "in/%d", i);
		cr_assert_eq(mknod(name, S_IFREG | 0644, 0), 0);
		if (i % AT_ONCE != AT_ONCE - 1)
			continue;
		cr_assert_eq(watch_gather(w), 0);
		for (int n = 0; n < TOLD; n++) {
			snprintf(name, sizeof name, "%d", told++);
			expect(WATCH_CHANGED, ALICE, "", name);
		}
	}
	for (; told < FILES; told++) {
		snprintf(name, sizeof name, "%d", told);
		expect(WATCH_CHANGED, ALICE, "", name);
	}
	expect_none();
}

/* Returns how many events the kernel keeps. */
static long begin_events(void)
{
	long limit = max_queued_events();
	if (limit == 0 || limit > 20000)
		cr_skip_test("the queue of inotify holds %ld events", limit);
	shell("touch in/even in/odd");
	add("in", ALICE, "");
	return limit;
}

static long count_until_overflow(long most)
{
	struct watch_hint hint;
	long n = 0;
	for (; n < most; n++) {
		hint = next_hint();
		if (hint.kind == WATCH_OVERFLOW)
			break;
	}
	return n;
}

Test(watch, more_is_kept_than_the_kernel_holds)
{
	enum { TIMES = 4 };
	long limit = begin_events();
	for (int i = 0; i < TIMES; i++) {
		make_events(limit);
		cr_assert_eq(watch_gather(w), 0);
	}
	cr_expect(watch_waits(w));
	cr_expect_eq(count_until_overflow(TIMES * limit), TIMES * limit);
	expect_none();
	cr_expect_not(watch_waits(w));
}

Test(watch, what_was_gathered_before_a_mark)
{
	add("in", ALICE, "");
	cr_expect(watch_is_past(w, watch_mark(w)));
	shell("touch in/a in/b");
	cr_assert_eq(watch_gather(w), 0);
	uint64_t mark = watch_mark(w);
	shell("touch in/c");
	cr_assert_eq(watch_gather(w), 0);
	cr_expect_gt(watch_mark(w), mark);
	bool past_b = false;
	while (watch_waits(w)) {
		struct watch_hint hint = next_hint();
		bool is_c = strcmp(hint.name, "c") == 0;
		past_b = past_b || is_c;
		cr_expect(!past_b || watch_is_past(w, mark), "%s is told, and the mark is not passed", hint.name);
		cr_expect(past_b || strcmp(hint.name, "a") != 0 || !watch_is_past(w, mark));
	}
	cr_expect(past_b);
	cr_expect(watch_is_past(w, watch_mark(w)));
}

Test(watch, no_more_is_kept_than_there_is_room_for)
{
	long limit = begin_events();
	long most = WATCH_EVENTS_MOST / (long)(sizeof(struct inotify_event) + sizeof(struct inotify_event));
	long made = 0;
	for (; made < most + 2 * limit; made += limit) {
		make_events(limit);
		cr_assert_eq(watch_gather(w), 0);
	}
	long n = count_until_overflow(made);
	cr_expect_lt(n, made, "nothing was lost of %ld", made);
	cr_expect_geq(n, most, "only %ld of %ld were kept", n, most);
	/* When all was told it goes on as before. */
	shell("touch in/after");
	struct watch_hint hint = next_hint();
	while (strcmp(hint.name, "after") != 0)
		hint = next_hint();
	expect(WATCH_CLOSED, ALICE, "", "after");
	expect_none();
}

Test(watch, an_unmounted_directory_is_lost)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "in", "tmpfs", 0, NULL) < 0)
		cr_skip_test("may not mount here");
	add("in", ALICE, "");
	cr_assert_eq(umount("in"), 0);
	expect(WATCH_LOST, ALICE, "", "");
	cr_expect_eq(watch_count(w), 0);
	expect_none();
}

/* In a child with a user namespace of its own, whose limit is its own too.
 * Returns what watch_add() said to the third directory, 1: cannot be tried. */
static int add_beyond_limit(void)
{
	struct watch *own;
	if (unshare(CLONE_NEWUSER) < 0)
		return 1;
	FILE *f = fopen("/proc/sys/user/max_inotify_watches", "we");
	if (f == NULL || fputs("2", f) < 0 || fclose(f) != 0 || watch_new(&own) < 0)
		return 1;
	int fds[] = {open("in", O_RDONLY), open("in/a", O_RDONLY), open("in/b", O_RDONLY)};
	if (watch_add(own, fds[0], ALICE, "") < 0 || watch_add(own, fds[1], ALICE, "a") < 0)
		return 2;
	int r = watch_add(own, fds[2], BOB, "b");
	if (watch_count(own) != 2)
		return 3;
	/* One that is watched already needs no place. */
	if (watch_add(own, fds[1], ALICE, "a") != 0)
		return 4;
	/* And there is one again when another goes. */
	watch_forget(own, ALICE);
	if (r == -ENOSPC && watch_add(own, fds[2], BOB, "b") != 0)
		return 5;
	watch_free(own);
	return r;
}

Test(watch, the_limit_of_watches_is_reported)
{
	shell("mkdir in/a in/b; chmod -R a+rx in");
	pid_t child = fork();
	if (child == 0)
		_exit(-add_beyond_limit() & 0xff);
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == (-1 & 0xff))
		cr_skip_test("no user namespaces here");
	cr_expect_eq(WEXITSTATUS(status), ENOSPC);
}

Test(watch, many_users)
{
	enum { USERS = 3000 };
	char name[40];
	for (uint32_t i = 1; i <= USERS; i++) {
		snprintf(name, sizeof name, "u%u", i);
		cr_assert_eq(mkdir(name, 0755), 0);
		add(name, i, "");
	}
	cr_expect_eq(watch_count(w), USERS);
	for (uint32_t i = 1; i <= USERS; i += 2)
		watch_forget(w, i);
	cr_expect_eq(watch_count(w), USERS / 2);
	shell("touch u1/x u2/x u3000/x");
	expect(WATCH_CHANGED, 2, "", "x");
	expect(WATCH_CLOSED, 2, "", "x");
	expect(WATCH_CHANGED, 3000, "", "x");
}

Test(watch, freeing_nothing_is_fine)
{
	watch_free(NULL);
}
