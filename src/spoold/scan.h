/* Scans: the truth behind the hints.
 *
 * One user at a time, in slices, in bounded memory: files that are not known
 * are collected (the oldest SCAN_PORTION of them), sorted by the
 * kernel's time of change, and fed to intake in that order; more than one
 * portion is more than one walk. Then jobs whose file is gone are looked for.
 * While a user is scanned, its other uploads wait: the backlog is older. What
 * changed after the walk began is left to its event (where there are events), so
 * that a younger file is not found before an older one that the walk missed.
 * The walk is also what removes the empty directories that uploads left. */
#pragma once

#include "spoold/user.h"

struct daemon;
struct tree_scan;
struct scan_found;

enum {
	SCAN_SLICE = 512,       /* entries per tick: a few milliseconds */
	SCAN_PORTION = 65536,   /* files kept to be sorted: about 5 MB */
	SCAN_FEEDING_MAX = 1024, /* of them at a time on their way through intake */
};

enum scan_phase { SCAN_IDLE, SCAN_WALK, SCAN_FEED, SCAN_WITHDRAWN };

struct scan {
	struct user *wanted;    /* the line of users to be scanned */
	struct user *user;      /* at work on */
	enum scan_phase phase;
	struct tree_scan *walk;
	struct scan_found *found;
	size_t found_n, found_room, fed;
	bool more;              /* the portion was full: walk again */
	bool unclear;           /* what was found could not be compared with the index */
	unsigned tidied;        /* empty directories that this walk removed */
	uint64_t known;         /* files that are jobs in place */
	uint64_t after_seq;     /* SCAN_WITHDRAWN: how far in the line */
	size_t feeding;         /* entries of this scan that are not accepted yet */
	uint64_t done;          /* scans that ended, for status */
};

void scan_want(struct daemon *d, struct user *u);
void scan_want_all(struct daemon *d);
/* Does one slice. Returns whether there is more to do at once. */
bool scan_tick(struct daemon *d);
bool scan_idle(const struct daemon *d);
void scan_clear(struct daemon *d);
