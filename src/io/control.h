/* The control socket, the daemon's side: JSON, one object per line.
 *
 * A client that sends garbage, half a line, too much or too slowly, or does
 * not read its answers, is told why where possible and dropped; it costs
 * bounded memory and disturbs nobody. Requests of one client are answered in
 * order.
 *
 * A request is {"command": S, ...}; an answer {"ok": true, ...} or
 * {"ok": false, "error": S, "exit": N} with spoolctl's exit code. Names and
 * paths are escaped (base/escape.h) both ways. N = number, S = string.
 *
 *   status     user?              daemon, users: as `spoolctl --json status`
 *   list       user? state? limit?  jobs
 *   show       job                job: one object, with attempts
 *   log        job offset         data (one character U+0000..U+00FF per byte), next: N,
 *                                 final: no more will come
 *   explain    job | path         path, job, state, because, next
 *   submitted  user name          job, as soon as the upload is accepted
 *   retry      job | failed:true user?   jobs: [N, ...]
 *   cancel     job                job: N; answered when the job has ended
 *   hold       job | user         (users only: reason? S)
 *   release    job | user
 *   start, stop                   message: S
 *   rescan     user?              message: S
 *   reload                        message: S, warnings: [S, ...]; on refusal
 *                                 errors: [S, ...] beside error */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct control;

enum {
	CONTROL_CLIENTS_MAX = 256,      /* more are told "too many clients" */
	CONTROL_LINE_MAX = 64 * 1024,   /* bytes of a request */
	CONTROL_OUT_MAX = 4 * 1024 * 1024, /* bytes of answers a client may leave unread */
	CONTROL_OUT_HARD_MAX = 256 * 1024 * 1024, /* bytes of one answer */
	CONTROL_IDLE_MS = 60 * 1000,    /* a client that is silent within a line this long is dropped */
};

struct control_request {
	uint64_t client;   /* for control_answer(); never reused */
	uid_t uid;         /* the peer's */
	gid_t gid;
	pid_t pid;
	json_t *body;      /* an object; owned by the control until the next call */
};

/* Listens at `path` (replacing a dead socket; -EADDRINUSE where one is alive;
 * -ENAMETOOLONG). `group`: members may connect beside root and the daemon's
 * user; everybody may connect, rights are the caller's business. */
int control_new(const char *path, struct control **ret);
void control_free(struct control *c);
int control_fd(const struct control *c);

/* The next request: 1, or 0 when there is none now. `now_steady_ms` is for
 * dropping idle clients. */
int control_next(struct control *c, uint64_t now_steady_ms, struct control_request *ret);
/* Answers (steals the reference). A client that is gone is ignored. */
void control_answer(struct control *c, uint64_t client, json_t *answer);
/* Is the client still there? For answers that take long. */
bool control_alive(const struct control *c, uint64_t client);
