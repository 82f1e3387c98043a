#include "spoolctl/submit.h"

#include "base/fd.h"
#include "base/human.h"
#include "core/name.h"
#include "core/sums.h"
#include "io/digest.h"
#include "spoolctl/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int why(char **ret_why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int why(char **ret_why, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (vasprintf(ret_why, format, args) < 0)
		*ret_why = NULL;
	va_end(args);
	ctl_need(*ret_why);
	return -1;
}

static int check_name(const struct submit *s, const char *name, char **ret_why)
{
	const struct user_settings *settings = config_user(s->ctl->config, s->user);
	if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return why(ret_why, "it needs a file name without a slash; give one with --name");
	if (strlen(name) > NAME_FILE_MAX)
		return why(ret_why, "its name is longer than %d bytes; give another with --name",
		           NAME_FILE_MAX);
	for (char **pattern = settings->ignore; pattern != NULL && *pattern != NULL; pattern++) {
		const char *one[] = {*pattern, NULL};
		if (name_matches(name, one))
			return why(ret_why, "its name matches the ignored pattern \"%s\", so it would never "
			                    "be taken; give another with --name", *pattern);
	}
	return 0;
}

static int open_source(const struct submit *s, uint64_t *ret_size, char **ret_why)
{
	struct stat st;
	bool is_stdin = strcmp(s->file, "-") == 0;
	int fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
	                  : open(s->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0) {
		why(ret_why, errno == ENOENT ? "there is no such file" : "it cannot be read: %s",
		    strerror(errno));
		fd_close(fd);
		return -1;
	}
	bool plain = S_ISREG(st.st_mode);
	if (S_ISDIR(st.st_mode) || (!plain && s->name == NULL)) {
		const struct user_settings *settings = config_user(s->ctl->config, s->user);
		bool whole = settings->directories == DIRECTORIES_JOB;
		if (S_ISDIR(st.st_mode) && whole)
			why(ret_why, "it is a directory, which is not copied: move it to %s/%s/%s (on the same "
			             "file system, in one step), or upload it (rsync -a, scp -r, sftp)",
			    s->ctl->config->root, s->user, place_name(PLACE_INCOMING));
		else
			why(ret_why, "%s", S_ISDIR(st.st_mode)
			                       ? "it is a directory; name the files in it"
			                       : "it is no plain file; give the name it shall have with --name");
		fd_close(fd);
		return -1;
	}
	*ret_size = plain ? (uint64_t)st.st_size : 0;
	return fd;
}

static int say_failed(const struct submit *s, int error, char **ret_why)
{
	switch (error) {
	case -EEXIST:
		return why(ret_why, "a file of that name waits in incoming of %s already; submit it when "
		                    "that one was taken, or under another name with --name", s->user);
	case -ENOENT:
	case -ENOTDIR:
		return why(ret_why, "there is no user %s in this spool; name one with --user, or make it "
		                    "with \"spoolctl user add %s\"", s->user, s->user);
	case -EACCES:
	case -EPERM:
		return why(ret_why, "you may not write into incoming of %s", s->user);
	case -ENOSPC:
	case -EDQUOT:
	case -EROFS:
		return why(ret_why, "%s; %s %s", strerror(-error), human_remedy(error),
		           s->ctl->config->root);
	default:
		return why(ret_why, "it could not be put into incoming: %s", strerror(-error));
	}
}

/* Where uploads are told to be complete by a marker, it comes along. */
static int put_marker(const struct submit *s, const char *name, char **ret_why)
{
	const struct user_settings *settings = config_user(s->ctl->config, s->user);
	const char *suffix = settings->marker_suffix;
	size_t n = strlen(name), suffix_n = strlen(suffix);
	char *marker = NULL;
	if (settings->settle.completion != COMPLETION_MARKER ||
	    (n > suffix_n && strcmp(name + n - suffix_n, suffix) == 0))
		return 0;
	ctl_need(asprintf(&marker, "%s%s", name, suffix) < 0 ? NULL : marker);
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : tree_submit(s->tree, s->user, fd, marker, NULL, NULL);
	fd_close(fd);
	free(marker);
	if (r == 0 || r == -EEXIST)
		return 0;
	return why(ret_why, "it is in incoming of %s, but its marker could not be made: %s", s->user,
	           strerror(-r));
}

/* Of what was to be sent, where that can be read again; else of what arrived. */
static int compute(const struct submit *s, int source, const char *name, uint8_t *ret_sum)
{
	bool again = lseek(source, 0, SEEK_SET) == 0;
	int fd = again ? source : tree_open_upload(s->tree, s->user, name);
	int r = fd < 0 ? fd : digest_whole(fd, ret_sum);
	if (!again)
		fd_close(fd);
	return r;
}

/* A file with the checksum in it, which has no name. */
static int write_checksum(const char *name, const uint8_t *sum)
{
	char hex[SUMS_HEX], *line = NULL;
	sums_hex(sum, hex);
	/* Where it would have to be escaped, the digits do. */
	bool plain = strpbrk(name, "\\\n\r") == NULL;
	int n = asprintf(&line, "%s%s%s\n", hex, plain ? "  " : "", plain ? name : "");
	int fd = n < 0 ? -ENOMEM : memfd_create("checksum", MFD_CLOEXEC);
	int r = fd == -1 ? -errno : fd < 0 ? fd : fd_write_all(fd, line, (size_t)n);
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	free(line);
	if (r < 0 && fd >= 0)
		fd_close(fd);
	return r < 0 ? r : fd;
}

/* Where uploads are told to be complete by their checksum, it comes along. */
static int put_checksum(const struct submit *s, int source, const char *name, char **ret_why)
{
	uint8_t sum[DIGEST_SIZE];
	char *path = NULL;
	if (config_user(s->ctl->config, s->user)->settle.completion != COMPLETION_CHECKSUM ||
	    sums_is_name(name))
		return 0;
	int r = compute(s, source, name, sum);
	int fd = r < 0 ? r : write_checksum(name, sum);
	ctl_need(asprintf(&path, "%s" SUMS_SUFFIX, name) < 0 ? NULL : path);
	r = fd < 0 ? fd : tree_submit(s->tree, s->user, fd, path, NULL, NULL);
	if (fd >= 0)
		fd_close(fd);
	free(path);
	if (r == 0)
		return 0;
	return why(ret_why, "it is in incoming of %s, but its checksum could not be put beside it: %s",
	           s->user, strerror(-r));
}

int submit_file(const struct submit *s, char **ret_name, char **ret_why)
{
	struct copy_progress progress;
	uint64_t size = 0;
	const char *name = s->name != NULL ? s->name : name_base(s->file);
	int fd = open_source(s, &size, ret_why);
	if (fd < 0)
		return -1;
	if (check_name(s, name, ret_why) < 0) {
		fd_close(fd);
		return -1;
	}
	char *escaped = ctl_escape(name);
	copy_progress_begin(&progress, s->ctl, escaped, size);
	int r = tree_submit(s->tree, s->user, fd, name, copy_progress_each, &progress);
	progress_end(s->ctl);
	free(escaped);
	if (r < 0)
		r = say_failed(s, r, ret_why);
	else
		r = put_checksum(s, fd, name, ret_why);
	fd_close(fd);
	if (r < 0 || put_marker(s, name, ret_why) < 0)
		return -1;
	*ret_name = ctl_need(strdup(name));
	return 0;
}
