/* The life of a daemon: from its start to its end, in the middle of whatever
 * it does. The real rooms of src/spoold run here; what setup.c and loop.c do
 * for them is done by hand, one wake-up at a time. */
#include "world.h"

#include "base/log.h"
#include "spoold/daemon.h"
#include "spoold/hints.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RELAXED_SYNC_MS = 1000, RESTART_MS = 3000, FRAGILE_CRASH_1_OF = 20,
       BACKLOG_RESTART_MS = 20000 };

static struct daemon d;
static uint64_t synced_ms, synced_commits;
static char handle; /* what the simulated rooms are called by */

/* Steps. */

static void leave_daemon(enum life_end how)
{
	longjmp(*world->out, (int)how);
}

static unsigned crash_1_of(void)
{
	const struct profile *p = &world->profile;
	return p->bad_moments && world->fragile && !world->draining ? FRAGILE_CRASH_1_OF : p->crash_1_of;
}

void io_step(const char *what)
{
	if (!world->in_daemon)
		return;
	world->io_calls++;
	if (one_of(world->profile.race_1_of))
		users_race();
	if (violated())
		leave_daemon(LIFE_VIOLATION);
	if (one_of(crash_1_of())) {
		say("the daemon is killed before: %s", what);
		leave_daemon(LIFE_CRASHED);
	}
	if (one_of(world->profile.cut_1_of)) {
		say("the power is cut before: %s", what);
		leave_daemon(LIFE_CUT);
	}
}

void went_wrong(void)
{
	world->disturbed_ms = world->went_wrong_ms = world->now_ms;
}

int io_may_fail(const char *what, int error_a, int error_b)
{
	io_step(what);
	if (!world->in_daemon || !world->faulty || !one_of(world->profile.error_1_of))
		return 0;
	int error = one_of(2) ? error_a : error_b;
	went_wrong();
	say("fails: %s: %s", what, strerror(-error));
	return error;
}

/* How a life ends. */

static uint64_t restart_ms(void)
{
	return world->now_ms + 1 + dice_roll(world->profile.backlog ? BACKLOG_RESTART_MS : RESTART_MS);
}

static void forget_life(void)
{
	fds_close_all();
	hints_forget();
	sync_forget();
	walks_forget();
	control_forget();
	workers_lose_daemon();
	index_daemon_died();
	memory_forget();
	world->daemon_up = world->in_daemon = false;
	went_wrong();
	world->stopped = false;
	world->daemon_due_ms = restart_ms();
	memset(world->ready, 0, sizeof world->ready);
}

void daemon_kill(void)
{
	if (world->daemon_up)
		forget_life();
}

void power_cut(void)
{
	daemon_kill();
	workers_power_cut();
	index_power_cut();
	fs_power_cut();
	ledger_after_cut();
	went_wrong();
	world->daemon_due_ms = restart_ms();
}

/* Lets the daemon do something from which it may not come back. */
static bool live(void (*act)(void))
{
	jmp_buf out;
	world->out = &out;
	int how = setjmp(out);
	if (how == 0) {
		world->in_daemon = true;
		act();
		world->in_daemon = false;
		return true;
	}
	world->in_daemon = false;
	if (how == LIFE_CUT)
		power_cut();
	else
		daemon_kill();
	return false;
}

/* As setup_clear(): whoever ends in order leaves nothing behind. */
static void end_in_order(void)
{
	while (sync_due() != FAR)
		sync_work();
	daemon_clear(&d);
	if (index_sync(d.index) == 0)
		numbers_end(&d);
	tree_close(d.tree);
	config_free(d.config);
}

static void end_life(void)
{
	if (!live(end_in_order))
		return;
	for (int i = 0; i < world->batches_n; i++)
		world->batches[i].n = 0;
	if (memory_left() > 0)
		violation("a daemon that ended left %u blocks of memory", memory_left());
	say("the daemon ended");
	forget_life();
}

/* How it begins. */

/* So that a backlog is more than one, which takes thousands of files elsewhere. */
static void take_small_portions(void)
{
	uint64_t of = world->seed / 16;
	d.scan.portions = (struct scan_portions){
		.first = 1 + of % 2, .ahead = 2 + of / 2 % 2, .small = 2 + of / 4 % 4,
		.kept = 3 * (of / 16 % 4)};
}

static void begin(void)
{
	struct config_report report;
	struct config *config = NULL;
	void *any = &handle;
	if (config_load("", &config, &report) < 0 || daemon_init(&d, config) < 0)
		abort();
	if (world->profile.backlog)
		take_small_portions();
	d.index = any;
	d.pool = any;
	d.sync = any;
	d.wholes = any;
	d.control = any;
	d.watch = world->profile.no_watch ? NULL : any;
	world->pool_max = config->max_concurrent;
	if (tree_open("/spool", &d.tree) < 0)
		leave_daemon(LIFE_CRASHED);
	if (d.watch != NULL && users_watch_root(&d) < 0)
		d.watch = NULL;
	if (daemon_start(&d, wall_ms(), world->now_ms) < 0)
		leave_daemon(LIFE_CRASHED);
}

bool daemon_start_life(void)
{
	settings_before_start();
	world->daemon_up = true;
	world->lines_held = 0;
	world->lives++;
	world->life_began_ms = world->now_ms;
	world->daemon_due_ms = world->now_ms;
	world->spins = 0;
	synced_ms = synced_commits = 0;
	say("the daemon starts (life %u)", world->lives);
	return live(begin);
}

/* How it goes on. */

static uint64_t sync_relaxed(uint64_t next)
{
	if (!world->profile.relaxed || d.turn.commits == synced_commits)
		return next;
	if (world->now_ms < synced_ms + RELAXED_SYNC_MS)
		return due_min(next, synced_ms + RELAXED_SYNC_MS);
	if (index_sync(d.index) == 0)
		synced_commits = d.turn.commits;
	synced_ms = world->now_ms;
	return next;
}

/* More ticks in a row that want the next one at once than any work here takes. */
enum { SPINS_MAX = 500 };

static void check_spins(uint64_t next)
{
	world->spins = next <= world->now_ms ? world->spins + 1 : 0;
	if (world->spins == SPINS_MAX)
		violation("the daemon was never idle for %d ticks", SPINS_MAX);
}

static void tick(void)
{
	uint64_t next = daemon_tick(&d, wall_ms(), world->now_ms);
	check_spins(next);
	world->daemon_due_ms = sync_relaxed(next);
}

typedef void room_fn(struct daemon *daemon);

/* One of the descriptors that are readable, as the event loop would take it. */
static room_fn *pick_source(void)
{
	room_fn *ready[5];
	unsigned n = 0;
	if (d.watch != NULL && hints_due() <= world->now_ms)
		ready[n++] = hints_read;
	if (sync_ready())
		ready[n++] = intake_read_synced;
	if (pool_ready())
		ready[n++] = dispatch_read_events;
	if (control_waiting())
		ready[n++] = request_read_all;
	if (walk_ready())
		ready[n++] = whole_read_results;
	return n == 0 ? NULL : ready[dice_roll(n)];
}

static void wake(void)
{
	room_fn *source = pick_source();
	if (source != NULL) {
		d.wall_ms = wall_ms();
		d.steady_ms = world->now_ms;
		source(&d);
	}
	tick();
}

uint64_t daemon_due(void)
{
	if (!world->daemon_up)
		return world->daemon_due_ms;
	if (sync_ready() || pool_ready() || control_waiting() || walk_ready())
		return world->now_ms;
	uint64_t hint_ms = d.watch != NULL ? hints_due() : FAR;
	return hint_ms < world->daemon_due_ms ? hint_ms : world->daemon_due_ms;
}

void daemon_act(void)
{
	if (!world->daemon_up) {
		world->daemon_due_ms = world->now_ms + RESTART_MS;
		if (world->mounted)
			daemon_start_life();
		return;
	}
	if (live(wake) && daemon_finished(&d))
		end_life();
}

static void stop(void)
{
	daemon_stop(&d);
}

void daemon_ask_stop(void)
{
	if (!world->daemon_up)
		return;
	say("the daemon is asked to stop");
	went_wrong();
	world->daemon_due_ms = world->now_ms;
	live(stop);
}

/* The daemon's own words, as part of the story. */
static void quote(const char *format, va_list args)
{
	char text[512];
	if (!world->verbose)
		return;
	vsnprintf(text, sizeof text, format, args);
	say("spoold: %s", text);
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;
	(void)level;
	va_start(args, format);
	quote(format, args);
	va_end(args);
}

void log_add(struct log_lines *lines, enum log_level level, const char *format, ...)
{
	va_list args;
	(void)lines;
	(void)level;
	world->lines_held++;
	va_start(args, format);
	quote(format, args);
	va_end(args);
}

void log_flush(struct log_lines *lines)
{
	(void)lines;
	world->lines_held = 0;
}
