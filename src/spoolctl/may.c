#include "spoolctl/may.h"

#include "base/fd.h"
#include "base/shell.h"
#include "spoolctl/spoolctl.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool may_find(const char *name, struct may_account *ret)
{
	const struct passwd *pw = getpwnam(name);
	if (pw == NULL)
		return false;
	struct may_account account = {.uid = pw->pw_uid, .gid = pw->pw_gid, .groups_n = 32};
	for (;;) {
		int n = account.groups_n;
		account.groups = ctl_need(reallocarray(account.groups, (size_t)n, sizeof(gid_t)));
		if (getgrouplist(name, account.gid, account.groups, &n) >= 0) {
			account.groups_n = n;
			*ret = account;
			return true;
		}
		account.groups_n *= 2;
	}
}

void may_clear(struct may_account *account)
{
	free(account->groups);
	*account = (struct may_account){0};
}

struct barrier {
	int error;
	size_t n;
};

static struct barrier walk(int basefd, const char *path, int mode)
{
	char part[PATH_MAX];
	struct barrier v = {0};
	if (faccessat(basefd, ".", *path == '\0' ? mode : X_OK, AT_EACCESS) < 0)
		return (struct barrier){.error = errno};
	while (path[v.n] != '\0' && v.n < sizeof part) {
		v.n += strspn(path + v.n, "/");
		v.n += strcspn(path + v.n, "/");
		if (v.n >= sizeof part)
			return (struct barrier){.error = ENAMETOOLONG};
		memcpy(part, path, v.n);
		part[v.n] = '\0';
		if (faccessat(basefd, part, path[v.n] == '\0' ? mode : X_OK, AT_EACCESS) < 0) {
			v.error = errno;
			return v;
		}
	}
	return v;
}

static void be_and_walk(const struct may_account *a, int basefd, const char *path, int mode, int out)
{
	struct barrier v = {.error = -1};
	if (setgroups((size_t)a->groups_n, a->groups) == 0 && setresgid(a->gid, a->gid, a->gid) == 0 &&
	    setresuid(a->uid, a->uid, a->uid) == 0)
		v = walk(basefd, path, mode);
	ssize_t n = write(out, &v, sizeof v);
	_exit(n == sizeof v ? 0 : 1);
}

int may_reach(const struct may_account *account, const char *base, const char *path, int mode,
              size_t *ret_n)
{
	struct barrier v = {.error = -1};
	int ends[2];
	int basefd = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (geteuid() != 0 || basefd < 0 || pipe2(ends, O_CLOEXEC) < 0) {
		fd_close(basefd);
		return -1;
	}
	pid_t child = fork();
	if (child == 0)
		be_and_walk(account, basefd, path[0] == '/' ? path + 1 : path, mode, ends[1]);
	fd_close(ends[1]);
	if (child < 0 || read(ends[0], &v, sizeof v) != sizeof v)
		v.error = -1;
	if (child > 0)
		waitpid(child, NULL, 0);
	fd_close(ends[0]);
	fd_close(basefd);
	if (v.error > 0)
		*ret_n = v.n + (path[0] == '/' ? 1 : 0);
	return v.error;
}

struct uploader {
	const char *root, *user;
	void (*report)(void *ctx, bool fatal, const char *what, const char *mend);
	void *ctx;
};

static void tell(const struct uploader *u, const char *mend, const char *place, const char *what)
{
	char *path, *text;
	path = ctl_need(asprintf(&path, "%s/%s%s%s", u->root, u->user, *place == '\0' ? "" : "/",
	                         place) < 0 ? NULL : path);
	text = ctl_need(asprintf(&text, "the account %s %s", u->user, what) < 0 ? NULL : text);
	char *command = ctl_need(shell_command(mend, path));
	u->report(u->ctx, false, text, command);
	free(command);
	free(text);
	free(path);
}

static int check_places(const struct uploader *u, const struct may_account *account,
                        const char *home)
{
	const char *incoming = place_name(PLACE_INCOMING);
	char owner[160];
	size_t n = 0;
	int r = may_reach(account, home, incoming, W_OK | X_OK, &n);
	if (r > 0 && n == 0) {
		tell(u, "chmod a+x", "", "cannot pass through the user's directory");
		return 1;
	}
	if (r != EACCES)
		return 0;
	snprintf(owner, sizeof owner, "chown %u:%u", (unsigned)account->uid, (unsigned)account->gid);
	tell(u, owner, incoming, "cannot write to incoming: nothing can be uploaded");
	return 1;
}

int may_check_uploader(const char *root, const char *user,
                       void (*report)(void *ctx, bool fatal, const char *what, const char *mend),
                       void *ctx)
{
	const struct uploader u = {root, user, report, ctx};
	struct may_account account;
	char *home;
	if (!may_find(user, &account))
		return 0;
	home = ctl_need(asprintf(&home, "%s/%s", root, user) < 0 ? NULL : home);
	/* What is missing or in the way was told already. */
	int found = account.uid == 0 ? 0 : check_places(&u, &account, home);
	free(home);
	may_clear(&account);
	return found;
}
