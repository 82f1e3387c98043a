/* The file of the index, damaged: the input is a list of changes to a sound
 * one. Either the damage is found before LMDB trusts the pages, or LMDB can read
 * them; and where our own check of the tables finds nothing either, so do all
 * questions. */
#include "io/index_private.h"

#include "fuzz.h"

#include <ctype.h>

enum { PAGE = 4096, CHANGES_MAX = 12, JOBS = 130, SPOOL_ID = 77 };

static uint8_t *sound, *damaged;
static size_t sound_n;
static char dir[128];

static void add_job(struct index *ix, uint32_t user, int number)
{
	char path[JOB_PATH_MAX + 1];
	struct job job = {.user = user, .path = path, .place = PLACE_INCOMING, .accepted_ms = 1000,
	                  .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE};
	/* Many of one path, and some whose record takes pages of its own. */
	snprintf(path, sizeof path, number % 3 == 0 ? "same.csv" : "%d.csv", number);
	if (number % 40 == 1) {
		memset(path, 'x', JOB_PATH_MAX);
		path[JOB_PATH_MAX] = '\0';
	}
	static const enum job_state states[] = {JOB_PENDING, JOB_HELD, JOB_DONE, JOB_FAILED};
	job.state = states[number % 4];
	MUST(index_new_id(ix, &job.id) == 0 && index_new_seq(ix, &job.seq) == 0);
	MUST(index_put_job(ix, &job) == 0);
	const struct attempt attempt = {.number = 1, .outcome = OUTCOME_FAILED, .exit_code = 1};
	if (number % 5 == 0)
		MUST(index_put_attempt(ix, job.id, &attempt) == 0);
}

static void make_index(struct index *ix)
{
	struct user_row row;
	/* Several transactions: pages become free. */
	for (int i = 0; i < JOBS; i++) {
		MUST(index_begin(ix) == 0);
		MUST(index_add_user(ix, i % 2 == 0 ? "alice" : "bob", &row) == 0);
		add_job(ix, row.number, i);
		user_row_clear(&row);
		MUST(index_commit(ix) == 0);
	}
	MUST(index_begin(ix) == 0);
	for (uint64_t id = 1; id < 40; id++)
		index_remove_job(ix, id);
	MUST(index_commit(ix) == 0);
}

static void read_file(const char *path)
{
	struct stat st;
	FILE *file = fopen(path, "r");
	MUST(file != NULL && fstat(fileno(file), &st) == 0);
	sound_n = (size_t)st.st_size;
	sound = malloc(sound_n);
	damaged = malloc(sound_n);
	MUST(sound != NULL && damaged != NULL && fread(sound, 1, sound_n, file) == sound_n);
	fclose(file);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct index_options options = {.create = true, .relaxed = true, .spool_id = SPOOL_ID};
	struct index *ix = NULL;
	char path[160];
	(void)argc;
	(void)argv;
	snprintf(dir, sizeof dir, "%s/index", scratch());
	MUST(index_open(dir, &options, &ix) == 0);
	make_index(ix);
	index_close(ix);
	snprintf(path, sizeof path, "%s/%s", dir, INDEX_DATA);
	read_file(path);
	/* What is made of it does not matter, only that it is read. */
	MUST(sound_n % PAGE == 0 && sound_n / PAGE > 30);
	return 0;
}

/* Returns the size of the file. */
static size_t damage(struct input *in)
{
	size_t size = sound_n;
	memcpy(damaged, sound, sound_n);
	for (int n = 0; in->left > 0 && n < CHANGES_MAX; n++) {
		unsigned kind = (unsigned)take_number(in, 1) % 6;
		uint8_t *page = damaged + take_below(in, (unsigned)(sound_n / PAGE)) * PAGE;
		size_t at = take_below(in, PAGE - 8);
		uint64_t value = take_number(in, kind == 0 ? 1 : kind == 1 ? 2 : 8);
		if (kind == 4)
			memcpy(page, damaged + value % (sound_n / PAGE) * PAGE, PAGE);
		else if (kind == 5)
			size = value % 64 == 0 ? value / 64 % sound_n : size;
		else if (kind == 3)
			page[at] = (uint8_t)(page[at] ^ 1U << value % 8);
		else
			memcpy(page + at, &value, kind == 0 ? 1 : kind == 1 ? 2 : 8);
	}
	return size;
}

static void ask_jobs(struct index *ix)
{
	for (uint64_t id = 0; id <= JOBS + 1; id++) {
		struct job job;
		struct attempt attempt;
		if (index_get_job(ix, id, &job) == 0)
			job_clear(&job);
		if (index_next_attempt(ix, id, 0, &attempt) == 0)
			attempt_clear(&attempt);
	}
}

static void ask_lines(struct index *ix, uint32_t user)
{
	struct job job = {0};
	uint64_t seq = 0, ms = UINT64_MAX, id = UINT64_MAX;
	for (int n = 0; n < JOBS && index_next_in_line(ix, user, seq, &job) == 0; n++) {
		seq = job.seq;
		job_clear(&job);
	}
	for (int n = 0; n < JOBS && index_prev_final(ix, user, JOB_DONE, ms, id, &job) == 0; n++) {
		ms = job.finished_ms;
		id = job.id;
		job_clear(&job);
	}
	if (index_find_path(ix, user, "same.csv", &job) == 0)
		job_clear(&job);
	if (index_next_held(ix, user, 0, &job) == 0)
		job_clear(&job);
	if (index_next_active(ix, 0, user, 0, &job) == 0)
		job_clear(&job);
}

static void ask_users(struct index *ix)
{
	static const char *const names[] = {"alice", "bob", "carol"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct user_row row;
		char *name = NULL;
		if (index_get_user(ix, names[i], &row) == 0) {
			ask_lines(ix, row.number);
			user_row_clear(&row);
		}
		if (index_next_user(ix, names[i], &name, &row) == 0)
			user_row_clear(&row);
		free(name);
	}
}

/* As a process that only reads has it open. */
static void read_by_lmdb(void)
{
	char problem[PROBLEM_MAX] = "";
	struct index ix = {.dir = strdup(dir), .dirfd = -1, .lock_fd = -1, .read_only = true,
	                   .unlocked = true};
	MUST(ix.dir != NULL);
	int r = ix_env_open(&ix, SPOOL_ID);
	if (r == 0)
		r = ix_check(&ix, problem);
	MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT || r == -ESTALE);
	MUST(is_harmless(problem, ""));
	if (r == 0) {
		ask_jobs(&ix);
		ask_users(&ix);
	}
	ix_env_close(&ix);
	free(ix.dir);
}

/* Files of the corpus are named after the damage they do: that is what is to be
 * found, not some other that follows from it. */
static void must_be_named(const char *problem)
{
	char name[PROBLEM_MAX + 1];
	size_t n = 0;
	const char *colon = strstr(problem, ": ");
	for (const char *c = colon == NULL ? problem : colon + 2; *c != '\0'; c++)
		name[n++] = isalpha((unsigned char)*c) ? (char)tolower((unsigned char)*c) : '-';
	name[n] = '\0';
	if (fuzz_file != NULL && strchr("aiht", fuzz_file[0]) != NULL && strchr(fuzz_file, '-') != NULL)
		MUST(strncmp(name, fuzz_file, strlen(fuzz_file)) == 0);
	if (fuzz_file != NULL && strcmp(fuzz_file, "sound") == 0)
		MUST(problem[0] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	char problem[PROBLEM_MAX] = "";
	scratch_write("index/" INDEX_DATA, damaged, damage(&in), 0600);
	int r = ix_pages_check(dir, problem);
	MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
	MUST(is_harmless(problem, "") && (r != -EBADMSG || problem[0] != '\0'));
	MUST(size > 0 || r == 0);
	must_be_named(problem);
	if (r == 0)
		read_by_lmdb();
	return 0;
}
