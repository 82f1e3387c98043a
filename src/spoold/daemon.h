/* The daemon: what the rooms of this floor share.
 *
 * Data flows one way: hints → intake → turn (one commit of the index for all
 * that happened) → dispatch → worker → result → turn. Nobody here waits: each
 * room does what is due when it is called with the time, and says when it
 * wants to be called again (daemon_tick). Only loop.c knows the event loop. */
#pragma once

#include "core/sched.h"
#include "io/config.h"
#include "io/control.h"
#include "io/digest.h"
#include "io/index.h"
#include "io/mounts.h"
#include "io/pool.h"
#include "io/sync.h"
#include "io/tree.h"
#include "io/watch.h"
#include "io/wholes.h"
#include "spoold/busy.h"
#include "spoold/check.h"
#include "spoold/dispatch.h"
#include "spoold/intake.h"
#include "spoold/meet.h"
#include "spoold/recover.h"
#include "spoold/request.h"
#include "spoold/numbers.h"
#include "spoold/retention.h"
#include "spoold/scan.h"
#include "spoold/stray.h"
#include "spoold/turn.h"
#include "spoold/user.h"
#include "spoold/whole.h"

#include <limits.h>

struct daemon {
	struct config *config;
	struct mounts *mounts; /* NULL: whether network mounts answer is not asked */
	struct tree *tree;
	struct index *index;
	struct watch *watch;   /* NULL: everything is polled */
	struct sync *sync;
	struct digest *digest;
	struct wholes *wholes;
	struct pool *pool;
	struct control *control; /* NULL with --mode once */
	struct sched *sched;
	int lock_fd;           /* the daemon's lock on the spool */

	/* The time of this tick; every room uses these. */
	uint64_t wall_ms, steady_ms;

	struct users users;
	struct busy busy;
	struct turn turn;
	struct intake intake;
	struct checks checks;
	struct whole_looks wholes_looks;
	uint64_t lists_loaded; /* bytes of all users' lists of checksums in memory */
	struct scan scan;
	struct dispatch dispatch;
	struct retention retention;
	struct numbers numbers;
	struct strays strays;
	struct heap notices;   /* users whose notice is to be renewed, by steady ms */
	struct requests requests;

	uint64_t spares_ms;    /* steady; when the directories kept for the next jobs go, 0: there are none */

	bool once;             /* --mode once: work off what is there and end */
	uint64_t stuck_ms;     /* with `once`: steady, since when only what cannot be done is left; or 0 */
	bool gave_up;          /* with `once`: that took too long */
	bool starting;         /* the first look at everybody is not over */
	bool stopping;         /* SIGTERM */
	uint64_t stop_by_ms;   /* steady; running attempts are interrupted then */
	bool stop_forced;
	bool damaged;          /* the index is: spoold ends, with status 1 */
	bool unmounted;        /* the spool's marker is gone: nothing is concluded from that */
	bool silent;           /* and that is because its mount does not answer */
	uint64_t mount_check_ms; /* steady; when to look again */
	uint64_t mount_seen_ms;  /* steady; when the marker was last seen */
	uint64_t rescan_ms;    /* steady; the safety rescan */
	uint64_t since_ms;     /* wall; for status */
	uint64_t interval_ms;  /* of the command line, or 0: the configuration's */
	uint64_t failed_count; /* jobs that ended failed since the start */
};

/* What a daemon is made with; everything in `d` that is an io object is the
 * caller's to make and to free, so that a test can give others. */
int daemon_init(struct daemon *d, struct config *config);
void daemon_clear(struct daemon *d);

/* Meets the users that are there; the first ticks look at them all. */
int daemon_start(struct daemon *d, uint64_t wall_ms, uint64_t steady_ms);

/* Does all that is due. Returns the steady time at which it wants to be called
 * again at the latest, 0 = at once, UINT64_MAX = only when something happens. */
uint64_t daemon_tick(struct daemon *d, uint64_t wall_ms, uint64_t steady_ms);

/* SIGTERM: no more starts; running attempts may finish for a while. */
void daemon_stop(struct daemon *d);
/* Has everything ended that was to end (stopping, or once and worked off)? */
bool daemon_finished(const struct daemon *d);

/* Loads the configuration again. 0, or -EINVAL with what is wrong in
 * `report`; `*ret_fixed` names what changed but cannot while running (free,
 * may be NULL). */
int daemon_reload(struct daemon *d, struct config_report *report, char **ret_fixed);

/* May something about files be concluded right now? False, and said once, when
 * the spool is not mounted. */
bool daemon_mounted(struct daemon *d);

/* The earlier of two due times, for the rooms' `next` functions. */
static inline uint64_t due_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}
