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

/* What matches is whole, however it came. What differs may still be on its way. */
static enum settle_answer judge_checksum(const struct settle_policy *policy,
                                         const struct upload *upload, enum writers writers,
                                         uint64_t now_steady_ms, uint64_t now_wall_ms,
                                         uint64_t *ret_due_steady_ms)
{
	if (upload->checksum == CHECKSUM_NONE || upload->checksum == CHECKSUM_STALE)
		return SETTLE_CONVENTION;
	if (writers == WRITERS_SOME) {
		*ret_due_steady_ms = now_steady_ms + SETTLE_WRITER_POLL_MS;
		return SETTLE_WRITER;
	}
	switch (upload->checksum) {
	case CHECKSUM_MATCHES: return SETTLE_COMPLETE;
	case CHECKSUM_DIFFERS:
		return judge_quiet(policy, upload, now_steady_ms, now_wall_ms, ret_due_steady_ms) ==
		                       SETTLE_WAIT
		               ? SETTLE_WAIT
		               : SETTLE_MISMATCH;
	default: return SETTLE_CHECK;
	}
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
	case COMPLETION_CHECKSUM:
		return judge_checksum(policy, upload, writers, now_steady_ms, now_wall_ms,
		                      ret_due_steady_ms);
	case COMPLETION_MARKER:
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
