/* What follows an attempt. Pure. */
#pragma once

#include "core/job.h"

enum retry_position { RETRY_FRONT, RETRY_BACK };
enum on_crash { ON_CRASH_RETRY, ON_CRASH_FAIL, ON_CRASH_HOLD };

struct retry_policy {
	bool enabled;               /* retry_failed_jobs */
	uint32_t max_retries;
	uint64_t delay_ms;          /* before the first retry; doubles each time */
	enum retry_position position;
	enum on_crash on_crash;
	uint64_t max_total_ms;      /* all attempts together; 0 = no limit */
};

/* A retry never waits longer than this, however often it doubled, jitter
 * included: 1 hour. */
#define RETRY_DELAY_MAX_MS UINT64_C(3600000)

/* Delay before the attempt after `failures` failed ones: delay × 2^(failures-1),
 * capped, with up to a quarter of jitter either way taken from `random`. */
uint64_t retry_delay_ms(const struct retry_policy *policy, uint32_t failures, uint32_t random);

enum verdict {
	VERDICT_DONE,
	VERDICT_RETRY,   /* JOB_EV_RETRY */
	VERDICT_FAIL,    /* JOB_EV_FAIL */
	VERDICT_REPEAT,  /* JOB_EV_INTERRUPTED: the same place, another attempt */
	VERDICT_HOLD,    /* JOB_EV_INTERRUPTED, then JOB_EV_HOLD */
	VERDICT_CANCEL,
};

/* Judges an attempt that ended. `job` is as before the result was applied;
 * `permanent`: its exit code is one of permanent_exit_codes, or it said so. */
enum verdict retry_judge(const struct retry_policy *policy, const struct job *job,
                         enum outcome outcome, bool permanent, uint64_t ran_ms);
