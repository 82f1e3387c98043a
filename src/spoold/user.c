#include "spoold/user.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"
#include "spoold/daemon.h"
#include "spoold/lists.h"
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

static void user_free(struct user *u)
{
	fd_close(u->lock_fd);
	notice_clear(u);
	free(u->name);
	free(u);
}

/* A user that was met gets its number in the index, then joins. */
struct join {
	struct change change;
	struct user *user;
	struct user_row row;
	uint64_t last_id; /* of the private directories that are there */
};

/* No job has a larger number, unless somebody made it up. */
#define JOB_ID_PLAUSIBLE (UINT64_C(1) << 53)

static int join_apply(struct daemon *d, struct change *c)
{
	struct join *join = (struct join *)c;
	user_row_clear(&join->row);
	/* Where the index was lost, files of its jobs may still be there, and be
	 * worked on: the place of one is not for another. */
	int r = index_reserve_ids(d->index, join->last_id);
	return r < 0 ? r : index_add_user(d->index, join->user->name, &join->row);
}

static int note_id(void *ctx, uint64_t id, const char *path, const struct file_ident *ident)
{
	struct join *join = ctx;
	(void)path;
	(void)ident;
	if (id > join->last_id && id < JOB_ID_PLAUSIBLE)
		join->last_id = id;
	return 0;
}

static bool number_user(struct daemon *d, struct user *u, uint32_t number)
{
	u->number = number;
	HASH_ADD(hh_number, d->users.by_number, number, sizeof u->number, u);
	return u->hh_number.tbl != NULL;
}

static void join_finish(struct daemon *d, struct change *c, int error)
{
	struct join *join = (struct join *)c;
	struct user *u = join->user;
	if (error == 0 && !number_user(d, u, join->row.number)) {
		log_error("user %s: out of memory; tried again when users are looked for", u->name);
		HASH_DEL(d->users.by_name, u);
		user_free(u);
	} else if (error == 0) {
		user_touch(d, u);
		user_watch(d, u);
		recover_user(d, u);
		scan_want(d, u);
		d->users.met++;
	}
	user_row_clear(&join->row);
	free(join);
}

static struct user *user_new(const struct daemon *d, const char *name)
{
	struct user *u = calloc(1, sizeof *u);
	if (u == NULL)
		return NULL;
	u->lock_fd = -1;
	u->settings = config_user(d->config, name);
	u->name = strdup(name);
	if (u->name == NULL) {
		free(u);
		return NULL;
	}
	return u;
}

static int begin_join(struct daemon *d, const char *name)
{
	struct join *join = calloc(1, sizeof *join);
	struct user *u = join == NULL ? NULL : user_new(d, name);
	if (u == NULL) {
		free(join);
		return -ENOMEM;
	}
	HASH_ADD_KEYPTR(hh, d->users.by_name, u->name, strlen(u->name), u);
	if (u->hh.tbl == NULL) {
		user_free(u);
		free(join);
		return -ENOMEM;
	}
	join->change = (struct change){.apply = join_apply, .finish = join_finish, .keep = true};
	join->user = u;
	int r = tree_each_processing(d->tree, name, note_id, join);
	if (r < 0 && r != -ENOENT)
		log_warning("user %s: processing cannot be read: %s", name, strerror(-r));
	numbers_met(d, join->last_id);
	turn_add(d, &join->change);
	return 0;
}

static int make_directories(struct daemon *d, const char *name, unsigned *ret_made)
{
	unsigned made = 0;
	int r = tree_make_user(d->tree, name, (uid_t)-1, (gid_t)-1, &made);
	if (r < 0)
		log_warning("user %s: its directories cannot be made (%s); try 'spoolctl user check %s'",
		            name, strerror(-r), name);
	else if (made > 0)
		log_info("user %s: made %u missing director%s", name, made, made == 1 ? "y" : "ies");
	*ret_made = made;
	return r;
}

bool users_make_directories(struct daemon *d, const char *name)
{
	unsigned made;
	return make_directories(d, name, &made) == 0 && made > 0;
}

int users_meet(struct daemon *d, const char *name)
{
	const char *problem = name_user_problem(name);
	if (problem != NULL) {
		char *shown = escape_str(name);
		log_warning("the directory \"%s\" in the spool is no user: its name %s; rename it",
		            shown == NULL ? "?" : shown, problem);
		free(shown);
		return 0;
	}
	unsigned made;
	bool incomplete = make_directories(d, name, &made) < 0;
	int r = user_find(d, name) == NULL ? begin_join(d, name) : 0;
	struct user *u = user_find(d, name);
	if (r < 0 || u == NULL)
		return r;
	u->incomplete = incomplete;
	/* Its directory may be a new one. */
	if (u->number != 0) {
		user_watch(d, u);
		scan_want(d, u);
	}
	return 0;
}

static int find_stranger(void *ctx, const char *name, const char *problem)
{
	struct daemon *d = ctx;
	const struct user *u = user_find(d, name);
	if (problem == NULL && u != NULL && !u->incomplete)
		return 0;
	struct stranger *stranger = malloc(sizeof *stranger + strlen(name) + 1);
	if (stranger == NULL)
		return -ENOMEM;
	strcpy(stranger->name, name);
	stranger->next = d->users.strangers;
	d->users.strangers = stranger;
	return 0;
}

int users_watch_root(struct daemon *d)
{
	int fd = tree_open_root(d->tree);
	int r = fd < 0 ? fd : watch_add(d->watch, fd, 0, "");
	fd_close(fd);
	return r;
}

int users_discover(struct daemon *d)
{
	d->users.discover = d->users.strangers != NULL;
	return d->users.discover ? 0 : tree_each_user(d->tree, find_stranger, d);
}

static void meet_some(struct daemon *d)
{
	for (int n = 0; n < USER_SLICE && d->users.strangers != NULL; n++) {
		struct stranger *stranger = d->users.strangers;
		d->users.strangers = stranger->next;
		if (users_meet(d, stranger->name) < 0)
			log_error("memory is out: a user is met when users are looked for again");
		free(stranger);
	}
	if (d->users.strangers == NULL && d->users.discover)
		users_discover(d);
}

bool users_all_met(const struct daemon *d)
{
	return d->users.strangers == NULL && d->users.met == HASH_COUNT(d->users.by_name);
}

void users_clear(struct daemon *d)
{
	struct user *u, *tmp;
	while (d->users.strangers != NULL) {
		struct stranger *stranger = d->users.strangers;
		d->users.strangers = stranger->next;
		free(stranger);
	}
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
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next) {
		u->settings = config_user(d->config, u->name);
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

int user_lock(struct daemon *d, struct user *u)
{
	if (u->lock_fd >= 0)
		return 0;
	int fd = tree_lock_user(d->tree, u->name);
	if (fd >= 0) {
		u->lock_fd = fd;
		u->lock_wanted = false;
		heap_remove(&d->users.locks, &u->lock_due);
		return 0;
	}
	if (!u->lock_wanted)
		log_notice("user %s: %s; its jobs wait for that", u->name,
		           fd == -EAGAIN ? "an earlier worker still runs" : strerror(-fd));
	u->lock_wanted = true;
	u->reconciled = false;
	user_touch(d, u);
	int r = heap_put(&d->users.locks, &u->lock_due, d->steady_ms + USER_LOCK_RETRY_MS);
	return r < 0 ? r : fd;
}

static bool is_idle(struct daemon *d, const struct user *u)
{
	struct user_row row = {0};
	if (!u->reconciled || index_get_user(d->index, u->name, &row) < 0)
		return false;
	bool idle = row.count[JOB_QUEUED] + row.count[JOB_PROCESSING] == 0;
	user_row_clear(&row);
	return idle;
}

void user_unlock_idle(struct daemon *d, struct user *u)
{
	if (u->lock_fd < 0 || !is_idle(d, u))
		return;
	if (d->users.locks.n >= USER_UNLOCK_MAX ||
	    heap_put(&d->users.locks, &u->lock_due, d->steady_ms + USER_UNLOCK_MS) < 0)
		u->lock_fd = fd_close(u->lock_fd);
}

void user_touch(struct daemon *d, struct user *u)
{
	if (u->refreshing || u->number == 0)
		return;
	u->refreshing = true;
	u->touched_next = d->users.touched;
	d->users.touched = u;
}

/* A clock that was set back must not hold a retry for longer than the longest
 * delay there is. */
static uint64_t due_of(const struct daemon *d, const struct job *job)
{
	uint64_t longest = d->wall_ms + 2 * RETRY_DELAY_MAX_MS;
	bool due = job->not_before_ms <= d->wall_ms || job->not_before_ms > longest;
	return due ? 0 : job->not_before_ms;
}

/* The job that is to run next: the head of the line, or a retry that let
 * others go ahead and is due; whichever came first. */
static int read_head(struct daemon *d, const struct user *u, struct sched_view *view)
{
	struct job head = {0}, delayed = {0};
	int r = index_next_in_line(d->index, u->number, 0, &head);
	if (r == 0) {
		view->head_job = head.id;
		view->head_not_before_ms = due_of(d, &head);
	} else if (r != -ENOENT) {
		return r;
	}
	r = index_next_delayed(d->index, u->number, 0, 0, &delayed);
	if (r == 0) {
		bool due = due_of(d, &delayed) == 0;
		bool first = view->head_job == 0 || (due && delayed.seq < head.seq) ||
		             view->head_not_before_ms > delayed.not_before_ms;
		if (first) {
			view->head_job = delayed.id;
			view->head_not_before_ms = due ? 0 : delayed.not_before_ms;
		}
		job_clear(&delayed);
	}
	job_clear(&head);
	return r == -ENOENT ? 0 : r;
}

static int refresh(struct daemon *d, struct user *u)
{
	struct user_row row = {0};
	int r = index_get_user(d->index, u->name, &row);
	if (r < 0)
		return r;
	struct sched_view view = {
		.active = (uint32_t)(row.count[JOB_QUEUED] + row.count[JOB_PROCESSING]),
		.limit = u->settings->max_running,
		.held = row.held,
		.blocked = !u->reconciled || d->unmounted,
	};
	busy_note(d, u, &row);
	room_look(d, u, row.count[JOB_PENDING] + row.count[JOB_HELD], row.waiting_bytes);
	r = row.count[JOB_PENDING] == 0 ? 0 : read_head(d, u, &view);
	if (row.count[JOB_PENDING] == 0)
		scan_urge(d, u);
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
	return d->config->watch == WATCH_AUTO && tree_is_network(d->tree, u->name);
}

static void warn_no_watch(const struct user *u, int error)
{
	if (error == -ENOSPC)
		log_warning("user %s: the system's limit of directory watches is reached; this and "
		            "further directories are polled. Raise it with: sysctl "
		            "fs.inotify.max_user_watches=1048576",
		            u->name);
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

void user_watch(struct daemon *d, struct user *u)
{
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

static struct heap_node *take_due(const struct daemon *d, struct heap *heap)
{
	struct heap_node *node = heap_first(heap);
	if (node == NULL || node->key > d->steady_ms)
		return NULL;
	heap_remove(heap, node);
	return node;
}

void users_tick(struct daemon *d)
{
	struct heap_node *node;
	meet_some(d);
	for (int n = 0; n < USER_SLICE && (node = take_due(d, &d->users.polls)) != NULL; n++) {
		struct user *u = HEAP_ENTRY(node, struct user, poll);
		user_watch(d, u);
		scan_want(d, u);
	}
	for (int n = 0; n < USER_SLICE && (node = take_due(d, &d->users.locks)) != NULL; n++) {
		struct user *u = HEAP_ENTRY(node, struct user, lock_due);
		if (u->lock_fd >= 0 && is_idle(d, u))
			u->lock_fd = fd_close(u->lock_fd);
		else
			recover_user(d, u);
	}
}

uint64_t users_next(const struct daemon *d)
{
	if (d->users.strangers != NULL)
		return 0;
	const struct heap_node *poll = heap_first(&d->users.polls);
	const struct heap_node *lock = heap_first(&d->users.locks);
	return due_min(poll == NULL ? UINT64_MAX : poll->key, lock == NULL ? UINT64_MAX : lock->key);
}
