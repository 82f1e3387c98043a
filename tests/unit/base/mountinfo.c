#include "base/mountinfo.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(mountinfo, .timeout = 60);

Test(mountinfo, below_is_by_whole_components)
{
	cr_assert(mountinfo_is_below("/a/b", "/a/b"));
	cr_assert(mountinfo_is_below("/a/b/c", "/a/b"));
	cr_assert(mountinfo_is_below("/a", "/"));
	cr_assert_not(mountinfo_is_below("/a/bc", "/a/b"));
	cr_assert_not(mountinfo_is_below("/a", "/a/b"));
}

static int find(void *ctx, const struct mountinfo *m)
{
	return strcmp(m->path, ctx) == 0 && !m->network && m->id != 0;
}

Test(mountinfo, names_with_spaces_and_local_ones)
{
	char dir[] = "/tmp/spoold mount\\ XXXXXX";
	cr_assert_eq(mountinfo_each(find, (char[]){"/"}), 1);
	cr_assert_not(mountinfo_is_network("/proc"));
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip_test("needs root: mounts file systems");
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(mountinfo_each(find, dir), 0);
	cr_assert_eq(mount("none", dir, "tmpfs", 0, NULL), 0);
	cr_assert_eq(mountinfo_each(find, dir), 1);
	cr_assert_not(mountinfo_is_network(dir));
	cr_assert_eq(umount(dir), 0);
	rmdir(dir);
}
