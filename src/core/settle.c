#include "core/settle.h"

static enum settle_answer judge_quiet(const struct settle_policy *policy,
                                      const struct upload *upload, uint64_t now_steady_ms,
                                      uint64_t now_wall_ms, uint64_t *ret_due_steady_ms)
{
	uint64_t quiet_ms = 0;
	if (upload->changed_steady_ms != 0) {
		if (now_steady_ms > upload->changed_steady_ms)
			quiet_ms = now_steady_ms - upload->changed_steady_ms;
	} else {
		int64_t age_ms = (int64_t)now_wall_ms - upload->ident.ctime_ns / 1000000;
		quiet_ms = age_ms > 0 ? (uint64_t)age_ms : 0;
	}
	if (quiet_ms >= policy->settle_ms)
		return SETTLE_COMPLETE;
	*ret_due_steady_ms = now_steady_ms + policy->settle_ms - quiet_ms;
	return SETTLE_WAIT;
}

enum settle_answer settle_judge(const struct settle_policy *policy, const struct upload *upload,
                                enum writers writers, uint64_t now_steady_ms,
                                uint64_t now_wall_ms, uint64_t *ret_due_steady_ms)
{
	bool announced = false;
	switch (policy->completion) {
	case COMPLETION_AUTO:
		announced = upload->renamed_in;
		break;
	case COMPLETION_RENAME:
		announced = upload->renamed_in;
		/* What came unseen cannot be told apart: it must at least be quiet. */
		if (!announced && !upload->found)
			return SETTLE_CONVENTION;
		break;
	case COMPLETION_MARKER:
	case COMPLETION_CHECKSUM:
		announced = upload->marker_seen;
		/* It may have come first, or be left over: the file must be quiet. */
		if (!announced && !upload->marker_early)
			return SETTLE_CONVENTION;
		break;
	}
	if (writers == WRITERS_SOME) {
		*ret_due_steady_ms = now_steady_ms + SETTLE_WRITER_POLL_MS;
		return SETTLE_WRITER;
	}
	if (announced)
		return SETTLE_COMPLETE;
	return judge_quiet(policy, upload, now_steady_ms, now_wall_ms, ret_due_steady_ms);
}
