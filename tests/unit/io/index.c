/* What each function of the index answers, in success and in failure. */
#include "io/index_support.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "io/index_private.h"

static struct place_for_tests place;

static void setup(void)
{
	test_place(&place);
}

static void teardown(void)
{
	test_place_remove(&place);
}

TestSuite(index, .init = setup, .fini = teardown);

static void path_in(char out[200], const char *name)
{
	snprintf(out, 200, "%s/%s", place.dir, name);
}

static bool exists(const char *name)
{
	char path[200];
	path_in(path, name);
	return access(path, F_OK) == 0;
}

static uint64_t head_of(struct index *ix, uint32_t user)
{
	struct job job;
	int r = index_next_in_line(ix, user, 0, &job);
	if (r == -ENOENT)
		return 0;
	cr_assert_eq(r, 0);
	uint64_t id = job.id;
	job_clear(&job);
	return id;
}

static uint64_t counted(struct index *ix, const char *name, enum job_state state)
{
	struct user_row row;
	cr_assert_eq(index_get_user(ix, name, &row), 0);
	uint64_t n = row.count[state];
	user_row_clear(&row);
	return n;
}

static void put(struct index *ix, const struct job *job)
{
	test_begin(ix);
	cr_assert_eq(index_put_job(ix, job), 0);
	test_commit(ix);
}

Test(index, is_made_only_when_asked)
{
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), -ENOENT);
	cr_assert_eq(test_try(place.dir, (struct index_options){.read_only = true}), -ENOENT);
	cr_assert_eq(test_try(place.dir, (struct index_options){.create = true, .read_only = true}),
	             -ENOENT);
	cr_assert_eq(test_try(place.dir, (struct index_options){.create = true}), 0);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), 0);
	cr_assert_not(exists("data.mdb.new"));
}

Test(index, is_made_in_an_empty_directory_and_over_a_half_made_one)
{
	char path[200];
	cr_assert_eq(mkdir(place.dir, 0700), 0);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), -ENOENT);
	path_in(path, "data.mdb.new");
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	cr_assert_eq(write(fd, "half", 4), 4);
	close(fd);
	cr_assert_eq(test_try(place.dir, (struct index_options){.create = true}), 0);
}

Test(index, an_empty_data_file_is_damage_not_a_new_index)
{
	char path[200];
	cr_assert_eq(mkdir(place.dir, 0700), 0);
	path_in(path, "data.mdb");
	close(open(path, O_WRONLY | O_CREAT, 0600));
	cr_assert_eq(test_try(place.dir, (struct index_options){.create = true}), -EBADMSG);
}

Test(index, belongs_to_one_spool)
{
	index_close(test_create(place.dir));
	cr_assert_eq(test_try(place.dir, (struct index_options){.spool_id = 78}), -ESTALE);
	cr_assert_eq(test_try(place.dir, (struct index_options){.spool_id = 78, .read_only = true}),
	             -ESTALE);
	cr_assert_eq(test_try(place.dir, (struct index_options){.spool_id = TEST_SPOOL_ID}), 0);
	cr_assert_eq(test_try(place.dir, (struct index_options){.spool_id = 0}), 0);
}

Test(index, refuses_a_newer_schema)
{
	struct index *ix = test_create(place.dir);
	test_begin(ix);
	cr_assert_eq(ix_put_number(ix, "schema", SCHEMA + 1), 0);
	test_commit(ix);
	index_close(ix);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), -EPROTONOSUPPORT);
	char path[200];
	path_in(path, "clean");
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), -EPROTONOSUPPORT);
	cr_assert_eq(test_try(place.dir, (struct index_options){.read_only = true}), -EPROTONOSUPPORT);
}

Test(index, has_one_writer)
{
	struct index *ix = test_create(place.dir);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), -EBUSY);
	pid_t pid = fork();
	if (pid == 0)
		_exit(-test_try(place.dir, (struct index_options){0}));
	int status;
	waitpid(pid, &status, 0);
	cr_assert_eq(WEXITSTATUS(status), EBUSY);
	index_close(ix);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), 0);
}

Test(index, its_descriptors_do_not_leak_into_handlers)
{
	struct index *ix = test_create(place.dir);
	for (int fd = 3; fd < 256; fd++) {
		char link[300] = "", path[40];
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (readlink(path, link, sizeof link - 1) > 0 && strstr(link, place.dir) != NULL)
			cr_assert((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "%s", link);
	}
	index_close(ix);
}

Test(index, network_file_systems_are_known)
{
	cr_assert(ix_dir_is_remote(0x6969));
	cr_assert(ix_dir_is_remote(0xff534d42));
	cr_assert(ix_dir_is_remote(0x65735546));
	cr_assert(ix_dir_is_remote(0x01021997));
	cr_assert_not(ix_dir_is_remote(0xef53));
	cr_assert_not(ix_dir_is_remote(0x01021994));
	cr_assert_not(ix_dir_is_remote(0x794c7630));
	cr_assert_not(ix_dir_is_remote(0x58465342));
	cr_assert_not(ix_dir_is_remote(0x9123683e));
}

Test(index, is_set_aside_under_a_free_name)
{
	char *first, *second, wanted[200], slashed[200];
	index_close(test_create(place.dir));
	snprintf(slashed, sizeof slashed, "%s//", place.dir);
	cr_assert_eq(index_set_aside(slashed, 1234, &first), 0);
	snprintf(wanted, sizeof wanted, "%s.damaged-1234", place.dir);
	cr_assert_str_eq(first, wanted);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), -ENOENT);
	index_close(test_create(place.dir));
	cr_assert_eq(index_set_aside(place.dir, 1234, &second), 0);
	snprintf(wanted, sizeof wanted, "%s.damaged-1234.1", place.dir);
	cr_assert_str_eq(second, wanted);
	cr_assert_eq(test_try(first, (struct index_options){0}), 0);
	cr_assert_eq(index_set_aside(place.dir, 1234, &second), -ENOENT);
	free(first);
	free(second);
}

Test(index, users_have_numbers_for_ever)
{
	struct index *ix = test_create(place.dir);
	struct user_row row = {.number = 99};
	char *name;
	cr_assert_eq(index_get_user(ix, "alice", &row), -ENOENT);
	cr_assert_eq(row.number, 99, "untouched on failure");
	test_begin(ix);
	uint32_t bob = test_user(ix, "bob"), alice = test_user(ix, "alice");
	cr_assert_eq(bob, 1);
	cr_assert_eq(alice, 2);
	cr_assert_eq(test_user(ix, "bob"), bob);
	test_commit(ix);
	cr_assert_eq(index_user_name(ix, alice, &name), 0);
	cr_assert_str_eq(name, "alice");
	free(name);
	cr_assert_eq(index_user_name(ix, 3, &name), -ENOENT);
	cr_assert_eq(index_next_user(ix, NULL, &name, &row), 0);
	cr_assert_str_eq(name, "alice");
	free(name);
	cr_assert_eq(index_next_user(ix, "alice", &name, &row), 0);
	cr_assert_str_eq(name, "bob");
	cr_assert_eq(row.number, bob);
	free(name);
	cr_assert_eq(index_next_user(ix, "bob", &name, &row), -ENOENT);
	test_sound(ix);
	index_close(ix);
}

Test(index, user_names_have_a_length)
{
	struct index *ix = test_create(place.dir);
	struct user_row row;
	char *next, name[NAME_USER_MAX + 2];
	memset(name, 'u', sizeof name);
	name[NAME_USER_MAX + 1] = '\0';
	test_begin(ix);
	cr_assert_eq(index_add_user(ix, "", &row), -EINVAL);
	cr_assert_eq(index_add_user(ix, name, &row), -EINVAL);
	cr_assert_eq(index_get_user(ix, name, &row), -ENOENT);
	cr_assert_eq(index_next_user(ix, name, &next, &row), -EINVAL);
	name[NAME_USER_MAX] = '\0';
	cr_assert_eq(test_user(ix, name), 1);
	test_commit(ix);
	index_close(ix);
}

Test(index, a_held_user_stays_held)
{
	struct index *ix = test_create(place.dir);
	struct user_row row;
	test_begin(ix);
	test_user(ix, "alice");
	cr_assert_eq(index_put_user_held(ix, "nobody", true, "x"), -ENOENT);
	cr_assert_eq(index_put_user_held(ix, "alice", true, "disk is being moved"), 0);
	test_commit(ix);
	index_close(ix);
	ix = test_open(place.dir, (struct index_options){0});
	cr_assert_eq(index_get_user(ix, "alice", &row), 0);
	cr_assert(row.held);
	cr_assert_str_eq(row.held_reason, "disk is being moved");
	user_row_clear(&row);
	test_begin(ix);
	cr_assert_eq(index_put_user_held(ix, "alice", false, "ignored"), 0);
	test_commit(ix);
	cr_assert_eq(index_get_user(ix, "alice", &row), 0);
	cr_assert_not(row.held);
	cr_assert_null(row.held_reason);
	index_close(ix);
}

Test(index, a_job_comes_back_whole)
{
	struct index *ix = test_create(place.dir);
	char path[] = "2026/r\xff\n.csv", error[] = "no";
	struct job back;
	test_begin(ix);
	struct job job = test_job(ix, test_user(ix, "alice"), path);
	job.ident = (struct file_ident){1, 2, 3, -4, -5, 6, 7, 0};
	job.error = error;
	cr_assert_eq(index_put_job(ix, &job), 0);
	test_commit(ix);
	index_close(ix);
	ix = test_open(place.dir, (struct index_options){.spool_id = TEST_SPOOL_ID});
	cr_assert_eq(index_get_job(ix, job.id, &back), 0);
	cr_assert_str_eq(back.path, path);
	cr_assert_str_eq(back.error, "no");
	cr_assert_eq(back.ident.ctime_ns, -4);
	cr_assert_eq(back.records, RECORDS_NONE);
	job_clear(&back);
	cr_assert_eq(index_get_job(ix, job.id + 1, &back), -ENOENT);
	index_close(ix);
}

Test(index, refuses_what_cannot_be)
{
	struct index *ix = test_create(place.dir);
	char path[] = "a", other_path[] = "b";
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice"), bob = test_user(ix, "bob");
	struct job job = test_job(ix, alice, path), bad = job;
	bad.user = 9;
	bad.id = 100;
	cr_assert_eq(index_put_job(ix, &bad), -ENOENT, "an unknown user");
	bad = job;
	bad.user = bob;
	cr_assert_eq(index_put_job(ix, &bad), -EINVAL, "a job never changes its user");
	bad = job;
	bad.seq = 0;
	cr_assert_eq(index_put_job(ix, &bad), -EINVAL);
	bad = job;
	bad.path = NULL;
	cr_assert_eq(index_put_job(ix, &bad), -EINVAL);
	struct job second = test_job(ix, alice, other_path);
	second.seq = job.seq;
	cr_assert_eq(index_put_job(ix, &second), -EEXIST, "two jobs at one place");
	cr_assert_eq(index_remove_job(ix, job.id), -EINVAL, "it is not final");
	cr_assert_eq(index_remove_job(ix, 12345), -ENOENT);
	struct attempt attempt = {.number = 1};
	cr_assert_eq(index_put_attempt(ix, 12345, &attempt), -ENOENT);
	attempt.number = 0;
	cr_assert_eq(index_put_attempt(ix, job.id, &attempt), -EINVAL);
	test_commit(ix);
	test_sound(ix);
	cr_assert_eq(head_of(ix, alice), job.id, "a refusal changes nothing");
	index_close(ix);
}

Test(index, a_job_is_in_the_tables_of_its_state)
{
	struct index *ix = test_create(place.dir);
	char path[] = "a";
	struct job found;
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice");
	struct job job = test_job(ix, alice, path);
	test_commit(ix);
	cr_assert_eq(head_of(ix, alice), job.id);

	job_step(&job, JOB_EV_HOLD);
	put(ix, &job);
	cr_assert_eq(head_of(ix, alice), 0);
	cr_assert_eq(index_next_held(ix, alice, 0, &found), 0);
	job_clear(&found);
	cr_assert_eq(index_next_held(ix, alice, job.id, &found), -ENOENT);
	cr_assert_eq(counted(ix, "alice", JOB_HELD), 1);
	cr_assert_eq(counted(ix, "alice", JOB_PENDING), 0);

	job_step(&job, JOB_EV_RELEASE);
	put(ix, &job);
	job_step(&job, JOB_EV_CLAIM);
	put(ix, &job);
	cr_assert_eq(index_next_active(ix, alice, 0, 0, &found), 0);
	job_clear(&found);
	job_step(&job, JOB_EV_STARTED);
	put(ix, &job);
	cr_assert_eq(index_next_active(ix, 0, 0, 0, &found), 0);
	cr_assert_eq(found.state, JOB_PROCESSING);
	job_clear(&found);
	cr_assert_eq(index_next_active(ix, 0, alice, job.id, &found), -ENOENT);
	cr_assert_eq(counted(ix, "alice", JOB_QUEUED), 0);
	cr_assert_eq(counted(ix, "alice", JOB_PROCESSING), 1);

	job_step(&job, JOB_EV_RETRY);
	job.not_before_ms = 5000;
	job.yields = true;
	put(ix, &job);
	cr_assert_eq(head_of(ix, alice), 0, "others go ahead");
	cr_assert_eq(index_next_delayed(ix, alice, 0, 0, &found), 0);
	job_clear(&found);
	cr_assert_eq(index_next_delayed(ix, alice, 5000, job.id, &found), -ENOENT);
	job.yields = false;
	put(ix, &job);
	cr_assert_eq(head_of(ix, alice), job.id, "it keeps its place");

	job_step(&job, JOB_EV_CANCEL);
	job.finished_ms = 9000;
	put(ix, &job);
	cr_assert_eq(index_next_final(ix, alice, JOB_CANCELED, 0, 0, &found), 0);
	job_clear(&found);
	cr_assert_eq(index_next_final(ix, alice, JOB_DONE, 0, 0, &found), -ENOENT);
	cr_assert_eq(index_prev_final(ix, alice, JOB_CANCELED, 9000, job.id, &found), -ENOENT);
	test_sound(ix);
	index_close(ix);
}

Test(index, the_line_is_in_order_and_a_retry_keeps_its_place)
{
	struct index *ix = test_create(place.dir);
	char names[5][16];
	struct job jobs[5], found;
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice"), bob = test_user(ix, "bob");
	for (int i = 0; i < 5; i++) {
		snprintf(names[i], sizeof names[i], "%d", i);
		jobs[i] = test_job(ix, i == 3 ? bob : alice, names[i]);
	}
	job_step(&jobs[0], JOB_EV_CLAIM);
	cr_assert_eq(index_put_job(ix, &jobs[0]), 0);
	cr_assert_eq(head_of(ix, alice), jobs[1].id, "seen within the transaction");
	job_step(&jobs[0], JOB_EV_RETRY);
	cr_assert_eq(index_put_job(ix, &jobs[0]), 0);
	test_commit(ix);
	const int order[] = {0, 1, 2, 4};
	uint64_t seq = 0;
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(index_next_in_line(ix, alice, seq, &found), 0);
		cr_assert_eq(found.id, jobs[order[i]].id);
		seq = found.seq;
		job_clear(&found);
	}
	cr_assert_eq(index_next_in_line(ix, alice, seq, &found), -ENOENT, "bob's is not alice's");
	index_close(ix);
}

Test(index, final_jobs_are_walked_both_ways)
{
	struct index *ix = test_create(place.dir);
	const uint64_t finished[] = {300, 100, 200, 200}; /* oldest first: 1 2 3 0 */
	const int order[] = {1, 2, 3, 0};
	char path[] = "same";
	struct job jobs[4], found;
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice");
	for (int i = 0; i < 4; i++) {
		jobs[i] = test_job(ix, alice, path);
		job_step(&jobs[i], JOB_EV_CANCEL);
		jobs[i].finished_ms = finished[i];
		cr_assert_eq(index_put_job(ix, &jobs[i]), 0);
	}
	test_user(ix, "bob");
	test_commit(ix);
	uint64_t ms = 0, id = 0;
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(index_next_final(ix, alice, JOB_CANCELED, ms, id, &found), 0);
		cr_assert_eq(found.id, jobs[order[i]].id);
		ms = found.finished_ms;
		id = found.id;
		job_clear(&found);
	}
	cr_assert_eq(index_next_final(ix, alice, JOB_CANCELED, ms, id, &found), -ENOENT);
	ms = id = UINT64_MAX;
	for (int i = 3; i >= 0; i--) {
		cr_assert_eq(index_prev_final(ix, alice, JOB_CANCELED, ms, id, &found), 0);
		cr_assert_eq(found.id, jobs[order[i]].id);
		ms = found.finished_ms;
		id = found.id;
		job_clear(&found);
	}
	cr_assert_eq(index_prev_final(ix, alice, JOB_CANCELED, ms, id, &found), -ENOENT);
	index_close(ix);
}

Test(index, a_path_finds_its_live_job_or_else_the_last)
{
	struct index *ix = test_create(place.dir);
	char path[] = "same", other[] = "other";
	struct job jobs[3], found;
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice"), bob = test_user(ix, "bob");
	for (int i = 0; i < 3; i++) {
		jobs[i] = test_job(ix, alice, path);
		job_step(&jobs[i], JOB_EV_CANCEL);
		cr_assert_eq(index_put_job(ix, &jobs[i]), 0);
	}
	test_job(ix, alice, other);
	cr_assert_eq(index_find_path(ix, alice, path, &found), 0);
	cr_assert_eq(found.id, jobs[2].id);
	job_clear(&found);
	job_step(&jobs[0], JOB_EV_REQUEUE);
	cr_assert_eq(index_new_seq(ix, &jobs[0].seq), 0);
	cr_assert_eq(index_put_job(ix, &jobs[0]), 0);
	test_commit(ix);
	cr_assert_eq(index_find_path(ix, alice, path, &found), 0);
	cr_assert_eq(found.id, jobs[0].id);
	job_clear(&found);
	cr_assert_eq(index_find_path(ix, bob, path, &found), -ENOENT);
	cr_assert_eq(index_find_path(ix, alice, "none", &found), -ENOENT);
	/* Those that ended, newest first, past the one that lives. */
	uint64_t before_id = UINT64_MAX;
	for (int i = 2; i > 0; i--) {
		cr_assert_eq(index_prev_ended(ix, alice, path, before_id, &found), 0);
		cr_assert_eq(found.id, jobs[i].id);
		before_id = found.id;
		job_clear(&found);
	}
	cr_assert_eq(index_prev_ended(ix, alice, path, before_id, &found), -ENOENT);
	cr_assert_eq(index_prev_ended(ix, bob, path, UINT64_MAX, &found), -ENOENT);
	/* And those that live. */
	cr_assert_eq(index_prev_live(ix, alice, path, UINT64_MAX, &found), 0);
	cr_assert_eq(found.id, jobs[0].id);
	job_clear(&found);
	cr_assert_eq(index_prev_live(ix, alice, path, jobs[0].id, &found), -ENOENT);
	cr_assert_eq(index_prev_live(ix, bob, path, UINT64_MAX, &found), -ENOENT);
	test_sound(ix);
	index_close(ix);
}

/* Two paths of one hash cannot be had; two under one key can. */
Test(index, paths_of_one_hash_are_told_apart)
{
	struct index *ix = test_create(place.dir);
	char path[] = "mine", other[] = "theirs";
	struct job found;
	struct key key = {0};
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice");
	struct job job = test_job(ix, alice, path), last = test_job(ix, alice, other);
	struct key value = {0};
	key_u32(&key, alice);
	key_u64(&key, record_path_hash(path));
	key_u8(&value, 1);
	key_u64(&value, last.id);
	cr_assert_eq(ix_put(ix, TABLE_PATHS, &key, key_val(&value), 0), 0);
	test_commit(ix);
	cr_assert_eq(index_find_path(ix, alice, path, &found), 0);
	cr_assert_eq(found.id, job.id);
	job_clear(&found);
	index_close(ix);
}

Test(index, removing_forgets_a_job_and_its_attempts)
{
	struct index *ix = test_create(place.dir);
	char path[] = "a", other[] = "b";
	struct job found;
	struct attempt attempt = {.number = 1, .outcome = OUTCOME_FAILED};
	struct index_totals totals;
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice");
	struct job job = test_job(ix, alice, path), kept = test_job(ix, alice, other);
	for (uint32_t n = 1; n <= 3; n++) {
		attempt.number = n;
		cr_assert_eq(index_put_attempt(ix, job.id, &attempt), 0);
		cr_assert_eq(index_put_attempt(ix, kept.id, &attempt), 0);
	}
	job_step(&job, JOB_EV_CANCEL);
	cr_assert_eq(index_put_job(ix, &job), 0);
	test_commit(ix);
	cr_assert_eq(index_totals(ix, &totals), 0);
	cr_assert_eq(totals.jobs, 2);
	cr_assert_gt(totals.bytes_used, 0);
	cr_assert_geq(totals.bytes_map, totals.bytes_used);
	test_begin(ix);
	cr_assert_eq(index_remove_job(ix, job.id), 0);
	test_commit(ix);
	cr_assert_eq(index_get_job(ix, job.id, &found), -ENOENT);
	cr_assert_eq(index_find_path(ix, alice, path, &found), -ENOENT);
	cr_assert_eq(index_next_final(ix, alice, JOB_CANCELED, 0, 0, &found), -ENOENT);
	cr_assert_eq(index_next_attempt(ix, job.id, 0, &attempt), -ENOENT);
	cr_assert_eq(index_next_attempt(ix, kept.id, 0, &attempt), 0);
	cr_assert_eq(counted(ix, "alice", JOB_CANCELED), 0);
	test_begin(ix);
	uint64_t id;
	cr_assert_eq(index_new_id(ix, &id), 0);
	cr_assert_gt(id, kept.id, "an id is never used again");
	test_commit(ix);
	test_sound(ix);
	index_close(ix);
}

Test(index, attempts_are_walked_and_replaced)
{
	struct index *ix = test_create(place.dir);
	char path[] = "a", message[] = "half";
	struct attempt found;
	test_begin(ix);
	struct job job = test_job(ix, test_user(ix, "alice"), path);
	for (uint32_t n = 3; n >= 1; n--) {
		struct attempt a = {.number = n, .started_ms = n};
		cr_assert_eq(index_put_attempt(ix, job.id, &a), 0);
	}
	struct attempt again = {.number = 2, .outcome = OUTCOME_TIMED_OUT, .message = message};
	cr_assert_eq(index_put_attempt(ix, job.id, &again), 0);
	test_commit(ix);
	for (uint32_t n = 0; n < 3; n++) {
		cr_assert_eq(index_next_attempt(ix, job.id, n, &found), 0);
		cr_assert_eq(found.number, n + 1);
		cr_assert_eq(found.outcome, n == 1 ? OUTCOME_TIMED_OUT : OUTCOME_NONE);
		attempt_clear(&found);
	}
	cr_assert_eq(index_next_attempt(ix, job.id, 3, &found), -ENOENT);
	index_close(ix);
}

Test(index, users_with_pending_jobs_are_found)
{
	struct index *ix = test_create(place.dir);
	char path[] = "a", *name;
	struct user_row row;
	test_begin(ix);
	test_user(ix, "alice");
	struct job job = test_job(ix, test_user(ix, "carol"), path);
	test_job(ix, test_user(ix, "bob"), path);
	test_commit(ix);
	cr_assert_eq(index_next_user_pending(ix, NULL, &name, &row), 0);
	cr_assert_str_eq(name, "bob");
	free(name);
	cr_assert_eq(index_next_user_pending(ix, "bob", &name, &row), 0);
	cr_assert_str_eq(name, "carol");
	cr_assert_eq(row.count[JOB_PENDING], 1);
	free(name);
	job_step(&job, JOB_EV_CLAIM);
	put(ix, &job);
	cr_assert_eq(index_next_user_pending(ix, "bob", &name, &row), -ENOENT);
	test_sound(ix);
	index_close(ix);
}

/* What an older version wrote: without the sum of bytes. */
static void write_old_row(struct index *ix, const char *name, const struct user_row *row)
{
	unsigned char record[7 + 8 * JOB_STATES + 2] = {'U', 1, (unsigned char)row->number};
	struct key key = {0};
	for (int s = 0; s < JOB_STATES; s++)
		record[7 + 8 * s] = (unsigned char)row->count[s];
	record[sizeof record - 2] = record[sizeof record - 1] = 0xff;
	key_name(&key, name);
	cr_assert_eq(ix_put(ix, TABLE_USERS, &key, ix_val(record, sizeof record), 0), 0);
}

Test(index, bytes_that_an_older_version_did_not_count_are_counted_when_the_user_is_met)
{
	struct index *ix = test_create(place.dir);
	char path[] = "a";
	struct user_row row;
	test_begin(ix);
	uint32_t user = test_user(ix, "alice");
	for (unsigned n = 0; n < 5; n++) {
		struct job job = test_job(ix, user, path);
		job.ident.size = UINT64_C(1) << n;
		job.yields = n == 3;
		job.not_before_ms = n == 3 ? 99 : 0;
		job.state = n == 2 ? JOB_HELD : n == 4 ? JOB_DONE : JOB_PENDING;
		cr_assert_eq(index_put_job(ix, &job), 0);
	}
	cr_assert_eq(index_get_user(ix, "alice", &row), 0);
	cr_assert_eq(row.waiting_bytes, 1 + 2 + 4 + 8);
	write_old_row(ix, "alice", &row);
	test_commit(ix);
	test_sound(ix);
	cr_assert_eq(index_get_user(ix, "alice", &row), 0);
	cr_assert_not(row.bytes_known);
	test_begin(ix);
	cr_assert_eq(index_add_user(ix, "alice", &row), 0);
	cr_assert(row.bytes_known);
	cr_assert_eq(row.waiting_bytes, 1 + 2 + 4 + 8);
	cr_assert_eq(row.count[JOB_PENDING], 3);
	test_commit(ix);
	test_sound(ix);
	index_close(ix);
}

Test(index, abort_leaves_nothing)
{
	struct index *ix = test_create(place.dir);
	char path[] = "a";
	struct user_row row;
	struct job found;
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice");
	test_commit(ix);
	test_begin(ix);
	cr_assert(index_in_transaction(ix));
	struct job job = test_job(ix, alice, path);
	test_user(ix, "bob");
	index_abort(ix);
	cr_assert_not(index_in_transaction(ix));
	cr_assert_eq(index_get_job(ix, job.id, &found), -ENOENT);
	cr_assert_eq(index_get_user(ix, "bob", &row), -ENOENT);
	cr_assert_eq(counted(ix, "alice", JOB_PENDING), 0);
	test_begin(ix);
	struct job next = test_job(ix, alice, path);
	cr_assert_eq(next.id, job.id, "nobody has seen that id");
	test_commit(ix);
	test_sound(ix);
	index_close(ix);
}

Test(index, closing_aborts)
{
	struct index *ix = test_create(place.dir);
	struct user_row row;
	test_begin(ix);
	test_user(ix, "alice");
	index_close(ix);
	ix = test_open(place.dir, (struct index_options){0});
	cr_assert_eq(index_get_user(ix, "alice", &row), -ENOENT);
	index_close(ix);
	index_close(NULL);
}

Test(index, numbers_of_adopted_jobs_are_not_given_again)
{
	struct index *ix = test_create(place.dir);
	char path[] = "adopted";
	uint64_t id, seq;
	test_begin(ix);
	struct job job = {.id = 500, .seq = 900, .user = test_user(ix, "alice"), .path = path};
	cr_assert_eq(index_put_job(ix, &job), 0);
	cr_assert_eq(index_new_id(ix, &id), 0);
	cr_assert_eq(index_new_seq(ix, &seq), 0);
	cr_assert_eq(id, 501);
	cr_assert_eq(seq, 901);
	test_commit(ix);
	test_sound(ix);
	index_close(ix);
}

Test(index, a_reader_writes_nothing)
{
	index_close(test_create(place.dir));
	char path[200];
	path_in(path, "lock.mdb");
	cr_assert_eq(unlink(path), 0);
	struct index *ix = test_open(place.dir, (struct index_options){.read_only = true});
	cr_assert_eq(index_begin(ix), -EROFS);
	cr_assert_eq(index_sync(ix), -EROFS);
	test_sound(ix);
	index_close(ix);
	cr_assert_not(exists("lock.mdb"), "made by root, it would shut the daemon out");
	cr_assert(exists("clean"));
}

Test(index, the_clean_mark_is_there_only_while_closed)
{
	struct index *ix = test_create(place.dir);
	cr_assert_not(exists("clean"));
	index_close(ix);
	cr_assert(exists("clean"));
	ix = test_open(place.dir, (struct index_options){0});
	cr_assert_not(exists("clean"));
	index_close(ix);
}

Test(index, syncs)
{
	struct index *ix = test_create(place.dir);
	test_begin(ix);
	test_user(ix, "alice");
	test_commit(ix);
	cr_assert_eq(index_sync(ix), 0);
	index_close(ix);
}
