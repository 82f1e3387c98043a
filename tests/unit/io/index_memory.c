/* Memory that runs out at every place in turn while the index is asked: the
 * answer is the same, or there is none. */
#include "index_support.h"
#include "memory_out.h"

#include "io/index_json.h"

enum { ENOUGH = 5000 };

static struct place_for_tests place;
static struct index *ix;
static uint32_t alice;

static void add(const char *path, enum job_state state, const char *error)
{
	struct job job = {
		.user = alice, .state = state, .path = strdup(path), .exit_code = 3, .accepted_ms = 1,
		.place = job_state_is_final(state) ? job_final_place(state) : PLACE_INCOMING,
		.attempt = 1, .error = error == NULL ? NULL : strdup(error), .records = 5,
	};
	const struct attempt attempt = {.number = 1, .outcome = OUTCOME_FAILED, .error = job.error};
	cr_assert_eq(index_new_id(ix, &job.id), 0);
	cr_assert_eq(index_new_seq(ix, &job.seq), 0);
	cr_assert_eq(index_put_job(ix, &job), 0);
	cr_assert_eq(index_put_attempt(ix, job.id, &attempt), 0);
	job_clear(&job);
}

static void setup(void)
{
	if (!MEMORY_OUT)
		cr_skip_test("needs its own allocator");
	test_place(&place);
	ix = test_create(place.dir);
	test_begin(ix);
	alice = test_user(ix, "alice");
	for (enum job_state s = 0; s < JOB_STATES; s++) {
		char path[32];
		snprintf(path, sizeof path, "sub/%d.csv", (int)s);
		add(path, s, "exit code 3");
	}
	add("other.csv", JOB_PENDING, NULL);
	cr_assert_eq(index_put_user_held(ix, "alice", true, "why"), 0);
	test_commit(ix);
}

static void teardown(void)
{
	if (ix == NULL)
		return;
	index_close(ix);
	test_place_remove(&place);
}

TestSuite(index_memory, .init = setup, .fini = teardown, .timeout = 240);

/* The questions; each tells its answer as JSON. */
static int ask(unsigned question, json_t **ret)
{
	const struct index_json_filter all = {.any_state = true}, done = {.state = JOB_DONE, .user = "alice"};
	struct user_row row = {0};
	struct job job = {0};
	char *name = NULL;
	int r;
	switch (question) {
	case 0: return index_json_list(ix, &all, ret);
	case 1: return index_json_list(ix, &done, ret);
	case 2:
		r = index_get_user(ix, "alice", &row);
		if (r == 0)
			r = index_json_user(ix, "alice", &row, 10, ret);
		user_row_clear(&row);
		return r;
	case 3:
		r = index_find_path(ix, alice, "sub/0.csv", &job);
		if (r == 0 && (*ret = json_integer((json_int_t)job.id)) == NULL)
			r = -ENOMEM;
		job_clear(&job);
		return r;
	case 4:
		r = index_next_user(ix, NULL, &name, &row);
		if (r == 0 && (*ret = json_string(name)) == NULL)
			r = -ENOMEM;
		user_row_clear(&row);
		free(name);
		return r;
	default:
		return question % 2 == 0 ? index_json_show(ix, question / 2 - 2, ret)
		                         : index_json_explain(ix, question / 2 - 1, 10, ret);
	}
}

enum { QUESTIONS = 21 };

Test(index_memory, an_answer_is_whole_or_there_is_none)
{
	for (unsigned q = 0; q < QUESTIONS; q++) {
		json_t *whole = NULL, *got = NULL;
		int r = -ENOMEM;
		cr_assert_eq(ask(q, &whole), 0, "question %u", q);
		for (long n = 0; n < ENOUGH && r != 0; n++) {
			got = NULL;
			memory_out_after(n);
			r = ask(q, &got);
			memory_is_back();
			cr_assert(r == 0 || r == -ENOMEM, "question %u, %ld: %s", q, n, strerror(-r));
			cr_assert_eq(r == 0, got != NULL, "question %u, %ld", q, n);
		}
		cr_assert_eq(r, 0);
		cr_assert(json_equal(got, whole), "question %u: something is left out", q);
		json_decref(got);
		json_decref(whole);
	}
	test_sound(ix);
}
