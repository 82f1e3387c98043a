/* What daemon and worker say to each other: one packet each on a SEQPACKET
 * socket: a letter for its type, then its fields (message_fields.c). Pure: see
 * fd_send()/fd_recv() for the way.
 *
 *   daemon → worker  RUN (with two descriptors: the user's lock, the job's
 *                    private directory), CANCEL, RECALL, ACK, QUIT
 *   worker → daemon  STARTED, PROGRESS, RESULT
 *
 * A worker runs one job at a time. After RESULT it waits for ACK, which may come
 * with its next order; if the daemon goes away instead, it leaves the result beside
 * the file (NAME_RESULT) and exits. Where the private directory is another job's by
 * then, the result is in the index.
 *
 * An order may come ahead of its turn (`after` in it): it is begun when that job
 * has succeeded, its RESULT is sent, and nothing the daemon said before is
 * unread. In every other case (that job ended otherwise, RECALL, QUIT, no
 * daemon) it is given back, in order: a RESULT that says it was never begun,
 * run_result_never_began(). So what is not known to have succeeded is never
 * passed by what came after it. */
#pragma once

#include "core/job.h"

enum message_type {
	MESSAGE_RUN,
	MESSAGE_CANCEL,   /* end the handler; the result says canceled or interrupted */
	MESSAGE_RECALL,   /* give back what is not begun */
	MESSAGE_ACK,      /* these results are in the index */
	MESSAGE_QUIT,     /* no more jobs */
	MESSAGE_STARTED,
	MESSAGE_PROGRESS,
	MESSAGE_RESULT,
	MESSAGE_TYPES
};

enum { MESSAGE_MAX = 64 * 1024 }; /* bytes of a packet */

/* Resource limits of a handler; 0 = not limited. */
struct run_limits {
	uint64_t cpu_seconds;
	uint64_t memory_bytes;   /* address space of each process */
	uint64_t file_bytes;     /* largest file it may write */
	uint64_t open_files;
	uint64_t processes;      /* of its user */
};

/* What handlers find programs in, whatever the daemon was started with. */
#define HANDLER_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* How to run one attempt: everything resolved, nothing left to look up. */
struct run_order {
	uint64_t job;
	uint32_t attempt;
	char *user;            /* of the spool */
	char *name;            /* base name of the file */
	char *dir;             /* absolute path of the private directory: for the handler, which has no descriptor */
	char **command;        /* NULL-terminated; {file} and the like not yet replaced */
	char *run_as;          /* account, or NULL: as the daemon */
	uint64_t timeout_ms;   /* of this attempt; 0 = none */
	uint64_t kill_grace_ms;
	uint64_t log_limit_bytes;
	bool log_always;       /* its log is made although the handler prints nothing */
	bool sync;             /* what it leaves in its directory is to be durable before it is done */
	uint64_t ident_ino;    /* the file that was accepted, another one is not run; 0 = any */
	char *cookie;          /* marks every process of the attempt in its environment, see runner_kill_strays() */
	struct run_limits limits;
	bool fresh;            /* its directory was made for this attempt, its file comes out of incoming:
	                          nothing of an earlier one is there */
	bool stream;           /* the handler serves many jobs, one line each; `cookie` marks all that
	                          serve this user then */
	uint64_t recycle_jobs; /* of a stream handler, 0 = never: it is ended after so many jobs, */
	uint64_t recycle_ms;   /* when it is that old, */
	uint64_t idle_ms;      /* when it waited that long for the next job */
	bool directory;        /* the file is a directory: a job as a whole */
	uint64_t whole;        /* its digest as it was accepted, to be compared before a handler sees
	                          it for the first time; 0 = never */
	uint64_t whole_ino;    /* the inode that was accepted: another one is a handler's */
	uint64_t after;        /* the job that has to succeed before, in the same worker; 0: at once */
	uint64_t *acked;       /* results of that worker which are in the index, as in ACK; NULL: none */
};

struct run_progress {
	uint64_t job;
	double progress;       /* 0..1, or < 0: not reported */
	uint64_t records;      /* or RECORDS_NONE */
	char *message;         /* or NULL */
};

/* How an attempt ended. */
struct run_result {
	uint64_t job;
	uint32_t attempt;
	enum outcome outcome;  /* SUCCEEDED, FAILED, TIMED_OUT, INTERRUPTED, CANCELED */
	int32_t exit_code;     /* or EXIT_CODE_NONE; 128+N for signal N */
	bool permanent;        /* the handler said that no attempt will do better */
	bool stale;            /* it never ran: its directory is not what was accepted, or still written */
	bool unready;          /* it never ran: its handler cannot be started, whatever the file is */
	uint64_t started_ms;   /* wall clock; 0 = it never ran */
	uint64_t finished_ms;
	uint64_t ran_ms;       /* by the steady clock */
	uint64_t records;
	char *error;           /* in words, for log and uploader; NULL on success */
	char *message;         /* the handler's last, or NULL */
};

struct message {
	enum message_type type;
	uint64_t job;          /* CANCEL, STARTED */
	uint64_t *jobs;        /* ACK: at least one, ended by 0 */
	bool interrupt;        /* CANCEL: because of shutdown, so the outcome is INTERRUPTED */
	uint64_t started_ms;   /* STARTED */
	struct run_order order;       /* RUN */
	struct run_progress progress; /* PROGRESS */
	struct run_result result;     /* RESULT */
};

/* Was the job given back as it was handed over, without a handler having seen it? */
bool run_result_never_began(const struct run_result *result);

void run_order_clear(struct run_order *order);
void run_result_clear(struct run_result *result);
void message_clear(struct message *message);

/* What two orders must have in common so that one stream handler can serve
 * both: a new string, NULL when memory is out. */
char *run_order_handler(const struct run_order *order);

/* *ret_data is to be freed. -EMSGSIZE beyond MESSAGE_MAX; -EINVAL: a value is none that
 * could travel; -ENOMEM. */
int message_encode(const struct message *message, char **ret_data, size_t *ret_size);

/* `ret` is owned by the caller and to be cleared; untouched on failure.
 * -EBADMSG: not one of our messages, -ENOMEM. */
int message_decode(const char *data, size_t size, struct message *ret);

/* The result alone, as it is kept in NAME_RESULT: JSON that other versions can read, a
 * new NUL-terminated string. Errors as above. */
int run_result_encode(const struct run_result *result, char **ret_data, size_t *ret_size);
int run_result_decode(const char *data, size_t size, struct run_result *ret);
