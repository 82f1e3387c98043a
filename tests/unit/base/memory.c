/* Memory that runs out at every place in turn: texts and tables are there as a
 * whole, or not at all, and say so. */
#include "base/escape.h"
#include "base/fd.h"
#include "base/table.h"
#include "base/text.h"

#include "memory_out.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENOUGH = 200 };

static void setup(void)
{
	if (!MEMORY_OUT)
		cr_skip_test("needs its own allocator");
	setlocale(LC_CTYPE, "C.UTF-8");
}

TestSuite(memory, .init = setup);

static char *escape(void)
{
	return escape_str("a\x1b");
}

static char *unescape(void)
{
	return unescape_name("a\\x1b");
}

static char *printable(void)
{
	return text_printable("a\x1b\\", 3, "");
}

static char *middle(void)
{
	return text_cut_middle("a name that is too long", 10, true);
}

static char *end(void)
{
	return text_cut_end("a name that is too long", 10, true);
}

static char *whole(void)
{
	return text_cut_end("short", 10, true);
}

static char *bar(void)
{
	return bar_draw(0.3, 20, true);
}

Test(memory, a_text_is_made_or_not)
{
	char *(*const makers[])(void) = {escape, unescape, printable, middle, end, whole, bar};
	for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
		char *expected = makers[i](), *made = NULL;
		long n = 0;
		for (; n < ENOUGH && made == NULL; n++) {
			errno = 0;
			memory_out_after(n);
			made = makers[i]();
			memory_is_back();
			cr_assert(made != NULL || errno == ENOMEM, "maker %zu", i);
		}
		cr_assert_gt(n, 1);
		cr_assert_str_eq(made, expected);
		free(made);
		free(expected);
	}
}

static const struct table_column columns[] = {
	{.title = "name", .min = 6}, {.title = "size", .right = true}, {.title = "why", .sentence = true},
};
static const char *const cells[] = {"a name that is longer than that", "12", "because it is so"};
static const enum tint tints[] = {TINT_BOLD, TINT_NONE, TINT_RED};

/* The table as text, or NULL where anything of it failed. */
static char *draw(void)
{
	const struct look look = {.width = 30, .colored = true, .utf8 = true};
	static char text[4096];
	struct table *t = table_new(columns, 3);
	if (t == NULL)
		return NULL;
	int r = table_add(t, cells, tints);
	if (r == 0)
		r = table_add_line(t, "a line");
	if (r == 0)
		r = table_add(t, cells, NULL);
	memset(text, 0, sizeof text);
	FILE *out = fmemopen(text, sizeof text - 1, "w");
	if (r == 0 && out != NULL)
		r = table_print(t, &look, out);
	if (out == NULL)
		r = -ENOMEM;
	else
		fclose(out);
	table_free(t);
	cr_assert(r == 0 || r == -ENOMEM, "%d", r);
	return r == 0 ? text : NULL;
}

Test(memory, a_table_is_drawn_whole_or_says_so)
{
	char *expected = strdup(draw()), *drawn = NULL;
	long n = 0;
	for (; n < ENOUGH && drawn == NULL; n++) {
		memory_out_after(n);
		drawn = draw();
		memory_is_back();
	}
	cr_assert_gt(n, 10);
	cr_assert_str_eq(drawn, expected);
	free(expected);
}

Test(memory, a_file_is_read_whole_or_says_so)
{
	char bytes[10000], *data = NULL;
	size_t size = 0;
	int ends[2], r = -ENOMEM;
	memset(bytes, 'x', sizeof bytes);
	for (long n = 0; n < 5 && r != 0; n++) {
		cr_assert_eq(pipe(ends), 0);
		cr_assert_eq(write(ends[1], bytes, sizeof bytes), (ssize_t)sizeof bytes);
		close(ends[1]);
		memory_out_after(n);
		r = fd_read_all(ends[0], sizeof bytes, &data, &size);
		memory_is_back();
		close(ends[0]);
		cr_assert(r == 0 || (r == -ENOMEM && data == NULL));
	}
	cr_assert(r == 0 && size == sizeof bytes && memcmp(data, bytes, size) == 0);
	free(data);
}
