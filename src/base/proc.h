/* Trees of processes, as /proc shows them.
 *
 * A process is looked at and signaled through one descriptor of its /proc
 * directory, so a number that was given to another process meanwhile is never
 * hit. A walk is no snapshot: what forks or loses its parent during it may be
 * missed, so whoever wants to end a tree repeats until nothing is found. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Which processes a walk is about: all below `root` (not root itself), but
 * for those in `spare` and all below them. */
struct proc_tree {
	pid_t root;
	const pid_t *spare;
	size_t spare_n;
};

/* Sends `sig` to all of them; 0 only counts. Returns how many there are that
 * have not exited yet (zombies are not counted), or a negative errno where
 * /proc cannot be read. */
int proc_signal_tree(const struct proc_tree *tree, int sig);

/* Tells what each process of this machine other than the caller has behind
 * `prefix` ("NAME=start") in the environment it was started with. A negative
 * errno where /proc cannot be read. */
int proc_each_mark(const char *prefix, void (*found)(void *ctx, const char *rest), void *ctx);

/* The same for every process of this machine that has `entry` ("NAME=value")
 * in the environment it was started with, and for all below such a one. The
 * caller itself is left out. */
int proc_signal_marked(const char *entry, int sig);

/* Sends SIGCONT to each stopped process of this machine that has a file open of which
 * `is_it` says, by its path as /proc tells it, that it is one. Returns how many there were,
 * or a negative errno where /proc cannot be read. */
int proc_wake_holders(bool (*is_it)(void *ctx, const char *path), void *ctx);
