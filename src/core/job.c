#include "core/job.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NO = -1 };

/* What follows each event in each state; NO = it cannot happen. */
static const signed char table[JOB_STATES][JOB_EVENTS] = {
	[JOB_PENDING] = {
		[JOB_EV_CLAIM] = JOB_QUEUED,
		[JOB_EV_STARTED] = NO,
		[JOB_EV_SUCCEEDED] = NO,
		[JOB_EV_RETRY] = NO,
		[JOB_EV_FAIL] = NO,
		[JOB_EV_INTERRUPTED] = NO,
		[JOB_EV_HOLD] = JOB_HELD,
		[JOB_EV_RELEASE] = NO,
		[JOB_EV_CANCEL] = JOB_CANCELED,
		[JOB_EV_GONE] = JOB_CANCELED,
		[JOB_EV_REQUEUE] = NO,
	},
	[JOB_HELD] = {
		[JOB_EV_CLAIM] = NO,
		[JOB_EV_STARTED] = NO,
		[JOB_EV_SUCCEEDED] = NO,
		[JOB_EV_RETRY] = NO,
		[JOB_EV_FAIL] = NO,
		[JOB_EV_INTERRUPTED] = NO,
		[JOB_EV_HOLD] = NO,
		[JOB_EV_RELEASE] = JOB_PENDING,
		[JOB_EV_CANCEL] = JOB_CANCELED,
		[JOB_EV_GONE] = JOB_CANCELED,
		[JOB_EV_REQUEUE] = NO,
	},
	[JOB_QUEUED] = {
		[JOB_EV_CLAIM] = NO,
		[JOB_EV_STARTED] = JOB_PROCESSING,
		[JOB_EV_SUCCEEDED] = NO,
		[JOB_EV_RETRY] = JOB_PENDING,
		[JOB_EV_FAIL] = JOB_FAILED,
		[JOB_EV_INTERRUPTED] = JOB_PENDING,
		[JOB_EV_HOLD] = NO,
		[JOB_EV_RELEASE] = NO,
		[JOB_EV_CANCEL] = JOB_CANCELED,
		[JOB_EV_GONE] = NO,
		[JOB_EV_REQUEUE] = NO,
	},
	[JOB_PROCESSING] = {
		[JOB_EV_CLAIM] = NO,
		[JOB_EV_STARTED] = NO,
		[JOB_EV_SUCCEEDED] = JOB_DONE,
		[JOB_EV_RETRY] = JOB_PENDING,
		[JOB_EV_FAIL] = JOB_FAILED,
		[JOB_EV_INTERRUPTED] = JOB_PENDING,
		[JOB_EV_HOLD] = NO,
		[JOB_EV_RELEASE] = NO,
		[JOB_EV_CANCEL] = JOB_CANCELED,
		[JOB_EV_GONE] = NO,
		[JOB_EV_REQUEUE] = NO,
	},
#define FINAL_ROW \
	{ \
		[JOB_EV_CLAIM] = NO, [JOB_EV_STARTED] = NO, [JOB_EV_SUCCEEDED] = NO, \
		[JOB_EV_RETRY] = NO, [JOB_EV_FAIL] = NO, [JOB_EV_INTERRUPTED] = NO, \
		[JOB_EV_HOLD] = NO, [JOB_EV_RELEASE] = NO, [JOB_EV_CANCEL] = NO, \
		[JOB_EV_GONE] = NO, [JOB_EV_REQUEUE] = JOB_PENDING, \
	}
	[JOB_DONE] = FINAL_ROW,
	[JOB_FAILED] = FINAL_ROW,
	[JOB_CANCELED] = FINAL_ROW,
#undef FINAL_ROW
};

int job_next_state(enum job_state state, enum job_event event)
{
	assert(state < JOB_STATES && event < JOB_EVENTS);
	return table[state][event];
}

void job_step(struct job *job, enum job_event event)
{
	int next = job_next_state(job->state, event);
	assert(next >= 0);
	job->state = (enum job_state)next;
}

bool job_state_is_final(enum job_state state)
{
	return state == JOB_DONE || state == JOB_FAILED || state == JOB_CANCELED;
}

bool job_state_is_active(enum job_state state)
{
	return state == JOB_QUEUED || state == JOB_PROCESSING;
}

static const char *const state_names[JOB_STATES] = {
	[JOB_PENDING] = "pending",       [JOB_HELD] = "held",     [JOB_QUEUED] = "queued",
	[JOB_PROCESSING] = "processing", [JOB_DONE] = "done",     [JOB_FAILED] = "failed",
	[JOB_CANCELED] = "canceled",
};

const char *job_state_name(enum job_state state)
{
	return state_names[state];
}

bool job_state_parse(const char *name, enum job_state *ret)
{
	for (int s = 0; s < JOB_STATES; s++) {
		if (strcmp(name, state_names[s]) == 0) {
			*ret = (enum job_state)s;
			return true;
		}
	}
	return false;
}

const char *job_event_name(enum job_event event)
{
	static const char *const names[JOB_EVENTS] = {
		[JOB_EV_CLAIM] = "claim",         [JOB_EV_STARTED] = "started",
		[JOB_EV_SUCCEEDED] = "succeeded", [JOB_EV_RETRY] = "retry later",
		[JOB_EV_FAIL] = "fail",           [JOB_EV_INTERRUPTED] = "interrupted",
		[JOB_EV_HOLD] = "hold",           [JOB_EV_RELEASE] = "release",
		[JOB_EV_CANCEL] = "cancel",       [JOB_EV_GONE] = "file gone",
		[JOB_EV_REQUEUE] = "retry",
	};
	return names[event];
}

const char *outcome_name(enum outcome outcome)
{
	static const char *const names[OUTCOMES] = {
		[OUTCOME_NONE] = "running",          [OUTCOME_SUCCEEDED] = "succeeded",
		[OUTCOME_FAILED] = "failed",         [OUTCOME_TIMED_OUT] = "timed out",
		[OUTCOME_INTERRUPTED] = "interrupted", [OUTCOME_CANCELED] = "canceled",
	};
	return names[outcome];
}

const char *place_name(enum place place)
{
	static const char *const names[PLACES] = {
		[PLACE_NOWHERE] = "nowhere", [PLACE_INCOMING] = "incoming",
		[PLACE_PROCESSING] = "processing", [PLACE_DONE] = "done", [PLACE_FAILED] = "failed",
	};
	return names[place];
}

struct held_why held_why(const char *reason)
{
	static const char held[] = "held";
	if (reason == NULL || *reason == '\0')
		return (struct held_why){"", ""};
	if (strncmp(reason, "held by ", strlen("held by ")) == 0)
		return (struct held_why){"", reason + strlen(held)};
	return (struct held_why){": ", reason};
}

enum place job_final_place(enum job_state state)
{
	assert(job_state_is_final(state));
	return state == JOB_DONE ? PLACE_DONE : PLACE_FAILED;
}

bool job_is_unready(const struct job *job)
{
	return job->not_before_ms != 0 && job->claimed_ms == 0 && job->error != NULL;
}

void job_clear(struct job *job)
{
	free(job->path);
	free(job->final_name);
	free(job->error);
	free(job->voucher_suffix);
	*job = (struct job){0};
}

static int copy_text(const char *text, char **ret)
{
	if (text == NULL)
		return 0;
	*ret = strdup(text);
	return *ret == NULL ? -ENOMEM : 0;
}

int job_copy(const struct job *job, struct job *ret)
{
	*ret = *job;
	ret->path = ret->final_name = ret->error = ret->voucher_suffix = NULL;
	if (copy_text(job->path, &ret->path) < 0 || copy_text(job->final_name, &ret->final_name) < 0 ||
	    copy_text(job->error, &ret->error) < 0 ||
	    copy_text(job->voucher_suffix, &ret->voucher_suffix) < 0) {
		job_clear(ret);
		return -ENOMEM;
	}
	return 0;
}

/* Never in the middle of a character. */
static size_t text_length(const char *text)
{
	size_t n = strnlen(text, JOB_TEXT_MAX + 1);
	if (n <= JOB_TEXT_MAX)
		return n;
	for (n = JOB_TEXT_MAX; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80; n--)
		;
	return n;
}

int job_set_text(char **field, const char *text)
{
	char *copy = text == NULL ? NULL : strndup(text, text_length(text));
	if (text != NULL && copy == NULL)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

void attempt_clear(struct attempt *attempt)
{
	free(attempt->error);
	free(attempt->message);
	*attempt = (struct attempt){0};
}

bool file_ident_same_inode(const struct file_ident *a, const struct file_ident *b)
{
	return a->ino == b->ino;
}

bool file_ident_same(const struct file_ident *a, const struct file_ident *b)
{
	return file_ident_same_inode(a, b) && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       a->whole == b->whole;
}

bool file_ident_same_top(const struct file_ident *whole, const struct file_ident *seen)
{
	return whole->whole != 0 && file_ident_same_inode(whole, seen) &&
	       whole->mtime_ns == seen->mtime_ns;
}
