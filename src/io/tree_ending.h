/* The last move of a job in its two halves: its file (tree_final.c), and what else lies in
 * its private directory (tree_rest.c). Nobody else includes this. */
#pragma once

#include "io/tree_private.h"

#include <sys/stat.h>

/* A private directory that ends. */
struct ending {
	struct tree *t;
	const struct tree_finish *f;
	const char *base;
	int fd;
	struct stat file;
	bool has_file;    /* under its own name; a directory is none, but where it is the job */
	char *elsewhere;  /* the upload under a name that its handler gave it, or NULL */
	bool log, output, result;
	char *voucher;    /* its name here, or NULL */
	bool more;        /* what the handler left in its working directory */
	bool litter;      /* of ours, of no use any more */
	bool spare_output; /* empty, left for the next job; `output` is false */
	bool stuck;       /* something could not be kept: nothing is removed */
};

void tree_ending_warn(const struct tree_finish *f, const char *what, int error);
/* Moves an entry to the first free name in `to`; another one than its own. */
int tree_move_aside(int from, const char *name, int to, uint64_t id);
/* Writes the reason into the log, where it does not stand in one that is kept already.
 * `final` is where the file was moved to by an earlier call, or NULL. */
void tree_ending_reason(struct ending *e, const char *final);
/* What is kept goes beside the final file (NULL: there is none), the rest is ours and
 * goes away; the directory itself, or it is kept for the next job. */
void tree_ending_close(struct ending *e, const char *final);
