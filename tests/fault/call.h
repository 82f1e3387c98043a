/* A system call that a process under observation is about to make: what kind
 * it is, in the words of the campaign, and what it is about. */
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>

enum kind {
	/* Changes what is outside of the process. */
	CALL_CREATE, CALL_WRITE, CALL_SYNC, CALL_RENAME, CALL_LINK, CALL_UNLINK, CALL_MKDIR, CALL_RMDIR,
	CALL_TRUNCATE, CALL_OWN, CALL_SEND, CALL_LOCK, CALL_LEASE, CALL_SPAWN, CALL_KILL, CALL_BIND,
	CALLS_CHANGING,
	/* Asks, or takes a descriptor. */
	CALL_OPEN = CALLS_CHANGING, CALL_STAT, CALL_LIST, CALL_READ, CALL_FD, CALL_WATCH, CALL_MAP,
	CALL_KINDS,
	CALL_OTHER = CALL_KINDS, /* of no interest */
};

struct call {
	enum kind kind;
	const char *name; /* of the system call; static */
	char about[512];  /* paths, as far as they are known */
};

const char *call_kind_name(enum kind kind);
/* A set of kinds from "rename,write"; "changes" and "looks" name many. False
 * where a word is none. */
bool call_parse_kinds(const char *text, bool ret[CALL_KINDS]);

/* A filter that lets the supervisor decide about the calls that may be of
 * interest. `room` instructions; returns how many are used. */
size_t call_filter(struct sock_filter *out, size_t room);

/* The call of a notification; the caller waits in it. */
void call_read(const struct seccomp_notif *req, struct call *ret);
