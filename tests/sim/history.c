/* One history: what a seed makes of the world, from an empty spool until all
 * has come to rest. */
#include "world.h"

#include <stdio.h>
#include <string.h>

enum {
	DRAIN_MS = 6 * 3600 * 1000, /* of the world's time, for everything to end */
	DRAIN_STEPS = 20000,
	BURSTS_MORE = 8,
	BACKLOG_MORE = 10,
	AWAKE_MS = 15000, /* by then nothing is left of the first start */
	WHOLES_1_OF = 4,        /* histories in which directories are jobs */
	RESCAN_MS = 130 * 1000, /* after which whatever no event told of is found */
};

static void choose_profile(struct profile *p)
{
	*p = (struct profile){
		.users = 1 + (int)dice_roll(USERS_MAX),
		.steps = 50 + (unsigned)dice_roll(250),
		.lossy_hints = one_of(6),
		.no_watch = one_of(15),
		.relaxed = one_of(12),
		.operators = one_of(2),
		.asks = one_of(3),
		.mounts = one_of(10),
		.clock_steps = one_of(8),
		.index_loss = one_of(12),
	};
	p->hints_room = one_of(4) ? 1 + (int)dice_roll(6) : HINTS_MAX;
	if (one_of(2))
		p->crash_1_of = 40u << dice_roll(5);
	if (one_of(3))
		p->cut_1_of = 80u << dice_roll(5);
	if (one_of(4))
		p->error_1_of = 5u << dice_roll(5);
	p->errors = p->error_1_of > 0;
	if (one_of(2))
		p->race_1_of = 10u << dice_roll(5);
	if (one_of(3))
		p->worker_death_percent = (unsigned)dice_roll(20);
}

static void choose_settings(struct settings *s)
{
	*s = (struct settings){
		.max_concurrent = 1 + (uint32_t)dice_roll(3),
		.max_running = one_of(4) ? 2 : 1,
		.max_retries = (uint32_t)dice_roll(4),
		.retry_back = one_of(3),
		.auto_start = true,
		.hold_on_failure = one_of(12),
		.on_crash = one_of(5) ? (uint8_t)dice_roll(3) : ON_CRASH_RETRY,
		.settle_ms = 200 + 100 * dice_roll(9),
		.retry_delay_ms = 500 + dice_roll(2000),
		.timeout_ms = 4000,
		/* Mostly so short that what is removed is not on the disk yet. */
		.keep_ms = one_of(3) ? 500 + dice_roll(one_of(4) ? 600000 : 1500) : 0,
	};
}

/* Jobs that wait in a worker while somebody waits for the place, which nothing else
 * disturbs. */
static void choose_bursts(void)
{
	const struct profile *p = &world->profile;
	world->profile = (struct profile){.users = 2, .steps = p->steps,
	                                  .hints_room = HINTS_MAX, .relaxed = p->relaxed,
	                                  .bursts = true};
	world->settings.prefetch = AHEAD_MAX;
	world->settings.max_concurrent = world->settings.max_running = world->running_limit = 1;
	world->settings.on_crash = ON_CRASH_RETRY;
}

/* Workers that give much back, and often just when that cannot be written. */
static void choose_bad_moments(void)
{
	struct profile *p = &world->profile;
	p->bad_moments = p->errors = p->operators = true;
	p->race_1_of = 10u << world->seed % 3;
	world->settings.prefetch = AHEAD_MAX;
	world->settings.on_crash = ON_CRASH_RETRY;
	world->settings.keep_ms = 500 + world->seed / 32 % 1500;
}

/* Many users with short jobs and few places: somebody always waits for one. */
static void choose_crowd(void)
{
	struct profile *p = &world->profile;
	p->users = USERS_MAX;
	p->relaxed = p->no_watch = p->lossy_hints = false;
	p->short_runs = p->operators = true;
	world->settings.max_concurrent = 1 + (uint32_t)(world->seed / 32 % 2);
	world->settings.on_crash = world->seed / 64 % 4 == 0 ? world->settings.on_crash : ON_CRASH_RETRY;
}

/* More than one portion of each user waits, again and again. */
static void choose_backlog(void)
{
	struct profile *p = &world->profile;
	p->users = 2 + (int)(world->seed / 16 % (USERS_MAX - 1));
	p->backlog = true;
	p->spread = world->seed / 128 % 2 == 1;
	world->settings.max_concurrent = 1 + (uint32_t)(world->seed / 64 % 3);
}

/* Events are lost, others are told when a scan has seen long ago what they are about. */
static void choose_late(void)
{
	struct profile *p = &world->profile;
	p->late_hints = true;
	p->lossy_hints = p->no_watch = p->clock_steps = false;
	p->hints_room = 2 + (int)(world->seed / 32 % 6);
	p->users = 1 + (int)(world->seed / 256 % 2);
}

static void begin_world(uint64_t seed, bool verbose)
{
	memory_forget();
	memset(world, 0, sizeof *world);
	world->seed = seed;
	world->verbose = verbose;
	world->dice.state = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
	world->now_ms = 1000000;
	world->mounted = true;
	fs_begin();
	world->committed.next_id = world->committed.next_seq = 1;
	world->durable.next_id = world->durable.next_seq = 1;
}

void history_begin_calm(const struct profile *profile, const struct settings *settings)
{
	begin_world(1, world->verbose);
	world->profile = *profile;
	world->settings = *settings;
	world->running_limit = settings->max_running;
	world->total_limit = settings->max_concurrent;
	for (int u = 0; u < USERS_MAX; u++)
		world->uploaders[u] = (struct uploader){
			.slot_upload = NONE, .there = u < profile->users, .due_ms = FAR};
}

static void begin(uint64_t seed, bool verbose)
{
	begin_world(seed, verbose);
	choose_profile(&world->profile);
	choose_settings(&world->settings);
	world->running_limit = world->settings.max_running;
	/* Not of the same dice: what a seed meant before it means without them. */
	world->settings.prefetch = (uint32_t)(seed % 4 == 0 ? 0 : seed % 7);
	if (seed % 6 == 1)
		world->settings.retry_delay_ms = 0;
	if (seed % 16 == 9)
		choose_bursts();
	if (seed % 32 == 21)
		choose_crowd();
	if (seed % 16 == 1)
		choose_backlog();
	if (seed % 32 == 5)
		choose_late();
	world->settings.wholes = seed % WHOLES_1_OF == 2;
	if (seed % 16 == 13 || seed % 32 == 30)
		choose_bad_moments();
	world->settings.unready = seed % 16 == 7 || seed % 32 == 26;
	world->settings.unready_ms = seed % 32 == 26 ? 1000 + seed % 20000 : 0;
	world->settings.whole_settle_ms = 300 + seed % 1700;
	world->total_limit = world->settings.max_concurrent;
	for (int u = 0; u < USERS_MAX; u++) {
		struct uploader *p = &world->uploaders[u];
		p->slot_upload = p->inner = NONE;
		p->there = one_of(2) || world->profile.bursts || world->profile.short_runs ||
		           world->profile.backlog;
		p->left = 1 + (unsigned)dice_roll(8) +
		          (world->profile.bursts || world->profile.short_runs ? BURSTS_MORE : 0) +
		          (world->profile.backlog ? BACKLOG_MORE : 0);
		p->due_ms = u < world->profile.users ? world->now_ms + dice_roll(2000) : FAR;
		/* The other one comes when the first has put much into the line. */
		if (world->profile.bursts)
			p->due_ms = u == 0 ? p->due_ms + AWAKE_MS : FAR;
	}
	world->daemon_due_ms = world->now_ms + dice_roll(3000);
	if (world->profile.backlog)
		world->daemon_due_ms += AWAKE_MS;
}

static void say_profile(void)
{
	const struct profile *p = &world->profile;
	const struct settings *s = &world->settings;
	say("%d users; settle %llu ms, %u at a time, %u of a user, %u ahead, %u retries at the "
	    "%s%s%s%s%s%s", p->users, (unsigned long long)s->settle_ms, s->max_concurrent, s->max_running,
	    s->prefetch, s->max_retries,
	    s->retry_back ? "back" : "front", p->relaxed ? ", relaxed" : "",
	    p->lossy_hints ? ", hints get lost" : "", p->no_watch ? ", no hints" : "",
	    p->index_loss ? ", the index gets lost" : "", s->wholes ? ", directories are jobs" : "");
}

/* Who acts next: all that are due within a moment are equally likely. */

enum actor { ACTOR_DAEMON, ACTOR_SYNC, ACTOR_USER, ACTOR_WORKER = ACTOR_USER + USERS_MAX,
             ACTOR_WALK = ACTOR_WORKER + WORKERS_MAX, ACTORS };

static uint64_t due_of(int actor)
{
	if (actor == ACTOR_DAEMON)
		return daemon_due();
	if (actor == ACTOR_SYNC)
		return sync_due();
	if (actor < ACTOR_WORKER)
		return world->mounted ? uploader_due(actor - ACTOR_USER) : FAR;
	if (actor == ACTOR_WALK)
		return walk_due();
	return worker_due(actor - ACTOR_WORKER);
}

static void act(int actor)
{
	if (actor == ACTOR_DAEMON)
		daemon_act();
	else if (actor == ACTOR_SYNC)
		sync_work();
	else if (actor < ACTOR_WORKER)
		uploader_act(actor - ACTOR_USER);
	else if (actor == ACTOR_WALK)
		walk_act();
	else
		worker_act(actor - ACTOR_WORKER);
}

bool history_step(void)
{
	uint64_t due[ACTORS], first = FAR;
	int ready[ACTORS], n = 0;
	for (int i = 0; i < ACTORS; i++) {
		due[i] = due_of(i);
		if (due[i] < first)
			first = due[i];
	}
	if (first == FAR)
		return false;
	if (world->now_ms < first)
		world->now_ms = first;
	/* Nobody is served to the millisecond. */
	world->now_ms += dice_roll(3);
	for (int i = 0; i < ACTORS; i++)
		if (due[i] <= world->now_ms)
			ready[n++] = i;
	world->step++;
	act(ready[dice_roll((uint64_t)n)]);
	check_world();
	return true;
}

static void begin_drain(void)
{
	say("now all that goes wrong is over");
	world->draining = world->mounted = true;
	world->faulty = false;
	went_wrong();
	world->profile.crash_1_of = world->profile.cut_1_of = world->profile.error_1_of = 0;
	world->profile.race_1_of = world->profile.worker_death_percent = 0;
	for (int i = 0; i < WORKERS_MAX; i++)
		world->workers[i].dies = false;
	uploader_finish_all();
}

static void drain(void)
{
	uint64_t begun_ms = world->now_ms, end_ms = begun_ms + DRAIN_MS;
	begin_drain();
	for (unsigned n = 0; n < DRAIN_STEPS && !violated() && world->now_ms < end_ms; n++) {
		/* Whatever was asked before. */
		if (n == 50)
			control_ask("{\"command\":\"start\"}");
		if (!history_step() || (n > 100 && n % 16 == 0 && world->now_ms > begun_ms + RESCAN_MS &&
		                check_settled()))
			break;
	}
	/* The last removals. */
	for (unsigned n = 0; n < 40 && !violated(); n++)
		if (!history_step())
			break;
	if (!violated())
		check_end();
}

static void limits_follow(void)
{
	for (int i = 0; i < WORKERS_MAX; i++)
		if (world->workers[i].phase != WORKER_NONE || world->strays[i].alive)
			return;
	for (int i = 0; i < world->committed.jobs_n; i++)
		if (job_state_is_active(world->committed.jobs[i].job.state))
			return;
	if (world->requests_n > 0)
		return;
	world->running_limit = world->settings.max_running;
	world->total_limit = world->settings.max_concurrent;
}

/* How it all stands at the end. */
static void say_state(void)
{
	for (int i = 0; i < world->committed.jobs_n; i++) {
		const struct flat_job *f = &world->committed.jobs[i];
		say("index: job %llu of %s (%s): %s, %s, attempt %u", (unsigned long long)f->job.id,
		    world->committed.users[f->job.user - 1].name, f->path, job_state_name(f->job.state),
		    place_name(f->job.place), f->job.attempt);
	}
	for (int i = 0; i < world->fs.slots_n; i++) {
		const struct slot *s = &world->fs.slots[i];
		if (s->used)
			say("disk: %s/%s/%llu/%s (upload %d)", user_name(s->user),
			    s->place == PLACE_WITHIN ? "within" : place_name((enum place)s->place), (unsigned long long)s->dir, s->name,
			    world->fs.inodes[s->inode].upload);
	}
}

void history_run(uint64_t seed, bool verbose)
{
	begin(seed, verbose);
	say_profile();
	for (unsigned n = 0; n < world->profile.steps && !violated(); n++) {
		if (!history_step())
			break;
		limits_follow();
		if (one_of(25))
			weather_act();
		if (world->profile.operators && one_of(20))
			operator_act();
		if (world->profile.asks && one_of(10))
			ask_why();
	}
	if (!violated())
		drain();
	say_state();
	daemon_kill();
}
