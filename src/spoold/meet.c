#include "spoold/meet.h"

#include "base/escape.h"
#include "base/log.h"
#include "core/name.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct stranger {
	struct stranger *next;
	char name[];
};

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
	u->ran_ms = UINT64_MAX;
	u->settings = config_user(d->config, name);
	u->anew = true;
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
	int r = tree_each_processing(d->tree, name, note_id, join, NULL);
	if (r < 0 && r != -ENOENT && r != -ETIMEDOUT)
		log_warning("user %s: processing cannot be read: %s", name, strerror(-r));
	numbers_met(d, join->last_id);
	turn_add(d, &join->change);
	return 0;
}

static int make_directories(struct daemon *d, const char *name, unsigned *ret_made)
{
	unsigned made = 0;
	/* As 'spoolctl user add' does; else those of its directory, or of incoming. */
	const struct passwd *account =
		geteuid() == 0 && tree_wants_owner(d->tree, name) ? getpwnam(name) : NULL;
	uid_t uid = account == NULL ? (uid_t)-1 : account->pw_uid;
	gid_t gid = account == NULL ? (gid_t)-1 : account->pw_gid;
	/* What was there when the event came may be gone: then nothing is made in its place. */
	int r = tree_complete_user(d->tree, name, uid, gid, &made);
	/* That a mount is not there, or does not answer, is said where its user is looked at. */
	if (r < 0 && r != -ENOENT && r != -ENODEV && r != -ETIMEDOUT)
		log_warning("user %s: its directories cannot be made (%s); try 'spoolctl user check %s'",
		            name, strerror(-r), name);
	else if (r == 0 && made > 0)
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
	int whole = make_directories(d, name, &made);
	struct user *u = user_find(d, name);
	if (u == NULL && whole == -ENOENT)
		return 0;
	int r = u == NULL ? begin_join(d, name) : 0;
	u = user_find(d, name);
	if (r < 0 || u == NULL)
		return r;
	u->incomplete = whole < 0;
	/* Its directory may be a new one; what came there before it was watched goes first. */
	if (u->number != 0) {
		user_look_at_lock(d, u);
		user_watch(d, u);
		scan_want_sorted(d, u);
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

int users_discover(struct daemon *d)
{
	d->users.discover = d->users.strangers != NULL;
	return d->users.discover ? 0 : tree_each_user(d->tree, find_stranger, d);
}

void meet_tick(struct daemon *d)
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

void meet_clear(struct daemon *d)
{
	while (d->users.strangers != NULL) {
		struct stranger *stranger = d->users.strangers;
		d->users.strangers = stranger->next;
		free(stranger);
	}
}
