/* What happens to a machine and its spool, and what operators ask for. */
#include "world.h"

#include "io/watch.h"

#include <stdio.h>
#include <string.h>

static uint64_t some_job(void)
{
	const struct rows *rows = &world->committed;
	return rows->jobs_n == 0 ? 0 : rows->jobs[dice_roll((uint64_t)rows->jobs_n)].job.id;
}

static struct ledger_entry *entry_of(uint64_t job)
{
	for (int i = 0; i < world->uploads_n; i++)
		if (world->uploads[i].job == job)
			return &world->uploads[i];
	return NULL;
}

static void ask_job(const char *command)
{
	char text[160];
	uint64_t job = some_job();
	struct ledger_entry *e = job == 0 ? NULL : entry_of(job);
	if (e != NULL && strcmp(command, "cancel") == 0)
		e->cancel_asked = true;
	if (e != NULL && strcmp(command, "retry") == 0)
		e->retry_asked = true;
	snprintf(text, sizeof text, "{\"command\":\"%s\",\"job\":%llu}", command,
	         (unsigned long long)job);
	control_ask(text);
}

static void ask_user(const char *command)
{
	char text[160];
	snprintf(text, sizeof text, "{\"command\":\"%s\",\"user\":\"%s\"}", command,
	         user_name((int)dice_roll((uint64_t)world->profile.users)));
	control_ask(text);
}

void ask_why(void)
{
	char text[160];
	const struct fs *fs = &world->fs;
	if (fs->slots_n == 0)
		return;
	const struct slot *s = &fs->slots[dice_roll((uint64_t)fs->slots_n)];
	if (!s->used || s->place == PLACE_PROCESSING || s->place == PLACE_WITHIN)
		return;
	snprintf(text, sizeof text, "{\"command\":\"explain\",\"path\":\"/spool/%s/%s/%s\"}",
	         user_name(s->user), place_name((enum place)s->place), s->name);
	control_ask(text);
}

/* What was being removed when the last daemon died may be due no more. */
void settings_before_start(void)
{
	if (world->profile.bad_moments && world->lives > 0)
		world->settings.keep_ms += 60000;
}

static void reload(void)
{
	struct settings *s = &world->settings;
	s->max_running = 1 + (uint32_t)dice_roll(2);
	s->max_concurrent = 1 + (uint32_t)dice_roll(3);
	if (world->running_limit < s->max_running)
		world->running_limit = s->max_running;
	if (world->total_limit < s->max_concurrent)
		world->total_limit = s->max_concurrent;
	control_ask("{\"command\":\"reload\"}");
}

/* Somebody moves a file by hand: that is an end, too. */
static void move_by_hand(void)
{
	struct fs *fs = &world->fs;
	int slot = fs->slots_n == 0 ? NONE : (int)dice_roll((uint64_t)fs->slots_n);
	if (slot == NONE || !fs->slots[slot].used || fs->slots[slot].place != PLACE_INCOMING)
		return;
	struct slot s = fs->slots[slot];
	int upload = fs->inodes[s.inode].upload;
	enum place to = one_of(2) ? PLACE_DONE : PLACE_FAILED;
	if (upload == NONE || world->uploads[upload].fate != FATE_WHOLE ||
	    world->uploads[upload].job == 0 || fs_find(s.user, (uint8_t)to, 0, s.name) != NONE)
		return;
	world->uploads[upload].moved_outside = true;
	fs_rename(slot, s.user, (uint8_t)to, 0, s.name);
	hint_add(s.user, WATCH_LEFT, s.name);
	say("an operator moves %s to %s by hand", s.name, place_name(to));
}

void operator_act(void)
{
	if (world->profile.bad_moments && one_of(2)) {
		ask_job(one_of(2) ? "retry" : "cancel");
		return;
	}
	switch (dice_roll(16)) {
	case 0: ask_job("hold"); break;
	case 1: ask_job("release"); break;
	case 2: ask_job("cancel"); break;
	case 3: ask_job("retry"); break;
	case 4: ask_user("hold"); break;
	case 5:
	case 6: ask_user("release"); break;
	case 7:
		world->stopped = true;
		control_ask("{\"command\":\"stop\"}");
		break;
	case 8:
	case 9: control_ask("{\"command\":\"start\"}"); break;
	case 10: reload(); break;
	case 11: ask_user("rescan"); break;
	case 12: control_ask("{\"command\":\"status\"}"); break;
	case 13: ask_job("show"); break;
	case 14: ask_why(); break;
	case 15: move_by_hand(); break;
	}
}

static void lose_index(void)
{
	/* Only a daemon that starts finds that out. */
	if (world->daemon_up)
		return;
	say("the index is lost");
	world->index_lost = true;
	world->committed.users_n = world->committed.jobs_n = world->committed.attempts_n = 0;
	world->committed.next_id = world->committed.next_seq = 1;
	world->durable = world->committed;
	ledger_without_index();
}

static void toggle_mount(void)
{
	world->mounted = !world->mounted;
	went_wrong();
	if (!world->mounted)
		hints_unmount();
	say("the spool is %s", world->mounted ? "back" : "not mounted any more");
}

static void step_clock(void)
{
	int64_t by = (int64_t)dice_roll(4000000) - 2000000;
	world->wall_offset_ms += by;
	world->clock_stepped = world->clock_was_set = true;
	went_wrong();
	say("the wall clock steps by %.1f s", (double)by / 1000);
}

void weather_act(void)
{
	const struct profile *p = &world->profile;
	switch (dice_roll(12)) {
	case 0:
		if (p->crash_1_of > 0) {
			say("the daemon is killed");
			daemon_kill();
		}
		break;
	case 1:
		if (p->cut_1_of > 0) {
			say("the power is cut");
			power_cut();
		}
		break;
	case 2:
		if (p->mounts)
			toggle_mount();
		break;
	case 3:
		if (p->clock_steps && one_of(2))
			step_clock();
		break;
	case 4:
		if (p->worker_death_percent > 0)
			worker_kill((int)dice_roll(WORKERS_MAX));
		break;
	case 5:
		if (p->crash_1_of > 0 && one_of(2))
			daemon_ask_stop();
		break;
	case 6:
		if (p->index_loss)
			lose_index();
		break;
	default: world->faulty = p->error_1_of > 0 && one_of(2); break;
	}
}
