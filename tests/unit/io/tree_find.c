/* Promises: a job's file is found wherever a crash left it, what nobody can
 * explain is left alone, and a retry can be repeated. */
#include "tree_final_world.h"

TestSuite(tree_find, .init = begin_world, .fini = end_world, .timeout = 240);

#define MARK TREE_LOG_MARK "\n"

static int take_back(struct tree *tree, const char *user, uint64_t id, const char *path,
                     enum place from, const char *name)
{
	struct job job = {.id = id};
	cr_assert_not_null(job.path = strdup(path));
	int r = tree_take_back(tree, user, &job, from, name);
	job_clear(&job);
	return r;
}

static enum place place_of(const struct job *job, bool *same, char **ret_name)
{
	struct tree_found found = {0};
	cr_assert_eq(tree_find(t, USER, job, &found), 0);
	*same = found.same;
	free(*ret_name);
	*ret_name = found.final_name;
	return found.place;
}

Test(tree_find, a_file_is_found_in_each_place)
{
	struct work w;
	bool same;
	char *name = NULL;
	start_work(&w, 5, "a/x.csv", "1");
	struct job job = job_of(&w, JOB_PROCESSING);
	cr_expect_eq(place_of(&job, &same, &name), PLACE_PROCESSING);
	cr_expect_null(name);
	make_parents(at("incoming/a/x"));
	rename(at("processing/5/x.csv"), at("incoming/a/x.csv"));
	cr_expect_eq(place_of(&job, &same, &name), PLACE_INCOMING);
	cr_expect(same);
	static const struct { const char *at, *name; } finals[] = {
		{"done/a/x.csv", "a/x.csv"},   {"failed/a/x.csv", "a/x.csv"}, {"done/a/x.5.csv", "a/x.5.csv"},
		{"failed/a/x.5.2.csv", "a/x.5.2.csv"}, {"done/x.csv", "x.csv"}, {"failed/x.5.csv", "x.5.csv"},
	};
	const char *was = "incoming/a/x.csv";
	for (unsigned i = 0; i < sizeof finals / sizeof *finals; i++) {
		make_parents(at("%s", finals[i].at));
		cr_assert_eq(rename(at("%s", was), at("%s", finals[i].at)), 0);
		was = finals[i].at;
		cr_expect_eq(place_of(&job, &same, &name),
		             finals[i].at[0] == 'd' ? PLACE_DONE : PLACE_FAILED, "%s", was);
		cr_expect_str_eq(name, finals[i].name);
	}
	unlink(at("%s", was));
	cr_expect_eq(place_of(&job, &same, &name), PLACE_NOWHERE);
}

Test(tree_find, another_file_of_that_name_is_not_it)
{
	struct work w;
	bool same = true;
	char *name = NULL;
	start_work(&w, 5, "x.csv", "1");
	struct job job = job_of(&w, JOB_PENDING);
	put(at("incoming/x.csv"), "a new upload");
	put(at("done/x.csv"), "an old one");
	mkdir(at("failed/x.csv"), 0700);
	rename(at("processing/5/x.csv"), at("failed/x.5.csv"));
	cr_expect_eq(place_of(&job, &same, &name), PLACE_FAILED);
	cr_expect_str_eq(name, "x.5.csv");
	unlink(at("failed/x.5.csv"));
	cr_expect_eq(place_of(&job, &same, &name), PLACE_INCOMING);
	cr_expect(!same);
	free(name);
}

Test(tree_find, a_directory_in_its_private_one_is_not_the_file)
{
	struct work w;
	bool same;
	char *name = NULL;
	start_work(&w, 5, "x.csv", "1");
	unlink(at("processing/5/x.csv"));
	mkdir(at("processing/5/x.csv"), 0700);
	struct job job = job_of(&w, JOB_PROCESSING);
	cr_expect_eq(place_of(&job, &same, &name), PLACE_NOWHERE);
}

Test(tree_find, a_claim_that_was_cut_short_is_told_from_a_run)
{
	struct work w;
	struct tree_found found = {0};
	start_work(&w, 5, "x.csv", "1");
	struct job job = job_of(&w, JOB_QUEUED);
	cr_expect(tree_has_job(t, USER, 5));
	cr_expect(!tree_has_job(t, USER, 6));
	cr_assert_eq(tree_find(t, USER, &job, &found), 0);
	cr_expect(!found.bare, "its output directory was made: it was handed over");
	rmdir(at("processing/5/output"));
	cr_assert_eq(tree_find(t, USER, &job, &found), 0);
	cr_expect(found.bare);
	put(at("processing/5/" NAME_CANCEL), "");
	cr_assert_eq(tree_find(t, USER, &job, &found), 0);
	cr_expect(found.bare, "asked to cancel it is not handed over");
	unlink(at("processing/5/" NAME_CANCEL));
	unlink(at("processing/5/x.csv"));
	put(at("processing/5/log"), "1");
	cr_assert_eq(tree_find(t, USER, &job, &found), 0);
	cr_expect(!found.bare);
}

Test(tree_find, results_are_read_whole_or_refused)
{
	struct work w;
	char *data = NULL;
	size_t n;
	struct tree_found found = {0};
	cr_expect_eq(tree_read_result(t, USER, 5, &data, &n), -ENOENT);
	start_work(&w, 5, "x.csv", "1");
	cr_expect_eq(tree_read_result(t, USER, 5, &data, &n), -ENOENT);
	put(at("processing/5/" NAME_RESULT), "{\"exit\":0}");
	struct job job = job_of(&w, JOB_PROCESSING);
	cr_expect_eq(tree_find(t, USER, &job, &found), 0);
	cr_expect(found.result);
	cr_assert_eq(tree_read_result(t, USER, 5, &data, &n), 0);
	cr_expect_eq(n, 10);
	cr_expect_str_eq(data, "{\"exit\":0}");
	free(data);
	cr_assert_eq(truncate(at("processing/5/" NAME_RESULT), 1 << 20), 0);
	cr_expect_eq(tree_read_result(t, USER, 5, &data, &n), -EFBIG);
	unlink(at("processing/5/" NAME_RESULT));
	cr_assert_eq(symlink("/etc/passwd", at("processing/5/" NAME_RESULT)), 0);
	cr_expect_eq(tree_read_result(t, USER, 5, &data, &n), -EBADMSG);
	unlink(at("processing/5/" NAME_RESULT));
	cr_assert_eq(mkdir(at("processing/5/" NAME_RESULT), 0700), 0);
	cr_expect_eq(tree_read_result(t, USER, 5, &data, &n), -EBADMSG);
	rmdir(at("processing/5/" NAME_RESULT));
	cr_assert_eq(mkfifo(at("processing/5/" NAME_RESULT), 0600), 0);
	cr_expect_eq(tree_read_result(t, USER, 5, &data, &n), -EBADMSG);
}

Test(tree_find, a_worker_is_asked_to_cancel)
{
	struct work w;
	cr_expect_eq(tree_ask_cancel(t, USER, 5), -ENOENT);
	start_work(&w, 5, "x.csv", "1");
	cr_expect_eq(tree_ask_cancel(t, USER, 5), 0);
	cr_expect_eq(tree_ask_cancel(t, USER, 5), 0);
	cr_expect(is_there(at("processing/5/" NAME_CANCEL)));
	cr_expect_eq(count(at("processing/5")), 3);
}

struct seen {
	unsigned n;
	uint64_t id[32];
	char name[32][300];
	int answer;
	uint64_t rename_to;
};

static int see(void *ctx, uint64_t id, const char *path, const struct file_ident *ident)
{
	struct seen *s = ctx;
	s->id[s->n % 32] = id;
	snprintf(s->name[s->n++ % 32], 300, "%s", path == NULL ? "(none)" : path);
	if ((path == NULL) != (ident == NULL))
		s->n += 100;
	if (s->rename_to != 0)
		tree_rename_job(t, USER, id, s->rename_to++);
	return s->answer;
}

static const char *name_seen(const struct seen *s, uint64_t id)
{
	for (unsigned i = 0; i < s->n && i < 32; i++)
		if (s->id[i] == id)
			return s->name[i];
	return "(not seen)";
}

Test(tree_find, junk_in_processing_does_not_end_the_walk)
{
	struct work w;
	struct seen s = {0};
	start_work(&w, 12, "x.csv", "1");
	start_work(&w, UINT64_MAX, "y.csv", "1");
	mkdir(at("processing/13"), 0700);
	static const char *const junk[] = {"0", "007", "+5", "-1", "5x", "x5", "18446744073709551616",
	                                   "99999999999999999999999", " 5", "\n", "\xff", "lost"};
	for (unsigned i = 0; i < sizeof junk / sizeof *junk; i++)
		mkdir(at("processing/%s", junk[i]), 0700);
	put(at("processing/5"), "a file with a number");
	cr_assert_eq(symlink("12", at("processing/6")), 0);
	cr_assert_eq(mkfifo(at("processing/7"), 0600), 0);
	cr_expect_eq(tree_each_processing(t, USER, see, &s, NULL), 0);
	cr_expect_eq(s.n, 3);
	cr_expect_str_eq(name_seen(&s, 12), "x.csv");
	cr_expect_str_eq(name_seen(&s, 13), "(none)");
	cr_expect_str_eq(name_seen(&s, UINT64_MAX), "y.csv");
	cr_expect(holds(at("processing/5"), "a file with a number"));
	s = (struct seen){.answer = -ENOENT};
	cr_expect_eq(tree_each_processing(t, USER, see, &s, NULL), -ENOENT);
	cr_expect_eq(s.n, 1);
	s = (struct seen){.answer = 3};
	cr_expect_eq(tree_each_processing(t, USER, see, &s, NULL), 3);
	cr_expect_eq(tree_each_processing(t, "nobody-here", see, &s, NULL), -ENOENT);
}

struct beside {
	unsigned n, removed;
	uint64_t job; /* of the last that was removed */
	char path[300]; /* the last other one */
	int answer;
};

static int see_beside(void *ctx, const char *path, uint64_t job)
{
	struct beside *b = ctx;
	b->n++;
	b->removed += job != 0;
	if (job != 0)
		b->job = job;
	else
		snprintf(b->path, sizeof b->path, "%s", path);
	return b->answer;
}

static bool has_beside(void)
{
	struct seen s = {0};
	bool beside = false;
	cr_expect_eq(tree_each_processing(t, USER, see, &s, &beside), 0);
	return beside;
}

Test(tree_find, what_is_beside_the_jobs_in_processing_is_told)
{
	struct work w;
	struct beside b = {0};
	start_work(&w, 12, "x.csv", "1");
	mkdir(at("processing/13"), 0700);
	cr_expect_eq(tree_each_beside_jobs(t, USER, see_beside, &b), 0);
	cr_expect_eq(b.n, 0);
	cr_expect_not(has_beside());
	put(at("processing/18"), "a file with a number");
	cr_expect(has_beside());
	cr_assert_eq(unlink(at("processing/18")), 0);
	mkdir(at("processing/.removed.14"), 0700);
	cr_expect_eq(tree_each_beside_jobs(t, USER, see_beside, &b), 0);
	cr_expect(b.n == 1 && b.removed == 1 && b.job == 14);
	cr_expect(has_beside());
	static const char *const strange[] = {"0", "x5", ".removed.", ".removed.0", ".removed.x", "5 "};
	for (unsigned i = 0; i < sizeof strange / sizeof *strange; i++)
		mkdir(at("processing/%s", strange[i]), 0700);
	put(at("processing/.removed.15"), "a file");
	put(at("processing/16"), "a file with a number");
	cr_assert_eq(symlink("12", at("processing/17")), 0);
	b = (struct beside){0};
	cr_expect_eq(tree_each_beside_jobs(t, USER, see_beside, &b), 0);
	cr_expect_eq(b.n, 1 + 6 + 3, "%u", b.n);
	cr_expect_eq(b.removed, 1);
	cr_expect(is_there(b.path), "%s", b.path);
	b = (struct beside){.answer = -ESTALE};
	cr_expect_eq(tree_each_beside_jobs(t, USER, see_beside, &b), -ESTALE);
	cr_expect_eq(b.n, 1);
	cr_expect_eq(tree_each_beside_jobs(t, "nobody-here", see_beside, &b), -ENOENT);
}

Test(tree_find, renaming_on_the_way_shows_nothing_twice)
{
	struct work w;
	for (uint64_t id = 1; id <= 20; id++)
		start_work(&w, id, "x.csv", "1");
	struct seen s = {.rename_to = 1000};
	cr_expect_eq(tree_each_processing(t, USER, see, &s, NULL), 0);
	cr_expect_eq(s.n, 20);
	cr_expect_eq(count(at("processing")), 20);
	for (unsigned i = 0; i < 20; i++)
		cr_expect_leq(s.id[i], 20);
}

/* An upload as the claim moves it: older than the directory it lies in. */
static void claim_by_hand(uint64_t id, const char *name)
{
	put(at("incoming/%s", name), "upload");
	usleep(20000); /* one tick of the clock that stamps files */
	mkdir(at("processing/%" PRIu64, id), 0700);
	usleep(20000);
	cr_assert_eq(rename(at("incoming/%s", name), at("processing/%" PRIu64 "/%s", id, name)), 0);
}

Test(tree_find, the_upload_is_told_from_what_is_ours_and_the_handlers)
{
	static const char *const names[] = {"x.csv", "log", "output", "log.spoold", "output.spoold",
	                                    "-", "a\nb", "\xff", "log.new"};
	struct seen s = {0};
	for (unsigned i = 0; i < 2 * sizeof names / sizeof *names; i++) {
		const char *name = names[i / 2];
		claim_by_hand(i + 1, name);
		if (i % 2 == 0)
			continue;
		put(at("processing/%u/%s", i + 1, name_log(name)), "said\n");
		put(at("processing/%u/%s/o", i + 1, name_output(name)), "made");
		put(at("processing/%u/a scratch file", i + 1), "made");
		put(at("processing/%u/zzz", i + 1), "made");
		put(at("processing/%u/" NAME_RESULT, i + 1), "{}");
	}
	cr_expect_eq(tree_each_processing(t, USER, see, &s, NULL), 0);
	for (unsigned i = 0; i < 2 * sizeof names / sizeof *names; i++)
		cr_expect_str_eq(name_seen(&s, i + 1), names[i / 2], "%u: %s", i, name_seen(&s, i + 1));
}

Test(tree_find, a_drop_removes_only_what_is_ours)
{
	struct work w;
	static const char *const names[] = {"x.csv", "log", "output", "log.spoold", "output.spoold"};
	cr_expect_eq(tree_drop_job(t, USER, 99, "x"), 0);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t id = i + 1;
		start_work(&w, id, names[i], "upload");
		put(at("processing/%" PRIu64 "/" NAME_RESULT, id), "{}");
		put(at("processing/%" PRIu64 "/%s", id, name_log(names[i])), "said\n");
		/* By its name and by none: an upload stays, and so does the rest. */
		cr_expect_eq(tree_drop_job(t, USER, id, names[i]), -ENOTEMPTY, "%s", names[i]);
		cr_expect_eq(tree_drop_job(t, USER, id, ""), -ENOTEMPTY, "%s", names[i]);
		cr_expect(holds(at("processing/%" PRIu64 "/%s", id, names[i]), "upload"), "%s", names[i]);
		cr_expect_eq(count(at("processing/%" PRIu64, id)), 4);
		unlink(at("processing/%" PRIu64 "/%s", id, names[i]));
		cr_expect_eq(tree_drop_job(t, USER, id, names[i]), 0, "%s", names[i]);
		expect_clean(id);
	}
	/* Alone, before its worker came. */
	for (unsigned i = 0; i < 5; i++) {
		claim_by_hand(10 + i, names[i]);
		cr_expect_eq(tree_drop_job(t, USER, 10 + i, ""), -ENOTEMPTY);
		cr_expect(holds(at("processing/%u/%s", 10 + i, names[i]), "upload"), "%s", names[i]);
	}
}

Test(tree_find, a_drop_leaves_strangers)
{
	struct work w;
	start_work(&w, 1, "x.csv", "1");
	unlink(at("processing/1/x.csv"));
	put(at("processing/1/scratch"), "1");
	put(at("processing/1/" NAME_RESULT), "{}");
	cr_expect_eq(tree_drop_job(t, USER, 1, "x.csv"), -ENOTEMPTY);
	cr_expect(holds(at("processing/1/" NAME_RESULT), "{}"));
	unlink(at("processing/1/scratch"));
	put(at("processing/1/output/o"), "made");
	cr_expect_eq(tree_drop_job(t, USER, 1, "x.csv"), -ENOTEMPTY);
	cr_expect(holds(at("processing/1/output/o"), "made"));
	cr_expect(holds(at("processing/1/" NAME_RESULT), "{}"));
	unlink(at("processing/1/output/o"));
	put(at("processing/1/log"), "said\n" MARK);
	cr_expect_eq(tree_drop_job(t, USER, 1, ""), 0);
	expect_clean(1);
	cr_assert_eq(mkdir(at("processing/2"), 0700), 0);
	cr_expect_eq(tree_drop_job(t, USER, 2, "a/x"), 0);
	expect_clean(2);
}

Test(tree_find, a_job_gets_its_new_number_once)
{
	struct work w;
	start_work(&w, 1, "x.csv", "1");
	start_work(&w, 2, "y.csv", "2");
	cr_expect_eq(tree_rename_job(t, USER, 1, 2), -EEXIST);
	cr_expect_eq(tree_rename_job(t, USER, 3, 4), -ENOENT);
	cr_expect_eq(tree_rename_job(t, USER, 1, 5), 0);
	cr_expect(holds(at("processing/5/x.csv"), "1"));
	cr_expect(holds(at("processing/2/y.csv"), "2"));
}

Test(tree_find, logs_are_read_where_they_are)
{
	struct work w;
	char out[64] = "";
	size_t n = 99;
	start_work(&w, 1, "log", "upload");
	struct job job = job_of(&w, JOB_PROCESSING);
	cr_expect_eq(tree_read_log(t, USER, &job, 0, out, sizeof out, &n), -ENOENT);
	cr_expect_eq(n, 99);
	put(at("processing/1/log.spoold"), "0123456789\n");
	cr_expect_eq(tree_read_log(t, USER, &job, 4, out, 3, &n), 0);
	cr_expect_eq(n, 3);
	cr_expect_arr_eq(out, "456", 3);
	cr_expect_eq(tree_read_log(t, USER, &job, 11, out, sizeof out, &n), 0);
	cr_expect_eq(n, 0);
	cr_expect_lt(tree_read_log(t, USER, &job, UINT64_MAX, out, sizeof out, &n), 0);
	put(at("done/log.log"), "an upload");
	w.f.keep_log = true;
	finish(&w, "log.1");
	job.state = JOB_DONE;
	job.final_name = (char *)(uintptr_t)"log.1";
	cr_expect_eq(tree_read_log(t, USER, &job, 0, out, 10, &n), 0);
	cr_expect_arr_eq(out, "0123456789", 10);
	job.id = 2;
	job.final_name = NULL;
	cr_expect_eq(tree_read_log(t, USER, &job, 0, out, sizeof out, &n), -ENOENT);
	job.final_name = (char *)(uintptr_t)"log.1/below";
	cr_expect_eq(tree_read_log(t, USER, &job, 0, out, sizeof out, &n), -ENOENT,
	             "a file is in the way");
}

Test(tree_find, a_retry_takes_file_log_and_output_back_and_again)
{
	struct work w;
	put(at("failed/a/x.csv"), "an earlier one");
	start_work(&w, 1, "a/x.csv", "1");
	w.f.to = PLACE_FAILED;
	w.f.keep_log = true;
	put(at("processing/1/log"), "said\n");
	put(at("processing/1/output/o"), "made");
	finish(&w, "a/x.1.csv");
	unlink(at("failed/a/x.csv"));
	for (unsigned i = 0; i < 2; i++) {
		cr_expect_eq(take_back(t, USER, 1, "a/x.csv", PLACE_FAILED, "a/x.1.csv"), 0);
		cr_expect(holds(at("processing/1/x.csv"), "1"));
		cr_expect(holds(at("processing/1/log"), "said\n" MARK));
		cr_expect_eq(count(at("processing/1/output")), 1);
		cr_expect_eq(count(at("failed")), 0);
	}
	finish(&w, "a/x.csv");
	cr_expect(holds(at("failed/a/x.csv.log"), "said\n" MARK));
	cr_expect(holds(at("failed/a/x.csv.output/o"), "made"));
}

Test(tree_find, a_retry_is_repeated_after_every_step)
{
	for (unsigned step = 0; step < 4; step++) {
		struct work w;
		start_work(&w, step + 1, "x.csv", "1");
		w.f.to = PLACE_FAILED;
		w.f.keep_log = true;
		put(at("processing/%u/log", step + 1), "said\n");
		put(at("processing/%u/output/o", step + 1), "made");
		finish(&w, "x.csv");
		if (step >= 1)
			mkdir(at("processing/%u", step + 1), 0700);
		if (step >= 2)
			rename(at("failed/x.csv"), at("processing/%u/x.csv", step + 1));
		if (step >= 3)
			rename(at("failed/x.csv.log"), at("processing/%u/log", step + 1));
		cr_expect_eq(take_back(t, USER, step + 1, "x.csv", PLACE_FAILED, "x.csv"), 0);
		cr_expect(holds(at("processing/%u/x.csv", step + 1), "1"));
		cr_expect(holds(at("processing/%u/log", step + 1), "said\n" MARK));
		cr_expect(holds(at("processing/%u/output/o", step + 1), "made"));
		cr_expect_eq(count(at("failed")), 0);
	}
}

Test(tree_find, a_repeated_retry_leaves_another_jobs_file)
{
	struct work w;
	start_work(&w, 1, "x.csv", "1");
	put(at("failed/x.csv"), "another job's");
	put(at("failed/x.csv.log"), "its log\n" MARK);
	cr_expect_eq(take_back(t, USER, 1, "x.csv", PLACE_FAILED, "x.csv"), 0);
	cr_expect(holds(at("processing/1/x.csv"), "1"));
	cr_expect(holds(at("failed/x.csv"), "another job's"));
	cr_expect(holds(at("failed/x.csv.log"), "its log\n" MARK));
}

Test(tree_find, a_retry_that_cannot_be_leaves_no_directory)
{
	cr_expect_eq(take_back(t, USER, 1, "x.csv", PLACE_FAILED, "x.csv"), -ENOENT);
	expect_clean(1);
	cr_expect_eq(take_back(t, USER, 1, "a/x.csv", PLACE_FAILED, "a/x.csv"), -ENOENT);
	expect_clean(1);
	put(at("failed/x.csv/y"), "1");
	cr_expect_eq(take_back(t, USER, 1, "x.csv", PLACE_FAILED, "x.csv"), -ENOENT);
	expect_clean(1);
	cr_expect(holds(at("failed/x.csv/y"), "1"));
	put(at("failed/z"), "1");
	put(at("failed/z.log"), "an upload");
	cr_expect_eq(take_back(t, USER, 2, "z", PLACE_FAILED, "z"), 0);
	cr_expect(holds(at("failed/z.log"), "an upload"));
	cr_expect_lt(take_back(t, "nobody-here", 1, "x", PLACE_FAILED, "x"), 0);
}

Test(tree_find, a_reason_is_written_once)
{
	int fd = open(at("failed"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_expect_eq(tree_write_reason(fd, "x.log", "Because.\n", getegid()), 0);
	cr_expect_eq(tree_write_reason(fd, "x.log", "Because.\n", getegid()), 0);
	cr_expect(holds(at("failed/x.log"), "Because.\n" MARK));
	cr_expect_eq(tree_write_reason(fd, "x.log", "Then again.\n", getegid()), 0);
	cr_expect(holds(at("failed/x.log"), "Then again.\n\nBecause.\n" MARK));
	cr_assert_eq(symlink("x.log", at("failed/y.log")), 0);
	cr_expect_eq(tree_write_reason(fd, "y.log", "Because.\n", getegid()), -ELOOP);
	cr_expect_eq(count(at("failed")), 2);
	close(fd);
}
