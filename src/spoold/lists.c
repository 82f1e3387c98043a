#include "spoold/lists.h"

#include "base/escape.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static void unload(struct daemon *d, struct sums_list *list)
{
	if (list->loaded)
		d->lists_loaded -= list->ident.size;
	list->loaded = false;
	sums_clear(&list->sums);
}

static void forget(struct daemon *d, struct user *u, struct sums_list *list)
{
	DL_DELETE(u->lists, list);
	unload(d, list);
	free(list->path);
	free(list->problem);
	free(list);
}

void lists_clear(struct daemon *d, struct user *u)
{
	while (u->lists != NULL)
		forget(d, u, u->lists);
}

static char *describe(const char *path, const char *why)
{
	char *text = NULL, *shown = escape_str(path);
	int n = asprintf(&text, "%s %s", shown == NULL ? "?" : shown, why);
	free(shown);
	return n < 0 ? NULL : text;
}

/* The first name that could be of no upload. */
static bool names_outside(const struct sums *sums, char *why)
{
	for (size_t i = 0; i < sums->n; i++) {
		if (sums->entries[i].outside) {
			snprintf(why, SUMS_WHY_MAX, "names a file outside of its directory in line %zu",
			         sums->entries[i].line);
			return true;
		}
	}
	return false;
}

int lists_read(struct daemon *d, const struct user *u, const char *path, struct sums *ret,
               char **ret_problem)
{
	char *data = NULL, why[SUMS_WHY_MAX];
	size_t size = 0;
	if (tree_probe_writer(d->tree, u->name, path) == WRITERS_SOME)
		return -EAGAIN;
	int fd = tree_open_upload(d->tree, u->name, path);
	int r = fd < 0 ? fd : fd_read_all(fd, SUMS_FILE_MAX + 1, &data, &size);
	fd_close(fd);
	if (r == -EFBIG)
		r = 0, size = SUMS_FILE_MAX + 1;
	if (r == 0)
		r = sums_parse(data, size, ret, why);
	free(data);
	if (r != -EINVAL)
		return r;
	*ret_problem = describe(path, why);
	return -EBADMSG;
}

/* Room is made by forgetting the content of all: what is asked for again is
 * read again. */
static void make_room(struct daemon *d, uint64_t size)
{
	if (d->lists_loaded + size <= LISTS_LOADED_MAX)
		return;
	for (struct user *u = d->users.by_name; u != NULL; u = u->hh.next) {
		struct sums_list *list;
		DL_FOREACH(u->lists, list)
			unload(d, list);
	}
}

static int load(struct daemon *d, const struct user *u, struct sums_list *list,
                const struct file_ident *ident)
{
	char why[SUMS_WHY_MAX];
	unload(d, list);
	make_room(d, ident->size);
	free(list->problem);
	list->problem = NULL;
	list->ident = *ident;
	int r = lists_read(d, u, list->path, &list->sums, &list->problem);
	if (r == 0) {
		list->loaded = true;
		d->lists_loaded += ident->size;
	}
	if (r == 0 && names_outside(&list->sums, why)) {
		list->problem = describe(list->path, why);
		unload(d, list);
		r = -EBADMSG;
	}
	return r == -EBADMSG ? 0 : r;
}

static struct sums_list *find(const struct user *u, const char *path)
{
	struct sums_list *list;
	DL_FOREACH(u->lists, list)
		if (strcmp(list->path, path) == 0)
			return list;
	return NULL;
}

static bool same(const struct file_ident *a, const struct file_ident *b)
{
	return file_ident_same(a, b) && a->ctime_ns == b->ctime_ns;
}

/* Is it for nobody but the one upload that it is named after? */
static bool is_private(const struct sums_list *list, const char *own)
{
	if (own == NULL)
		return false;
	return list->problem != NULL ||
	       (list->sums.n == 1 && sums_find_own(&list->sums, name_base(own)) != NULL);
}

static struct sums_list *make(struct daemon *d, struct user *u, const char *path)
{
	struct sums_list *list = calloc(1, sizeof *list), *oldest = NULL, *other;
	size_t n = 0;
	if (list == NULL || (list->path = strdup(path)) == NULL) {
		free(list);
		return NULL;
	}
	DL_FOREACH(u->lists, other) {
		n++;
		if (oldest == NULL || other->ident.ctime_ns < oldest->ident.ctime_ns)
			oldest = other;
	}
	if (n >= LISTS_USER_MAX)
		forget(d, u, oldest);
	DL_APPEND(u->lists, list);
	return list;
}

bool lists_note(struct daemon *d, struct user *u, const char *path, const char *own)
{
	struct file_ident ident;
	enum entry_kind kind;
	struct sums_list *list = find(u, path);
	int r = tree_look(d->tree, u->name, path, &ident, &kind);
	if (r < 0 || kind != ENTRY_FILE) {
		if (list != NULL)
			forget(d, u, list);
		return false;
	}
	if (list != NULL && same(&list->ident, &ident))
		return false;
	if (list == NULL)
		list = make(d, u, path);
	if (list == NULL)
		return false;
	r = load(d, u, list, &ident);
	if (r < 0 || is_private(list, own)) {
		forget(d, u, list);
		return false;
	}
	if (list->problem != NULL)
		log_warning("user %s: no upload is taken on the word of %s", u->name, list->problem);
	return list->problem == NULL;
}

/* The name of the upload relative to the directory of the list, or NULL. */
static const char *relative(const struct sums_list *list, const char *path)
{
	size_t dirs = (size_t)(name_base(list->path) - list->path);
	return strncmp(list->path, path, dirs) == 0 ? path + dirs : NULL;
}

/* As it is now; false where it is gone or being written. */
static bool is_current(struct daemon *d, struct user *u, struct sums_list *list)
{
	struct file_ident ident;
	enum entry_kind kind;
	if (tree_look(d->tree, u->name, list->path, &ident, &kind) < 0 || kind != ENTRY_FILE)
		return false;
	bool known = same(&list->ident, &ident) && (list->loaded || list->problem != NULL);
	return known || load(d, u, list, &ident) == 0;
}

bool lists_find(struct daemon *d, struct user *u, const char *path, struct lists_word *ret,
                char **ret_problem)
{
	const struct sums_list *bad = NULL;
	struct sums_list *list, *next;
	bool found = false;
	DL_FOREACH_SAFE(u->lists, list, next) {
		const char *name = relative(list, path);
		if (name == NULL)
			continue;
		if (!is_current(d, u, list)) {
			forget(d, u, list);
			continue;
		}
		if (list->problem != NULL) {
			bad = list;
			continue;
		}
		const struct sums_entry *entry = sums_find(&list->sums, name);
		if (entry == NULL || (found && list->ident.ctime_ns < ret->ident.ctime_ns))
			continue;
		memcpy(ret->digest, entry->digest, sizeof ret->digest);
		snprintf(ret->name, sizeof ret->name, "%s", list->path);
		ret->ident = list->ident;
		found = true;
	}
	*ret_problem = !found && bad != NULL ? strdup(bad->problem) : NULL;
	return found;
}
