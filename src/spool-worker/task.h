/* What the daemon ordered, in its order: results that wait for their ACK, the
 * job that runs, and those that were handed over ahead of their turn. */
#pragma once

#include "core/message.h"

#include <stdbool.h>

struct task {
	struct run_order order;
	int lock, jobdir;
	bool begun;
	bool told;                /* the result is made, its ACK not here yet */
	struct run_result result;
	char *packet;             /* the result on its way to the daemon; NULL: sent */
	size_t packet_n;
	struct task *prev, *next;
};

/* Takes the order and the descriptors over; NULL when memory is out. */
struct task *task_new(struct run_order *order, int lock, int jobdir);
/* The lock last: whoever gets it finds the job as we leave it. */
void task_free(struct task *t);

/* Its result; texts are copied. */
void task_settle(struct task *t, const struct run_result *result);
/* As it was handed over. */
void task_give_back(struct task *t, enum outcome outcome, const char *why);

/* A result or a cancel of an earlier attempt would be taken for this one's: they
 * are gone for good before that begins. */
void task_clear_names(const struct task *t);
/* Is a directory that is a job still what was accepted, with nobody at it? 0 where it
 * is, or a handler may have seen it; -ESTALE; other errors: it cannot be told. Takes as long as
 * a walk through it does. */
int task_compare(const struct task *t);
/* From now on a handler may change it: later attempts are not compared. */
int task_note_seen(const struct task *t);
/* Leaves the result beside the file. -ENOENT: the directory is gone. */
int task_leave_result(const struct task *t);
