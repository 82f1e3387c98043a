/* Promises: a directory that is one job goes the ways of a file as a whole, is told from
 * every other directory, and is removed in portions, itself last. */
#include "tree_world.h"

TestSuite(tree_whole, .init = world_begin, .fini = world_end, .timeout = 120);

static char path_run[] = "run";

/* What a walk would have found; here any digest does. */
static struct job whole(uint64_t id)
{
	make_dir("incoming/run");
	make_dir("incoming/run/deep");
	put("incoming/run/a", "a");
	put("incoming/run/deep/b", "b");
	struct job job = {.id = id, .path = path_run, .ident = ident_of("run"), .place = PLACE_INCOMING};
	job.ident.whole = 99;
	job.ident.size = 2;
	return job;
}

static int claim(const struct job *job)
{
	char *kept = NULL;
	int r = tree_claim(t, "alice", job->id, job->path, &job->ident, &kept);
	free(kept);
	return r;
}

static void finish(const struct job *job, enum place to, const char *name)
{
	struct tree_finish f = {.user = "alice", .id = job->id, .path = job->path,
	                        .ident = &job->ident, .from = PLACE_PROCESSING, .to = to,
	                        .keep_output = true};
	char *got = NULL;
	cr_assert_eq(tree_finish(t, &f, &got), 0);
	cr_assert_str_eq(got, name);
	free(got);
}

static enum place found_in(const struct job *job)
{
	struct tree_found found = {0};
	cr_assert_eq(tree_find(t, "alice", job, &found), 0);
	free(found.final_name);
	return found.place;
}

Test(tree_whole, goes_to_done_and_back_and_to_failed)
{
	struct job job = whole(1);
	cr_expect_eq(found_in(&job), PLACE_INCOMING);
	cr_assert_eq(claim(&job), 0);
	cr_expect_eq(claim(&job), 0, "once more, after a crash");
	cr_expect_eq(found_in(&job), PLACE_PROCESSING);
	put("processing/1/run/by-handler", "new");
	finish(&job, PLACE_DONE, "run");
	cr_expect_str_eq(content("done/run/deep/b"), "b");
	cr_expect_str_eq(content("done/run/by-handler"), "new");
	cr_expect_not(there("processing/1"));
	cr_expect_eq(found_in(&job), PLACE_DONE);
	cr_assert_eq(tree_take_back(t, "alice", &job, PLACE_DONE, "run"), 0);
	cr_expect_eq(tree_take_back(t, "alice", &job, PLACE_DONE, "run"), 0);
	cr_expect_eq(found_in(&job), PLACE_PROCESSING);
	finish(&job, PLACE_FAILED, "run");
	cr_expect_eq(found_in(&job), PLACE_FAILED);
}

Test(tree_whole, another_directory_is_not_taken_for_it)
{
	struct job job = whole(1);
	cr_assert_eq(rename(at("incoming/run"), at("incoming/away")), 0);
	make_dir("incoming/run");
	cr_expect_eq(claim(&job), -ESTALE);
	cr_expect(there("incoming/run"));
	cr_assert_eq(rmdir(at("incoming/run")), 0);
	put("incoming/run", "a file");
	cr_expect_eq(claim(&job), -ESTALE);
	cr_assert_eq(unlink(at("incoming/run")), 0);
	cr_expect_eq(claim(&job), -ENOENT);
	cr_assert_eq(rename(at("incoming/away"), at("incoming/run")), 0);
	put("incoming/run/more", "names in it changed");
	cr_expect_eq(claim(&job), -ESTALE);
	cr_expect_not(there("processing/1"));
}

Test(tree_whole, is_no_upload_of_a_job_that_was_a_file)
{
	struct job job = whole(1);
	job.ident.whole = 0;
	cr_expect_eq(claim(&job), -ESTALE);
	cr_expect(there("incoming/run/deep/b"));
}

Test(tree_whole, goes_back_where_it_came_from)
{
	char *kept = NULL;
	struct job job = whole(1);
	cr_assert_eq(claim(&job), 0);
	cr_assert_eq(tree_put_back(t, "alice", 1, path_run, &kept), 0);
	cr_expect_null(kept);
	cr_expect_str_eq(content("incoming/run/deep/b"), "b");
	cr_expect_eq(tree_put_back(t, "alice", 1, path_run, &kept), -ENOENT);
	cr_assert_eq(claim(&job), 0);
	put("incoming/run", "has its name by now");
	cr_assert_eq(tree_put_back(t, "alice", 1, path_run, &kept), 0);
	cr_assert_str_eq(kept, "run");
	cr_expect_str_eq(content("failed/run/deep/b"), "b");
	cr_expect(there("failed/run.log"));
	cr_expect_str_eq(content("incoming/run"), "has its name by now");
	cr_expect_eq(found_in(&job), PLACE_INCOMING, "it is the job's no more");
	free(kept);
}

Test(tree_whole, nothing_of_others_is_put_into_it)
{
	struct job job = whole(1);
	cr_assert_eq(claim(&job), 0);
	finish(&job, PLACE_DONE, "run");
	make_dir("incoming/run");
	put("incoming/run/late", "late");
	char late[] = "run/late";
	struct job file = {.id = 2, .path = late, .ident = ident_of("run/late")};
	cr_assert_eq(claim(&file), 0);
	finish(&file, PLACE_DONE, "late");
	cr_expect_not(there("done/run/late"));
}

Test(tree_whole, is_removed_in_portions_and_nowhere_from_the_first_on)
{
	char name[64];
	int r, calls = 0;
	struct job job = whole(1);
	for (int i = 0; i < 3 * TREE_PURGE_SLICE; i++) {
		snprintf(name, sizeof name, "incoming/run/deep/%d", i);
		put(name, "");
	}
	cr_assert_eq(symlink("/etc", at("incoming/run/deep/link")), 0);
	job.place = PLACE_INCOMING;
	cr_assert_eq(claim(&job), 0);
	finish(&job, PLACE_DONE, "run");
	job.place = PLACE_DONE;
	job.state = JOB_DONE;
	/* Made before, or it might get the same inode number. */
	make_dir("done/another");
	while ((r = tree_purge_job(t, "alice", &job)) == -EAGAIN) {
		cr_assert_eq(found_in(&job), PLACE_NOWHERE);
		cr_assert_not(there("done/run"));
		cr_assert(there("processing/.removed.1"));
		calls++;
	}
	cr_expect_eq(r, 0);
	cr_expect_geq(calls, 3);
	cr_expect_not(there("processing/.removed.1"));
	cr_expect_eq(tree_purge_job(t, "alice", &job), 0);
	cr_assert_eq(rename(at("done/another"), at("done/run")), 0);
	cr_expect_eq(tree_purge_job(t, "alice", &job), 0);
	cr_expect(there("done/run"), "another one of its name stays");
}

Test(tree_whole, of_a_lost_index_is_found_in_processing)
{
	struct job job = whole(1);
	if (geteuid() == 0)
		cr_assert_eq(chown(at("incoming/run"), UPLOADER, UPLOADER), 0);
	cr_assert_eq(claim(&job), 0);
	fd_close(tree_open_job(t, "alice", 1, path_run, &job.ident));
	cr_assert_eq(tree_drop_job(t, "alice", 1, ""), -ENOTEMPTY, "never removed");
	cr_expect_str_eq(content("processing/1/run/deep/b"), "b");
}
