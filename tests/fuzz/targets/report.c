/* What a handler says: the lines on SPOOL_REPORT_FD and its output. It means
 * the same however it is cut into pieces, and what becomes of it is bounded
 * and harmless. */
#include "io/runner_private.h"

#include "fuzz.h"

#include <fcntl.h>

static struct runner_report whole, pieces;
static struct last_line last_whole, last_pieces;
static struct runner_log no_log = {.fd = -1};

static void must_agree(void)
{
	const struct run_progress *a = &whole.now, *b = &pieces.now;
	MUST(a->progress == b->progress && a->records == b->records);
	MUST(same_text(a->message, b->message));
	MUST(whole.news == pieces.news && whole.complained == pieces.complained);
	MUST(last_whole.line_n == last_pieces.line_n);
	MUST(memcmp(last_whole.line, last_pieces.line, last_whole.line_n) == 0);
}

static void feed(const char *data, size_t size, size_t piece, struct runner_report *report,
                 struct last_line *last)
{
	memset(report, 0, sizeof *report);
	memset(last, 0, sizeof *last);
	report->now = (struct run_progress){.progress = -1, .records = RECORDS_NONE};
	for (size_t i = 0; i < size; i += piece) {
		size_t n = size - i < piece ? size - i : piece;
		runner_report_feed(report, data + i, n, &no_log);
		runner_last_line_feed(last, data + i, n);
	}
	runner_report_end(report, &no_log);
	runner_last_line_end(last);
}

static void must_travel(struct run_progress *progress)
{
	struct message message = {.type = MESSAGE_PROGRESS, .progress = *progress}, back;
	char *text;
	size_t n;
	message.progress.job = 1;
	MUST(message_encode(&message, &text, &n) == 0 && message_decode(text, n, &back) == 0);
	MUST(back.progress.progress == progress->progress || progress->progress < 0);
	MUST(back.progress.records == progress->records);
	MUST(same_text(back.progress.message, progress->message));
	free(text);
	message_clear(&back);
}

/* A log of the smallest size, filled in pieces. */
static void keep_log(const char *data, size_t size, size_t piece)
{
	static int dirfd = -1;
	char name[] = "data.csv";
	struct run_order order = {.job = 7, .attempt = 1, .name = name, .log_limit_bytes = LOG_LIMIT_MIN};
	struct runner_log log;
	struct stat st;
	if (dirfd < 0)
		dirfd = open(scratch(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (order.attempt = 1; order.attempt < 3; order.attempt++) {
		MUST(runner_log_open(&log, dirfd, &order) == 0);
		for (size_t i = 0; i < size; i += piece) {
			runner_log_write(&log, data + i, size - i < piece ? size - i : piece);
			MUST(log.fd >= 0 && fstat(log.fd, &st) == 0 && st.st_size <= 2 * LOG_LIMIT_MIN);
		}
		runner_log_note(&log, "a note");
		runner_log_close(&log);
		MUST(fstatat(dirfd, "log", &st, 0) == 0 && st.st_size <= LOG_LIMIT_MIN + 1024);
	}
	MUST(unlinkat(dirfd, "log", 0) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	size_t piece = data[0] % 61 + 1;
	const char *text = (const char *)data + 1;
	feed(text, size - 1, size, &whole, &last_whole);
	feed(text, size - 1, piece, &pieces, &last_pieces);
	must_agree();
	MUST(whole.now.progress == -1 || (whole.now.progress >= 0 && whole.now.progress <= 1));
	if (whole.now.message != NULL)
		MUST(is_harmless(whole.now.message, "") && strlen(whole.now.message) <= JOB_TEXT_MAX);
	must_travel(&whole.now);
	/* Writing files is slow: where it could matter. */
	if (size > 2048 || data[0] == 'L')
		keep_log(text, size - 1, size > 4096 ? 16 * piece : piece);
	free(whole.now.message);
	free(pieces.now.message);
	return 0;
}
