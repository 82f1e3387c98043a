/* What another account may do: found out by being it, in a child, so that
 * groups, access lists and mounts all count. Only root can. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct may_account {
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	int groups_n;
};

/* False where there is no such account. To be cleared. */
bool may_find(const char *name, struct may_account *ret);
void may_clear(struct may_account *account);

/* Passes the account through the directories of `path` below `base`, and lets
 * it try the last component for `mode` (R_OK, W_OK, X_OK). 0: it may; an errno:
 * it may not, and *ret_n bytes of `path` lead to what refuses it (0 = `base`);
 * -1: that cannot be found out. */
int may_reach(const struct may_account *account, const char *base, const char *path, int mode,
              size_t *ret_n);

/* Can the account that bears the user's name upload? Reports as
 * tree_check_user(), and returns the number of findings; nothing where there
 * is no such account, as with users of a share. */
int may_check_uploader(const char *root, const char *user,
                       void (*report)(void *ctx, bool fatal, const char *what, const char *mend),
                       void *ctx);
