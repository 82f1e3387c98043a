#include "base/fd.h"
#include "io/tree_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NUMBERS ".spoold/numbers"
#define NUMBERS_HEAD "spoold numbers 1\nbelow %" PRIu64 "\n"

/* Only what is written here: a number of which a part is lost is none. */
static int parse(const char *text, uint64_t *ret_below)
{
	char head[64];
	uint64_t below = 0;
	if (sscanf(text, "spoold numbers 1\nbelow %" SCNu64, &below) != 1 || below == 0)
		return -EBADMSG;
	int n = snprintf(head, sizeof head, NUMBERS_HEAD, below);
	if (strncmp(text, head, (size_t)n) != 0)
		return -EBADMSG;
	*ret_below = below;
	return 0;
}

int tree_read_numbers(struct tree *t, uint64_t *ret_below)
{
	char text[256];
	int r = tree_answers(t, NULL, true);
	if (r == 0)
		r = tree_read_text(t->rootfd, NUMBERS, text, sizeof text);
	return r < 0 ? r : parse(text, ret_below);
}

int tree_write_numbers(struct tree *t, uint64_t below)
{
	char text[256];
	int answers = tree_answers(t, NULL, true);
	int dirfd = answers < 0 ? answers
	                        : fd_open_beneath(t->rootfd, ".spoold", O_RDONLY | O_DIRECTORY, 0);
	if (dirfd < 0)
		return dirfd;
	int n = snprintf(text, sizeof text,
	                 NUMBERS_HEAD
	                 "No job of this spool has got a number from that one on. Keep this file: a new "
	                 "index goes on from there.\n", below);
	int r = fd_write_file(dirfd, "numbers", text, (size_t)n, 0644);
	fd_close(dirfd);
	return r;
}
