/* The parts of the runner. */
#pragma once

#include "io/runner.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

/* runner_text.c: what a handler says, made fit for people. */

/* A new string of at most JOB_TEXT_MAX bytes in which bytes that would
 * disturb a terminal are spelled "\xHH"; it ends with a whole character.
 * NULL when memory is out. */
char *runner_printable(const char *bytes, size_t n);
char *runner_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Remembers the last line of a stream that is not blank. */
struct last_line {
	char line[JOB_TEXT_MAX], pending[JOB_TEXT_MAX];
	size_t line_n, pending_n;
};
void runner_last_line_feed(struct last_line *l, const char *data, size_t n);
/* Ends the stream: a line without its newline counts too. */
void runner_last_line_end(struct last_line *l);

/* runner_log.c: the bounded log of a job.
 *
 * Beyond the limit the first and the last half of an attempt are kept, with a
 * line in between that says how much is left out. The text of earlier
 * attempts is kept, cut to half the limit in the same way. While the handler
 * runs the file may be half as large again. A log that cannot be written
 * never disturbs the handler. It is made when there is something to write. */
struct runner_log {
	int fd;            /* -1: none, not made yet, or writing failed */
	const struct run_order *unmade; /* while it is not made: whose it will be; else NULL */
	const struct run_order *later; /* of the attempt, where others are in it and nothing of this
	                                  one yet; else NULL */
	int dirfd;         /* borrowed; where it will be made */
	uint64_t half;     /* bytes kept of the beginning, and of the end */
	uint64_t middle;   /* where the beginning ends */
	uint64_t note_n;   /* bytes of the line there; 0: nothing is left out */
	uint64_t omitted;
	uint64_t end;      /* of the file */
};

enum { LOG_LIMIT_MIN = 4096 };

/* -errno where there can be no log; the others then do nothing. Both `job_dirfd`
 * and `order` are borrowed until it is closed. */
int runner_log_open(struct runner_log *log, int job_dirfd, const struct run_order *order);
void runner_log_write(struct runner_log *log, const char *data, size_t n);
/* A line of our own: "== text ==". */
void runner_log_note(struct runner_log *log, const char *text);
void runner_log_close(struct runner_log *log);

/* runner_report.c: what arrives on SPOOL_REPORT_FD. */
enum { REPORT_LINE_MAX = 4096 };

struct runner_report {
	char line[REPORT_LINE_MAX];
	size_t used;
	bool too_long;     /* the rest of this line is skipped */
	bool complained;
	bool news;
	struct run_progress now;
};

void runner_report_feed(struct runner_report *report, const char *data, size_t n, struct runner_log *log);
void runner_report_end(struct runner_report *report, struct runner_log *log);

/* runner_account.c: whose rights a handler has. */
struct runner_account {
	bool change;       /* else as this process */
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t groups_n;
	char *home;
};

/* These return 0, or a negative errno, with the reason in words in *ret_error
 * (may stay NULL when memory is out). */
int runner_account_find(const char *run_as, struct runner_account *ret, char **ret_error);
void runner_account_clear(struct runner_account *account);
/* Checks that the accepted file is what will be processed, makes the output
 * directory, and gives both and the job's directory to the account. */
int runner_account_prepare(const struct runner_account *account, const struct run_order *order, int job_dirfd,
                    char **ret_error);

/* runner_tree.c: gives a directory that is one job, with all in it. */
int runner_tree_give(int job_dirfd, const char *name, uid_t uid, gid_t gid);

/* runner_ready.c: a process of ours that waits for what it is to become. */
struct ready {
	pid_t pid;         /* 0: there is none */
	int pidfd;
	int orders, order; /* a pipe: it reads from one, we write to the other; -1: not there */
	pid_t parent;
	int (*act)(void *arg); /* what it does when it has its order */
	void *arg;
	atomic_int obeys;  /* 1: it has its order */
	atomic_int lives;  /* 0: it has execed, or ended */
};
/* Makes it, with a stack that nobody else uses until it has execed. There must be none. 0 or a
 * negative errno. */
int runner_ready_make(struct ready *ready, char *stack_end);
/* Has it do `act(arg)`, which execs or ends it, and waits for that; it is a child like any
 * other then. Its memory is ours until then, and its descriptors: `act` is to have its own
 * (CLOSE_RANGE_UNSHARE). False where there was none, or it had died: nothing was done. */
bool runner_ready_use(struct ready *ready, int (*act)(void *arg), void *arg, pid_t *ret_pid,
                      int *ret_pidfd);
/* Ends it, where there is one. */
void runner_ready_clear(struct ready *ready);

/* runner_spawn.c: what every start needs, made once. */
struct launcher {
	int null_fd;
	char *stack;
	struct ready ready; /* on that stack */
	uint64_t signals;  /* bit N-1: signal N has not its default action in this process */
	bool gives_way;    /* the process, not its handlers */
};
int runner_launcher_init(struct launcher *launcher);
void runner_launcher_give_way(struct launcher *launcher);
/* Makes the next process before there is an order for it; there must be none. */
int runner_launcher_get_ready(struct launcher *launcher);
void runner_launcher_clear(struct launcher *launcher);

struct spawn {
	struct launcher *launcher;
	const struct run_order *order;
	const struct runner_account *account;
	int job_dirfd;
	int input;         /* of a stream handler; else -1: /dev/null */
	int output;        /* -1: to `errors` */
	int errors;
	int report;        /* -1: none */
};
struct spawned {
	pid_t pid;
	int pidfd;         /* ready when the process has exited */
	bool watched;      /* by the runner, since before it was a handler */
	bool unready;      /* on failure: any file would have had it */
	char *error;       /* on failure: why, in words; NULL where there are no better ones
	                      than those of the errno */
};
/* Fills in what it is about: the process, or its failure. */
int runner_spawn(const struct spawn *spawn, struct spawned *ret);

/* runner_command.c: NULL-terminated lists of new strings; NULL when memory is out. */
char **runner_command_expand(const struct run_order *order);
char **runner_command_environment(const struct run_order *order, const char *home);
void runner_command_free(char **list);

/* runner_sync.c: makes durable what was written since then (wall clock) in the
 * private directory of the order's upload. The handler
 * has ended, or said that it is done. */
int runner_sync(int job_dirfd, const struct run_order *order, uint64_t since_ms);

/* Of the process. */
enum phase {
	PHASE_NONE,    /* nothing of a handler is there */
	PHASE_RUNNING,
	PHASE_LEAVING, /* the input of a stream handler is closed; the grace time runs */
	PHASE_ENDING,  /* asked to end; the grace time runs */
	PHASE_KILLING, /* until nothing of the tree is left */
};

enum attempt_state {
	ATTEMPT_NONE,
	ATTEMPT_WAITING, /* for another handler's end */
	ATTEMPT_RUNNING,
	ATTEMPT_ENDED,
};

/* runner_stream.c: a handler that serves many jobs, as spool-handler(7) has it. */
enum { STREAM_LINE_MAX = 64 * 1024 };

struct stream {
	char *handler;             /* what it was started for, see run_order_handler(); NULL: no stream handler */
	char *line;                /* what it says: STREAM_LINE_MAX bytes */
	size_t used;
	unsigned blanks;           /* lines without anything, of this job */
	char *job_line;            /* what it is told, until all of it is in the pipe */
	size_t job_line_n, sent;
	bool waits_to_send;        /* its input is polled */
	uint64_t jobs;             /* it got, this one included */
	uint64_t recycle_jobs, recycle_ms, idle_ms;
	uint64_t born_ms, idle_since_ms;
	bool deaf;                 /* nobody reads its input any more */
	uint64_t silent_ms;        /* since when it cannot answer any more; 0: it can */
	bool muted;                /* its standard error is not polled */
};

/* Of the next process, made before there is an order for it; -1: not there. */
struct spare_pipes {
	bool wanted;               /* the last one had such; a stream handler has others */
	int output, report_fd;     /* our ends, as in struct runner; they are watched already */
	int errors, report;        /* the handler's ends, as in struct spawn */
};

/* Clocks are steady but for those in `result`. */
struct runner {
	/* As long as the worker. */
	int epoll, timer;
	uint64_t armed_ms;         /* when the timer fires */
	struct launcher launcher;
	struct runner_account own; /* what a handler gets that runs as we do */

	struct spare_pipes spare;

	/* The process. */
	enum phase phase;
	int input;                 /* of a stream handler */
	int pidfd, output, report_fd; /* a stream handler's report_fd is its standard output */
	pid_t pid;
	int status;                /* of waitpid() */
	bool exited;               /* the handler's first process is reaped */
	bool alone;                /* we have no child any more */
	bool grumbled;             /* said that something does not die */
	unsigned left_behind;
	struct run_limits limits;  /* of the last order */
	uint64_t kill_grace_ms;
	uint64_t phase_ms;         /* when the phase began */
	struct stream stream;

	/* The attempt. */
	enum attempt_state attempt;
	bool told;                 /* its end */
	const struct run_order *order;
	int job_dirfd;
	enum outcome reason;       /* why we ended it; NONE: it ended by itself */
	uint64_t timeout_ms;
	uint64_t began_ms;
	uint64_t report_due_ms;
	struct runner_log log;
	struct last_line last_line;
	struct runner_report report;
	struct run_result result;
};

#define NEVER UINT64_MAX
uint64_t runner_later(uint64_t from, uint64_t by); /* never beyond NEVER */
void runner_enter(struct runner *r, enum phase phase);

bool runner_attempt_runs(const struct runner *r);
int runner_watch(struct runner *r, int fd, uint32_t events);

/* runner_process.c: the process behind the attempts. */

/* Starts it for the attempt. 0; or an error, with *ret_error saying why where
 * it is the handler's; *ret_unready: it would have failed with any file. */
int runner_launch(struct runner *r, const struct runner_account *account, bool *ret_unready,
                  char **ret_error);
/* Nothing of it is left: forgets it. */
void runner_process_clear(struct runner *r);
/* What runner_prepare() made. */
void runner_spare_clear(struct runner *r);
/* The process that runner_prepare() made has ended before it was a handler. */
void runner_lose_ready(struct runner *r);

/* runner_stream.c */
bool runner_stream_fits(struct runner *r, const struct run_order *order);
int runner_stream_begin(struct runner *r); /* it is to be started for the attempt */
void runner_stream_end(struct runner *r);  /* it is gone */
int runner_stream_send(struct runner *r);  /* tells it of the attempt; -ENOMEM */
void runner_stream_send_more(struct runner *r);
void runner_stream_feed(struct runner *r, const char *data, size_t n);
/* Nobody reads its input any more. */
void runner_stream_deaf(struct runner *r);
/* It closed its standard output. */
void runner_stream_silent(struct runner *r);
/* Did it end without reading of the attempt, after it had others? */
bool runner_stream_unread(const struct runner *r);
/* When something is due about it, and does that. */
uint64_t runner_stream_due(const struct runner *r);
void runner_stream_advance(struct runner *r, uint64_t now);
/* Closes its input: it is to go. */
void runner_stream_leave(struct runner *r);
/* Between two jobs what it prints stays in the pipe, which is bounded, for the
 * log of the next. */
void runner_stream_mute(struct runner *r, bool mute);

/* runner_pipe.c */
int runner_pipe_read_end(int *ret_read, int *ret_write);
int runner_pipe_write_end(int *ret_read, int *ret_write);

/* Takes what is there, in a few reads: the clock has a say too. Closes *fd at
 * its end. */
void runner_read_pipe(struct runner *r, int *fd, size_t limit);
/* Takes what is in the pipe now. Its end is not waited for: a process that is
 * none of ours may hold it. */
void runner_drain_pipe(struct runner *r, int *fd);

/* runner_end.c: the end of a handler and of all it started. */
void runner_reap(struct runner *r);
void runner_begin_ending(struct runner *r, enum outcome reason);
void runner_kill_more(struct runner *r);
/* The end of the attempt: closes the log, makes the result. */
void runner_finish(struct runner *r);
/* Kills all and waits, but not for ever. */
void runner_end_hard(struct runner *r);
