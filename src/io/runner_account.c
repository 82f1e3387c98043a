#include "io/runner_private.h"

#include "base/escape.h"
#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int find_groups(const struct passwd *pw, struct runner_account *account)
{
	for (int room = 32;; room *= 2) {
		int n = room;
		gid_t *groups = reallocarray(account->groups, (size_t)room, sizeof *groups);
		if (groups == NULL)
			return -ENOMEM;
		account->groups = groups;
		if (getgrouplist(pw->pw_name, pw->pw_gid, groups, &n) >= 0) {
			account->groups_n = (size_t)n;
			return 0;
		}
	}
}

static int as_ourselves(struct runner_account *ret)
{
	const struct passwd *pw = getpwuid(geteuid());
	struct runner_account account = {.uid = geteuid(), .gid = getegid()};
	account.home = strdup(pw == NULL || pw->pw_dir[0] != '/' ? "/" : pw->pw_dir);
	if (account.home == NULL)
		return -ENOMEM;
	*ret = account;
	return 0;
}

int runner_account_find(const char *run_as, struct runner_account *ret, char **ret_error)
{
	if (run_as == NULL || run_as[0] == '\0')
		return as_ourselves(ret);
	errno = 0;
	const struct passwd *pw = getpwnam(run_as);
	if (pw == NULL) {
		int r = errno == 0 || errno == ENOENT ? -ESRCH : -errno;
		char *name = runner_printable(run_as, strlen(run_as));
		*ret_error = runner_text("cannot run as %s: %s", name == NULL ? "?" : name,
		                         r == -ESRCH ? "there is no such account" : strerror(-r));
		free(name);
		return r;
	}
	if (pw->pw_uid == geteuid())
		return as_ourselves(ret);
	if (geteuid() != 0) {
		*ret_error = runner_text("cannot run as %s: only root can change to another account; "
		                         "start spoold as root or leave run_as empty", pw->pw_name);
		return -EPERM;
	}
	struct runner_account account = {.change = true, .uid = pw->pw_uid, .gid = pw->pw_gid};
	account.home = strdup(pw->pw_dir);
	if (account.home == NULL || find_groups(pw, &account) < 0) {
		runner_account_clear(&account);
		return -ENOMEM;
	}
	*ret = account;
	return 0;
}

void runner_account_clear(struct runner_account *account)
{
	free(account->groups);
	free(account->home);
	*account = (struct runner_account){0};
}

static char *file_problem(const char *name, const char *problem)
{
	char *shown = escape_str(name);
	char *error = runner_text("the file %s %s", shown == NULL ? "?" : shown, problem);
	free(shown);
	return error;
}

/* Looks at the file; where `ret_fd` is given (for its owner to be changed), opens nothing
 * but the name, so that no FIFO or device is touched. */
static int look(int job_dirfd, const char *name, int *ret_fd, struct stat *ret)
{
	if (ret_fd == NULL)
		return fstatat(job_dirfd, name, ret, AT_SYMLINK_NOFOLLOW);
	*ret_fd = openat(job_dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return *ret_fd < 0 ? -1 : fstat(*ret_fd, ret);
}

/* *ret_fd is for the caller to close, also on failure. */
static int check_file(int job_dirfd, const struct run_order *order, int *ret_fd, char **ret_error)
{
	struct stat st;
	const char *problem = NULL;
	int r = -ESTALE;
	if (look(job_dirfd, order->name, ret_fd, &st) < 0) {
		r = -errno;
		problem = errno == ENOENT ? "is gone from the job's directory" : strerror(errno);
	} else if (order->directory ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode)) {
		problem = order->directory ? "is not a directory any more" : "is not a plain file any more";
	} else if (!order->directory && st.st_nlink != 1) {
		problem = "has another name (a hard link), so it could change while it is processed";
	} else if (order->ident_ino != 0 && st.st_ino != order->ident_ino) {
		problem = "is not the one that was accepted";
	}
	if (problem == NULL)
		return 0;
	*ret_error = file_problem(order->name, problem);
	return r;
}

/* Mostly it is there. */
static int make_output(int job_dirfd, const char *name)
{
	struct stat st;
	if (fstatat(job_dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return -errno;
		if (mkdirat(job_dirfd, name, 0750) == 0)
			return 0;
		if (errno != EEXIST || fstatat(job_dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
	}
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return (st.st_mode & S_IRWXU) == S_IRWXU ? 0 : fd_permit_at(job_dirfd, name);
}

/* `ret_fd`: as in look(). */
static int prepare_output(int job_dirfd, const struct run_order *order, int *ret_fd,
                          char **ret_error)
{
	const char *name = name_output(order->name);
	int r = make_output(job_dirfd, name);
	if (r == 0 && ret_fd != NULL) {
		*ret_fd = openat(job_dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = *ret_fd < 0 ? -errno : 0;
	}
	if (r == 0)
		return 0;
	*ret_error = runner_text("the output directory \"%s\" cannot be made: %s", name, strerror(-r));
	return r;
}

int runner_account_prepare(const struct runner_account *account, const struct run_order *order, int job_dirfd,
                    char **ret_error)
{
	int file = -1, output = -1;
	/* An earlier attempt may have closed its own way in. */
	fd_permit(job_dirfd);
	int r = check_file(job_dirfd, order, account->change ? &file : NULL, ret_error);
	if (r == 0)
		r = prepare_output(job_dirfd, order, account->change ? &output : NULL, ret_error);
	if (r == 0 && account->change &&
	    (fchown(job_dirfd, account->uid, account->gid) < 0 ||
	     fchown(output, account->uid, account->gid) < 0 ||
	     fchownat(file, "", account->uid, account->gid, AT_EMPTY_PATH) < 0))
		r = -errno;
	if (r == 0 && account->change && order->directory)
		r = runner_tree_give(job_dirfd, order->name, account->uid, account->gid);
	if (r < 0 && *ret_error == NULL)
		*ret_error = runner_text("the job's files cannot be given to the account %s: %s",
		                         order->run_as, strerror(-r));
	fd_close(output);
	fd_close(file);
	return r;
}
