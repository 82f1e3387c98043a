/* The users, as the daemon knows them: one small struct each, whatever their
 * backlog. */
#pragma once

#include "base/heap.h"
#include "io/config.h"

#include <stdbool.h>
#include <stdint.h>
#ifndef HASH_NONFATAL_OOM
#define HASH_NONFATAL_OOM 1
#endif
#include <uthash.h>

struct daemon;
struct stranger;
struct upload_entry;
struct check;
struct sums_list;
struct oddity;
struct running;

/* What counts for the limits of a user; see room.h. */
struct room {
	struct upload_entry *line;    /* complete, wait for room; the first was here first */
	uint64_t files, bytes;        /* pending and held jobs, as the index had them last */
	uint64_t on_the_way, bytes_on_the_way; /* let in, not yet in the index */
	uint64_t told_ms;             /* said in the log; steady, 0 = never */
};

/* What is said to a user in incoming; see notice.h. */
struct notice {
	struct heap_node due;          /* steady ms */
	uint64_t hash;
	uint64_t wrote_ms;             /* steady, 0 = never */
	struct oddity *oddities, *found; /* of the last walk, of the one at hand */
	unsigned found_n;
	bool there;                    /* there is one, as far as we know */
	bool known;                    /* its text has this hash */
	bool failed;                   /* said so */
	bool unready;                  /* it says that a job cannot be started */
};

struct user {
	char *name;
	uint32_t number;         /* the index's; 0 until it has one */
	int lock_fd;             /* the worker lock, -1 = not held */
	const struct user_settings *settings; /* the configuration's, renewed by a reload */
	/* Flags stand together: a spool may have 100,000 users. */
	bool lock_gone;          /* the one we have is of a directory that is elsewhere */
	bool lock_wanted;        /* somebody else has it: in users.locks */
	bool incomplete;         /* a directory could not be made: tried again by users_discover() */
	bool reconciled;         /* index and directories agree: jobs may start */
	bool unclear;            /* what was to be compared could not be: once more */
	bool refreshing;         /* in users.touched */
	bool own_mount;          /* its directory is one */
	bool away;               /* and that is not there: nothing is concluded about its files */
	bool silent;             /* because it does not answer */
	bool far;                /* on a network mount: ages and caches there are not to be trusted */
	bool polled;             /* not watched: scanned every poll_seconds */
	bool scan_wanted, scan_running;
	bool scan_large;         /* wanted as one of a large directory */
	bool unsorted;           /* older uploads may be there than events tell of: see scan_want_sorted() */
	bool scanned;            /* once since we know the user: what was there before is known */
	bool looked_through;     /* the same, and nothing kept us from seeing all of it */
	bool uploads_missed;     /* there was no room for more of them */
	bool refused_missed;     /* more can never be a job than is listed: said once */
	bool check_listed;       /* in checks.users */
	bool whole_listed;       /* in whole_looks.users */
	bool inner_jobs, inner_seen; /* with directories as jobs: files in one are jobs still, from
	                                when it was followed; by the last scan, the one at hand */
	bool in_turn;            /* in users.in_turn */
	bool anew;               /* since its settings were read no job was found that cannot be started */
	bool unready;            /* its next job waits since it could not be started */
	uint8_t unready_tries;   /* of it in a row, as far as its delay still grows with them */
	bool busy, busy_row;     /* in busy.users; for what the index has */
	bool removed;            /* its directory was, and is shown to nobody who does not ask for it */
	uint16_t unreadable;     /* why the last scan could not read incoming: an errno, or 0 */
	struct upload_entry *uploads; /* arriving, by path */
	struct sums_list *lists;      /* of checksums, in incoming */
	struct check *checks;         /* uploads whose content is to be read, in order */
	struct check *check_reading;  /* the one at io/digest */
	struct whole_look *wholes;    /* directories that are to be walked through, in order */
	struct whole_look *whole_walking; /* the one at io/wholes */
	uint64_t whole_backlog_ms;    /* those that a scan found are quiet by then; steady */
	uint32_t uploads_refused;     /* of these: what can never be a job */
	uint32_t uploads_over;        /* of these: complete, but over a limit; see room.h */
	struct room room;
	struct notice notice;
	uint64_t missing_ms;     /* incoming is not there, and is made anew then; steady, 0 = it is */
	uint64_t backlog_ms;     /* what a scan found unsettled is judged by then; steady */
	uint64_t retry_ms;       /* an upload could not be taken, and is tried again then; steady */
	uint64_t retry_key;      /* where it was in the order of what is due; who was behind waits */
	uint64_t pause_ms;       /* what arrived beside a scan is looked at again then; steady */
	struct heap_node retention; /* when its oldest final job is past its time; wall ms */
	struct heap_node poll;   /* next scan of a polled user, or a wanted one; steady ms */
	struct heap_node lock_due; /* when to try the lock again, or to let it go; steady ms */
	struct running *chain;   /* what its worker has; see ahead.h */
	uint64_t chain_end;      /* the job that another one may follow there; 0: none may */
	const struct handler *chain_handler; /* that of all of them */
	uint64_t head_seq;       /* of the job the scheduler knows as next; 0: none */
	uint64_t head_due_ms;    /* wall; 0 = at once */
	uint64_t ran_ms;         /* its last job took; UINT64_MAX: long, or not known */
	struct user *touched_next, *in_turn_next;
	struct user *scan_prev, *scan_next;
	struct user *check_prev, *check_next;
	struct user *whole_prev, *whole_next;
	struct user *busy_prev, *busy_next;
	uint32_t ahead;          /* jobs claimed or handed over that wait for one before them */
	uint32_t pending, done, failed; /* jobs, as counted in busy */
	UT_hash_handle hh, hh_number;
};
/* With its name, its watch and its place in every order less than 1 KiB: a spool may have
 * 100,000. */
_Static_assert(sizeof(struct user) <= 568, "a user takes more memory than it did");

struct users {
	struct user *by_name, *by_number;
	struct heap polls, locks;
	struct user *touched; /* views to be refreshed, the first first */
	struct user **touched_end;
	struct user *in_turn; /* views read within the transaction at hand */
	bool warned_limit;    /* of watches: said once */
	unsigned met;         /* who have a number */
	unsigned removed;     /* of them */
	struct stranger *strangers; /* directories that are to be met, see meet.h */
	bool discover;        /* once more, when these were met */
};

/* Another process holds the lock: try again this often. A worker of an earlier
 * daemon may finish at any moment, and nothing tells when. */
enum { USER_LOCK_RETRY_MS = 250 };
/* And where there is no directory to lock: its return is told, as a rule. */
enum { USER_GONE_RETRY_MS = 5000 };
/* An idle user's lock is kept a little: the next job may be at the door, and
 * the worker of the last one still closes its copy. */
enum { USER_UNLOCK_MS = 2000 };
/* Of so many at most: each is an open file. */
enum { USER_UNLOCK_MAX = 256 };
/* Met, or reconciled, in one tick: each is some fifty system calls. */
enum { USER_SLICE = 64 };
/* A mount that was asked is listened to so often. */
enum { USER_ANSWER_MS = 20 };

struct user *user_find(const struct daemon *d, const char *name);
struct user *user_by_number(const struct daemon *d, uint32_t number);

/* Watches the root for new users. A negative errno where that cannot be. */
int users_watch_root(struct daemon *d);
void users_clear(struct daemon *d);
void user_free(struct user *u);
/* After a reload: new settings for all. */
void users_configure(struct daemon *d);

/* Takes the user's worker lock, if it is not ours already. -EAGAIN: another
 * process has it; it is tried again by itself (users_tick). */
int user_lock(struct daemon *d, struct user *u);
/* Where its directory is another one by now, that one's lock is taken, when nothing runs under
 * the old one any more; until then its jobs wait. */
void user_look_at_lock(struct daemon *d, struct user *u);
/* Is it reconciled, with nothing queued or running? */
bool user_is_idle(struct daemon *d, const struct user *u);
/* Its lock_due has come: an idle user's lock is let go, another one's is tried again. */
void user_lock_due(struct daemon *d, struct user *u);
/* Lets it go in a while, where no job of this user is active any more. */
void user_unlock_idle(struct daemon *d, struct user *u);

/* Something about this user changed in the index: its view for the scheduler
 * is read anew by users_refresh(). */
void user_touch(struct daemon *d, struct user *u);
int users_refresh(struct daemon *d);
/* The transaction ended. Taken back: what was read in it is read again. */
void users_turn_ended(struct daemon *d, bool taken_back);

/* What is complete, for this user. On a network mount, where neither events nor the
 * clock of what is found there can be trusted, what is found must be the same in two
 * polls, and settle after that. */
struct settle_policy user_settle(const struct daemon *d, const struct user *u);
/* How long an emptied directory in incoming must be unchanged to be removed. */
uint64_t user_tidy_after_ms(const struct user *u);
/* Scans the user in so long, where no scan is set that comes before. */
void user_scan_in(struct daemon *d, struct user *u, uint64_t ms);
/* May something about this user's files be concluded right now? False, and said
 * once, when the spool, or the mount that is the user's directory, is not there. */
bool user_there(struct daemon *d, struct user *u);
/* The same for each file: asked only where the directory is a mount of its own. */
bool user_still_there(struct daemon *d, struct user *u);
/* Has the mount that is its directory gone? */
bool user_gone(struct daemon *d, struct user *u);
/* Sets (or gives up) the watch of the user's incoming. */
void user_watch(struct daemon *d, struct user *u);
/* A directory of its cannot be watched, for that reason: all of it is polled. */
void user_poll(struct daemon *d, struct user *u, int error);

/* Polls and lock retries that are due. */
void users_tick(struct daemon *d);
uint64_t users_next(const struct daemon *d);
