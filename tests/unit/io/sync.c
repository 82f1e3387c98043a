#include "io/sync.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { LIMIT_MS = 60000, CALLS_MAX = 4096, FILES_MAX = 200 };

static char dir[] = "/tmp/spoold-sync-XXXXXX";
static struct sync *s;

/* What reached the kernel, in order: seen on its way, then really done. */
static struct {
	pthread_mutex_t lock;
	ino_t inodes[CALLS_MAX];
	size_t fsyncs, syncfss;
	ino_t fail;         /* this inode gives EIO */
	bool hold;          /* each call waits for `go`, after posting `arrived` */
	sem_t arrived, go;
	sigset_t blocked;   /* signals of the thread that called */
} calls = {.lock = PTHREAD_MUTEX_INITIALIZER};

int fsync(int fd)
{
	struct stat st = {0};
	fstat(fd, &st);
	pthread_mutex_lock(&calls.lock);
	if (calls.fsyncs < CALLS_MAX)
		calls.inodes[calls.fsyncs++] = st.st_ino;
	pthread_sigmask(SIG_SETMASK, NULL, &calls.blocked);
	bool fail = st.st_ino == calls.fail, hold = calls.hold;
	pthread_mutex_unlock(&calls.lock);
	if (hold) {
		sem_post(&calls.arrived);
		sem_wait(&calls.go);
	}
	if (fail) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
	pthread_mutex_lock(&calls.lock);
	calls.syncfss++;
	pthread_mutex_unlock(&calls.lock);
	return (int)syscall(SYS_syncfs, fd);
}

static void begin(void)
{
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
	sem_init(&calls.arrived, 0, 0);
	sem_init(&calls.go, 0, 0);
	cr_assert_eq(sync_new(&s), 0);
}

static void end(void)
{
	char command[64];
	sync_free(s);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	cr_expect_eq(system(command), 0);
}

TestSuite(sync, .init = begin, .fini = end, .timeout = 240);

static int open_file(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, "x", 1), 1);
	return fd;
}

static int open_dir(const char *name)
{
	int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	return fd;
}

static ino_t inode(int fd)
{
	struct stat st;
	cr_assert_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

static void wait_for_end(uint64_t *ret_tag, int *ret_error)
{
	struct pollfd p = {.fd = sync_fd(s), .events = POLLIN};
	cr_assert_eq(poll(&p, 1, LIMIT_MS), 1, "no batch ended");
	cr_assert_eq(sync_next(s, ret_tag, ret_error), 1);
}

static int sync_one(const int *fds, size_t n)
{
	uint64_t tag;
	int error;
	cr_assert_eq(sync_add(s, 4711, fds, n, NULL), 0);
	wait_for_end(&tag, &error);
	cr_expect_eq(tag, 4711);
	return error;
}

Test(sync, a_batch_is_synced_and_closed)
{
	int fds[] = {open_file("a"), open_file("b")};
	ino_t a = inode(fds[0]), b = inode(fds[1]);
	cr_expect_eq(sync_one(fds, 2), 0);
	cr_assert_eq(calls.fsyncs, 2);
	cr_expect((calls.inodes[0] == a && calls.inodes[1] == b) ||
	          (calls.inodes[0] == b && calls.inodes[1] == a));
	cr_expect_eq(fcntl(fds[0], F_GETFD), -1);
	cr_expect_eq(fcntl(fds[1], F_GETFD), -1);
	uint64_t tag;
	int error;
	cr_expect_eq(sync_next(s, &tag, &error), 0);
}

Test(sync, files_come_before_directories_and_each_inode_once)
{
	cr_assert_eq(mkdir("sub", 0755), 0);
	int fds[] = {open_dir("."), open_file("a"), open_dir("sub"), open_dir("."),
	             open_file("b"), open_dir("."), open_file("a")};
	ino_t dot = inode(fds[0]), sub = inode(fds[2]);
	cr_expect_eq(sync_one(fds, 7), 0);
	cr_assert_eq(calls.fsyncs, 4);
	for (size_t i = 0; i < 4; i++) {
		bool is_dir = calls.inodes[i] == dot || calls.inodes[i] == sub;
		cr_expect_eq(is_dir, i >= 2);
	}
	cr_expect_neq(calls.inodes[2], calls.inodes[3]);
}

Test(sync, an_empty_batch_ends)
{
	cr_expect_eq(sync_one(NULL, 0), 0);
}

Test(sync, what_cannot_be_synced_is_reported)
{
	int ends[2];
	cr_assert_eq(pipe(ends), 0);
	cr_expect_eq(sync_one(&ends[0], 1), -EINVAL);
	int path = open(".", O_PATH | O_CLOEXEC);
	cr_expect_eq(sync_one(&path, 1), -EBADF);
	int none = -1;
	cr_expect_eq(sync_one(&none, 1), -EBADF);
}

Test(sync, an_error_does_not_stop_the_rest)
{
	int fds[] = {open_file("a"), open_file("b"), open_dir(".")};
	calls.fail = inode(fds[0]);
	cr_expect_eq(sync_one(fds, 3), -EIO);
	cr_expect_eq(calls.fsyncs, 3);
	/* And the next batch starts anew. */
	calls.fail = 0;
	fds[0] = open_file("a");
	cr_expect_eq(sync_one(fds, 1), 0);
}

Test(sync, each_descriptor_has_its_own_error)
{
	int fds[] = {open_dir("."), open_file("a"), open_file("b"), open_file("a")};
	int errors[] = {1, 1, 1, 1};
	uint64_t tag;
	int error;
	calls.fail = inode(fds[1]);
	cr_assert_eq(sync_add(s, 1, fds, 4, errors), 0);
	wait_for_end(&tag, &error);
	cr_expect_eq(error, -EIO);
	cr_expect_eq(errors[0], 0);
	cr_expect_eq(errors[1], -EIO);
	cr_expect_eq(errors[2], 0);
	cr_expect_eq(errors[3], -EIO, "the same file once more");
}

Test(sync, many_files_of_one_disk_are_synced_together)
{
	struct statfs fs;
	cr_assert_eq(statfs(".", &fs), 0);
	if (fs.f_type != 0xef53 && fs.f_type != 0x58465342 && fs.f_type != 0x9123683e)
		cr_skip_test("/tmp is on another file system");
	int fds[FILES_MAX];
	for (size_t i = 0; i < FILES_MAX - 1; i++) {
		char name[20];
		snprintf(name, sizeof name, "%zu", i);
		fds[i] = open_file(name);
	}
	fds[FILES_MAX - 1] = open_dir(".");
	cr_expect_eq(sync_one(fds, FILES_MAX), 0);
	cr_expect_eq(calls.syncfss, 1);
	cr_expect_eq(calls.fsyncs, 1, "the directory");
}

Test(sync, where_syncfs_promises_nothing_each_file_is_synced)
{
	struct statfs fs;
	if (statfs("/dev/shm", &fs) < 0 || fs.f_type != 0x01021994)
		cr_skip_test("/dev/shm is no tmpfs");
	int fds[FILES_MAX];
	for (size_t i = 0; i < FILES_MAX; i++) {
		fds[i] = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		cr_assert_geq(fds[i], 0);
	}
	cr_expect_eq(sync_one(fds, FILES_MAX), 0);
	cr_expect_eq(calls.syncfss, 0);
	cr_expect_eq(calls.fsyncs, FILES_MAX);
}

Test(sync, batches_end_in_order)
{
	enum { BATCHES = 1000 };
	uint64_t tag;
	int error;
	for (uint64_t i = 0; i < BATCHES; i++) {
		int fds[] = {open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
		cr_assert_eq(sync_add(s, i, fds, 1, NULL), 0);
	}
	for (uint64_t i = 0; i < BATCHES; i++) {
		wait_for_end(&tag, &error);
		cr_assert_eq(tag, i);
		cr_assert_eq(error, 0);
	}
	struct pollfd p = {.fd = sync_fd(s), .events = POLLIN};
	cr_expect_eq(poll(&p, 1, 0), 0, "readable though nothing waits");
	cr_expect_eq(sync_next(s, &tag, &error), 0);
	cr_expect_eq(calls.fsyncs, BATCHES);
}

Test(sync, the_caller_is_not_kept_waiting)
{
	calls.hold = true;
	int fd = open_file("slow");
	cr_assert_eq(sync_add(s, 1, &fd, 1, NULL), 0);
	sem_wait(&calls.arrived);
	uint64_t tag;
	int error;
	fd = open_file("next");
	cr_assert_eq(sync_add(s, 2, &fd, 1, NULL), 0);
	cr_expect_eq(sync_next(s, &tag, &error), 0);
	calls.hold = false;
	sem_post(&calls.go);
	wait_for_end(&tag, &error);
	cr_expect_eq(tag, 1);
	wait_for_end(&tag, &error);
	cr_expect_eq(tag, 2);
}

Test(sync, signals_stay_away_from_the_thread)
{
	int fd = open_file("a");
	cr_expect_eq(sync_one(&fd, 1), 0);
	static const int some[] = {SIGTERM, SIGHUP, SIGCHLD, SIGINT, SIGIO, SIGUSR1};
	for (size_t i = 0; i < sizeof some / sizeof *some; i++)
		cr_expect_eq(sigismember(&calls.blocked, some[i]), 1, "%d", some[i]);
	sigset_t own;
	pthread_sigmask(SIG_SETMASK, NULL, &own);
	cr_expect_eq(sigismember(&own, SIGTERM), 0);
}

static void *let_go(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		sem_post(&calls.go);
	return NULL;
}

Test(sync, freeing_waits_for_the_batch_at_work_and_closes_the_rest)
{
	int fds[] = {open_file("a"), open_file("b"), open_file("c")};
	calls.hold = true;
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(sync_add(s, i, &fds[i], 1, NULL), 0);
	sem_wait(&calls.arrived);
	pthread_t helper;
	cr_assert_eq(pthread_create(&helper, NULL, let_go, NULL), 0);
	sync_free(s);
	s = NULL;
	pthread_join(helper, NULL);
	cr_expect_geq(calls.fsyncs, 1);
	for (size_t i = 0; i < 3; i++)
		cr_expect_eq(fcntl(fds[i], F_GETFD), -1);
}

Test(sync, freeing_with_results_untaken)
{
	int fd = open_file("a");
	cr_assert_eq(sync_add(s, 1, &fd, 1, NULL), 0);
	struct pollfd p = {.fd = sync_fd(s), .events = POLLIN};
	cr_assert_eq(poll(&p, 1, LIMIT_MS), 1);
	sync_free(s);
	s = NULL;
	sync_free(NULL);
}
