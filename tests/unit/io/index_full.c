/* More jobs than the map has room for, and a disk that is full. */
#include "io/index_support.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

static struct place_for_tests place;

static void setup(void)
{
	test_place(&place);
}

static void teardown(void)
{
	umount2(place.root, MNT_DETACH);
	test_place_remove(&place);
}

TestSuite(index_full, .init = setup, .fini = teardown, .timeout = 240);

static int add_jobs(struct index *ix, uint32_t user, int n)
{
	for (int i = 0; i < n; i++) {
		char path[40];
		struct job job = {.user = user, .path = path};
		int r = index_new_id(ix, &job.id);
		if (r == 0)
			r = index_new_seq(ix, &job.seq);
		snprintf(path, sizeof path, "2026/report-%lu.csv", (unsigned long)job.id);
		if (r == 0)
			r = index_put_job(ix, &job);
		if (r < 0)
			return r;
	}
	return 0;
}

static uint32_t add_alice(struct index *ix)
{
	test_begin(ix);
	uint32_t alice = test_user(ix, "alice");
	test_commit(ix);
	return alice;
}

Test(index_full, three_hundred_thousand_jobs_fit)
{
	struct index *ix = test_create(place.dir);
	struct index_totals totals;
	uint32_t alice = add_alice(ix);
	for (int batch = 0; batch < 300; batch++) {
		test_begin(ix);
		cr_assert_eq(add_jobs(ix, alice, 1000), 0, "batch %d", batch);
		test_commit(ix);
	}
	cr_assert_eq(index_totals(ix, &totals), 0);
	cr_assert_eq(totals.jobs, 300000);
	cr_assert_geq(totals.bytes_map, totals.bytes_used);
	test_sound(ix);
	index_close(ix);
	ix = test_open(place.dir, (struct index_options){0});
	cr_assert_eq(index_totals(ix, &totals), 0);
	cr_assert_eq(totals.jobs, 300000);
	index_close(ix);
}

Test(index_full, a_transaction_larger_than_the_map_can_be_repeated)
{
	struct index *ix = test_create(place.dir);
	struct index_totals totals;
	uint32_t alice = add_alice(ix);
	int r, tries = 0;
	do {
		test_begin(ix);
		r = add_jobs(ix, alice, 80000);
		if (r == 0) {
			test_commit(ix);
			break;
		}
		cr_assert_eq(r, -ENOSPC);
		cr_assert(index_map_was_full(ix));
		if (tries % 2 == 0)
			index_abort(ix);
		else
			cr_assert_eq(index_commit(ix), -ENOSPC, "half a transaction");
		cr_assert_eq(index_totals(ix, &totals), 0);
		cr_assert_eq(totals.jobs, 0);
	} while (++tries < 10);
	cr_assert_eq(r, 0);
	cr_assert_gt(tries, 0, "it was to be too large");
	cr_assert_not(index_map_was_full(ix));
	test_sound(ix);
	index_close(ix);
}

/* In a mount namespace of its own: even a crash leaves nothing mounted. */
static void mount_small(const char *options)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", place.root, "tmpfs", 0, options) < 0)
		cr_skip_test("needs root and tmpfs, for a full disk");
}

/* Takes all the room there is; returns the file's path in `path`. */
static void take_room(char path[200], size_t leave)
{
	char block[4096] = {0};
	snprintf(path, 200, "%s/filler", place.root);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	off_t size = 0;
	while (write(fd, block, sizeof block) == sizeof block)
		size += (off_t)sizeof block;
	cr_assert_eq(ftruncate(fd, size > (off_t)leave ? size - (off_t)leave : 0), 0);
	close(fd);
}

Test(index_full, making_one_on_a_full_disk_is_an_error)
{
	char filler[200];
	mount_small("size=1m");
	for (size_t leave = 0; leave < 40 * 4096; leave += 4096) {
		take_room(filler, leave);
		int r = test_try(place.dir, (struct index_options){.create = true});
		cr_assert(r == -ENOSPC || r == 0, "with %zu bytes left: %d", leave, r);
		cr_assert(leave > 0 || r == -ENOSPC);
		cr_assert_eq(unlink(filler), 0);
		if (r == 0)
			return;
		/* What is left behind does no harm. */
		cr_assert_eq(test_try(place.dir, (struct index_options){.create = false}), -ENOENT);
	}
	cr_assert(false, "it never fitted");
}

Test(index_full, opening_on_a_full_disk_works_or_is_an_error)
{
	char filler[200], lock[200];
	mount_small("size=1m");
	index_close(test_create(place.dir));
	take_room(filler, 0);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), 0);
	cr_assert_eq(unlink(filler), 0);
	snprintf(lock, sizeof lock, "%s/lock.mdb", place.dir);
	cr_assert_eq(unlink(lock), 0);
	take_room(filler, 0);
	int r = test_try(place.dir, (struct index_options){0});
	cr_assert(r == -ENOSPC || r == 0, "%d", r);
	cr_assert_eq(test_try(place.dir, (struct index_options){.read_only = true}), 0);
}

Test(index_full, a_full_disk_fails_the_commit_and_nothing_else)
{
	char filler[200];
	mount_small("size=4m");
	struct index *ix = test_create(place.dir);
	struct index_totals totals;
	struct job job;
	uint32_t alice = add_alice(ix);
	test_begin(ix);
	cr_assert_eq(add_jobs(ix, alice, 200), 0);
	test_commit(ix);
	take_room(filler, 0);
	int r = 0;
	for (int i = 0; r == 0 && i < 1000; i++) {
		test_begin(ix);
		r = add_jobs(ix, alice, 50);
		cr_assert_eq(r, 0, "the map has room");
		r = index_commit(ix);
	}
	cr_assert_eq(r, -ENOSPC);
	cr_assert_not(index_map_was_full(ix), "it is the disk");
	cr_assert_eq(index_totals(ix, &totals), 0);
	cr_assert_geq(totals.jobs, 200);
	cr_assert_eq(index_get_job(ix, totals.jobs, &job), 0);
	job_clear(&job);
	cr_assert_eq(index_get_job(ix, totals.jobs + 1, &job), -ENOENT);
	cr_assert_eq(unlink(filler), 0);
	test_begin(ix);
	cr_assert_eq(add_jobs(ix, alice, 50), 0);
	test_commit(ix);
	test_sound(ix);
	index_close(ix);
	ix = test_open(place.dir, (struct index_options){0});
	index_close(ix);
}
