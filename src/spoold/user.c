#include "spoold/user.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"
#include "spoold/ahead.h"
#include "spoold/daemon.h"
#include "spoold/lists.h"
#include "spoold/meet.h"
#include "spoold/notice.h"
#include "spoold/room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct user *user_find(const struct daemon *d, const char *name)
{
	struct user *u = NULL;
	HASH_FIND(hh, d->users.by_name, name, strlen(name), u);
	return u;
}

struct user *user_by_number(const struct daemon *d, uint32_t number)
{
	struct user *u = NULL;
	HASH_FIND(hh_number, d->users.by_number, &number, sizeof number, u);
	return u;
}

void user_free(struct user *u)
{
	fd_close(u->lock_fd);
	notice_clear(u);
	free(u->name);
	free(u);
}

int users_watch_root(struct daemon *d)
{
	int fd = tree_open_root(d->tree);
	int r = fd < 0 ? fd : watch_add(d->watch, fd, 0, "");
	fd_close(fd);
	return r;
}

void users_clear(struct daemon *d)
{
	struct user *u, *tmp;
	meet_clear(d);
	HASH_CLEAR(hh_number, d->users.by_number);
	HASH_ITER(hh, d->users.by_name, u, tmp) {
		HASH_DEL(d->users.by_name, u);
		lists_clear(d, u);
		user_free(u);
	}
	heap_clear(&d->users.polls);
	heap_clear(&d->users.locks);
	heap_clear(&d->notices);
}

void users_configure(struct daemon *d)
{
	for (struct running *r = d->dispatch.running; r != NULL; r = r->hh.next)
		r->anew = false;
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next) {
		u->settings = config_user(d->config, u->name);
		u->anew = true;
		u->unready_tries = 0;
		u->inner_jobs = u->settings->directories == DIRECTORIES_JOB;
		if (u->number == 0)
			continue;
		user_watch(d, u);
		user_touch(d, u);
		room_ask_all(d, u);
		notice_configure(d, u);
		retention_look(d, u);
		/* What waits by another rule of completion is judged by the new one. */
		scan_want(d, u);
	}
}

void user_touch(struct daemon *d, struct user *u)
{
	if (u->refreshing || u->number == 0)
		return;
	/* In order: whose result came first has its turn first. */
	if (d->users.touched == NULL)
		d->users.touched_end = &d->users.touched;
	u->refreshing = true;
	u->touched_next = NULL;
	*d->users.touched_end = u;
	d->users.touched_end = &u->touched_next;
}

/* A clock that was set back must not hold a retry for longer than the longest
 * delay there is; and other settings may be what it waits for. */
static uint64_t due_of(const struct daemon *d, const struct user *u, const struct job *job)
{
	bool unready = job_is_unready(job);
	uint64_t longest = unready ? DISPATCH_HANDLER_MOST_MS : 2 * RETRY_DELAY_MAX_MS;
	bool due = job->not_before_ms <= d->wall_ms || job->not_before_ms > d->wall_ms + longest ||
	           (u->anew && unready);
	return due ? 0 : job->not_before_ms;
}

/* Which is to run next, the head of the line or a retry that let others go ahead and is due:
 * whichever came first. Id 0: there is none such. */
static const struct job *earlier(const struct daemon *d, const struct user *u,
                                 const struct job *head, const struct job *delayed)
{
	if (head->id == 0 || delayed->id == 0)
		return head->id == 0 ? delayed : head;
	bool passes = due_of(d, u, delayed) == 0 && delayed->seq < head->seq;
	return passes || due_of(d, u, head) > delayed->not_before_ms ? delayed : head;
}

static int read_head(struct daemon *d, struct user *u, struct sched_view *view)
{
	struct job head = {0}, delayed = {0};
	int r = index_next_in_line(d->index, u->number, 0, &head);
	if (r == 0 || r == -ENOENT)
		r = index_next_delayed(d->index, u->number, 0, 0, &delayed);
	if (r == 0 || r == -ENOENT) {
		const struct job *next = earlier(d, u, &head, &delayed);
		view->head_job = next->id;
		view->head_not_before_ms = due_of(d, u, next);
		u->unready = job_is_unready(next);
		u->head_seq = next->seq;
		u->head_due_ms = view->head_not_before_ms;
		notice_unready(d, u, u->unready ? next->accepted_ms : 0);
	}
	job_clear(&head);
	job_clear(&delayed);
	return r == -ENOENT ? 0 : r;
}

static int refresh(struct daemon *d, struct user *u)
{
	struct user_row row = {0};
	int r = index_get_user(d->index, u->name, &row);
	if (r < 0)
		return r;
	struct sched_view view = {
		.active = ahead_active(u, row.count[JOB_QUEUED] + row.count[JOB_PROCESSING]),
		.limit = u->settings->max_running,
		.held = row.held,
		.blocked = !u->reconciled || d->unmounted || u->away,
	};
	u->head_seq = 0;
	u->unready = false;
	busy_note(d, u, &row);
	room_look(d, u, row.count[JOB_PENDING] + row.count[JOB_HELD], row.waiting_bytes);
	r = row.count[JOB_PENDING] == 0 ? 0 : read_head(d, u, &view);
	if (row.count[JOB_PENDING] == 0) {
		notice_unready(d, u, 0);
		scan_urge(d, u);
	}
	user_row_clear(&row);
	return r < 0 ? r : sched_set_user(d->sched, u->number, &view);
}

int users_refresh(struct daemon *d)
{
	while (d->users.touched != NULL) {
		struct user *u = d->users.touched;
		int r = refresh(d, u);
		if (r < 0)
			return r;
		d->users.touched = u->touched_next;
		u->refreshing = false;
		if (index_in_transaction(d->index) && !u->in_turn) {
			u->in_turn = true;
			u->in_turn_next = d->users.in_turn;
			d->users.in_turn = u;
		}
	}
	return 0;
}

void users_turn_ended(struct daemon *d, bool taken_back)
{
	while (d->users.in_turn != NULL) {
		struct user *u = d->users.in_turn;
		d->users.in_turn = u->in_turn_next;
		u->in_turn = false;
		if (taken_back)
			user_touch(d, u);
	}
}

static void poll_instead(struct daemon *d, struct user *u)
{
	u->polled = true;
	if (d->watch != NULL)
		watch_forget(d->watch, u->number);
	if (heap_put(&d->users.polls, &u->poll, d->steady_ms + d->config->poll_ms) < 0)
		log_error("user %s: memory is out", u->name);
}

static bool wants_poll(const struct daemon *d, const struct user *u)
{
	if (d->watch == NULL || d->config->watch == WATCH_POLL)
		return true;
	return d->config->watch == WATCH_AUTO && u->far;
}

static void warn_no_watch(const struct user *u, int error)
{
	if (error == -ENOSPC)
		log_warning("user %s: the system's limit of directory watches is reached; this and "
		            "further directories are polled. Raise it with: sysctl "
		            "fs.inotify.max_user_watches=1048576",
		            u->name);
	else if (error == -ENOENT)
		log_notice("user %s: incoming is gone", u->name);
	else
		log_warning("user %s: incoming cannot be watched (%s); it is polled", u->name,
		            strerror(-error));
}

void user_poll(struct daemon *d, struct user *u, int error)
{
	if (!u->polled && !(error == -ENOSPC && d->users.warned_limit))
		warn_no_watch(u, error);
	d->users.warned_limit = d->users.warned_limit || error == -ENOSPC;
	poll_instead(d, u);
}

static void note_away(struct daemon *d, struct user *u, int error)
{
	bool silent = error == -ETIMEDOUT;
	if (silent && !(u->away && u->silent))
		log_error("user %s: the mount that is its directory does not answer: nothing of it is touched, "
		          "none of its jobs starts until it does", u->name);
	else if (!u->away && error == -ENODEV)
		log_error("user %s: its directory was a mount of its own, which is not there: nothing is "
		          "concluded from that, none of its jobs starts until it is back", u->name);
	else if (!u->away && !silent)
		log_error("user %s: whether its directory is there cannot be told: %s; none of its jobs "
		          "starts until it can", u->name, strerror(-error));
	if (!u->away)
		user_touch(d, u);
	u->away = true;
	u->silent = silent;
	user_scan_in(d, u, d->config->poll_ms);
}

static void note_back(struct daemon *d, struct user *u)
{
	log_notice("user %s: its directory is back; looking at all of it", u->name);
	/* A lock on the mount that went is none on this one. */
	if (user_is_idle(d, u))
		u->lock_fd = fd_close(u->lock_fd);
	u->away = u->silent = u->reconciled = false;
	user_touch(d, u);
	user_watch(d, u);
	recover_user(d, u);
	scan_want(d, u);
}

/* Once known as one, its absence is not taken for emptiness. */
static int note_mount(struct daemon *d, const struct user *u)
{
	int r = tree_note_mount(d->tree, u->name);
	if (r < 0)
		log_warning("user %s: that its directory is a mount of its own cannot be noted: %s",
		            u->name, strerror(-r));
	return r < 0 ? r : 1;
}

bool user_there(struct daemon *d, struct user *u)
{
	if (!daemon_mounted(d))
		return false;
	int r = tree_user_mounted(d->tree, u->name);
	if (r > 0 && !u->own_mount)
		r = note_mount(d, u);
	u->own_mount = u->own_mount || r != 0;
	if (r < 0)
		note_away(d, u, r);
	else if (u->away)
		note_back(d, u);
	return r >= 0;
}

bool user_still_there(struct daemon *d, struct user *u)
{
	return u->own_mount ? user_there(d, u) : daemon_mounted(d);
}

bool user_gone(struct daemon *d, struct user *u)
{
	return u->own_mount && !user_there(d, u);
}

void user_watch(struct daemon *d, struct user *u)
{
	if (!d->unmounted && !user_there(d, u)) {
		poll_instead(d, u);
		return;
	}
	int network = tree_is_network(d->tree, u->name);
	/* A mount that just lost its server may still be watched, and never tell anything. */
	if (network < 0 && d->watch != NULL) {
		user_poll(d, u, network);
		return;
	}
	u->far = network < 0 ? u->far : network > 0;
	if (wants_poll(d, u)) {
		poll_instead(d, u);
		return;
	}
	int fd = tree_open_incoming(d->tree, u->name, "");
	int r = fd < 0 ? fd : watch_add(d->watch, fd, u->number, "");
	fd_close(fd);
	if (r < 0) {
		user_poll(d, u, r);
		return;
	}
	u->polled = false;
	heap_remove(&d->users.polls, &u->poll);
}

struct settle_policy user_settle(const struct daemon *d, const struct user *u)
{
	struct settle_policy policy = u->settings->settle;
	if (u->far)
		policy.settle_ms += d->config->poll_ms;
	return policy;
}

uint64_t user_tidy_after_ms(const struct user *u)
{
	const struct user_settings *s = u->settings;
	return s->tidy_after_ms > s->settle.settle_ms ? s->tidy_after_ms : s->settle.settle_ms;
}

void user_scan_in(struct daemon *d, struct user *u, uint64_t ms)
{
	uint64_t at = d->steady_ms + ms;
	/* Memory being out, the next rescan does. */
	if (u->poll.at == 0 || u->poll.key > at)
		heap_put(&d->users.polls, &u->poll, at);
}

static struct heap_node *take_due(const struct daemon *d, struct heap *heap)
{
	struct heap_node *node = heap_first(heap);
	if (node == NULL || node->key > d->steady_ms)
		return NULL;
	heap_remove(heap, node);
	return node;
}

/* A scan that is due waits for the answer of its mount here, where that holds up
 * nobody. */
static bool is_being_asked(struct daemon *d, struct user *u)
{
	return tree_answers(d->tree, u->name, false) == -EAGAIN &&
	       heap_put(&d->users.polls, &u->poll, d->steady_ms + USER_ANSWER_MS) == 0;
}

void users_tick(struct daemon *d)
{
	struct heap_node *node;
	meet_tick(d);
	for (int n = 0; n < USER_SLICE && (node = take_due(d, &d->users.polls)) != NULL; n++) {
		struct user *u = HEAP_ENTRY(node, struct user, poll);
		if (is_being_asked(d, u))
			continue;
		user_watch(d, u);
		scan_want(d, u);
	}
	for (int n = 0; n < USER_SLICE && (node = take_due(d, &d->users.locks)) != NULL; n++)
		user_lock_due(d, HEAP_ENTRY(node, struct user, lock_due));
}

uint64_t users_next(const struct daemon *d)
{
	if (d->users.strangers != NULL)
		return 0;
	const struct heap_node *poll = heap_first(&d->users.polls);
	const struct heap_node *lock = heap_first(&d->users.locks);
	return due_min(poll == NULL ? UINT64_MAX : poll->key, lock == NULL ? UINT64_MAX : lock->key);
}
