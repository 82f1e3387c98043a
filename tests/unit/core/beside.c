#include "core/beside.h"

#include "base/human.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { JOB = 42, FINISHED_MS = 1000 };

/* The only result that there is. */
static bool find_only(void *ctx, const char *own, bool output, const char *name, struct job *ret)
{
	cr_expect_not_null(strstr(own, output ? ".output" : ".log"));
	if (strcmp(name, ctx) != 0)
		return false;
	*ret = (struct job){.id = JOB, .path = strdup("a.csv"), .finished_ms = FINISHED_MS};
	return true;
}

static void expect_found(const char *path, const char *result, bool output, const char *own,
                         const char *numbered)
{
	struct beside b = {0};
	cr_assert(beside_find(path, find_only, (void *)(uintptr_t)result, &b), "%s", path);
	cr_expect_eq(b.output, output);
	cr_expect_eq(b.job.id, JOB);
	cr_expect_str_eq(b.own, own);
	if (numbered == NULL)
		cr_expect_null(b.numbered);
	else
		cr_expect_str_eq(b.numbered, numbered);
	beside_clear(&b);
}

static void expect_none(const char *path, const char *result)
{
	struct beside b = {0};
	cr_expect_not(beside_find(path, find_only, (void *)(uintptr_t)result, &b), "%s", path);
	cr_expect_null(b.own);
}

Test(beside, logs_and_outputs_are_named_after_results)
{
	expect_found("a.csv.log", "a.csv", false, "a.csv.log", "a.csv.42.log");
	expect_found("a.42.csv.log", "a.42.csv", false, "a.42.csv.log", "a.42.csv.42.log");
	expect_found("a.csv.42.log", "a.csv", false, "a.csv.42.log", NULL);
	expect_found("sub/a.csv.output", "sub/a.csv", true, "sub/a.csv.output", "sub/a.csv.42.output");
	expect_found("a.csv.output/b.output/c.log", "a.csv", true, "a.csv.output",
	             "a.csv.42.output");
	expect_found("x.output/a.csv.output/c", "x.output/a.csv", true, "x.output/a.csv.output",
	             "x.output/a.csv.42.output");
}

Test(beside, other_names_are_not)
{
	expect_none("a.csv", "a.csv");
	expect_none("a.csv.43.log", "a.csv");
	expect_none("a.csv.x.log", "a.csv");
	expect_none("a.csv.log/b", "a.csv");
	expect_none(".log", "");
	expect_none("sub/.log", "sub/");
	expect_none("sub/.output/x", "sub/");
	expect_none("a.csv.log2", "a.csv");
	expect_none("", "");
}

static void expect_next(uint64_t keep_ms, uint64_t now_ms, const char *next)
{
	char path[] = "a.csv";
	const struct beside b = {.job = {.id = JOB, .path = path, .finished_ms = FINISHED_MS}};
	json_t *o = beside_explain(&b, "/spool/alice/done/a.csv.log", keep_ms, now_ms);
	cr_expect_str_eq(json_string_value(json_object_get(o, "because")),
	                 "it is the log of job 42 (a.csv)");
	cr_expect_str_eq(json_string_value(json_object_get(o, "next")), next);
	json_decref(o);
}

Test(beside, it_goes_with_its_job)
{
	expect_next(0, 5000, "it stays with its job, which is kept for ever");
	expect_next(14000, 5000, "it is removed with its job, in 10 s");
	expect_next(4000, 5000, "it is removed with its job, whose time is over");
}

static void expect_no_log(enum job_state state, uint32_t attempt, const char *keep_logs,
                          const char *words)
{
	const struct job job = {.id = JOB, .state = state, .attempt = attempt};
	char *why = beside_no_log(&job, keep_logs);
	cr_expect_not_null(strstr(why, "job 42"), "%s", why);
	cr_expect_not_null(strstr(why, words), "%s", why);
	free(why);
}

Test(beside, why_there_is_no_log)
{
	expect_no_log(JOB_CANCELED, 0, "always", "it never ran");
	expect_no_log(JOB_DONE, 1, "never", "it succeeded, and handler.keep_logs is \"never\"");
	expect_no_log(JOB_DONE, 1, "failed", "it succeeded, and handler.keep_logs is \"failed\"");
	expect_no_log(JOB_DONE, 1, "always", "somebody removed it");
	expect_no_log(JOB_FAILED, 3, "failed", "somebody removed it");
}
