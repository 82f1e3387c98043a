/* Memory that runs out at any moment: loading says so, or copes, and leaks
 * nothing. Allocation is wrapped below for the whole test program. */
#include "config_helper.h"

#include <errno.h>

#ifndef __SANITIZE_ADDRESS__

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *memory);

/* Allocations until one fails; < 0: none does. */
static long countdown = -1;
static bool counting;
static bool for_good; /* else the next one succeeds again */
static bool failed;
static long alive;

static bool fails(void)
{
	if (!counting || countdown < 0)
		return false;
	if (countdown > 0) {
		countdown--;
		return false;
	}
	if (!for_good)
		countdown = -1;
	failed = true;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	void *memory = fails() ? NULL : __libc_malloc(size);
	alive += counting && memory != NULL;
	return memory;
}

void *calloc(size_t n, size_t size)
{
	void *memory = fails() ? NULL : __libc_calloc(n, size);
	alive += counting && memory != NULL;
	return memory;
}

void *realloc(void *old, size_t size)
{
	void *memory = fails() ? NULL : __libc_realloc(old, size);
	alive += counting && old == NULL && memory != NULL;
	return memory;
}

void free(void *memory)
{
	alive -= counting && memory != NULL;
	__libc_free(memory);
}

static const char *const text = "{\"spool\": {\"ignore\": [\"\\ud83d\\ude00\", \"b\"]}, "
                                "\"handler\": {\"command\": [\"/bin/sh\", "
                                "\"{file}\"]},\"scheduler_settings\": "
                                "{\"max_concurrent_jobs_per_user\": 2},\"routes\": [{\"match\": "
                                "\"*\", \"handler\": {\"permanent_exit_codes\": [1]}}],\"users\": "
                                "{\"a\": {\"handler\": {\"keep_logs\": \"never\"}}, \"b\": "
                                "{\"routes\": []}}}";

/* Returns what config_parse() does when the n-th allocation fails. */
static int parse_failing(const char *input, long n, bool *ret_reached)
{
	struct config *config = NULL;
	struct config_report report = {0};
	alive = 0;
	countdown = n;
	counting = true;
	int r = config_parse("/srv/config.json", input, strlen(input), &config, &report);
	*ret_reached = countdown < 0;
	countdown = -1;
	if (r == 0)
		config_free(config);
	/* A user name is then refused, with this reason. */
	if (r == -EINVAL && report.errors_n > 0 &&
	    strstr(report.errors[0], "memory is out") != NULL)
		r = -ENOMEM;
	config_report_clear(&report);
	counting = false;
	return r;
}

static void fail_everywhere(const char *input, int usual)
{
	bool reached = true;
	long n = 0;
	/* Some memory is kept by libc on first use. */
	parse_failing(input, -1, &reached);
	for (reached = true; reached; n++) {
		int r = parse_failing(input, n, &reached);
		/* Escaping a value for a message can do without. */
		cr_assert(r == -ENOMEM || r == usual, "allocation %ld: %d", n, r);
		cr_assert_eq(alive, 0, "allocation %ld: %ld are left", n, alive);
	}
	cr_expect_gt(n, 100);
}

Test(config_memory, running_out_while_loading)
{
	fail_everywhere(text, 0);
}

Test(config_memory, running_out_while_noting_mistakes)
{
	fail_everywhere("{\"spool\": {\"watch\": 1, \"watc\": 2, \"index\": 3}, \"users\": {\".\": "
	                "{}},\"handler\": {\"command\": [\"/none\", \"{x}\"], \"run_as\": "
	                "\"nobody-at-all\"}}",
	                -EINVAL);
}

/* What config_print() does when the n-th allocation fails. */
static int print_failing(const struct config *config, FILE *out, long n)
{
	rewind(out);
	alive = 0;
	failed = false;
	countdown = n;
	counting = true;
	int r = config_print(config, out);
	countdown = -1;
	counting = false;
	fflush(out);
	return r;
}

static void print_failing_everywhere(const struct config *config)
{
	static char buffer[4096], whole[8192], got[8192];
	long n = 0;
	FILE *out = fmemopen(got, sizeof got, "w");
	cr_assert(out != NULL && setvbuf(out, buffer, _IOFBF, sizeof buffer) == 0);
	cr_assert_eq(print_failing(config, out, -1), 0);
	memcpy(whole, got, sizeof whole);
	for (failed = true; failed; n++) {
		int r = print_failing(config, out, n);
		cr_assert_eq(alive, 0, "allocation %ld: %ld are left", n, alive);
		/* Where a single one fails, jansson leaves out a key. */
		if (for_good)
			cr_assert(failed ? r == -ENOMEM : r == 0 && strcmp(got, whole) == 0,
			          "allocation %ld: %d", n, r);
		else
			cr_assert(r == 0 || r == -ENOMEM);
	}
	cr_expect_gt(n, 100);
	fclose(out);
}

Test(config_memory, running_out_while_printing)
{
	struct config *config = NULL;
	struct config_report report = {0};
	cr_assert_eq(config_parse("/srv/\xff/config.json", text, strlen(text), &config, &report), 0);
	print_failing_everywhere(config);
	for_good = true;
	print_failing_everywhere(config);
	config_free(config);
	config_report_clear(&report);
}

#else

Test(config_memory, running_out)
{
	cr_skip_test("needs its own allocator, not the sanitizer's");
}

#endif
