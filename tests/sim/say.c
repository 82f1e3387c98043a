/* The story of a history, and its dice and clocks. */
#include "world.h"

#include <pwd.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct world the_world;
struct world *world = &the_world;
const char *sim_break;

bool broken(const char *name)
{
	return sim_break != NULL && strcmp(sim_break, name) == 0;
}

uint64_t dice_roll(uint64_t n)
{
	/* splitmix64 */
	uint64_t z = (world->dice.state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return n == 0 ? 0 : (z ^ (z >> 31)) % n;
}

bool one_of(unsigned n)
{
	return n > 0 && dice_roll(n) == 0;
}

bool percent(unsigned n)
{
	return dice_roll(100) < n;
}

void say(const char *format, ...)
{
	va_list args;
	if (!world->verbose)
		return;
	printf("%5u %9.3f s  ", world->step, (double)world->now_ms / 1000);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

void violation(const char *format, ...)
{
	va_list args;
	if (violated())
		return;
	va_start(args, format);
	vsnprintf(world->violation, sizeof world->violation, format, args);
	va_end(args);
	say("VIOLATION: %s", world->violation);
}

bool violated(void)
{
	return world->violation[0] != '\0';
}

uint64_t wall_ms(void)
{
	return (uint64_t)((int64_t)(WALL_START_MS + world->now_ms) + world->wall_offset_ms);
}

int64_t stamp_ns(void)
{
	int64_t now = (int64_t)wall_ms() * 1000000;
	world->fs.last_ns = now > world->fs.last_ns || world->clock_stepped ? now : world->fs.last_ns + 1;
	world->clock_stepped = false;
	return world->fs.last_ns;
}

/* Looking up accounts is slow, and not of this world: in it root asks. */
struct passwd *getpwuid(uid_t uid)
{
	static char name[] = "root";
	static struct passwd root = {.pw_name = name};
	(void)uid;
	return &root;
}

uid_t geteuid(void)
{
	return 0;
}

struct group *getgrnam(const char *name)
{
	(void)name;
	return NULL;
}
