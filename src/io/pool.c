#include "io/pool_private.h"

#include "base/fd.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { RUN_TRIES = 16 };

int pool_new(const char *worker_path, uint32_t max, struct pool **ret)
{
	struct pool *p = calloc(1, sizeof *p);
	if (p == NULL)
		return -ENOMEM;
	p->max = max;
	p->path = strdup(worker_path);
	p->talking = -1;
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = p->timer};
	int r = 0;
	if (p->path == NULL)
		r = -ENOMEM;
	else if (p->epoll < 0 || p->timer < 0 ||
	         epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->timer, &event) < 0 ||
	         prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		r = -errno;
	if (r < 0) {
		pool_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void pool_free(struct pool *p)
{
	if (p == NULL)
		return;
	while (p->workers != NULL)
		pool_worker_remove(p, p->workers);
	message_clear(&p->message);
	fd_close(p->timer);
	fd_close(p->epoll);
	free(p->path);
	free(p);
}

int pool_fd(const struct pool *p)
{
	return p->epoll;
}

void pool_outdate(struct pool *p)
{
	for (struct worker *w = p->workers; w != NULL; w = w->next)
		w->outdated = w->handler != NULL;
}

struct worker *pool_find_job(const struct pool *p, uint64_t job, bool told)
{
	for (struct worker *w = p->workers; w != NULL; w = w->next) {
		const struct pool_task *t = pool_task_find(w, job);
		if (t != NULL && t->told == told && (w->state == WORKER_BUSY || w->state == WORKER_TOLD))
			return w;
	}
	return NULL;
}

/* For a stream handler's sake, who had what is kept. */
static int note_handler(struct worker *w, const struct run_order *order, const char *handler)
{
	char *user = handler == NULL ? NULL : strdup(order->user);
	char *copy = handler == NULL ? NULL : strdup(handler);
	if (handler != NULL && (user == NULL || copy == NULL)) {
		free(user);
		free(copy);
		return -ENOMEM;
	}
	free(w->user);
	free(w->handler);
	w->user = user;
	w->handler = copy;
	w->outdated = false;
	return 0;
}

static int hand_over(struct pool *p, struct worker *w, const struct message *message,
                     const int *fds, size_t n)
{
	uint64_t job = message->order.job;
	int r = pool_task_add(w, job);
	if (r < 0)
		return r;
	r = pool_send_with_acks(w, message, fds, n);
	if (r < 0) {
		pool_task_remove(w, job);
		return r;
	}
	w->turn = ++p->turns;
	pool_task_set_state(w);
	return 0;
}

static int run_now(struct pool *p, const struct message *message, const char *handler,
                   const int *fds, size_t n)
{
	int r = -EAGAIN;
	for (unsigned tries = 0; tries < RUN_TRIES; tries++) {
		struct worker *w;
		r = pool_find_or_start(p, message->order.user, handler, &w);
		if (r == 0)
			r = note_handler(w, &message->order, handler);
		if (r < 0)
			break;
		r = hand_over(p, w, message, fds, n);
		if (r != -EPIPE && r != -ECONNRESET)
			break;
		/* An idle worker that died unnoticed: the next one. */
		pool_worker_kill(p, w);
	}
	return r;
}

/* One that died meanwhile: what it said before is still to be read. */
static int run_after(struct pool *p, const struct message *message, const int *fds, size_t n)
{
	struct worker *w = pool_find_job(p, message->order.after, false);
	if (w == NULL || pool_task_last(w)->job != message->order.after)
		return -ESRCH;
	int r = hand_over(p, w, message, fds, n);
	return r == -EPIPE || r == -ECONNRESET ? -ESRCH : r;
}

int pool_run(struct pool *p, const struct run_order *order, int lock_fd, int job_dirfd)
{
	const struct message message = {.type = MESSAGE_RUN, .order = *order};
	const int fds[] = {lock_fd, job_dirfd};
	if (order->after != 0)
		return run_after(p, &message, fds, sizeof fds / sizeof *fds);
	if (pool_free_places(p) == 0)
		return -EAGAIN;
	char *handler = order->stream ? run_order_handler(order) : NULL;
	if (order->stream && handler == NULL)
		return -ENOMEM;
	int r = run_now(p, &message, handler, fds, sizeof fds / sizeof *fds);
	free(handler);
	return r;
}

void pool_wake(struct pool *p, uint64_t job)
{
	const struct worker *w = pool_find_job(p, job, false);
	if (w != NULL && !w->reaped)
		kill(w->pid, SIGCONT);
}

int pool_cancel(struct pool *p, uint64_t job, bool interrupt)
{
	struct message cancel = {.type = MESSAGE_CANCEL, .job = job, .interrupt = interrupt};
	struct worker *w = pool_find_job(p, job, false);
	if (w == NULL)
		return -ESRCH;
	int r = pool_worker_send(w, &cancel, NULL, 0);
	pool_wake(p, job);
	/* It died: that will be told. */
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

/* Where it does not hear that, it dies, and gives all back that way. */
void pool_recall(struct pool *p, uint64_t job)
{
	const struct message recall = {.type = MESSAGE_RECALL};
	struct worker *w = pool_find_job(p, job, false);
	if (w != NULL && pool_worker_send(w, &recall, NULL, 0) < 0 && !w->reaped)
		kill(w->pid, SIGKILL);
}

/* The job that a message is about; NULL where its worker cannot say that. */
static struct pool_task *subject(const struct worker *w, const struct message *m)
{
	struct pool_task *first = pool_task_first(w), *t;
	switch (m->type) {
	case MESSAGE_STARTED:
		return first != NULL && first->job == m->job ? first : NULL;
	case MESSAGE_PROGRESS:
		return first != NULL && first->job == m->progress.job ? first : NULL;
	case MESSAGE_RESULT:
		t = pool_task_find(w, m->result.job);
		return t == NULL || t->told ? NULL : t;
	default:
		return NULL;
	}
}

static int receive(struct pool *p, struct worker *w, struct message *ret)
{
	int fds[FD_PASS_MAX];
	size_t size;
	int r = fd_recv(w->sock, p->buffer, sizeof p->buffer, &size, fds);
	/* It died without reading all we said; what it said is still there. */
	if (r == -ECONNRESET)
		r = fd_recv(w->sock, p->buffer, sizeof p->buffer, &size, fds);
	if (r < 0)
		return r;
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(fds[i]);
	return size == 0 ? -EPIPE : message_decode(p->buffer, size, ret);
}

static int hear(struct pool *p, struct worker *w, struct pool_event *ret)
{
	static const enum pool_event_kind kinds[MESSAGE_TYPES] = {
		[MESSAGE_STARTED] = POOL_STARTED,
		[MESSAGE_PROGRESS] = POOL_PROGRESS,
		[MESSAGE_RESULT] = POOL_RESULT,
	};
	int r = receive(p, w, &p->message);
	if (r == -EAGAIN)
		return 0;
	struct pool_task *t = r == 0 && w->state == WORKER_BUSY ? subject(w, &p->message) : NULL;
	if (r == 0 && t == NULL)
		r = -EBADMSG;
	if (t == NULL) {
		if (r == -EBADMSG || r == -EMSGSIZE)
			log_error("worker %d says what no worker should; it is killed", (int)w->pid);
		w->garbled = r != -EPIPE && r != -ECONNRESET;
		message_clear(&p->message);
		pool_worker_kill(p, w);
		return 0;
	}
	if (p->message.type == MESSAGE_RESULT)
		t->told = true;
	pool_task_set_state(w);
	if (pool_task_first(w) != NULL)
		p->talking = w->sock;
	*ret = (struct pool_event){.kind = kinds[p->message.type], .job = t->job,
	                           .message = p->message};
	return 1;
}

static struct worker *find_state(struct pool *p, enum worker_state state)
{
	struct worker *w = p->workers;
	while (w != NULL && w->state != state)
		w = w->next;
	return w;
}

/* One at a time: the next sweep finds the next, quickly. */
static int tell_gone(struct pool *p, struct pool_event *ret)
{
	struct worker *w = find_state(p, WORKER_DEAD);
	assert(w != NULL);
	const struct pool_task *t = w->owes ? pool_task_first(w) : NULL;
	bool owes = t != NULL;
	if (owes) {
		*ret = (struct pool_event){.kind = POOL_GONE, .job = t->job,
		                           .waited = w->gone_n++ > 0 && !w->garbled};
		pool_task_remove(w, t->job);
	}
	if (pool_task_first(w) == NULL)
		pool_worker_remove(p, w);
	if (find_state(p, WORKER_DYING) != NULL || find_state(p, WORKER_DEAD) != NULL)
		pool_sweep_begin(p);
	return owes;
}

static int handle(struct pool *p, int fd, struct pool_event *ret)
{
	if (fd == p->timer)
		return pool_sweep(p) ? tell_gone(p, ret) : 0;
	struct worker *w = p->workers;
	while (w != NULL && w->sock != fd)
		w = w->next;
	return w == NULL ? 0 : hear(p, w, ret);
}

int pool_next(struct pool *p, struct pool_event *ret)
{
	struct epoll_event event;
	int talking = p->talking;
	message_clear(&p->message);
	p->talking = -1;
	/* Results of short runs come one upon the other. */
	if (talking >= 0 && handle(p, talking, ret) > 0)
		return 1;
	while (epoll_wait(p->epoll, &event, 1, 0) > 0)
		if (handle(p, event.data.fd, ret) > 0)
			return 1;
	return 0;
}
