/* What the request_*.c files share. */
#pragma once

#include "spoold/daemon.h"

/* A request at hand: who asks, and what. */
struct asker {
	uint64_t client;
	bool admin;        /* root, the daemon's own account, group "spool" */
	char *user;        /* the account's name: its jobs are its own; or NULL */
	const json_t *body;
};

/* Exit codes of spoolctl, sent along with a refusal. */
enum { ANSWER_NO = 1, ANSWER_USAGE = 2 };

typedef void request_fn(struct daemon *d, const struct asker *a);

/* Answers: a refusal in words; an object that was built ({"ok": true} is
 * added; the reference is stolen, NULL = memory is out). */
void answer_no(struct daemon *d, const struct asker *a, int exit_code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void answer(struct daemon *d, const struct asker *a, json_t *object);
void answer_message(struct daemon *d, const struct asker *a, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* May this asker see and steer jobs of that user? */
bool may(const struct asker *a, const char *user);
/* The argument "user" as a user that the asker may steer. False: the refusal
 * is sent. Without the argument *ret is NULL and that is fine for admins; for
 * others it is their own. */
bool ask_user(struct daemon *d, const struct asker *a, struct user **ret);
/* The argument "job", read from the index, allowed to the asker. False: the
 * refusal is sent. */
bool ask_job(struct daemon *d, const struct asker *a, struct job *ret, struct user **ret_user);

/* The optional argument `name` as a whole number from 0 up; `otherwise` where
 * it is not there. False: it is something else, and the refusal is sent. */
bool ask_number(struct daemon *d, const struct asker *a, const char *name, uint64_t otherwise,
                uint64_t *ret);

void wait_for_job(struct daemon *d, const struct asker *a, uint64_t job);
void wait_for_upload(struct daemon *d, const struct asker *a, struct user *u, const char *path);

/* request_steer.c: what an operator does to jobs, as one change of the next turn, which
 * answers. `what` in a word or two ("canceled"), for the log and the job. */

/* Takes `jobs` over; `line`: no jobs, but the line of that user; or NULL. */
void steer(struct daemon *d, const struct asker *a, enum job_event event, const char *what,
           struct user *line, uint64_t *jobs, size_t n);
void steer_single(struct daemon *d, const struct asker *a, const struct job *job,
                  enum job_event event, const char *what);
/* "held by alice: printer is out of paper": a new string, or NULL. */
char *by_whom(const char *what, const struct asker *a);
/* Did its file leave incoming, and could not be looked at since? Only its last move does that. */
bool is_uncompared(struct daemon *d, struct user *u, const struct job *job);

/* request_waits.c: into a user's status, what does not go on, and why. */
void add_waiting(struct daemon *d, const struct user *u, const struct user_row *row,
                 json_t *object);

/* request_show.c: answers without a change. */
request_fn request_status, request_list, request_show, request_log;
/* request_arriving.c: a page of uploads that are not jobs yet, of one user or all; `limit` 0:
 * as many as go into one. */
void request_arriving(struct daemon *d, const struct asker *a, const struct user *only,
                      uint64_t limit);
/* request_beside.c: answers where a file in done or failed is the log of a job, or what its
 * handler left; false: it is not. */
bool answer_beside(struct daemon *d, const struct asker *a, const char *outside,
                   const struct user *u, enum place place, const char *path);

/* request_explain.c */
request_fn request_explain;
/* request_job.c: changes of jobs and lines. */
request_fn request_retry, request_cancel, request_hold, request_release, request_submitted;
/* request_spool.c: the whole spool. */
request_fn request_start, request_stop, request_rescan, request_reload;
