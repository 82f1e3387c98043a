#include "core/sched.h"

#include "base/heap.h"

#include <errno.h>
#include <stdlib.h>
/* A full table must not end the process: memory that is out is an error like
 * any other. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

struct sched_user {
	uint32_t number;
	uint32_t turn;            /* when it joined the round last; counts on beyond its end */
	struct sched_view view;
	bool ready;               /* in the round */
	bool keeps_turn;          /* it joins where it was */
	struct heap_node backoff; /* key: head_not_before_ms */
	struct sched_user *prev, *next;
	UT_hash_handle hh;
};

struct sched {
	struct sched_user *users;
	struct sched_user *round; /* whose head may start, the next one first */
	struct heap backoff;
	uint32_t turns;           /* that were given */
	uint32_t max_active, active;
	uint32_t elsewhere;       /* of `active`, those of blocked users */
	uint64_t picked_wall_ms;  /* when sched_pick() was asked last */
	bool running;
};

struct sched *sched_new(void)
{
	struct sched *s = calloc(1, sizeof *s);
	if (s != NULL) {
		s->max_active = 1;
		s->running = true;
	}
	return s;
}

void sched_free(struct sched *s)
{
	if (s == NULL)
		return;
	struct sched_user *u, *tmp;
	HASH_ITER(hh, s->users, u, tmp) {
		HASH_DEL(s->users, u);
		free(u);
	}
	heap_clear(&s->backoff);
	free(s);
}

void sched_set_limit(struct sched *s, uint32_t max_active)
{
	s->max_active = max_active > 0 ? max_active : 1;
}

void sched_set_running(struct sched *s, bool running)
{
	s->running = running;
}

bool sched_running(const struct sched *s)
{
	return s->running;
}

static struct sched_user *find(const struct sched *s, uint32_t number)
{
	struct sched_user *u = NULL;
	HASH_FIND(hh, s->users, &number, sizeof number, u);
	return u;
}

static struct sched_user *find_or_add(struct sched *s, uint32_t number)
{
	struct sched_user *u = find(s, number);
	if (u != NULL)
		return u;
	u = calloc(1, sizeof *u);
	if (u == NULL)
		return NULL;
	u->number = number;
	HASH_ADD(hh, s->users, number, sizeof u->number, u);
	if (find(s, number) == NULL) {
		free(u);
		return NULL;
	}
	return u;
}

static bool may_start(const struct sched_view *v)
{
	return v->head_job != 0 && !v->held && !v->blocked &&
	       (v->limit == 0 || v->active < v->limit);
}

static uint32_t elsewhere(const struct sched_view *v)
{
	return v->blocked ? v->active : 0;
}

static void leave_round(struct sched *s, struct sched_user *u)
{
	if (u->ready)
		DL_DELETE(s->round, u);
	u->ready = false;
}

/* The first in the round that joined it later. */
static struct sched_user *first_later(const struct sched *s, const struct sched_user *u)
{
	struct sched_user *other = s->round;
	while (other != NULL && (int32_t)(other->turn - u->turn) < 0)
		other = other->next;
	return other;
}

static void join_round(struct sched *s, struct sched_user *u)
{
	if (u->ready)
		return;
	if (!u->keeps_turn)
		u->turn = ++s->turns;
	/* NULL: at its end. */
	struct sched_user *later = u->keeps_turn ? first_later(s, u) : NULL;
	DL_PREPEND_ELEM(s->round, later, u);
	u->ready = true;
	u->keeps_turn = false;
}

/* Puts the user where its view wants it: the round, the backoff, or neither. */
static int file_user(struct sched *s, struct sched_user *u)
{
	if (!may_start(&u->view)) {
		leave_round(s, u);
		heap_remove(&s->backoff, &u->backoff);
		return 0;
	}
	/* Who is in the round already keeps its turn when told again. */
	bool ended = u->ready && u->view.head_not_before_ms <= s->picked_wall_ms;
	if (u->view.head_not_before_ms == 0 || ended) {
		heap_remove(&s->backoff, &u->backoff);
		join_round(s, u);
		return 0;
	}
	leave_round(s, u);
	return heap_put(&s->backoff, &u->backoff, u->view.head_not_before_ms);
}

int sched_set_user(struct sched *s, uint32_t user, const struct sched_view *view)
{
	struct sched_user *u = find_or_add(s, user);
	if (u == NULL)
		return -ENOMEM;
	s->active = s->active - u->view.active + view->active;
	s->elsewhere = s->elsewhere - elsewhere(&u->view) + elsewhere(view);
	u->view = *view;
	return file_user(s, u);
}

void sched_keep_turn(struct sched *s, uint32_t user)
{
	struct sched_user *u = find(s, user);
	if (u != NULL)
		u->keeps_turn = true;
}

void sched_forget_user(struct sched *s, uint32_t user)
{
	struct sched_user *u = find(s, user);
	if (u == NULL)
		return;
	s->active -= u->view.active;
	s->elsewhere -= elsewhere(&u->view);
	leave_round(s, u);
	heap_remove(&s->backoff, &u->backoff);
	HASH_DEL(s->users, u);
	free(u);
}

static void end_backoffs(struct sched *s, uint64_t now_wall_ms)
{
	for (;;) {
		struct heap_node *node = heap_first(&s->backoff);
		if (node == NULL || node->key > now_wall_ms)
			return;
		heap_remove(&s->backoff, node);
		join_round(s, HEAP_ENTRY(node, struct sched_user, backoff));
	}
}

static void look(struct sched *s, uint64_t now_wall_ms)
{
	s->picked_wall_ms = now_wall_ms;
	end_backoffs(s, now_wall_ms);
}

static struct sched_pick first_pick(const struct sched *s)
{
	return (struct sched_pick){.user = s->round->number, .job = s->round->view.head_job};
}

bool sched_peek(struct sched *s, uint64_t now_wall_ms, struct sched_pick *ret)
{
	look(s, now_wall_ms);
	if (!s->running || s->round == NULL)
		return false;
	*ret = first_pick(s);
	return true;
}

void sched_pick_beyond(struct sched *s)
{
	struct sched_user *u = s->round;
	u->view.head_job = 0;
	u->view.active++;
	s->active++;
	leave_round(s, u);
}

size_t sched_pick(struct sched *s, uint64_t now_wall_ms, struct sched_pick *picks, size_t n)
{
	size_t picked = 0;
	look(s, now_wall_ms);
	while (s->running && picked < n && s->active < s->max_active && s->round != NULL) {
		picks[picked++] = first_pick(s);
		sched_pick_beyond(s);
	}
	return picked;
}

/* Could somebody's head start, if there were a place? */
static bool somebody_waits(const struct sched *s, uint64_t now_wall_ms)
{
	const struct heap_node *node = heap_first(&s->backoff);
	return s->round != NULL || (node != NULL && node->key <= now_wall_ms);
}

bool sched_ready(const struct sched *s, uint64_t now_wall_ms)
{
	return somebody_waits(s, now_wall_ms) && s->running && s->active < s->max_active;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

uint32_t sched_ahead(const struct sched *s, uint32_t user, uint64_t now_wall_ms, uint64_t ran_ms,
                     uint32_t most)
{
	const struct sched_user *u = find(s, user);
	if (u == NULL || ran_ms > SCHED_SHORT_MS || !s->running || u->view.held || u->view.blocked || u->view.limit != 1 ||
	    u->view.active != 1 || s->active > s->max_active || somebody_waits(s, now_wall_ms))
		return 0;
	uint32_t in_time = SCHED_AHEAD_MS / (ran_ms > 0 ? (uint32_t)ran_ms : 1);
	uint32_t share = s->active < SCHED_AHEAD_ALL ? SCHED_AHEAD_ALL / s->active : 1;
	return least(most, least(in_time, share));
}

bool sched_pick_ahead(struct sched *s, uint32_t user, uint64_t now_wall_ms, uint32_t waiting,
                      uint32_t most, struct sched_pick *ret)
{
	struct sched_user *u = find(s, user);
	if (u == NULL || waiting >= most || u->view.head_job == 0 ||
	    u->view.head_not_before_ms > now_wall_ms)
		return false;
	*ret = (struct sched_pick){.user = user, .job = u->view.head_job};
	u->view.head_job = 0;
	return true;
}

uint64_t sched_next_ms(const struct sched *s)
{
	const struct heap_node *node = heap_first(&s->backoff);
	return node == NULL || !s->running ? UINT64_MAX : node->key;
}

enum sched_reason sched_explain(const struct sched *s, uint32_t user, uint64_t now_wall_ms)
{
	const struct sched_user *u = find(s, user);
	if (u == NULL || (u->view.head_job == 0 && u->view.active == 0))
		return SCHED_EMPTY;
	if (!s->running)
		return SCHED_STOPPED;
	if (u->view.held)
		return SCHED_HELD;
	if (u->view.blocked)
		return SCHED_BLOCKED;
	if (u->view.limit != 0 && u->view.active >= u->view.limit)
		return SCHED_LIMIT;
	if (u->view.head_job == 0)
		return SCHED_EMPTY;
	/* In the round it is over, though the wall clock may have stepped back. */
	if (!u->ready && u->view.head_not_before_ms > now_wall_ms)
		return SCHED_BACKOFF;
	return SCHED_READY;
}

uint32_t sched_active(const struct sched *s)
{
	return s->active;
}

uint32_t sched_active_elsewhere(const struct sched *s)
{
	return s->elsewhere;
}
