/* Uploads that are not jobs yet: the list behind intake, by user and path, and
 * the order in which they are due to be looked at. */
#pragma once

#include "base/heap.h"
#include "core/quota.h"
#include "core/settle.h"
#include "io/tree.h"
#include "spoold/user.h"

struct daemon;

enum upload_state {
	UPLOAD_ARRIVING,  /* waits for its due time or an event */
	UPLOAD_REFUSED,   /* a symlink, a device ...: never a job */
	UPLOAD_CHECKING,  /* its content is read, see check.h; or walked through, see whole.h */
	UPLOAD_SYNCING,   /* complete; being made durable */
	UPLOAD_ACCEPTING, /* in a change */
	UPLOAD_OVER,      /* complete, but over a limit of its user: see room.h */
};

struct upload_entry {
	struct user *user;
	enum upload_state state;
	struct upload look;
	enum settle_answer waits_for;  /* while arriving */
	enum entry_kind kind;
	uint64_t first_ms;      /* wall */
	uint64_t number;        /* in the order in which they were noticed, from 1 */
	bool gone;              /* dropped while syncing or accepting */
	bool touched;           /* a hint came while syncing or accepting */
	struct file_ident renamed; /* the last such hint told of a rename, and this was there then;
	                              ino 0: it did not */
	bool overtaken;         /* likewise a scan, and no event, told of another file of its name */
	int error;              /* why it could not be read or made durable, or 0 */
	bool held_line;         /* others waited for it once, for such an error */
	struct whole_look *whole; /* of a directory that is to be one job, see whole.h; or NULL */
	struct check *check;    /* completion "checksum", once it was read; or NULL */
	struct file_ident voucher; /* what says that it is complete, once it is; ino 0: nothing */
	bool voucher_own;       /* it goes along with it */
	bool voucher_stale;     /* one is there, but of an earlier upload of the name */
	char *problem;          /* why its checksum says nothing, or NULL */
	int unsafe;             /* its data did not reach the disk: why, or 0; until it changes */
	bool unsafe_marked;     /* for the next spoold */
	bool unrenamed;         /* lacks its rename: marked, likewise */
	int sync_at;            /* place of its file among the descriptors of its batch, or -1 */
	bool from_scan;         /* counts in scan.feeding */
	bool in_place;          /* due among what a scan found, each by its age */
	enum quota_answer lacks; /* while over; QUOTA_ROOM: behind others, or to be asked again */
	bool in_line;           /* for room; else while over: too large */
	bool let_in;            /* counts in room.on_the_way, with these bytes */
	uint64_t bytes;
	uint64_t waits_since_ms; /* for what may last; steady, 0 = not now; see notice.h */
	bool told;              /* in the notice */
	struct upload_entry *room_prev, *room_next;
	struct heap_node due;
	struct upload_entry *batch_next;
	UT_hash_handle hh;
	char path[];
};

enum {
	/* Of one user, at some 400 bytes each, so that nobody takes the room of
	 * others. What is more is left to the scan that follows when there is room
	 * again. Many may wait for a writer or a marker that never comes: those
	 * leave room for uploads that were announced as complete. */
	INTAKE_USER_MAX = 65536,
	INTAKE_WAITING_MAX = 8192,
	/* Of these: what is refused needs no entry but to be told of once. */
	INTAKE_REFUSED_MAX = 1024,
	INTAKE_RELOOK_MS = 5000,        /* hard links may lose their other name unseen */
	INTAKE_RETRY_MS = 200,          /* after an error that may pass */
};

struct upload_entry *upload_find(const struct user *u, const char *path);
/* A new entry; NULL when its user has `max` already (noted: a scan follows when
 * there is room again) or memory is out. */
struct upload_entry *upload_add(struct daemon *d, struct user *u, const char *path, unsigned max);
/* Its file is gone: the entry goes, or, while it is being synced or accepted,
 * is marked and goes then. */
void upload_drop(struct daemon *d, struct upload_entry *e);
/* It became a job, or nothing. */
void upload_release(struct daemon *d, struct upload_entry *e);
/* Back to waiting, to be judged again after the settle time; at once where it
 * was renamed in meanwhile. */
void upload_again(struct daemon *d, struct upload_entry *e);
/* Back to its place among those that wait, for an error that may pass: it is
 * judged again soon, and what came later not before it. */
void upload_once_more(struct daemon *d, struct upload_entry *e);
/* Back to waiting, behind one that is judged again. */
void upload_wait_behind(struct daemon *d, struct upload_entry *e);
/* Are descriptors or memory short? */
bool upload_is_short(int error);
/* What arrives from now on waits for a moment: one could not be looked at. */
void upload_hold_line(struct daemon *d, struct user *u);
/* Does this one, which was due, wait behind one that is to be tried again? */
bool upload_retries(const struct upload_entry *e);
/* The scan that found it goes on without it. */
void upload_leave_scan(struct daemon *d, struct upload_entry *e);
/* It can never be a job: said once. */
void upload_refuse(struct daemon *d, struct upload_entry *e, enum entry_kind kind);
/* Is there room to list one more that can never be a job? */
bool upload_may_list_refused(struct user *u);
/* Uploads of this user that are not jobs yet and may become some. */
uint64_t upload_count_arriving(const struct user *u);

/* To be looked at again at this steady time; among those of the same
 * millisecond in the order of the calls. */
void upload_set_due(struct daemon *d, struct upload_entry *e, uint64_t due_ms);
/* Its place in the order of those calls; it counts on from 0 after the last one. */
uint32_t upload_turn(const struct upload_entry *e);
/* Is it among those that upload_take_due() gives now? */
bool upload_is_due(const struct daemon *d, const struct upload_entry *e);
/* The next one that is due, taken out of the order; or NULL. */
struct upload_entry *upload_take_due(struct daemon *d);
/* UINT64_MAX: none. */
uint64_t upload_next_due(const struct daemon *d);
/* It was due, but arrived after what a scan found or still sorts in, and waits for that. */
bool upload_behind_backlog(const struct upload_entry *e);
/* Would it, if it were due now? */
bool upload_is_held_up(const struct daemon *d, const struct upload_entry *e);
void upload_put_behind_backlog(struct daemon *d, struct upload_entry *e);

/* A walk ended: what only an event would have told to be gone is dropped. */
void uploads_forget_gone(struct daemon *d, struct user *u);
/* Nothing is listed but what somebody still writes, what is over a limit, or
 * what is refused. */
bool uploads_only_wait_for_writers(const struct daemon *d);
void uploads_clear(struct daemon *d);
