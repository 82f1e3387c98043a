/* Requests of spoolctl: who may ask what, and the answers. The protocol is
 * in io/control.h. */
#pragma once

#include "core/job.h"
#include "io/control.h"
#include "spoold/user.h"

struct daemon;

/* A client that is answered when something has happened. */
struct waiter {
	uint64_t client;
	uint64_t job;      /* until this job is final; 0: */
	struct user *user; /* until this upload is a job */
	char *path;
	uint64_t until_ms; /* steady */
	struct waiter *prev, *next;
};

struct requests {
	struct waiter *waiters;
	uint64_t look_ms, look_until_ms; /* steady; silent clients are dropped then */
};

enum {
	/* After the last request the control socket is looked at this often, for a
	 * while: a client that fell silent within a line is found out so. */
	REQUEST_LOOK_MS = 5000,
	/* A `submitted` whose upload does not become a job (a marker is missing,
	 * say) is answered after this time; it stays where it is. */
	REQUEST_SUBMITTED_MS = 20000,
	/* So is a cancel whose handler does not end: its grace time is at most an
	 * hour, and nobody waits longer at a terminal. */
	REQUEST_CANCEL_MS = 3600 * 1000,
};

void request_read_all(struct daemon *d);
/* Something final happened to a job / an upload became a job: answers those
 * who wait. */
void request_job_ended(struct daemon *d, const struct job *job);
void request_accepted(struct daemon *d, const struct user *u, const struct job *job);
/* It becomes none as it is: who waits for that hears why. */
void request_upload_stays(struct daemon *d, const struct upload_entry *entry);
/* A job that was to be held while it waited in a worker came back: it is, or it
 * had begun. */
void request_held(struct daemon *d, uint64_t client, uint64_t job, bool held);
/* Sees to it that spoolctl finds us: somebody may have removed the socket. */
void request_keep_socket(struct daemon *d);
void request_tick(struct daemon *d);
uint64_t request_next(const struct daemon *d);
void requests_clear(struct daemon *d);
