/* A damaged file is told from a whole one, and never ends the process. */
#include "io/index_support.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "io/index_private.h"

/* Each flip is a process, which the sanitizers make dear. */
#ifdef __SANITIZE_ADDRESS__
enum { FLIPS = 250 };
#else
enum { FLIPS = 700 };
#endif
enum { JOBS = 240, PAGE = 4096, SWAPS = 60 };

struct file {
	unsigned char *bytes;
	size_t size;
};

static struct place_for_tests place;
static struct file whole;

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void data_path(char out[200])
{
	snprintf(out, 200, "%s/data.mdb", place.dir);
}

static struct file read_data(void)
{
	char path[200];
	struct stat st;
	data_path(path);
	int fd = open(path, O_RDONLY);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &st), 0);
	struct file f = {malloc((size_t)st.st_size), (size_t)st.st_size};
	cr_assert_eq(read(fd, f.bytes, f.size), (ssize_t)f.size);
	close(fd);
	return f;
}

static void write_data(const unsigned char *bytes, size_t size)
{
	char path[200];
	snprintf(path, sizeof path, "%s/clean", place.dir);
	unlink(path);
	data_path(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	close(fd);
}

/* Of everything some: large values, many values of one key, free pages. */
static void fill(struct index *ix)
{
	char path[3000], text[800];
	memset(path, 'p', sizeof path);
	memset(text, 't', sizeof text);
	text[sizeof text - 1] = '\0';
	for (int i = 0; i < JOBS; i++) {
		char name[12];
		test_begin(ix);
		snprintf(name, sizeof name, "user%d", i % 5);
		uint32_t user = test_user(ix, name);
		int size = snprintf(path, 32, i % 3 == 0 ? "same" : "%d", i);
		if (i % 40 == 1) {
			path[size] = 'p';
			path[sizeof path - 1] = '\0';
		}
		struct job job = test_job(ix, user, path);
		struct attempt attempt = {.number = 1, .error = text};
		cr_assert_eq(index_put_attempt(ix, job.id, &attempt), 0);
		if (i % 2 == 0) {
			job_step(&job, i % 4 == 0 ? JOB_EV_CANCEL : JOB_EV_HOLD);
			cr_assert_eq(index_put_job(ix, &job), 0);
		}
		if (i % 8 == 0)
			cr_assert_eq(index_remove_job(ix, job.id), 0);
		test_commit(ix);
	}
	/* Enough of one path and user for a tree of its own. */
	test_begin(ix);
	for (int i = 0; i < 400; i++) {
		struct job job = {.id = 1000 + (uint64_t)i, .seq = 2000 + (uint64_t)i, .user = 1, .path = text};
		cr_assert_eq(index_put_job(ix, &job), 0);
	}
	test_commit(ix);
}

static void setup(void)
{
	test_place(&place);
	struct index *ix = test_create(place.dir);
	fill(ix);
	test_sound(ix);
	index_close(ix);
	whole = read_data();
}

static void teardown(void)
{
	free(whole.bytes);
	test_place_remove(&place);
}

TestSuite(index_damage, .init = setup, .fini = teardown, .timeout = 240);

static bool known(int r)
{
	return r == 0 || r == -ENOENT || r == -EBADMSG || r == -EPROTONOSUPPORT;
}

/* Reads and changes everything, in this process: it must survive that. */
static void use(struct index *ix, const char *what)
{
	int r = index_begin(ix);
	cr_assert(known(r), "%s: begin: %d", what, r);
	for (uint64_t id = 1; r == 0 && id < 1400; id++) {
		struct job job, found;
		if (index_get_job(ix, id, &job) < 0)
			continue;
		r = index_find_path(ix, job.user, job.path, &found);
		if (r == 0)
			job_clear(&found);
		job.not_before_ms = 12345;
		if (job_next_state(job.state, JOB_EV_CANCEL) >= 0)
			job_step(&job, JOB_EV_CANCEL);
		r = index_put_job(ix, &job);
		if (r == 0 && id % 3 == 0)
			r = index_remove_job(ix, id);
		cr_assert(known(r), "%s: job %lu: %d", what, (unsigned long)id, r);
		job_clear(&job);
	}
	if (index_in_transaction(ix))
		r = index_commit(ix);
	cr_assert(known(r), "%s: commit: %d", what, r);
}

/* Opens what is in the directory. Returns what open said. */
static int judge(const char *what)
{
	struct index *ix;
	char *problem = NULL;
	int r = index_open(place.dir, &(struct index_options){.relaxed = true}, &ix);
	cr_assert(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT || r == -ESTALE, "%s: %d", what, r);
	if (r < 0)
		return r;
	use(ix, what);
	int sound = index_check(ix, &problem);
	cr_assert_eq(sound, 0, "%s: accepted, then: %s", what, problem);
	index_close(ix);
	return 0;
}

Test(index_damage, the_whole_file_is_accepted)
{
	write_data(whole.bytes, whole.size);
	cr_assert_eq(judge("whole"), 0);
}

Test(index_damage, flipped_bytes)
{
	uint64_t seed = 0;
	cr_assert_eq(getentropy(&seed, sizeof seed), 0);
	seed |= 1;
	fprintf(stderr, "index_damage: seed %#llx\n", (unsigned long long)seed);
	int refused = 0;
	for (int i = 0; i < FLIPS; i++) {
		char what[80];
		size_t at = next_random(&seed) % whole.size;
		/* Half of them where the structure is. */
		if (i % 2 == 0)
			at = at / PAGE * PAGE + next_random(&seed) % (at < 2 * PAGE ? 152 : 64);
		unsigned char was = whole.bytes[at];
		unsigned char mask = (unsigned char)(i % 4 < 2 ? 1U << (next_random(&seed) % 8) :
		                                                 1 + next_random(&seed) % 255);
		whole.bytes[at] ^= mask;
		snprintf(what, sizeof what, "byte %zu ^ %#x", at, mask);
		write_data(whole.bytes, whole.size);
		whole.bytes[at] = was;
		refused += judge(what) < 0;
	}
	cr_assert_gt(refused, FLIPS / 5, "%d of %d were noticed", refused, FLIPS);
	fprintf(stderr, "index_damage: %d of %d flips noticed\n", refused, FLIPS);
}

Test(index_damage, truncated_files)
{
	for (size_t size = 0; size < whole.size; size += size < 600 ? 37 : 1500) {
		char what[80];
		snprintf(what, sizeof what, "cut to %zu of %zu", size, whole.size);
		write_data(whole.bytes, size);
		int r = judge(what);
		/* The last pages may be free ones that nobody needs. */
		cr_assert(r == -EBADMSG || (r == 0 && size + 4 * PAGE > whole.size), "%s: %d", what, r);
	}
}

/* What a power cut leaves where nothing was synced. */
Test(index_damage, pages_that_are_old_empty_or_elsewhere)
{
	uint64_t seed = 0x5eed;
	unsigned char saved[PAGE];
	size_t pages = whole.size / PAGE;
	for (size_t i = 0; i < SWAPS; i++) {
		char what[80];
		unsigned char *to = whole.bytes + next_random(&seed) % pages * PAGE;
		const unsigned char *from = whole.bytes + next_random(&seed) % pages * PAGE;
		memcpy(saved, to, PAGE);
		if (i % 2 == 0)
			memset(to, 0, PAGE);
		else
			memmove(to, from, PAGE);
		snprintf(what, sizeof what, "page %zu", (size_t)(to - whole.bytes) / PAGE);
		write_data(whole.bytes, whole.size);
		memcpy(to, saved, PAGE);
		judge(what);
	}
}

Test(index_damage, a_mixture_of_two_commits)
{
	write_data(whole.bytes, whole.size);
	struct index *ix = test_open(place.dir, (struct index_options){.relaxed = true});
	char path[] = "later";
	test_begin(ix);
	test_job(ix, 1, path);
	test_commit(ix);
	index_close(ix);
	struct file later = read_data();
	/* The new heads, but not the new pages. */
	size_t both = later.size < whole.size ? later.size : whole.size;
	memcpy(later.bytes + 2 * PAGE, whole.bytes + 2 * PAGE, both - 2 * PAGE);
	write_data(later.bytes, later.size);
	cr_assert_eq(judge("mixture"), -EBADMSG);
	free(later.bytes);
}

Test(index_damage, a_reader_is_told_too)
{
	struct index *ix;
	write_data(whole.bytes, whole.size / 2);
	cr_assert_eq(test_try(place.dir, (struct index_options){.read_only = true}), -EBADMSG);
	memset(whole.bytes + 2 * PAGE, 0xff, whole.size - 2 * PAGE);
	write_data(whole.bytes, whole.size);
	cr_assert_eq(index_open(place.dir, &(struct index_options){.read_only = true}, &ix), -EBADMSG);
}

Test(index_damage, another_format_of_both_heads_is_newer_not_damaged)
{
	whole.bytes[20] = whole.bytes[PAGE + 20] = 2;
	write_data(whole.bytes, whole.size);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), -EPROTONOSUPPORT);
	whole.bytes[PAGE + 20] = 1;
	write_data(whole.bytes, whole.size);
	cr_assert_eq(test_try(place.dir, (struct index_options){0}), -EBADMSG);
}

Test(index_damage, rubbish_is_damage)
{
	const char rubbish[] = "this is not an index";
	write_data((const unsigned char *)rubbish, sizeof rubbish);
	cr_assert_eq(test_try(place.dir, (struct index_options){.create = true}), -EBADMSG);
	memset(whole.bytes, 0, whole.size);
	write_data(whole.bytes, whole.size);
	cr_assert_eq(test_try(place.dir, (struct index_options){.create = true}), -EBADMSG);
}

/* Damage with every page whole: the records contradict each other. */
typedef int injury(struct index *ix);

static int drop_from_line(struct index *ix)
{
	struct question q = {.table = TABLE_LINE};
	MDB_val key, value;
	int r = ix_seek(ix, ix->write, &q, &key, &value);
	struct key copy = {.size = key.mv_size};
	memcpy(copy.bytes, key.mv_data, key.mv_size);
	return r < 0 ? r : ix_delete(ix, TABLE_LINE, &copy, NULL);
}

static int stranger_in_line(struct index *ix)
{
	struct key key = {0}, value = {0};
	key_u32(&key, 1);
	key_u64(&key, 5);
	key_u64(&value, 999999);
	return ix_put(ix, TABLE_LINE, &key, key_val(&value), 0);
}

static int wrong_count(struct index *ix)
{
	return ix_count(ix, 2, NULL, &(struct job){.state = JOB_DONE});
}

static int wrong_bytes(struct index *ix)
{
	struct job job;
	int r = index_get_job(ix, 4, &job);
	cr_assert_eq(r, 0);
	job.state = JOB_PENDING;
	struct job other = job;
	other.ident.size = job.ident.size + 1;
	r = ix_count(ix, job.user, &job, &other);
	job_clear(&job);
	return r;
}

static int waits_for_nothing(struct index *ix)
{
	struct key key = {0};
	key_name(&key, "nobody");
	return ix_put(ix, TABLE_WAITING, &key, ix_val("", 0), 0);
}

static int orphaned_attempt(struct index *ix)
{
	struct key key = {0};
	key_u64(&key, 777777);
	key_u32(&key, 1);
	return ix_put(ix, TABLE_ATTEMPTS, &key, ix_val("x", 1), 0);
}

static int id_to_come(struct index *ix)
{
	return ix_put_number(ix, "next_id", 3);
}

static int record_cut_off(struct index *ix)
{
	struct key key = {0};
	key_u64(&key, 4);
	return ix_put(ix, TABLE_JOBS, &key, ix_val("J\1\4", 3), 0);
}

static int number_of_another(struct index *ix)
{
	struct key key = {0};
	key_u32(&key, 2);
	return ix_put(ix, TABLE_NAMES, &key, ix_val("mallory", 7), 0);
}

Test(index_damage, contradictions_are_found_and_named)
{
	static const struct {
		injury *injure;
		const char *says;
	} cases[] = {
		{drop_from_line, "not in table line"},
		{stranger_in_line, "table line has"},
		{wrong_count, "fewer done jobs"},
		{wrong_bytes, "bytes that wait"},
		{waits_for_nothing, "table waiting"},
		{orphaned_attempt, "job 777777, which is not there"},
		{id_to_come, "never given"},
		{record_cut_off, "record of job 4 cannot be read"},
		{number_of_another, "number is another"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *problem = NULL;
		write_data(whole.bytes, whole.size);
		struct index *ix = test_open(place.dir, (struct index_options){.relaxed = true});
		test_begin(ix);
		cr_assert_eq(cases[i].injure(ix), 0, "case %zu", i);
		test_commit(ix);
		cr_assert_eq(index_check(ix, &problem), -EBADMSG, "case %zu", i);
		cr_assert_not_null(strstr(problem, cases[i].says), "case %zu: %s", i, problem);
		free(problem);
		index_close(ix);
		/* Seen once, it is looked for again at the next start. */
		cr_assert_eq(test_try(place.dir, (struct index_options){0}), -EBADMSG, "case %zu", i);
	}
}

Test(index_damage, a_read_of_damage_is_an_error_not_an_end)
{
	struct job job;
	write_data(whole.bytes, whole.size);
	struct index *ix = test_open(place.dir, (struct index_options){.relaxed = true});
	test_begin(ix);
	cr_assert_eq(record_cut_off(ix), 0);
	test_commit(ix);
	cr_assert_eq(index_get_job(ix, 4, &job), -EBADMSG);
	test_begin(ix);
	cr_assert_eq(stranger_in_line(ix), 0);
	cr_assert_eq(index_next_in_line(ix, 1, 4, &job), -EBADMSG);
	index_abort(ix);
	index_close(ix);
}

/* Bytes may rot under the mark that the file was closed well. */
Test(index_damage, a_walk_of_damage_comes_to_an_end)
{
	struct job job, found;
	write_data(whole.bytes, whole.size);
	struct index *ix = test_open(place.dir, (struct index_options){.relaxed = true});
	cr_assert_eq(index_get_job(ix, 5, &job), 0);
	cr_assert_eq(job.state, JOB_CANCELED);
	unsigned char record[RECORD_MAX];
	struct key key = {0};
	/* The record says a later time than the table: a walk back would stay there. */
	job.finished_ms++;
	ssize_t size = record_put_job(&job, record, sizeof record);
	cr_assert_gt(size, 0);
	key_u64(&key, 5);
	test_begin(ix);
	cr_assert_eq(ix_put(ix, TABLE_JOBS, &key, ix_val(record, (size_t)size), 0), 0);
	test_commit(ix);
	int r, steps = 0;
	uint64_t ms = UINT64_MAX, id = UINT64_MAX;
	while ((r = index_prev_final(ix, job.user, JOB_CANCELED, ms, id, &found)) == 0 && ++steps < 1000) {
		ms = found.finished_ms;
		id = found.id;
		job_clear(&found);
	}
	cr_assert_eq(r, -EBADMSG);
	cr_assert(index_is_damaged(ix));
	job_clear(&job);
	index_close(ix);
}

/* A write that failed half way must not be committed. */
Test(index_damage, a_spoilt_transaction_is_not_committed)
{
	struct job job;
	write_data(whole.bytes, whole.size);
	struct index *ix = test_open(place.dir, (struct index_options){.relaxed = true});
	test_begin(ix);
	cr_assert_eq(drop_from_line(ix), 0);
	cr_assert_eq(index_next_in_line(ix, 2, 0, &job), 0);
	index_commit(ix);
	struct job bad;
	cr_assert_eq(index_get_job(ix, 2, &bad), 0);
	test_begin(ix);
	cr_assert_eq(ix_count(ix, bad.user, NULL, &(struct job){.state = JOB_DONE}), 0);
	cr_assert_eq(ix_spoil(ix, -EBADMSG), -EBADMSG);
	cr_assert_eq(index_commit(ix), -EBADMSG);
	cr_assert_not(index_in_transaction(ix));
	struct user_row row;
	cr_assert_eq(index_get_user(ix, "user1", &row), 0);
	cr_assert_eq(row.count[JOB_DONE], 0);
	index_close(ix);
	job_clear(&bad);
	job_clear(&job);
}
