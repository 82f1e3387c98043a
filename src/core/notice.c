#include "core/notice.h"

#include "base/escape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD \
	NOTICE_MARK \
	"This file changes when something changes, and goes away when all is well. It is no\n" \
	"upload; deleting it does no harm.\n"

struct notice_text {
	char *text;
	size_t used;
	unsigned n;
	bool failed;
};

struct notice_text *notice_begin(void)
{
	return calloc(1, sizeof(struct notice_text));
}

/* Takes ownership of `piece`; NULL: memory is out. */
static void append(struct notice_text *n, char *piece)
{
	size_t size = piece == NULL ? 0 : strlen(piece);
	char *text = piece == NULL || n->failed ? NULL : realloc(n->text, n->used + size + 1);
	if (text == NULL) {
		n->failed = true;
	} else {
		memcpy(text + n->used, piece, size + 1);
		n->text = text;
		n->used += size;
	}
	free(piece);
}

void notice_add(struct notice_text *n, const char *path, const char *because, const char *next)
{
	char *piece = NULL;
	if (n->n++ == 0)
		append(n, strdup(HEAD));
	if (n->n > NOTICE_SHOWN_MAX)
		return;
	char *name = escape_str(path);
	const char *label = next[0] == '\0' ? "" : "    then: ";
	if (name == NULL || asprintf(&piece, "\n%s\n    why:  %s\n%s%s%s", name, because, label, next,
	                             next[0] == '\0' ? "" : "\n") < 0)
		piece = NULL;
	free(name);
	append(n, piece);
}

bool notice_end(struct notice_text *n, char **ret_text)
{
	char *piece = NULL;
	if (n->n > NOTICE_SHOWN_MAX) {
		if (asprintf(&piece, "\nand %u more\n", n->n - NOTICE_SHOWN_MAX) < 0)
			piece = NULL;
		append(n, piece);
	}
	bool good = !n->failed;
	if (good)
		*ret_text = n->text;
	else
		free(n->text);
	free(n);
	return good;
}
