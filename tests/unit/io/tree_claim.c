#include "tree_world.h"

#include "base/clock.h"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

TestSuite(tree_claim, .init = world_begin, .fini = world_end, .timeout = 240);

static const struct file_ident nothing; /* the identity of no file */

static int claim(uint64_t id, const char *path, const struct file_ident *ident)
{
	char *kept = NULL;
	int r = tree_claim(t, "alice", id, path, ident, &kept);
	cr_assert_null(kept);
	return r;
}

/* Names that are legal, and must be nothing special to us. */
static const char *const odd_names[] = {
	"-rf", "--", "a b", "line\nfeed", "\xff\xfe\x80", "$(reboot)", "'\"\\", "..x", "...",
	"log", "output", "log.spoold", "x.new", "*", "%s%n",
	"255-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};
enum { ODD_NAMES = sizeof odd_names / sizeof *odd_names };

static const char *in(const char *place, const char *name)
{
	static char path[4][600];
	static unsigned next;
	char *p = path[next++ % 4];
	snprintf(p, sizeof path[0], "%s/%s", place, name);
	return p;
}

Test(tree_claim, kinds_of_entries)
{
	static const struct {
		const char *name;
		enum entry_kind kind;
		const char *problem;
	} rows[] = {
		{"file", ENTRY_FILE, NULL},
		{"dir", ENTRY_DIRECTORY, "is a directory"},
		{"link", ENTRY_SYMLINK, "is a symbolic link"},
		{"fifo", ENTRY_SPECIAL, "is a FIFO, socket or device"},
		{"hard", ENTRY_HARDLINKED, "has more than one name (hard links)"},
	};
	put("incoming/file", "12345");
	put("incoming/hard", "");
	make_dir("incoming/dir");
	cr_assert_eq(link(at("incoming/hard"), at("incoming/hard2")), 0);
	cr_assert_eq(symlink("file", at("incoming/link")), 0);
	cr_assert_eq(mkfifo(at("incoming/fifo"), 0666), 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct file_ident ident;
		enum entry_kind kind;
		cr_assert_eq(tree_look(t, "alice", rows[i].name, &ident, &kind), 0);
		cr_assert_eq(kind, rows[i].kind, "%s", rows[i].name);
		const char *problem = entry_kind_problem(kind);
		cr_assert((problem == NULL) == (rows[i].problem == NULL));
		if (problem != NULL)
			cr_assert_str_eq(problem, rows[i].problem);
	}
	cr_assert_eq(ident_of("file").size, 5);
}

Test(tree_claim, looking_leads_nowhere_else)
{
	struct file_ident ident = {.size = 77};
	enum entry_kind kind = ENTRY_SPECIAL;
	make_dir("incoming/d");
	put("incoming/d/x", "");
	cr_assert_eq(symlink(world, at("incoming/out")), 0);
	cr_assert_eq(tree_look(t, "alice", "d/x", &ident, &kind), 0);
	ident.size = 77;
	kind = ENTRY_SPECIAL;
	cr_assert_eq(tree_look(t, "alice", "none", &ident, &kind), -ENOENT);
	cr_assert_eq(tree_look(t, "alice", "d/x/y", &ident, &kind), -ENOENT);
	cr_assert_eq(tree_look(t, "nobody", "x", &ident, &kind), -ENOENT);
	cr_assert_eq(tree_look(t, "alice", "out/spool", &ident, &kind), -ELOOP);
	cr_assert_eq(tree_look(t, "alice", "..", &ident, &kind), -EINVAL);
	cr_assert_eq(tree_look(t, "alice", "../done", &ident, &kind), -EINVAL);
	cr_assert_eq(ident.size, 77, "untouched on failure");
	cr_assert_eq(kind, ENTRY_SPECIAL);
}

Test(tree_claim, incoming_that_is_a_symlink_is_refused)
{
	struct file_ident ident;
	enum entry_kind kind;
	cr_assert_eq(rename(at("incoming"), at("moved")), 0);
	cr_assert_eq(symlink("moved", at("incoming")), 0);
	put("moved/x", "");
	cr_assert_eq(tree_look(t, "alice", "x", &ident, &kind), -ELOOP);
	cr_assert_eq(tree_open_incoming(t, "alice", ""), -ELOOP);
	cr_assert_eq(symlinkat("alice", t->rootfd, "link"), 0);
	cr_assert_eq(tree_open_place(t, "link", PLACE_DONE), -ELOOP);
}

Test(tree_claim, writers_are_seen)
{
	put("incoming/x", "data");
	cr_assert_eq(tree_probe_writer(t, "alice", "x"), WRITERS_NONE);
	int fd = open(at("incoming/x"), O_WRONLY | O_CLOEXEC);
	cr_assert_eq(tree_probe_writer(t, "alice", "x"), WRITERS_SOME);
	fd_close(fd);
	cr_assert_eq(tree_probe_writer(t, "alice", "x"), WRITERS_NONE, "no lease is kept");
	fd = open(at("incoming/x"), O_RDONLY | O_CLOEXEC);
	cr_assert_eq(tree_probe_writer(t, "alice", "x"), WRITERS_NONE, "readers are none");
	fd_close(fd);
}

Test(tree_claim, no_evidence_about_writers)
{
	cr_assert_eq(mkfifo(at("incoming/fifo"), 0666), 0);
	put("incoming/x", "data");
	cr_assert_eq(symlink("x", at("incoming/link")), 0);
	make_dir("incoming/dir");
	cr_assert_eq(tree_probe_writer(t, "alice", "none"), WRITERS_UNKNOWN);
	cr_assert_eq(tree_probe_writer(t, "alice", "fifo"), WRITERS_UNKNOWN, "and does not hang");
	cr_assert_eq(tree_probe_writer(t, "alice", "link"), WRITERS_UNKNOWN);
	cr_assert_eq(tree_probe_writer(t, "alice", "dir"), WRITERS_UNKNOWN);
	if (geteuid() != 0)
		return;
	cr_assert_eq(chmod(at("incoming/x"), 0600), 0);
	cr_assert_eq(chmod(at("incoming"), 0777), 0);
	cr_assert_eq(seteuid(UPLOADER), 0);
	enum writers w = tree_probe_writer(t, "alice", "x");
	cr_assert_eq(seteuid(0), 0);
	cr_assert_eq(w, WRITERS_UNKNOWN, "not readable");
}

Test(tree_claim, a_writer_is_never_stopped_by_a_probe)
{
	/* A lease that was kept would make the open wait, or fail here. */
	put("incoming/x", "data");
	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(tree_probe_writer(t, "alice", "x"), WRITERS_NONE);
		int fd = open(at("incoming/x"), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		cr_assert(fd >= 0, "%m");
		fd_close(fd);
	}
}

Test(tree_claim, uploads_are_opened)
{
	char text[8] = "";
	put("incoming/x", "data");
	int fd = tree_open_upload(t, "alice", "x");
	cr_assert(fd >= 0);
	cr_assert_eq(read(fd, text, sizeof text), 4);
	fd_close(fd);
	cr_assert_eq(symlink("x", at("incoming/link")), 0);
	cr_assert_eq(mkfifo(at("incoming/fifo"), 0666), 0);
	make_dir("incoming/dir");
	cr_assert_eq(tree_open_upload(t, "alice", "link"), -ELOOP);
	cr_assert_eq(tree_open_upload(t, "alice", "fifo"), -EINVAL);
	cr_assert_eq(tree_open_upload(t, "alice", "dir"), -EINVAL);
	cr_assert_eq(tree_open_upload(t, "alice", "none"), -ENOENT);
	cr_assert_lt(tree_open_upload(t, "alice", ".."), 0);
}

Test(tree_claim, the_upload_that_was_judged_is_opened_and_no_other_of_its_name)
{
	struct file_ident ident;
	enum entry_kind kind;
	put("incoming/x", "first");
	cr_assert_eq(tree_look(t, "alice", "x", &ident, &kind), 0);
	int fd = tree_open_judged(t, "alice", "x", &ident);
	cr_assert(fd >= 0);
	put("incoming/y", "second");
	cr_assert_eq(rename(at("incoming/y"), at("incoming/x")), 0);
	cr_assert_eq(tree_open_judged(t, "alice", "x", &ident), -EAGAIN);
	cr_assert_eq(tree_mark_unsafe(t, "alice", "x", &ident, -EIO), -EAGAIN);
	fd_close(fd);
}

static ino_t inode_of_fd(int fd)
{
	struct stat st = {.st_ino = 0};
	cr_assert(fd >= 0, "%d", fd);
	cr_assert_eq(fstat(fd, &st), 0);
	fd_close(fd);
	return st.st_ino;
}

static ino_t inode_of(const char *path)
{
	struct stat st = {.st_ino = 0};
	cr_assert_eq(lstat(at(path), &st), 0, "%s", path);
	return st.st_ino;
}

Test(tree_claim, directories_of_uploads_are_opened)
{
	make_dir("incoming/a");
	make_dir("incoming/a/b");
	put("incoming/a/b/x", "");
	ino_t a = inode_of("incoming/a"), b = inode_of("incoming/a/b");
	cr_assert_eq(inode_of_fd(tree_open_incoming(t, "alice", "")), inode_of("incoming"));
	cr_assert_eq(inode_of_fd(tree_open_incoming(t, "alice", "x")), inode_of("incoming"));
	cr_assert_eq(inode_of_fd(tree_open_incoming(t, "alice", "a/b/x")), b);
	cr_assert_eq(inode_of_fd(tree_open_incoming(t, "alice", "a/b")), b);
	cr_assert_eq(inode_of_fd(tree_open_incoming(t, "alice", "a/none")), a);
	cr_assert_eq(tree_open_incoming(t, "alice", "none/x"), -ENOENT);
	for (int n = 0; n < 2; n++) {
		cr_assert_eq(inode_of_fd(tree_open_holder(t, "alice", "x")), inode_of("incoming"));
		cr_assert_eq(inode_of_fd(tree_open_holder(t, "alice", "a/b/x")), b);
		cr_assert_eq(inode_of_fd(tree_open_holder(t, "alice", "a/b")), a);
		cr_assert_eq(tree_open_holder(t, "alice", "none/x"), -ENOENT);
		tree_turn(t, UINT64_MAX);
	}
	cr_assert_eq(tree_open_incoming(t, "nobody", ""), -ENOENT);
}

Test(tree_claim, claim_moves_the_file)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	ino_t inode = inode_of("incoming/x");
	cr_assert_eq(claim(7, "x", &ident), 0);
	cr_assert_eq(inode_of("processing/7/x"), inode);
	cr_assert_not(there("incoming/x"));
	cr_assert_eq(mode_of("processing/7"), 0700);
	cr_assert_eq(claim(7, "x", &ident), 0, "done already");
	cr_assert_str_eq(content("processing/7/x"), "data");
}

Test(tree_claim, claim_of_odd_names)
{
	for (uint64_t i = 0; i < ODD_NAMES; i++) {
		char dir[32];
		put(in("incoming", odd_names[i]), odd_names[i]);
		struct file_ident ident = ident_of(odd_names[i]);
		cr_assert_eq(claim(i + 1, odd_names[i], &ident), 0, "%s", odd_names[i]);
		snprintf(dir, sizeof dir, "processing/%u", (unsigned)i + 1);
		cr_assert_str_eq(content(in(dir, odd_names[i])), odd_names[i]);
		int fd = tree_open_job(t, "alice", i + 1, odd_names[i], &nothing);
		cr_assert(fd >= 0, "%s: its output has a place of its own", odd_names[i]);
		fd_close(fd);
	}
}

Test(tree_claim, claim_in_a_subdirectory)
{
	make_dir("incoming/a");
	make_dir("incoming/a/b");
	put("incoming/a/b/x", "data");
	struct file_ident ident = ident_of("a/b/x");
	cr_assert_eq(claim(7, "a/b/x", &ident), 0);
	cr_assert_str_eq(content("processing/7/x"), "data");
	cr_assert(there("incoming/a/b"), "directories are the uploader's");
}

Test(tree_claim, a_withdrawn_file_is_not_claimed)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	cr_assert_eq(unlink(at("incoming/x")), 0);
	cr_assert_eq(claim(7, "x", &ident), -ENOENT);
	cr_assert_not(there("processing/7"), "nothing is left behind");
	cr_assert_eq(claim(7, "gone/x", &ident), -ENOENT);
	cr_assert_eq(claim(7, "../failed/x", &ident), -EINVAL);
	cr_assert_not(there("processing/7"));
}

Test(tree_claim, a_replaced_file_is_not_claimed)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	put("incoming/new", "other");
	cr_assert_eq(rename(at("incoming/new"), at("incoming/x")), 0);
	cr_assert_eq(claim(7, "x", &ident), -ESTALE);
	cr_assert_str_eq(content("incoming/x"), "other");
	cr_assert_not(there("processing/7"));
}

Test(tree_claim, a_changed_file_is_not_claimed)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	put("incoming/x", "more data");
	cr_assert_eq(claim(7, "x", &ident), -ESTALE);
	cr_assert_str_eq(content("incoming/x"), "more data");
	cr_assert_not(there("processing/7"));
}

Test(tree_claim, change_of_mode_and_owner_does_not_matter)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	cr_assert_eq(chmod(at("incoming/x"), 0600), 0);
	cr_assert_eq(claim(7, "x", &ident), 0);
}

Test(tree_claim, what_is_no_plain_file_is_not_claimed)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	cr_assert_eq(link(at("incoming/x"), at("incoming/double")), 0);
	cr_assert_eq(claim(7, "x", &ident), -ESTALE, "the other name could be written to");
	cr_assert_eq(rename(at("incoming/x"), at("incoming/aside")), 0);
	cr_assert_eq(symlink("aside", at("incoming/x")), 0);
	cr_assert_eq(claim(7, "x", &ident), -ESTALE);
	cr_assert_eq(unlink(at("incoming/x")), 0);
	cr_assert_eq(mkfifo(at("incoming/x"), 0600), 0);
	cr_assert_eq(claim(7, "x", &ident), -ESTALE);
	cr_assert_eq(unlink(at("incoming/x")), 0);
	make_dir("incoming/x");
	cr_assert_eq(claim(7, "x", &ident), -ESTALE);
	cr_assert_str_eq(content("incoming/aside"), "data");
	cr_assert_not(there("processing/7"));
}

Test(tree_claim, a_file_that_is_written_is_put_back)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	int fd = open(at("incoming/x"), O_WRONLY | O_APPEND | O_CLOEXEC);
	cr_assert_eq(claim(7, "x", &ident), -ESTALE);
	cr_assert_str_eq(content("incoming/x"), "data");
	cr_assert_not(there("processing/7"));
	fd_close(fd);
	cr_assert_eq(claim(7, "x", &ident), 0);
}

/* As a crash between the steps of a claim leaves it. */
static void begin_claim(uint64_t id, const char *path)
{
	char dir[64];
	snprintf(dir, sizeof dir, "processing/%u", (unsigned)id);
	cr_assert_eq(mkdir(at(dir), 0700), 0);
	if (path != NULL)
		cr_assert_eq(rename(at(in("incoming", path)), at(in(dir, name_base(path)))), 0);
}

Test(tree_claim, every_half_claim_can_be_finished)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	begin_claim(7, NULL);
	cr_assert_eq(claim(7, "x", &ident), 0);
	put("incoming/y", "data");
	ident = ident_of("y");
	begin_claim(8, "y");
	cr_assert_eq(claim(8, "y", &ident), 0);
	cr_assert_str_eq(content("processing/8/y"), "data");
	put("incoming/z", "data");
	ident = ident_of("z");
	begin_claim(9, "z");
	put("incoming/z", "a new upload of the name");
	cr_assert_eq(claim(9, "z", &ident), 0);
	cr_assert_str_eq(content("processing/9/z"), "data");
	cr_assert_str_eq(content("incoming/z"), "a new upload of the name");
}

Test(tree_claim, half_a_claim_of_a_wrong_file_is_undone)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	put("incoming/x", "changed");
	begin_claim(7, "x");
	cr_assert_eq(claim(7, "x", &ident), -ESTALE);
	cr_assert_str_eq(content("incoming/x"), "changed");
	cr_assert_not(there("processing/7"));
}

static void kept_in_failed(const char *path, const char *data)
{
	struct file_ident ident = {.size = 4711};
	char *kept = NULL;
	cr_assert_eq(tree_claim(t, "alice", 7, path, &ident, &kept), -ESTALE);
	cr_assert_not_null(kept);
	cr_assert_str_eq(content(in("failed", kept)), data);
	char *log = name_with_suffix(kept, ".log");
	cr_assert_not_null(strstr(content(in("failed", log)), "It was not processed"), "%s", log);
	int failed = tree_open_place(t, "alice", PLACE_FAILED);
	cr_assert(strchr(log, '/') != NULL || tree_is_our_log(failed, log), "it is purged along");
	fd_close(failed);
	cr_assert_eq(mode_of(in("failed", log)) & 0007, 0);
	cr_assert_not(there("processing/7"));
	free(log);
	free(kept);
}

Test(tree_claim, where_its_name_is_taken_it_goes_to_failed)
{
	put("incoming/x", "data");
	begin_claim(7, "x");
	put("incoming/x", "newer");
	kept_in_failed("x", "data");
	cr_assert_str_eq(content("incoming/x"), "newer");
	put("incoming/x", "again");
	begin_claim(7, "x");
	put("incoming/x", "newer");
	kept_in_failed("x", "again");
	cr_assert_str_eq(content("failed/x"), "data", "and replaces nothing there");
}

/* The job's own inode, which its uploader wrote into while it was taken. */
Test(tree_claim, what_is_kept_in_failed_is_not_found_as_the_job_s_file)
{
	put("incoming/x", "data");
	char path[] = "x";
	struct job job = {.id = 7, .path = path, .state = JOB_QUEUED, .ident = ident_of("x")};
	struct tree_found found = {0};
	char *kept = NULL;
	begin_claim(7, "x");
	put("processing/7/x", "data and more");
	put("incoming/x", "newer");
	cr_assert_eq(tree_claim(t, "alice", 7, "x", &job.ident, &kept), -ESTALE);
	cr_assert_str_eq(content(in("failed", kept)), "data and more");
	free(kept);
	cr_assert_eq(tree_find(t, "alice", &job, &found), 0);
	cr_assert_eq(found.place, PLACE_INCOMING);
	cr_assert_not(found.same);
	job.id = 8;
	cr_assert_eq(tree_find(t, "alice", &job, &found), 0);
	cr_assert_eq(found.place, PLACE_FAILED, "only that job is not to have it");
	free(found.final_name);
}

Test(tree_claim, where_its_directory_is_gone_it_goes_to_failed)
{
	make_dir("incoming/d");
	put("incoming/d/x", "data");
	begin_claim(7, "d/x");
	cr_assert_eq(rmdir(at("incoming/d")), 0);
	kept_in_failed("d/x", "data");
}

Test(tree_claim, a_log_of_the_uploader_is_left_alone)
{
	char *kept = NULL;
	struct file_ident ident = {.size = 4711};
	put("incoming/x", "data");
	put("failed/x.log", "an upload that is named so");
	begin_claim(7, "x");
	put("incoming/x", "newer");
	cr_assert_eq(tree_claim(t, "alice", 7, "x", &ident, &kept), -ESTALE);
	cr_assert_str_eq(kept, "x");
	cr_assert_str_eq(content("failed/x.log"), "an upload that is named so");
	free(kept);
}

Test(tree_claim, missing_processing_is_no_withdrawal)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	cr_assert_eq(rmdir(at("processing")), 0);
	cr_assert_eq(claim(7, "x", &ident), -ENOTDIR);
	cr_assert_eq(claim(7, "none", &ident), -ENOENT);
	cr_assert_eq(symlink("done", at("processing")), 0);
	cr_assert_eq(claim(7, "x", &ident), -ENOTDIR);
	cr_assert_str_eq(content("incoming/x"), "data");
}

Test(tree_claim, claim_without_renameat2)
{
	put("incoming/x", "data");
	put("incoming/y", "data");
	struct file_ident x = ident_of("x"), y = ident_of("y");
	if (!world_without_renameat2())
		cr_skip_test("needs seccomp");
	cr_assert_eq(claim(7, "x", &x), 0);
	cr_assert_str_eq(content("processing/7/x"), "data");
	cr_assert_eq(claim(7, "x", &x), 0);
	int fd = open(at("incoming/y"), O_WRONLY | O_CLOEXEC);
	cr_assert_eq(claim(8, "y", &y), -ESTALE);
	cr_assert_str_eq(content("incoming/y"), "data");
	cr_assert_not(there("processing/8"));
	fd_close(fd);
	put("incoming/z", "data");
	begin_claim(7000, "z");
	put("incoming/z", "newer");
	cr_assert_eq(rename(at("processing/7000"), at("processing/9")), 0);
	struct file_ident none = {.size = 4711};
	char *kept = NULL;
	cr_assert_eq(tree_claim(t, "alice", 9, "z", &none, &kept), -ESTALE);
	cr_assert_str_eq(content(in("failed", kept)), "data");
	free(kept);
}

Test(tree_claim, full_disk_leaves_the_file_in_incoming)
{
	char name[32];
	bool existed;
	unsigned made;
	if (!world_own_mounts())
		cr_skip_test("needs root");
	cr_assert_eq(mount("none", root, "tmpfs", 0, "size=1m,nr_inodes=60"), 0);
	tree_close(t);
	cr_assert_eq(tree_init(root, &existed), 0);
	cr_assert_eq(tree_open(root, &t), 0);
	cr_assert_eq(tree_make_user(t, "alice", UPLOADER, UPLOADER, &made), 0);
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	for (int i = 0, fd = 0; fd >= 0; i++) {
		snprintf(name, sizeof name, "fill%d", i);
		fd = openat(t->rootfd, name, O_CREAT | O_WRONLY, 0644);
		fd_close(fd);
	}
	cr_assert_eq(claim(7, "x", &ident), -ENOSPC);
	cr_assert_str_eq(content("incoming/x"), "data");
	cr_assert_eq(unlinkat(t->rootfd, "fill0", 0), 0);
	cr_assert_eq(claim(7, "x", &ident), 0);
	cr_assert_eq(tree_open_job(t, "alice", 7, "x", &nothing), -ENOSPC);
	cr_assert_eq(unlinkat(t->rootfd, "fill1", 0), 0);
	fd_close(tree_open_job(t, "alice", 7, "x", &nothing));
	cr_assert(there("processing/7/output"));
	umount2(root, MNT_DETACH);
}

Test(tree_claim, jobs_are_opened)
{
	put("incoming/x", "data");
	struct file_ident ident = ident_of("x");
	cr_assert_eq(tree_open_job(t, "alice", 7, "x", &nothing), -ENOENT);
	cr_assert_eq(claim(7, "x", &ident), 0);
	cr_assert_eq(inode_of_fd(tree_open_job(t, "alice", 7, "d/x", &nothing)), inode_of("processing/7"));
	cr_assert_eq(mode_of("processing/7/output"), 0700);
	cr_assert_eq(inode_of_fd(tree_open_job(t, "alice", 7, "x", &nothing)), inode_of("processing/7"));
	cr_assert_eq(tree_open_job(t, "alice", 7, "y", &nothing), -ENOENT);
	cr_assert_eq(tree_open_job(t, "alice", 8, "x", &nothing), -ENOENT);
	char *path = tree_job_path(t, "alice", 7);
	cr_assert_str_eq(path, at("processing/7"));
	free(path);
}

/* Another process plays with the name while it is claimed. */

enum { LABELS_MAX = 100000 };

struct game {
	volatile bool stop;
	volatile unsigned made;     /* files it made: "made-1" ... */
	volatile unsigned ended;    /* claimed, or kept, for good */
	volatile unsigned rounds, claimed, stale, kept;
};

/* Nothing here destroys a file, so each must be found again. */
static void play(struct game *g)
{
	static const char *const others[] = {".link", ".fifo", ".dir", ".pair"};
	int dir = open(at("incoming"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; !g->stop; i++, g->rounds++) {
		renameat2(dir, "x", dir, ".other", RENAME_EXCHANGE);
		if (i % 2 == 0) {
			const char *other = others[i / 2 % 4];
			if (renameat2(dir, "x", dir, other, RENAME_EXCHANGE) == 0)
				renameat2(dir, "x", dir, other, RENAME_EXCHANGE);
		}
		if (g->made - g->ended > 50 || g->made + 1 == LABELS_MAX)
			continue;
		int fd = openat(dir, "x", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
		if (fd >= 0) {
			dprintf(fd, "made-%u", g->made + 1);
			g->made++;
			close(fd);
		}
	}
	_exit(0);
}

/* Counts where the contents are: found[n] for "made-n", found[0] for all else. */
static void count_dir(int dirfd, unsigned *found, unsigned *others)
{
	DIR *d = fdopendir(dirfd);
	cr_assert_not_null(d);
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		struct stat st;
		char text[32] = "";
		unsigned n;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		cr_assert_eq(fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
		if (S_ISDIR(st.st_mode))
			count_dir(openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY), found, others);
		if (!S_ISREG(st.st_mode) || tree_is_our_log(dirfd, e->d_name))
			continue;
		int fd = openat(dirfd, e->d_name, O_RDONLY | O_NOFOLLOW);
		cr_assert(fd >= 0);
		cr_assert_geq(read(fd, text, sizeof text - 1), 0);
		fd_close(fd);
		if (sscanf(text, "made-%u", &n) == 1 && n < LABELS_MAX)
			found[n]++;
		else if (strcmp(text, "first") == 0)
			found[0]++;
		else
			(*others)++;
	}
	closedir(d);
}

static void check_game(const struct game *g, const char *canary)
{
	unsigned *found = calloc(LABELS_MAX, sizeof *found), others = 0;
	struct stat st;
	cr_assert_not_null(found);
	count_dir(open(at("."), O_RDONLY | O_DIRECTORY), found, &others);
	cr_assert_eq(found[0], 1);
	for (unsigned n = 1; n <= g->made; n++)
		cr_assert_eq(found[n], 1, "made-%u is there %u times", n, found[n]);
	cr_assert_eq(others, 3, "the other, and both names of the pair; found %u", others);
	free(found);
	cr_assert_eq(stat(canary, &st), 0);
	cr_assert_eq(st.st_nlink, 1);
	cr_assert_eq(st.st_size, 6);
}

/* One look and claim; what was claimed is what was looked at. Goes back into
 * the game where the name is free. */
static void claim_once(uint64_t id, int incoming, struct game *g)
{
	struct file_ident seen, got;
	enum entry_kind kind;
	char dir[64], *kept = NULL;
	if (tree_look(t, "alice", "x", &seen, &kind) < 0 || kind != ENTRY_FILE)
		return;
	int r = tree_claim(t, "alice", id, "x", &seen, &kept);
	snprintf(dir, sizeof dir, "processing/%u", (unsigned)id);
	cr_assert(r == 0 || r == -ENOENT || r == -ESTALE, "%s", strerror(-r));
	g->stale += r == -ESTALE;
	if (r == 0) {
		int priv = tree_open_private(t, "alice", id);
		cr_assert_eq(tree_ident_at(priv, "x", &got, &kind), 0);
		cr_assert(file_ident_same(&got, &seen));
		cr_assert_eq(kind, ENTRY_FILE);
		if (tree_rename(priv, "x", incoming, "x") == 0)
			cr_assert_eq(rmdir(at(dir)), 0);
		else
			g->ended++;
		fd_close(priv);
		g->claimed++;
		return;
	}
	cr_assert_not(there(dir), "%s stays behind", dir);
	if (kept != NULL) {
		int failed = tree_open_place(t, "alice", PLACE_FAILED);
		g->kept++;
		g->ended += tree_rename(failed, kept, incoming, "x") < 0;
		fd_close(failed);
	}
	free(kept);
}

Test(tree_claim, a_hostile_uploader_gains_and_loses_nothing)
{
	enum { CLAIMED = 300, STALE = 100, KEPT = 5, GAME_MS = 10000 };
	char canary[128];
	struct game *g = mmap(NULL, sizeof *g, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	                      0);
	cr_assert_neq(g, MAP_FAILED);
	snprintf(canary, sizeof canary, "%s/canary", world);
	FILE *f = fopen(canary, "w");
	fputs("canary", f);
	fclose(f);
	put("incoming/x", "first");
	put("incoming/.other", "other");
	put("incoming/.pair", "pair");
	cr_assert_eq(link(at("incoming/.pair"), at("incoming/.pair2")), 0);
	cr_assert_eq(symlink(canary, at("incoming/.link")), 0);
	cr_assert_eq(mkfifo(at("incoming/.fifo"), 0600), 0);
	make_dir("incoming/.dir");
	int incoming = tree_open_place(t, "alice", PLACE_INCOMING);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		play(g);
	}
	uint64_t until_ms = clock_steady_ms() + GAME_MS;
	for (uint64_t id = 1; clock_steady_ms() < until_ms; id++) {
		if (g->claimed >= CLAIMED && g->stale >= STALE && g->kept >= KEPT)
			break;
		claim_once(id, incoming, g);
	}
	g->stop = true;
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	fd_close(incoming);
	cr_assert_gt(g->claimed, 0);
	cr_assert_gt(g->stale, 0, "%u rounds, and none came in between", g->rounds);
	check_game(g, canary);
	munmap(g, sizeof *g);
}
