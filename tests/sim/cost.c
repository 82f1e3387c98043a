/* What jobs cost the index, counted in calm histories: nothing goes wrong, each run
 * is short and succeeds. A commit or a row more than that goes with each job of a
 * busy spool, and no other test would notice. */
#include "world.h"

#include <stdio.h>

enum { STEPS_MAX = 20000, FILES = 8 };

static const struct profile calm = {.users = 1, .hints_room = HINTS_MAX, .calm = true};
static const struct settings plain = {
	.max_concurrent = 1, .max_running = 1, .max_retries = 3, .auto_start = true,
	.on_crash = ON_CRASH_RETRY, .settle_ms = 200, .retry_delay_ms = 500, .timeout_ms = 4000,
};

static bool expect(const char *what, unsigned found, unsigned least, unsigned most)
{
	bool good = found >= least && found <= most && !violated();
	printf("%s%s: %u (%u to %u)%s%s\n", good ? "" : "FAILED: ", what, found, least, most,
	       violated() ? "; " : "", world->violation);
	return good;
}

/* Until it is `until_ms`, or at rest (0). */
static void go_on(uint64_t until_ms)
{
	for (unsigned n = 0; n < STEPS_MAX && !violated(); n++)
		if (!history_step() || (until_ms == 0 ? check_settled() : world->now_ms >= until_ms))
			return;
}

static void begin(int users, uint32_t at_once, uint32_t prefetch, bool auto_start)
{
	struct profile profile = calm;
	struct settings settings = plain;
	profile.users = users;
	settings.max_concurrent = at_once;
	settings.prefetch = prefetch;
	settings.auto_start = auto_start;
	history_begin_calm(&profile, &settings);
	go_on(world->now_ms + 3000);
	world->commits = world->puts = 0;
}

static void drop(int users, int files)
{
	for (int n = 0; n < files; n++)
		for (int u = 0; u < users; u++) {
			char name[NAME_ROOM];
			snprintf(name, sizeof name, "%d.csv", n);
			uploader_drop(u, name);
		}
}

/* All the way to done, and what the last one leaves to be done. */
static void work_off(void)
{
	go_on(0);
	go_on(world->now_ms + 2000);
}

static bool alone(void)
{
	begin(1, 1, 0, true);
	drop(1, 1);
	work_off();
	bool good = expect("a job alone: commits", world->commits, 2, 2);
	return expect("a job alone: rows", world->puts, 4, 4) && good;
}

/* A result, and the claim of the job that follows, are one commit. */
static bool line(void)
{
	begin(1, 1, 0, true);
	drop(1, FILES);
	work_off();
	bool good = expect("a line of 8: commits", world->commits, 2, FILES + 1);
	return expect("a line of 8: rows", world->puts, 4 * FILES, 4 * FILES) && good;
}

static bool chain(void)
{
	begin(1, 1, FILES, true);
	drop(1, FILES);
	work_off();
	bool good = expect("a chain of 8: commits", world->commits, 2, FILES + 1);
	return expect("a chain of 8: rows", world->puts, 4 * FILES, 4 * FILES) && good;
}

/* What arrives together is accepted, and claimed, in one commit. */
static bool together(void)
{
	begin(USERS_MAX, USERS_MAX, 0, true);
	drop(USERS_MAX, 1);
	work_off();
	bool good = expect("4 users at once: commits", world->commits, 2, USERS_MAX + 1);
	return expect("4 users at once: rows", world->puts, 4 * USERS_MAX, 4 * USERS_MAX) && good;
}

static bool rescan(void)
{
	begin(2, 2, 0, false);
	drop(2, FILES);
	go_on(world->now_ms + 3000);
	bool good = expect("16 that wait: commits", world->commits, 1, 2);
	for (int u = 0; u < 2; u++) {
		char text[80];
		snprintf(text, sizeof text, "{\"command\":\"rescan\",\"user\":\"%s\"}", user_name(u));
		control_ask(text);
	}
	world->commits = 0;
	/* The next one by itself is due by then, too. */
	go_on(world->now_ms + 600000);
	return expect("rescans of these: commits", world->commits, 0, 0) && good;
}

bool costs_run(void)
{
	bool (*const all[])(void) = {alone, line, chain, together, rescan};
	bool good = true;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		good = all[i]() && good;
	daemon_kill();
	return good;
}
