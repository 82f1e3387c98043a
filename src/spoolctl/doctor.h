/* What the doctor's examinations share: findings, said as they come, bounded
 * for each kind. */
#pragma once

#include "spoolctl/spoolctl.h"
#include "io/index.h"

/* A note is no fault: something that may be meant so. */
enum finding_level { FINDING_OK, FINDING_NOTE, FINDING_WARNING, FINDING_ERROR };

struct doctor {
	struct ctl *ctl;
	struct tree *tree;       /* NULL where it cannot be opened */
	struct index *index;     /* likewise */
	json_t *daemon;          /* "daemon" of its status, or NULL: it does not run */
	json_t *findings;        /* for --json */
	unsigned errors, warnings;
	bool in_kind;
	unsigned of_kind;        /* since doctor_kind() */
	unsigned users;          /* users of the spool */
	bool as_daemon;          /* a handler runs as the daemon does */
	json_t *known;           /* what was examined: see doctor_is_first(); by the path of a
	                            program, whether it can be run */
};

/* `mend` says what to do, or is NULL. */
void doctor_say(struct doctor *d, enum finding_level level, const char *mend, const char *format,
                ...) __attribute__((format(printf, 4, 5)));
enum { DOCTOR_SHOWN_OF_KIND = 20 };
/* Of what follows, up to doctor_kind_end(), only the first findings are shown;
 * the rest is counted. */
void doctor_kind(struct doctor *d);
void doctor_kind_end(struct doctor *d);
/* Is it the first time that both are named? Then what is wrong is to be told. */
bool doctor_is_first(struct doctor *d, const char *account, const char *what);

/* doctor_spool.c: directories, marker, space, users. */
void doctor_spool(struct doctor *d);
/* Is this the account of spoold, or root, so that what it may is known here? */
bool doctor_is_daemons_account(const struct doctor *d);
/* Can the file system of a directory be written, and how much room has it? */
void doctor_space(struct doctor *d, const char *dir);
/* doctor_index.c: the index, and whether the directories agree with it. */
void doctor_index(struct doctor *d);
/* doctor_account.c: does a program lie where programs can be run (false: said
 * that it does not); can the account of this handler (of this user, or NULL) run
 * it; is the socket to be reached; is the root safe? */
bool doctor_exec_mount(struct doctor *d, const char *program);
void doctor_handler_account(struct doctor *d, const struct handler *handler, const char *user);
void doctor_socket(struct doctor *d);
void doctor_root(struct doctor *d);
/* doctor_handlers.c */
void doctor_handlers(struct doctor *d);
/* doctor_system.c: the daemon, limits of the system, handlers. */
void doctor_system(struct doctor *d);
