/* The private directories of jobs, and where a job's file is. */
#include "io/tree_private.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RESULT_MAX = 64 * 1024 }; /* bytes */

static int ident_below(struct tree *t, const char *user, enum place place, const char *path,
                       struct file_ident *ret)
{
	const char *base;
	enum entry_kind kind;
	int placefd = tree_open_place(t, user, place);
	int dirfd = placefd < 0 ? placefd : tree_open_parent(placefd, path, 0, &base);
	int r = dirfd < 0 ? dirfd : tree_ident_at(dirfd, base, ret, &kind);
	fd_close(dirfd);
	fd_close(placefd);
	return r;
}

/* Inode numbers do not last on network mounts. */
static bool is_file_of(struct tree *t, const char *user, const struct job *job,
                       const struct file_ident *ident)
{
	if (file_ident_same_inode(&job->ident, ident))
		return true;
	return tree_is_network(t, user) && job->ident.size == ident->size;
}

static int find_in_processing(struct tree *t, const char *user, const struct job *job,
                              struct tree_found *found)
{
	struct stat st;
	int fd = tree_open_private(t, user, job->id);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	if (fstatat(fd, name_base(job->path), &st, AT_SYMLINK_NOFOLLOW) == 0)
		found->place = PLACE_PROCESSING;
	found->result = fstatat(fd, NAME_RESULT, &st, AT_SYMLINK_NOFOLLOW) == 0;
	fd_close(fd);
	return 0;
}

/* Takes ownership of `name`. */
static int find_final(struct tree *t, const char *user, const struct job *job, enum place place,
                      char *name, struct tree_found *found)
{
	struct file_ident ident;
	int r = name == NULL ? -ENOMEM : ident_below(t, user, place, name, &ident);
	if (r == 0 && is_file_of(t, user, job, &ident)) {
		found->place = place;
		found->final_name = name;
		return 0;
	}
	free(name);
	return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

static int find_in_finals(struct tree *t, const char *user, const struct job *job,
                          struct tree_found *found)
{
	static const enum place places[] = {PLACE_DONE, PLACE_FAILED};
	int r = 0;
	for (size_t i = 0; i < 2 && r == 0; i++) {
		if (job->final_name != NULL)
			r = find_final(t, user, job, places[i], strdup(job->final_name), found);
		if (r == 0 && found->place == PLACE_NOWHERE)
			r = find_final(t, user, job, places[i], strdup(job->path), found);
		if (r == 0 && found->place == PLACE_NOWHERE)
			r = find_final(t, user, job, places[i], name_with_id(job->path, job->id), found);
		if (found->place != PLACE_NOWHERE)
			break;
	}
	return r;
}

static int find_in_incoming(struct tree *t, const char *user, const struct job *job,
                            struct tree_found *found)
{
	struct file_ident ident;
	int r = ident_below(t, user, PLACE_INCOMING, job->path, &ident);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	found->place = PLACE_INCOMING;
	found->same = file_ident_same(&job->ident, &ident) &&
	              (!job_state_is_final(job->state) || job->ident.ctime_ns == ident.ctime_ns);
	return 0;
}

int tree_find(struct tree *t, const char *user, const struct job *job, struct tree_found *ret)
{
	struct tree_found found = {.place = PLACE_NOWHERE};
	int r = find_in_processing(t, user, job, &found);
	if (r == 0 && found.place == PLACE_NOWHERE)
		r = find_in_finals(t, user, job, &found);
	if (r == 0 && found.place == PLACE_NOWHERE)
		r = find_in_incoming(t, user, job, &found);
	if (r == 0)
		*ret = found;
	else
		free(found.final_name);
	return r;
}

int tree_read_result(struct tree *t, const char *user, uint64_t id, char **ret_data,
                     size_t *ret_size)
{
	int dirfd = tree_open_private(t, user, id);
	if (dirfd < 0)
		return dirfd;
	int fd = openat(dirfd, NAME_RESULT, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int r = fd < 0 ? -errno : fd_read_all(fd, RESULT_MAX, ret_data, ret_size);
	fd_close(fd);
	fd_close(dirfd);
	return r;
}

int tree_ask_cancel(struct tree *t, const char *user, uint64_t id)
{
	int dirfd = tree_open_private(t, user, id);
	if (dirfd < 0)
		return dirfd;
	int r = fd_write_file(dirfd, NAME_CANCEL, "cancel\n", 7, 0600);
	fd_close(dirfd);
	return r;
}

/* Ours whatever the upload is called: its name is not known yet. */
static bool is_certainly_ours(const char *name)
{
	return strcmp(name, NAME_RESULT) == 0 || strcmp(name, NAME_RESULT ".new") == 0 ||
	       strcmp(name, NAME_CANCEL) == 0 || strcmp(name, NAME_CANCEL ".new") == 0;
}

/* The uploader's file: what remains when our own names are taken away; a file
 * named "log" is it where "log.spoold" shows that ours had to step aside. */
static int find_upload(int dirfd, char **ret_name)
{
	struct stat st;
	bool log_moved = fstatat(dirfd, "log.spoold", &st, AT_SYMLINK_NOFOLLOW) == 0;
	bool output_moved = fstatat(dirfd, "output.spoold", &st, AT_SYMLINK_NOFOLLOW) == 0;
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (dir == NULL) {
		int r = -errno;
		fd_close(copy);
		return r;
	}
	for (const struct dirent *e = readdir(dir); e != NULL && *ret_name == NULL; e = readdir(dir)) {
		const char *n = e->d_name;
		if (is_certainly_ours(n) || fstatat(dirfd, n, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		bool log_like = strcmp(n, "log") == 0 || strcmp(n, "log.spoold") == 0;
		if (strcmp(n, "log") == 0 && log_moved)
			*ret_name = strdup(n);
		else if (strcmp(n, "output") == 0 && output_moved)
			*ret_name = strdup(n);
		else if (!log_like)
			*ret_name = strdup(n);
	}
	closedir(dir);
	return 0;
}

static int visit(int processing, const char *name, uint64_t id,
                 int (*each)(void *ctx, uint64_t id, const char *path,
                             const struct file_ident *ident),
                 void *ctx)
{
	char *upload = NULL;
	struct file_ident ident = {0};
	enum entry_kind kind;
	int dirfd = openat(processing, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = dirfd < 0 ? -errno : find_upload(dirfd, &upload);
	if (r == 0 && upload != NULL && tree_ident_at(dirfd, upload, &ident, &kind) < 0) {
		free(upload);
		upload = NULL;
	}
	fd_close(dirfd);
	if (r == 0)
		r = each(ctx, id, upload, upload == NULL ? NULL : &ident);
	free(upload);
	return r == -ENOENT ? 0 : r;
}

static bool parse_id(const char *name, uint64_t *ret)
{
	char *end;
	if (name[0] < '1' || name[0] > '9')
		return false;
	errno = 0;
	*ret = strtoull(name, &end, 10);
	return errno == 0 && *end == '\0';
}

int tree_each_processing(struct tree *t, const char *user,
                         int (*each)(void *ctx, uint64_t id, const char *path,
                                     const struct file_ident *ident),
                         void *ctx)
{
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	if (fd < 0)
		return fd;
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	int r = dir == NULL ? -errno : 0;
	for (const struct dirent *e = dir == NULL ? NULL : readdir(dir); e != NULL; e = readdir(dir)) {
		uint64_t id;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (parse_id(e->d_name, &id)) {
			r = visit(fd, e->d_name, id, each, ctx);
			if (r != 0)
				break;
		} else {
			char *shown = escape_str(e->d_name);
			log_warning("user %s: processing/%s is not spoold's; it is left alone", user,
			            shown == NULL ? "?" : shown);
			free(shown);
		}
	}
	if (dir != NULL)
		closedir(dir);
	else
		fd_close(copy);
	fd_close(fd);
	return r;
}

int tree_rename_job(struct tree *t, const char *user, uint64_t old_id, uint64_t new_id)
{
	char old_name[32], new_name[32];
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	if (fd < 0)
		return fd;
	snprintf(old_name, sizeof old_name, "%" PRIu64, old_id);
	snprintf(new_name, sizeof new_name, "%" PRIu64, new_id);
	int r = renameat2(fd, old_name, fd, new_name, RENAME_NOREPLACE) < 0 ? -errno : 0;
	/* Where that cannot be asked for: an existing directory of a job is not
	 * empty, and rename refuses those. */
	if (r == -EINVAL)
		r = renameat(fd, old_name, fd, new_name) < 0 ? -errno : 0;
	fd_close(fd);
	return r;
}

int tree_drop_job(struct tree *t, const char *user, uint64_t id, const char *path)
{
	char name[32];
	const char *base = name_base(path);
	struct stat st;
	int dirfd = tree_open_private(t, user, id);
	if (dirfd < 0)
		return dirfd == -ENOENT ? 0 : dirfd;
	int fd = tree_open_place(t, user, PLACE_PROCESSING);
	snprintf(name, sizeof name, "%" PRIu64, id);
	int r = fd < 0 ? fd : 0;
	if (r == 0 && base[0] != '\0' && fstatat(dirfd, base, &st, AT_SYMLINK_NOFOLLOW) == 0)
		r = -ENOTEMPTY;
	char *upload = NULL;
	if (r == 0 && base[0] == '\0')
		r = find_upload(dirfd, &upload);
	if (r == 0 && upload != NULL)
		r = -ENOTEMPTY;
	if (r == 0) {
		tree_remove(dirfd, name_output(base));
		unlinkat(dirfd, name_log(base), 0);
		unlinkat(dirfd, NAME_RESULT, 0);
		unlinkat(dirfd, NAME_CANCEL, 0);
		if (unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			r = errno == EEXIST ? -ENOTEMPTY : -errno;
	}
	free(upload);
	fd_close(fd);
	fd_close(dirfd);
	return r;
}

/* Opens the log of a job that ended: beside its final file. */
static int open_final_log(struct tree *t, const char *user, const struct job *job)
{
	const char *final = job->final_name != NULL ? job->final_name : job->path;
	char *path = name_with_suffix(final, ".log");
	if (path == NULL)
		return -ENOMEM;
	int fd = -ENOENT;
	for (int n = 0; n < 2 && fd == -ENOENT; n++) {
		const char *base;
		char *name = n == 0 ? strdup(path) : name_with_id(path, job->id);
		int placefd = tree_open_place(t, user, job_final_place(job->state));
		int dirfd = placefd < 0 || name == NULL ? -ENOENT
		                                        : tree_open_parent(placefd, name, 0, &base);
		if (dirfd >= 0 && tree_is_our_log(dirfd, base)) {
			fd = openat(dirfd, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
			fd = fd < 0 ? -errno : fd;
		}
		fd_close(dirfd);
		fd_close(placefd);
		free(name);
	}
	free(path);
	return fd;
}

int tree_read_log(struct tree *t, const char *user, const struct job *job, uint64_t offset,
                  void *out, size_t size, size_t *ret_n)
{
	int dirfd = tree_open_private(t, user, job->id);
	int fd = dirfd < 0 ? dirfd : openat(dirfd, name_log(name_base(job->path)),
	                                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (dirfd >= 0 && fd < 0)
		fd = -errno;
	fd_close(dirfd);
	if (fd == -ENOENT && job_state_is_final(job->state))
		fd = open_final_log(t, user, job);
	if (fd < 0)
		return fd;
	ssize_t n = pread(fd, out, size, (off_t)offset);
	int r = n < 0 ? -errno : 0;
	fd_close(fd);
	if (r == 0)
		*ret_n = (size_t)n;
	return r;
}
