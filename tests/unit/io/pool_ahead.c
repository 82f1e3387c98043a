/* Jobs that are handed to a worker ahead of their turn. */
#include "runner_world.h"

#include "base/log.h"
#include "io/pool.h"

#include <limits.h>

/* The first runs, each of the others waits for the one before. Each notes its
 * number in a file that they share. */
enum { JOBS = 4, FIRST = 100 };

static struct world ws[JOBS];
static struct pool *p;
static int lock_fd;
static char *notes;

/* build/unit/io/pool_ahead → build/spool-worker */
static char *worker_path(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 20);
	cr_assert_gt(n, 0);
	path[n] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(path, '/') = '\0';
	strcat(path, "/spool-worker");
	return strdup(path);
}

static void write_script(int i, const char *body)
{
	char *text;
	cr_assert_geq(asprintf(&text, "echo -n %d >>%s; %s", i, notes, body), 0);
	script(&ws[i], text);
	free(text);
}

static void setup(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	for (int i = 0; i < JOBS; i++) {
		world_make(&ws[i]);
		world_set_job(&ws[i], FIRST + (uint64_t)i);
		ws[i].order.after = i == 0 ? 0 : ws[i - 1].order.job;
		if (i == 0)
			notes = in_world(&ws[0], "notes");
		write_script(i, "exit 0");
	}
	char *lock = in_world(&ws[0], ".lock"), *path = worker_path();
	lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(lock_fd, 0);
	struct flock held = {.l_type = F_WRLCK};
	cr_assert_eq(fcntl(lock_fd, F_OFD_SETLK, &held), 0);
	cr_assert_eq(pool_new(path, 2, &p), 0);
	free(lock);
	free(path);
}

static void teardown(void)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	pool_free(p);
	while (waitpid(-1, NULL, WNOHANG) >= 0) {
		cr_assert_lt(clock_steady_ms(), until, "a worker stays");
		usleep(5000);
	}
	fd_close(lock_fd);
	for (int i = 0; i < JOBS; i++)
		world_remove(&ws[i]);
	free(notes);
}

TestSuite(pool_ahead, .init = setup, .fini = teardown, .timeout = 240);

static void order(int from, int to)
{
	for (int i = from; i <= to; i++)
		cr_assert_eq(pool_run(p, &ws[i].order, lock_fd, ws[i].dirfd), 0, "job %d", i);
}

/* The next event that is no news of what runs. */
static struct pool_event next_end(void)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	struct pool_event ev = {0};
	do {
		while (pool_next(p, &ev) == 0)
			wait_readable(pool_fd(p), until);
	} while (ev.kind != POOL_RESULT && ev.kind != POOL_GONE);
	return ev;
}

static void expect(int i, enum outcome outcome, bool began)
{
	struct pool_event ev = next_end();
	cr_assert_eq(ev.kind, POOL_RESULT);
	cr_assert_eq(ev.job, FIRST + (uint64_t)i, "job %llu", (unsigned long long)ev.job - FIRST);
	cr_assert_eq(ev.message.result.outcome, outcome, "job %d: %s", i,
	             outcome_name(ev.message.result.outcome));
	cr_assert_eq(ev.message.result.started_ms > 0, began, "job %d", i);
	cr_assert_eq(run_result_never_began(&ev.message.result), !began && outcome == OUTCOME_INTERRUPTED);
}

static void expect_notes(const char *expected)
{
	char *text = get_file(notes);
	cr_assert_str_eq(text, expected);
	free(text);
}

static void wait_for_notes(const char *expected)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	for (;;) {
		char *text = get_file(notes);
		bool same = strcmp(text, expected) == 0;
		free(text);
		if (same)
			return;
		cr_assert_lt(clock_steady_ms(), until);
		usleep(2000);
	}
}

static pid_t worker_pid(void)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	char *text = get_file(path);
	pid_t pid = (pid_t)strtol(text, NULL, 10);
	free(text);
	cr_assert_gt(pid, 0);
	return pid;
}

static struct run_result left_result(int i)
{
	struct run_result result = {0};
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	while (faccessat(ws[i].dirfd, NAME_RESULT, F_OK, 0) < 0) {
		cr_assert_lt(clock_steady_ms(), until, "no result of job %d", i);
		usleep(2000);
	}
	char *text = get_job_file(&ws[i], NAME_RESULT);
	cr_assert_eq(run_result_decode(text, strlen(text), &result), 0, "%s", text);
	free(text);
	return result;
}

static void acknowledge(uint64_t job)
{
	pool_ack(p, job, true);
	pool_flush(p, false);
}

Test(pool_ahead, promise_3_one_after_the_other_without_an_acknowledgement)
{
	order(0, 3);
	cr_assert_eq(pool_busy(p), 1u);
	cr_assert_eq(pool_free_places(p), 1u);
	for (int i = 0; i < JOBS; i++)
		expect(i, OUTCOME_SUCCEEDED, true);
	expect_notes("0123");
	cr_assert_eq(pool_busy(p), 0u, "with all of it");
	for (int i = 0; i < JOBS; i++)
		acknowledge(FIRST + (uint64_t)i);
}

Test(pool_ahead, all_are_acknowledged_at_once)
{
	order(0, 3);
	for (int i = 0; i < JOBS; i++)
		expect(i, OUTCOME_SUCCEEDED, true);
	for (int i = 0; i < JOBS; i++) {
		pool_ack(p, FIRST + (uint64_t)i, true);
		pool_ack(p, FIRST + (uint64_t)i, true);
	}
	pool_flush(p, false);
	pool_flush(p, true);
	/* It has forgotten them all: else it would not take another one. */
	order(0, 0);
	expect(0, OUTCOME_SUCCEEDED, true);
}

Test(pool_ahead, with_what_comes_after_it)
{
	write_script(1, "sleep 0.2");
	order(0, 1);
	expect(0, OUTCOME_SUCCEEDED, true);
	pool_ack(p, FIRST, false);
	order(2, 2);
	expect(1, OUTCOME_SUCCEEDED, true);
	expect(2, OUTCOME_SUCCEEDED, true);
	pool_free(p);
	p = NULL;
	struct run_result result = left_result(2);
	run_result_clear(&result);
	cr_assert_eq(faccessat(ws[0].dirfd, NAME_RESULT, F_OK, 0), -1, "it had heard of that");
}

Test(pool_ahead, promise_3_what_is_no_success_gives_the_others_back_in_order)
{
	write_script(1, "exit 1");
	order(0, 3);
	expect(0, OUTCOME_SUCCEEDED, true);
	expect(1, OUTCOME_FAILED, true);
	expect(2, OUTCOME_INTERRUPTED, false);
	expect(3, OUTCOME_INTERRUPTED, false);
	expect_notes("01");
}

Test(pool_ahead, an_order_that_comes_after_the_failure_is_given_back)
{
	write_script(0, "exit 1");
	order(0, 0);
	/* It has failed, and we have not read that. */
	struct pollfd ready = {.fd = pool_fd(p), .events = POLLIN};
	cr_assert_eq(poll(&ready, 1, PATIENCE_MS), 1);
	order(1, 1);
	expect(0, OUTCOME_FAILED, true);
	expect(1, OUTCOME_INTERRUPTED, false);
	expect_notes("0");
	/* Behind what was read to have ended there is no place. */
	cr_assert_eq(pool_run(p, &ws[2].order, lock_fd, ws[2].dirfd), -ESRCH);
}

Test(pool_ahead, promise_5_what_is_asked_back_comes_before_the_running_one_ends)
{
	write_script(0, "while [ ! -e go ]; do sleep 0.01; done");
	order(0, 2);
	wait_for_notes("0");
	pool_recall(p, FIRST + 1);
	expect(1, OUTCOME_INTERRUPTED, false);
	expect(2, OUTCOME_INTERRUPTED, false);
	acknowledge(FIRST + 1);
	acknowledge(FIRST + 2);
	char go[100];
	snprintf(go, sizeof go, "%s/go", ws[0].dir);
	put_file(go, "", 0600);
	expect(0, OUTCOME_SUCCEEDED, true);
	acknowledge(FIRST);
	cr_assert_eq(pool_busy(p), 0u);
	expect_notes("0");
}

Test(pool_ahead, one_that_waits_is_canceled_and_the_next_goes_on)
{
	write_script(0, "sleep 0.3");
	order(0, 2);
	cr_assert_eq(pool_cancel(p, FIRST + 1, false), 0);
	expect(1, OUTCOME_CANCELED, false);
	expect(0, OUTCOME_SUCCEEDED, true);
	expect(2, OUTCOME_SUCCEEDED, true);
	expect_notes("02");
}

Test(pool_ahead, an_interruption_ends_the_running_one_and_all_behind_it)
{
	write_script(0, "sleep 60");
	order(0, 2);
	wait_for_notes("0");
	cr_assert_eq(pool_cancel(p, FIRST + 1, true), 0);
	expect(1, OUTCOME_INTERRUPTED, false);
	expect(2, OUTCOME_INTERRUPTED, false);
	cr_assert_eq(pool_cancel(p, FIRST, true), 0);
	expect(0, OUTCOME_INTERRUPTED, true);
	expect_notes("0");
}

Test(pool_ahead, a_dead_worker_has_run_the_first_at_most)
{
	write_script(1, "sleep 60");
	order(0, 3);
	wait_for_notes("01");
	kill(worker_pid(), SIGKILL);
	/* What it said before is heard. */
	expect(0, OUTCOME_SUCCEEDED, true);
	for (int i = 1; i < JOBS; i++) {
		struct pool_event ev = next_end();
		cr_assert_eq(ev.kind, POOL_GONE);
		cr_assert_eq(ev.job, FIRST + (uint64_t)i);
		cr_assert_eq(ev.waited, i > 1);
	}
	cr_assert_eq(pool_busy(p), 0u);
	expect_notes("01");
}

Test(pool_ahead, an_acknowledgement_that_is_not_heard_loses_no_word)
{
	write_script(2, "sleep 60");
	order(0, 3);
	wait_for_notes("012");
	kill(worker_pid(), SIGKILL);
	siginfo_t info;
	cr_assert_eq(waitid(P_PID, (id_t)worker_pid(), &info, WEXITED | WNOWAIT), 0);
	expect(0, OUTCOME_SUCCEEDED, true);
	acknowledge(FIRST);
	expect(1, OUTCOME_SUCCEEDED, true);
	for (int i = 2; i < JOBS; i++) {
		struct pool_event ev = next_end();
		cr_assert_eq(ev.kind, POOL_GONE);
		cr_assert_eq(ev.waited, i > 2);
	}
}

Test(pool_ahead, promise_6_without_a_daemon_the_running_one_ends_and_no_other_begins)
{
	write_script(1, "while [ ! -e go ]; do sleep 0.01; done; exit 0");
	order(0, 3);
	wait_for_notes("01");
	pool_free(p);
	p = NULL;
	char go[100];
	snprintf(go, sizeof go, "%s/go", ws[1].dir);
	put_file(go, "", 0600);
	for (int i = 0; i < JOBS; i++) {
		struct run_result result = left_result(i);
		cr_assert_eq(result.job, FIRST + (uint64_t)i);
		cr_assert_eq(result.outcome, i < 2 ? OUTCOME_SUCCEEDED : OUTCOME_INTERRUPTED);
		cr_assert_eq(run_result_never_began(&result), i >= 2);
		run_result_clear(&result);
	}
	expect_notes("01");
}

Test(pool_ahead, a_worker_that_is_told_to_end_gives_the_others_back)
{
	write_script(0, "sleep 60");
	order(0, 2);
	wait_for_notes("0");
	kill(worker_pid(), SIGTERM);
	unsigned waited = 0;
	for (int i = 0; i < 3; i++) {
		struct pool_event ev = next_end();
		cr_assert_eq(ev.message.result.outcome, OUTCOME_INTERRUPTED);
		waited += run_result_never_began(&ev.message.result);
	}
	cr_assert_eq(waited, 2u);
	expect_notes("0");
}
