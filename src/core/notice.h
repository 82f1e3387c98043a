/* What an uploader without a shell reads about uploads that are not taken: the
 * text of the notice in incoming. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Its name; visible on purpose, since hidden files are not seen in most clients. */
#define NOTICE_NAME "SPOOLD-NOTICE.txt"
/* Its first line: with the owner, what tells ours from an upload of that name. */
#define NOTICE_MARK "Some files here are not processed. (Written by spoold, the server's job queue.)\n"

enum { NOTICE_SHOWN_MAX = 50 };

struct notice_text;

/* NULL when memory is out. */
struct notice_text *notice_begin(void);
/* One upload, and in words why it waits and what ends that ("" = nothing). Names
 * are escaped; those after the first NOTICE_SHOWN_MAX are only counted. */
void notice_add(struct notice_text *n, const char *path, const char *because, const char *next);
/* Ends it. *ret_text is the text (free), or NULL where there is nothing to say.
 * False: memory is out. */
bool notice_end(struct notice_text *n, char **ret_text);
