#include "spoold/numbers.h"

#include "base/log.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* From here on the index gives numbers. */
struct begin {
	struct change change;
	uint64_t first;
};

static int begin_apply(struct daemon *d, struct change *c)
{
	return index_reserve_ids(d->index, ((struct begin *)c)->first - 1);
}

static void begin_finish(struct daemon *d, struct change *c, int error)
{
	(void)d;
	(void)error;
	free(c);
}

static void write_below(struct daemon *d, uint64_t below)
{
	int r = tree_write_numbers(d->tree, below);
	if (r == 0) {
		d->numbers.below = below;
		d->numbers.retry_ms = 0;
		return;
	}
	if (d->numbers.retry_ms == 0)
		log_error("the spool's record of job numbers (%s/.spoold/numbers) cannot be written: %s; "
		          "new jobs may have to wait for that", tree_root(d->tree), strerror(-r));
	d->numbers.retry_ms = d->steady_ms + NUMBERS_RETRY_MS;
}

/* Where the index goes on. After an orderly end both know the same number. */
static uint64_t first_number(const struct daemon *d, uint64_t next, uint64_t kept)
{
	bool may_be_behind = next == 1 || d->config->durability == DURABILITY_RELAXED ||
	                     kept > next + 2 * (uint64_t)NUMBERS_AHEAD;
	return may_be_behind && kept > next ? kept : next;
}

int numbers_start(struct daemon *d)
{
	uint64_t next, kept = 0;
	int r = index_next_id(d->index, &next);
	if (r < 0)
		return r;
	r = tree_read_numbers(d->tree, &kept);
	if (r == -EBADMSG) {
		log_error("the spool's record of job numbers (%s/.spoold/numbers) is damaged; it is written "
		          "anew from what the index knows", tree_root(d->tree));
	} else if (r < 0 && r != -ENOENT) {
		log_error("the spool's record of job numbers (%s/.spoold/numbers) cannot be read: %s",
		          tree_root(d->tree), strerror(-r));
		return r;
	}
	struct begin *begin = calloc(1, sizeof *begin);
	if (begin == NULL)
		return -ENOMEM;
	begin->change = (struct change){.apply = begin_apply, .finish = begin_finish, .keep = true};
	begin->first = first_number(d, next, kept);
	d->numbers = (struct numbers){.below = kept, .last = begin->first - 1};
	turn_add(d, &begin->change);
	numbers_tick(d);
	return 0;
}

void numbers_tick(struct daemon *d)
{
	uint64_t last = d->numbers.last;
	if (d->numbers.below <= last + NUMBERS_AHEAD && d->steady_ms >= d->numbers.retry_ms &&
	    daemon_mounted(d))
		write_below(d, last + 1 + 2 * (uint64_t)NUMBERS_AHEAD);
}

uint64_t numbers_next(const struct daemon *d)
{
	return d->numbers.retry_ms == 0 ? UINT64_MAX : d->numbers.retry_ms;
}

void numbers_end(struct daemon *d)
{
	if (d->numbers.below > d->numbers.last + 1 && tree_mounted(d->tree) == 0)
		write_below(d, d->numbers.last + 1);
}

void numbers_met(struct daemon *d, uint64_t id)
{
	if (id > d->numbers.last)
		d->numbers.last = id;
}

int numbers_new(struct daemon *d, uint64_t *ret_id)
{
	uint64_t id;
	int r = index_new_id(d->index, &id);
	if (r < 0)
		return r;
	numbers_met(d, id);
	if (id >= d->numbers.below)
		return -ENOSPC;
	*ret_id = id;
	return 0;
}
