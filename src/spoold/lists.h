/* Lists of checksums in a user's incoming that speak for several uploads. Their
 * names are kept, their content as long as there is room for it. */
#pragma once

#include "core/job.h"
#include "core/sums.h"
#include "spoold/user.h"

struct daemon;

/* What is said of one upload, and by what. */
struct lists_word {
	uint8_t digest[SUMS_DIGEST];
	struct file_ident ident;
	char name[JOB_PATH_MAX + 1]; /* of the list, below incoming */
};

struct sums_list {
	char *path;              /* below incoming */
	struct file_ident ident; /* as it was read */
	char *problem;           /* why it cannot be understood, or NULL */
	bool loaded;
	struct sums sums;
	struct sums_list *prev, *next;
};

enum {
	LISTS_USER_MAX = 64,     /* the oldest is forgotten */
	/* Bytes of lists in memory, all users together. */
	LISTS_LOADED_MAX = 32 * 1024 * 1024,
};

/* Reads a file of checksums into `ret`: 0, -EBADMSG with *ret_problem (free),
 * -EAGAIN: somebody still writes it, or another errno. */
int lists_read(struct daemon *d, const struct user *u, const char *path, struct sums *ret,
               char **ret_problem);
/* A file whose name is that of a list is there, or changed. True where there is
 * news in it for others than `own`, the one upload that it is named after (or
 * NULL, where there is none). */
bool lists_note(struct daemon *d, struct user *u, const char *path, const char *own);
/* What the newest list says of an upload. False: nothing; then *ret_problem says
 * which list cannot be understood and why (free), or is NULL. */
bool lists_find(struct daemon *d, struct user *u, const char *path, struct lists_word *ret,
                char **ret_problem);
void lists_clear(struct daemon *d, struct user *u);
