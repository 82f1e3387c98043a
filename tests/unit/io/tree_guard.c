/* What is asked before anything is looked at. */
#include "tree_world.h"

TestSuite(tree_guard, .init = world_begin, .fini = world_end, .timeout = 60);

static int asked;

static int refuse_alice(void *ctx, const char *where, const char *user, bool wait)
{
	(void)wait;
	asked++;
	cr_expect_eq(ctx, &asked);
	return user != NULL || strstr(where, "/alice/") != NULL ? -ETIMEDOUT : 0;
}

static int nobody(void *ctx, uint64_t id, const char *path, const struct file_ident *ident)
{
	(void)ctx, (void)id, (void)path, (void)ident;
	return 1;
}

static unsigned findings;

static void count(void *ctx, bool fatal, const char *what, const char *mend)
{
	(void)ctx, (void)mend;
	findings += fatal && strstr(what, "does not answer") != NULL;
}

Test(tree_guard, of_a_user_that_does_not_answer_nothing_is_looked_at)
{
	struct file_ident ident = {0};
	struct job job = {.id = 7, .path = (char[]){"x.csv"}};
	struct tree_found found = {0};
	struct tree_scan *scan;
	enum entry_kind kind;
	enum place place;
	char outside[128], *kept = NULL, *user, *path;
	uint64_t bytes;
	unsigned made;
	tree_set_guard(t, (struct tree_guard){refuse_alice, &asked});
	cr_expect_eq(tree_answers(t, "alice", false), -ETIMEDOUT);
	cr_expect_eq(tree_mounted(t), 0);
	cr_expect_eq(tree_user_mounted(t, "alice"), -ETIMEDOUT);
	cr_expect_eq(tree_lock_user(t, "alice"), -ETIMEDOUT);
	cr_expect_eq(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), -ETIMEDOUT);
	cr_expect_not(tree_has_user(t, "alice"));
	cr_expect_eq(tree_look(t, "alice", "x.csv", &ident, &kind), -ETIMEDOUT);
	cr_expect_eq(tree_open_upload(t, "alice", "x.csv"), -ETIMEDOUT);
	cr_expect_eq(tree_claim(t, "alice", 7, "x.csv", &ident, &kept), -ETIMEDOUT);
	cr_expect_eq(tree_open_job(t, "alice", 7, "x.csv", &ident), -ETIMEDOUT);
	cr_expect_eq(tree_find(t, "alice", &job, &found), -ETIMEDOUT);
	cr_expect_eq(tree_each_processing(t, "alice", nobody, NULL, NULL), -ETIMEDOUT);
	cr_expect_eq(tree_scan_begin(t, "alice", &scan), -ETIMEDOUT);
	cr_expect_eq(tree_user_space(t, "alice", &bytes), -ETIMEDOUT);
	cr_expect(tree_has_job(t, "alice", 7), "that cannot be found out");
	cr_expect_eq(tree_check_user(t, "alice", count, NULL), 1);
	cr_expect_eq(findings, 1);
	snprintf(outside, sizeof outside, "%s/alice/./incoming/x.csv", root);
	cr_assert_eq(tree_locate(t, outside, &user, &place, &path), 0, "as it is written");
	cr_expect_str_eq(user, "alice");
	cr_expect_eq(place, PLACE_INCOMING);
	cr_expect_str_eq(path, "x.csv");
	free(user);
	free(path);
	cr_assert_gt(asked, 0);
}

Test(tree_guard, the_lock_of_a_mount_is_on_our_side)
{
	struct stat st;
	cr_assert_eq(tree_note_mount(t, "alice"), 0);
	int fd = tree_lock_user(t, "alice"), again = tree_lock_user(t, "alice");
	cr_assert_geq(fd, 0);
	cr_expect_eq(again, -EAGAIN);
	char note[160];
	snprintf(note, sizeof note, "%s/.spoold/mounts/alice", root);
	struct stat locked;
	cr_assert_eq(fstat(fd, &locked), 0);
	cr_assert_eq(stat(note, &st), 0);
	cr_expect_eq(locked.st_ino, st.st_ino);
	fd_close(fd);
}
