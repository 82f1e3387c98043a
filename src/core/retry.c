#include "core/retry.h"

#include <assert.h>

uint64_t retry_delay_ms(const struct retry_policy *policy, uint32_t failures, uint32_t random)
{
	uint64_t delay = policy->delay_ms;
	for (uint32_t n = 1; n < failures && delay > 0 && delay < RETRY_DELAY_MAX_MS; n++)
		delay *= 2;
	if (delay > RETRY_DELAY_MAX_MS)
		delay = RETRY_DELAY_MAX_MS;
	uint64_t least = delay - delay / 4, most = delay + delay / 4;
	if (most > RETRY_DELAY_MAX_MS)
		most = RETRY_DELAY_MAX_MS;
	return least + random % (most - least + 1);
}

static enum verdict judge_failure(const struct retry_policy *policy, const struct job *job,
                                  bool permanent, uint64_t ran_ms)
{
	if (permanent || !policy->enabled || job->failures >= policy->max_retries)
		return VERDICT_FAIL;
	if (policy->max_total_ms > 0 && job->spent_ms + ran_ms >= policy->max_total_ms)
		return VERDICT_FAIL;
	return VERDICT_RETRY;
}

static enum verdict judge_interruption(const struct retry_policy *policy, const struct job *job)
{
	/* A queued job has not run: nothing can happen twice. */
	if (job->state == JOB_QUEUED)
		return VERDICT_REPEAT;
	if (job->interruptions >= JOB_MAX_INTERRUPTIONS)
		return VERDICT_FAIL;
	switch (policy->on_crash) {
	case ON_CRASH_RETRY: return VERDICT_REPEAT;
	case ON_CRASH_FAIL: return VERDICT_FAIL;
	case ON_CRASH_HOLD: return VERDICT_HOLD;
	}
	return VERDICT_REPEAT;
}

enum verdict retry_judge(const struct retry_policy *policy, const struct job *job,
                         enum outcome outcome, bool permanent, uint64_t ran_ms)
{
	switch (outcome) {
	case OUTCOME_SUCCEEDED: return VERDICT_DONE;
	case OUTCOME_CANCELED: return VERDICT_CANCEL;
	case OUTCOME_INTERRUPTED: return judge_interruption(policy, job);
	case OUTCOME_FAILED:
	case OUTCOME_TIMED_OUT: return judge_failure(policy, job, permanent, ran_ms);
	case OUTCOME_NONE:
	case OUTCOMES: break;
	}
	assert(!"an attempt that ended has an outcome");
	return VERDICT_FAIL;
}
