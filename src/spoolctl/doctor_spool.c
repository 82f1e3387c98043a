#include "spoolctl/doctor.h"

#include "base/human.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB (UINT64_C(1024) * 1024)
#define SPACE_ERROR (64 * MIB)
#define SPACE_WARNING (1024 * MIB)
enum { INODES_ERROR = 1000, INODES_WARNING = 10000 };

static void open_spool(struct doctor *d)
{
	char *root = ctl_escape(d->ctl->config->root);
	int r = tree_open(d->ctl->config->root, &d->tree);
	if (r == -ENOENT)
		doctor_say(d, FINDING_ERROR, "make it with: spoold --init",
		           "there is no spool at %s", root);
	else if (r == -ENODEV)
		doctor_say(d, FINDING_ERROR, "mount it; a new spool is made with: spoold --init",
		           "%s has no marker of a spool: it is not mounted, or none", root);
	else if (r < 0)
		doctor_say(d, FINDING_ERROR, NULL, "the spool %s cannot be opened: %s", root, strerror(-r));
	else
		doctor_say(d, FINDING_OK, NULL, "the spool %s is there, with its marker", root);
	free(root);
}

static void check_wanted_space(struct doctor *d, uint64_t bytes)
{
	uint64_t wanted = d->ctl->config->defaults.quota.min_free;
	char size[HUMAN_SIZE];
	if (bytes < wanted)
		doctor_say(d, FINDING_ERROR, "make room, or lower spool.min_free_mib",
		           "less is free than has to stay free (min_free_mib: %s): uploads wait in "
		           "incoming", human_bytes(wanted, size));
}

/* Some file systems make inodes as they need them, and say 0. */
static bool counts_inodes(const struct doctor *d)
{
	struct statvfs st;
	return statvfs(d->ctl->config->root, &st) == 0 && st.f_files > 0;
}

static void check_space(struct doctor *d)
{
	uint64_t bytes, inodes;
	char size[HUMAN_SIZE];
	int r = tree_space(d->tree, &bytes, &inodes);
	if (r < 0) {
		doctor_say(d, FINDING_WARNING, NULL, "free space cannot be told: %s", strerror(-r));
		return;
	}
	human_bytes(bytes, size);
	enum finding_level level = bytes < SPACE_ERROR     ? FINDING_ERROR
	                           : bytes < SPACE_WARNING ? FINDING_WARNING
	                                                   : FINDING_OK;
	doctor_say(d, level, level == FINDING_OK ? NULL : "make room, or shorten "
	           "cleanup_completed_jobs_days and cleanup_failed_jobs_days", "%s are free", size);
	check_wanted_space(d, bytes);
	if (!counts_inodes(d))
		return;
	level = inodes < INODES_ERROR     ? FINDING_ERROR
	        : inodes < INODES_WARNING ? FINDING_WARNING
	                                  : FINDING_OK;
	doctor_say(d, level, level == FINDING_OK ? NULL : "remove small files, or use a file system "
	           "with more inodes", "%" PRIu64 " inodes are free", inodes);
}

struct user_check {
	struct doctor *d;
	const char *user;
};

static void found(void *ctx, bool fatal, const char *what, const char *mend)
{
	const struct user_check *c = ctx;
	doctor_say(c->d, fatal ? FINDING_ERROR : FINDING_WARNING, mend, "user %s: %s", c->user, what);
}

static int check_user(void *ctx, const char *user, const char *problem)
{
	struct doctor *d = ctx;
	char *escaped = ctl_escape(user);
	struct user_check check = {.d = d, .user = escaped};
	if (problem != NULL) {
		doctor_say(d, FINDING_WARNING, "rename it, or move it out of the spool",
		           "the directory \"%s\" is no user: its name %s", escaped, problem);
	} else {
		d->users++;
		int r = tree_check_user(d->tree, user, found, &check);
		if (r < 0)
			doctor_say(d, FINDING_ERROR, NULL, "user %s: its directories cannot be checked: %s",
			           escaped, strerror(-r));
	}
	free(escaped);
	return 0;
}

/* What spoold's account may is found out by being it. */
static void check_account(struct doctor *d)
{
	struct stat st;
	if (geteuid() == 0 || stat(d->ctl->config->root, &st) < 0 || st.st_uid == geteuid())
		return;
	doctor_say(d, FINDING_WARNING, "run it as root, or as the account that spoold runs as",
	           "what spoold's account may read and write cannot be judged by yours");
}

static void check_users(struct doctor *d)
{
	unsigned before = d->errors + d->warnings;
	doctor_kind(d);
	int r = tree_each_user(d->tree, check_user, d);
	doctor_kind_end(d);
	if (r < 0)
		doctor_say(d, FINDING_ERROR, NULL, "the users cannot be listed: %s", strerror(-r));
	else if (d->users == 0)
		doctor_say(d, FINDING_WARNING, "make one with: spoolctl user add NAME",
		           "the spool has no users");
	else if (d->errors + d->warnings == before)
		doctor_say(d, FINDING_OK, NULL, "the directories of %u user%s have the right owners and "
		           "modes", d->users, d->users == 1 ? "" : "s");
}

void doctor_spool(struct doctor *d)
{
	open_spool(d);
	if (d->tree == NULL)
		return;
	check_account(d);
	check_space(d);
	check_users(d);
}
