/* Promises: the same tree has the same identity in whatever order it is read, any
 * change of a file in it gives another one; and no tree is complete before its time. */
#include "core/whole.h"

#include <criterion/criterion.h>
#include <string.h>

#define MS_NS INT64_C(1000000)

static const uint64_t wall_ms = UINT64_C(1700000000000);
static const uint64_t steady_ms = 500000;

static struct file_ident file(uint64_t ino, uint64_t size, int64_t mtime_ns)
{
	return (struct file_ident){.ino = ino, .size = size, .mtime_ns = mtime_ns,
	                           .ctime_ns = (int64_t)(wall_ms - 5000) * MS_NS};
}

static void begin(struct whole *w)
{
	struct file_ident top = {.ino = 1, .size = 4096, .mtime_ns = 7,
	                         .ctime_ns = (int64_t)(wall_ms - 9000) * MS_NS, .uid = 3};
	whole_begin(w, &top);
}

static void add(struct whole *w, const char *path, bool directory, struct file_ident ident)
{
	whole_add(w, path, directory, &ident);
}

static struct whole tree(void)
{
	struct whole w;
	begin(&w);
	add(&w, "a", false, file(2, 10, 20));
	add(&w, "d", true, file(3, 4096, 21));
	add(&w, "d/b", false, file(4, 30, 22));
	whole_end(&w);
	return w;
}

Test(whole, the_order_of_reading_does_not_matter)
{
	struct whole one = tree(), other;
	begin(&other);
	add(&other, "d/b", false, file(4, 30, 22));
	add(&other, "a", false, file(2, 10, 20));
	add(&other, "d", true, file(3, 4096, 21));
	whole_end(&other);
	cr_expect(file_ident_same(&one.ident, &other.ident));
	cr_expect_neq(one.ident.whole, 0);
	cr_expect_eq(one.ident.size, 40, "the size is that of the files");
	cr_expect_eq(one.ident.ino, 1);
	cr_expect_eq(one.ident.uid, 3);
	cr_expect_eq(one.files, 2);
	cr_expect_eq(one.directories, 1);
	cr_expect_leq(one.ident.whole, INT64_MAX, "it travels as a JSON integer");
}

Test(whole, what_changes_gives_another_identity)
{
	struct whole before = tree();
	struct { const char *path; bool directory; struct file_ident ident; } third[] = {
		{"d/c", false, file(4, 30, 22)},  /* renamed */
		{"b", false, file(4, 30, 22)},    /* moved */
		{"d/b", false, file(9, 30, 22)},  /* another file */
		{"d/b", false, file(4, 31, 22)},  /* longer */
		{"d/b", false, file(4, 30, 23)},  /* written */
		{"d/b", true, file(4, 30, 22)},   /* another kind */
	};
	for (size_t i = 0; i < sizeof third / sizeof *third; i++) {
		struct whole w;
		begin(&w);
		add(&w, "a", false, file(2, 10, 20));
		add(&w, "d", true, file(3, 4096, 21));
		add(&w, third[i].path, third[i].directory, third[i].ident);
		whole_end(&w);
		cr_expect_not(file_ident_same(&before.ident, &w.ident), "case %zu", i);
		cr_expect(file_ident_same_top(&before.ident, &w.ident), "case %zu", i);
	}
	struct whole fewer;
	begin(&fewer);
	add(&fewer, "a", false, file(2, 10, 20));
	add(&fewer, "d", true, file(3, 4096, 21));
	whole_end(&fewer);
	cr_expect_not(file_ident_same(&before.ident, &fewer.ident));
}

Test(whole, a_directory_is_no_file_of_the_same_number)
{
	struct whole w = tree();
	struct file_ident seen = {.ino = 1, .size = 40, .mtime_ns = 7};
	cr_expect_not(file_ident_same(&w.ident, &seen));
	cr_expect(file_ident_same_top(&w.ident, &seen));
	cr_expect_not(file_ident_same_top(&seen, &w.ident), "a plain file is none");
	seen.mtime_ns = 8;
	cr_expect_not(file_ident_same_top(&w.ident, &seen));
}

Test(whole, the_newest_change_counts_wherever_it_is)
{
	struct whole w = tree();
	cr_expect_eq(w.newest_ns, (int64_t)(wall_ms - 5000) * MS_NS);
	begin(&w);
	struct file_ident late = file(5, 0, 1);
	late.ctime_ns = (int64_t)(wall_ms - 100) * MS_NS;
	whole_add(&w, "d", true, &late);
	cr_expect_eq(w.newest_ns, late.ctime_ns);
}

Test(whole, a_refusal_goes_before_what_is_unfinished)
{
	struct whole w = tree();
	cr_expect_eq(w.flaw, WHOLE_SOUND);
	whole_note_flaw(&w, WHOLE_UNFINISHED, "is half", "x.part");
	whole_note_flaw(&w, WHOLE_UNFINISHED, "is half", "y.part");
	cr_expect_str_eq(w.at, "x.part");
	whole_note_flaw(&w, WHOLE_REFUSED, "is a link", "l");
	whole_note_flaw(&w, WHOLE_UNFINISHED, "is half", "y.part");
	cr_expect_eq(w.flaw, WHOLE_REFUSED);
	cr_expect_str_eq(w.at, "l");
	char long_path[600];
	memset(long_path, 'x', sizeof long_path);
	long_path[sizeof long_path - 1] = '\0';
	w.flaw = WHOLE_SOUND;
	whole_note_flaw(&w, WHOLE_REFUSED, "is a link", long_path);
	cr_expect_eq(strlen(w.at), sizeof w.at - 1);
}

Test(whole, names_of_transfers_that_are_not_over)
{
	static const char *const ignore[] = {".*", "*.part", "*~", NULL};
	static const struct { const char *name; bool unfinished; } names[] = {
		{"a.tif", false}, {"a.tif.part", true}, {"a~", true}, {".DS_Store", false},
		{"._a.tif", false}, {".a.tif.Xy12Zz", true}, {".x.abcdef", true}, {".abcdef", false},
		{".a.tif.Xy12Z", false}, {".a.tif.Xy1-Zz", false}, {".rsync-partial", true},
		{".~tmp~", true}, {".", false}, {"..", false},
		{".a.tif.Xy1{Zz", false}, {".a.tif.Xy1@Zz", false}, {".a.tif.Xy1[Zz", false},
		{".a.tif.Xy1:Zz", false}, {".a.tif.Xy1`Zz", false},
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		cr_expect_eq(whole_is_unfinished(names[i].name, ignore), names[i].unfinished, "%s",
		             names[i].name);
	cr_expect_not(whole_is_unfinished("a.part", NULL));
}

static enum settle_answer judge(enum completion by, struct whole *w, struct upload upload,
                                uint64_t *ret_due)
{
	struct settle_policy policy = {.completion = by, .settle_ms = 10000};
	*ret_due = 0;
	return whole_judge(&policy, w, &upload, steady_ms, wall_ms, ret_due);
}

Test(whole, complete_when_nothing_in_it_changed_for_long_enough)
{
	struct whole w = tree();
	struct upload upload = {0};
	uint64_t due;
	cr_expect_eq(judge(COMPLETION_AUTO, &w, upload, &due), SETTLE_WAIT);
	cr_expect_eq(due, steady_ms + 5000);
	w.newest_ns -= 5000 * MS_NS;
	cr_expect_eq(judge(COMPLETION_AUTO, &w, upload, &due), SETTLE_COMPLETE);
	w.writer = true;
	cr_expect_eq(judge(COMPLETION_AUTO, &w, upload, &due), SETTLE_WRITER);
	upload.renamed_in = true;
	cr_expect_eq(judge(COMPLETION_AUTO, &w, upload, &due), SETTLE_WRITER);
	w.writer = false;
	w.newest_ns = (int64_t)wall_ms * MS_NS;
	cr_expect_eq(judge(COMPLETION_AUTO, &w, upload, &due), SETTLE_COMPLETE, "moved in");
	cr_expect_eq(judge(COMPLETION_RENAME, &w, upload, &due), SETTLE_COMPLETE);
	upload.renamed_in = false;
	cr_expect_eq(judge(COMPLETION_RENAME, &w, upload, &due), SETTLE_CONVENTION);
	cr_expect_eq(judge(COMPLETION_MARKER, &w, upload, &due), SETTLE_CONVENTION);
	upload.marker_seen = true;
	cr_expect_eq(judge(COMPLETION_MARKER, &w, upload, &due), SETTLE_COMPLETE);
}

Test(whole, without_a_file_it_never_is)
{
	struct whole w;
	struct upload upload = {.renamed_in = true, .marker_seen = true};
	uint64_t due;
	begin(&w);
	add(&w, "d", true, file(3, 4096, 21));
	whole_end(&w);
	for (enum completion by = COMPLETION_AUTO; by <= COMPLETION_MARKER; by++) {
		cr_expect_eq(judge(by, &w, upload, &due), SETTLE_WAIT);
		cr_expect_eq(due, steady_ms + 10000);
	}
}
