/* Scans: the truth behind the hints.
 *
 * In slices, in bounded memory: files of a user that are not known are collected
 * (the oldest of them, a portion), sorted by the kernel's time of change, and
 * fed to intake in that order; more than one portion is more than one walk. Then
 * jobs whose file is gone are looked for. While a user is scanned, its other
 * uploads wait: the backlog is older. What changed after the walk began is left
 * to its event (where there are events), so that a younger file is not found
 * before an older one that the walk missed.
 *
 * The walk is also what removes the empty directories that uploads left.
 *
 * Two scans run side by side: one that goes through the users, and one for who has
 * much, so that a directory with a million files keeps nobody waiting. Who has
 * some jobs in line needs no more just now: as long as jobs run, the rest
 * of its backlog is taken in slowly, beside them. Where others wait for that, too, the next
 * names of each are kept (scan_kept.h). */
#pragma once

#include "spoold/scan_kept.h"
#include "spoold/scan_work.h"

enum {
	SCAN_MISSING_MS = 5000, /* an incoming that vanishes is made anew after so long: who removes a
	                           user is done by then */
	SCAN_SLICE = 512,       /* entries per tick: a few milliseconds */
	SCAN_STEP = 8,          /* what a step of a scan costs, in entries */
	SCAN_TURN = 1024,       /* of them, where others with much wait for their turn */
	SCAN_FEEDING_MAX = 1024, /* of them at a time on their way through intake */
	SCAN_RESERVE = 8192,    /* and while the next portion of a backlog is looked for */
	/* Beside running jobs, for who has these: some tenth of the time. */
	SCAN_SLOW_SLICE = 256, SCAN_SLOW_WALK_MS = 20,
	SCAN_SLOW_FEED = 64, SCAN_SLOW_FEED_MS = 50,
};

/* How much of one user is done at a time. */
struct scan_portions {
	size_t first;           /* jobs in line of one who had none, so that all get some soon */
	size_t ahead;           /* and those that keep a user going for a while, in line or kept */
	size_t kept;            /* names, of all users together */
	uint64_t small;         /* entries; a directory with more is scanned beside the others */
};

struct scan {
	struct scan_portions portions;
	struct user *wanted;       /* the line of users to be scanned */
	struct user *wanted_large; /* those of them that have much */
	struct scan_work small, large;
	struct scan_kept kept;
	uint64_t done;             /* scans that ended, for status */
};

void scan_init(struct daemon *d);
void scan_want(struct daemon *d, struct user *u);
void scan_want_all(struct daemon *d);
/* Events of this user were lost: what is there is older than what comes. */
void scan_want_sorted(struct daemon *d, struct user *u);
/* Its line is empty: where more of its backlog waits to be taken in, that does not
 * wait for others who have much. */
void scan_urge(struct daemon *d, struct user *u);
/* Does one slice. Returns whether there is more to do at once. */
bool scan_tick(struct daemon *d);
/* When there is, otherwise; steady, UINT64_MAX = not by itself. */
uint64_t scan_next(const struct daemon *d);
/* Of what a scan fed, one more (or less) is on its way. */
void scan_feeds(struct daemon *d, const struct user *u);
void scan_fed(struct daemon *d, const struct user *u);
/* What it found could not be compared with the index. */
void scan_unclear(struct daemon *d, const struct user *u);
bool scan_idle(const struct daemon *d);
void scan_clear(struct daemon *d);
