/* Other processes: a killed writer loses nothing it told, a reader sees what
 * is committed, with and without the right to register. */
#include "io/index_support.h"

#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "io/index_private.h"

enum { LIMIT_MS = 60000, JOBS_PER_BATCH = 7 };

static struct place_for_tests place;

static void setup(void)
{
	test_place(&place);
}

static void teardown(void)
{
	test_place_remove(&place);
}

TestSuite(index_crash, .init = setup, .fini = teardown, .timeout = 240);

/* What children use: no assertion may fail there. */
static int add_batch(struct index *ix, uint32_t number)
{
	char path[32];
	int r = index_begin(ix);
	for (int i = 0; r == 0 && i < JOBS_PER_BATCH; i++) {
		snprintf(path, sizeof path, "%u-%d", number, i);
		struct job job = {.user = 1, .path = path, .accepted_ms = number};
		r = index_new_id(ix, &job.id);
		if (r == 0)
			r = index_new_seq(ix, &job.seq);
		if (r == 0)
			r = index_put_job(ix, &job);
	}
	if (r < 0) {
		if (index_in_transaction(ix))
			index_abort(ix);
		return r;
	}
	return index_commit(ix);
}

/* Commits batches 1, 2, ... and tells each, until it is killed. */
static void write_batches(const char *dir, int out)
{
	struct index *ix;
	if (index_open(dir, &(struct index_options){0}, &ix) < 0)
		_exit(1);
	struct job job = {0};
	uint32_t number = 1;
	/* After a kill, go on behind what is there. */
	for (uint64_t seq = 0; index_next_in_line(ix, 1, seq, &job) == 0; job_clear(&job)) {
		seq = job.seq;
		number = (uint32_t)job.accepted_ms + 1;
	}
	for (;; number++) {
		if (add_batch(ix, number) < 0 || write(out, &number, sizeof number) != sizeof number)
			_exit(1);
	}
}

static bool read_number(int fd, uint32_t *ret)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, LIMIT_MS) == 1 && read(fd, ret, sizeof *ret) == sizeof *ret;
}

static uint32_t make_with_alice(void)
{
	struct index *ix = test_create(place.dir);
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice");
	test_commit(ix);
	index_close(ix);
	return alice;
}

/* All batches are whole, from 1 on without a gap; the last one's number. */
static uint32_t count_batches(struct index *ix)
{
	uint64_t seq = 0, jobs = 0, last = 0;
	struct job job;
	while (index_next_in_line(ix, 1, seq, &job) == 0) {
		seq = job.seq;
		last = job.accepted_ms;
		jobs++;
		cr_assert_eq(last, (jobs + JOBS_PER_BATCH - 1) / JOBS_PER_BATCH);
		job_clear(&job);
	}
	cr_assert_eq(jobs, last * JOBS_PER_BATCH, "half a batch");
	return (uint32_t)last;
}

Test(index_crash, a_killed_writer_loses_nothing_it_told)
{
	make_with_alice();
	uint32_t told = 0;
	for (int round = 0; round < 12; round++) {
		int fds[2];
		cr_assert_eq(pipe(fds), 0);
		pid_t pid = fork();
		if (pid == 0) {
			close(fds[0]);
			write_batches(place.dir, fds[1]);
		}
		close(fds[1]);
		for (int i = 0; i <= round * 5; i++)
			cr_assert(read_number(fds[0], &told));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		uint32_t more;
		while (read(fds[0], &more, sizeof more) == sizeof more)
			told = more;
		close(fds[0]);
		struct index *ix = test_open(place.dir, (struct index_options){0});
		uint32_t found = count_batches(ix);
		cr_assert(found == told || found == told + 1, "told %u, found %u", told, found);
		test_sound(ix);
		index_close(ix);
	}
}

/* Runs the writer and lets this process look beside it, `looks` times. */
static void look_beside_writer(int (*look)(const char *dir), int looks)
{
	int fds[2];
	uint32_t told;
	cr_assert_eq(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(fds[0]);
		write_batches(place.dir, fds[1]);
	}
	close(fds[1]);
	for (int i = 0; i < looks; i++) {
		cr_assert(read_number(fds[0], &told));
		pid_t looker = fork();
		if (looker == 0)
			_exit(look(place.dir));
		/* The writer goes on meanwhile: its pipe is long. */
		int status;
		waitpid(looker, &status, 0);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "look %d: status %#x", i, status);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fds[0]);
}

static int walk_line(struct index *ix)
{
	uint64_t seq = 0, jobs = 0;
	struct job job;
	int r;
	while ((r = index_next_in_line(ix, 1, seq, &job)) == 0) {
		bool fits = job.accepted_ms == jobs++ / JOBS_PER_BATCH + 1;
		seq = job.seq;
		job_clear(&job);
		if (!fits)
			return 2;
	}
	return r == -ENOENT ? 0 : -r;
}

static int look_read_only(const char *dir)
{
	struct index *ix;
	struct index_options options = {.read_only = true, .spool_id = TEST_SPOOL_ID};
	int r = index_open(dir, &options, &ix);
	if (r < 0)
		return 100;
	bool registered = !ix->unlocked;
	r = walk_line(ix);
	index_close(ix);
	return registered ? r : 101;
}

/* As somebody who may read the files and nothing else. */
static int look_as_nobody(const char *dir)
{
	struct index *ix;
	if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
		return 102;
	int r = index_open(dir, &(struct index_options){.read_only = true}, &ix);
	if (r < 0)
		return 100;
	bool unlocked = ix->unlocked;
	r = walk_line(ix);
	index_close(ix);
	return unlocked ? r : 101;
}

static void let_others_read(void)
{
	char path[200];
	cr_assert_eq(chmod(place.root, 0755), 0);
	cr_assert_eq(chmod(place.dir, 0755), 0);
	snprintf(path, sizeof path, "%s/data.mdb", place.dir);
	cr_assert_eq(chmod(path, 0644), 0);
	snprintf(path, sizeof path, "%s/lock.mdb", place.dir);
	cr_assert_eq(chmod(path, 0644), 0);
}

Test(index_crash, a_reader_works_beside_a_writer)
{
	make_with_alice();
	look_beside_writer(look_read_only, 20);
}

Test(index_crash, a_reader_without_rights_works_beside_a_writer)
{
	if (geteuid() != 0)
		cr_skip_test("needs root, to become somebody else");
	make_with_alice();
	let_others_read();
	look_beside_writer(look_as_nobody, 20);
}

Test(index_crash, a_reader_without_rights_works_alone)
{
	if (geteuid() != 0)
		cr_skip_test("needs root, to become somebody else");
	make_with_alice();
	struct index *ix = test_open(place.dir, (struct index_options){0});
	cr_assert_eq(add_batch(ix, 1), 0);
	index_close(ix);
	let_others_read();
	pid_t pid = fork();
	if (pid == 0)
		_exit(look_as_nobody(place.dir));
	int status;
	waitpid(pid, &status, 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}

/* Opens read-only, tells so, waits for a byte, then must see the last job. */
static void read_after_growth(const char *dir, int in, int out)
{
	struct index *ix;
	struct job job;
	char go;
	if (index_open(dir, &(struct index_options){.read_only = true}, &ix) < 0 ||
	    index_get_job(ix, 1, &job) != -ENOENT || write(out, "r", 1) != 1 || read(in, &go, 1) != 1)
		_exit(1);
	struct index_totals totals;
	if (index_totals(ix, &totals) < 0 || totals.jobs == 0)
		_exit(2);
	if (index_get_job(ix, totals.jobs, &job) < 0)
		_exit(3);
	job_clear(&job);
	_exit(totals.bytes_map > (16 << 20) ? 0 : 4);
}

Test(index_crash, a_reader_follows_growth)
{
	make_with_alice();
	int to[2], from[2], status;
	char ready;
	cr_assert_eq(pipe(to), 0);
	cr_assert_eq(pipe(from), 0);
	pid_t pid = fork();
	if (pid == 0)
		read_after_growth(place.dir, to[0], from[1]);
	close(from[1]);
	cr_assert_eq(read(from[0], &ready, 1), 1);
	struct index *ix = test_open(place.dir, (struct index_options){.relaxed = true});
	struct index_totals totals = {0};
	for (uint32_t n = 1; totals.bytes_used <= (40 << 20); n++) {
		cr_assert_eq(index_begin(ix), 0);
		for (int i = 0; i < 1000; i++) {
			char path[600];
			memset(path, 'p', sizeof path);
			snprintf(path + sizeof path - 24, 24, "%u-%d", n, i);
			test_job(ix, 1, path);
		}
		test_commit(ix);
		cr_assert_eq(index_totals(ix, &totals), 0);
	}
	cr_assert_eq(write(to[1], "g", 1), 1);
	waitpid(pid, &status, 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
	index_close(ix);
}

/* A reader killed in the middle of a read leaves its place in the table. */
static void hold_snapshot(const char *dir, int out)
{
	struct index *ix;
	MDB_txn *txn;
	if (index_open(dir, &(struct index_options){.read_only = true}, &ix) < 0 ||
	    ix_view_begin(ix, &txn) < 0 || write(out, "r", 1) != 1)
		_exit(1);
	pause();
	_exit(1);
}

Test(index_crash, a_dead_reader_does_not_fill_the_index)
{
	make_with_alice();
	int from[2];
	char ready, path[] = "same";
	cr_assert_eq(pipe(from), 0);
	struct index *ix = test_open(place.dir, (struct index_options){.relaxed = true});
	pid_t pid = fork();
	if (pid == 0)
		hold_snapshot(place.dir, from[1]);
	cr_assert_eq(read(from[0], &ready, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	test_begin(ix);
	struct job job = test_job(ix, 1, path);
	test_commit(ix);
	struct index_totals totals;
	for (uint64_t i = 1; i < 20000; i++) {
		job.accepted_ms = i;
		test_begin(ix);
		cr_assert_eq(index_put_job(ix, &job), 0);
		test_commit(ix);
	}
	cr_assert_eq(index_totals(ix, &totals), 0);
	cr_assert_leq(totals.bytes_map, 32 << 20, "%lu bytes", (unsigned long)totals.bytes_map);
	index_close(ix);
}
