#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_SIZE = 16384 };

/* stderr goes into a socket of packets, so that each write() can be told
 * from the next. */
static int taken;

static void take_stderr(void)
{
	int pair[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	cr_assert_eq(dup2(pair[1], STDERR_FILENO), STDERR_FILENO);
	close(pair[1]);
	taken = pair[0];
	unsetenv("JOURNAL_STREAM");
}

TestSuite(log, .init = take_stderr);

/* The next line, "" where there is none. */
static const char *line(void)
{
	static char text[TEXT_SIZE];
	ssize_t n = recv(taken, text, sizeof text - 1, 0);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static const char *after_time(const char *text)
{
	const char *space = strchr(text, ' ');
	return space == NULL ? "" : space + 1;
}

Test(log, a_line_starts_with_the_time_and_names_what_is_bad)
{
	log_info("hello %d", 7);
	const char *text = line();
	cr_expect_eq(text[10], 'T');
	cr_expect_str_eq(after_time(text), "hello 7\n");
	log_notice("note");
	cr_expect_str_eq(after_time(line()), "note\n");
	log_warning("careful");
	cr_expect_str_eq(after_time(line()), "warning: careful\n");
	log_error("bad");
	cr_expect_str_eq(after_time(line()), "error: bad\n");
}

Test(log, levels_above_are_dropped)
{
	log_debug("unseen");
	cr_expect_str_eq(line(), "");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("seen");
	cr_expect_str_eq(after_time(line()), "debug: seen\n");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("unseen");
	cr_expect_str_eq(line(), "");
}

Test(log, journal_gets_levels)
{
	struct stat st;
	char stream[64];
	fstat(STDERR_FILENO, &st);
	snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_warning("careful");
	cr_expect_str_eq(line(), "<4>careful\n");
}

Test(log, another_stream_is_no_journal)
{
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_warning("careful");
	cr_expect_str_eq(after_time(line()), "warning: careful\n");
}

Test(log, control_characters_are_defused)
{
	log_info("%s", "a\nb\x1b[2J\x7f \xc2\x9b \xc2\xa0 \xc3\xbc \xc2");
	cr_expect_str_eq(after_time(line()), "a?b?[2J? ?? \xc2\xa0 \xc3\xbc \xc2\n");
}

Test(log, a_long_line_is_one_write_and_cut_in_whole_characters)
{
	for (size_t shift = 0; shift < 2; shift++) {
		char *text = calloc(1, 2 * TEXT_SIZE);
		for (size_t i = shift; i < 2 * TEXT_SIZE - 2; i += 2)
			memcpy(text + i, "\xc3\xbc", 2);
		if (shift == 1)
			text[0] = 'x';
		log_info("%s", text);
		free(text);
		const char *got = line();
		size_t n = strlen(got);
		cr_assert_gt(n, 4000);
		cr_assert_leq(n, 4096);
		cr_expect_str_eq(got + n - 6, "\xc3\xbc...\n");
		cr_expect_str_eq(line(), "");
	}
}

Test(log, errno_is_kept)
{
	errno = ENOTTY;
	log_info("%m");
	cr_expect_eq(errno, ENOTTY);
	cr_expect_str_eq(after_time(line()), "Inappropriate ioctl for device\n");
	close(STDERR_FILENO);
	errno = ENOTTY;
	log_info("into the void");
	cr_expect_eq(errno, ENOTTY);
}

Test(log, lines_that_are_said_together_go_out_together)
{
	struct log_lines lines = {0};
	log_flush(&lines);
	errno = ENOENT;
	log_add(&lines, LOG_LEVEL_INFO, "job %d", 1);
	log_add(&lines, LOG_LEVEL_DEBUG, "unseen");
	log_add(&lines, LOG_LEVEL_WARNING, "job\n%d", 2);
	cr_expect_eq(errno, ENOENT);
	cr_expect_str_eq(line(), "", "nothing before they are flushed");
	errno = ENOENT;
	log_flush(&lines);
	cr_expect_eq(errno, ENOENT);
	const char *text = line(), *second = strchr(text, '\n');
	cr_expect_eq(strncmp(after_time(text), "job 1\n", 6), 0);
	cr_assert_not_null(second);
	cr_expect_str_eq(after_time(second + 1), "warning: job?2\n");
	log_flush(&lines);
	cr_expect_str_eq(line(), "", "once");
}

/* A pipe takes that many bytes at once. */
Test(log, more_lines_than_fit_go_out_in_order_none_cut)
{
	struct log_lines lines = {0};
	enum { MANY = 200 };
	unsigned seen = 0;
	for (unsigned i = 0; i < MANY; i++)
		log_add(&lines, LOG_LEVEL_INFO, "line %u of a length that many lines have", i);
	log_flush(&lines);
	for (const char *text = line(); *text != '\0'; text = line()) {
		cr_expect_leq(strlen(text), 4096);
		for (; *text != '\0'; text = strchr(text, '\n') + 1) {
			unsigned number;
			cr_assert_eq(sscanf(after_time(text), "line %u of", &number), 1);
			cr_assert_eq(number, seen++);
		}
	}
	cr_expect_eq(seen, MANY);
}

Test(log, a_line_as_long_as_all_of_them_goes_out_alone)
{
	struct log_lines lines = {0};
	char longer[8000];
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	log_add(&lines, LOG_LEVEL_INFO, "first");
	log_add(&lines, LOG_LEVEL_INFO, "%s", longer);
	cr_expect_str_eq(after_time(line()), "first\n");
	log_add(&lines, LOG_LEVEL_INFO, "last");
	const char *text = line();
	cr_expect_leq(strlen(text), 4096);
	cr_expect_str_eq(text + strlen(text) - 5, "x...\n");
	log_flush(&lines);
	cr_expect_str_eq(after_time(line()), "last\n");
}
