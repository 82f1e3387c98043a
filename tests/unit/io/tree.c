#include "tree_world.h"

#include <sys/wait.h>

TestSuite(tree, .init = world_begin, .fini = world_end, .timeout = 240);

Test(tree, init_keeps_the_id)
{
	bool existed = false;
	struct tree *again;
	cr_assert_eq(tree_init(root, &existed), 0);
	cr_assert(existed);
	cr_assert_eq(tree_open(root, &again), 0);
	cr_assert_eq(tree_id(again), tree_id(t));
	cr_assert_neq(tree_id(t), 0);
	cr_assert_str_eq(tree_root(t), root);
	tree_close(again);
}

Test(tree, init_makes_the_directories_above)
{
	char deep[128];
	bool existed = true;
	struct tree *other;
	snprintf(deep, sizeof deep, "%s/a/b/spool", world);
	cr_assert_eq(tree_init(deep, &existed), 0);
	cr_assert_not(existed);
	cr_assert_eq(tree_open(deep, &other), 0);
	cr_assert_neq(tree_id(other), tree_id(t), "two spools have two ids");
	tree_close(other);
}

Test(tree, marker_is_readable_under_any_umask)
{
	struct stat st;
	char path[128];
	snprintf(path, sizeof path, "%s/.spoold", root);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0755);
	snprintf(path, sizeof path, "%s/.spoold/marker", root);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0644);
}

Test(tree, open_says_what_is_missing)
{
	char path[128];
	struct tree *none = NULL;
	snprintf(path, sizeof path, "%s/nowhere", world);
	cr_assert_eq(tree_open(path, &none), -ENOENT);
	cr_assert_eq(mkdir(path, 0755), 0);
	cr_assert_eq(tree_open(path, &none), -ENODEV, "an empty directory may be an unmounted spool");
	snprintf(path, sizeof path, "%s/file", world);
	fd_close(open(path, O_CREAT | O_WRONLY, 0644));
	cr_assert_eq(tree_open(path, &none), -ENOTDIR);
	cr_assert_null(none);
	tree_close(NULL);
}

Test(tree, foreign_marker_is_left_alone)
{
	static const char *const texts[] = {
		"", "spoold spool 2\nid 00", "spoold spool 1\nid ", "\n",
		/* Cut off, or with a byte that is none of an id: not another spool's. */
		"spoold spool 1\nid 01234567", "spoold spool 1\nid 0123456789abcdef",
		"spoold spool 1\nid 0123456789abcd/f\n", "spoold spool 1\nid -123456789abcdef\n",
		"spoold spool 1\nid 0x23456789abcdef\n", "spoold spool 1\nid 0000000000000000\n",
		"spoold spool 1 id 0123456789abcdef\n",
	};
	char path[128];
	struct tree *none = NULL;
	bool existed;
	snprintf(path, sizeof path, "%s/.spoold/marker", root);
	cr_assert_eq(tree_mounted(t), 0);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		FILE *f = fopen(path, "w");
		cr_assert_not_null(f);
		fputs(texts[i], f);
		fclose(f);
		cr_assert_eq(tree_open(root, &none), -EBADMSG);
		cr_assert_eq(tree_init(root, &existed), -EBADMSG, "not overwritten");
		cr_assert_eq(tree_mounted(t), -EBADMSG);
		struct stat st;
		cr_assert_eq(stat(path, &st), 0);
		cr_assert_eq((size_t)st.st_size, strlen(texts[i]));
	}
}

Test(tree, mounted_follows_the_marker)
{
	char marker[128], aside[128];
	snprintf(marker, sizeof marker, "%s/.spoold/marker", root);
	snprintf(aside, sizeof aside, "%s/.spoold/aside", root);
	cr_assert_eq(tree_mounted(t), 0);
	cr_assert_eq(rename(marker, aside), 0);
	cr_assert_eq(tree_mounted(t), -ENODEV);
	cr_assert_eq(rename(aside, marker), 0);
	cr_assert_eq(tree_mounted(t), 0);
}

Test(tree, another_spool_in_its_place_is_not_ours)
{
	char aside[128];
	bool existed;
	snprintf(aside, sizeof aside, "%s/aside", world);
	cr_assert_eq(tree_mounted(t), 0);
	cr_assert_eq(rename(root, aside), 0);
	cr_assert_eq(tree_mounted(t), -ENODEV);
	cr_assert_eq(tree_init(root, &existed), 0);
	cr_assert_eq(tree_mounted(t), -ENODEV, "same device, another id");
}

Test(tree, mount_over_the_root_is_seen)
{
	if (!world_own_mounts())
		cr_skip_test("needs root");
	cr_assert_eq(mount("none", root, "tmpfs", 0, "size=1m"), 0);
	cr_assert_eq(tree_mounted(t), -ENODEV, "the held descriptor still shows the marker");
	cr_assert_eq(umount(root), 0);
	cr_assert_eq(tree_mounted(t), 0);
}

Test(tree, unmounted_spool_is_not_an_empty_one)
{
	char other[128];
	bool existed;
	struct tree *m;
	if (!world_own_mounts())
		cr_skip_test("needs root");
	snprintf(other, sizeof other, "%s/mounted", world);
	cr_assert_eq(mkdir(other, 0755), 0);
	cr_assert_eq(mount("none", other, "tmpfs", 0, "size=1m"), 0);
	cr_assert_eq(tree_init(other, &existed), 0);
	cr_assert_eq(tree_open(other, &m), 0);
	cr_assert_eq(tree_mounted(m), 0);
	cr_assert_eq(umount2(other, MNT_DETACH), 0);
	cr_assert_eq(tree_mounted(m), -ENODEV);
	tree_close(m);
}

Test(tree, daemon_lock_is_exclusive)
{
	int fd = tree_lock_daemon(t);
	cr_assert(fd >= 0);
	cr_assert_eq(tree_lock_daemon(t), -EAGAIN);
	fd_close(fd);
	fd = tree_lock_daemon(t);
	cr_assert(fd >= 0);
	fd_close(fd);
}

Test(tree, user_locks_are_apart)
{
	unsigned made;
	cr_assert_eq(tree_make_user(t, "bob", geteuid(), getegid(), &made), 0);
	int alice = tree_lock_user(t, "alice");
	int bob = tree_lock_user(t, "bob");
	cr_assert(alice >= 0 && bob >= 0);
	cr_assert_eq(tree_lock_user(t, "alice"), -EAGAIN);
	cr_assert_eq(mode_of(".lock"), 0600, "users cannot take it and stop their line");
	cr_assert_eq(tree_lock_user(t, "nobody"), -ENOENT);
	fd_close(alice);
	fd_close(bob);
}

Test(tree, a_lock_is_in_place_until_another_directory_is)
{
	unsigned made;
	int lock = tree_lock_user(t, "alice");
	cr_assert(tree_is_lock_in_place(t, "alice", lock));
	cr_assert_eq(renameat(t->rootfd, "alice", t->rootfd, "gone"), 0);
	cr_expect(tree_is_lock_in_place(t, "alice", lock), "nothing is there: it may come back");
	cr_assert_eq(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), 0);
	cr_expect_not(tree_is_lock_in_place(t, "alice", lock), "without a lock");
	int other = tree_lock_user(t, "alice");
	cr_assert(other >= 0, "nobody has that one");
	cr_expect_not(tree_is_lock_in_place(t, "alice", lock));
	cr_expect(tree_is_lock_in_place(t, "alice", other));
	fd_close(lock);
	fd_close(other);
}

/* As /proc tells the path of an open file. */
static const char *path_of(int fd)
{
	static char path[PATH_MAX];
	char link[40];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	cr_assert_gt(n, 0);
	path[n] = '\0';
	return path;
}

Test(tree, a_lock_is_known_by_its_path)
{
	int lock = tree_lock_user(t, "alice");
	cr_assert(tree_is_lock(t, path_of(lock)));
	fd_close(lock);
	put("incoming/.lock", "");
	static const char *const others[] = {"incoming/.lock", "incoming"};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		int fd = open(at(others[i]), O_RDONLY | O_CLOEXEC);
		cr_assert_not(tree_is_lock(t, path_of(fd)), "%s", others[i]);
		fd_close(fd);
	}
	int daemon = tree_lock_daemon(t);
	cr_assert_not(tree_is_lock(t, path_of(daemon)));
	fd_close(daemon);
	cr_assert_not(tree_is_lock(t, "/alice/.lock"));
	cr_assert_not(tree_is_lock(t, ""));
}

Test(tree, lock_lives_in_a_child_when_the_parent_closes_it)
{
	int go[2];
	char byte;
	int fd = tree_lock_user(t, "alice");
	cr_assert(fd >= 0);
	cr_assert_eq(pipe(go), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(go[1]);
		_exit(read(go[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(go[0]);
	fd_close(fd);
	cr_assert_eq(tree_lock_user(t, "alice"), -EAGAIN, "the child has a copy");
	close(go[1]);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	fd = tree_lock_user(t, "alice");
	cr_assert(fd >= 0, "and with its end the lock ends");
	fd_close(fd);
}

Test(tree, lock_through_a_symlink_is_refused)
{
	char outside[128];
	snprintf(outside, sizeof outside, "%s/outside", world);
	cr_assert_eq(symlink(outside, at(".lock")), 0);
	cr_assert_eq(tree_lock_user(t, "alice"), -ELOOP);
	cr_assert_eq(access(outside, F_OK), -1);
}

Test(tree, types_of_file_systems)
{
	char path[256];
	const char *type = NULL;
	cr_assert_eq(tree_is_network(t, NULL), 0);
	cr_assert_eq(tree_is_network(t, "alice"), 0);
	cr_assert_eq(tree_is_network(t, "nobody"), -ENOENT);
	cr_assert_not(tree_path_is_network(root, &type));
	cr_assert_not_null(type);
	const char *same = type;
	snprintf(path, sizeof path, "%s/not/yet/there", root);
	cr_assert_not(tree_path_is_network(path, &type));
	cr_assert_str_eq(type, same, "what does not exist yet will lie where its parent lies");
	type = NULL;
	cr_assert_not(tree_path_is_network("/no-such-directory", &type));
	cr_assert_not_null(type);
	type = NULL;
	cr_assert_not(tree_path_is_network("no-such-file", &type));
	cr_assert_not_null(type);
	cr_assert_not(tree_path_is_network("/dev/shm", &type));
	cr_assert_str_eq(type, "tmpfs");
}

Test(tree, names_of_the_places)
{
	cr_assert_str_eq(tree_place_dir(PLACE_INCOMING), "incoming");
	cr_assert_str_eq(tree_place_dir(PLACE_PROCESSING), "processing");
	cr_assert_str_eq(tree_place_dir(PLACE_DONE), "done");
	cr_assert_str_eq(tree_place_dir(PLACE_FAILED), "failed");
}

static int open_in(const char *path, mode_t make_mode, const char **ret_base)
{
	int place = tree_open_place(t, "alice", PLACE_DONE);
	int fd = tree_open_parent(place, path, make_mode, ret_base);
	fd_close(place);
	return fd;
}

Test(tree, parents_are_made_readable_for_the_uploader)
{
	struct stat st, done;
	const char *base = NULL;
	cr_assert_eq(open_in("2026/01/x", 0, &base), -ENOENT);
	cr_assert_null(base);
	int fd = open_in("2026/01/x", 0750, &base);
	cr_assert(fd >= 0);
	cr_assert_str_eq(base, "x");
	fd_close(fd);
	cr_assert_eq(stat(at("done"), &done), 0);
	cr_assert_eq(stat(at("done/2026/01"), &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0750, "whatever the umask");
	cr_assert_eq(st.st_uid, done.st_uid);
	cr_assert_eq(st.st_gid, done.st_gid);
}

Test(tree, paths_that_are_none_are_refused)
{
	static const char *const paths[] = {"",    ".",     "..",   "../x",  "a/../x", "/x",
	                                    "a//x", "a/", "./x", "a/./x", "a/.."};
	char outside[128];
	const char *base;
	make_dir("done/a");
	snprintf(outside, sizeof outside, "%s", world);
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		cr_assert_eq(open_in(paths[i], 0750, &base), -EINVAL, "\"%s\"", paths[i]);
	cr_assert_eq(symlink(outside, at("done/link")), 0);
	cr_assert_eq(open_in("link/x", 0750, &base), -ELOOP);
	put("done/file", "");
	cr_assert_eq(open_in("file/x", 0750, &base), -ENOTDIR);
	char *too_long = malloc(400);
	memset(too_long, 'a', 399);
	too_long[399] = '\0';
	cr_assert_eq(open_in(too_long, 0, &base), -ENAMETOOLONG);
	free(too_long);
}

Test(tree, users_that_are_none_are_refused)
{
	static const char *const users[] = {"", ".", "..", "a/b", "../spool", "/etc"};
	for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
		cr_assert_eq(tree_open_place(t, users[i], PLACE_DONE), -EINVAL, "\"%s\"", users[i]);
		cr_assert_eq(tree_open_private(t, users[i], 1), -EINVAL, "\"%s\"", users[i]);
	}
}

Test(tree, times_out_of_range_are_clamped)
{
	struct timespec times[2] = {{.tv_sec = 0}, {.tv_sec = 15032385535}};
	put("incoming/x", "");
	cr_assert_eq(utimensat(AT_FDCWD, at("incoming/x"), times, 0), 0);
	cr_assert_eq(ident_of("x").mtime_ns, INT64_MAX);
	times[1].tv_sec = -1000;
	cr_assert_eq(utimensat(AT_FDCWD, at("incoming/x"), times, 0), 0);
	cr_assert_eq(ident_of("x").mtime_ns, INT64_C(-1000000000000));
}

static int rename_both(const char *from, const char *to)
{
	int a = tree_open_place(t, "alice", PLACE_INCOMING);
	int b = tree_open_place(t, "alice", PLACE_DONE);
	int r = tree_rename(a, from, b, to);
	fd_close(a);
	fd_close(b);
	return r;
}

static void check_renames(void)
{
	put("incoming/x", "new");
	put("done/x", "old");
	cr_assert_eq(rename_both("x", "x"), -EEXIST);
	cr_assert_str_eq(content("done/x"), "old");
	cr_assert_str_eq(content("incoming/x"), "new");
	cr_assert_eq(rename_both("x", "y"), 0);
	cr_assert_str_eq(content("done/y"), "new");
	cr_assert_not(there("incoming/x"));
	cr_assert_eq(rename_both("x", "z"), -ENOENT);
	make_dir("incoming/d");
	make_dir("incoming/d/inner");
	make_dir("done/taken");
	make_dir("done/taken/inner");
	cr_assert_eq(rename_both("d", "taken"), -EEXIST);
	cr_assert_eq(rename_both("d", "x"), -EEXIST, "a directory replaces no file");
	cr_assert_eq(rename_both("d", "d"), 0);
	cr_assert(there("done/d/inner"));
	cr_assert_eq(symlink("/etc", at("incoming/link")), 0);
	cr_assert_eq(rename_both("link", "link"), 0, "the link itself is moved");
	cr_assert_eq(rename_both("../incoming/x", "x"), -EINVAL);
}

Test(tree, renames_replace_nothing)
{
	check_renames();
}

Test(tree, renames_replace_nothing_without_renameat2)
{
	if (!world_without_renameat2())
		cr_skip_test("needs seccomp");
	check_renames();
}

static void check_half_renamed(void)
{
	put("incoming/x", "data");
	cr_assert_eq(link(at("incoming/x"), at("done/x")), 0);
	cr_assert_eq(rename_both("x", "x"), 0, "the second half is done");
	cr_assert_not(there("incoming/x"));
	cr_assert_str_eq(content("done/x"), "data");
	int done = tree_open_place(t, "alice", PLACE_DONE);
	cr_assert_eq(link(at("done/x"), at("done/double")), 0);
	cr_assert_eq(tree_rename(done, "x", done, "x"), -EEXIST, "no name is its own double");
	fd_close(done);
	cr_assert_str_eq(content("done/x"), "data");
}

Test(tree, half_a_rename_is_finished)
{
	check_half_renamed();
}

Test(tree, half_a_rename_is_finished_without_renameat2)
{
	if (!world_without_renameat2())
		cr_skip_test("needs seccomp");
	check_half_renamed();
}

Test(tree, who_holds_the_lock_of_the_spool)
{
	struct tree_daemon daemon = {.pid = 1};
	char none[80];
	snprintf(none, sizeof none, "%s/none", world);
	cr_expect_eq(tree_find_daemon(none, &daemon), -ENOENT);
	cr_expect_eq(tree_find_daemon(root, &daemon), -ENOENT, "no daemon ever ran");
	int fd = tree_lock_daemon(t);
	cr_assert_geq(fd, 0);
	cr_expect_eq(tree_find_daemon(root, &daemon), 1);
	cr_expect_eq(daemon.pid, 0, "it did not say who it is");
	tree_note_daemon(fd, true);
	cr_expect_eq(tree_find_daemon(root, &daemon), 1);
	cr_expect_eq(daemon.pid, getpid());
	cr_expect(daemon.once);
	tree_note_daemon(fd, false);
	cr_expect_eq(tree_find_daemon(root, &daemon), 1);
	cr_expect_not(daemon.once);
	fd_close(fd);
	cr_expect_eq(tree_find_daemon(root, &daemon), 0);
	/* To ask takes no lock. */
	cr_assert_geq(fd = tree_lock_daemon(t), 0);
	fd_close(fd);
}
