/* What the index_json_*.c files share: the walk through a list. */
#pragma once

#include "io/index_json.h"

/* The parts of the list, in its order. */
enum stage { STAGE_ACTIVE, STAGE_LINE, STAGE_DELAYED, STAGE_HELD, STAGE_FINAL, STAGES };

/* Behind which job to go on: the keys of the walk that found it. */
struct position {
	enum stage stage;
	uint64_t a, b;
	char *user;     /* owned; where the stage goes user by user */
};

/* A list at work. */
struct list_walk {
	struct index *ix;
	const struct index_json_filter *filter;
	size_t limit;
	struct user_row row;     /* of the filter's user */
	struct position start, last;
	json_t *jobs;
	bool full;               /* there is more than `jobs` */
};

bool list_wants(const struct list_walk *w, enum job_state state);
/* Takes a job into the answer: 0, 1 = it is one too many, or -ENOMEM. */
int list_give(struct list_walk *w, const struct job *job, const char *user,
              const struct position *at);
/* The last part; returns like list_give(), or an error of the index. */
int list_walk_final(struct list_walk *w);
