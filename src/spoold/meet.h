/* Meeting users: each directory of the spool is one, gets a number in the index,
 * and is compared with it. A few in each tick, so that very many keep nobody
 * waiting. */
#pragma once

#include <stdbool.h>

struct daemon;

/* Finds every user directory of the spool that is not known yet: they are met in
 * the next ticks, a few in each. */
int users_discover(struct daemon *d);
/* Makes the directories of a user that are missing. True where any was. */
bool users_make_directories(struct daemon *d, const char *name);
/* One directory, known or not; an illegal name is refused with a log line. */
int users_meet(struct daemon *d, const char *name);
bool users_all_met(const struct daemon *d);
/* Meets some of those that were found. */
void meet_tick(struct daemon *d);
void meet_clear(struct daemon *d);
