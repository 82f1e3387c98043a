#include "spoold/loop.h"

#include "base/clock.h"
#include "base/log.h"
#include "spoold/daemon.h"
#include "spoold/hints.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

/* In relaxed mode commits are made durable once a second. */
enum { RELAXED_SYNC_MS = 1000 };

struct loop {
	struct daemon *d;
	sd_event *event;
	uint64_t synced_ms, synced_commits;
	bool ready;
};

static int on_hints(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
	(void)s, (void)fd, (void)revents;
	hints_read(ctx);
	return 0;
}

static int on_synced(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
	(void)s, (void)fd, (void)revents;
	intake_read_synced(ctx);
	return 0;
}

static int on_digests(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
	(void)s, (void)fd, (void)revents;
	check_read_results(ctx);
	return 0;
}

static int on_wholes(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
	(void)s, (void)fd, (void)revents;
	whole_read_results(ctx);
	return 0;
}

static int on_workers(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
	(void)s, (void)fd, (void)revents;
	dispatch_read_events(ctx);
	return 0;
}

static int on_requests(sd_event_source *s, int fd, uint32_t revents, void *ctx)
{
	(void)s, (void)fd, (void)revents;
	request_read_all(ctx);
	return 0;
}

static int on_stop(sd_event_source *s, const struct signalfd_siginfo *si, void *ctx)
{
	(void)s, (void)si;
	sd_notify(false, "STOPPING=1");
	daemon_stop(ctx);
	return 0;
}

static int on_reload(sd_event_source *s, const struct signalfd_siginfo *si, void *ctx)
{
	(void)s, (void)si;
	struct config_report report = {0};
	char *fixed = NULL;
	sd_notify(false, "RELOADING=1");
	daemon_reload(ctx, &report, &fixed);
	sd_notify(false, "READY=1");
	config_report_clear(&report);
	free(fixed);
	return 0;
}

static int add_sources(struct loop *l)
{
	struct daemon *d = l->d;
	int r = sd_event_add_signal(l->event, NULL, SIGTERM, on_stop, d);
	if (r >= 0)
		r = sd_event_add_signal(l->event, NULL, SIGINT, on_stop, d);
	if (r >= 0)
		r = sd_event_add_signal(l->event, NULL, SIGHUP, on_reload, d);
	if (r >= 0 && d->watch != NULL)
		r = sd_event_add_io(l->event, NULL, watch_fd(d->watch), EPOLLIN, on_hints, d);
	if (r >= 0)
		r = sd_event_add_io(l->event, NULL, sync_fd(d->sync), EPOLLIN, on_synced, d);
	if (r >= 0)
		r = sd_event_add_io(l->event, NULL, digest_fd(d->digest), EPOLLIN, on_digests, d);
	if (r >= 0)
		r = sd_event_add_io(l->event, NULL, wholes_fd(d->wholes), EPOLLIN, on_wholes, d);
	if (r >= 0)
		r = sd_event_add_io(l->event, NULL, pool_fd(d->pool), EPOLLIN, on_workers, d);
	if (r >= 0 && d->control != NULL)
		r = sd_event_add_io(l->event, NULL, control_fd(d->control), EPOLLIN, on_requests, d);
	return r;
}

/* Makes the commits of the last second durable. Returns when it wants to be
 * called again. */
static uint64_t sync_relaxed(struct loop *l, uint64_t now_ms)
{
	const struct daemon *d = l->d;
	if (d->config->durability != DURABILITY_RELAXED || d->turn.commits == l->synced_commits)
		return UINT64_MAX;
	if (now_ms < l->synced_ms + RELAXED_SYNC_MS)
		return l->synced_ms + RELAXED_SYNC_MS;
	int r = index_sync(d->index);
	if (r < 0)
		log_error("the index cannot be made durable: %s", strerror(-r));
	l->synced_ms = now_ms;
	l->synced_commits = d->turn.commits;
	return UINT64_MAX;
}

static void tell_ready(struct loop *l)
{
	if (l->ready)
		return;
	l->ready = true;
	sd_notify(false, "READY=1");
}

static uint64_t wait_us(uint64_t next_ms)
{
	uint64_t now_ms = clock_steady_ms();
	if (next_ms == UINT64_MAX)
		return UINT64_MAX;
	return next_ms > now_ms ? (next_ms - now_ms) * 1000 : 0;
}

/* In two steps, because what is read counts as seen when the wait was over,
 * not when it began. */
static int wait_and_dispatch(struct loop *l, uint64_t next_ms)
{
	int r = sd_event_prepare(l->event);
	if (r == 0)
		r = sd_event_wait(l->event, wait_us(next_ms));
	if (r <= 0)
		return r;
	l->d->wall_ms = clock_wall_ms();
	l->d->steady_ms = clock_steady_ms();
	return sd_event_dispatch(l->event);
}

static int turn_round(struct loop *l)
{
	struct daemon *d = l->d;
	while (!daemon_finished(d)) {
		uint64_t steady_ms = clock_steady_ms();
		uint64_t next = daemon_tick(d, clock_wall_ms(), steady_ms);
		next = due_min(next, sync_relaxed(l, steady_ms));
		tell_ready(l);
		if (daemon_finished(d))
			break;
		int r = wait_and_dispatch(l, next);
		if (r < 0)
			return r;
	}
	return 0;
}

int loop_run(struct daemon *d)
{
	struct loop l = {.d = d};
	int r = sd_event_new(&l.event);
	if (r < 0)
		return r;
	r = add_sources(&l);
	if (r >= 0)
		r = sd_event_set_watchdog(l.event, true);
	if (r >= 0)
		r = turn_round(&l);
	if (d->config->durability == DURABILITY_RELAXED)
		index_sync(d->index);
	sd_event_unref(l.event);
	return r < 0 ? r : 0;
}
