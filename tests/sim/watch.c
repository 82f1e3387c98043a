/* io/watch.h: hints that wait until the daemon looks; where the history is a
 * lossy one, some get lost, are doubled or overtake each other. */
#include "world.h"

#include "io/watch.h"

#include <errno.h>
#include <string.h>

enum { LATE_MS = 400 };

void hints_forget(void)
{
	world->hints_n = 0;
	world->overflow = world->root_watched = false;
	memset(world->user_watched, 0, sizeof world->user_watched);
}

uint64_t hints_due(void)
{
	return world->hints_n > 0 ? world->hints[0].due_ms : FAR;
}

/* Not before the one ahead of it. */
static uint64_t due(void)
{
	uint64_t due_ms = world->now_ms + (world->profile.late_hints ? dice_roll(LATE_MS) : 0);
	int n = world->hints_n;
	return n > 0 && world->hints[n - 1].due_ms > due_ms ? world->hints[n - 1].due_ms : due_ms;
}

/* As in the kernel: behind what it has told, and once; what happens when there is room again is
 * told behind that. */
static void overflow(void)
{
	struct hint hint = {.kind = WATCH_OVERFLOW, .user = NONE, .due_ms = due()};
	if (!world->overflow)
		world->hints[world->hints_n++] = hint;
	world->overflow = true;
	world->disturbed_ms = world->now_ms;
}

static void push(const struct hint *hint)
{
	if (world->hints_n >= world->profile.hints_room) {
		overflow();
		return;
	}
	uint64_t due_ms = due();
	int at = world->hints_n++;
	/* Not before an earlier one of the same name: a stale look is later anyway. */
	if (world->profile.lossy_hints && at > 0 && one_of(4)) {
		world->hints[at] = world->hints[at - 1];
		at--;
	}
	world->hints[at] = *hint;
	world->hints[at].due_ms = due_ms;
}

void hint_add(int user, unsigned kind, const char *name)
{
	struct hint hint = {.kind = (uint8_t)kind, .user = user};
	bool watched = user == NONE ? world->root_watched : world->user_watched[user];
	if (!world->daemon_up || world->profile.no_watch || !watched)
		return;
	if (world->profile.lossy_hints && one_of(6))
		return;
	strcpy(hint.name, name);
	push(&hint);
	if (world->profile.lossy_hints && one_of(10))
		push(&hint);
	if (world->profile.lossy_hints && one_of(60))
		overflow();
}

void hints_unmount(void)
{
	for (int u = 0; u < USERS_MAX; u++) {
		if (!world->daemon_up || !world->user_watched[u])
			continue;
		push(&(struct hint){.kind = WATCH_LOST, .user = u});
		world->user_watched[u] = false;
	}
}

int watch_add(struct watch *w, int dirfd, uint32_t user, const char *dir)
{
	(void)w, (void)dir;
	int r = io_may_fail("watch a directory", -ENOSPC, -EMFILE);
	if (r < 0)
		return r;
	if (user == 0) {
		world->root_watched = true;
		return 0;
	}
	bool *watched = &world->user_watched[world->fds[dirfd - 1000].user];
	/* What came before is found by a scan. */
	if (!*watched)
		world->disturbed_ms = world->now_ms;
	*watched = true;
	return 0;
}

/* The number of a user is the index's; its name is the way back. */
static int user_of(uint32_t number)
{
	const struct rows *rows = &world->committed;
	return number == 0 || number > (uint32_t)rows->users_n ? NONE
	                                                       : user_index(rows->users[number - 1].name);
}

void watch_forget(struct watch *w, uint32_t user)
{
	(void)w;
	int u = user_of(user), kept = 0;
	if (u == NONE)
		return;
	world->user_watched[u] = false;
	for (int i = 0; i < world->hints_n; i++)
		if (world->hints[i].user != u)
			world->hints[kept++] = world->hints[i];
	world->hints_told += (uint64_t)(world->hints_n - kept);
	world->hints_n = kept;
}

size_t watch_count(const struct watch *w)
{
	(void)w;
	return 0;
}

static uint32_t number_of(int user)
{
	const struct rows *rows = &world->committed;
	for (int i = 0; user != NONE && i < rows->users_n; i++)
		if (strcmp(rows->users[i].name, user_name(user)) == 0)
			return rows->users[i].number;
	return 0;
}

int watch_gather(struct watch *w)
{
	(void)w;
	return 0;
}

/* What is due is what the kernel has. */
uint64_t watch_mark(const struct watch *w)
{
	(void)w;
	uint64_t due = 0;
	for (int i = 0; i < world->hints_n; i++)
		due += world->hints[i].due_ms <= world->now_ms;
	return world->hints_told + due;
}

bool watch_is_past(const struct watch *w, uint64_t mark)
{
	(void)w;
	return world->hints_told >= mark;
}

bool watch_waits(const struct watch *w)
{
	(void)w;
	return false;
}

bool watch_next(struct watch *w, struct watch_hint *ret)
{
	(void)w;
	static char name[NAME_ROOM];
	struct hint hint;
	do {
		if (hints_due() > world->now_ms)
			return false;
		world->hints_told++;
		hint = world->hints[0];
		memmove(world->hints, world->hints + 1, (size_t)--world->hints_n * sizeof hint);
		if (hint.kind == WATCH_OVERFLOW)
			world->overflow = false;
	} while (hint.kind == WATCH_OVERFLOW && broken("overflow-untold"));
	strcpy(name, hint.name);
	*ret = (struct watch_hint){
		.kind = (enum watch_kind)hint.kind, .user = number_of(hint.user), .dir = "", .name = name};
	return true;
}
