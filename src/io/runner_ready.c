/* A process that waits for what it is to become. Until it has execed it borrows our memory, as
 * a child of vfork() does, and our descriptors, so that it holds nothing that we close; but we
 * go on meanwhile. So it has the errno of the thread that made it: before it has its order it
 * makes no call that fails (all signals are blocked, so nothing interrupts it), and from then on
 * we only wait. (Where that takes long, the reason why it cannot exec may be a wrong one.)
 *
 * The order is a byte in a pipe and not a futex: it wakes who reads it on the processor of who
 * wrote it, where all that is needed is in the caches. */
#include "io/runner_private.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_NS = 500 * 1000 * 1000 };

/* What somebody sent to it while it waited is not meant for a handler. */
static void forget_signals(void)
{
	sigset_t pending;
	sigpending(&pending);
	for (int sig = 1; sig < NSIG; sig++)
		if (sigismember(&pending, sig) == 1) {
			signal(sig, SIG_IGN);
			signal(sig, SIG_DFL);
		}
}

__attribute__((no_sanitize("address,undefined"))) static int wait_for_order(void *arg)
{
	struct ready *ready = arg;
	char byte;
	prctl(PR_SET_NAME, "spool-ready");
	/* The parent may have died before we asked to die with it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != ready->parent)
		_exit(127);
	if (syscall(SYS_read, ready->orders, &byte, 1) != 1)
		_exit(127);
	atomic_store(&ready->obeys, 1);
	forget_signals();
	return ready->act(ready->arg);
}

int runner_ready_make(struct ready *ready, char *stack_end)
{
	sigset_t all, before;
	int ends[2];
	if (ready->orders < 0) {
		if (pipe2(ends, O_CLOEXEC) < 0)
			return -errno;
		ready->orders = ends[0];
		ready->order = ends[1];
	}
	ready->parent = getpid();
	atomic_store(&ready->obeys, 0);
	atomic_store(&ready->lives, 1);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	/* `lives` becomes 0, and who waits for that is woken, when it execs or ends. */
	pid_t pid = clone(wait_for_order, stack_end,
	                  CLONE_VM | CLONE_FILES | CLONE_PIDFD | CLONE_CHILD_CLEARTID | SIGCHLD, ready,
	                  &ready->pidfd, NULL, &ready->lives);
	int r = pid < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		ready->pid = pid;
	return r;
}

bool runner_ready_use(struct ready *ready, int (*act)(void *arg), void *arg, pid_t *ret_pid,
                      int *ret_pidfd)
{
	if (ready->pid == 0)
		return false;
	ready->act = act;
	ready->arg = arg;
	const struct timespec patience = {.tv_nsec = PATIENCE_NS};
	bool told = write(ready->order, "", 1) == 1;
	/* One that somebody stopped would keep us for ever. */
	while (told && atomic_load(&ready->lives) != 0)
		if (syscall(SYS_futex, &ready->lives, FUTEX_WAIT, 1, &patience, NULL, 0) < 0 &&
		    errno == ETIMEDOUT)
			kill(ready->pid, SIGCONT);
	if (atomic_load(&ready->obeys) == 0) {
		runner_ready_clear(ready);
		return false;
	}
	*ret_pid = ready->pid;
	*ret_pidfd = ready->pidfd;
	ready->pid = 0;
	return true;
}

void runner_ready_clear(struct ready *ready)
{
	if (ready->pid != 0) {
		kill(ready->pid, SIGKILL);
		while (waitpid(ready->pid, NULL, 0) < 0 && errno == EINTR)
			;
		fd_close(ready->pidfd);
		ready->pid = 0;
	}
	ready->orders = fd_close(ready->orders);
	ready->order = fd_close(ready->order);
}
