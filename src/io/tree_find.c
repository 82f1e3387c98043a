/* Where the file of a job is. */
#include "io/tree_private.h"

#include "base/dir.h"
#include "base/fd.h"
#include "core/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct renamed_search {
	int dirfd;
	const struct file_ident *ident;
	char *name;
};

static int look_for_renamed(void *ctx, const char *name, uint64_t ino)
{
	struct renamed_search *s = ctx;
	struct file_ident now;
	enum entry_kind kind;
	/* Inode numbers are used again: unchanged it must be, too. */
	bool lasts = (s->ident->ino & TREE_INO_MADE_UP) == 0;
	if ((lasts && ino != s->ident->ino) || tree_ident_at(s->dirfd, name, &now, &kind) < 0 ||
	    !tree_is_same(s->ident, &now, kind))
		return 0;
	s->name = strdup(name);
	return s->name == NULL ? -ENOMEM : 1;
}

int tree_find_renamed(int privfd, const struct file_ident *ident, char **ret_name)
{
	struct renamed_search s = {.dirfd = privfd, .ident = ident};
	int r = dir_walk(privfd, look_for_renamed, &s);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret_name = s.name;
	return 0;
}

static bool is_in_private(int fd, const struct job *job)
{
	struct stat st;
	char *name = NULL;
	if (fstatat(fd, name_base(job->path), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    tree_fits(&job->ident, S_ISDIR(st.st_mode)))
		return true;
	bool renamed = tree_find_renamed(fd, &job->ident, &name) == 0;
	free(name);
	return renamed;
}

static int count_entry(void *ctx, const char *name, uint64_t ino)
{
	unsigned *n = ctx;
	(void)ino;
	/* Whoever asks for its end does not hand it over. */
	*n += strcmp(name, NAME_CANCEL) != 0;
	return *n > 1;
}

static bool holds_one_entry(int dirfd)
{
	unsigned n = 0;
	return dir_walk(dirfd, count_entry, &n) == 0 && n == 1;
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
	if (is_in_private(fd, job))
		found->place = PLACE_PROCESSING;
	found->bare = found->place == PLACE_PROCESSING &&
	              (holds_one_entry(fd) || tree_is_unhanded(fd, job->id));
	found->result = fstatat(fd, NAME_RESULT, &st, AT_SYMLINK_NOFOLLOW) == 0;
	fd_close(fd);
	return 0;
}

static int find_in_finals(struct tree *t, const char *user, const struct job *job,
                          struct tree_found *found)
{
	static const enum place places[] = {PLACE_DONE, PLACE_FAILED};
	int r = -ENOENT;
	for (size_t i = 0; i < 2 && r == -ENOENT; i++) {
		/* A final name may be one of an earlier end, or stem from a taken name. */
		if (job->final_name != NULL)
			r = tree_search_final(t, user, places[i], job->final_name, job->id, &job->ident,
			                      &found->final_name);
		if (r == -ENOENT)
			r = tree_search_final(t, user, places[i], job->path, job->id, &job->ident,
			                      &found->final_name);
		if (r == 0)
			found->place = places[i];
	}
	return r == -ENOENT ? 0 : r;
}

static int find_in_incoming(struct tree *t, const char *user, const struct job *job,
                            struct tree_found *found)
{
	struct file_ident ident;
	enum entry_kind kind;
	int r = tree_look(t, user, job->path, &ident, &kind);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
	found->place = PLACE_INCOMING;
	found->same = (job->ident.whole != 0 ? tree_is_same(&job->ident, &ident, kind)
	                                     : file_ident_same(&job->ident, &ident)) &&
	              (!job_state_is_final(job->state) || job->ident.ctime_ns == ident.ctime_ns);
	return 0;
}

int tree_find(struct tree *t, const char *user, const struct job *job, struct tree_found *ret)
{
	struct tree_found found = {.place = PLACE_NOWHERE};
	int r = find_in_processing(t, user, job, &found);
	if (r == 0 && found.place == PLACE_NOWHERE)
		r = find_in_incoming(t, user, job, &found);
	/* What waits in incoming under its name may be another upload. */
	if (r == 0 && (found.place == PLACE_NOWHERE ||
	               (found.place == PLACE_INCOMING && !found.same)))
		r = find_in_finals(t, user, job, &found);
	if (r == 0)
		*ret = found;
	else
		free(found.final_name);
	return r;
}
