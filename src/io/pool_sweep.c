#include "io/pool_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

enum {
	QUIET_ENOUGH = 2, /* a walk is no snapshot, see proc.h */
	AGAIN_MS = 5,
	SLOW_MS = 500,
	PATIENCE_MS = 5000,
};

static void arm(struct pool *p, uint64_t ms)
{
	struct itimerspec after = {.it_value.tv_nsec = (long)ms * 1000000};
	timerfd_settime(p->timer, 0, &after, NULL);
}

void pool_sweep_begin(struct pool *p)
{
	p->quiet = 0;
	p->grumbled = false;
	p->sweep_ms = clock_steady_ms();
	arm(p, 1);
}

static struct worker *find_pid(struct pool *p, pid_t pid)
{
	struct worker *w = p->workers;
	while (w != NULL && (w->pid != pid || w->reaped))
		w = w->next;
	return w;
}

static void reap(struct pool *p)
{
	pid_t pid;
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		struct worker *w = find_pid(p, pid);
		if (w != NULL)
			w->reaped = true;
	}
}

/* Counts the workers that wait for us; those that owe nothing, and had nothing
 * that they could leave behind, are let go. */
static unsigned count_dying(struct pool *p, bool *ret_owing)
{
	unsigned n = 0;
	for (struct worker *w = p->workers, *next; w != NULL; w = next) {
		next = w->next;
		/* In other states its socket will tell, after what it has said. */
		if (w->state == WORKER_DYING && w->reaped)
			w->state = WORKER_DEAD;
		if (w->state == WORKER_DEAD && !w->owes && w->handler == NULL) {
			pool_worker_remove(p, w);
			continue;
		}
		n += w->state == WORKER_DYING || w->state == WORKER_DEAD;
		*ret_owing = *ret_owing || w->state == WORKER_DEAD;
	}
	return n;
}

/* Kills what is below us but neither a living worker nor below one. */
static int kill_strays(struct pool *p)
{
	size_t n = 0;
	for (const struct worker *w = p->workers; w != NULL; w = w->next)
		n++;
	pid_t *living = calloc(n, sizeof *living);
	if (living == NULL)
		return -ENOMEM;
	struct proc_tree tree = {.root = getpid(), .spare = living};
	for (const struct worker *w = p->workers; w != NULL; w = w->next)
		if (!w->reaped)
			living[tree.spare_n++] = w->pid;
	int alive = proc_signal_tree(&tree, SIGKILL);
	free(living);
	return alive;
}

static bool is_quiet(struct pool *p)
{
	do
		p->quiet = kill_strays(p) == 0 ? p->quiet + 1 : 0;
	while (p->quiet > 0 && p->quiet < QUIET_ENOUGH);
	reap(p);
	return p->quiet >= QUIET_ENOUGH;
}

static void grumble(struct pool *p)
{
	if (p->grumbled || clock_steady_ms() - p->sweep_ms < PATIENCE_MS)
		return;
	p->grumbled = true;
	log_warning("a worker or what it left behind does not end although it was killed (a network "
	            "mount that hangs?); its job waits for that");
}

bool pool_sweep(struct pool *p)
{
	uint64_t ticks;
	bool owing = false;
	if (read(p->timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
		return false;
	reap(p);
	if (count_dying(p, &owing) == 0)
		return false;
	if (owing && is_quiet(p))
		return true;
	grumble(p);
	arm(p, p->grumbled ? SLOW_MS : AGAIN_MS);
	return false;
}
