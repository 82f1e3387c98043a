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
 *   list       user? state? limit? after?
 *                                 jobs, more: N | null, next: S | null; `next` is
 *                                 `after` of the request for the rest
 *   show       job                job: one object, with attempts
 *   log        job offset         data (one character U+0000..U+00FF per byte), next: N,
 *                                 final: no more will come
 *   explain    job | path         path, job, state, because, next
 *   submitted  user name since?   job, as soon as the upload is accepted; one
 *                                 accepted after `since` (wall clock ms) counts
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
	CONTROL_CLIENTS_MAX = 256,    /* more are told "too many clients" */
	CONTROL_RESERVED = 16,        /* places of those only for root and the daemon's user */
	CONTROL_CLIENTS_PER_UID = 64, /* of any other user */
	CONTROL_LINE_MAX = 64 * 1024, /* bytes of a request */
	/* Bytes of unread answers beyond which a client is not heard. */
	CONTROL_OUT_MAX = 4 * 1024 * 1024,
	/* Bytes of one answer, and of all unread answers of a uid. */
	CONTROL_OUT_HARD_MAX = 256 * 1024 * 1024,
	/* A line must be whole this long after its first byte, and some of an
	 * unread answer be taken within it; else the client is dropped. */
	CONTROL_IDLE_MS = 60 * 1000,
	/* A client without a request this long makes room for another one. */
	CONTROL_EVICT_MS = 10 * 60 * 1000,
};

struct control_request {
	uint64_t client;   /* for control_answer(); never reused */
	uid_t uid;         /* the peer's, as it connected */
	gid_t gid;
	pid_t pid;
	json_t *body;      /* an object; owned by the control until the next control_next() */
	const gid_t *groups; /* the peer's supplementary groups; owned likewise */
	size_t group_count;
};

/* Listens at `path`, open to everybody: rights are the caller's business.
 * A dead socket is replaced. The caller has the daemon's lock: two that start
 * at once could replace each other's socket. -EADDRINUSE: somebody answers
 * there; -EEXIST: there is something that is not a listening stream socket,
 * and it is left alone; -ENAMETOOLONG: more than 107 bytes. Not to be called
 * while another thread creates files (it needs the umask). */
int control_new(const char *path, struct control **ret);
/* Makes the socket anew where nobody can reach it any more: it was removed, or its file
 * system was mounted again. Who is connected stays so. 1: made; 0: it is there; else
 * errors of control_new(), and all is as it was. It needs the umask likewise. */
int control_renew(struct control *c, uint64_t now_steady_ms);
/* Drops all clients; removes the socket where it is still ours. */
void control_free(struct control *c);
/* Readable while control_next() has something to do. */
int control_fd(const struct control *c);

/* The next request: 1, or 0 when there is none now. A client has one request
 * at a time: its next is not read before this one is answered. A client that
 * closes its socket gives up what was not delivered yet; one that only shuts
 * down its sending side gets its answers.
 *
 * `now_steady_ms` is for dropping idle clients: call it now and then also when
 * control_fd() is silent (once in some seconds will do). A call does a bounded
 * amount of work: it may return 0 with control_fd() still readable. Callers
 * that loop over it should stop after some requests and come back. */
int control_next(struct control *c, uint64_t now_steady_ms, struct control_request *ret);
/* Answers (steals the reference), once for each request. A client that is gone
 * is ignored. An answer that is too large is replaced by an error. */
void control_answer(struct control *c, uint64_t client, json_t *answer);
/* Is the client still there? For answers that take long. */
bool control_alive(const struct control *c, uint64_t client);
/* Is the group the peer's own or one of its supplementary groups? */
bool control_peer_in_group(const struct control_request *request, gid_t group);
