#include "descriptors.h"
#include "memory_out.h"
#include "tree_world.h"

TestSuite(tree_scan, .init = world_begin, .fini = world_end, .timeout = 240);

enum { SEEN_MAX = 64 };

struct seen {
	char paths[SEEN_MAX][400];
	enum entry_kind kinds[SEEN_MAX];
	size_t n;
};

static int scan_all(struct seen *s)
{
	struct tree_scan *scan;
	const char *path;
	struct file_ident ident;
	enum entry_kind kind;
	int r = tree_scan_begin(t, "alice", &scan);
	s->n = 0;
	while (r == 0 && (r = tree_scan_next(scan, &path, &ident, &kind)) == 0) {
		cr_assert_lt(s->n, SEEN_MAX);
		snprintf(s->paths[s->n], sizeof s->paths[0], "%s", path);
		s->kinds[s->n++] = kind;
	}
	if (r == -ENOENT)
		r = tree_scan_next(scan, &path, &ident, &kind);
	tree_scan_end(scan);
	return r;
}

static int place_of(const struct seen *s, const char *path)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->paths[i], path) == 0)
			return (int)i;
	return -1;
}

Test(tree_scan, everything_is_reported_as_it_is)
{
	struct seen s;
	put("incoming/x", "data");
	put("incoming/.hidden", "");
	put("incoming/line\nfeed", "");
	put("incoming/\xff\xfe", "");
	put("incoming/-rf", "");
	make_dir("incoming/d");
	make_dir("incoming/d/e");
	put("incoming/d/e/y", "");
	make_dir("incoming/empty");
	cr_assert_eq(symlink(world, at("incoming/link")), 0);
	cr_assert_eq(mkfifo(at("incoming/fifo"), 0600), 0);
	cr_assert_eq(link(at("incoming/x"), at("incoming/d/hard")), 0);
	cr_assert_eq(scan_all(&s), -ENOENT, "the end, again and again");
	static const struct {
		const char *path;
		enum entry_kind kind;
	} rows[] = {
		{"x", ENTRY_HARDLINKED},     {".hidden", ENTRY_FILE},    {"line\nfeed", ENTRY_FILE},
		{"\xff\xfe", ENTRY_FILE},    {"-rf", ENTRY_FILE},        {"d", ENTRY_DIRECTORY},
		{"d/e", ENTRY_DIRECTORY},    {"d/e/y", ENTRY_FILE},      {"empty", ENTRY_DIRECTORY},
		{"link", ENTRY_SYMLINK},     {"fifo", ENTRY_SPECIAL},    {"d/hard", ENTRY_HARDLINKED},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int n = place_of(&s, rows[i].path);
		cr_assert_geq(n, 0, "%s", rows[i].path);
		cr_assert_eq(s.kinds[n], rows[i].kind, "%s", rows[i].path);
	}
	cr_assert_eq(s.n, sizeof rows / sizeof *rows, "and nothing else");
	cr_assert_lt(place_of(&s, "d"), place_of(&s, "d/e"), "directories before what is in them");
	cr_assert_lt(place_of(&s, "d/e"), place_of(&s, "d/e/y"));
}

Test(tree_scan, empty_and_missing)
{
	struct seen s;
	struct tree_scan *scan = NULL;
	cr_assert_eq(scan_all(&s), -ENOENT);
	cr_assert_eq(s.n, 0);
	cr_assert_eq(tree_scan_begin(t, "nobody", &scan), -ENOENT);
	cr_assert_eq(rmdir(at("incoming")), 0);
	cr_assert_eq(tree_scan_begin(t, "alice", &scan), -ENOENT);
	cr_assert_eq(symlink("done", at("incoming")), 0);
	cr_assert_eq(tree_scan_begin(t, "alice", &scan), -ELOOP);
	cr_assert_null(scan);
	tree_scan_end(NULL);
}

Test(tree_scan, identity_is_that_of_a_look)
{
	struct tree_scan *scan;
	const char *path;
	struct file_ident ident, same;
	enum entry_kind kind;
	put("incoming/x", "data");
	cr_assert_eq(tree_scan_begin(t, "alice", &scan), 0);
	cr_assert_eq(tree_scan_next(scan, &path, &ident, &kind), 0);
	same = ident_of("x");
	cr_assert(file_ident_same(&ident, &same));
	cr_assert_eq(ident.ctime_ns, same.ctime_ns);
	tree_scan_end(scan);
}

Test(tree_scan, five_thousand_files_in_twenty_directories)
{
	enum { DEPTH = 20, EACH = 250 };
	static unsigned char found[DEPTH][EACH];
	struct tree_scan *scan;
	const char *path;
	struct file_ident ident;
	enum entry_kind kind;
	unsigned directories = 0;
	int r, dir = open(at("incoming"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int depth = 0; depth < DEPTH; depth++) {
		for (int i = 0; i < EACH; i++) {
			char name[32];
			snprintf(name, sizeof name, "f%d", i);
			fd_close(openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
		}
		cr_assert_eq(mkdirat(dir, "d", 0755), 0);
		int next = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		fd_close(dir);
		dir = next;
	}
	fd_close(dir);
	cr_assert_eq(tree_scan_begin(t, "alice", &scan), 0);
	while ((r = tree_scan_next(scan, &path, &ident, &kind)) == 0) {
		unsigned depth = 0, n;
		const char *base = name_base(path);
		for (const char *c = path; *c != '\0'; c++)
			depth += *c == '/';
		if (kind == ENTRY_DIRECTORY) {
			directories++;
			continue;
		}
		cr_assert_eq(sscanf(base, "f%u", &n), 1);
		cr_assert(depth < DEPTH && n < EACH);
		found[depth][n]++;
	}
	cr_assert_eq(r, -ENOENT);
	tree_scan_end(scan);
	cr_assert_eq(directories, DEPTH);
	for (int depth = 0; depth < DEPTH; depth++)
		for (int i = 0; i < EACH; i++)
			cr_assert_eq(found[depth][i], 1, "%d/f%d", depth, i);
}

/* A large directory: threads look ahead. */
enum { MANY = 2000 };

static void make_many(const char *dir, unsigned n)
{
	int fd = open(at(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < n; i++) {
		char name[32];
		snprintf(name, sizeof name, "f%u", i);
		fd_close(openat(fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	}
	fd_close(fd);
}

/* What lies there now, as the walk must have seen it. */
static bool is_as_told(const char *path, const struct file_ident *told)
{
	struct file_ident now;
	enum entry_kind kind;
	return tree_look(t, "alice", path, &now, &kind) == 0 && kind == ENTRY_FILE &&
	       file_ident_same(told, &now) && told->ctime_ns == now.ctime_ns;
}

static long allocations = -1; /* that a look ahead has; or any */

/* Of each look ahead at `ahead` names it takes `taken`, and calls `between`. */
static void walk_ahead(unsigned ahead, unsigned taken, void (*between)(const char *path),
                       unsigned char found[MANY])
{
	struct tree_scan *scan;
	const char *path;
	struct file_ident ident;
	enum entry_kind kind;
	int r = tree_scan_begin(t, "alice", &scan);
	cr_assert_eq(r, 0);
	for (unsigned n = 0; r == 0; n++) {
		if (n % taken == 0) {
			if (n > 0 && between != NULL)
				between(path);
			if (allocations >= 0)
				memory_out_after(allocations);
			tree_scan_look_ahead(scan, ahead);
			memory_is_back();
		}
		r = tree_scan_next(scan, &path, &ident, &kind);
		unsigned file;
		if (r < 0 || kind == ENTRY_DIRECTORY)
			continue;
		cr_assert_eq(sscanf(name_base(path), "f%u", &file), 1);
		cr_assert(is_as_told(path, &ident), "%s", path);
		found[file]++;
	}
	cr_assert_eq(r, -ENOENT);
	tree_scan_look_ahead(scan, ahead);
	cr_assert_eq(tree_scan_next(scan, &path, &ident, &kind), -ENOENT);
	tree_scan_end(scan);
}

static void all_found(const unsigned char found[MANY], unsigned times)
{
	for (unsigned i = 0; i < MANY; i++)
		cr_assert_eq(found[i], times, "f%u", i);
}

Test(tree_scan, looks_ahead_at_many)
{
	static const unsigned rows[][2] = {{512, 512}, {1, 1}, {4096, 700}, {100, 333}, {1024, 10}};
	make_many("incoming", MANY);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		unsigned char found[MANY] = {0};
		walk_ahead(rows[i][0], rows[i][1], NULL, found);
		all_found(found, 1);
	}
}

Test(tree_scan, without_memory_it_looks_at_one_after_the_other)
{
	make_many("incoming", MANY);
	for (allocations = 0; MEMORY_OUT && allocations < 8; allocations++) {
		unsigned char found[MANY] = {0};
		walk_ahead(512, 100, NULL, found);
		all_found(found, 1);
	}
}

static unsigned changed;

static void change_all(const char *path)
{
	(void)path;
	for (unsigned i = changed % 5; i < MANY; i += 5) {
		char name[64];
		snprintf(name, sizeof name, "incoming/f%u", i);
		cr_assert_eq(truncate(at(name), ++changed), 0);
	}
}

Test(tree_scan, what_was_seen_before_the_last_call_does_not_count)
{
	unsigned char found[MANY] = {0};
	make_many("incoming", MANY);
	walk_ahead(1024, 600, change_all, found);
	all_found(found, 1);
}

Test(tree_scan, nor_what_was_seen_before_a_directory_was_entered)
{
	enum { DIRECTORIES = 12, EACH = 700 };
	unsigned char found[MANY] = {0};
	for (int i = 0; i < DIRECTORIES; i++) {
		char name[64];
		snprintf(name, sizeof name, "incoming/d%d", i);
		make_dir(name);
		make_many(name, EACH);
	}
	make_many("incoming", MANY);
	walk_ahead(1024, 600, change_all, found);
	for (unsigned i = 0; i < MANY; i++)
		cr_assert_eq(found[i], i < EACH ? 1 + DIRECTORIES : 1, "f%u", i);
}

static void remove_others(const char *path)
{
	unsigned kept;
	cr_assert_eq(sscanf(path, "f%u", &kept), 1);
	for (unsigned i = 0; i < MANY; i++) {
		char name[64];
		snprintf(name, sizeof name, "incoming/f%u", i);
		if (i != kept)
			unlink(at(name));
	}
}

Test(tree_scan, what_is_gone_since_is_not_told)
{
	unsigned char found[MANY] = {0};
	unsigned sum = 0;
	make_many("incoming", MANY);
	walk_ahead(1024, 1500, remove_others, found);
	for (unsigned i = 0; i < MANY; i++)
		sum += found[i];
	cr_assert_eq(sum, 1500);
}

Test(tree_scan, looks_ahead_in_directories)
{
	unsigned char found[MANY] = {0};
	make_dir("incoming/a");
	make_dir("incoming/a/b");
	make_many("incoming/a/b", MANY);
	make_many("incoming/a", MANY);
	make_many("incoming", MANY);
	make_dir("incoming/z");
	make_many("incoming/z", MANY);
	walk_ahead(1024, 1000, NULL, found);
	all_found(found, 4);
}

static void replace_by_link(const char *path)
{
	(void)path;
	for (unsigned i = 0; i < MANY; i++) {
		char name[64];
		snprintf(name, sizeof name, "incoming/a/f%u", i);
		unlink(at(name));
	}
	rmdir(at("incoming/a"));
	symlink("/", at("incoming/a"));
}

Test(tree_scan, a_directory_that_is_read_ahead_is_replaced_by_a_link)
{
	unsigned char found[MANY] = {0};
	unsigned sum = 0;
	make_dir("incoming/a");
	make_many("incoming/a", MANY);
	walk_ahead(1024, 1500, replace_by_link, found);
	for (unsigned i = 0; i < MANY; i++)
		sum += found[i];
	cr_assert_leq(sum, 1500, "nothing behind it");
}

Test(tree_scan, nesting_has_a_limit)
{
	enum { DEPTH = 60 };
	struct seen s;
	int dir = open(at("incoming"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < DEPTH; i++) {
		cr_assert_eq(mkdirat(dir, "d", 0755), 0);
		int next = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		fd_close(dir);
		dir = next;
	}
	fd_close(dir);
	put("incoming/x", "");
	cr_assert_eq(scan_all(&s), -ENOENT);
	cr_assert_geq(place_of(&s, "x"), 0, "the rest is found all the same");
	cr_assert_eq(s.n, 33, "32 levels and the file");
}

Test(tree_scan, names_of_255_bytes)
{
	struct seen s;
	char path[300] = "incoming/";
	memset(path + 9, 'n', 255);
	path[9 + 255] = '\0';
	put(path, "");
	cr_assert_eq(scan_all(&s), -ENOENT);
	cr_assert_geq(place_of(&s, path + 9), 0);
}

Test(tree_scan, paths_that_are_too_long_for_a_job)
{
	struct seen s;
	char name[256];
	int dir = open(at("incoming"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(name, 'n', 255);
	name[255] = '\0';
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(mkdirat(dir, name, 0755), 0);
		int next = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		fd_close(dir);
		dir = next;
	}
	fd_close(dir);
	cr_assert_eq(scan_all(&s), -ENOENT);
	cr_assert_eq(s.n, 16, "4095 bytes hold no more");
}

Test(tree_scan, what_cannot_be_read_is_left_out)
{
	struct seen s;
	if (geteuid() != 0)
		cr_skip_test("needs root");
	make_dir("incoming/closed");
	put("incoming/closed/x", "");
	make_dir("incoming/listed");
	put("incoming/listed/y", "");
	put("incoming/z", "");
	cr_assert_eq(chmod(at("incoming/closed"), 0), 0);
	cr_assert_eq(chmod(at("incoming/listed"), 0744), 0);
	cr_assert_eq(seteuid(UPLOADER), 0);
	int r = scan_all(&s);
	cr_assert_eq(seteuid(0), 0);
	cr_assert_eq(r, -ENOENT);
	cr_assert_eq(s.n, 3);
	cr_assert_geq(place_of(&s, "z"), 0);
	cr_assert_geq(place_of(&s, "closed"), 0);
	cr_assert_geq(place_of(&s, "listed"), 0);
}

Test(tree_scan, what_vanishes_meanwhile_is_left_out)
{
	struct tree_scan *scan;
	const char *path;
	struct file_ident ident;
	enum entry_kind kind;
	int r, directories = 0;
	for (char c = 'a'; c < 'k'; c++) {
		char dir[32], file[32];
		snprintf(dir, sizeof dir, "incoming/%c", c);
		snprintf(file, sizeof file, "incoming/%c/x", c);
		make_dir(dir);
		put(file, "");
	}
	cr_assert_eq(tree_scan_begin(t, "alice", &scan), 0);
	while ((r = tree_scan_next(scan, &path, &ident, &kind)) == 0) {
		char dir[64], file[64];
		cr_assert_eq(kind, ENTRY_DIRECTORY, "%s", path);
		directories++;
		/* In the moment between its report and the way into it. */
		snprintf(dir, sizeof dir, "incoming/%.8s", path);
		snprintf(file, sizeof file, "incoming/%.8s/x", path);
		cr_assert_eq(unlink(at(file)), 0);
		cr_assert_eq(rmdir(at(dir)), 0);
		if (directories % 2 == 0)
			cr_assert_eq(symlink(world, at(dir)), 0, "nor is a symlink followed");
	}
	cr_assert_eq(r, -ENOENT);
	cr_assert_eq(directories, 10);
	tree_scan_end(scan);
}

Test(tree_scan, no_descriptor_is_left_open)
{
	struct tree_scan *scan;
	const char *path;
	struct file_ident ident;
	enum entry_kind kind;
	unsigned before = descriptors_below(world);
	make_dir("incoming/a");
	make_dir("incoming/a/b");
	put("incoming/a/b/x", "");
	for (int steps = 0; steps < 5; steps++) {
		cr_assert_eq(tree_scan_begin(t, "alice", &scan), 0);
		for (int i = 0; i < steps; i++)
			tree_scan_next(scan, &path, &ident, &kind);
		tree_scan_end(scan);
		cr_assert_eq(descriptors_below(world), before, "after %d steps", steps);
	}
}
