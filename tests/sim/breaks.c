/* Each rule of recovery and each order of commit and rename, broken. The
 * product has no switch for that: broken() is asked in the simulated rooms, and
 * what core/reconcile answers is changed on its way, by the linker (--wrap). */
#include "breaks.h"

#include "world.h"

#include "core/reconcile.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Broken where the daemon meets the world. */
static const char *const names[] = {
	"commit-not-synced", "commit-error-ignored", "told-before-synced", "file-not-synced",
	"directory-not-synced", "sync-error-ignored", "ack-before-commit", "result-not-synced",
	"lock-not-passed", "lock-not-asked", "strays-left-alone", "claim-not-checked",
	"writers-not-asked", "final-rename-replaces", "overflow-untold", "marker-not-looked-for",
	"take-back-not-synced", "claim-before-commit", "end-before-commit", "put-back-not-synced",
	"spare-not-forgotten", "removal-not-synced", "numbers-given-again", "goes-on-after-failure",
	"ahead-runs-at-once", "old-result-not-synced", "recall-not-heard",
	"whole-not-compared", "whole-writers-not-asked", "whole-file-not-synced",
	"whole-directory-not-synced", "other-one-ends", "told-of-failed-turn", "retried-before-told",
	"removed-in-place", "unready-counts", "pause-forgotten",
};

static const char *const rows[] = {"waits", "parked", "queued", "processing", "final", "withdrawn"};
enum { ROWS = sizeof rows / sizeof *rows };

static const char *const seens[SEENS] = {
	[SEEN_INCOMING] = "incoming",     [SEEN_INCOMING_OTHER] = "other",
	[SEEN_PROCESSING] = "processing", [SEEN_RESULT] = "result",
	[SEEN_FINAL_DONE] = "done",       [SEEN_FINAL_FAILED] = "failed",
	[SEEN_NOWHERE] = "nowhere",
};

static void cell_name(int row, int seen, char out[64])
{
	snprintf(out, 64, "cell-%s-%s", rows[row], seens[seen]);
}

bool break_exists(const char *name)
{
	char cell[64];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	for (int row = 0; row < ROWS; row++)
		for (int seen = 0; seen < SEENS; seen++) {
			cell_name(row, seen, cell);
			if (strcmp(cell, name) == 0)
				return true;
		}
	return false;
}

void breaks_list(void)
{
	char cell[64];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		puts(names[i]);
	for (int row = 0; row < ROWS; row++)
		for (int seen = 0; seen < SEENS; seen++) {
			cell_name(row, seen, cell);
			puts(cell);
		}
}

enum remedy __real_reconcile_job(enum job_state state, enum place place, enum seen seen, bool lock);
enum remedy __wrap_reconcile_job(enum job_state state, enum place place, enum seen seen, bool lock);

/* How often each cell decided: a rule that never does is not tested. */
static uint64_t reached[ROWS][SEENS];

void breaks_say_reached(void)
{
	char cell[64];
	for (int row = 0; row < ROWS; row++)
		for (int seen = 0; seen < SEENS; seen++) {
			cell_name(row, seen, cell);
			printf("%-28s %" PRIu64 "\n", cell, reached[row][seen]);
		}
}

static int row_of(enum job_state state, enum place place)
{
	switch (state) {
	case JOB_PENDING:
	case JOB_HELD: return place == PLACE_PROCESSING ? 1 : 0;
	case JOB_QUEUED: return 2;
	case JOB_PROCESSING: return 3;
	default: return place == PLACE_NOWHERE ? 5 : 4;
	}
}

/* A cell that does nothing is broken by doing the nearest wrong thing. */
static enum remedy wrong(int row, enum seen seen, enum remedy right)
{
	if (right != REMEDY_NOTHING)
		return REMEDY_NOTHING;
	if (row >= 4)
		return REMEDY_MOVE_FINAL;
	return seen == SEEN_INCOMING ? REMEDY_JUDGE_AGAIN : REMEDY_WITHDRAWN;
}

enum remedy __wrap_reconcile_job(enum job_state state, enum place place, enum seen seen, bool lock)
{
	char cell[64];
	enum remedy right = __real_reconcile_job(state, place, seen, lock);
	int row = row_of(state, place);
	reached[row][seen] += right != REMEDY_WAIT;
	if (sim_break == NULL || strncmp(sim_break, "cell-", 5) != 0)
		return right;
	cell_name(row, (int)seen, cell);
	if (!broken(cell) || (lock && right == REMEDY_WAIT))
		return right;
	return wrong(row, seen, right);
}
