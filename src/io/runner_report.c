#include "io/runner_private.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool take_progress(struct runner_report *report, const char *value)
{
	char *end;
	double progress = strtod(value, &end);
	if (end == value || *end != '\0' || !isfinite(progress))
		return false;
	report->now.progress = progress < 0 ? 0 : progress > 1 ? 1 : progress;
	return true;
}

static bool take_records(struct runner_report *report, const char *value)
{
	char *end;
	errno = 0;
	unsigned long long records = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || records == RECORDS_NONE)
		return false;
	report->now.records = records;
	return true;
}

static bool take_message(struct runner_report *report, const char *value, size_t n)
{
	char *message = runner_printable(value, n);
	if (message != NULL) {
		free(report->now.message);
		report->now.message = message;
	}
	return true;
}

static bool take_line(struct runner_report *report, const char *line, size_t n)
{
	if (memchr(line, '\0', n) != NULL)
		return false;
	if (strncmp(line, "progress=", 9) == 0)
		return take_progress(report, line + 9);
	if (strncmp(line, "records=", 8) == 0)
		return take_records(report, line + 8);
	return strncmp(line, "message=", 8) == 0 && take_message(report, line + 8, n - 8);
}

static void complain(struct runner_report *report, struct runner_log *log)
{
	if (report->complained)
		return;
	report->complained = true;
	char *shown = runner_printable(report->line, report->used < 200 ? report->used : 200);
	char *note = runner_text("report line not understood: %s%s", shown == NULL ? "" : shown,
	                         report->too_long ? "... (longer than 4 KiB)" : "");
	if (note != NULL)
		runner_log_note(log, note);
	free(note);
	free(shown);
}

static void end_line(struct runner_report *report, struct runner_log *log)
{
	size_t n = report->used;
	if (n > 0 && report->line[n - 1] == '\r')
		n--;
	report->line[n] = '\0';
	if (!report->too_long && take_line(report, report->line, n))
		report->news = true;
	else if (n > 0)
		complain(report, log);
	report->used = 0;
	report->too_long = false;
}

void runner_report_feed(struct runner_report *report, const char *data, size_t n, struct runner_log *log)
{
	for (size_t i = 0; i < n; i++) {
		if (data[i] == '\n')
			end_line(report, log);
		else if (report->used < sizeof report->line - 1)
			report->line[report->used++] = data[i];
		else
			report->too_long = true;
	}
}

void runner_report_end(struct runner_report *report, struct runner_log *log)
{
	if (report->used > 0)
		end_line(report, log);
}
