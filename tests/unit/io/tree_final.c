/* Promises: nothing is lost or overwritten on the last move, every step of it
 * can be repeated, and what is removed later is ours. */
#include "tree_final_world.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

TestSuite(tree_final, .init = begin_world, .fini = end_world, .timeout = 240);

#define REASON "This file could not be processed: exit code 3.\n"
#define MARK TREE_LOG_MARK "\n"

Test(tree_final, a_plain_job_leaves_its_file_and_nothing_else)
{
	struct work w;
	start_work(&w, 7, "x.csv", "1,2");
	put(at("processing/7/log"), "noise\n");
	put(at("processing/7/" NAME_RESULT), "{}");
	put(at("processing/7/" NAME_RESULT ".new"), "{");
	put(at("processing/7/" NAME_CANCEL), "cancel\n");
	finish(&w, "x.csv");
	cr_expect(holds(at("done/x.csv"), "1,2"));
	cr_expect_eq(count(at("done")), 1);
	expect_clean(7);
	finish(&w, "x.csv");
	cr_expect_eq(count(at("done")), 1);
}

Test(tree_final, log_and_output_are_kept_beside_it_and_purged_with_it)
{
	struct work w;
	start_work(&w, 7, "x.csv", "1,2");
	w.f.keep_log = true;
	put(at("processing/7/log"), "no newline");
	put(at("processing/7/output/sub/a"), "A");
	put(at("processing/7/scratch"), "S");
	finish(&w, "x.csv");
	cr_expect(holds(at("done/x.csv.log"), "no newline\n" MARK));
	cr_expect(holds(at("done/x.csv.output/sub/a"), "A"));
	cr_expect(holds(at("done/x.csv.output/scratch"), "S"));
	cr_expect_eq(count(at("done")), 3);
	expect_clean(7);
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
	cr_expect_eq(count(at("done")), 0);
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
}

static gid_t group_of_log(gid_t upload, gid_t failed, mode_t mode)
{
	struct work w;
	struct stat st;
	if (geteuid() == 0)
		cr_assert_eq(chown(at("failed"), 0, failed), 0);
	cr_assert_eq(chmod(at("failed"), mode), 0);
	start_work(&w, 7, "x.csv", "1,2");
	w.f.to = PLACE_FAILED;
	w.f.keep_log = true;
	w.f.reason = REASON;
	w.ident.gid = geteuid() == 0 ? upload : getegid();
	put(at("processing/7/log"), "trace\n");
	finish(&w, "x.csv");
	cr_expect(holds(at("failed/x.csv.log"), REASON "\ntrace\n" MARK));
	cr_expect_eq(stat(at("failed/x.csv.log"), &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0640);
	return st.st_gid;
}

Test(tree_final, the_reason_heads_the_log_and_the_uploader_can_read_it)
{
	gid_t group = group_of_log(4242, 4343, 0755);
	cr_expect_eq(group, geteuid() == 0 ? 4242 : getegid());
}

/* Whatever group the upload came with: "users", or root's where it was brought by root. */
Test(tree_final, where_only_a_group_may_enter_that_reads_the_log)
{
	gid_t group = group_of_log(0, 4343, 0750);
	cr_expect_eq(group, geteuid() == 0 ? 4343 : getegid());
}

Test(tree_final, a_reason_without_a_log_and_instead_of_an_unwanted_one)
{
	struct work w;
	for (uint64_t id = 1; id <= 2; id++) {
		char name[16];
		snprintf(name, sizeof name, "%" PRIu64 ".csv", id);
		start_work(&w, id, name, "1");
		w.f.to = PLACE_FAILED;
		w.f.reason = REASON;
		if (id == 2)
			put(at("processing/2/log"), "secret\n");
		finish(&w, name);
		cr_expect(holds(at("failed/%s.log", name), REASON MARK));
		expect_clean(id);
	}
}

Test(tree_final, a_very_large_log_keeps_its_reason)
{
	struct work w;
	char *head = malloc(sizeof REASON);
	start_work(&w, 7, "x", "1");
	w.f.to = PLACE_FAILED;
	w.f.keep_log = true;
	w.f.reason = REASON;
	put(at("processing/7/log"), "start");
	cr_assert_eq(truncate(at("processing/7/log"), (off_t)300 << 20), 0);
	finish(&w, "x");
	int fd = open(at("failed/x.log"), O_RDONLY | O_CLOEXEC);
	cr_expect_eq(read(fd, head, sizeof REASON - 1), (ssize_t)sizeof REASON - 1);
	cr_expect_arr_eq(head, REASON, sizeof REASON - 1);
	close(fd);
	free(head);
}

Test(tree_final, nothing_in_done_is_replaced)
{
	struct work w;
	put(at("done/x.csv"), "old");
	put(at("done/x.7.csv"), "older");
	start_work(&w, 7, "x.csv", "new");
	finish(&w, "x.7.2.csv");
	cr_expect(holds(at("done/x.csv"), "old"));
	cr_expect(holds(at("done/x.7.csv"), "older"));
	cr_expect(holds(at("done/x.7.2.csv"), "new"));
	finish(&w, "x.7.2.csv");
}

Test(tree_final, names_of_255_bytes_collide_and_keep_their_own_logs)
{
	char a[256], b[256];
	struct work w[3];
	memset(a, 'n', 255);
	a[255] = '\0';
	strcpy(b, a);
	b[254] = 'b';
	const char *names[] = {a, b, a};
	char *got[3];
	for (unsigned i = 0; i < 3; i++) {
		start_work(&w[i], i + 1, names[i], "text");
		w[i].f.keep_log = true;
		put(at("processing/%u/log", i + 1), i == 0 ? "log 0\n" : i == 1 ? "log 1\n" : "log 2\n");
		put(at("processing/%u/output/o", i + 1), "o");
		cr_assert_eq(tree_finish(t, &w[i].f, &got[i]), 0);
		expect_clean(i + 1);
	}
	cr_expect_str_eq(got[0], a);
	cr_expect_str_eq(got[1], b);
	cr_expect_eq(strlen(got[2]), 255);
	cr_expect_eq(count(at("done")), 9);
	for (unsigned i = 0; i < 3; i++) {
		char log[64] = "", want[64];
		size_t n = 0;
		struct job job = job_of(&w[i], JOB_DONE);
		job.final_name = got[i];
		cr_expect_eq(tree_read_log(t, USER, &job, 0, log, sizeof log - 1, &n), 0);
		snprintf(want, sizeof want, "log %u\n" MARK, i);
		cr_expect_str_eq(log, want);
	}
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_eq(tree_purge(t, USER, PLACE_DONE, got[i]), 0);
		cr_expect_eq(count(at("done")), 6 - 3 * i);
		free(got[i]);
	}
}

Test(tree_final, names_are_bytes)
{
	const char *const names[] = {"a\nb", "\xff\xfe\x80", "-rf", "--", "*", "a b", "log", "output",
	                             "log.spoold", "output.spoold", "log.new", "log.spoold.new",
	                             "\\", ".hidden", "x.log", "x.output"};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		struct work w;
		start_work(&w, i + 1, names[i], names[i]);
		w.f.to = PLACE_FAILED;
		w.f.reason = REASON;
		w.f.keep_log = true;
		put(at("processing/%u/%s", i + 1, name_log(names[i])), "said\n");
		put(at("processing/%u/%s/o", i + 1, name_output(names[i])), "made");
		finish(&w, names[i]);
		cr_expect(holds(at("failed/%s", names[i]), names[i]), "%s", names[i]);
		cr_expect(holds(at("failed/%s.log", names[i]), REASON "\nsaid\n" MARK), "%s", names[i]);
		cr_expect(holds(at("failed/%s.output/o", names[i]), "made"), "%s", names[i]);
		expect_clean(i + 1);
	}
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		cr_expect_eq(tree_purge(t, USER, PLACE_FAILED, names[i]), 0);
	cr_expect_eq(count(at("failed")), 0);
}

Test(tree_final, a_reason_never_touches_an_upload_of_a_similar_name)
{
	struct work w;
	put(at("failed/x.csv.log.new"), "precious");
	put(at("incoming/x.csv"), "canceled");
	memset(&w, 0, sizeof w);
	w.ident = ident_of(at("incoming/x.csv"));
	w.f = (struct tree_finish){.user = USER, .id = 3, .path = "x.csv", .ident = &w.ident,
	                           .from = PLACE_INCOMING, .to = PLACE_FAILED, .reason = REASON};
	finish(&w, "x.csv");
	cr_expect(holds(at("failed/x.csv.log.new"), "precious"));
	cr_expect(holds(at("failed/x.csv.log"), REASON MARK));
	finish(&w, "x.csv");
	cr_expect_eq(count(at("failed")), 3);
}

Test(tree_final, canceled_in_incoming_beside_an_upload_that_looks_like_its_log)
{
	struct work w;
	memset(&w, 0, sizeof w);
	put(at("failed/x.csv.log"), "an upload");
	put(at("incoming/x.csv"), "canceled");
	w.ident = ident_of(at("incoming/x.csv"));
	w.f = (struct tree_finish){.user = USER, .id = 3, .path = "x.csv", .ident = &w.ident,
	                           .from = PLACE_INCOMING, .to = PLACE_FAILED, .reason = REASON};
	finish(&w, "x.3.csv");
	cr_expect(holds(at("failed/x.3.csv.log"), REASON MARK));
	cr_expect(holds(at("failed/x.csv.log"), "an upload"));
	/* Replaced meanwhile: what is there now is another upload. */
	put(at("incoming/y"), "1");
	w.ident.ino += 1000000;
	w.f.path = "y";
	finish(&w, NULL);
	cr_expect(holds(at("incoming/y"), "1"));
}

Test(tree_final, a_name_that_the_index_does_not_know_keeps_the_private_directory)
{
	struct work w;
	put(at("done/x.csv"), "another");
	start_work(&w, 7, "x.csv", "1");
	put(at("processing/7/" NAME_RESULT), "{}");
	w.f.known = "x.csv";
	finish(&w, "x.7.csv");
	cr_expect_eq(count(at("processing/7")), 0, "kept, and empty");
	finish(&w, "x.7.csv");
	cr_expect_eq(count(at("processing/7")), 0);
	w.f.known = "x.7.csv";
	finish(&w, "x.7.csv");
	expect_clean(7);
	/* The same where the handler removed its file. */
	start_work(&w, 8, "y.csv", "1");
	w.f.known = "y.csv";
	cr_assert_eq(unlink(at("processing/8/y.csv")), 0);
	finish(&w, NULL);
	cr_expect(is_there(at("processing/8")));
	cr_expect_eq(tree_drop_job(t, USER, 8, ""), 0);
	expect_clean(8);
}

Test(tree_final, a_cancel_in_incoming_that_was_cut_short_is_made_good)
{
	struct work w;
	memset(&w, 0, sizeof w);
	put(at("processing/3/x.csv"), "canceled");
	put(at("processing/3/.spoold-log.0123456789abcdef"), "half a rea");
	w.ident = ident_of(at("processing/3/x.csv"));
	w.f = (struct tree_finish){.user = USER, .id = 3, .path = "x.csv", .ident = &w.ident,
	                           .from = PLACE_INCOMING, .to = PLACE_FAILED, .reason = REASON};
	finish(&w, "x.csv");
	cr_expect(holds(at("failed/x.csv.log"), REASON MARK));
	cr_expect_eq(count(at("failed")), 2);
	expect_clean(3);
}

Test(tree_final, a_log_whose_file_the_handler_removed_is_purged)
{
	struct work w;
	for (uint64_t id = 7; id < 9; id++) {
		start_work(&w, id, "x.csv", "1");
		w.f.keep_log = true;
		put(at("processing/%" PRIu64 "/log", id), "said\n");
		cr_assert_eq(unlink(at("processing/%" PRIu64 "/x.csv", id)), 0);
		finish(&w, NULL);
	}
	cr_expect(is_there(at("done/x.7.csv.log")));
	struct job job = job_of(&w, JOB_DONE);
	job.place = PLACE_NOWHERE;
	job.id = 7;
	cr_expect_eq(tree_purge_job(t, USER, &job), 0);
	cr_expect(!is_there(at("done/x.7.csv.log")));
	/* The log of an upload that has the name is that one's. */
	put(at("done/x.8.csv"), "another");
	job.id = 8;
	cr_expect_eq(tree_purge_job(t, USER, &job), 0);
	cr_expect(is_there(at("done/x.8.csv.log")));
}

Test(tree_final, an_upload_is_marked_as_unsafe_as_it_is)
{
	put(at("incoming/x.csv"), "1");
	struct file_ident ident = ident_of(at("incoming/x.csv"));
	int fd = tree_open_upload(t, USER, "x.csv");
	cr_assert(fd >= 0);
	cr_expect_eq(tree_is_unsafe(fd, &ident), 0);
	if (tree_mark_unsafe(t, USER, "x.csv", &ident, -EIO) == -EOPNOTSUPP)
		cr_skip_test("no extended attributes here");
	cr_expect_eq(tree_is_unsafe(fd, &ident), -EIO);
	ident.mtime_ns++;
	cr_expect_eq(tree_is_unsafe(fd, &ident), 0, "touched");
	close(fd);
}

Test(tree_final, an_upload_is_marked_as_unrenamed_under_its_name)
{
	put(at("incoming/x.csv"), "1");
	put(at("incoming/z.csv"), "1");
	cr_expect(!tree_is_unrenamed(t, USER, "x.csv"));
	tree_mark_unrenamed(t, USER, "x.csv");
	if (!tree_is_unrenamed(t, USER, "x.csv"))
		cr_skip_test("no extended attributes here");
	cr_expect(!tree_is_unrenamed(t, USER, "z.csv"));
	cr_assert_eq(rename(at("incoming/x.csv"), at("incoming/y.csv")), 0);
	cr_expect(!tree_is_unrenamed(t, USER, "y.csv"), "renamed");
	cr_expect(!tree_is_unrenamed(t, USER, "x.csv"), "not there");
	/* Marked again, it is so under that name. */
	tree_mark_unrenamed(t, USER, "y.csv");
	cr_expect(tree_is_unrenamed(t, USER, "y.csv"));
}

Test(tree_final, an_output_whose_purge_was_cut_short_is_removed)
{
	put(at("done/x.csv"), "1");
	cr_assert_eq(mkdir(at("done/x.csv.output"), 0750), 0, "its mark went last");
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
	cr_expect_eq(count(at("done")), 0);
}

Test(tree_final, paths_are_kept_and_empty_parents_go_with_the_last_file)
{
	struct work w;
	start_work(&w, 1, "2026/07/x.csv", "1");
	finish(&w, "2026/07/x.csv");
	start_work(&w, 2, "2026/y.csv", "2");
	finish(&w, "2026/y.csv");
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "2026/07/x.csv"), 0);
	cr_expect(!is_there(at("done/2026/07")));
	cr_expect(holds(at("done/2026/y.csv"), "2"));
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "2026/07/x.csv"), 0);
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "2026/y.csv"), 0);
	cr_expect_eq(count(at("done")), 0);
}

Test(tree_final, a_file_where_a_directory_is_needed)
{
	struct work w;
	put(at("done/a"), "file");
	start_work(&w, 1, "a/b/x.csv", "1");
	finish(&w, "x.csv");
	/* It is found again where it is. */
	finish(&w, "x.csv");
	struct job job = job_of(&w, JOB_DONE);
	struct tree_found found = {0};
	cr_expect_eq(tree_find(t, USER, &job, &found), 0);
	cr_expect_eq(found.place, PLACE_DONE);
	cr_expect_str_eq(found.final_name, "x.csv");
	free(found.final_name);
	cr_expect_eq(symlink("/tmp", at("done/s")), 0);
	start_work(&w, 2, "s/y.csv", "2");
	finish(&w, "y.csv");
	/* Purging what was below it: gone. */
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "a/b/x.csv"), 0);
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "s/y.csv"), 0);
	cr_expect(holds(at("done/a"), "file"));
	cr_expect(holds(at("done/y.csv"), "2"));
}

Test(tree_final, uploads_named_like_log_and_output_survive_the_purge)
{
	struct work w;
	start_work(&w, 1, "x.csv.log", "an upload");
	finish(&w, "x.csv.log");
	start_work(&w, 2, "x.csv.output/a", "another");
	finish(&w, "x.csv.output/a");
	start_work(&w, 3, "x.csv", "1");
	finish(&w, "x.csv");
	start_work(&w, 4, "x.csv", "2");
	w.f.keep_log = true;
	put(at("processing/4/log"), "said\n");
	put(at("processing/4/output/o"), "made");
	finish(&w, "x.4.csv");
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
	cr_expect(holds(at("done/x.csv.log"), "an upload"));
	cr_expect(holds(at("done/x.csv.output/a"), "another"));
	cr_expect(holds(at("done/x.4.csv.log"), "said\n" MARK));
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.4.csv"), 0);
	cr_expect_eq(count(at("done")), 2);
}

Test(tree_final, an_upload_is_never_put_into_a_kept_output)
{
	struct work w;
	start_work(&w, 1, "x.csv", "1");
	put(at("processing/1/output/sub/o"), "made");
	finish(&w, "x.csv");
	start_work(&w, 2, "x.csv.output/a", "direct");
	finish(&w, "a");
	start_work(&w, 3, "x.csv.output/sub/deep/b", "below");
	finish(&w, "b");
	start_work(&w, 4, "x.csv.output/new/c", "beside");
	finish(&w, "c");
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
	cr_expect(!is_there(at("done/x.csv.output")));
	cr_expect(holds(at("done/a"), "direct"));
	cr_expect(holds(at("done/b"), "below"));
	cr_expect(holds(at("done/c"), "beside"));
}

Test(tree_final, an_upload_cannot_forge_the_marks)
{
	struct work w;
	start_work(&w, 1, "x.csv.output/" TREE_OUTPUT_MARK, "forged");
	finish(&w, "x.csv.output/" TREE_OUTPUT_MARK ".1");
	start_work(&w, 2, "y.csv.output/" TREE_OUTPUT_MARK "/a", "forged");
	finish(&w, "y.csv.output/" TREE_OUTPUT_MARK "/a");
	start_work(&w, 3, "x.csv.log", "forged\n" MARK);
	w.ident.uid = w.ident.gid = 4242;
	finish(&w, "x.csv.log");
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "y.csv"), 0);
	cr_expect(holds(at("done/x.csv.output/" TREE_OUTPUT_MARK ".1"), "forged"));
	cr_expect(holds(at("done/y.csv.output/" TREE_OUTPUT_MARK "/a"), "forged"));
	if (geteuid() == 0)
		cr_expect(holds(at("done/x.csv.log"), "forged\n" MARK));
}

Test(tree_final, a_purge_leaves_directories_of_other_uploads)
{
	put(at("done/a/b"), "1");
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "a"), 0);
	cr_expect(holds(at("done/a/b"), "1"));
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "nowhere/x"), 0);
}

Test(tree_final, a_handler_that_removed_its_input)
{
	struct work w;
	put(at("done/x.csv"), "another job's");
	put(at("done/x.csv.log"), "another upload");
	start_work(&w, 9, "x.csv", "1");
	w.f.keep_log = true;
	put(at("processing/9/log"), "said\n");
	put(at("processing/9/output/o"), "made");
	unlink(at("processing/9/x.csv"));
	finish(&w, NULL);
	cr_expect(holds(at("done/x.csv"), "another job's"));
	cr_expect(holds(at("done/x.csv.log"), "another upload"));
	cr_expect(holds(at("done/x.9.csv.log"), "said\n" MARK));
	cr_expect(holds(at("done/x.9.csv.output/o"), "made"));
	expect_clean(9);
	char log[64] = "";
	size_t n;
	struct job job = job_of(&w, JOB_DONE);
	cr_expect_eq(tree_read_log(t, USER, &job, 0, log, sizeof log - 1, &n), 0);
	cr_expect_str_eq(log, "said\n" MARK);
	finish(&w, NULL);
	cr_expect_eq(count(at("done")), 4);
}

Test(tree_final, a_handler_that_renamed_its_input_has_not_removed_it)
{
	struct work w;
	const char *const names[] = {"x.done", "log", "output"};
	for (unsigned i = 0; i < 3; i++) {
		start_work(&w, i + 1, "x.csv", "1");
		w.f.keep_output = false;
		rmdir(at("processing/%u/output", i + 1));
		cr_assert_eq(rename(at("processing/%u/x.csv", i + 1),
		                    at("processing/%u/%s", i + 1, names[i])), 0);
		finish(&w, "x.csv");
		cr_expect(holds(at("done/x.csv"), "1"), "%s", names[i]);
		expect_clean(i + 1);
		cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
	}
	start_work(&w, 4, "x.csv", "1");
	w.f.keep_output = false;
	rename(at("processing/4/x.csv"), at("processing/4/output/moved"));
	finish(&w, "x.csv");
	cr_expect(holds(at("done/x.csv"), "1"));
	expect_clean(4);
}

Test(tree_final, a_handler_that_replaced_its_input_is_repeated_after_a_crash)
{
	struct work w;
	put(at("done/x.csv"), "old");
	start_work(&w, 9, "x.csv", "1");
	unlink(at("processing/9/x.csv"));
	put(at("processing/9/other"), "spare the inode number");
	put(at("processing/9/x.csv"), "better");
	finish(&w, "x.9.csv");
	cr_expect(holds(at("done/x.9.csv"), "better"));
	finish(&w, "x.9.csv");
	struct job job = job_of(&w, JOB_DONE);
	struct tree_found found = {0};
	cr_expect_eq(tree_find(t, USER, &job, &found), 0);
	cr_expect_eq(found.place, PLACE_DONE);
	cr_expect_str_eq(found.final_name, "x.9.csv");
	free(found.final_name);
}

Test(tree_final, a_handler_that_put_a_symlink_or_a_directory_there)
{
	struct work w;
	put(at("../canary"), "sings");
	start_work(&w, 1, "x.csv", "1");
	w.ident.uid = w.ident.gid = 4242;
	unlink(at("processing/1/x.csv"));
	cr_assert_eq(symlink(at("../canary"), at("processing/1/x.csv")), 0);
	finish(&w, "x.csv");
	expect_clean(1);
	cr_expect(holds(at("../canary"), "sings"));
	cr_expect_neq(ident_of(at("../canary")).uid, 4242);
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
	cr_expect(holds(at("../canary"), "sings"));
	start_work(&w, 2, "y.csv", "1");
	unlink(at("processing/2/y.csv"));
	put(at("processing/2/y.csv/inside"), "kept");
	finish(&w, NULL);
	expect_clean(2);
	cr_expect(holds(at("done/y.2.csv.output/y.csv/inside"), "kept"));
}

Test(tree_final, a_handler_that_makes_anything_of_log_and_output)
{
	struct work w;
	put(at("../canary"), "sings");
	start_work(&w, 1, "x.csv", "1");
	w.f.to = PLACE_FAILED;
	w.f.reason = REASON;
	w.f.keep_log = true;
	rmdir(at("processing/1/output"));
	cr_assert_eq(symlink(tree_root(t), at("processing/1/output")), 0);
	put(at("processing/1/log/inside"), "kept");
	put(at("processing/1/" NAME_CANCEL "/inside"), "ours");
	finish(&w, "x.csv");
	expect_clean(1);
	cr_expect(holds(at("failed/x.csv.log"), REASON MARK));
	cr_expect(holds(at("failed/x.csv.output/log.1/inside"), "kept"));
	cr_expect(is_there(at("failed/x.csv.output/output.1")));
	cr_expect_eq(tree_purge(t, USER, PLACE_FAILED, "x.csv"), 0);
	cr_expect_eq(count(at("failed")), 0);
	/* A log that is another name of a file outside is not written to. */
	start_work(&w, 2, "x.csv", "1");
	w.f.keep_log = true;
	cr_assert_eq(link(at("../canary"), at("processing/2/log")), 0);
	put(at("processing/2/output/" TREE_OUTPUT_MARK "/a"), "odd");
	finish(&w, "x.csv");
	expect_clean(2);
	cr_expect(holds(at("../canary"), "sings"));
	int fd = open(at("done"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_expect(tree_is_our_output(fd, "x.csv.output"));
	close(fd);
}

Test(tree_final, things_of_equal_names_are_gathered_side_by_side)
{
	struct work w;
	start_work(&w, 5, "x.csv", "1");
	put(at("processing/5/output/report.txt"), "1");
	put(at("processing/5/report.txt"), "2");
	finish(&w, "x.csv");
	expect_clean(5);
	cr_expect(holds(at("done/x.csv.output/report.txt"), "1"));
	cr_expect(holds(at("done/x.csv.output/report.5.txt"), "2"));
}

Test(tree_final, what_is_not_kept_is_removed_and_nothing_outside)
{
	struct work w;
	put(at("../canary/bird"), "sings");
	start_work(&w, 1, "x.csv", "1");
	w.f.keep_output = false;
	cr_assert_eq(symlink(at("../canary"), at("processing/1/output/out")), 0);
	cr_assert_eq(symlink(at("../canary"), at("processing/1/out")), 0);
	int fd = open(at("processing/1/output"), O_RDONLY | O_DIRECTORY);
	for (int depth = 0; depth < 3000; depth++) {
		cr_assert_eq(mkdirat(fd, "d", 0700), 0);
		int next = openat(fd, "d", O_RDONLY | O_DIRECTORY);
		close(fd);
		fd = next;
	}
	cr_assert_eq(symlinkat(at("../canary"), fd, "out"), 0);
	close(fd);
	finish(&w, "x.csv");
	expect_clean(1);
	cr_expect_eq(count(at("done")), 1);
	cr_expect(holds(at("../canary/bird"), "sings"));
}

Test(tree_final, a_half_removed_output_is_still_known_as_ours)
{
	struct work w;
	start_work(&w, 1, "x.csv", "1");
	for (char n[] = "a"; n[0] <= 'z'; n[0]++)
		put(at("processing/1/output/file %s", n), "1");
	mkdir(at("processing/1/output/m"), 0700);
	finish(&w, "x.csv");
	cr_expect(is_there(at("done/x.csv.output/" TREE_OUTPUT_MARK)));
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip("cannot mount here\n");
	cr_assert_eq(mount("tmpfs", at("done/x.csv.output/m"), "tmpfs", 0, "size=64k"), 0);
	put(at("done/x.csv.output/m/foreign"), "stays");
	reopen_world();
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), -EXDEV);
	cr_expect(holds(at("done/x.csv.output/m/foreign"), "stays"));
	cr_expect(is_there(at("done/x.csv.output/" TREE_OUTPUT_MARK)));
	cr_assert_eq(umount(at("done/x.csv.output/m")), 0);
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
	cr_expect_eq(count(at("done")), 0);
}

/* Cuts by hand: the steps that an interrupted call had done. */
Test(tree_final, it_is_repeated_after_every_step)
{
	for (unsigned step = 0; step < 6; step++) {
		struct work w;
		char name[16], log[64];
		snprintf(name, sizeof name, "%u.csv", step);
		start_work(&w, step + 1, name, "1");
		w.f.to = PLACE_FAILED;
		w.f.keep_log = true;
		w.f.reason = REASON;
		put(at("processing/%u/log", step + 1), "said\n");
		put(at("processing/%u/output/o", step + 1), "made");
		int priv = tree_open_private(t, USER, step + 1);
		if (step >= 1)
			cr_assert_eq(tree_write_reason(priv, "log", REASON, w.ident.gid), 0);
		if (step >= 2)
			rename(at("processing/%u/%s", step + 1, name), at("failed/%s", name));
		if (step >= 3)
			rename(at("processing/%u/log", step + 1), at("failed/%s.log", name));
		if (step >= 4)
			cr_assert_eq(tree_mark_output(priv, "output", w.ident.gid), 0);
		if (step >= 5)
			rename(at("processing/%u/output", step + 1), at("failed/%s.output", name));
		close(priv);
		finish(&w, name);
		finish(&w, name);
		expect_clean(step + 1);
		snprintf(log, sizeof log, "%s.log", name);
		cr_expect(holds(at("failed/%s", log), REASON "\nsaid\n" MARK), "step %u", step);
		cr_expect(holds(at("failed/%s.output/o", name), "made"), "step %u", step);
		cr_expect_eq(count(at("failed")), 3 * (step + 1), "step %u", step);
	}
}

Test(tree_final, the_owner_is_put_back)
{
	struct work w;
	if (geteuid() != 0)
		cr_skip("needs root\n");
	start_work(&w, 1, "x.csv", "1");
	w.ident.uid = 4242;
	w.ident.gid = 4343;
	finish(&w, "x.csv");
	cr_expect_eq(ident_of(at("done/x.csv")).uid, 4242);
	cr_expect_eq(ident_of(at("done/x.csv")).gid, 4343);
	/* But not of a file that is somewhere else as well. */
	put(at("../canary"), "1");
	start_work(&w, 2, "y.csv", "1");
	w.ident.uid = 4242;
	unlink(at("processing/2/y.csv"));
	cr_assert_eq(link(at("../canary"), at("processing/2/y.csv")), 0);
	finish(&w, "y.csv");
	cr_expect_neq(ident_of(at("../canary")).uid, 4242);
}

Test(tree_final, errors_leave_everything_in_its_place)
{
	struct work w;
	char unset[] = "unset", *name = unset;
	start_work(&w, 1, "x.csv", "1");
	cr_assert_eq(rename(at("done"), at("done.aside")), 0);
	cr_expect_eq(tree_finish(t, &w.f, &name), -ENOENT);
	cr_expect_eq(name, unset);
	cr_expect(holds(at("processing/1/x.csv"), "1"));
	cr_expect_eq(tree_purge(t, USER, PLACE_DONE, "x.csv"), 0);
	cr_assert_eq(rename(at("done.aside"), at("done")), 0);
	w.f.user = "nobody-here";
	cr_expect_lt(tree_finish(t, &w.f, &name), 0);
	cr_expect_eq(name, unset);
	w.f.user = USER;
	finish(&w, "x.csv");
}

/* In a child with a mount of its own: 0, or the line that failed. */
static int fill_and_finish(void)
{
	struct work w;
	char unset[] = "", *name = unset, junk[4096];
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=256k") < 0)
		return 77;
	char root[64];
	bool existed;
	unsigned made;
	snprintf(root, sizeof root, "%s/spool", dir);
	tree_close(t);
	if (tree_init(root, &existed) < 0 || tree_open(root, &t) < 0 ||
	    tree_make_user(t, USER, (uid_t)-1, (gid_t)-1, &made) < 0)
		return __LINE__ & 0x7f;
	start_work(&w, 1, "x.csv", "precious");
	put(at("processing/1/log"), "said\n");
	w.f.to = PLACE_FAILED;
	w.f.keep_log = true;
	w.f.reason = REASON;
	memset(junk, 'j', sizeof junk);
	int fd = open(at("incoming/junk"), O_WRONLY | O_CREAT, 0600);
	while (write(fd, junk, sizeof junk) > 0)
		;
	close(fd);
	if (tree_finish(t, &w.f, &name) != 0 || name == NULL || strcmp(name, "x.csv") != 0)
		return 1;
	if (!holds(at("failed/x.csv"), "precious"))
		return 2;
	if (!is_there(at("failed/x.csv.log")) || is_there(at("processing/1")))
		return 3;
	return count(at("failed")) == 2 ? 0 : 4;
}

Test(tree_final, a_full_disk_loses_the_reason_at_most)
{
	int status;
	if (geteuid() != 0)
		cr_skip("needs root for a small file system\n");
	pid_t child = fork();
	if (child == 0) {
		int r = fill_and_finish();
		_exit(r);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip("cannot mount here\n");
	cr_expect(WIFEXITED(status));
	cr_expect_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
}

/* Promise: every uploaded content is afterwards in exactly one place, and what
 * lay in done is what lies there. */
enum { FINISHES = 400, NAMES = 24 };

struct placed {
	uint64_t ino;
	char name[JOB_PATH_MAX + 1];
	char text[32];
};

static const char *const dice_names[NAMES] = {
	"x", "x.csv", "x.csv.log", "x.csv.output", "x.csv.output/a", "x.csv.output/b/c", "x.csv.log.log",
	"x/y", "x/y/z", "log", "output", "log.new", "x.1.csv", "x.2.csv", "x.csv.1.log", "x.csv.7.output",
	"x.csv.output/" TREE_OUTPUT_MARK, "-", "a\nb", "x.csv.log/x", "\xff", "y.log", "y", "y.output/y",
};

static void finish_one(uint64_t id, struct placed *p)
{
	struct work w;
	char *name = NULL;
	const char *path = dice_names[rand() % NAMES];
	snprintf(p->text, sizeof p->text, "content %" PRIu64, id);
	start_work(&w, id, path, p->text);
	w.f.to = rand() % 2 ? PLACE_DONE : PLACE_FAILED;
	w.f.keep_log = rand() % 2;
	w.f.reason = w.f.to == PLACE_FAILED ? REASON : NULL;
	if (rand() % 2)
		put(at("processing/%" PRIu64 "/%s", id, name_log(name_base(path))), "said\n");
	if (rand() % 2)
		put(at("processing/%" PRIu64 "/%s/o", id, name_output(name_base(path))), "made");
	if (rand() % 4 == 0)
		put(at("processing/%" PRIu64 "/extra", id), "made");
	int r = tree_finish(t, &w.f, &name);
	cr_assert_eq(r, 0, "%s: %s", path, strerror(-r));
	cr_assert_not_null(name);
	expect_clean(id);
	p->ino = w.ident.ino;
	snprintf(p->name, sizeof p->name, "%s/%s", w.f.to == PLACE_DONE ? "done" : "failed", name);
	free(name);
}

static void expect_placed(const struct placed *p)
{
	cr_assert(is_there(at("%s", p->name)), "%s is gone", p->name);
	cr_assert_eq(ident_of(at("%s", p->name)).ino, p->ino, "%s is another file", p->name);
	cr_assert(holds(at("%s", p->name), p->text), "%s was changed", p->name);
}

Test(tree_final, collisions_lose_nothing)
{
	struct placed *all = calloc(FINISHES, sizeof *all);
	srand(20260714);
	for (unsigned i = 0; i < FINISHES; i++) {
		finish_one(i + 1, &all[i]);
		for (unsigned k = 0; k <= i && i % 20 == 0; k++)
			expect_placed(&all[k]);
	}
	/* And each purge takes its own, and none of another. */
	for (unsigned i = 0; i < FINISHES; i++) {
		const char *name = strchr(all[i].name, '/') + 1;
		enum place place = all[i].name[0] == 'd' ? PLACE_DONE : PLACE_FAILED;
		cr_assert_eq(tree_purge(t, USER, place, name), 0, "%s", all[i].name);
		cr_assert(!is_there(at("%s", all[i].name)));
		for (unsigned k = i + 1; k < FINISHES && i % 20 == 0; k++)
			expect_placed(&all[k]);
	}
	cr_expect_eq(count(at("done")) + count(at("failed")), 0, "%u and %u are left",
	             count(at("done")), count(at("failed")));
	free(all);
}

Test(tree_final, an_upload_written_anew_is_not_the_canceled_one)
{
	struct work w;
	start_work(&w, 1, "x.csv", "1");
	/* It was canceled before its turn. */
	cr_assert_eq(unlink(at("processing/1/x.csv")), 0);
	cr_assert_eq(rmdir(at("processing/1/output")), 0);
	cr_assert_eq(rmdir(at("processing/1")), 0);
	put(at("incoming/x.csv"), "old");
	w.ident = ident_of(at("incoming/x.csv"));
	w.f.from = PLACE_INCOMING;
	w.f.to = PLACE_FAILED;
	w.f.reason = REASON;
	int fd = open(at("incoming/x.csv"), O_WRONLY | O_TRUNC | O_CLOEXEC);
	cr_assert_eq(fd_write_all(fd, "newer", 5), 0);
	close(fd);
	finish(&w, NULL);
	cr_expect(holds(at("incoming/x.csv"), "newer"), "the same inode, another upload");
	cr_expect_eq(count(at("failed")), 0);
}
