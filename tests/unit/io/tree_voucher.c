/* Markers and checksums go where their job goes. */
#include "tree_world.h"

TestSuite(tree_voucher, .init = world_begin, .fini = world_end, .timeout = 120);

static char path_x[] = "x.csv", path_ax[] = "a/x.csv", suffix[] = ".sha256";

/* A job whose file and checksum lie in incoming. */
static struct job vouched(uint64_t id, char *path)
{
	char file[300], sum[300];
	snprintf(file, sizeof file, "incoming/%s", path);
	snprintf(sum, sizeof sum, "incoming/%s%s", path, suffix);
	put(file, "upload");
	put(sum, "checksum");
	snprintf(sum, sizeof sum, "%s%s", path, suffix);
	return (struct job){.id = id, .path = path, .ident = ident_of(path),
	                    .voucher = ident_of(sum), .voucher_suffix = suffix};
}

static void claim(const struct job *job)
{
	char *kept;
	cr_assert_eq(tree_claim(t, "alice", job->id, job->path, &job->ident, &kept), 0);
	cr_assert_eq(tree_take_voucher(t, "alice", job, PLACE_INCOMING, job->path), 0);
}

static struct tree_finish finish_of(const struct job *job, enum place from, enum place to)
{
	return (struct tree_finish){.user = "alice", .id = job->id, .path = job->path,
	                            .ident = &job->ident, .from = from, .to = to,
	                            .voucher = &job->voucher, .voucher_suffix = job->voucher_suffix};
}

static void finish(const struct job *job, enum place from, enum place to, const char *name)
{
	struct tree_finish f = finish_of(job, from, to);
	char *got = NULL;
	cr_assert_eq(tree_finish(t, &f, &got), 0);
	cr_assert_str_eq(got, name);
	free(got);
}

Test(tree_voucher, goes_along_to_done)
{
	struct job job = vouched(1, path_x);
	claim(&job);
	cr_assert(there("processing/1/.spoold-voucher.sha256"));
	cr_assert_not(there("incoming/x.csv.sha256"));
	finish(&job, PLACE_PROCESSING, PLACE_DONE, "x.csv");
	cr_assert_str_eq(content("done/x.csv.sha256"), "checksum");
	cr_assert_not(there("processing/1"));
}

Test(tree_voucher, taken_again_after_a_crash_between_the_two)
{
	struct job job = vouched(1, path_x);
	claim(&job);
	claim(&job);
	finish(&job, PLACE_PROCESSING, PLACE_FAILED, "x.csv");
	cr_assert_str_eq(content("failed/x.csv.sha256"), "checksum");
}

Test(tree_voucher, straight_from_incoming)
{
	make_dir("incoming/a");
	struct job job = vouched(3, path_ax);
	finish(&job, PLACE_INCOMING, PLACE_FAILED, "a/x.csv");
	cr_assert_str_eq(content("failed/a/x.csv.sha256"), "checksum");
	cr_assert_not(there("incoming/a/x.csv.sha256"));
}

/* A new upload's checksum is in its place already. */
Test(tree_voucher, another_one_of_the_name_stays)
{
	struct job job = vouched(1, path_x);
	put("incoming/new", "newer");
	cr_assert_eq(rename(at("incoming/new"), at("incoming/x.csv.sha256")), 0);
	claim(&job);
	finish(&job, PLACE_PROCESSING, PLACE_DONE, "x.csv");
	cr_assert_str_eq(content("incoming/x.csv.sha256"), "newer");
	cr_assert_not(there("done/x.csv.sha256"));
}

Test(tree_voucher, one_written_over_stays)
{
	struct job job = vouched(1, path_x);
	put("incoming/x.csv.sha256", "checksum of another length");
	claim(&job);
	cr_assert(there("incoming/x.csv.sha256"));
	finish(&job, PLACE_PROCESSING, PLACE_DONE, "x.csv");
}

Test(tree_voucher, a_list_stays)
{
	struct job job = vouched(1, path_x);
	job.voucher_suffix = NULL;
	claim(&job);
	finish(&job, PLACE_PROCESSING, PLACE_DONE, "x.csv");
	cr_assert(there("incoming/x.csv.sha256"));
}

Test(tree_voucher, the_file_gets_a_name_that_is_free_for_both)
{
	put("done/x.csv.sha256", "an upload of that name");
	struct job job = vouched(7, path_x);
	claim(&job);
	finish(&job, PLACE_PROCESSING, PLACE_DONE, "x.7.csv");
	cr_assert_str_eq(content("done/x.7.csv.sha256"), "checksum");
	cr_assert_str_eq(content("done/x.csv.sha256"), "an upload of that name");
}

/* The file was moved, its checksum was not yet. */
Test(tree_voucher, finish_goes_on_where_it_was_cut_short)
{
	struct job job = vouched(1, path_x);
	claim(&job);
	cr_assert_eq(rename(at("processing/1/x.csv"), at("done/x.csv")), 0);
	finish(&job, PLACE_PROCESSING, PLACE_DONE, "x.csv");
	cr_assert_str_eq(content("done/x.csv.sha256"), "checksum");
	cr_assert_not(there("processing/1"));
}

Test(tree_voucher, comes_back_for_a_retry)
{
	struct job job = vouched(1, path_x);
	claim(&job);
	finish(&job, PLACE_PROCESSING, PLACE_FAILED, "x.csv");
	cr_assert_eq(tree_take_back(t, "alice", &job, PLACE_FAILED, "x.csv"), 0);
	cr_assert_eq(tree_take_voucher(t, "alice", &job, PLACE_FAILED, "x.csv"), 0);
	cr_assert_not(there("failed/x.csv.sha256"));
	finish(&job, PLACE_PROCESSING, PLACE_DONE, "x.csv");
	cr_assert_str_eq(content("done/x.csv.sha256"), "checksum");
}

Test(tree_voucher, is_purged_with_its_job_and_nothing_else_is)
{
	struct job job = vouched(1, path_x);
	claim(&job);
	finish(&job, PLACE_PROCESSING, PLACE_DONE, "x.csv");
	put("done/y.csv", "y");
	put("done/y.csv.sha256", "of y");
	job.place = PLACE_DONE;
	job.state = JOB_DONE;
	cr_assert_eq(tree_purge_job(t, "alice", &job), 0);
	cr_assert_not(there("done/x.csv"));
	cr_assert_not(there("done/x.csv.sha256"));
	cr_assert(there("done/y.csv.sha256"));
}

Test(tree_voucher, one_that_is_not_the_jobs_is_not_purged)
{
	struct job job = vouched(1, path_x);
	claim(&job);
	finish(&job, PLACE_PROCESSING, PLACE_DONE, "x.csv");
	cr_assert_eq(unlink(at("done/x.csv.sha256")), 0);
	put("done/x.csv.sha256", "somebody else's");
	job.place = PLACE_DONE;
	job.state = JOB_DONE;
	cr_assert_eq(tree_purge_job(t, "alice", &job), 0);
	cr_assert_not(there("done/x.csv"));
	cr_assert(there("done/x.csv.sha256"));
}

/* The file vanished: what is left of the job goes to failed. */
Test(tree_voucher, is_never_lost_with_its_directory)
{
	struct job job = vouched(1, path_x);
	claim(&job);
	cr_assert_eq(unlink(at("processing/1/x.csv")), 0);
	cr_assert_eq(tree_drop_job(t, "alice", 1, "x.csv"), 0);
	cr_assert_not(there("processing/1"));
	cr_assert_str_eq(content("failed/x.csv.sha256"), "checksum");
}

static int count_each(void *ctx, uint64_t id, const char *path, const struct file_ident *ident)
{
	(void)ident;
	cr_assert_eq(id, 1);
	cr_assert(path == NULL || strcmp(path, "x.csv") == 0, "%s", path);
	*(bool *)ctx = path != NULL;
	return 0;
}

Test(tree_voucher, is_no_upload_when_directories_are_read_back)
{
	bool has_file = false;
	struct job job = vouched(1, path_x);
	claim(&job);
	cr_assert_eq(tree_each_processing(t, "alice", count_each, &has_file, NULL), 0);
	cr_assert(has_file);
	cr_assert_eq(unlink(at("processing/1/x.csv")), 0);
	cr_assert_eq(tree_each_processing(t, "alice", count_each, &has_file, NULL), 0);
	cr_assert_not(has_file);
}
