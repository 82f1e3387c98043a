#include "spoold/stray.h"

#include "base/log.h"
#include "io/runner.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stray {
	char *user;
	struct stray *next;
};

char *stray_cookie(const struct daemon *d, uint64_t job)
{
	char *cookie = NULL;
	if (asprintf(&cookie, "%016" PRIx64 "-%" PRIu64, tree_copy_id(d->tree), job) < 0)
		return NULL;
	return cookie;
}

/* No job's cookie has a second dash. */
char *stray_stream_cookie(const struct daemon *d, const char *user)
{
	char *cookie = NULL;
	if (asprintf(&cookie, "%016" PRIx64 "-user-%s", tree_copy_id(d->tree), user) < 0)
		return NULL;
	return cookie;
}

static struct stray *find(const struct daemon *d, const char *user)
{
	struct stray *s = d->strays.users;
	while (s != NULL && strcmp(s->user, user) != 0)
		s = s->next;
	return s;
}

static void note(void *ctx, const char *user)
{
	struct daemon *d = ctx;
	struct stray *s = find(d, user) != NULL ? NULL : calloc(1, sizeof *s);
	if (s == NULL)
		return;
	s->user = strdup(user);
	if (s->user == NULL) {
		free(s);
		return;
	}
	s->next = d->strays.users;
	d->strays.users = s;
}

void stray_look(struct daemon *d)
{
	char *prefix = stray_stream_cookie(d, "");
	int r = prefix == NULL ? -ENOMEM : runner_find_strays(prefix, note, d);
	if (r < 0)
		log_warning("what handlers may have left behind cannot be looked for: %s", strerror(-r));
	free(prefix);
}

static void forget(struct daemon *d, struct stray *s)
{
	struct stray **at = &d->strays.users;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	free(s->user);
	free(s);
}

static void end(const char *cookie, const struct user *u, const char *whose)
{
	int n = cookie == NULL ? 0 : runner_kill_strays(cookie);
	if (n > 0)
		log_notice("user %s: ended %d process%s that %s had left behind", u->name, n,
		           n == 1 ? "" : "es", whose);
}

void stray_end_user(struct daemon *d, const struct user *u)
{
	struct stray *s = find(d, u->name);
	if (s == NULL)
		return;
	char *cookie = stray_stream_cookie(d, u->name);
	end(cookie, u, "a handler");
	free(cookie);
	forget(d, s);
}

/* Our own stream handlers of this user have the same cookie. */
static bool is_served(const struct daemon *d, const struct user *u)
{
	for (const struct running *r = d->dispatch.running; r != NULL; r = r->hh.next)
		if (r->user == u)
			return true;
	return false;
}

void stray_end_job(struct daemon *d, const struct user *u, const struct job *job)
{
	char whose[40];
	snprintf(whose, sizeof whose, "job %" PRIu64, job->id);
	char *cookie = stray_cookie(d, job->id);
	end(cookie, u, whose);
	free(cookie);
	if (is_served(d, u))
		return;
	cookie = stray_stream_cookie(d, u->name);
	end(cookie, u, whose);
	free(cookie);
}

static bool is_lock(void *ctx, const char *path)
{
	const struct daemon *d = ctx;
	return tree_is_lock(d->tree, path);
}

void stray_wake_workers(struct daemon *d)
{
	if (d->steady_ms < d->strays.wake_ms)
		return;
	d->strays.wake_ms = d->steady_ms + STRAY_WAKE_MS;
	int n = runner_wake_holders(is_lock, d);
	if (n > 0)
		log_notice("%d worker%s of an earlier spoold %s stopped, and got SIGCONT", n,
		           n == 1 ? "" : "s", n == 1 ? "was" : "were");
}

void stray_clear(struct daemon *d)
{
	while (d->strays.users != NULL)
		forget(d, d->strays.users);
}
