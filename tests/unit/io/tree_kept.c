/* What lasts longer than one step: directories kept open for a moment, and the
 * private directory that is handed on to the user's next job. */
#include "tree_world.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>

TestSuite(tree_kept, .init = world_begin, .fini = world_end, .timeout = 240);

static unsigned descriptors(void)
{
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/fd");
	cr_assert_not_null(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static bool sees(const char *path)
{
	struct file_ident ident;
	enum entry_kind kind;
	return tree_look(t, "alice", path, &ident, &kind) == 0;
}

static void replace_incoming(const char *name)
{
	cr_assert_eq(rename(at("incoming"), at("moved away")), 0);
	make_dir("incoming");
	char path[64];
	snprintf(path, sizeof path, "incoming/%s", name);
	put(path, "new");
}

Test(tree_kept, a_directory_is_opened_once_a_turn)
{
	put("incoming/old.csv", "old");
	tree_turn(t, UINT64_MAX);
	cr_expect(sees("old.csv"));
	replace_incoming("new.csv");
	cr_expect(sees("old.csv") && !sees("new.csv"), "for the rest of the turn");
	tree_turn(t, UINT64_MAX);
	cr_expect(!sees("old.csv") && sees("new.csv"));
}

/* The clock of the turns is the caller's. */
Test(tree_kept, it_stays_open_for_a_moment)
{
	unsigned before = descriptors();
	put("incoming/old.csv", "old");
	cr_expect_eq(tree_turn(t, 1000), UINT64_MAX, "nothing is open");
	cr_expect(sees("old.csv"));
	cr_expect_eq(tree_turn(t, 5000), 5200u);
	replace_incoming("new.csv");
	cr_expect_eq(tree_turn(t, 5199), 5200u);
	cr_expect(sees("old.csv"));
	cr_expect_eq(tree_turn(t, 5200), UINT64_MAX);
	cr_expect_eq(descriptors(), before);
	cr_expect(sees("new.csv"));
}

Test(tree_kept, it_is_opened_anew_when_it_may_be_another)
{
	put("incoming/old.csv", "old");
	tree_turn(t, 1000);
	cr_expect(sees("old.csv"));
	tree_turn(t, 1000);
	replace_incoming("new.csv");
	tree_forget_kept(t);
	cr_expect(sees("new.csv"));
}

Test(tree_kept, where_nothing_tells_of_changes_it_is_closed_after_the_turn)
{
	unsigned before = descriptors();
	put("incoming/old.csv", "old");
	tree_turn(t, 1000);
	cr_expect(sees("old.csv"));
	cr_expect_eq(tree_turn(t, UINT64_MAX), UINT64_MAX);
	cr_expect_eq(descriptors(), before);
}

/* It may be unmounted at any time. */
Test(tree_kept, a_mount_is_held_for_no_longer_than_a_turn)
{
	if (geteuid() != 0 || mount("tmpfs", at("incoming"), "tmpfs", 0, "size=1m") < 0)
		cr_skip_test("mounting takes root");
	put("incoming/old.csv", "old");
	tree_turn(t, 1000);
	cr_expect(sees("old.csv"));
	cr_expect_eq(tree_turn(t, 1000), UINT64_MAX);
	cr_expect_eq(umount(at("incoming")), 0, "%s", strerror(errno));
}

/* More users than there is room for: each has its turn. */
Test(tree_kept, many_users_take_turns)
{
	unsigned before = descriptors();
	struct file_ident ident;
	enum entry_kind kind;
	char user[16];
	tree_turn(t, 1000);
	for (int i = 0; i < 250; i++) {
		unsigned made;
		snprintf(user, sizeof user, "u%d", i);
		cr_assert_eq(tree_make_user(t, user, (uid_t)-1, (gid_t)-1, &made), 0);
	}
	for (int i = 0; i < 250; i++) {
		snprintf(user, sizeof user, "u%d", i);
		tree_look(t, user, "none", &ident, &kind);
	}
	cr_expect_gt(descriptors(), before + 50);
	cr_expect_eq(tree_turn(t, 1000), UINT64_MAX);
	cr_expect_eq(descriptors(), before);
}

Test(tree_kept, without_turns_each_step_opens_it)
{
	put("incoming/old.csv", "old");
	cr_expect(sees("old.csv"));
	replace_incoming("new.csv");
	cr_expect(!sees("old.csv") && sees("new.csv"));
}

Test(tree_kept, made_directories_are_seen_at_once)
{
	unsigned made;
	put("incoming/a.csv", "a");
	tree_turn(t, UINT64_MAX);
	cr_expect(sees("a.csv"));
	cr_assert_eq(rename(at("incoming"), at("moved away")), 0);
	cr_assert_eq(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), 0);
	cr_expect_eq(made, 1u);
	cr_expect(!sees("a.csv"));
}

static void claim(uint64_t id, const char *path)
{
	char *kept = NULL, from[64];
	snprintf(from, sizeof from, "incoming/%s", path);
	put(from, path);
	struct file_ident ident = ident_of(path);
	cr_assert_eq(tree_claim(t, "alice", id, path, &ident, &kept), 0);
	cr_assert_null(kept);
}

Test(tree_kept, nothing_stays_open_after_a_turn)
{
	unsigned before = descriptors(), made;
	char user[16];
	tree_turn(t, UINT64_MAX);
	for (int i = 0; i < 300; i++) {
		snprintf(user, sizeof user, "u%d", i);
		cr_assert_eq(tree_make_user(t, user, (uid_t)-1, (gid_t)-1, &made), 0);
	}
	for (int i = 0; i < 300; i++) {
		struct file_ident ident;
		enum entry_kind kind;
		snprintf(user, sizeof user, "u%d", i);
		cr_expect_eq(tree_look(t, user, "none", &ident, &kind), -ENOENT);
	}
	claim(1, "a.csv");
	cr_expect_gt(descriptors(), before);
	cr_expect_leq(descriptors(), before + 256 + 3, "they are bounded");
	tree_turn(t, UINT64_MAX);
	cr_expect_eq(descriptors(), before);
	claim(2, "b.csv");
	tree_close(t);
	t = NULL;
	cr_expect_eq(descriptors(), before - 1, "nor when it is closed");
}

Test(tree_kept, a_claim_hands_its_directory_to_who_runs_it)
{
	tree_turn(t, UINT64_MAX);
	claim(1, "a.csv");
	struct file_ident ident = {0};
	struct stat dir, opened;
	int fd = tree_open_job(t, "alice", 1, "a.csv", &ident);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &opened), 0);
	cr_assert_eq(lstat(at("processing/1"), &dir), 0);
	cr_expect_eq(dir.st_ino, opened.st_ino);
	cr_expect(there("processing/1/output"));
	fd_close(fd);
	/* Once. */
	fd = tree_open_job(t, "alice", 1, "a.csv", &ident);
	cr_expect_geq(fd, 0);
	fd_close(fd);
}

static ino_t inode(const char *path)
{
	struct stat st;
	return lstat(at(path), &st) == 0 ? st.st_ino : 0;
}

/* Ends a job that was claimed and ran; another one waits. */
static void end(uint64_t id, const char *path)
{
	char private[64], *name = NULL;
	snprintf(private, sizeof private, "processing/%llu/%s", (unsigned long long)id, path);
	struct stat st;
	cr_assert_eq(lstat(at(private), &st), 0);
	struct file_ident ident = {.ino = st.st_ino, .uid = st.st_uid, .gid = st.st_gid};
	struct tree_finish f = {.user = "alice", .id = id, .path = path, .ident = &ident,
	                        .from = PLACE_PROCESSING, .to = PLACE_DONE, .known = path,
	                        .keep_output = true, .hand_on = true};
	cr_assert_eq(tree_finish(t, &f, &name), 0);
	free(name);
}

static void run_one(uint64_t id, const char *path)
{
	struct file_ident ident = {0};
	claim(id, path);
	fd_close(tree_open_job(t, "alice", id, path, &ident));
	end(id, path);
}

Test(tree_kept, the_next_job_gets_the_directory)
{
	run_one(1, "a.csv");
	ino_t was = inode("processing/1");
	cr_assert_neq(was, 0);
	claim(2, "b.csv");
	cr_expect_eq(inode("processing/2"), was);
	cr_expect(!there("processing/1"));
	cr_expect_str_eq(content("processing/2/b.csv"), "b.csv");
	cr_expect_str_eq(content("done/a.csv"), "a.csv");
}

/* Where several wait in a worker each has one. */
Test(tree_kept, so_do_the_next_ones)
{
	struct file_ident ident = {0};
	ino_t was[3];
	static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
	for (uint64_t id = 1; id <= 3; id++) {
		claim(id, names[id - 1]);
		fd_close(tree_open_job(t, "alice", id, names[id - 1], &ident));
	}
	for (uint64_t id = 1; id <= 3; id++) {
		char private[32];
		snprintf(private, sizeof private, "processing/%d", (int)id);
		was[id - 1] = inode(private);
		end(id, names[id - 1]);
	}
	for (uint64_t id = 4; id <= 6; id++) {
		char private[32];
		claim(id, names[id - 1]);
		snprintf(private, sizeof private, "processing/%d", (int)id);
		cr_expect_eq(inode(private), was[id - 4], "the oldest serves first");
		cr_expect(!there("processing/1") || id < 4);
	}
	for (uint64_t id = 4; id <= 6; id++)
		fd_close(tree_open_job(t, "alice", id, names[id - 1], &ident));
	end(5, "e");
	end(4, "d");
	tree_unspare(t, "alice", 5);
	tree_drop_spare(t, "alice");
	cr_expect(there("processing/5"), "it went another way");
	cr_expect(there("processing/6/f"), "it is in use");
	cr_expect(!there("processing/4"));
}

Test(tree_kept, of_one_user_only_so_many_are_kept)
{
	struct file_ident ident = {0};
	enum { MANY = 80 };
	char names[MANY + 1][8], private[32];
	int n = 0;
	for (int id = 1; id <= MANY; id++) {
		snprintf(names[id], sizeof names[id], "f%d", id);
		claim((uint64_t)id, names[id]);
		fd_close(tree_open_job(t, "alice", (uint64_t)id, names[id], &ident));
	}
	for (int id = 1; id <= MANY; id++)
		end((uint64_t)id, names[id]);
	for (int id = 1; id <= MANY; id++) {
		snprintf(private, sizeof private, "processing/%d", id);
		n += there(private);
	}
	cr_expect_eq(n, 68);
	tree_drop_spares(t);
	cr_expect(!there("processing/79") && !there("processing/80"));
}

static bool is_bare(uint64_t id, char *path)
{
	struct file_ident ident = {0};
	struct job job = {.id = id, .path = path, .ident = ident, .state = JOB_QUEUED};
	struct tree_found found = {0};
	cr_assert_eq(tree_find(t, "alice", &job, &found), 0);
	cr_expect_eq(found.place, PLACE_PROCESSING);
	return found.bare;
}

Test(tree_kept, a_claim_that_was_cut_short_is_known)
{
	char b[] = "b.csv", c[] = "c.csv";
	struct file_ident ident = {0};
	run_one(1, "a.csv");
	ino_t output = inode("processing/1/output");
	claim(2, b);
	cr_expect_eq(inode("processing/2/output"), output);
	cr_expect(is_bare(2, b), "it was not handed over");
	fd_close(tree_open_job(t, "alice", 2, b, &ident));
	cr_expect(!is_bare(2, b));
	end(2, b);
	claim(3, c);
	cr_expect(is_bare(3, c));
	/* Another daemon goes on with it. */
	tree_unspare(t, "alice", 3);
	cr_expect(is_bare(3, c));
	fd_close(tree_open_job(t, "alice", 3, c, &ident));
	cr_expect(!is_bare(3, c));
}

Test(tree_kept, an_output_that_was_used_is_for_nobody_else)
{
	struct file_ident ident = {0};
	claim(1, "a.csv");
	fd_close(tree_open_job(t, "alice", 1, "a.csv", &ident));
	put("processing/1/output/x", "kept");
	end(1, "a.csv");
	cr_expect(!there("processing/1"));
	cr_expect_str_eq(content("done/a.csv.output/x"), "kept");
	claim(2, "b.csv");
	fd_close(tree_open_job(t, "alice", 2, "b.csv", &ident));
	cr_assert_eq(chmod(at("processing/2/output"), 0777), 0);
	end(2, "b.csv");
	cr_expect(!there("processing/2"));
}

Test(tree_kept, an_upload_called_like_it_gets_a_new_one)
{
	struct file_ident ident = {0};
	run_one(1, "a.csv");
	claim(2, "output");
	cr_expect_str_eq(content("processing/2/output"), "output");
	cr_expect(!there("processing/1"));
	fd_close(tree_open_job(t, "alice", 2, "output", &ident));
	end(2, "output");
	cr_expect(!there("processing/2"));
}

Test(tree_kept, a_claim_that_fails_leaves_nothing)
{
	char *kept = NULL;
	put("incoming/b.csv", "b");
	struct file_ident ident = ident_of("b.csv");
	run_one(1, "a.csv");
	put("incoming/b.csv", "changed");
	cr_expect_eq(tree_claim(t, "alice", 2, "b.csv", &ident, &kept), -ESTALE);
	cr_expect(!there("processing/2") && !there("processing/1"));
	cr_expect_str_eq(content("incoming/b.csv"), "changed");
}

Test(tree_kept, where_none_waits_it_is_removed)
{
	run_one(1, "a.csv");
	tree_drop_spare(t, "bob");
	cr_expect(there("processing/1"));
	tree_drop_spare(t, "alice");
	cr_expect(!there("processing/1"));
	run_one(2, "b.csv");
	tree_close(t);
	t = NULL;
	cr_expect(!there("processing/2"));
}

Test(tree_kept, what_is_not_as_it_was_made_is_for_nobody_else)
{
	struct file_ident ident = {0};
	claim(1, "a.csv");
	fd_close(tree_open_job(t, "alice", 1, "a.csv", &ident));
	cr_assert_eq(chmod(at("processing/1"), 0711), 0);
	end(1, "a.csv");
	cr_expect(!there("processing/1"));
	if (geteuid() != 0)
		return;
	claim(2, "b.csv");
	fd_close(tree_open_job(t, "alice", 2, "b.csv", &ident));
	cr_assert_eq(chown(at("processing/2"), UPLOADER, UPLOADER), 0);
	end(2, "b.csv");
	cr_expect(!there("processing/2"));
}

Test(tree_kept, what_is_left_in_it_is_for_nobody_else)
{
	struct file_ident ident = {0};
	claim(1, "a.csv");
	fd_close(tree_open_job(t, "alice", 1, "a.csv", &ident));
	put("processing/1/" NAME_CANCEL, "");
	end(1, "a.csv");
	cr_expect(!there("processing/1"));
	claim(2, "b.csv");
	fd_close(tree_open_job(t, "alice", 2, "b.csv", &ident));
	put("processing/2/strange", "kept");
	end(2, "b.csv");
	cr_expect(!there("processing/2"));
	cr_expect_str_eq(content("done/b.csv.output/strange"), "kept");
}

Test(tree_kept, a_job_that_is_taken_back_keeps_its_directory)
{
	run_one(1, "a.csv");
	char path[] = "a.csv";
	const struct job job = {.id = 1, .path = path};
	cr_assert_eq(tree_take_back(t, "alice", &job, PLACE_DONE, "a.csv"), 0);
	claim(2, "b.csv");
	cr_expect_str_eq(content("processing/1/a.csv"), "a.csv");
	cr_expect_str_eq(content("processing/2/b.csv"), "b.csv");
	cr_expect(!there("processing/2/a.csv"));
}

Test(tree_kept, a_directory_that_went_away_is_made_anew)
{
	run_one(1, "a.csv");
	cr_assert_eq(rmdir(at("processing/1/output")), 0);
	cr_assert_eq(rmdir(at("processing/1")), 0);
	claim(2, "b.csv");
	cr_expect_str_eq(content("processing/2/b.csv"), "b.csv");
	fd_close(tree_open_job(t, "alice", 2, "b.csv", &(struct file_ident){0}));
	end(2, "b.csv");
	/* The number is taken: by what a crash left, say. */
	make_dir("processing/3");
	claim(3, "c.csv");
	cr_expect_str_eq(content("processing/3/c.csv"), "c.csv");
	cr_expect(!there("processing/2"));
}

static int note_upload(void *ctx, uint64_t id, const char *path, const struct file_ident *ident)
{
	char **found = ctx;
	(void)id, (void)ident;
	*found = path == NULL ? NULL : strdup(path);
	return 0;
}

Test(tree_kept, an_upload_is_found_in_a_directory_of_an_earlier_job)
{
	struct file_ident ident = {0};
	run_one(1, "a.csv");
	claim(2, "m.csv");
	fd_close(tree_open_job(t, "alice", 2, "m.csv", &ident));
	for (char c = 'a'; c <= 'z'; c++) {
		char path[] = "processing/2/_ is of its handler";
		path[13] = c;
		put(path, "x");
	}
	char *found = NULL;
	cr_assert_eq(tree_each_processing(t, "alice", note_upload, &found, NULL), 0);
	cr_expect_str_eq(found == NULL ? "" : found, "m.csv");
	free(found);
}

static void hand_over(uint64_t id, const char *path)
{
	struct file_ident ident = {0};
	claim(id, path);
	fd_close(tree_open_job(t, "alice", id, path, &ident));
}

Test(tree_kept, the_directory_stays_open_on_its_way)
{
	tree_turn(t, 1000);
	unsigned before = descriptors();
	run_one(1, "a.csv");
	tree_turn(t, UINT64_MAX);
	cr_expect_eq(descriptors(), before + 1);
	hand_over(2, "b.csv");
	tree_turn(t, UINT64_MAX);
	cr_expect_eq(descriptors(), before + 1, "while it is used");
	end(2, "b.csv");
	tree_turn(t, UINT64_MAX);
	cr_expect_eq(descriptors(), before + 1);
	hand_over(3, "c.csv");
	put("processing/3/output/x", "kept");
	end(3, "c.csv");
	tree_turn(t, UINT64_MAX);
	cr_expect_eq(descriptors(), before, "it is nobody's any more");
	run_one(4, "d.csv");
	tree_drop_spares(t);
	tree_turn(t, UINT64_MAX);
	cr_expect_eq(descriptors(), before);
}

/* One that its handler closed to us, where it has our account. */
Test(tree_kept, an_open_one_is_made_accessible_again)
{
	run_one(1, "a.csv");
	hand_over(2, "b.csv");
	cr_assert_eq(chmod(at("processing/2"), 0), 0);
	end(2, "b.csv");
	cr_expect_str_eq(content("done/b.csv"), "b.csv");
}

Test(tree_kept, most_descriptors_are_for_others)
{
	enum { MANY = 20, ROUNDS = 3, LIMIT = 64 };
	struct rlimit limit;
	char names[MANY][8];
	tree_turn(t, 1000);
	unsigned before = descriptors();
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = LIMIT;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t first = (uint64_t)round * 100 + 1;
		for (unsigned i = 0; i < MANY; i++) {
			snprintf(names[i], sizeof names[i], "f%d.%u", round, i);
			hand_over(first + i, names[i]);
		}
		for (unsigned i = 0; i < MANY; i++)
			end(first + i, names[i]);
		tree_turn(t, UINT64_MAX);
		cr_expect_eq(descriptors(), before + LIMIT / 8);
	}
	tree_close(t);
	t = NULL;
	cr_expect_eq(descriptors(), before - 1);
}

Test(tree_kept, on_a_mount_it_does_not_stay_open)
{
	unsigned made;
	if (geteuid() != 0 || mount("tmpfs", at(""), "tmpfs", 0, "size=1m") < 0)
		cr_skip_test("mounting takes root");
	cr_assert_eq(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made), 0);
	tree_turn(t, 1000);
	run_one(1, "a.csv");
	cr_expect(there("processing/1"));
	tree_turn(t, UINT64_MAX);
	cr_expect_eq(umount(at("")), 0, "%s", strerror(errno));
}

static void sh(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

static void replace_user_by_a_copy(void)
{
	char command[300];
	snprintf(command, sizeof command, "cd %s && cp -a alice copy && mv alice old && mv copy alice", root);
	sh(command);
	tree_forget_kept(t);
}

/* By the name, as ever: an open one may lie elsewhere by now. */
Test(tree_kept, a_user_that_is_replaced_by_a_copy_gets_its_files)
{
	tree_turn(t, 1000);
	run_one(1, "a.csv");
	tree_turn(t, UINT64_MAX);
	replace_user_by_a_copy();
	claim(2, "b.csv");
	cr_expect_str_eq(content("processing/2/b.csv"), "b.csv");
}

Test(tree_kept, so_does_one_that_is_replaced_while_a_job_runs)
{
	tree_turn(t, 1000);
	run_one(1, "a.csv");
	hand_over(2, "b.csv");
	tree_turn(t, UINT64_MAX);
	replace_user_by_a_copy();
	end(2, "b.csv");
	cr_expect_str_eq(content("done/b.csv"), "b.csv");
	cr_expect(!there("processing/2/b.csv"));
}

static int end_of(uint64_t id, const char *path, char **ret_name)
{
	struct file_ident ident = {0};
	struct tree_finish f = {.user = "alice", .id = id, .path = path, .ident = &ident,
	                        .from = PLACE_PROCESSING, .to = PLACE_DONE, .known = path,
	                        .keep_output = true, .hand_on = true};
	*ret_name = NULL;
	return tree_finish(t, &f, ret_name);
}

Test(tree_kept, what_a_handler_moved_away_is_left_alone)
{
	char *name;
	tree_turn(t, 1000);
	run_one(1, "a.csv");
	hand_over(2, "b.csv");
	cr_assert_eq(rename(at("processing/2"), at("taken")), 0);
	cr_expect_eq(end_of(2, "b.csv", &name), 0);
	cr_expect_null(name);
	cr_expect(there("taken/b.csv"));
}

Test(tree_kept, one_that_a_handler_removed_is_gone)
{
	char command[300], *name;
	tree_turn(t, 1000);
	run_one(1, "a.csv");
	hand_over(2, "b.csv");
	snprintf(command, sizeof command, "rm -r %s/alice/processing/2", root);
	sh(command);
	cr_expect_eq(end_of(2, "b.csv", &name), 0);
	cr_expect_null(name);
	run_one(3, "c.csv");
	cr_expect_str_eq(content("done/c.csv"), "c.csv");
}

/* Longer than the clock of files needs for its next tick. */
static void rest(void)
{
	usleep(50000);
}

/* Was found empty long ago, and then twice: it is not read again. */
static void use_twice(void)
{
	run_one(1, "a.csv");
	rest();
	run_one(2, "b.csv");
	run_one(3, "c.csv");
}

Test(tree_kept, what_changed_in_an_output_at_rest_is_seen)
{
	use_twice();
	ino_t was = inode("processing/3");
	hand_over(4, "d.csv");
	cr_expect_eq(inode("processing/4"), was);
	put("processing/4/output/x", "kept");
	end(4, "d.csv");
	cr_expect_str_eq(content("done/d.csv.output/x"), "kept");
	cr_expect(!there("processing/4"));
}

Test(tree_kept, so_is_what_came_and_went)
{
	use_twice();
	hand_over(4, "d.csv");
	put("processing/4/output/x", "removed");
	cr_assert_eq(unlink(at("processing/4/output/x")), 0);
	end(4, "d.csv");
	cr_expect(there("processing/4/output"), "it is empty again");
	hand_over(5, "e.csv");
	put("processing/5/output/y", "kept");
	end(5, "e.csv");
	cr_expect_str_eq(content("done/e.csv.output/y"), "kept");
}

Test(tree_kept, an_output_at_rest_whose_mode_changed_is_for_nobody_else)
{
	use_twice();
	hand_over(4, "d.csv");
	cr_assert_eq(chmod(at("processing/4/output"), 0777), 0);
	end(4, "d.csv");
	cr_expect(!there("processing/4"));
}

Test(tree_kept, another_output_in_its_place_is_read)
{
	use_twice();
	hand_over(4, "d.csv");
	cr_assert_eq(rmdir(at("processing/4/output")), 0);
	make_dir("processing/4/output");
	put("processing/4/output/x", "kept");
	end(4, "d.csv");
	cr_expect_str_eq(content("done/d.csv.output/x"), "kept");
}

static const char *late; /* is written when a file was moved to done */

/* In place of libc's. */
int renameat2(int old_dirfd, const char *old, int new_dirfd, const char *new, unsigned flags)
{
	int r = (int)syscall(SYS_renameat2, old_dirfd, old, new_dirfd, new, flags);
	if (late != NULL) {
		put(late, "late");
		late = NULL;
	}
	return r;
}

/* After it was looked for, in a directory that is not handed on for another reason. */
Test(tree_kept, what_a_handler_writes_after_its_answer_is_not_removed)
{
	hand_over(1, "a.csv");
	cr_assert_eq(chmod(at("processing/1"), 0755), 0);
	late = "processing/1/output/x";
	end(1, "a.csv");
	cr_expect_str_eq(content("done/a.csv.output/x"), "late");
	cr_expect(!there("processing/1"));
	put("done/b.csv", "another");
	hand_over(2, "b.csv");
	late = "processing/2/output/x";
	end(2, "b.csv");
	cr_expect_str_eq(content("done/b.2.csv.output/x"), "late");
}
