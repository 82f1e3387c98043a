#include "spoold/retention.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "spoold/daemon.h"
#include "spoold/result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The files of these are gone; their history goes with a commit after that is on
 * the disk. Until then a power cut may bring a file back, even to where its job
 * began: nobody would know that it has ended. */
struct removal {
	struct change change;
	size_t users_n;
	struct user *users[RETENTION_USERS];
	size_t n;
	uint64_t jobs[RETENTION_SLICE];
	uint64_t tag;
	size_t fds_n;
	int fds[RETENTION_FDS]; /* the directories they were in, at last and before */
	int errors[RETENTION_FDS];
};

static int removal_apply(struct daemon *d, struct change *c)
{
	const struct removal *removal = (const struct removal *)c;
	for (size_t i = 0; i < removal->users_n; i++)
		user_touch(d, removal->users[i]);
	for (size_t i = 0; i < removal->n; i++) {
		int r = index_remove_job(d->index, removal->jobs[i]);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

static void removal_finish(struct daemon *d, struct change *c, int error)
{
	(void)error;
	d->retention.removal = NULL;
	free(c);
}

static void want(struct daemon *d, struct user *u, uint64_t due_ms)
{
	struct heap_node *node = &u->retention;
	if ((node->at == 0 || node->key > due_ms) && heap_put(&d->retention.due, node, due_ms) < 0)
		log_error("user %s: memory is out: what is past its retention time stays for now", u->name);
}

static void removal_free(struct removal *removal)
{
	for (size_t i = 0; i < removal->fds_n; i++)
		fd_close(removal->fds[i]);
	free(removal);
}

/* Their history stays for now, and they are looked at again. */
static void removal_drop(struct daemon *d, struct removal *removal)
{
	for (size_t i = 0; i < removal->users_n; i++)
		want(d, removal->users[i], d->wall_ms + RETENTION_RETRY_MS);
	d->retention.removal = NULL;
	removal_free(removal);
}

static void removal_send(struct daemon *d, struct removal *removal)
{
	removal->tag = ++d->intake.last_tag;
	int r = sync_add(d->sync, removal->tag, removal->fds, removal->fds_n, removal->errors);
	if (r < 0) {
		log_error("memory is out: the history of removed files stays for now");
		removal_drop(d, removal);
		return;
	}
	removal->fds_n = 0;
	d->retention.removal = removal;
}

static uint64_t keep_ms(const struct user *u, enum job_state state)
{
	return state == JOB_DONE ? u->settings->keep_done_ms : u->settings->keep_failed_ms;
}

static bool is_over(const struct daemon *d, const struct user *u, const struct job *job)
{
	uint64_t keep = keep_ms(u, job->state);
	return keep > 0 && job->finished_ms + keep <= d->wall_ms;
}

bool retention_is_due(const struct daemon *d, const struct user *u, const struct job *job)
{
	return job_state_is_final(job->state) && is_over(d, u, job);
}

bool retention_removes(const struct daemon *d, const struct user *u, const struct job *job)
{
	const struct removal *removal = d->retention.removal;
	for (size_t i = 0; removal != NULL && i < removal->n; i++)
		if (removal->jobs[i] == job->id)
			return true;
	return job->ident.whole != 0 && retention_is_due(d, u, job);
}

bool retention_synced(struct daemon *d, uint64_t tag, int error)
{
	struct removal *removal = d->retention.removal;
	if (removal == NULL || removal->tag != tag)
		return false;
	if (error == 0) {
		turn_add(d, &removal->change);
		return true;
	}
	log_error("the removal of files past their retention time did not reach the disk: %s; their "
	          "history stays for now", strerror(-error));
	removal_drop(d, removal);
	return true;
}

void retention_clear(struct daemon *d)
{
	free(d->retention.removal);
	d->retention.removal = NULL;
	heap_clear(&d->retention.due);
}

void retention_note(struct daemon *d, struct user *u, uint64_t finished_ms, uint64_t keep_ms)
{
	if (keep_ms > 0)
		want(d, u, finished_ms + keep_ms);
}

void retention_look(struct daemon *d, struct user *u)
{
	want(d, u, 0);
}

/* Does its file lie in incoming again? A power cut undid its moves and its uploader changed
 * it since, or it would have been moved once more; a second cut can undo that, too, and
 * only its history tells then that it has ended. What is there becomes durable when it is
 * taken as another job, or away. */
static bool may_come_back(struct daemon *d, const struct user *u, const struct job *job)
{
	struct file_ident now;
	enum entry_kind kind;
	int r = tree_look(d->tree, u->name, job->path, &now, &kind);
	if (r < 0)
		return r != -ENOENT && r != -ENOTDIR && r != -ELOOP;
	return file_ident_same_inode(&job->ident, &now);
}

/* Its handler removed the file, and the private directory could not be removed then. That
 * is made up for: what is synced is the directory above. */
static bool is_left_open(struct daemon *d, const struct user *u, const struct job *job)
{
	return job->place == PLACE_NOWHERE && dispatch_unmoved(d, job->id) == 0 &&
	       tree_has_job(d->tree, u->name, job->id) &&
	       tree_drop_job(d->tree, u->name, job->id, "") < 0;
}

/* 0: they are gone; -EAGAIN: a part of them is; -EBUSY: their time has not come. */
static int purge_files(struct daemon *d, const struct user *u, const struct job *job)
{
	/* A file that was taken away before its turn left nothing. A directory may be nowhere since
	 * its removal began, and a crash came. */
	bool nothing = job->place == PLACE_NOWHERE && job->state == JOB_CANCELED &&
	               job->ident.whole == 0;
	bool moved = job->place == PLACE_DONE || job->place == PLACE_FAILED;
	if (nothing || (moved && result_is_of_later(d, u, job)))
		return 0;
	if (may_come_back(d, u, job) || is_left_open(d, u, job))
		return -EBUSY;
	const char *name = job->final_name != NULL ? job->final_name : job->path;
	int r = dispatch_unmoved(d, job->id) != 0 ? -EBUSY : tree_purge_job(d->tree, u->name, job);
	if (r == 0 || r == -EAGAIN)
		return r;
	char *shown = escape_str(name);
	log_warning("user %s: %s/%s is past its retention time but cannot be removed: %s", u->name,
	            place_name(job_final_place(job->state)), shown == NULL ? "?" : shown, strerror(-r));
	free(shown);
	return r;
}

static bool note_directory(struct daemon *d, const struct user *u, enum place place,
                           struct removal *removal)
{
	int fd = tree_open_to_sync(d->tree, u->name, place);
	if (fd >= 0)
		removal->fds[removal->fds_n++] = fd;
	else if (fd != -ENOENT)
		log_error("user %s: %s cannot be opened: %s; files past their retention time stay for now",
		          u->name, place_name(place), strerror(-fd));
	return fd >= 0 || fd == -ENOENT;
}

static bool note_directories(struct daemon *d, const struct user *u, enum job_state state,
                             struct removal *removal)
{
	return note_directory(d, u, PLACE_INCOMING, removal) &&
	       note_directory(d, u, PLACE_PROCESSING, removal) &&
	       note_directory(d, u, job_final_place(state), removal);
}

/* One state of one user, oldest first. Returns false when the slice is full. */
static bool purge_state(struct daemon *d, struct user *u, enum job_state state,
                        struct removal *removal)
{
	struct job job = {0};
	uint64_t after_ms = 0, after_id = 0, keep = keep_ms(u, state);
	bool full = false, open = false;
	while (keep > 0 && !full &&
	       index_next_final(d->index, u->number, state, after_ms, after_id, &job) == 0) {
		uint64_t due = job.finished_ms + keep;
		full = removal->n == RETENTION_SLICE;
		if (due > d->wall_ms || full) {
			want(d, u, due);
			job_clear(&job);
			break;
		}
		/* Before the first file goes: what cannot be synced must not be begun. */
		open = open || note_directories(d, u, state, removal);
		after_ms = job.finished_ms;
		after_id = job.id;
		int r = open ? purge_files(d, u, &job) : -EIO;
		if (r == 0)
			removal->jobs[removal->n++] = job.id;
		else
			want(d, u, d->wall_ms + (r == -EAGAIN ? RETENTION_GO_ON_MS : RETENTION_RETRY_MS));
		job_clear(&job);
		/* Others first, while there is more of a large one to remove. */
		full = r == -EAGAIN;
		if (!open)
			break;
	}
	return !full;
}

static bool purge_user(struct daemon *d, struct user *u, struct removal *removal)
{
	size_t before = removal->n;
	bool all = purge_state(d, u, JOB_DONE, removal) && purge_state(d, u, JOB_FAILED, removal) &&
	           purge_state(d, u, JOB_CANCELED, removal);
	size_t n = removal->n - before;
	if (n > 0)
		log_info("user %s: removed %zu job%s past the retention time, with what was kept of %s",
		         u->name, n, n == 1 ? "" : "s", n == 1 ? "it" : "them");
	return all;
}

/* The one whose time is over for longest, out of the order; or NULL. */
static struct user *take_due(struct daemon *d)
{
	struct heap_node *node = heap_first(&d->retention.due);
	if (node == NULL || node->key > d->wall_ms)
		return NULL;
	heap_remove(&d->retention.due, node);
	return HEAP_ENTRY(node, struct user, retention);
}

static bool is_due(const struct daemon *d)
{
	const struct heap_node *node = heap_first(&d->retention.due);
	return node != NULL && node->key <= d->wall_ms;
}

void retention_tick(struct daemon *d)
{
	if (!is_due(d) || d->retention.removal != NULL || turn_stalled(d) || !daemon_mounted(d))
		return;
	struct removal *removal = calloc(1, sizeof *removal);
	if (removal == NULL)
		return;
	removal->change = (struct change){.apply = removal_apply, .finish = removal_finish, .keep = true};
	bool room = true;
	struct user *u;
	while (room && removal->users_n < RETENTION_USERS && (u = take_due(d)) != NULL) {
		removal->users[removal->users_n++] = u;
		/* Who is not ready for it is looked at when it is. */
		bool ready = u->reconciled && u->looked_through && !user_gone(d, u);
		room = !ready || purge_user(d, u, removal);
	}
	if (removal->n > 0)
		removal_send(d, removal);
	else
		removal_free(removal);
}

uint64_t retention_next(const struct daemon *d)
{
	const struct heap_node *node = heap_first(&d->retention.due);
	if (node == NULL || d->retention.removal != NULL || turn_stalled(d))
		return UINT64_MAX;
	if (node->key <= d->wall_ms)
		return d->steady_ms;
	/* Looked at once a minute at least: the wall clock may step. */
	return d->steady_ms + due_min(node->key - d->wall_ms, 60000);
}
