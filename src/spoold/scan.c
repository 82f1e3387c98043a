#include "spoold/scan.h"

#include "spoold/daemon.h"

#include <utlist.h>

void scan_init(struct daemon *d)
{
	d->scan.portions = (struct scan_portions){
		.first = 16, .ahead = 128, .kept = 131072, .small = 4096};
}

/* Who has nothing in line goes first of those who have much. */
static void enqueue(struct daemon *d, struct user *u, bool first)
{
	if (!u->scan_large)
		DL_APPEND2(d->scan.wanted, u, scan_prev, scan_next);
	else if (first)
		DL_PREPEND2(d->scan.wanted_large, u, scan_prev, scan_next);
	else
		DL_APPEND2(d->scan.wanted_large, u, scan_prev, scan_next);
	u->scan_wanted = true;
}

static void dequeue(struct daemon *d, struct user *u)
{
	if (u->scan_large)
		DL_DELETE2(d->scan.wanted_large, u, scan_prev, scan_next);
	else
		DL_DELETE2(d->scan.wanted, u, scan_prev, scan_next);
	u->scan_wanted = false;
}

void scan_want(struct daemon *d, struct user *u)
{
	if (!u->scan_wanted && u->number != 0)
		enqueue(d, u, false);
}

void scan_want_sorted(struct daemon *d, struct user *u)
{
	u->unsorted = u->number != 0;
	scan_want(d, u);
}

void scan_want_all(struct daemon *d)
{
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next)
		scan_want(d, u);
}

void scan_urge(struct daemon *d, struct user *u)
{
	if (!u->scan_wanted || !u->scan_large || !u->unsorted)
		return;
	dequeue(d, u);
	u->scan_large = false;
	enqueue(d, u, false);
}

/* The first of a line that is not being scanned already. */
static struct user *first_of(struct user *line)
{
	return line != NULL && line->scan_running ? line->scan_next : line;
}

static struct scan_work *work_on(struct daemon *d, const struct user *u)
{
	struct scan *s = &d->scan;
	return s->small.user == u ? &s->small : s->large.user == u ? &s->large : NULL;
}

void scan_feeds(struct daemon *d, const struct user *u)
{
	struct scan_work *w = work_on(d, u);
	if (w != NULL)
		w->feeding++;
}

void scan_fed(struct daemon *d, const struct user *u)
{
	struct scan_work *w = work_on(d, u);
	if (w != NULL)
		w->feeding--;
}

void scan_unclear(struct daemon *d, const struct user *u)
{
	struct scan_work *w = work_on(d, u);
	if (w != NULL)
		w->unclear = true;
}

void scan_clear(struct daemon *d)
{
	scan_work_clear(&d->scan.small);
	scan_work_clear(&d->scan.large);
	scan_kept_clear(d);
	d->scan = (struct scan){0};
}

/* What is left comes with another walk, when others had their turn. */
static void put_off(struct daemon *d, struct scan_work *w, bool unsorted)
{
	struct user *u = w->user;
	scan_work_break_off(w);
	if (u->scan_wanted)
		dequeue(d, u);
	u->scan_large = true;
	u->unsorted = u->unsorted || unsorted;
	enqueue(d, u, u->room.files == 0);
}

static void begin(struct daemon *d, struct scan_work *w, struct user *u)
{
	dequeue(d, u);
	u->scan_large = false;
	scan_work_begin(d, w, u);
}

static int step(struct daemon *d, struct scan_work *w, int budget, size_t feed)
{
	int took = scan_work_step(d, w, budget, feed);
	if (w->phase == SCAN_MORE)
		put_off(d, w, true);
	return took;
}

/* Is a portion nearly fed, or the next one being looked for? Its jobs must last as long
 * as that takes. */
static bool is_between_portions(const struct scan_work *w)
{
	if (w->phase == SCAN_WALK)
		return w->unsorted;
	return w->phase == SCAN_FEED && w->more && !w->kept && w->found.n - w->fed < SCAN_RESERVE;
}

static size_t ahead(const struct daemon *d, const struct scan_work *w)
{
	if (is_between_portions(w))
		return SCAN_RESERVE;
	bool more_at_hand = w->kept || scan_kept_has_room(d);
	return w->no_jobs || more_at_hand ? d->scan.portions.first : d->scan.portions.ahead;
}

/* Has its user enough to go on with, while jobs run that want the time? */
static bool may_wait(const struct daemon *d, const struct scan_work *w)
{
	const struct room *room = &w->user->room;
	return d->dispatch.running != NULL && room->files + room->on_the_way >= ahead(d, w);
}

/* Much of one user goes on beside the others, or again later. */
static void make_way(struct daemon *d)
{
	struct scan *s = &d->scan;
	struct scan_work *w = &s->small;
	bool feeds = w->phase == SCAN_FEED && w->fed < w->found.n && may_wait(d, w);
	bool walks = w->phase == SCAN_WALK && w->seen >= s->portions.small;
	if (!feeds && !walks)
		return;
	if (s->large.phase == SCAN_IDLE) {
		s->large = *w;
		*w = (struct scan_work){0};
	} else if (walks) {
		put_off(d, w, w->unsorted);
	} else {
		scan_work_leave_rest(d, w);
	}
}

/* What is fed at once: while jobs run, not more than a user needs. */
static size_t feed_max(const struct daemon *d, const struct scan_work *w)
{
	bool few = d->dispatch.running != NULL && ahead(d, w) < SCAN_FEEDING_MAX;
	return few ? ahead(d, w) : SCAN_FEEDING_MAX;
}

/* Through the users, one after the other. Is there more to do at once? */
static bool small_slice(struct daemon *d)
{
	struct scan_work *w = &d->scan.small;
	for (int budget = SCAN_SLICE; budget > 0;) {
		make_way(d);
		struct user *u = first_of(d->scan.wanted);
		if (w->phase == SCAN_IDLE && u == NULL)
			return false;
		if (w->phase == SCAN_IDLE)
			begin(d, w, u);
		int took = w->phase == SCAN_IDLE ? 1 : step(d, w, budget, feed_max(d, w));
		if (took == 0)
			return false;
		budget -= took + SCAN_STEP;
	}
	return true;
}

static void slow_slice(struct daemon *d, struct scan_work *w)
{
	const struct user *next = first_of(d->scan.wanted_large);
	bool poor = next != NULL && next->room.files == 0;
	if (d->steady_ms < w->again_ms)
		return;
	if (w->phase == SCAN_WALK && poor) {
		put_off(d, w, w->unsorted);
		return;
	}
	if (w->phase == SCAN_FEED && (poor || (next != NULL && w->fed >= SCAN_TURN)))
		scan_work_leave_rest(d, w);
	w->again_ms = d->steady_ms +
	              (w->phase == SCAN_FEED ? SCAN_SLOW_FEED_MS : SCAN_SLOW_WALK_MS);
	step(d, w, SCAN_SLOW_SLICE, SCAN_SLOW_FEED);
}

static bool large_slice(struct daemon *d)
{
	struct scan_work *w = &d->scan.large;
	struct user *next = first_of(d->scan.wanted_large);
	if (w->phase == SCAN_IDLE && next != NULL)
		begin(d, w, next);
	if (w->phase == SCAN_IDLE)
		return false;
	if (may_wait(d, w)) {
		slow_slice(d, w);
		return false;
	}
	w->again_ms = 0;
	return step(d, w, SCAN_SLICE, feed_max(d, w)) != 0;
}

bool scan_tick(struct daemon *d)
{
	if (turn_stalled(d))
		return false;
	bool more = small_slice(d);
	return large_slice(d) || more;
}

uint64_t scan_next(const struct daemon *d)
{
	const struct scan *s = &d->scan;
	const struct scan_work *w = &s->large;
	if (turn_stalled(d))
		return UINT64_MAX;
	if ((s->small.phase == SCAN_IDLE && first_of(s->wanted) != NULL) ||
	    (w->phase == SCAN_IDLE && first_of(s->wanted_large) != NULL))
		return 0;
	bool waits = w->feeding > 0 && (w->feeding >= SCAN_SLOW_FEED || w->fed == w->found.n);
	return w->phase == SCAN_IDLE || w->again_ms == 0 || waits ? UINT64_MAX : w->again_ms;
}

bool scan_idle(const struct daemon *d)
{
	const struct scan *s = &d->scan;
	return s->small.phase == SCAN_IDLE && s->large.phase == SCAN_IDLE && s->wanted == NULL &&
	       s->wanted_large == NULL;
}
