/* The simulated world: one small spool with its disk, its index, its workers
 * and its clock, all in one struct without pointers.
 *
 * What the daemon calls (the headers of io/) is played by tree.c, index.c,
 * pool.c, watch.c, sync.c, wholes.c, control.c and config.c on top of it. A history is
 * what one seed makes of it; everything random comes from world->dice.
 *
 * The world is the one global of the simulation: runner_kill_strays() and
 * fd_close() have no argument it could come with. */
#pragma once

#include "core/message.h"
#include "core/record.h"
#include "core/retry.h"
#include "core/whole.h"

#include <setjmp.h>
#include <stdarg.h>

enum {
	NAME_ROOM = 48,
	USERS_MAX = 4,
	SLOTS_MAX = 512,
	INODES_MAX = 512,
	UNDO_MAX = 1024,
	UPLOADS_MAX = 96,
	ORDER_SLACK_MS = 60,      /* who was complete so much earlier is first in the line */
	JOBS_MAX = 128,
	ATTEMPTS_MAX = 256,
	WORKERS_MAX = 12,
	HINTS_MAX = 48,
	BATCHES_MAX = 16,
	WALKS_MAX = 64,
	INNER_MAX = 4,
	GIVEN_MAX = 128,
	FDS_MAX = 256,
	LOCKS_MAX = 24,
	AHEAD_MAX = 8,
	KEPT_MAX = 24,
	TOLD_MAX = 64,
	NONE = -1,
};

#define FAR UINT64_MAX
#define WALL_START_MS UINT64_C(1800000000000)

/* The file system: names lead to inodes; what is changed is undone by a power
 * cut as far as nobody has synced it. As in a journal, what is older goes to
 * the disk first. */
enum inode_kind { INODE_UPLOAD, INODE_RESULT, INODE_CANCEL, INODE_LOG, INODE_DIR, INODE_INNER };

struct inode {
	enum inode_kind kind;
	uint64_t number;
	int upload;             /* whose content it has: of world.uploads, or NONE */
	uint64_t size, synced_size;
	int64_t mtime_ns, ctime_ns;
	bool directory;         /* an upload that is one job as a whole; what is in it: PLACE_WITHIN */
	bool writing;           /* its uploader has it open for writing */
	bool synced;
	uint64_t dirty_ms;      /* steady: last written to */
	uint64_t seen_by;       /* of a directory: the job whose handler may have seen it */
	uint64_t seen_op;
	uint64_t stranger_of;   /* the job that this is noted not to be the file of */
	struct run_result result;  /* INODE_RESULT; its texts point nowhere */
};

/* A name: in a place of a user, or in the private directory `dir` below
 * processing. The private directory itself is a name, too: its number. What is in an
 * upload that is a directory lies in PLACE_WITHIN, by the number of its inode, and so
 * goes wherever that goes. */
enum { PLACE_WITHIN = PLACES };

struct slot {
	bool used;
	uint8_t user;
	uint8_t place;
	uint64_t dir;
	int inode;
	char name[NAME_ROOM];
};

enum { SPARES_MAX = 6 };

/* A daemon's own: the private directories kept for the next jobs of each user, the
 * oldest first. */
struct tree {
	uint64_t spares[USERS_MAX][SPARES_MAX]; /* 0: none */
};

struct undo {
	uint64_t op;
	int slot;
	struct slot before, after;
	int64_t ctime_ns;       /* of the inode, before */
	int holder;             /* the upload that it is in, or NONE; and its times before */
	int64_t holder_mtime_ns, holder_ctime_ns;
	uint64_t ms;            /* steady; after a while the kernel writes it by itself */
};

struct fs {
	struct slot slots[SLOTS_MAX];
	struct inode inodes[INODES_MAX];
	struct undo undo[UNDO_MAX];
	int slots_n, inodes_n, undo_n;
	uint64_t op, durable_op; /* what came up to this one survives a power cut */
	uint64_t last_number;
	int64_t last_ns;
};

/* The index: rows without pointers, so that a copy is a snapshot. */
struct flat_job {
	struct job job;         /* its texts are here: */
	char path[NAME_ROOM], final_name[NAME_ROOM], error[160];
	bool has_final_name, has_error;
};

struct flat_attempt {
	uint64_t job;
	struct attempt attempt; /* without texts */
};

struct flat_user {
	uint32_t number;
	bool held;
	char name[16], reason[80];
};

struct rows {
	uint64_t next_id, next_seq;
	int users_n, jobs_n, attempts_n;
	struct flat_user users[USERS_MAX];
	struct flat_job jobs[JOBS_MAX];
	struct flat_attempt attempts[ATTEMPTS_MAX];
};

/* What a user put into incoming, and what must become of it. */
enum fate {
	FATE_WRITING,   /* not closed or not renamed yet */
	FATE_WHOLE,     /* must be in exactly one place, and end in done or failed */
	FATE_WITHDRAWN, /* by its user */
	FATE_REPLACED,  /* by its user */
	FATE_UNSYNCED,  /* lost by a power cut before it was reported as pending */
	FATE_EATEN,     /* removed by its handler */
	FATE_PURGED,    /* past its retention time */
};

/* Whose upload got which number. */
struct given {
	uint64_t job;
	int upload;
};

struct ledger_entry {
	enum fate fate;
	int user;
	char name[NAME_ROOM];
	uint64_t number;        /* of the inode */
	uint64_t size;
	int64_t mtime_ns;
	uint64_t digest;        /* of a directory: all in it, as it was then; else 0 */
	uint64_t whole_ms;      /* steady: closed or renamed in */
	bool renamed;           /* by rename: complete at once */
	bool undisturbed;       /* nothing went wrong meanwhile that may cost its place */
	bool moved_in;          /* at once, and nothing worse happened since than that events were lost or late */
	unsigned found_in;      /* the life that found it when it began, complete by its age; or 0 */
	bool unlooked;          /* a claim took it instead, and could not look: it comes back later */
	uint64_t job;           /* the last job it became, 0 = none */
	uint64_t seq;           /* its first place in the line */
	uint64_t waits_ms, queued_ms; /* steady; when it came into the line, or was claimed, last */
	unsigned claims;        /* in a row, none of which came to a run, since: */
	uint64_t claims_ms;     /* steady */
	uint32_t unready_attempt; /* was none, since its handler could not be started; 0: there is none such */
	unsigned unready_life;  /* of the daemon, which was told of that */
	bool moved_outside;     /* an operator moved it to done or failed by hand */
	bool cancel_asked, retry_asked;
	unsigned runs;          /* of its handler, ever */
	uint32_t last_attempt;
	uint32_t forgiven;      /* attempts up to this one do not count: an operator asked again */
	unsigned failures;      /* since it was put into the line (again) */
	bool success_kept;      /* a run succeeded and its worker kept or told it */
	bool permanent;         /* a run ended with exit 65, likewise */
	bool succeeded;         /* a run ended well, whoever knows of it */
	bool succeeded_before;  /* so did one before an operator's retry */
};

enum worker_phase {
	WORKER_NONE,
	WORKER_ORDERED,   /* the order is in its socket */
	WORKER_RUNNING,
	WORKER_TOLD,      /* has no job but results, waits for the ACK or the daemon's end */
	WORKER_LEAVING,   /* acknowledged or done: about to close the lock */
	WORKER_SWEPT,     /* died: what it left behind is being killed */
	WORKER_BURIED,    /* all of it was told; results are on their way into the index */
};

/* A job that was handed over ahead of its turn. */
struct sim_order {
	uint64_t job;
	uint32_t attempt;
	uint64_t want_ino, timeout_ms, whole;
	bool fresh;
	char name[NAME_ROOM];
};

/* A result that is not acknowledged. */
struct sim_kept {
	uint64_t job;
	uint32_t attempt;
	int upload;
	bool heard;             /* the daemon has read it */
	bool acked;             /* and will acknowledge it with the next order or flush, */
	bool at_once;           /* which is not to be later than the first flush */
	struct run_result result;
};

struct sim_told {
	uint8_t kind;           /* enum pool_event_kind */
	bool waited;
	uint64_t job;
	uint64_t begun_ms;
};

struct sim_worker {
	enum worker_phase phase;
	uint64_t due_ms;
	bool orphan;            /* its daemon is gone */
	bool dies;              /* while it runs */
	bool eats;              /* its handler removes the file */
	bool dead;              /* killed after it had told its result */
	bool cancel, interrupt;
	uint64_t job;
	uint32_t attempt;
	uint64_t want_ino, timeout_ms, whole;
	bool fresh;
	int user, lock, upload;
	bool handler;           /* runs now */
	uint64_t begun_ms, give_up_ms;
	char name[NAME_ROOM];
	struct run_result result;
	unsigned lock_refs;     /* one for each job that is not acknowledged */
	bool was_ahead;         /* the job it has was handed over ahead of its turn */
	uint64_t last_done;     /* the job that ended last, where it succeeded; or 0 */
	int ahead_n, kept_n;
	struct sim_order ahead[AHEAD_MAX];
	struct sim_kept kept[KEPT_MAX];
	int told_n;             /* messages on their way to the daemon */
	struct sim_told told[TOLD_MAX];
};

/* A handler whose worker died together with its daemon. */
struct stray {
	bool alive;
	int user, upload;
	uint64_t job;
};

/* An OFD lock: lives as long as any copy of its descriptor. */
struct sim_lock {
	int refs;
	int user;
};

enum fd_kind { FD_FREE, FD_FILE, FD_DIRECTORY, FD_LOCK, FD_ROOT };
struct sim_fd {
	enum fd_kind kind;
	int inode, user, lock;
	uint8_t place;
	uint64_t dir;
};

struct hint {
	uint8_t kind;           /* enum watch_kind */
	int user;               /* NONE = the root */
	uint64_t due_ms;        /* when the daemon comes to it */
	char name[NAME_ROOM];
};

struct sim_batch {
	uint64_t tag;
	uint64_t due_ms;
	bool done;
	int error, n;
	int fds[2 * UPLOADS_MAX];
	int *errors;            /* the daemon's, of each */
};

/* A walk through a directory, one entry at a time. */
struct sim_walk {
	uint64_t tag;
	uint64_t due_ms;
	bool probe, sync, give, begun, done;
	int fd, at;             /* of fs.slots: the next one to look at */
	int64_t top_ctime_ns;
	int error;
	struct whole whole;
};

/* A user at work: one upload at a time. */
struct uploader {
	bool there;             /* its directories exist */
	uint64_t due_ms;
	uint64_t heap;          /* uploads that are still to follow at once */
	int slot_upload;        /* being written, or NONE */
	uint64_t goal;          /* bytes it is going to have */
	bool aside;             /* under an ignored name, to be renamed */
	bool folder;            /* it is a directory */
	int inner;              /* the file in it that is open, an inode, or NONE */
	unsigned inner_left;    /* files that are still to be put into it */
	unsigned left;          /* uploads it still wants to make */
};

/* What this history is like. */
struct profile {
	int users;
	unsigned steps;
	bool lossy_hints, no_watch, relaxed, errors;
	int hints_room;                    /* more at once overflow */
	bool late_hints;                   /* the daemon is long behind with them */
	unsigned crash_1_of, cut_1_of;     /* per io call; 0 = never */
	unsigned error_1_of;               /* per io call, while faulty */
	unsigned race_1_of;                /* users act between two io calls */
	bool mounts, clock_steps, operators, index_loss, asks;
	unsigned worker_death_percent;
	bool calm;                         /* each run is short and succeeds */
	bool short_runs;                   /* no handler runs long */
	bool bursts;                       /* many uploads at once, all short, in one place */
	bool backlog;                      /* many uploads of all users lie there when the daemon starts */
	bool spread;                       /* they came one after the other */
	bool bad_moments;                  /* commits fail while results wait for them, and the daemon
	                                      is killed soon after that */
};

struct settings {
	uint32_t max_concurrent, max_running, prefetch;
	uint32_t max_retries;
	bool retry_back, auto_start, hold_on_failure;
	bool wholes;            /* directories are jobs, and some of the uploads */
	bool unready;           /* the handler cannot be started now and then, */
	uint64_t unready_ms;    /* and then for so long */
	uint8_t on_crash;
	uint64_t settle_ms, whole_settle_ms, retry_delay_ms, timeout_ms, keep_ms;
};

struct dice {
	uint64_t state;
};

enum life_end { LIFE_CRASHED = 1, LIFE_CUT, LIFE_VIOLATION };

struct world {
	unsigned lines_held;    /* of the log: said, but not written yet */
	uint64_t seed;
	struct dice dice;
	struct profile profile;
	struct settings settings;
	bool verbose;
	uint64_t now_ms;        /* steady */
	int64_t wall_offset_ms;
	unsigned step;

	struct fs fs;
	bool mounted, faulty, draining;
	struct sim_lock locks[LOCKS_MAX];
	struct uploader uploaders[USERS_MAX];
	struct ledger_entry uploads[UPLOADS_MAX];
	int uploads_n;
	struct sim_worker workers[WORKERS_MAX];
	struct stray strays[WORKERS_MAX];

	/* The index: what is committed, what of it is on the disk, and the
	 * transaction at hand. */
	struct rows committed, durable, draft;
	bool in_transaction, spoilt, must_reopen, reopened;
	bool refused;           /* of the commit at hand its caller hears that it failed */
	bool fragile;           /* a commit failed, or a removal is half done: a bad moment to die */
	unsigned commits, puts; /* how many there were; of jobs and attempts */
	bool index_lost;        /* attempts and history before do not count */
	bool torn;              /* a power cut after its loss, or in relaxed mode: they disagree */
	bool clock_stepped;     /* and no file was stamped since */
	bool clock_was_set;     /* once: times of before and after tell no order */
	uint64_t numbers_below; /* what the spool keeps */
	struct given given[GIVEN_MAX];
	int given_n;

	/* The daemon's life. */
	bool daemon_up, in_daemon;
	unsigned lives;
	unsigned spins;        /* ticks of the daemon in a row without a pause */
	uint64_t daemon_due_ms;
	jmp_buf *out;
	struct sim_fd fds[FDS_MAX];
	struct hint hints[HINTS_MAX + 1]; /* and that they overflowed */
	int hints_n;
	uint64_t hints_told;    /* or not needed any more */
	bool overflow, root_watched, user_watched[USERS_MAX];
	struct sim_batch batches[BATCHES_MAX];
	int batches_n;
	struct sim_walk walks[WALKS_MAX];
	int walks_n;
	uint64_t disturbed_ms;  /* the last time something may have cost places: a scan, or what */
	uint64_t went_wrong_ms;
	uint64_t io_calls;
	uint64_t life_began_ms;
	/* The largest limits since the oldest job that is active was claimed. */
	uint32_t running_limit, total_limit;
	uint64_t known_keep_ms; /* to the daemon, which may not have read what was set since */
	bool stopped;           /* by an operator: no job starts */
	uint64_t unready_until_ms[USERS_MAX]; /* steady */
	bool ready[USERS_MAX];  /* its head only waited for its turn at the last commit */
	unsigned others_started[USERS_MAX]; /* since then */
	uint64_t ready_ms[USERS_MAX]; /* steady; since when it has been so */

	uint32_t pool_max;
	uint64_t next_client;
	int requests_n;
	char requests[4][160];
	char violation[400];
};

extern struct world *world;
extern const char *sim_break; /* the name of what is broken on purpose, or NULL */
bool broken(const char *name);

/* dice */
uint64_t dice_roll(uint64_t n);          /* 0 .. n-1 */
bool one_of(unsigned n);                 /* once in n; never for 0 */
bool percent(unsigned n);

/* say.c */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The first one is kept; leaves the daemon where it is called from there. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool violated(void);

/* clock */
uint64_t wall_ms(void);
int64_t stamp_ns(void); /* the kernel's time, each one later than the last */

/* life.c: every call of the daemon into io/ passes here; the daemon may end in
 * it, others may act before it, and it may fail with a negative errno. */
void io_step(const char *what);
int io_may_fail(const char *what, int error_a, int error_b);
/* Something did that may cost places. */
void went_wrong(void);

/* fs.c */
int fs_find(int user, uint8_t place, uint64_t dir, const char *name); /* slot, or NONE */
int fs_new_inode(enum inode_kind kind);
int fs_link(int user, uint8_t place, uint64_t dir, const char *name, int inode);
void fs_unlink(int slot);
void fs_rename(int slot, int user, uint8_t place, uint64_t dir, const char *name);
bool fs_dir_exists(int user, uint64_t dir);
int fs_make_dir(int user, uint64_t dir);  /* 0 also when it was there */
int fs_remove_dir(int user, uint64_t dir); /* -ENOTEMPTY, -ENOENT */
void fs_sync_file(int inode);
void fs_sync_dir(int user, uint8_t place, uint64_t dir);
bool fs_is_durable(int slot);
void fs_power_cut(void);
void fs_ident(int inode, struct file_ident *ret);
void fs_begin(void);
uint64_t fs_within(int inode);            /* the `dir` of what is in this directory */
int fs_next_within(int inode, int from);  /* a slot at or after this one, or NONE */
void fs_remove_upload(int slot);          /* with all in it */
/* As the claim of a job asks: of a directory only what can be seen without a walk. */
bool fs_is_same(const struct file_ident *ident, int inode);
void fs_note_seen(int inode, uint64_t job);
void fs_whole(int inode, struct whole *ret); /* what a walk would find at this moment */

/* tree.c */
const char *user_name(int user);
int user_index(const char *name); /* NONE */
int open_fd(struct sim_fd fd);
void fds_close_all(void);
void lock_unref(int lock);

/* watch.c */
void hint_add(int user, unsigned kind, const char *name);
void hints_forget(void);
void hints_unmount(void); /* the watches go with the file system, and say so */
uint64_t hints_due(void);          /* of the first; FAR: there is none */

/* sync.c */
uint64_t sync_due(void);
void sync_work(void);
bool sync_ready(void);
void sync_forget(void);

/* wholes.c */
uint64_t walk_due(void);
void walk_act(void);
bool walk_ready(void);
void walks_forget(void);

/* pool.c */
uint64_t worker_due(int i);
void worker_act(int i);
bool pool_ready(void);
void workers_lose_daemon(void);
void workers_power_cut(void);
void worker_kill(int i);
void worker_cancel_orphan(uint64_t job);
unsigned handlers_running(int user); /* NONE = of all */
bool results_heard(void);            /* by the daemon, and not acknowledged */
void workers_told_early(void); /* broken: of what no commit took back */

/* control.c */
bool control_waiting(void);
void control_ask(const char *text);
void control_forget(void);

/* index.c */
void index_power_cut(void);
void index_daemon_died(void);
struct flat_job *rows_job(struct rows *rows, uint64_t id);

/* life.c */
bool daemon_start_life(void);
void daemon_act(void);
void daemon_kill(void);
void daemon_ask_stop(void);
uint64_t daemon_due(void);
void daemon_cut(void);

/* folders.c: uploads that are directories */
void folder_begin(int user, const char *name);
void folder_change(int user, int slot); /* that of one which lies in incoming */
void folder_act(int user);
void folder_end(int user);
void upload_becomes_whole(int upload, int inode);

/* users.c, operators.c, weather.c */
int upload_new(int user, const char *name, bool renamed);
void upload_gone(int upload, enum fate fate);
void upload_later(int user, uint64_t ms);
void make_way(int user, const char *name); /* takes away what has it */
uint64_t uploader_due(int user);
void uploader_act(int user);
void uploader_finish_all(void);
void uploader_drop(int user, const char *name); /* moved in, whole */
void users_race(void);
void operator_act(void);
void settings_before_start(void);
void weather_act(void);
void ask_why(void);
void power_cut(void);

/* check.c */
void check_world(void);
void check_commit(const struct rows *was, const struct rows *is);
void check_run(const struct sim_worker *w, int slot);
void check_ack(uint64_t job, uint32_t attempt);
/* Its handler cannot be started. */
void check_unready(const struct sim_worker *w);
void check_given_back(const struct run_result *result);
void check_purge(uint64_t job, int slot);
void check_end(void);
void ledger_after_cut(void);
void ledger_without_index(void);
bool check_settled(void);
int ledger_of(const struct file_ident *ident); /* NONE */

/* history.c */
void history_run(uint64_t seed, bool verbose);
void history_begin_calm(const struct profile *profile, const struct settings *settings);
bool history_step(void); /* false: nothing will ever happen */

/* cost.c */
bool costs_run(void);

/* memory.c, from seed to seed the same: what the daemon allocates dies with its life. */
void memory_live(bool on);
void memory_forget(void);
unsigned memory_left(void);
