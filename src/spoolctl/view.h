/* Answers as text for people. JSON in, text out; nothing is asked here.
 *
 * Fields that are missing or of another type count as null: a daemon of
 * another version must not break the view. */
#pragma once

#include "spoolctl/spoolctl.h"

/* Field access for views: "" / 0 / negative where there is none. */
const char *view_text(const json_t *object, const char *key);
json_int_t view_number(const json_t *object, const char *key);
double view_real(const json_t *object, const char *key);
/* A share of 0..1 in percent, between 0 and 100; -1 where there is none. */
int view_percent(const json_t *object, const char *key);
bool view_true(const json_t *object, const char *key);
bool view_has(const json_t *object, const char *key); /* there and not null */

/* The words for a state. */
const char *view_state(const char *state);

/* An RFC 3339 time as wall clock milliseconds; 0 where there is none. */
uint64_t view_time_ms(const json_t *object, const char *key);
enum { VIEW_WHEN_SIZE = 32 };
/* Local time: "2026-01-31 09:30:05". `out` holds VIEW_WHEN_SIZE bytes. */
const char *view_when(uint64_t wall_ms, char *out);
/* The same in 10 columns: the time of a day that is today's, else the date. */
const char *view_when_short(uint64_t wall_ms, uint64_t now_wall_ms, char *out);
/* Duration in words, of seconds. `out` holds HUMAN_SIZE bytes. */
const char *view_duration(double seconds, char *out);

/* `text` in lines for the look's width, of which `indent` columns are taken on each: the
 * first one by what stands before it. A new string; a copy where nothing is folded. */
char *view_fold(const struct look *look, unsigned indent, const char *text);
/* The same, but lines after the first begin two columns further in. */
char *view_fold_hanging(const struct look *look, unsigned indent, const char *text);
/* Prints that, as lines of their own. */
void view_print(const struct look *look, unsigned indent, const char *text, FILE *out);

/* The status: a headline and a table of users. At most `max_lines` lines (0 =
 * any number): then users with something to do come first. */
void view_status(const struct ctl *ctl, const json_t *answer, unsigned max_lines, FILE *out);
/* Jobs as a table. `with_user`: their users too. */
void view_list(const struct ctl *ctl, const json_t *jobs, bool with_user, FILE *out);
/* The same of uploads that are no jobs yet. */
void view_arriving(const struct ctl *ctl, const json_t *uploads, bool with_user, FILE *out);
void view_job(const struct ctl *ctl, const json_t *job, FILE *out);
void view_explanation(const struct ctl *ctl, const json_t *answer, FILE *out);
/* What is going on with one job, in one line of at most the terminal's width;
 * `running` is its part of a status, or NULL; then `because`, from an explanation, tells
 * what it waits for ("": not known). A new string. */
char *view_progress(const struct ctl *ctl, const json_t *job, const json_t *running,
                    const char *because);
/* One job at work, as in the status. A new string, without indentation;
 * `width` columns at most, 0 = any. */
char *view_running(const struct look *look, bool bars, const json_t *running, unsigned width);
