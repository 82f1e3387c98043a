/* The handler is started by a child that borrows our memory until it execs
 * (as vfork() does), so a start costs the same whatever we hold. Where there was time, it was
 * made before (runner_ready.c). All that
 * takes memory or locks is done before; the child makes system calls only. */
#include "io/runner_private.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/interpreter.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_SIZE = 128 * 1024, REPORT_FD = 3, LIMITS = 6, DESCRIPTORS = 5 };

struct limit {
	int resource;
	uint64_t value;
};

/* What parent and child share. `step` and `error` are the child's answer. */
struct launch {
	char **argv, **envp;
	const char *file; /* its absolute path; NULL: it changes */
	const struct runner_account *account;
	struct limit limits[LIMITS];
	size_t limits_n;
	uint64_t signals;
	bool usual_policy; /* to be put back */
	int input, output, errors, report, job_dirfd;
	pid_t parent;
	const char *step; /* NULL: the exec itself */
	int error;
};

/* What only this file can be the reason of. */
static const char STEP_ENTER[] = "cannot enter its directory";
static const char STEP_READ[] = "its account cannot read the file";

/* Lowered where it may not be raised: what is in force is stricter then. */
static int set_limit(const struct limit *limit)
{
	struct rlimit now;
	struct rlimit wanted = {.rlim_cur = limit->value, .rlim_max = limit->value};
	if (limit->resource == RLIMIT_CPU)
		wanted.rlim_max += 5; /* SIGXCPU first, SIGKILL later */
	if (setrlimit((__rlimit_resource_t)limit->resource, &wanted) == 0)
		return 0;
	if (errno != EPERM || getrlimit((__rlimit_resource_t)limit->resource, &now) < 0)
		return -1;
	if (wanted.rlim_cur > now.rlim_max)
		wanted.rlim_cur = now.rlim_max;
	wanted.rlim_max = now.rlim_max;
	return setrlimit((__rlimit_resource_t)limit->resource, &wanted);
}

static int set_limits(const struct launch *l)
{
	for (size_t i = 0; i < l->limits_n; i++)
		if (set_limit(&l->limits[i]) < 0)
			return -1;
	return 0;
}

/* By bare system calls: the library would tell all threads of the process
 * whose memory we borrow. */
static int change_account(const struct runner_account *a)
{
	if (!a->change)
		return 0;
	return syscall(SYS_setgroups, a->groups_n, a->groups) < 0 ||
	       syscall(SYS_setresgid, a->gid, a->gid, a->gid) < 0 ||
	       syscall(SYS_setresuid, a->uid, a->uid, a->uid) < 0 ? -1 : 0;
}

static int set_descriptors(const struct launch *l)
{
	/* All of them are above REPORT_FD, see raise_fd(). */
	if (dup2(l->input, STDIN_FILENO) < 0 || dup2(l->output, STDOUT_FILENO) < 0 ||
	    dup2(l->errors, STDERR_FILENO) < 0)
		return -1;
	if (l->report < 0)
		return (int)syscall(SYS_close_range, REPORT_FD, ~0U, 0);
	if (dup2(l->report, REPORT_FD) < 0)
		return -1;
	return (int)syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0);
}

/* As the kernel has it, and by its call: the C library keeps two signals for
 * itself, and leaves them ignored in what it spawns. */
struct action {
	void *handler;
	unsigned long flags; /* cppcheck-suppress unusedStructMember */
	void *restorer;      /* cppcheck-suppress unusedStructMember */
	unsigned long mask;
};

static uint64_t find_signals(void)
{
	uint64_t found = 0;
	for (int sig = 1; sig < NSIG; sig++) {
		struct action now = {0};
		if (syscall(SYS_rt_sigaction, sig, NULL, &now, sizeof now.mask) == 0 &&
		    now.handler != NULL)
			found |= UINT64_C(1) << (sig - 1);
	}
	return found;
}

static void reset_signals(uint64_t signals)
{
	const struct action by_default = {0};
	for (int sig = 1; sig < NSIG; sig++)
		if ((signals >> (sig - 1) & 1) != 0)
			syscall(SYS_rt_sigaction, sig, &by_default, NULL, sizeof by_default.mask);
}

static int set_policy(int policy)
{
	const struct sched_param none = {0};
	return sched_setscheduler(0, policy, &none);
}

/* The parent may have died before we asked to die with it. */
static int die_with(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -1;
	if (getppid() != parent)
		raise(SIGKILL);
	return 0;
}

/* The account's handler is given an absolute path. Returns what is in its way, or NULL. */
static const char *find_unreadable(const struct launch *l)
{
	if (!l->account->change || l->file == NULL || access(l->file, R_OK) == 0)
		return NULL;
	int error = errno;
	bool itself = access(name_base(l->file), R_OK) < 0;
	errno = error;
	return itself ? STEP_READ : "its account cannot reach the file: a directory above it does not "
	                            "let this account through";
}

__attribute__((no_sanitize("address,undefined"))) static int child(void *arg)
{
	struct launch *l = arg;
	sigset_t none;
	l->step = "cannot have descriptors of its own";
	/* Closes none. unshare() is refused in most containers. */
	if (syscall(SYS_close_range, ~0U, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		goto fail;
	reset_signals(l->signals);
	umask(022);
	l->step = "cannot start a session of its own";
	if (setsid() < 0)
		goto fail;
	l->step = "cannot be scheduled as the worker was";
	if (l->usual_policy && set_policy(SCHED_OTHER) < 0)
		goto fail;
	l->step = STEP_ENTER;
	if (l->file == NULL ? chdir("/") < 0 : fchdir(l->job_dirfd) < 0)
		goto fail;
	l->step = "cannot set its descriptors";
	if (set_descriptors(l) < 0)
		goto fail;
	l->step = "cannot set its limits";
	if (set_limits(l) < 0)
		goto fail;
	l->step = "cannot change to its account";
	if (change_account(l->account) < 0)
		goto fail;
	l->step = "cannot tie its life to the worker's";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || die_with(l->parent) < 0)
		goto fail;
	l->step = find_unreadable(l);
	if (l->step != NULL)
		goto fail;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(l->argv[0], l->argv, l->envp);
fail:
	l->error = errno;
	_exit(127);
}

static void add_limit(struct launch *l, int resource, uint64_t value)
{
	l->limits[l->limits_n++] = (struct limit){resource, value};
}

static void plan_limits(struct launch *l, const struct run_limits *limits)
{
	/* Dumps would land in the job's directory. */
	add_limit(l, RLIMIT_CORE, 0);
	if (limits->cpu_seconds > 0)
		add_limit(l, RLIMIT_CPU, limits->cpu_seconds);
	if (limits->memory_bytes > 0)
		add_limit(l, RLIMIT_AS, limits->memory_bytes);
	if (limits->file_bytes > 0)
		add_limit(l, RLIMIT_FSIZE, limits->file_bytes);
	if (limits->open_files > 0)
		add_limit(l, RLIMIT_NOFILE, limits->open_files);
	if (limits->processes > 0)
		add_limit(l, RLIMIT_NPROC, limits->processes);
}

/* Above what the child sets. *ret_fd is then another one, to be closed. */
static int raise_fd(int fd, int *ret_fd, int *ret_copy)
{
	*ret_fd = fd;
	if (fd < 0 || fd > REPORT_FD)
		return 0;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, REPORT_FD + 1);
	if (copy < 0)
		return -errno;
	*ret_fd = *ret_copy = copy;
	return 0;
}

int runner_launcher_init(struct launcher *launcher)
{
	int copy = -1, null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int r = null < 0 ? -errno : raise_fd(null, &launcher->null_fd, &copy);
	if (r < 0 || copy >= 0)
		fd_close(null);
	if (r < 0)
		return r;
	launcher->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
	                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (launcher->stack == MAP_FAILED) {
		r = -errno;
		launcher->stack = NULL;
	}
	launcher->signals = find_signals();
	return r;
}

void runner_launcher_give_way(struct launcher *launcher)
{
	launcher->gives_way = sched_getscheduler(0) == SCHED_OTHER && set_policy(SCHED_BATCH) == 0;
}

void runner_launcher_clear(struct launcher *launcher)
{
	runner_ready_clear(&launcher->ready);
	launcher->null_fd = fd_close(launcher->null_fd);
	if (launcher->stack != NULL)
		munmap(launcher->stack, STACK_SIZE);
	launcher->stack = NULL;
}

int runner_launcher_get_ready(struct launcher *launcher)
{
	return runner_ready_make(&launcher->ready, launcher->stack + STACK_SIZE);
}

/* Returns when the child has execed or given up. */
static int start(struct launch *l, struct launcher *launcher, pid_t *ret_pid, int *ret_pidfd,
                 bool *ret_watched)
{
	sigset_t all, before;
	int pidfd = -1;
	l->parent = getpid();
	if (runner_ready_use(&launcher->ready, child, l, ret_pid, ret_pidfd)) {
		*ret_watched = true;
		return 0;
	}
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t pid = clone(child, launcher->stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, l,
	                  &pidfd);
	int r = pid < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (r == 0) {
		*ret_pid = pid;
		*ret_pidfd = pidfd;
	}
	return r;
}

/* What the bare errno leaves people to guess: a new string, or NULL. */
static char *hint(const char *path, int error)
{
	struct stat st;
	struct interpreter_problem problem;
	if ((error == ENOENT || error == EACCES) &&
	    interpreter_find_problem(path, HANDLER_PATH, &problem)) {
		char *name = escape_str(problem.name);
		char *text = runner_text(" (its first line names \"%s\", %s)", name == NULL ? "?" : name,
		                         problem.what);
		free(name);
		return text;
	}
	if (error == ENOENT && stat(path, &st) == 0)
		return runner_text(" (the interpreter or loader that it names is not there)");
	if (error == ENOEXEC)
		return runner_text(" (a script needs a first line like #!/bin/sh)");
	if (error == EACCES && stat(path, &st) == 0 && (st.st_mode & 0111) == 0)
		return runner_text(" (it is not executable: chmod +x)");
	return NULL;
}

static char *describe(const struct launch *l)
{
	char *path = escape_str(l->argv[0]), *more = l->step == NULL ? hint(l->argv[0], l->error) : NULL;
	char *error = l->step == NULL
		? runner_text("cannot run %s: %s%s", path == NULL ? "?" : path, strerror(l->error),
	                      more == NULL ? "" : more)
		: runner_text("cannot run %s: %s: %s", path == NULL ? "?" : path, l->step,
	                      strerror(l->error));
	free(more);
	free(path);
	return error;
}

static int raise_all(struct launch *l, int *copies)
{
	int *const fds[] = {&l->input, &l->output, &l->errors, &l->report, &l->job_dirfd};
	int r = 0;
	for (size_t i = 0; r == 0 && i < DESCRIPTORS; i++)
		r = raise_fd(*fds[i], fds[i], &copies[i]);
	return r;
}

int runner_spawn(const struct spawn *spawn, struct spawned *ret)
{
	const struct run_order *order = spawn->order;
	struct launch l = {
		.account = spawn->account,
		.signals = spawn->launcher->signals,
		.usual_policy = spawn->launcher->gives_way,
		.input = spawn->input < 0 ? spawn->launcher->null_fd : spawn->input,
		.output = spawn->output < 0 ? spawn->errors : spawn->output,
		.errors = spawn->errors,
		.report = spawn->report,
		.job_dirfd = spawn->job_dirfd,
	};
	int copies[DESCRIPTORS] = {-1, -1, -1, -1, -1}, pidfd = -1;
	pid_t pid = -1;
	l.argv = runner_command_expand(order);
	l.envp = runner_command_environment(order, spawn->account->home);
	int r = l.argv == NULL || l.envp == NULL ? -ENOMEM : raise_all(&l, copies);
	if (r == 0 && !order->stream)
		l.file = l.envp[0] + strlen("SPOOL_FILE=");
	plan_limits(&l, &order->limits);
	if (r == 0)
		r = start(&l, spawn->launcher, &pid, &pidfd, &ret->watched);
	if (r == 0 && l.error != 0) {
		waitpid(pid, NULL, 0);
		fd_close(pidfd);
		r = -l.error;
		ret->error = describe(&l);
	}
	ret->unready = r < 0 && l.step != STEP_ENTER && l.step != STEP_READ;
	for (size_t i = 0; i < DESCRIPTORS; i++)
		fd_close(copies[i]);
	runner_command_free(l.argv);
	runner_command_free(l.envp);
	if (r == 0) {
		ret->pid = pid;
		ret->pidfd = pidfd;
	}
	return r;
}
