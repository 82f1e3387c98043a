/* Empty directories that uploads leave in incoming. */
#include "descriptors.h"
#include "tree_world.h"

#include <time.h>

TestSuite(tree_tidy, .init = world_begin, .fini = world_end, .timeout = 120);

enum { HOUR_MS = 3600 * 1000 };

static const struct tree_tidy at_once = {.after_ms = 0, .unused_ms = HOUR_MS};

static void own(const char *path)
{
	if (geteuid() == 0)
		cr_assert_eq(lchown(at(path), UPLOADER, UPLOADER), 0);
}

static void make_unused(const char *path)
{
	make_dir(path);
	own(path);
}

/* As it is after its one file was taken; not in the tick of the clock in which it
 * was made. */
static void make_emptied(const char *path)
{
	char inner[JOB_PATH_MAX];
	struct stat made, now;
	make_unused(path);
	cr_assert_eq(stat(at(path), &made), 0);
	snprintf(inner, sizeof inner, "%s/taken", path);
	do {
		put(inner, "x");
		cr_assert_eq(unlink(at(inner)), 0);
		cr_assert_eq(stat(at(path), &now), 0);
	} while (memcmp(&made.st_mtim, &now.st_mtim, sizeof now.st_mtim) == 0);
}

static struct tree_scan *begin(const struct tree_tidy *rule)
{
	struct tree_scan *scan;
	cr_assert_eq(tree_scan_begin(t, "alice", &scan), 0);
	if (rule != NULL)
		tree_scan_tidy(scan, rule);
	return scan;
}

static int step(struct tree_scan *scan, const char **ret_path)
{
	struct file_ident ident;
	enum entry_kind kind;
	return tree_scan_next(scan, ret_path, &ident, &kind);
}

/* One whole walk; how many directories it removed. */
static unsigned tidy(const struct tree_tidy *rule, uint64_t *ret_due_ms)
{
	const char *path;
	unsigned removed = 0;
	struct tree_scan *scan = begin(rule);
	int r;
	while ((r = step(scan, &path)) >= 0) {
		removed += r > 0;
		cr_assert(r == 0 || strlen(path) > 0, "never incoming itself");
	}
	cr_assert_eq(r, -ENOENT);
	if (ret_due_ms != NULL)
		*ret_due_ms = tree_scan_tidy_due_ms(scan);
	tree_scan_end(scan);
	return removed;
}

Test(tree_tidy, emptied_trees_go_and_nothing_else)
{
	uint64_t due_ms = 1;
	make_unused("incoming/a");
	make_unused("incoming/a/b");
	make_emptied("incoming/a/b/c");
	make_emptied("incoming/a/d");
	make_emptied("incoming/flat");
	make_emptied("incoming/used");
	put("incoming/used/x", "data");
	put("incoming/top", "data");
	cr_assert_eq(tidy(NULL, NULL), 0, "only where it is asked for");
	cr_assert(there("incoming/flat"));
	cr_assert_eq(tidy(&at_once, &due_ms), 5);
	cr_assert_not(there("incoming/a"));
	cr_assert_not(there("incoming/flat"));
	cr_assert_str_eq(content("incoming/used/x"), "data");
	cr_assert_str_eq(content("incoming/top"), "data");
	cr_assert_eq(due_ms, 0);
	cr_assert_eq(tidy(&at_once, NULL), 0);
	cr_assert(there("incoming"));
	cr_assert_eq(descriptors_below(at("incoming")), 0);
}

Test(tree_tidy, whatever_is_in_a_tree_keeps_all_of_it)
{
	static const char *const things[] = {"incoming/a/b/.keep", "incoming/a/.x.csv.Ab12Cd"};
	make_emptied("incoming/a");
	make_emptied("incoming/a/b");
	make_emptied("incoming/a/c");
	for (size_t i = 0; i < sizeof things / sizeof *things; i++) {
		put(things[i], "");
		cr_assert_eq(tidy(&at_once, NULL), 0, "%s", things[i]);
		cr_assert_eq(unlink(at(things[i])), 0);
	}
	cr_assert_eq(symlink(world, at("incoming/a/c/link")), 0);
	cr_assert_eq(tidy(&at_once, NULL), 0);
	cr_assert_eq(unlink(at("incoming/a/c/link")), 0);
	cr_assert_eq(mkfifo(at("incoming/a/c/fifo"), 0600), 0);
	cr_assert_eq(tidy(&at_once, NULL), 0);
	cr_assert(there("incoming/a/b"));
	cr_assert_eq(unlink(at("incoming/a/c/fifo")), 0);
	cr_assert_eq(tidy(&at_once, NULL), 3);
}

Test(tree_tidy, not_before_its_time)
{
	struct tree_tidy later = {.after_ms = HOUR_MS, .unused_ms = 3 * HOUR_MS};
	uint64_t emptied_ms, unused_ms;
	make_unused("incoming/unused");
	make_unused("incoming/unused/inner");
	cr_assert_eq(tidy(&later, &unused_ms), 0);
	make_emptied("incoming/emptied");
	cr_assert_eq(tidy(&later, &emptied_ms), 0);
	uint64_t now_ms = (uint64_t)time(NULL) * 1000;
	cr_assert_gt(emptied_ms, now_ms + HOUR_MS / 2);
	cr_assert_lt(emptied_ms, now_ms + 2 * HOUR_MS, "the first that is due");
	cr_assert_gt(unused_ms, now_ms + 2 * HOUR_MS);
	cr_assert_eq(tidy(&at_once, NULL), 1, "the emptied one");
	cr_assert(there("incoming/unused/inner"));
	struct tree_tidy all = {0};
	cr_assert_eq(tidy(&all, NULL), 2);
}

Test(tree_tidy, what_others_made_stays)
{
	if (geteuid() != 0)
		cr_skip_test("needs root: another owner");
	make_emptied("incoming/a");
	make_emptied("incoming/a/b");
	cr_assert_eq(chown(at("incoming/a/b"), 0, 0), 0);
	cr_assert_eq(tidy(&at_once, NULL), 0);
	cr_assert_eq(chown(at("incoming/a/b"), UPLOADER, UPLOADER), 0);
	cr_assert_eq(tidy(&at_once, NULL), 2);
}

/* Until the first directory is removed. */
static const char *first_removed(struct tree_scan *scan)
{
	const char *path = NULL;
	int r;
	while ((r = step(scan, &path)) == 0)
		;
	cr_assert_eq(r, 1);
	return path;
}

static unsigned rest(struct tree_scan *scan)
{
	const char *path;
	unsigned removed = 0;
	int r;
	while ((r = step(scan, &path)) >= 0)
		removed += r > 0;
	tree_scan_end(scan);
	return removed;
}

Test(tree_tidy, what_comes_while_it_removes_stays)
{
	make_emptied("incoming/a");
	make_emptied("incoming/a/b");
	make_emptied("incoming/a/c");
	struct tree_scan *scan = begin(&at_once);
	bool b_first = strcmp(first_removed(scan), "a/b") == 0;
	const char *left = b_first ? "incoming/a/c/new" : "incoming/a/b/new";
	put(left, "data");
	cr_assert_eq(rest(scan), 0);
	cr_assert_str_eq(content(left), "data");
	cr_assert_eq(descriptors_below(at("incoming")), 0);
}

static bool is_younger(const char *path, const char *than)
{
	struct stat a, b;
	cr_assert_eq(stat(at(path), &a), 0);
	cr_assert_eq(stat(at(than), &b), 0);
	return a.st_ctim.tv_sec > b.st_ctim.tv_sec ||
	       (a.st_ctim.tv_sec == b.st_ctim.tv_sec && a.st_ctim.tv_nsec > b.st_ctim.tv_nsec);
}

/* Its uploader is at work in it again. */
Test(tree_tidy, what_changes_after_it_was_judged_stays)
{
	char first[64], second[64], inner[96];
	const char *path;
	make_emptied("incoming/a");
	make_emptied("incoming/a/b");
	make_emptied("incoming/a/c");
	struct tree_scan *scan = begin(&at_once);
	cr_assert_eq(step(scan, &path), 0);
	cr_assert_eq(step(scan, &path), 0);
	snprintf(first, sizeof first, "incoming/%s", path);
	/* The first one was left, and judged, when the second one is met. */
	cr_assert_eq(step(scan, &path), 0);
	snprintf(second, sizeof second, "incoming/%s", path);
	snprintf(inner, sizeof inner, "%s/x", first);
	do {
		put(inner, "x");
		cr_assert_eq(unlink(at(inner)), 0);
	} while (!is_younger(first, second));
	cr_assert_eq(rest(scan), 0);
	cr_assert(there(first));
	cr_assert_eq(descriptors_below(at("incoming")), 0);
}

Test(tree_tidy, swapped_for_a_link_it_touches_nothing_outside)
{
	char outside[64], inner[96];
	struct stat st;
	snprintf(outside, sizeof outside, "%s/outside", world);
	snprintf(inner, sizeof inner, "%s/empty", outside);
	cr_assert_eq(mkdir(outside, 0777), 0);
	cr_assert_eq(mkdir(inner, 0777), 0);
	make_emptied("incoming/a");
	make_emptied("incoming/a/b");
	make_emptied("incoming/a/c");
	struct tree_scan *scan = begin(&at_once);
	bool b_first = strcmp(first_removed(scan), "a/b") == 0;
	const char *other = b_first ? "incoming/a/c" : "incoming/a/b";
	cr_assert_eq(rmdir(at(other)), 0);
	cr_assert_eq(symlink(outside, at(other)), 0);
	cr_assert_eq(rest(scan), 0);
	cr_assert_eq(lstat(inner, &st), 0);
	cr_assert_eq(lstat(at(other), &st), 0);
	cr_assert(S_ISLNK(st.st_mode));
	cr_assert_eq(descriptors_below(at("incoming")), 0);
}

Test(tree_tidy, thirty_levels)
{
	char path[256] = "incoming";
	for (int i = 0; i < 30; i++) {
		strcat(path, "/d");
		make_unused(path);
	}
	strcat(path, "/x");
	put(path, "");
	cr_assert_eq(tidy(&at_once, NULL), 0);
	cr_assert_eq(unlink(at(path)), 0);
	cr_assert_eq(tidy(&at_once, NULL), 30);
	cr_assert_not(there("incoming/d"));
}
