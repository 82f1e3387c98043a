#include "spoold/voucher.h"

#include "core/name.h"
#include "spoold/daemon.h"
#include "spoold/lists.h"
#include "spoold/notice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void voucher_clear(struct voucher *v)
{
	free(v->name);
	free(v->problem);
	*v = (struct voucher){0};
}

const char *voucher_suffix(const struct user *u)
{
	switch (u->settings->settle.completion) {
	case COMPLETION_MARKER: return u->settings->marker_suffix;
	case COMPLETION_CHECKSUM: return SUMS_SUFFIX;
	default: return "";
	}
}

/* "x.csv.done" → "x.csv" */
static bool spoken_for(const struct user *u, const char *path, char *out, size_t size)
{
	const char *suffix = voucher_suffix(u);
	size_t n = strlen(path), m = strlen(suffix);
	if (m == 0 || n <= m || n - m >= size || strcmp(path + n - m, suffix) != 0)
		return false;
	memcpy(out, path, n - m);
	out[n - m] = '\0';
	return name_base(out)[0] != '\0';
}

bool voucher_is_name(const struct user *u, const char *path)
{
	char name[JOB_PATH_MAX + 1];
	return spoken_for(u, path, name, sizeof name);
}

static bool is_upload(struct daemon *d, const struct user *u, const char *path)
{
	struct file_ident ident;
	enum entry_kind kind;
	return tree_look(d->tree, u->name, path, &ident, &kind) == 0 &&
	       (kind == ENTRY_FILE || (kind == ENTRY_DIRECTORY && whole_is(u, path)));
}

/* It waited for news of its voucher. */
static void wake(struct daemon *d, struct upload_entry *e)
{
	if (e->state == UPLOAD_ARRIVING && e->unsafe == 0)
		upload_set_due(d, e, d->steady_ms);
}

/* In the order in which they came, and with those that are due at this moment
 * anyway: none of them was complete before the list was there. */
static void wake_listed(struct daemon *d, struct user *u)
{
	for (struct upload_entry *e = u->uploads; e != NULL; e = e->hh.next) {
		bool waits = e->due.at == 0 && e->waits_for == SETTLE_CONVENTION;
		if (waits || upload_is_due(d, e))
			wake(d, e);
	}
}

/* One that is being written says nothing yet, and no event need tell of the end: what
 * was linked into its directory (O_TMPFILE) is closed under no name. So it is looked
 * at again, like an upload with a writer. */
static void await_writer(struct daemon *d, struct user *u, const char *path)
{
	struct upload_entry *e = upload_find(u, path);
	if (e != NULL && e->state != UPLOAD_ARRIVING && e->state != UPLOAD_REFUSED)
		return;
	if (tree_probe_writer(d->tree, u->name, path) != WRITERS_SOME) {
		if (e != NULL)
			upload_drop(d, e);
		return;
	}
	if (e == NULL)
		e = upload_add(d, u, path, INTAKE_WAITING_MAX);
	if (e == NULL || e->state == UPLOAD_REFUSED)
		return;
	e->waits_for = SETTLE_WRITER;
	notice_waits(d, e);
	upload_set_due(d, e, d->steady_ms + SETTLE_WRITER_POLL_MS);
}

bool voucher_is(struct daemon *d, struct user *u, const char *path)
{
	char name[JOB_PATH_MAX + 1];
	if (!spoken_for(u, path, name, sizeof name))
		return false;
	bool is_there = is_upload(d, u, name);
	struct upload_entry *e = upload_find(u, name);
	if (e != NULL)
		wake(d, e);
	else if (is_there)
		intake_look(d, u, name, WATCH_CHANGED);
	if (u->settings->settle.completion == COMPLETION_CHECKSUM &&
	    lists_note(d, u, path, is_there ? name : NULL))
		wake_listed(d, u);
	await_writer(d, u, path);
	return true;
}

bool voucher_judge(struct daemon *d, struct upload_entry *e)
{
	struct user *u = e->user;
	struct file_ident ident;
	enum entry_kind kind;
	if (!voucher_is_name(u, e->path) || (e->state != UPLOAD_ARRIVING && e->state != UPLOAD_REFUSED))
		return false;
	if (tree_look(d->tree, u->name, e->path, &ident, &kind) < 0 || kind != ENTRY_FILE)
		return false;
	upload_leave_scan(d, e);
	return voucher_is(d, u, e->path);
}

/* Looks for "<path><suffix>". One that is still being written speaks when that is
 * over: some clients touch it once more before they close it, and only the very
 * file that spoke goes along. */
static bool find_own(struct daemon *d, const struct user *u, const char *path, struct voucher *v)
{
	struct file_ident ident;
	enum entry_kind kind;
	char *name = NULL;
	if (asprintf(&name, "%s%s", path, voucher_suffix(u)) < 0)
		return false;
	bool found = strlen(name) <= JOB_PATH_MAX &&
	             tree_look(d->tree, u->name, name, &ident, &kind) == 0 && kind == ENTRY_FILE &&
	             tree_probe_writer(d->tree, u->name, name) != WRITERS_SOME;
	if (found) {
		v->ident = ident;
		v->name = name;
	} else {
		free(name);
	}
	return found;
}

static char *about_others(const char *name)
{
	char *text = NULL;
	return asprintf(&text, "%s is about other files", name) < 0 ? NULL : text;
}

static bool find_own_checksum(struct daemon *d, const struct user *u, const char *path,
                              struct voucher *v)
{
	struct sums sums = {0};
	if (!find_own(d, u, path, v))
		return false;
	int r = lists_read(d, u, v->name, &sums, &v->problem);
	const struct sums_entry *entry = r < 0 ? NULL : sums_find_own(&sums, name_base(path));
	if (entry != NULL) {
		v->own = sums.n == 1;
		memcpy(v->expected, entry->digest, sizeof v->expected);
	} else if (r == 0) {
		v->problem = about_others(name_base(v->name));
	}
	sums_clear(&sums);
	return entry != NULL;
}

static bool find_checksum(struct daemon *d, struct user *u, const char *path, struct voucher *v)
{
	struct lists_word word;
	char *problem = NULL;
	if (find_own_checksum(d, u, path, v))
		return true;
	char *own_problem = v->problem;
	free(v->name);
	*v = (struct voucher){0};
	bool found = lists_find(d, u, path, &word, &problem);
	if (found) {
		v->ident = word.ident;
		memcpy(v->expected, word.digest, sizeof v->expected);
		v->name = strdup(word.name);
		free(own_problem);
	} else {
		v->problem = own_problem != NULL ? own_problem : problem;
		if (own_problem != NULL)
			free(problem);
	}
	return found;
}

/* It spoke for an earlier upload of this name, not for this very file, and nobody
 * has touched it since that changed. A mere change of its mode after it spoke
 * (some clients set it last) makes it no new one. */
static bool is_stale(struct daemon *d, const struct user *u, const char *path,
                     const struct file_ident *file, const struct file_ident *voucher)
{
	struct job job = {0};
	if (index_find_path(d->index, u->number, path, &job) < 0)
		return false;
	bool stale = file_ident_same(&job.voucher, voucher) && !file_ident_same(&job.ident, file) &&
	             voucher->ctime_ns < file->ctime_ns;
	job_clear(&job);
	return stale;
}

void voucher_find(struct daemon *d, struct user *u, const char *path, const uint8_t *found,
                  struct upload *upload, struct voucher *ret)
{
	*ret = (struct voucher){0};
	upload->marker_seen = upload->marker_early = false;
	upload->checksum = CHECKSUM_NONE;
	enum completion rule = u->settings->settle.completion;
	if (rule == COMPLETION_MARKER && find_own(d, u, path, ret)) {
		ret->own = true;
		ret->stale = is_stale(d, u, path, &upload->ident, &ret->ident);
		if (ret->stale)
			return;
		upload->marker_seen = ret->ident.ctime_ns >= upload->ident.ctime_ns;
		upload->marker_early = !upload->marker_seen;
	} else if (rule == COMPLETION_CHECKSUM && find_checksum(d, u, path, ret)) {
		bool same = found != NULL && memcmp(found, ret->expected, sizeof ret->expected) == 0;
		if (found == NULL)
			upload->checksum = CHECKSUM_UNCHECKED;
		else if (same)
			upload->checksum = CHECKSUM_MATCHES;
		else if ((ret->stale = is_stale(d, u, path, &upload->ident, &ret->ident)))
			upload->checksum = CHECKSUM_STALE;
		else
			upload->checksum = CHECKSUM_DIFFERS;
	}
}
