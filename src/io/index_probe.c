#include "io/index_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

/* How often a check that a writer overtook is repeated. */
enum { CHECK_TRIES = 3 };

/* What the child says in one write; without it, it died. */
struct report {
	int result;
	char problem[PROBLEM_MAX];
};


static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

static bool is_fatal(int signal_number)
{
	for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
		if (fatal[i] == signal_number)
			return true;
	}
	return false;
}

static void died(MDB_env *env, const char *message)
{
	(void)env;
	(void)message;
	_exit(EXIT_FAILURE);
}

static int open_and_check(const struct ix_probe *p, char problem[PROBLEM_MAX])
{
	struct index ix = {
		.dir = strdup(p->dir), .dirfd = -1, .lock_fd = -1, .read_only = true, .unlocked = p->unlocked,
	};
	if (ix.dir == NULL)
		return -ENOMEM;
	int r = p->pages ? ix_pages_check(p->dir, problem) : 0;
	if (r == 0)
		r = ix_env_open(&ix, p->spool_id);
	if (r == 0 && p->deep) {
		mdb_env_set_assert(ix.env, died);
		r = ix_check(&ix, problem);
	}
	ix_env_close(&ix);
	free(ix.dir);
	return r;
}

/* The child dies in silence: its end is its answer, and the caller tells it. */
static void go_quiet(pid_t parent)
{
	struct rlimit no_core = {0, 0};
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
		signal(fatal[i], SIG_DFL);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null >= 0)
		dup2(null, STDERR_FILENO);
}

__attribute__((noreturn)) static void child(const struct ix_probe *p, int out, pid_t parent)
{
	struct report report = {0};
	go_quiet(parent);
	report.result = open_and_check(p, report.problem);
	fd_write_all(out, &report, sizeof report);
	_exit(EXIT_SUCCESS);
}

/* Only a death of its own doing is damage: not a kill from outside, be it for
 * want of memory. */
static int judge_death(pid_t pid, struct report *ret)
{
	int status;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	if (WIFSIGNALED(status) && !is_fatal(WTERMSIG(status)))
		return -EINTR;
	*ret = (struct report){.result = -EBADMSG};
	strcpy(ret->problem, "reading it ends the process: a page points where it must not");
	return 0;
}

static int read_report(int fd, pid_t pid, struct report *ret)
{
	char *data;
	size_t size;
	int r = fd_read_all(fd, sizeof *ret, &data, &size);
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return r;
	}
	if (size != sizeof *ret) {
		free(data);
		return judge_death(pid, ret);
	}
	memcpy(ret, data, size);
	free(data);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

static int run(const struct ix_probe *p, struct report *ret)
{
	int pipe_fds[2];
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	pid_t parent = getpid(), pid = fork();
	if (pid < 0) {
		int r = -errno;
		fd_close(pipe_fds[0]);
		fd_close(pipe_fds[1]);
		return r;
	}
	if (pid == 0)
		child(p, pipe_fds[1], parent);
	fd_close(pipe_fds[1]);
	int r = read_report(pipe_fds[0], pid, ret);
	fd_close(pipe_fds[0]);
	return r;
}

int ix_probe(const struct ix_probe *p, char **ret_problem)
{
	struct report report = {.result = -EAGAIN};
	for (int tries = 0; report.result == -EAGAIN && tries < CHECK_TRIES; tries++) {
		int r = run(p, &report);
		if (r < 0)
			return r;
	}
	if (report.result == -EBADMSG && ret_problem != NULL) {
		*ret_problem = strndup(report.problem, PROBLEM_MAX);
		if (*ret_problem == NULL)
			return -ENOMEM;
	}
	return report.result == -EAGAIN ? -EBUSY : report.result;
}

/* A writer may have started since: what looked like damage may be its work. */
static int check_to_read(struct index *ix, char **ret_problem)
{
	struct ix_probe p = {.dir = ix->dir, .unlocked = ix->unlocked, .deep = true};
	p.pages = !ix_dir_has_writer(ix);
	int r = ix_probe(&p, ret_problem);
	if (r != -EBADMSG || !p.pages || !ix_dir_has_writer(ix))
		return r;
	free(*ret_problem);
	p.pages = false;
	return ix_probe(&p, ret_problem);
}

int index_check(struct index *ix, char **ret_problem)
{
	/* A writer's child needs no place in the reader table: nobody else
	 * writes, and the writer waits here. */
	struct ix_probe p = {.dir = ix->dir, .unlocked = true, .pages = true, .deep = true};
	char *problem = NULL;
	int r = ix->read_only ? check_to_read(ix, &problem) : ix_probe(&p, &problem);
	ix->damaged = ix->damaged || r == -EBADMSG;
	if (r == -EBADMSG)
		*ret_problem = problem;
	return r;
}
