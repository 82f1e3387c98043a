/* The notice in incoming, among what its user does to it. */
#include "io/tree_world.h"

#include "core/notice.h"

#include <dirent.h>
#include <sys/wait.h>

#define INCOMING_NOTICE "incoming/" NOTICE_NAME
#define ASIDE "incoming/.spoold-notice"

TestSuite(tree_notice, .init = world_begin, .fini = world_end);

static const char one[] = NOTICE_MARK "one\n", two[] = NOTICE_MARK "two, longer\n";

static void own(const char *path)
{
	if (geteuid() == 0)
		cr_assert_eq(lchown(at(path), UPLOADER, UPLOADER), 0);
}

static void moved(const char *from, const char *to)
{
	cr_assert_eq(rename(at(from), at(to)), 0, "%m");
}

Test(tree_notice, comes_changes_and_goes)
{
	struct stat first, same, other;
	cr_assert_eq(tree_put_notice(t, "alice", NULL), 0);
	cr_assert_not(tree_is_notice(t, "alice", NOTICE_NAME));
	cr_assert_eq(tree_put_notice(t, "alice", one), 0);
	cr_assert_str_eq(content(INCOMING_NOTICE), one);
	cr_assert(tree_is_notice(t, "alice", NOTICE_NAME));
	cr_assert_not(tree_is_notice(t, "alice", "x"));
	cr_assert_eq(stat(at(INCOMING_NOTICE), &first), 0);
	cr_assert_eq(first.st_mode & 07777, 0644);
	cr_assert_eq(first.st_uid, geteuid());
	cr_assert_eq(first.st_gid, geteuid() == 0 ? UPLOADER : getegid());
	cr_assert_eq(tree_put_notice(t, "alice", one), 0);
	cr_assert_eq(stat(at(INCOMING_NOTICE), &same), 0);
	cr_assert_eq(same.st_ino, first.st_ino, "written again without need");
	cr_assert_eq(tree_put_notice(t, "alice", two), 0);
	cr_assert_eq(stat(at(INCOMING_NOTICE), &other), 0);
	cr_assert_neq(other.st_ino, first.st_ino, "not in place: a reader would see halves");
	cr_assert_str_eq(content(INCOMING_NOTICE), two);
	cr_assert_not(there(ASIDE));
	cr_assert_eq(tree_put_notice(t, "alice", NULL), 0);
	cr_assert_not(there(INCOMING_NOTICE));
	cr_assert_not(there(ASIDE));
}

Test(tree_notice, without_exchange)
{
	if (!world_without_renameat2())
		cr_skip_test("seccomp does not work here");
	cr_assert_eq(tree_put_notice(t, "alice", one), 0);
	cr_assert_eq(tree_put_notice(t, "alice", two), 0);
	cr_assert_str_eq(content(INCOMING_NOTICE), two);
	cr_assert_eq(tree_put_notice(t, "alice", NULL), 0);
	cr_assert_not(there(INCOMING_NOTICE));
	cr_assert_not(there(ASIDE));
}

Test(tree_notice, an_upload_of_that_name_is_left_alone)
{
	put(INCOMING_NOTICE, "mine");
	own(INCOMING_NOTICE);
	cr_assert_eq(tree_put_notice(t, "alice", one), -EEXIST);
	cr_assert_eq(tree_put_notice(t, "alice", NULL), 0);
	cr_assert_not(tree_is_notice(t, "alice", NOTICE_NAME));
	cr_assert_str_eq(content(INCOMING_NOTICE), "mine");
	cr_assert_not(there(ASIDE));
}

Test(tree_notice, a_forged_mark_makes_no_notice)
{
	if (geteuid() != 0)
		cr_skip_test("needs root, to be another one than the uploader");
	put(INCOMING_NOTICE, two);
	own(INCOMING_NOTICE);
	cr_assert_not(tree_is_notice(t, "alice", NOTICE_NAME));
	cr_assert_eq(tree_put_notice(t, "alice", one), -EEXIST);
	cr_assert_str_eq(content(INCOMING_NOTICE), two);
}

Test(tree_notice, links_are_not_followed)
{
	static const char *const names[] = {INCOMING_NOTICE, ASIDE};
	char victim[128], text[64] = "";
	snprintf(victim, sizeof victim, "%s/victim", world);
	for (size_t i = 0; i < 2; i++) {
		int fd = open(victim, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		cr_assert_eq(write(fd, one, strlen(one)), (ssize_t)strlen(one));
		cr_assert_eq(symlink(victim, at(names[i])), 0);
		cr_assert_eq(tree_put_notice(t, "alice", two), -EEXIST);
		cr_assert_eq(tree_put_notice(t, "alice", NULL), 0);
		cr_assert_not(tree_is_notice(t, "alice", NOTICE_NAME));
		cr_assert(pread(fd, text, sizeof text - 1, 0) > 0 && strncmp(text, one, 20) == 0);
		cr_assert(there(names[i]));
		unlink(at(names[i]));
		fd_close(fd);
	}
	cr_assert_eq(tree_put_notice(t, "alice", two), 0);
}

Test(tree_notice, what_is_in_the_way_stays)
{
	make_dir(ASIDE);
	cr_assert_eq(tree_put_notice(t, "alice", one), -EEXIST);
	cr_assert(there(ASIDE));
	cr_assert_eq(rmdir(at(ASIDE)), 0);
	make_dir(INCOMING_NOTICE);
	cr_assert_eq(tree_put_notice(t, "alice", one), -EEXIST);
	cr_assert(there(INCOMING_NOTICE));
}

Test(tree_notice, an_upload_that_a_crash_left_aside_gets_its_name_back)
{
	put(ASIDE, "mine");
	own(ASIDE);
	cr_assert_eq(tree_put_notice(t, "alice", one), -EEXIST);
	cr_assert_str_eq(content(INCOMING_NOTICE), "mine");
	cr_assert_not(there(ASIDE));
	moved(INCOMING_NOTICE, "incoming/x");
	put(ASIDE, "");
	cr_assert_eq(tree_put_notice(t, "alice", one), 0, "half a notice of our own");
	cr_assert_str_eq(content(INCOMING_NOTICE), one);
}

Test(tree_notice, one_that_only_may_be_passed_does_not_tell_names)
{
	cr_assert_eq(chmod(at("incoming"), 0771), 0);
	cr_assert_eq(tree_put_notice(t, "alice", one), 0);
	cr_assert_eq(mode_of(INCOMING_NOTICE), 0640);
}

Test(tree_notice, removed_by_its_user)
{
	cr_assert_eq(tree_put_notice(t, "alice", one), 0);
	cr_assert_eq(unlink(at(INCOMING_NOTICE)), 0);
	cr_assert_eq(tree_put_notice(t, "alice", NULL), 0);
	cr_assert_eq(tree_put_notice(t, "alice", two), 0);
	cr_assert_str_eq(content(INCOMING_NOTICE), two);
}

/* A user who puts files under that name all the time loses none of them. */
Test(tree_notice, nothing_is_lost_in_a_race, .timeout = 120)
{
	enum { ROUNDS = 3000 };
	pid_t child = fork();
	if (child == 0) {
		for (int n = 0; n < ROUNDS; n++) {
			tree_put_notice(t, "alice", n % 3 == 0 ? NULL : n % 3 == 1 ? one : two);
		}
		_exit(0);
	}
	/* The user overwrites nothing either, but takes away what is in the way. */
	int puts_n = 0, got = 0;
	for (int status, n = 0; waitpid(child, &status, WNOHANG) == 0; n++) {
		char name[64];
		snprintf(name, sizeof name, "incoming/user%d", n);
		put(name, "the user's");
		puts_n++;
		if (renameat2(AT_FDCWD, at(name), AT_FDCWD, at(INCOMING_NOTICE), RENAME_NOREPLACE) < 0)
			cr_assert_eq(errno, EEXIST);
		snprintf(name, sizeof name, "incoming/kept%d", n);
		got += rename(at(INCOMING_NOTICE), at(name)) == 0 &&
		       strcmp(content(name), "the user's") == 0;
	}
	cr_assert_eq(tree_put_notice(t, "alice", NULL), 0);
	int dirfd = open(at("incoming"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(dirfd);
	int found = 0;
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		char name[300];
		snprintf(name, sizeof name, "incoming/%s", e->d_name);
		found += e->d_name[0] != '.' && strcmp(content(name), "the user's") == 0;
	}
	closedir(dir);
	cr_assert_eq(found, puts_n, "%d files put, %d there (%d caught at once)", puts_n, found, got);
}
