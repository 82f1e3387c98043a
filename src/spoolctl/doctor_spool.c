#include "spoolctl/doctor.h"
#include "spoolctl/may.h"

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
	int r = ctl_open_root(d->ctl, &d->tree);
	if (r == -ETIMEDOUT)
		doctor_say(d, FINDING_ERROR, "see to its server, or unmount it (umount -l) and mount it again",
		           "the mount that holds the spool %s does not answer", root);
	else if (r == -ENOENT)
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

static void check_room(struct doctor *d, const char *path, const struct statvfs *st)
{
	uint64_t bytes = (uint64_t)st->f_bavail * st->f_frsize, inodes = st->f_favail;
	char size[HUMAN_SIZE];
	human_bytes(bytes, size);
	enum finding_level level = bytes < SPACE_ERROR     ? FINDING_ERROR
	                           : bytes < SPACE_WARNING ? FINDING_WARNING
	                                                   : FINDING_OK;
	doctor_say(d, level, level == FINDING_OK ? NULL : "make room, or shorten "
	           "cleanup_completed_jobs_days and cleanup_failed_jobs_days", "%s are free for %s", size,
	           path);
	/* Some file systems make inodes as they need them, and say 0. */
	if (st->f_files == 0)
		return;
	level = inodes < INODES_ERROR     ? FINDING_ERROR
	        : inodes < INODES_WARNING ? FINDING_WARNING
	                                  : FINDING_OK;
	doctor_say(d, level, level == FINDING_OK ? NULL : "remove small files, or use a file system "
	           "with more inodes", "%" PRIu64 " inodes are free for %s", inodes, path);
}

void doctor_space(struct doctor *d, const char *dir)
{
	struct statvfs st;
	char *path = ctl_escape(dir);
	if (statvfs(dir, &st) < 0) {
		doctor_say(d, FINDING_WARNING, NULL, "free space for %s cannot be told: %s", path,
		           strerror(errno));
	} else {
		if ((st.f_flag & ST_RDONLY) != 0)
			doctor_say(d, FINDING_ERROR, "mount it read-write again: mount -o remount,rw; the "
			           "system's log may say why it is not",
			           "%s is on a file system that is mounted read-only", path);
		check_room(d, path, &st);
	}
	free(path);
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

/* Below it uploads wait, which only looks like a fault of spoold. */
static void check_wanted_space(struct doctor *d, const char *user, const char *escaped)
{
	uint64_t bytes, wanted = config_user(d->ctl->config, user)->quota.min_free;
	char size[HUMAN_SIZE];
	if (wanted == 0 || tree_user_space(d->tree, user, &bytes) < 0 || bytes >= wanted)
		return;
	doctor_say(d, FINDING_ERROR, "make room, or lower min_free_mib and run: spoolctl reload",
	           "user %s: less is free than has to stay free (min_free_mib: %s): uploads wait in "
	           "incoming", escaped, human_bytes(wanted, size));
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
		if (tree_answers(d->tree, user, true) == 0)
			may_check_uploader(d->ctl->config->root, user, found, &check);
		check_wanted_space(d, user, escaped);
	}
	free(escaped);
	return 0;
}

bool doctor_is_daemons_account(const struct doctor *d)
{
	struct stat st;
	return geteuid() == 0 || (stat(d->ctl->config->root, &st) == 0 && st.st_uid == geteuid());
}

/* What spoold's account may is found out by being it. */
static void check_account(struct doctor *d)
{
	if (doctor_is_daemons_account(d))
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

struct names {
	char **name;
	size_t n;
};

static int note_name(void *ctx, const char *user, const char *problem)
{
	struct names *known = ctx;
	if (problem != NULL)
		return 0;
	known->name = ctl_need(reallocarray(known->name, known->n + 1, sizeof *known->name));
	known->name[known->n++] = ctl_need(strdup(user));
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;
	return strcmp(*x, *y);
}

static void say_unknown(struct doctor *d, const char *name, const struct names *known)
{
	/* What is only counted need not be compared with all. */
	const char *near = d->of_kind >= DOCTOR_SHOWN_OF_KIND
		? NULL : config_nearest(name, (const char *const *)known->name, known->n);
	char *shown = ctl_escape(name), *meant = near == NULL ? NULL : ctl_escape(near), *mend = NULL;
	ctl_need(asprintf(&mend, "correct the name, or make the user with: spoolctl user add %s",
	                  shown) < 0 ? NULL : mend);
	doctor_say(d, FINDING_WARNING, mend,
	           "the configuration has settings for %s (users.%s), but there is no such user in the "
	           "spool%s%s%s", shown, shown, meant == NULL ? "" : "; did you mean \"",
	           meant == NULL ? "" : meant, meant == NULL ? "" : "\"?");
	free(mend);
	free(meant);
	free(shown);
}

/* A name that is mistyped gives its settings to nobody, and nothing else says so. */
static void check_configured_users(struct doctor *d)
{
	const struct config *config = d->ctl->config;
	struct names known = {0};
	bool listed = config->users_n > 0 && tree_each_user(d->tree, note_name, &known) == 0;
	if (known.n > 0)
		qsort(known.name, known.n, sizeof *known.name, by_name);
	doctor_kind(d);
	for (size_t i = 0; listed && i < config->users_n; i++) {
		const char *name = config_user_name(config, i);
		if (known.n == 0 || bsearch(&name, known.name, known.n, sizeof name, by_name) == NULL)
			say_unknown(d, name, &known);
	}
	doctor_kind_end(d);
	for (size_t i = 0; i < known.n; i++)
		free(known.name[i]);
	free(known.name);
}

void doctor_spool(struct doctor *d)
{
	open_spool(d);
	if (d->tree == NULL)
		return;
	check_account(d);
	doctor_root(d);
	doctor_space(d, d->ctl->config->root);
	check_users(d);
	check_configured_users(d);
}
