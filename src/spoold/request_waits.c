/* What a user's status says of what does not go on: which job, which upload, and why. */
#include "base/escape.h"
#include "base/human.h"
#include "core/shape.h"
#include "spoold/request_private.h"
#include "spoold/room.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Uploads that are looked at for an example: a status must not cost more with many. */
enum { EXAMPLE_MAX = 1000 };

/* Takes ownership of `value`; NULL becomes null. */
static void put(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value == NULL ? json_null() : value);
}

/* The job whose retry comes first. */
static int next_retry(struct daemon *d, const struct user *u, struct job *ret)
{
	if (index_next_in_line(d->index, u->number, 0, ret) == 0)
		return 0;
	return index_next_delayed(d->index, u->number, 0, 0, ret);
}

/* "job 12 (a.csv), tried again in 8 s: exit code 1" */
static json_t *backoff(struct daemon *d, const struct user *u)
{
	struct job job = {0};
	char wait[HUMAN_SIZE];
	if (next_retry(d, u, &job) < 0)
		return NULL;
	uint64_t left_ms = job.not_before_ms > d->wall_ms ? job.not_before_ms - d->wall_ms : 0;
	char *shown = escape_str(job.path);
	json_t *text = json_sprintf("job %" PRIu64 " (%s), tried again in %s%s", job.id,
	                            shown == NULL ? "?" : shown, human_duration(left_ms, wait),
	                            job.error == NULL ? "" : ": ");
	if (text != NULL && job.error != NULL) {
		json_t *error = shape_text(job.error), *whole = NULL;
		if (error != NULL)
			whole = json_sprintf("%s%s", json_string_value(text), json_string_value(error));
		json_decref(error);
		json_decref(text);
		text = whole;
	}
	free(shown);
	job_clear(&job);
	return text;
}

static json_t *waits_for(struct daemon *d, const struct user *u)
{
	switch (sched_explain(d->sched, u->number, d->wall_ms)) {
	case SCHED_EMPTY: return NULL;
	case SCHED_READY: return json_string("a free worker");
	case SCHED_HELD: return json_string("release of the line");
	case SCHED_BLOCKED:
		return json_string(d->silent      ? "the mount of the spool to answer"
		                   : d->unmounted ? "the spool to be mounted"
		                   : u->silent    ? "the mount of its directory to answer"
		                   : u->away      ? "its directory to be mounted"
		                                  : "a worker of an earlier spoold");
	case SCHED_LIMIT: return json_string("its running job");
	case SCHED_BACKOFF: return backoff(d, u);
	case SCHED_STOPPED:
		return json_string(d->stopping ? "the next start of spoold" : "spoolctl start");
	}
	return NULL;
}

/* What takes long among what arrives: a large file whose content is read. */
static json_t *checking(struct daemon *d, const struct user *u)
{
	unsigned more;
	const struct upload_entry *e = check_at_work(u, &more);
	char *shown = e == NULL ? NULL : escape_str(e->path);
	json_t *text = shown == NULL ? NULL : json_sprintf("checking %s, %u %%", shown,
	                                                   check_percent(d, e));
	free(shown);
	return text;
}

static bool is_arriving(const struct upload_entry *e)
{
	return e->state != UPLOAD_OVER && e->state != UPLOAD_REFUSED;
}

static bool is_over(const struct upload_entry *e)
{
	return e->state == UPLOAD_OVER;
}

static bool is_refused(const struct upload_entry *e)
{
	return e->state == UPLOAD_REFUSED;
}

/* The path in incoming of one of these, the first that was noticed; or NULL. */
static json_t *example(const struct user *u, bool (*is)(const struct upload_entry *))
{
	const struct upload_entry *e = u->uploads;
	for (int n = 0; e != NULL && n < EXAMPLE_MAX; e = e->hh.next, n++)
		if (is(e))
			return shape_name(e->path);
	return NULL;
}

/* What is complete but over a limit. */
static void add_over(const struct user *u, json_t *object)
{
	char why[QUOTA_TEXT];
	room_summary(u, why);
	put(object, "over_limit", json_integer(u->uploads_over));
	put(object, "over_limit_because", why[0] == '\0' ? NULL : json_sprintf("it %s", why));
	put(object, "over_limit_first",
	    u->room.line != NULL ? shape_name(u->room.line->path) : example(u, is_over));
}

void add_waiting(struct daemon *d, const struct user *u, const struct user_row *row,
                 json_t *object)
{
	put(object, "arriving", json_integer((json_int_t)upload_count_arriving(u)));
	put(object, "arriving_waits_for", checking(d, u));
	put(object, "arriving_first", example(u, is_arriving));
	put(object, "refused", json_integer(u->uploads_refused));
	put(object, "refused_first", u->uploads_refused == 0 ? NULL : example(u, is_refused));
	add_over(u, object);
	put(object, "waits_for", row->count[JOB_PENDING] > 0 ? waits_for(d, u) : NULL);
	put(object, "removed", json_boolean(u->removed));
	if (u->removed)
		put(object, "problem", json_string(SHAPE_REMOVED));
	else if (u->unreadable == ENOENT)
		put(object, "problem", json_string("its directory, or incoming in it, is gone"));
	else
		put(object, "problem",
		    u->unreadable == 0
		            ? NULL : json_sprintf("incoming cannot be read: %s", strerror(u->unreadable)));
}
