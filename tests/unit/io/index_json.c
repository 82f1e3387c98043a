#include "io/index_json.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/spoold-index-json-XXXXXX";
static struct index *ix;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void setup(void)
{
	char path[64];
	const struct index_options options = {.create = true, .relaxed = true};
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/index", dir);
	cr_assert_eq(index_open(path, &options, &ix), 0);
}

static void teardown(void)
{
	index_close(ix);
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(index_json, .init = setup, .fini = teardown);

/* What a test says about a job; the rest follows from its state. */
struct plan {
	const char *user, *name;
	enum job_state state;
	uint64_t finished_ms, not_before_ms;
	bool yields;
};

static uint64_t put(struct plan plan)
{
	struct user_row row;
	struct job job = {
		.state = plan.state,
		.place = job_state_is_final(plan.state)    ? job_final_place(plan.state)
		         : job_state_is_active(plan.state) ? PLACE_PROCESSING
		                                           : PLACE_INCOMING,
		.accepted_ms = 1000,
		.claimed_ms = 2000,
		.started_ms = 3000,
		.finished_ms = plan.finished_ms,
		.not_before_ms = plan.not_before_ms,
		.yields = plan.yields,
		.exit_code = EXIT_CODE_NONE,
		.records = RECORDS_NONE,
		.path = strdup(plan.name),
	};
	cr_assert_eq(index_begin(ix), 0);
	cr_assert_eq(index_add_user(ix, plan.user, &row), 0);
	job.user = row.number;
	cr_assert_eq(index_new_id(ix, &job.id), 0);
	cr_assert_eq(index_new_seq(ix, &job.seq), 0);
	job.accepted_ms += job.seq;
	job.ident.ino = job.id;
	cr_assert_eq(index_put_job(ix, &job), 0);
	cr_assert_eq(index_commit(ix), 0);
	uint64_t id = job.id;
	job_clear(&job);
	user_row_clear(&row);
	return id;
}

/* The names of an answer's jobs, each followed by a space; drops the answer. */
static void names(json_t *answer, char *out, size_t size)
{
	size_t i, used = strlen(out);
	json_t *job;
	json_array_foreach(json_object_get(answer, "jobs"), i, job)
		used += (size_t)snprintf(out + used, size - used, "%s ",
		                         json_string_value(json_object_get(job, "name")));
}

static void check_list(struct index_json_filter filter, const char *expected)
{
	char got[1024] = "";
	json_t *answer = NULL;
	cr_assert_eq(index_json_list(ix, &filter, &answer), 0);
	names(answer, got, sizeof got);
	cr_assert_str_eq(got, expected);
	json_decref(answer);
}

/* The same list, asked for in pages. */
static void check_pages(struct index_json_filter filter, size_t page, const char *expected)
{
	char got[1024] = "";
	char *after = NULL;
	filter.limit = page;
	for (int pages = 0; pages < 100; pages++) {
		json_t *answer = NULL;
		filter.after = after;
		cr_assert_eq(index_json_list(ix, &filter, &answer), 0);
		cr_assert_leq(json_array_size(json_object_get(answer, "jobs")), page);
		names(answer, got, sizeof got);
		const char *next = json_string_value(json_object_get(answer, "next"));
		free(after);
		after = next == NULL ? NULL : strdup(next);
		json_decref(answer);
		if (after == NULL)
			break;
	}
	cr_assert_null(after, "it comes to an end");
	cr_assert_str_eq(got, expected, "in pages of %zu", page);
}

static const struct index_json_filter everything = {.any_state = true};

static void put_household(void)
{
	put((struct plan){.user = "bob", .name = "b1", .state = JOB_PENDING});
	put((struct plan){.user = "alice", .name = "a1", .state = JOB_DONE, .finished_ms = 50});
	put((struct plan){.user = "alice", .name = "a2", .state = JOB_FAILED, .finished_ms = 70});
	put((struct plan){.user = "alice", .name = "a3", .state = JOB_PENDING,
	                  .not_before_ms = 99, .yields = true});
	put((struct plan){.user = "alice", .name = "a4", .state = JOB_PENDING});
	put((struct plan){.user = "alice", .name = "a5", .state = JOB_PENDING});
	put((struct plan){.user = "alice", .name = "a6", .state = JOB_PROCESSING});
	put((struct plan){.user = "bob", .name = "b2", .state = JOB_DONE, .finished_ms = 60});
	put((struct plan){.user = "bob", .name = "b3", .state = JOB_QUEUED});
	put((struct plan){.user = "bob", .name = "b4", .state = JOB_HELD});
	put((struct plan){.user = "alice", .name = "a7", .state = JOB_HELD});
	put((struct plan){.user = "bob", .name = "b5", .state = JOB_CANCELED, .finished_ms = 60});
	put((struct plan){.user = "bob", .name = "b6", .state = JOB_PENDING});
}

static const char household[] = "b3 a6 a4 a5 a3 b1 b6 a7 b4 a2 b5 b2 a1 ";

Test(index_json, empty_index_lists_nothing)
{
	json_t *answer = NULL;
	cr_assert_eq(index_json_list(ix, &everything, &answer), 0);
	cr_assert_eq(json_array_size(json_object_get(answer, "jobs")), 0);
	cr_assert_eq(json_integer_value(json_object_get(answer, "more")), 0);
	cr_assert(json_is_null(json_object_get(answer, "next")));
	json_decref(answer);
}

Test(index_json, list_has_one_order)
{
	put_household();
	check_list(everything, household);
}

Test(index_json, list_of_one_user)
{
	put_household();
	check_list((struct index_json_filter){.user = "alice", .any_state = true},
	           "a6 a4 a5 a3 a7 a2 a1 ");
	check_list((struct index_json_filter){.user = "bob", .any_state = true}, "b3 b1 b6 b4 b5 b2 ");
}

Test(index_json, list_of_one_state)
{
	put_household();
	check_list((struct index_json_filter){.state = JOB_PENDING}, "a4 a5 a3 b1 b6 ");
	check_list((struct index_json_filter){.state = JOB_QUEUED}, "b3 ");
	check_list((struct index_json_filter){.state = JOB_HELD}, "a7 b4 ");
	check_list((struct index_json_filter){.state = JOB_DONE}, "b2 a1 ");
	check_list((struct index_json_filter){.user = "bob", .state = JOB_FAILED}, "");
}

Test(index_json, pages_join_to_the_whole_list)
{
	put_household();
	for (size_t page = 1; page <= 14; page++)
		check_pages(everything, page, household);
	check_pages((struct index_json_filter){.user = "alice", .any_state = true}, 1,
	            "a6 a4 a5 a3 a7 a2 a1 ");
	check_pages((struct index_json_filter){.state = JOB_PENDING}, 2, "a4 a5 a3 b1 b6 ");
}

Test(index_json, a_page_goes_on_behind_a_job_that_is_gone)
{
	put_household();
	struct index_json_filter filter = {.state = JOB_PENDING, .limit = 1, .after = "line 5 0 alice"};
	struct job job;
	cr_assert_eq(index_get_job(ix, 5, &job), 0);
	job_step(&job, JOB_EV_CLAIM);
	cr_assert_eq(index_begin(ix), 0);
	cr_assert_eq(index_put_job(ix, &job), 0);
	cr_assert_eq(index_commit(ix), 0);
	job_clear(&job);
	check_list(filter, "a5 ");
}

Test(index_json, limit_tells_how_many_more)
{
	put_household();
	struct index_json_filter filter = {.any_state = true, .limit = 4};
	json_t *answer = NULL;
	cr_assert_eq(index_json_list(ix, &filter, &answer), 0);
	cr_assert_eq(json_array_size(json_object_get(answer, "jobs")), 4);
	cr_assert_eq(json_integer_value(json_object_get(answer, "more")), 9);
	json_decref(answer);

	filter.user = "bob";
	filter.limit = 6;
	cr_assert_eq(index_json_list(ix, &filter, &answer), 0);
	cr_assert_eq(json_integer_value(json_object_get(answer, "more")), 0);
	cr_assert(json_is_null(json_object_get(answer, "next")));
	json_decref(answer);
}

Test(index_json, list_refuses_what_is_no_position)
{
	static const char *const wrong[] = {"", "nonsense", "line", "line 1", "line 1 2", "line 1 2 ",
	                                    "moon 1 2 alice", "line x 2 alice", "line 1 2 a\\xZZ",
	                                    "active 99999999999 1 alice"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct index_json_filter filter = {.any_state = true, .after = wrong[i]};
		json_t *answer = NULL;
		cr_assert_eq(index_json_list(ix, &filter, &answer), -EINVAL, "\"%s\"", wrong[i]);
		cr_assert_null(answer);
	}
}

Test(index_json, list_of_a_stranger)
{
	struct index_json_filter filter = {.user = "nobody", .any_state = true};
	json_t *answer = NULL;
	cr_assert_eq(index_json_list(ix, &filter, &answer), -ENOENT);
	cr_assert_null(answer);
}

Test(index_json, an_answer_is_bounded)
{
	for (int i = 0; i < INDEX_JSON_LIMIT_MAX + 5; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%d", i);
		put((struct plan){.user = "alice", .name = name,
		                  .state = i % 2 == 0 ? JOB_PENDING : JOB_DONE,
		                  .finished_ms = (uint64_t)i});
	}
	struct index_json_filter filter = {.any_state = true, .limit = 0};
	json_t *answer = NULL;
	cr_assert_eq(index_json_list(ix, &filter, &answer), 0);
	cr_assert_eq(json_array_size(json_object_get(answer, "jobs")), INDEX_JSON_LIMIT_MAX);
	cr_assert_eq(json_integer_value(json_object_get(answer, "more")), 5);
	json_decref(answer);
}

Test(index_json, show_has_the_attempts)
{
	uint64_t id = put((struct plan){.user = "alice", .name = "a1", .state = JOB_PENDING});
	cr_assert_eq(index_begin(ix), 0);
	for (uint32_t n = 1; n <= 2; n++) {
		struct attempt attempt = {.number = n, .outcome = OUTCOME_FAILED, .exit_code = 1,
		                          .records = RECORDS_NONE};
		cr_assert_eq(index_put_attempt(ix, id, &attempt), 0);
	}
	cr_assert_eq(index_commit(ix), 0);
	json_t *o = NULL;
	cr_assert_eq(index_json_show(ix, id, &o), 0);
	cr_assert_str_eq(json_string_value(json_object_get(o, "user")), "alice");
	json_t *attempts = json_object_get(o, "attempts");
	cr_assert_eq(json_array_size(attempts), 2);
	cr_assert_eq(json_integer_value(json_object_get(json_array_get(attempts, 1), "number")), 2);
	json_decref(o);
	o = NULL;
	cr_assert_eq(index_json_show(ix, id + 1, &o), -ENOENT);
	cr_assert_null(o);
}

static json_t *status_of(const char *user, uint64_t now_ms)
{
	struct user_row row;
	json_t *o = NULL;
	cr_assert_eq(index_get_user(ix, user, &row), 0);
	cr_assert_eq(index_json_user(ix, user, &row, now_ms, &o), 0);
	user_row_clear(&row);
	return o;
}

Test(index_json, status_counts_and_finds_the_oldest)
{
	put_household();
	json_t *o = status_of("alice", 11004);
	cr_assert_eq(json_integer_value(json_object_get(o, "pending")), 3);
	cr_assert_eq(json_integer_value(json_object_get(o, "done")), 1);
	cr_assert_eq(json_integer_value(json_object_get(o, "held_jobs")), 1);
	/* a3 waits aside for its retry, but it came before the head of the line */
	cr_assert_float_eq(json_number_value(json_object_get(o, "oldest_pending_seconds")), 10, 1e-9);
	const json_t *running = json_object_get(o, "running");
	cr_assert_eq(json_array_size(running), 1);
	cr_assert_str_eq(json_string_value(json_object_get(json_array_get(running, 0), "name")), "a6");
	json_decref(o);
}

Test(index_json, status_without_jobs)
{
	put((struct plan){.user = "alice", .name = "a1", .state = JOB_DONE, .finished_ms = 5});
	json_t *o = status_of("alice", 10000);
	cr_assert(json_is_null(json_object_get(o, "oldest_pending_seconds")));
	cr_assert_eq(json_array_size(json_object_get(o, "running")), 0);
	json_decref(o);
}

static void check_because(uint64_t id, const char *state, const char *because)
{
	json_t *o = NULL;
	cr_assert_eq(index_json_explain(ix, id, 10000, &o), 0);
	cr_assert_eq(json_integer_value(json_object_get(o, "job")), (json_int_t)id);
	cr_assert_str_eq(json_string_value(json_object_get(o, "state")), state);
	cr_assert_str_eq(json_string_value(json_object_get(o, "because")), because);
	json_decref(o);
}

Test(index_json, explain_tells_the_place_in_the_line)
{
	uint64_t first = put((struct plan){.user = "alice", .name = "a1", .state = JOB_PENDING});
	uint64_t second = put((struct plan){.user = "alice", .name = "a2", .state = JOB_PENDING});
	uint64_t third = put((struct plan){.user = "alice", .name = "a3", .state = JOB_PENDING});
	put((struct plan){.user = "bob", .name = "b1", .state = JOB_PENDING});
	check_because(first, "pending", "it is the next of alice's line");
	check_because(second, "pending", "1 job of alice is ahead of it");
	check_because(third, "pending", "2 jobs of alice are ahead of it");
	cr_assert_eq(index_begin(ix), 0);
	cr_assert_eq(index_put_user_held(ix, "alice", true, "job 7 failed"), 0);
	cr_assert_eq(index_commit(ix), 0);
	check_because(second, "pending", "the line of alice is held: job 7 failed");
}

Test(index_json, explain_of_every_state_says_something)
{
	for (int s = 0; s < JOB_STATES; s++) {
		uint64_t id = put((struct plan){
			.user = "alice", .name = "a", .state = (enum job_state)s, .finished_ms = 1});
		json_t *o = NULL;
		cr_assert_eq(index_json_explain(ix, id, 10000, &o), 0);
		cr_assert_gt(strlen(json_string_value(json_object_get(o, "because"))), 5);
		json_decref(o);
	}
}
