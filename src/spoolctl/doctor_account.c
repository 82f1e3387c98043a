/* What the accounts can do that handlers run as, and who reaches the socket. */
#include "spoolctl/doctor.h"
#include "spoolctl/may.h"

#include "base/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The mount that a path lies on: a new string. */
static char *mount_of(const char *path)
{
	struct statx st, up;
	char *mount = ctl_need(strdup(path));
	if (statx(AT_FDCWD, mount, 0, STATX_MNT_ID, &st) < 0)
		return mount;
	for (char *slash; (slash = strrchr(mount, '/')) != NULL && mount[1] != '\0';) {
		char kept = slash == mount ? slash[1] : slash[0];
		char *cut = slash == mount ? slash + 1 : slash;
		*cut = '\0';
		if (statx(AT_FDCWD, mount, 0, STATX_MNT_ID, &up) < 0 || up.stx_mnt_id != st.stx_mnt_id) {
			*cut = kept;
			break;
		}
	}
	return mount;
}

bool doctor_exec_mount(struct doctor *d, const char *program)
{
	struct statvfs fs;
	if (statvfs(program, &fs) < 0 || (fs.f_flag & ST_NOEXEC) == 0)
		return true;
	char *mount = mount_of(program);
	char *mend = ctl_need(shell_command("mount -o remount,exec", mount)), *path = ctl_escape(program);
	doctor_say(d, FINDING_ERROR, mend, "the handler %s lies on a file system that is mounted noexec",
	           path);
	free(path);
	free(mend);
	free(mount);
	return false;
}

/* Says what keeps an account from a path, and what lets it in. */
static void say_barred(struct doctor *d, const char *account, const char *path, size_t n,
                       const char *last_mend, const char *what)
{
	bool above = path[n] != '\0';
	char *barrier = ctl_need(strndup(path, n == 0 ? 1 : n));
	char *mend = ctl_need(shell_command(above ? "chmod o+x" : last_mend, barrier));
	char *shown = ctl_escape(barrier), *name = ctl_escape(account);
	doctor_say(d, FINDING_ERROR, mend, "%s %s: %s refuses it", name, what, shown);
	free(name);
	free(shown);
	free(mend);
	free(barrier);
}

static void check_account_program(struct doctor *d, const char *name,
                                  const struct may_account *account, const char *program)
{
	size_t n = 0;
	const char *root = d->ctl->config->root;
	int r = doctor_is_first(d, name, program) ? may_reach(account, "/", program, X_OK, &n) : 0;
	if (r > 0 && r != ENOENT)
		say_barred(d, name, program, n, "chmod a+rx", "(run_as) cannot run the handler");
	r = doctor_is_first(d, name, root) ? may_reach(account, "/", root, X_OK, &n) : 0;
	if (r > 0 && r != ENOENT)
		say_barred(d, name, root, n, "chmod a+x", "(run_as) cannot get to the spool");
}

static void say_no_account(struct doctor *d, const char *name)
{
	if (!doctor_is_first(d, name, ""))
		return;
	char *mend = ctl_need(shell_command("useradd --system", name)), *shown = ctl_escape(name);
	doctor_say(d, FINDING_ERROR, mend, "there is no account %s for handlers to run as (run_as)",
	           shown);
	free(shown);
	free(mend);
}

void doctor_handler_account(struct doctor *d, const struct handler *h, const char *user)
{
	const char *name = strcmp(h->run_as, "{user}") == 0 ? user : h->run_as;
	struct may_account account;
	if (h->command == NULL || h->command[0] == NULL || h->command[0][0] != '/' ||
	    name == NULL || name[0] == '\0')
		return;
	if (!may_find(name, &account)) {
		say_no_account(d, name);
		return;
	}
	check_account_program(d, name, &account, h->command[0]);
	may_clear(&account);
}

/* A member of the group, and nothing else. */
void doctor_socket(struct doctor *d)
{
	const struct group *group = getgrnam("spool");
	const struct passwd *nobody = getpwnam("nobody");
	const char *path = d->ctl->socket;
	struct stat st;
	size_t n = 0;
	if (nobody == NULL || stat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	gid_t gid = group != NULL ? group->gr_gid : nobody->pw_gid;
	struct may_account account = {.uid = nobody->pw_uid, .gid = gid, .groups = &gid, .groups_n = 1};
	if (may_reach(&account, "/", path, W_OK, &n) > 0)
		say_barred(d, group != NULL ? "the group spool" : "who is not root", path, n, "chmod a+w",
		           "cannot ask spoold");
}

/* Whoever may rename users' directories, or one that leads to them, may read and replace
 * what is in them; and sshd takes none of them as a chroot. */
static void check_way(struct doctor *d, const char *dir, uid_t daemon)
{
	struct stat st;
	if (stat(dir, &st) < 0)
		return;
	char *mend, *path = ctl_escape(dir);
	/* With the sticky bit, what is in it stays its owner's. */
	bool is_root = strcmp(dir, d->ctl->config->root) == 0;
	if ((st.st_mode & 0022) != 0 && (is_root || (st.st_mode & S_ISVTX) == 0)) {
		mend = ctl_need(shell_command("chmod go-w", dir));
		doctor_say(d, FINDING_WARNING, mend, "%s is writable by others than its owner: users' "
		           "directories could be replaced, and sshd refuses them as a chroot", path);
		free(mend);
	}
	if (st.st_uid != 0 && st.st_uid != daemon) {
		mend = ctl_need(shell_command("chown root", dir));
		doctor_say(d, FINDING_WARNING, mend, "%s belongs neither to root nor to the account that "
		           "spoold runs as: users' directories could be replaced", path);
		free(mend);
	}
	free(path);
}

void doctor_root(struct doctor *d)
{
	struct stat st;
	const char *root = d->ctl->config->root;
	char *path, *slash;
	if (stat(root, &st) < 0)
		return;
	uid_t daemon = st.st_uid;
	path = ctl_need(asprintf(&path, "%s/.spoold/daemon.lock", root) < 0 ? NULL : path);
	if (stat(path, &st) == 0)
		daemon = st.st_uid;
	free(path);
	check_way(d, root, daemon);
	path = realpath(root, NULL);
	while (path != NULL && (slash = strrchr(path, '/')) != NULL && path[1] != '\0') {
		slash[slash == path] = '\0';
		check_way(d, path, daemon);
	}
	free(path);
}
