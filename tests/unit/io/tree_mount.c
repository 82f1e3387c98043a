/* The directory of a user that is a mount of its own. */
#include "tree_world.h"

TestSuite(tree_mount, .init = world_begin, .fini = world_end, .timeout = 60);

static const char *user_dir(void)
{
	static char path[128];
	snprintf(path, sizeof path, "%s/alice", root);
	return path;
}

/* In a mount namespace of this test alone. */
static bool mount_empty(void)
{
	return mount("none", user_dir(), "tmpfs", 0, "mode=0755") == 0;
}

static void own_mounts(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip_test("needs root: mounts file systems");
	/* A descriptor stays with the mounts that it was opened among. */
	tree_close(t);
	cr_assert_eq(tree_open(root, &t), 0);
}

Test(tree_mount, a_local_directory_is_none)
{
	cr_assert_eq(tree_user_mounted(t, "alice"), 0);
	cr_assert_eq(tree_user_mounted(t, "nobody"), 0, "a directory that is not there was none");
	world_remove(user_dir());
	cr_assert_eq(tree_user_mounted(t, "alice"), 0);
}

Test(tree_mount, its_absence_is_no_emptiness)
{
	unsigned made;
	own_mounts();
	world_remove(at("incoming"));
	cr_assert(mount_empty());
	cr_assert_eq(tree_user_mounted(t, "alice"), 1);
	cr_assert_eq(tree_note_mount(t, "alice"), 0);
	cr_assert_eq(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), 0);
	cr_assert_eq(tree_user_mounted(t, "alice"), 1);
	cr_assert_eq(umount(user_dir()), 0);
	cr_assert_eq(tree_user_mounted(t, "alice"), -ENODEV);
	cr_assert_eq(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), -ENODEV);
	cr_assert_not(there("incoming"), "nothing is made beneath it");
	cr_assert(mount_empty());
	cr_assert_eq(tree_user_mounted(t, "alice"), -ENODEV, "another one in its place");
	cr_assert_eq(umount(user_dir()), 0);
	world_remove(user_dir());
	cr_assert_eq(tree_user_mounted(t, "alice"), -ENODEV, "not even its place is there");
}

Test(tree_mount, told_to_be_none_any_more)
{
	char note[160];
	own_mounts();
	cr_assert(mount_empty());
	cr_assert_eq(tree_note_mount(t, "alice"), 0);
	cr_assert_eq(umount(user_dir()), 0);
	snprintf(note, sizeof note, "%s/.spoold/mounts/alice", root);
	cr_assert_eq(unlink(note), 0);
	cr_assert_eq(tree_user_mounted(t, "alice"), 0);
}

Test(tree_mount, what_only_a_cache_knows_is_no_other_file)
{
	struct file_ident ident = {0};
	enum entry_kind kind;
	unsigned made;
	own_mounts();
	cr_assert(mount_empty());
	cr_assert_eq(tree_note_mount(t, "alice"), 0);
	cr_assert_eq(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), 0);
	put("incoming/x.csv", "x");
	cr_assert_eq(tree_look(t, "alice", "x.csv", &ident, &kind), 0);
	int fd = tree_open_upload(t, "alice", "x.csv");
	cr_assert_geq(fd, 0);
	/* So it is for a second after the server of sshfs was killed. */
	cr_assert(world_without(SYS_fstatfs, ENOTCONN));
	cr_assert_eq(tree_look(t, "alice", "x.csv", &ident, &kind), -ENOTCONN);
	cr_assert_eq(tree_ident_fd(fd, &ident, &kind), -ENOTCONN);
	fd_close(fd);
}
