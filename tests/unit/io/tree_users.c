#include "tree_world.h"

TestSuite(tree_users, .init = world_begin, .fini = world_end, .timeout = 240);

struct seen {
	char names[16][300];
	char problems[16][100];
	size_t n;
	int stop;
};

static int see(void *ctx, const char *user, const char *problem)
{
	struct seen *s = ctx;
	cr_assert_lt(s->n, 16);
	snprintf(s->names[s->n], sizeof s->names[0], "%s", user);
	snprintf(s->problems[s->n], sizeof s->problems[0], "%s", problem == NULL ? "" : problem);
	s->n++;
	return s->stop;
}

static const char *problem_of(const struct seen *s, const char *user)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->names[i], user) == 0)
			return s->problems[i];
	return NULL;
}

static void make_in_root(const char *name)
{
	cr_assert_eq(mkdirat(t->rootfd, name, 0755), 0, "%m");
}

Test(tree_users, each_user)
{
	struct seen s = {.n = 0};
	char name[256];
	memset(name, 'n', 255);
	name[255] = '\0';
	make_in_root("bob");
	make_in_root("-rf");
	make_in_root("two words");
	make_in_root("line\nfeed");
	make_in_root("\xff\xfe");
	make_in_root(name);
	make_in_root("lost+found");
	fd_close(openat(t->rootfd, "file", O_CREAT | O_WRONLY, 0644));
	cr_assert_eq(symlinkat("/etc", t->rootfd, "link"), 0);
	cr_assert_eq(tree_each_user(t, see, &s), 0);
	cr_assert_eq(s.n, 7);
	cr_assert_str_eq(problem_of(&s, "alice"), "");
	cr_assert_str_eq(problem_of(&s, "bob"), "");
	cr_assert_str_eq(problem_of(&s, "-rf"), "starts with a dash");
	cr_assert_str_neq(problem_of(&s, "two words"), "");
	cr_assert_str_neq(problem_of(&s, "line\nfeed"), "");
	cr_assert_str_neq(problem_of(&s, "\xff\xfe"), "");
	cr_assert_str_neq(problem_of(&s, name), "");
	cr_assert_null(problem_of(&s, "link"));
	cr_assert_null(problem_of(&s, ".spoold"));
}

Test(tree_users, each_user_ends_when_told)
{
	struct seen s = {.stop = 42};
	make_in_root("bob");
	cr_assert_eq(tree_each_user(t, see, &s), 42);
	cr_assert_eq(s.n, 1);
}

Test(tree_users, directories_that_are_made)
{
	static const struct {
		const char *name;
		unsigned mode;
		bool of_uploader, of_group;
	} rows[] = {
		{".", 0755, false, false},         {"incoming", 0770, true, true},
		{"processing", 0700, false, false}, {"done", 0750, false, true},
		{"failed", 0750, false, true},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct stat st;
		cr_assert_eq(mode_of(rows[i].name), rows[i].mode, "%s, whatever the umask", rows[i].name);
		cr_assert_eq(stat(at(rows[i].name), &st), 0);
		if (geteuid() != 0)
			continue;
		cr_assert_eq(st.st_uid, rows[i].of_uploader ? UPLOADER : 0, "%s", rows[i].name);
		cr_assert_eq(st.st_gid, rows[i].of_group ? UPLOADER : 0, "%s", rows[i].name);
	}
}

Test(tree_users, only_what_is_missing_is_made)
{
	unsigned made = 99;
	put("incoming/x", "data");
	cr_assert_eq(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), 0);
	cr_assert_eq(made, 0);
	cr_assert_eq(rmdir(at("done")), 0);
	cr_assert_eq(rmdir(at("processing")), 0);
	cr_assert_eq(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), 0);
	cr_assert_eq(made, 2);
	cr_assert_str_eq(content("incoming/x"), "data");
	cr_assert_eq(mode_of("done"), 0750);
	struct stat incoming, done;
	cr_assert_eq(stat(at("incoming"), &incoming), 0);
	cr_assert_eq(stat(at("done"), &done), 0);
	cr_assert_eq(done.st_gid, incoming.st_gid, "the group of whoever uploads");
}

Test(tree_users, what_is_missing_is_made_of_a_user_that_is_there)
{
	unsigned made = 99;
	cr_assert_eq(rmdir(at("done")), 0);
	cr_assert_eq(tree_complete_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), 0);
	cr_assert_eq(made, 1);
	cr_assert_eq(mode_of("done"), 0750);
	cr_assert_eq(tree_complete_user(t, "nobody", (uid_t)-1, (gid_t)-1, &made), -ENOENT);
	cr_assert_eq(faccessat(t->rootfd, "nobody", F_OK, 0), -1, "none is made");
	cr_assert_eq(tree_complete_user(t, "../x", (uid_t)-1, (gid_t)-1, &made), -EINVAL);
}

Test(tree_users, owner_is_found)
{
	struct stat st;
	unsigned made;
	char path[128];
	if (geteuid() != 0)
		cr_skip_test("needs root");
	make_in_root("carol");
	cr_assert_eq(fchownat(t->rootfd, "carol", 1234, 4321, 0), 0);
	cr_assert_eq(tree_make_user(t, "carol", (uid_t)-1, (gid_t)-1, &made), 0);
	cr_assert_eq(made, 4);
	snprintf(path, sizeof path, "%s/carol/incoming", root);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_uid, 1234);
	cr_assert_eq(st.st_gid, 4321);
	cr_assert_eq(tree_make_user(t, "dave", (uid_t)-1, (gid_t)-1, &made), 0);
	cr_assert_eq(made, 5);
	snprintf(path, sizeof path, "%s/dave/incoming", root);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_uid, 0, "nobody else is known");
}

Test(tree_users, a_killed_attempt_is_made_good)
{
	unsigned made;
	cr_assert_eq(rmdir(at("incoming")), 0);
	make_dir(".incoming.new");
	cr_assert_eq(tree_make_user(t, "alice", UPLOADER, UPLOADER, &made), 0);
	cr_assert_eq(made, 1);
	cr_assert_eq(mode_of("incoming"), 0770);
	cr_assert_not(there(".incoming.new"));
}

Test(tree_users, what_is_in_the_way_stays)
{
	unsigned made = 99;
	char outside[128];
	cr_assert_eq(tree_make_user(t, "../x", 0, 0, &made), -EINVAL);
	cr_assert_eq(tree_make_user(t, ".hidden", 0, 0, &made), -EINVAL);
	cr_assert_eq(symlinkat("/tmp", t->rootfd, "link"), 0);
	cr_assert_eq(tree_make_user(t, "link", 0, 0, &made), -ELOOP);
	fd_close(openat(t->rootfd, "file", O_CREAT | O_WRONLY, 0644));
	cr_assert_eq(tree_make_user(t, "file", 0, 0, &made), -ENOTDIR);
	cr_assert_eq(rmdir(at("incoming")), 0);
	snprintf(outside, sizeof outside, "%s/outside", world);
	cr_assert_eq(mkdir(outside, 0700), 0);
	cr_assert_eq(symlink(outside, at("incoming")), 0);
	cr_assert_eq(tree_make_user(t, "alice", UPLOADER, UPLOADER, &made), -ELOOP);
	struct stat st;
	cr_assert_eq(stat(outside, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	cr_assert_eq(st.st_uid, geteuid());
	cr_assert_eq(made, 99);
}

Test(tree_users, full_disk_leaves_nothing_half_made)
{
	char other[128], name[32];
	bool existed;
	unsigned made = 99;
	struct tree *m;
	if (!world_own_mounts())
		cr_skip_test("needs root");
	snprintf(other, sizeof other, "%s/small", world);
	cr_assert_eq(mkdir(other, 0755), 0);
	cr_assert_eq(mount("none", other, "tmpfs", 0, "size=1m,nr_inodes=40"), 0);
	cr_assert_eq(tree_init(other, &existed), 0);
	cr_assert_eq(tree_open(other, &m), 0);
	int fd = 0;
	for (int i = 0; fd >= 0; i++) {
		snprintf(name, sizeof name, "%d", i);
		fd = openat(m->rootfd, name, O_CREAT | O_WRONLY, 0644);
		fd_close(fd);
	}
	cr_assert_eq(unlinkat(m->rootfd, "0", 0), 0);
	cr_assert_eq(unlinkat(m->rootfd, "1", 0), 0);
	cr_assert_eq(tree_make_user(m, "eve", UPLOADER, UPLOADER, &made), -ENOSPC);
	cr_assert_eq(made, 99);
	cr_assert_not(tree_has_user(m, "eve"), "whole or not at all");
	for (int i = 2; i < 6; i++) {
		snprintf(name, sizeof name, "%d", i);
		cr_assert_eq(unlinkat(m->rootfd, name, 0), 0);
	}
	cr_assert_eq(tree_make_user(m, "eve", UPLOADER, UPLOADER, &made), 0);
	cr_assert_eq(made, 5, "nothing was left there");
	struct stat st;
	cr_assert_eq(fstatat(m->rootfd, "eve/incoming", &st, 0), 0);
	cr_assert_eq(st.st_uid, UPLOADER);
	tree_close(m);
	umount2(other, MNT_DETACH);
}

/* Findings, as one text: "!incoming is missing | spoolctl user add alice\n" */
struct findings {
	char text[4096];
	int n, fatal;
};

static void find(void *ctx, bool fatal, const char *what, const char *mend)
{
	struct findings *f = ctx;
	size_t at_n = strlen(f->text);
	snprintf(f->text + at_n, sizeof f->text - at_n, "%s%s | %s\n", fatal ? "!" : "", what,
	         mend == NULL ? "-" : mend);
	f->n++;
	f->fatal += fatal;
}

static struct findings check(const char *user)
{
	struct findings f = {.n = 0};
	int n = tree_check_user(t, user, find, &f);
	cr_assert_eq(n, f.n);
	return f;
}

/* Runs the command of the only finding, and looks again. */
static void mends(const struct findings *f)
{
	cr_assert_eq(f->n, 1, "%s", f->text);
	char command[4096];
	snprintf(command, sizeof command, "%s", strstr(f->text, " | ") + 3);
	cr_assert_eq(system(command), 0, "%s", command);
	struct findings after = check("alice");
	cr_assert_eq(after.n, 0, "%s", after.text);
}

#define says(f, words) cr_assert_not_null(strstr((f)->text, words), "%s", (f)->text)

Test(tree_users, nothing_is_wrong)
{
	struct findings f = check("alice");
	cr_assert_eq(f.n, 0, "%s", f.text);
}

Test(tree_users, missing_directories)
{
	cr_assert_eq(rmdir(at("processing")), 0);
	struct findings f = check("alice");
	says(&f, "!processing is missing | spoolctl user add alice\n");
	f = check("nobody");
	says(&f, "!the user has no directory in the spool | spoolctl user add nobody\n");
	cr_assert_eq(f.n, 1);
	f = check("-rf");
	says(&f, "!the name starts with a dash; rename the directory | -\n");
}

Test(tree_users, symlinks_and_files_in_the_way)
{
	cr_assert_eq(rmdir(at("done")), 0);
	cr_assert_eq(symlink("/tmp", at("done")), 0);
	struct findings f = check("alice");
	says(&f, "!done is a symbolic link; spoold follows none, it must be a directory | mv ");
	cr_assert_eq(f.n, 1);
	cr_assert_eq(unlink(at("done")), 0);
	put("done", "precious");
	f = check("alice");
	says(&f, "!done is not a directory | mv ");
	char command[4096];
	snprintf(command, sizeof command, "%s", strstr(f.text, " | ") + 3);
	cr_assert_eq(system(command), 0);
	cr_assert_str_eq(content("done.old"), "precious", "nothing is deleted");
	cr_assert_eq(symlinkat("/tmp", t->rootfd, "link"), 0);
	f = check("link");
	says(&f, "!the user's directory is a symbolic link");
}

Test(tree_users, modes)
{
	if (geteuid() != 0)
		cr_skip_test("needs root, to be another one than the uploader");
	static const struct {
		const char *dir;
		mode_t mode;
		const char *says;
	} rows[] = {
		{".", 0775, "the user's directory is writable by others: sshd refuses it as a chroot"},
		{"incoming", 0570, "incoming is not writable by its owner: nothing can be uploaded"},
		{"incoming", 0777, "incoming is writable by everybody"},
		{"processing", 0755, "processing can be listed by others than spoold"},
		{"processing", 0731, "processing is writable by others than spoold"},
		{"done", 0770, "done is writable by others than spoold"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cr_assert_eq(chmod(at(rows[i].dir), rows[i].mode), 0);
		struct findings f = check("alice");
		says(&f, rows[i].says);
		cr_assert_eq(f.fatal, 0, "%s", f.text);
		mends(&f);
	}
}

Test(tree_users, owners)
{
	static const struct {
		const char *dir;
		uid_t uid;
		gid_t gid;
		const char *says;
	} rows[] = {
		{".", UPLOADER, 0, "the user's directory belongs to the uploader: sshd refuses it"},
		{".", 1234, 0, "the user's directory belongs neither to root nor to the account"},
		{"processing", UPLOADER, 0, "processing belongs to the uploader, who could change"},
		{"failed", 1234, UPLOADER, "failed does not belong to the account that spoold runs as"},
		{"done", 0, 1234, "done cannot be read by the uploader"},
	};
	if (geteuid() != 0)
		cr_skip_test("needs root");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cr_assert_eq(chown(at(rows[i].dir), rows[i].uid, rows[i].gid), 0);
		struct findings f = check("alice");
		says(&f, rows[i].says);
		mends(&f);
	}
}

Test(tree_users, what_the_daemon_cannot_do)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
	fd_close(tree_lock_daemon(t));
	cr_assert_eq(seteuid(1234), 0);
	struct findings f = check("alice");
	cr_assert_eq(seteuid(0), 0);
	cr_assert_eq(f.n, 0, "a stranger cannot tell: %s", f.text);
	cr_assert_eq(fchownat(t->rootfd, ".spoold/daemon.lock", 1234, 1234, 0), 0);
	cr_assert_eq(seteuid(1234), 0);
	f = check("alice");
	cr_assert_eq(seteuid(0), 0);
	says(&f, "!incoming cannot be read and written by the account that spoold runs as | chmod");
	says(&f, "!processing cannot be read and written by the account that spoold runs as | chown");
	says(&f, "!the account that spoold runs as cannot make or open .lock in the user's directory");
}

Test(tree_users, another_file_system)
{
	if (!world_own_mounts())
		cr_skip_test("needs root");
	cr_assert_eq(mount("none", at("done"), "tmpfs", 0, "size=1m,mode=750,gid=65534"), 0);
	/* The old descriptor still leads to where no such mount is. */
	tree_close(t);
	cr_assert_eq(tree_open(root, &t), 0);
	struct findings f = check("alice");
	cr_assert_eq(f.n, 1, "%s", f.text);
	says(&f, "!done lies on another file system than its user's directory");
	umount(at("done"));
}

/* As a daemon that is not root sees what is its own. */
static void as_daemon(uid_t uid, struct findings *f)
{
	cr_assert_eq(seteuid(uid), 0);
	*f = check("alice");
	cr_assert_eq(seteuid(0), 0);
}

Test(tree_users, its_own_directories_need_a_mode_not_an_owner)
{
	static const char *const dirs[] = {"incoming", "processing", "done", "failed"};
	enum { DAEMON = 1001 };
	char command[4096];
	struct findings f;
	if (geteuid() != 0)
		return;
	snprintf(command, sizeof command, "chown -R %d:%d %s", DAEMON, DAEMON, root);
	cr_assert_eq(system(command), 0);
	as_daemon(DAEMON, &f);
	cr_assert_eq(f.n, 0, "%s", f.text);
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		cr_assert_eq(chmod(at(dirs[i]), 0500), 0);
		as_daemon(DAEMON, &f);
		cr_assert_geq(f.n, 1, "%s", dirs[i]);
		says(&f, "chmod u+rwx ");
		cr_assert_null(strstr(f.text, "chown"), "%s", f.text);
		cr_assert_eq(chmod(at(dirs[i]), strcmp(dirs[i], "processing") == 0 ? 0711 : 0750), 0);
	}
	/* A lock that root left. */
	cr_assert_eq(close(open(at(".lock"), O_CREAT | O_RDWR | O_CLOEXEC, 0600)), 0);
	as_daemon(DAEMON, &f);
	cr_assert_eq(f.n, 1, "%s", f.text);
	says(&f, "/alice/.lock");
	snprintf(command, sizeof command, "%s", strstr(f.text, " | ") + 3);
	cr_assert_eq(system(command), 0, "%s", command);
	as_daemon(DAEMON, &f);
	cr_assert_eq(f.n, 0, "%s", f.text);
}

Test(tree_users, commands_are_safe_to_paste)
{
	char other[128], canary[128];
	bool existed;
	unsigned made;
	struct tree *m;
	snprintf(other, sizeof other, "%s/it's $(touch canary); a spool", world);
	snprintf(canary, sizeof canary, "%s/canary", world);
	cr_assert_eq(tree_init(other, &existed), 0);
	cr_assert_eq(tree_open(other, &m), 0);
	cr_assert_eq(tree_make_user(m, "a;`touch`", geteuid(), getegid(), &made), 0);
	cr_assert_eq(fchmodat(m->rootfd, "a;`touch`/processing", 0755, 0), 0);
	struct findings f = {.n = 0};
	cr_assert_eq(tree_check_user(m, "a;`touch`", find, &f), 1, "%s", f.text);
	char command[4096];
	snprintf(command, sizeof command, "cd %s && %s", world, strstr(f.text, " | ") + 3);
	cr_assert_eq(system(command), 0, "%s", command);
	struct stat st;
	cr_assert_eq(fstatat(m->rootfd, "a;`touch`/processing", &st, 0), 0);
	cr_assert_eq(st.st_mode & 07777, 0711);
	cr_assert_neq(access(canary, F_OK), 0);
	tree_close(m);
}
