#include "core/quota.h"

#include "base/human.h"

#include <stdio.h>

enum quota_answer quota_ask(const struct quota *q, const struct quota_use *use, uint64_t size)
{
	if (q->max_upload > 0 && size > q->max_upload)
		return QUOTA_TOO_LARGE;
	if (q->max_files > 0 && use->files >= q->max_files)
		return QUOTA_FILES;
	/* Written so that no sum can overflow. */
	bool fits = use->bytes <= q->max_bytes && size <= q->max_bytes - use->bytes;
	if (q->max_bytes > 0 && use->files > 0 && !fits)
		return QUOTA_BYTES;
	return q->min_free > 0 && use->free < q->min_free ? QUOTA_SPACE : QUOTA_ROOM;
}

char *quota_because(enum quota_answer answer, const struct quota *q, char out[QUOTA_TEXT])
{
	char size[HUMAN_SIZE];
	out[0] = '\0';
	switch (answer) {
	case QUOTA_ROOM:
		snprintf(out, QUOTA_TEXT, "stands in line behind uploads that wait for room");
		break;
	case QUOTA_TOO_LARGE:
		snprintf(out, QUOTA_TEXT, "is larger than an upload may be (max_upload_mib: %s)",
		         human_bytes(q->max_upload, size));
		break;
	case QUOTA_FILES:
		snprintf(out, QUOTA_TEXT,
		         "waits for room: as many files as may be pending are (max_pending_files: %u)",
		         q->max_files);
		break;
	case QUOTA_BYTES:
		snprintf(out, QUOTA_TEXT,
		         "waits for room: with it, more bytes than may be pending would be "
		         "(max_pending_mib: %s)", human_bytes(q->max_bytes, size));
		break;
	case QUOTA_SPACE:
		snprintf(out, QUOTA_TEXT,
		         "waits for room: less is free on the disk than has to stay free "
		         "(min_free_mib: %s)", human_bytes(q->min_free, size));
		break;
	}
	return out;
}

const char *quota_next(enum quota_answer answer)
{
	switch (answer) {
	case QUOTA_ROOM: return "it becomes a job by itself, in the order of arrival";
	case QUOTA_TOO_LARGE:
		return "it stays where it is until the limit is raised, or a smaller file takes its place";
	case QUOTA_FILES:
	case QUOTA_BYTES:
		return "it becomes a job by itself when jobs before it have started; nothing overtakes it";
	case QUOTA_SPACE:
		return "it becomes a job by itself when there is room on the disk again";
	}
	return "";
}
