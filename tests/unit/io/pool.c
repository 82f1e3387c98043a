#include "runner_world.h"

#include "base/log.h"
#include "io/pool.h"

#include <limits.h>
#include <sys/socket.h>

static struct world w;
static struct pool *p;
static int lock_fd;

/* build/unit/io/pool → build/spool-worker */
static char *worker_path(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 20);
	cr_assert_gt(n, 0);
	path[n] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(path, '/') = '\0';
	strcat(path, "/spool-worker");
	cr_assert_eq(access(path, X_OK), 0, "%s is missing: make it first", path);
	return strdup(path);
}

static void new_pool(uint32_t max)
{
	char *path = worker_path();
	cr_assert_eq(pool_new(path, max, &p), 0);
	free(path);
}

static void setup(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	world_make(&w);
	char *path = in_world(&w, ".lock");
	lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(lock_fd, 0);
	struct flock lock = {.l_type = F_WRLCK};
	cr_assert_eq(fcntl(lock_fd, F_OFD_SETLK, &lock), 0);
	free(path);
	new_pool(2);
}

static void teardown(void)
{
	/* Workers may have a result to leave before their directory goes. */
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	pool_free(p);
	while (waitpid(-1, NULL, WNOHANG) >= 0) {
		cr_assert_lt(clock_steady_ms(), until, "a worker stays");
		usleep(5000);
	}
	fd_close(lock_fd);
	world_remove(&w);
}

TestSuite(pool, .init = setup, .fini = teardown, .timeout = 240);

/* The next event; it belongs to the pool. */
static struct pool_event next(void)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	struct pool_event ev;
	while (pool_next(p, &ev) == 0)
		wait_readable(pool_fd(p), until);
	return ev;
}

static struct pool_event next_but_progress(void)
{
	struct pool_event ev;
	do
		ev = next();
	while (ev.kind == POOL_PROGRESS);
	return ev;
}

static void run_job(void)
{
	int r = pool_run(p, &w.order, lock_fd, w.dirfd);
	cr_assert_eq(r, 0, "%s", strerror(-r));
}

/* A short run is told of by its result alone. */
static struct run_result early;

static void expect_started(void)
{
	struct pool_event ev = next();
	cr_assert_eq(ev.job, w.order.job);
	if (ev.kind == POOL_RESULT) {
		early = copy_result(&ev.message.result);
		cr_assert_gt(early.started_ms, 0u);
		return;
	}
	cr_assert_eq(ev.kind, POOL_STARTED);
	cr_assert_gt(ev.message.started_ms, 0u);
}

static struct run_result expect_result(void)
{
	if (early.job != 0) {
		struct run_result result = early;
		early = (struct run_result){0};
		return result;
	}
	struct pool_event ev = next_but_progress();
	cr_assert_eq(ev.kind, POOL_RESULT, "%d", (int)ev.kind);
	cr_assert_eq(ev.job, w.order.job);
	return copy_result(&ev.message.result);
}

/* Our children that have not exited. */
static size_t children(pid_t *ret, size_t max)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	size_t n = 0;
	while ((entry = readdir(proc)) != NULL) {
		char path[300], state = 'Z';
		int parent = 0;
		if (atoi(entry->d_name) <= 0)
			continue;
		snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
		char text[512] = "";
		FILE *stat_file = fopen(path, "re");
		/* It may end as we look. */
		if (stat_file != NULL && fgets(text, sizeof text, stat_file) == NULL)
			text[0] = '\0';
		if (stat_file != NULL)
			fclose(stat_file);
		const char *name_end = strrchr(text, ')');
		if (name_end != NULL && sscanf(name_end + 1, " %c %d", &state, &parent) == 2 &&
		    parent == getpid() && state != 'Z' && n < max)
			ret[n++] = (pid_t)atoi(entry->d_name);
	}
	closedir(proc);
	return n;
}

static pid_t worker_pid(void)
{
	pid_t pid;
	cr_assert_eq(children(&pid, 1), 1u);
	return pid;
}

static pid_t other_worker_pid(pid_t first)
{
	pid_t pids[2];
	cr_assert_eq(children(pids, 2), 2u);
	return pids[0] == first ? pids[1] : pids[0];
}

static void wait_until_gone(pid_t pid)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	while (kill(pid, 0) == 0) {
		waitpid(pid, NULL, WNOHANG);
		cr_assert_lt(clock_steady_ms(), until, "process %d does not end", pid);
		usleep(5000);
	}
}

static bool is_locked(void)
{
	char *path = in_world(&w, ".lock");
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct flock lock = {.l_type = F_WRLCK};
	bool locked = fcntl(fd, F_OFD_SETLK, &lock) < 0;
	close(fd);
	free(path);
	return locked;
}

static void wait_until_unlocked(void)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	while (is_locked()) {
		cr_assert_lt(clock_steady_ms(), until, "the lock is not let go");
		usleep(5000);
	}
}

static void wait_for_job_file(const char *name)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	while (faccessat(w.dirfd, name, F_OK, 0) < 0) {
		cr_assert_lt(clock_steady_ms(), until, "%s does not appear", name);
		usleep(5000);
	}
}

static struct run_result left_result(void)
{
	struct run_result result = {0};
	wait_for_job_file(NAME_RESULT);
	char *text = get_job_file(&w, NAME_RESULT);
	cr_assert_eq(run_result_decode(text, strlen(text), &result), 0, "%s", text);
	free(text);
	return result;
}

static void acknowledge(uint64_t job)
{
	pool_ack(p, job, true);
	pool_flush(p, false);
}

Test(pool, a_job_is_started_reported_and_acknowledged)
{
	script(&w, "echo progress=0.5 >&3; echo records=7 >&3; echo message=half >&3; echo out; sleep 0.3");
	cr_assert_eq(pool_free_places(p), 2u);
	run_job();
	cr_assert_eq(pool_free_places(p), 1u);
	cr_assert_eq(pool_busy(p), 1u);
	expect_started();
	struct pool_event ev = next();
	cr_assert_eq(ev.kind, POOL_PROGRESS);
	cr_assert_eq(ev.message.progress.job, 42u);
	cr_assert_float_eq(ev.message.progress.progress, 0.5, 1e-9);
	struct run_result result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	cr_assert_eq(result.records, 7u);
	cr_assert_str_eq(result.message, "half");
	run_result_clear(&result);
	cr_assert_eq(pool_busy(p), 0u, "another one can begin before the result is acknowledged");
	acknowledge(42);
	cr_assert_eq(pool_busy(p), 0u);
	struct pool_event none;
	cr_assert_eq(pool_next(p, &none), 0);
	cr_assert_eq(faccessat(w.dirfd, NAME_RESULT, F_OK, 0), -1);
}

Test(pool, a_worker_is_kept_for_the_next_job)
{
	script(&w, "exit 0");
	run_job();
	pid_t first = worker_pid();
	for (uint64_t job = 1; job <= 20; job++) {
		if (job > 1) {
			w.order.job = job;
			run_job();
		} else {
			w.order.job = 42;
		}
		expect_started();
		struct run_result result = expect_result();
		run_result_clear(&result);
		acknowledge(w.order.job);
		cr_assert_eq(worker_pid(), first);
	}
}

/* Runs one that ends at once, and leaves its result unacknowledged. */
static void run_until_told(uint64_t job)
{
	w.order.job = job;
	run_job();
	expect_started();
	struct run_result result = expect_result();
	run_result_clear(&result);
}

static size_t wait_for_children(size_t n)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	struct pool_event ev;
	pid_t pids[4];
	while (children(pids, 4) > n && clock_steady_ms() < until) {
		cr_assert_eq(pool_next(p, &ev), 0);
		usleep(5000);
	}
	return children(pids, 4);
}

Test(pool, a_place_is_free_when_the_result_is_told)
{
	script(&w, "exit 0");
	pool_set_max(p, 1);
	pool_set_spare(p, 1);
	run_until_told(42);
	cr_assert_eq(pool_free_places(p), 1u);
	run_until_told(43);
	pid_t pids[4];
	cr_assert_eq(children(pids, 4), 2u, "the first keeps its result until it is acknowledged");
	pool_ack(p, 42, false);
	pool_ack(p, 43, false);
	pool_flush(p, true);
	run_until_told(44);
	acknowledge(44);
	cr_assert_eq(children(pids, 4), 2u, "both are kept for the next ones");
	pool_set_spare(p, 0);
	cr_assert_eq(wait_for_children(1), 1u);
}

Test(pool, no_place_beyond_the_limit_and_idle_ones_leave_when_it_is_lowered)
{
	script(&w, "sleep 0.2");
	run_job();
	w.order.job = 43;
	run_job();
	w.order.job = 44;
	cr_assert_eq(pool_run(p, &w.order, lock_fd, w.dirfd), -EAGAIN);
	cr_assert_eq(pool_free_places(p), 0u);
	pool_set_max(p, 1);
	for (int results = 0; results < 2;) {
		struct pool_event ev = next();
		if (ev.kind != POOL_RESULT)
			continue;
		results++;
		acknowledge(ev.job);
	}
	cr_assert_eq(pool_free_places(p), 1u);
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	struct pool_event ev;
	pid_t pids[2];
	while (children(pids, 2) > 1) {
		cr_assert_lt(clock_steady_ms(), until, "no worker leaves");
		cr_assert_eq(pool_next(p, &ev), 0);
		usleep(5000);
	}
	run_job();
	expect_started();
	struct run_result result = expect_result();
	run_result_clear(&result);
}

Test(pool, a_job_can_be_canceled_and_interrupted)
{
	script(&w, "sleep 60");
	run_job();
	expect_started();
	cr_assert_eq(pool_cancel(p, 7, false), -ESRCH);
	cr_assert_eq(pool_cancel(p, 42, false), 0);
	struct run_result result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_CANCELED);
	run_result_clear(&result);
	cr_assert_eq(pool_cancel(p, 42, false), -ESRCH);
	acknowledge(42);
	w.order.job = 43;
	run_job();
	expect_started();
	cr_assert_eq(pool_cancel(p, 43, true), 0);
	result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_INTERRUPTED);
	run_result_clear(&result);
}

Test(pool, a_cancel_right_after_the_start_is_not_lost)
{
	script(&w, "sleep 60");
	run_job();
	cr_assert_eq(pool_cancel(p, 42, false), 0);
	struct pool_event ev = next();
	if (ev.kind == POOL_STARTED)
		ev = next();
	cr_assert_eq(ev.kind, POOL_RESULT);
	cr_assert_eq(ev.message.result.outcome, OUTCOME_CANCELED);
}

Test(pool, a_handler_that_cannot_start_gives_a_result_without_a_start)
{
	w.command[0] = strdup("/no/such/handler");
	run_job();
	struct pool_event ev = next();
	cr_assert_eq(ev.kind, POOL_RESULT);
	cr_assert_eq(ev.message.result.outcome, OUTCOME_INTERRUPTED);
	cr_assert(ev.message.result.unready);
	cr_assert_eq(ev.message.result.started_ms, 0u);
}

Test(pool, a_killed_workers_handler_is_killed_before_it_is_told)
{
	/* The second process leaves the session and ignores all it can; so does
	 * what it starts. */
	script(&w, "setsid sh -c 'trap \"\" TERM HUP; (setsid sleep 61 & setsid sleep 61) & "
	           "setsid sleep 61' & echo > ready; sleep 61");
	run_job();
	expect_started();
	wait_for_job_file("ready");
	cr_assert_gt(count_processes(w.order.cookie), 1);
	kill(worker_pid(), SIGKILL);
	struct pool_event ev = next();
	cr_assert_eq(ev.kind, POOL_GONE);
	cr_assert_eq(ev.job, 42u);
	cr_assert_eq(count_processes(w.order.cookie), 0);
	cr_assert_eq(pool_busy(p), 0u);
	cr_assert_eq(pool_free_places(p), 2u);
	script(&w, "exit 0");
	run_job();
	expect_started();
	struct run_result result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	run_result_clear(&result);
}

Test(pool, the_death_of_one_worker_leaves_the_other_alone)
{
	script(&w, "(sleep 1; echo alive > survived; exit 0) & echo > ready; wait");
	run_job();
	expect_started();
	wait_for_job_file("ready");
	pid_t first = worker_pid();
	struct world other;
	world_make(&other);
	script(&other, "(setsid sleep 62 &) ; sleep 62");
	other.order.job = 43;
	cr_assert_eq(pool_run(p, &other.order, lock_fd, other.dirfd), 0);
	struct pool_event ev = next();
	cr_assert_eq(ev.kind, POOL_STARTED);
	cr_assert_eq(ev.job, 43u);
	kill(other_worker_pid(first), SIGKILL);
	ev = next();
	cr_assert_eq(ev.kind, POOL_GONE);
	cr_assert_eq(ev.job, 43u);
	struct run_result result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	char *text = get_job_file(&w, "survived");
	cr_assert_str_eq(text, "alive\n");
	free(text);
	run_result_clear(&result);
	world_remove(&other);
}

Test(pool, a_result_that_was_told_counts_though_its_worker_dies)
{
	script(&w, "sleep 0.2");
	run_job();
	expect_started();
	/* Wait for the worker to have sent it, then kill before we read. */
	struct pollfd ready = {.fd = pool_fd(p), .events = POLLIN};
	cr_assert_eq(poll(&ready, 1, PATIENCE_MS), 1);
	kill(worker_pid(), SIGKILL);
	struct run_result result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	run_result_clear(&result);
	acknowledge(42);
	struct pool_event ev;
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(pool_next(p, &ev), 0);
		usleep(5000);
	}
	cr_assert_eq(pool_busy(p), 0u);
}

Test(pool, a_result_is_heard_from_a_worker_that_died_without_listening)
{
	script(&w, "sleep 0.2");
	run_job();
	expect_started();
	struct pollfd ready = {.fd = pool_fd(p), .events = POLLIN};
	cr_assert_eq(poll(&ready, 1, PATIENCE_MS), 1);
	pid_t pid = worker_pid();
	siginfo_t info;
	kill(pid, SIGSTOP);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT), 0);
	cr_assert_eq(pool_cancel(p, 42, false), 0);
	kill(pid, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	struct run_result result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	run_result_clear(&result);
}

Test(pool, workers_that_die_together_are_all_told)
{
	script(&w, "(setsid sleep 60 &); echo > ready; sleep 60");
	run_job();
	expect_started();
	w.order.job = 43;
	run_job();
	expect_started();
	wait_for_job_file("ready");
	pid_t pids[2];
	cr_assert_eq(children(pids, 2), 2u);
	kill(pids[0], SIGKILL);
	kill(pids[1], SIGKILL);
	uint64_t sum = 0;
	for (int i = 0; i < 2; i++) {
		struct pool_event ev = next();
		cr_assert_eq(ev.kind, POOL_GONE);
		sum += ev.job;
	}
	cr_assert_eq(sum, 85u);
	cr_assert_eq(count_processes(w.order.cookie), 0);
	cr_assert_eq(pool_free_places(p), 2u);
}

Test(pool, an_idle_worker_that_died_is_replaced)
{
	script(&w, "exit 0");
	run_job();
	expect_started();
	struct run_result result = expect_result();
	run_result_clear(&result);
	acknowledge(42);
	pid_t idle = worker_pid();
	kill(idle, SIGKILL);
	siginfo_t info;
	cr_assert_eq(waitid(P_PID, (id_t)idle, &info, WEXITED | WNOWAIT), 0);
	w.order.job = 43;
	run_job();
	expect_started();
	result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	run_result_clear(&result);
}

Test(pool, sigterm_makes_a_worker_interrupt_its_job_and_leave)
{
	script(&w, "sleep 60");
	run_job();
	expect_started();
	pid_t pid = worker_pid();
	kill(pid, SIGTERM);
	struct run_result result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_INTERRUPTED);
	run_result_clear(&result);
	acknowledge(42);
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	struct pool_event ev;
	while (kill(pid, 0) == 0) {
		cr_assert_lt(clock_steady_ms(), until);
		cr_assert_eq(pool_next(p, &ev), 0);
		usleep(5000);
	}
}

Test(pool, a_job_given_to_a_worker_that_leaves_was_never_begun)
{
	unsigned refused = 0;
	script(&w, "exit 0");
	for (uint64_t job = 100; job < 200; job++) {
		pid_t workers[4];
		w.order.job = job;
		run_job();
		struct pool_event ev = next_but_progress();
		bool began = ev.kind == POOL_STARTED;
		if (began)
			ev = next_but_progress();
		cr_assert_eq(ev.kind, POOL_RESULT);
		began = began || ev.message.result.started_ms > 0;
		cr_assert_eq(ev.message.result.outcome, began ? OUTCOME_SUCCEEDED : OUTCOME_INTERRUPTED);
		cr_assert_eq(ev.message.result.started_ms > 0, began);
		refused += !began;
		acknowledge(job);
		for (size_t n = children(workers, 4); n > 0; n--)
			kill(workers[n - 1], SIGTERM);
	}
	cr_log_info("%u of 100 were refused", refused);
}

Test(pool, ctrl_c_and_hangup_do_not_reach_workers)
{
	script(&w, "sleep 0.3");
	run_job();
	expect_started();
	pid_t pid = worker_pid();
	cr_assert_eq(getsid(pid), pid);
	kill(pid, SIGINT);
	kill(pid, SIGHUP);
	struct run_result result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	run_result_clear(&result);
}

Test(pool, without_its_daemon_a_worker_finishes_and_leaves_the_result)
{
	script(&w, "sleep 0.3; echo records=3 >&3; echo work done; exit 4");
	run_job();
	expect_started();
	pid_t pid = worker_pid();
	pool_free(p);
	p = NULL;
	close(lock_fd);
	lock_fd = -1;
	cr_assert(is_locked(), "the worker holds the lock on");
	struct run_result result = left_result();
	cr_assert_eq(result.job, 42u);
	cr_assert_eq(result.outcome, OUTCOME_FAILED);
	cr_assert_eq(result.exit_code, 4);
	cr_assert_eq(result.records, 3u);
	cr_assert_str_eq(result.error, "exit code 4: work done");
	run_result_clear(&result);
	wait_until_gone(pid);
	wait_until_unlocked();
}

Test(pool, an_unacknowledged_result_is_left_when_the_daemon_goes)
{
	script(&w, "exit 0");
	run_job();
	expect_started();
	struct run_result result = expect_result();
	run_result_clear(&result);
	pid_t pid = worker_pid();
	pool_free(p);
	p = NULL;
	result = left_result();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED);
	run_result_clear(&result);
	wait_until_gone(pid);
}

/* Two jobs one after the other in one directory, as a chain hands it on; the first is in
 * the index. Returns the worker. */
static pid_t two_in_one_directory(void)
{
	script(&w, "exit 0");
	run_job();
	expect_started();
	struct run_result result = expect_result();
	run_result_clear(&result);
	pool_ack(p, w.order.job, false);
	cr_assert_eq(pool_busy(p), 0u, "its place is free");
	pool_flush(p, false);
	return worker_pid();
}

Test(pool, an_acknowledgement_comes_with_the_next_order)
{
	pid_t pid = two_in_one_directory();
	script(&w, "sleep 0.2");
	world_set_job(&w, 43);
	run_job();
	expect_started();
	cr_assert_eq(worker_pid(), pid, "the same worker");
	pool_free(p);
	p = NULL;
	struct run_result result = left_result();
	cr_assert_eq(result.job, 43u);
	run_result_clear(&result);
	wait_until_gone(pid);
}

Test(pool, promise_6_what_was_not_heard_is_not_left_in_the_directory_of_another)
{
	pid_t pid = two_in_one_directory();
	world_set_job(&w, 43);
	pool_free(p);
	p = NULL;
	wait_until_gone(pid);
	cr_assert_eq(faccessat(w.dirfd, NAME_RESULT, F_OK, 0), -1);
}

Test(pool, what_was_not_heard_is_left_in_its_directory)
{
	pid_t pid = two_in_one_directory();
	pool_free(p);
	p = NULL;
	wait_until_gone(pid);
	struct run_result result = left_result();
	cr_assert_eq(result.job, 42u);
	run_result_clear(&result);
}

Test(pool, one_that_leaves_hears_it_before)
{
	pid_t pid = two_in_one_directory();
	pool_set_max(p, 0);
	wait_until_gone(pid);
	cr_assert_eq(faccessat(w.dirfd, NAME_RESULT, F_OK, 0), -1);
}

Test(pool, acknowledgements_that_do_not_fit_beside_an_order_go_before_it)
{
	pid_t pid = two_in_one_directory();
	struct message m = {.type = MESSAGE_RUN, .order = w.order};
	char *data = NULL;
	size_t size;
	script(&w, "exit 7");
	w.command[1] = calloc(1, MESSAGE_MAX);
	cr_assert_eq(message_encode(&m, &data, &size), 0);
	free(data);
	memset(w.command[1], 'x', MESSAGE_MAX - size - 4);
	cr_assert_eq(message_encode(&m, &data, &size), 0, "alone it fits");
	free(data);
	w.order.attempt = 2;
	run_job();
	expect_started();
	cr_assert_eq(worker_pid(), pid);
	struct run_result result = expect_result();
	cr_assert_eq(result.exit_code, 7);
	run_result_clear(&result);
}

Test(pool, a_handler_cannot_stand_in_the_way_of_its_result)
{
	script(&w, "mkdir -p .spoold-result/x .spoold-result.new/x; sleep 0.2; exit 5");
	run_job();
	expect_started();
	pid_t pid = worker_pid();
	wait_for_job_file(NAME_RESULT ".new");
	pool_free(p);
	p = NULL;
	wait_until_gone(pid);
	struct run_result result = left_result();
	cr_assert_eq(result.exit_code, 5);
	run_result_clear(&result);
}

Test(pool, a_cancel_reaches_a_worker_whose_daemon_is_gone)
{
	script(&w, "sleep 60");
	run_job();
	expect_started();
	pool_free(p);
	p = NULL;
	cr_assert_eq(fd_write_file(w.dirfd, NAME_CANCEL, "", 0, 0600), 0);
	struct run_result result = left_result();
	cr_assert_eq(result.outcome, OUTCOME_CANCELED);
	run_result_clear(&result);
}

Test(pool, a_timeout_holds_without_a_daemon)
{
	script(&w, "sleep 60");
	w.order.timeout_ms = 300;
	run_job();
	expect_started();
	pool_free(p);
	p = NULL;
	struct run_result result = left_result();
	cr_assert_eq(result.outcome, OUTCOME_TIMED_OUT);
	run_result_clear(&result);
}

Test(pool, what_an_earlier_attempt_left_is_not_taken_for_the_result)
{
	script(&w, "ls -A");
	cr_assert_eq(fd_write_file(w.dirfd, NAME_RESULT, "old", 3, 0600), 0);
	cr_assert_eq(fd_write_file(w.dirfd, NAME_CANCEL, "", 0, 0600), 0);
	run_job();
	expect_started();
	struct run_result result = expect_result();
	char *log = get_log(&w);
	cr_assert_str_eq(log, "output\nreport.csv\n");
	free(log);
	run_result_clear(&result);
}

Test(pool, a_worker_that_cannot_be_started_is_an_error)
{
	struct pool *none = NULL;
	struct pool_event ev;
	cr_assert_eq(pool_new("/no/such/worker", 1, &none), 0);
	script(&w, "exit 0");
	cr_assert_eq(pool_run(none, &w.order, lock_fd, w.dirfd), -ENOENT);
	cr_assert_eq(pool_next(none, &ev), 0);
	cr_assert_eq(pool_free_places(none), 1u);
	pool_free(none);
}

Test(pool, a_worker_started_by_hand_explains_itself)
{
	char *path = worker_path(), *command;
	for (const char *const *arguments = (const char *const[]){"", "0", "x", "99", "3 4", NULL};
	     *arguments != NULL; arguments++) {
		cr_assert_geq(asprintf(&command, "%s %s 2>&1 | grep -q 'is started by spoold'", path, *arguments), 0);
		cr_assert_eq(system(command), 0, "%s", command);
		free(command);
	}
	free(path);
}

/* A "worker" that says what no worker says. The pool gives it its socket as
 * descriptor 3; what it writes there is a packet. */
static void strange_worker(const char *body)
{
	char *path = in_world(&w, "worker"), *text;
	cr_assert_geq(asprintf(&text, "#!/bin/bash\n%s\n", body), 0);
	put_file(path, text, 0755);
	pool_free(p);
	cr_assert_eq(pool_new(path, 2, &p), 0);
	script(&w, "exit 0");
	run_job();
	struct pool_event ev = next();
	cr_assert_eq(ev.kind, POOL_GONE);
	cr_assert_eq(ev.job, 42u);
	cr_assert_eq(pool_busy(p), 0u);
	cr_assert_eq(count_processes(path), 0);
	free(text);
	free(path);
}

Test(pool, a_worker_that_talks_nonsense_is_killed)
{
	log_set_level((enum log_level)0);
	strange_worker("echo nonsense >&3; (exec -a $0 sleep 63)");
	strange_worker("printf '{\"type\":\"started\",\"job\":99,\"started_ms\":1}' >&3; (exec -a $0 sleep 63)");
	strange_worker("printf '{\"type\":\"ack\",\"jobs\":[42]}' >&3; (exec -a $0 sleep 63)");
	strange_worker("head -c 70000 /dev/zero >&3 2>/dev/null; (exec -a $0 sleep 63)");
	strange_worker("exit 0");
}

Test(pool, many_jobs_through_few_workers)
{
	struct run_result result;
	script(&w, "exit 0");
	pool_set_max(p, 2);
	unsigned started = 0, ended = 0;
	while (ended < 200) {
		while (started < 200 && pool_free_places(p) > 0) {
			w.order.job = ++started;
			run_job();
		}
		struct pool_event ev = next();
		cr_assert_neq(ev.kind, POOL_GONE);
		if (ev.kind != POOL_RESULT)
			continue;
		result = ev.message.result;
		cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
		ended++;
		acknowledge(ev.job);
	}
}

/* A stream handler that says who it is by its number of records. */
static void stream_handler(void)
{
	w.order.stream = true;
	script(&w, "while read -r line; do job=${line#*'\"job\":'}; job=${job%%,*}\n"
	           "echo \"{\\\"job\\\":$job,\\\"result\\\":\\\"done\\\",\\\"records\\\":$$}\"; done");
}

/* Runs a job of the user; returns the process that answered. */
static uint64_t served_by(const char *user)
{
	free(w.order.user);
	w.order.user = strdup(user);
	w.order.job++;
	run_job();
	expect_started();
	struct run_result result = expect_result();
	cr_assert_eq(result.outcome, OUTCOME_SUCCEEDED, "%s", result.error);
	uint64_t pid = result.records;
	run_result_clear(&result);
	acknowledge(w.order.job);
	return pid;
}

Test(pool, a_stream_handler_gets_its_users_jobs)
{
	stream_handler();
	pool_set_idle(p, 2);
	uint64_t alice = served_by("alice"), bob = served_by("bob"), carol = served_by("carol");
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(served_by("bob"), bob);
		cr_assert_eq(served_by("carol"), carol);
		cr_assert_eq(served_by("alice"), alice);
	}
	pid_t pids[8];
	cr_assert_eq(children(pids, 8), 3u);
}

Test(pool, the_one_that_waited_longest_makes_room)
{
	stream_handler();
	uint64_t alice = served_by("alice"), bob = served_by("bob");
	cr_assert_eq(served_by("alice"), alice);
	/* No worker beyond the two: bob's is taken. */
	served_by("carol");
	pid_t pids[8];
	cr_assert_eq(children(pids, 8), 2u);
	cr_assert_eq(served_by("alice"), alice);
	cr_assert_neq(served_by("bob"), bob);
}

Test(pool, a_job_without_stream_handler_spares_those_that_wait)
{
	stream_handler();
	pool_set_idle(p, 1);
	uint64_t alice = served_by("alice");
	char *stream = w.command[0];
	w.command[0] = strdup("/bin/true");
	w.order.stream = false;
	served_by("alice");
	served_by("bob");
	free(w.command[0]);
	w.command[0] = stream;
	w.order.stream = true;
	cr_assert_eq(served_by("alice"), alice);
}

Test(pool, an_outdated_handler_meets_its_users_next_job)
{
	stream_handler();
	pool_set_idle(p, 4);
	uint64_t alice = served_by("alice"), bob = served_by("bob");
	pool_outdate(p);
	cr_assert_eq(served_by("bob"), bob);
	w.command[1] = strdup("more");
	cr_assert_neq(served_by("alice"), alice);
	cr_assert_eq(kill((pid_t)alice, 0), -1, "it ended before that job began");
	pid_t pids[8];
	cr_assert_eq(children(pids, 8), 2u);
}

Test(pool, idle_handlers_beyond_the_limit_leave)
{
	stream_handler();
	pool_set_idle(p, 4);
	pid_t pids[8];
	served_by("alice");
	served_by("bob");
	uint64_t carol = served_by("carol");
	cr_assert_eq(children(pids, 8), 3u);
	pool_set_idle(p, 0);
	pool_set_max(p, 1);
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	struct pool_event ev;
	while (children(pids, 8) > 1) {
		cr_assert_eq(pool_next(p, &ev), 0);
		cr_assert_lt(clock_steady_ms(), until, "they stay");
		usleep(5000);
	}
	cr_assert_eq(served_by("carol"), carol);
}

Test(pool, what_an_idle_workers_handler_left_is_ended_with_it)
{
	w.order.stream = true;
	script(&w, "while read -r line; do job=${line#*'\"job\":'}; job=${job%%,*}\n"
	           "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 &\n"
	           "echo \"{\\\"job\\\":$job,\\\"result\\\":\\\"done\\\",\\\"records\\\":$$}\"; done");
	served_by("alice");
	pid_t pids[8];
	cr_assert_eq(children(pids, 8), 1u);
	kill(pids[0], SIGKILL);
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	struct pool_event ev;
	while (count_processes(w.order.cookie) > 0) {
		cr_assert_eq(pool_next(p, &ev), 0);
		cr_assert_lt(clock_steady_ms(), until, "they stay");
		usleep(5000);
	}
}
