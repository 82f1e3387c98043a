/* Events as inotify tells them, kept here until their turn comes: the kernel's own queue holds
 * few (fs.inotify.max_queued_events, 16,384 as a rule), and what does not fit there is lost.
 * Used by watch.c alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/inotify.h>

enum {
	WATCH_EVENTS_LEAST = 64 * 1024,       /* bytes: some 2,000 events with short names */
	WATCH_EVENTS_MOST = 4 * 1024 * 1024,  /* bytes: some 130,000; only while so many wait */
};

struct watch_events {
	int fd;               /* inotify's; not ours to close */
	char *buffer;
	size_t size, pos, used;
	uint64_t gathered;    /* bytes, since the beginning */
};

/* -ENOMEM. */
int watch_events_init(struct watch_events *e, int fd);
void watch_events_clear(struct watch_events *e);
/* Takes over what the kernel has, as far as there is room. What was taken before is no longer
 * valid. 0, also where there was nothing; a negative errno where inotify cannot be read. */
int watch_events_gather(struct watch_events *e);
bool watch_events_any(const struct watch_events *e);
/* How many bytes were gathered since the beginning, and how many of them were taken. */
uint64_t watch_events_gathered(const struct watch_events *e);
uint64_t watch_events_taken(const struct watch_events *e);
/* The oldest one; there must be one. Valid until the next watch_events_gather(). */
const struct inotify_event *watch_events_take(struct watch_events *e);
