/* Who is busy: users with something to show beside what ended, and what all
 * have together, so that a status costs what there is to say, not what there
 * are users. */
#pragma once

#include "core/record.h"

struct daemon;
struct user;

struct busy {
	struct user *users;   /* by busy_next; who is so for longest is first */
	unsigned n;
	uint64_t pending, done, failed; /* of all users */
};

/* The index has this of the user now. */
void busy_note(struct daemon *d, struct user *u, const struct user_row *row);
/* Its uploads became more or fewer. */
void busy_look(struct daemon *d, struct user *u);
