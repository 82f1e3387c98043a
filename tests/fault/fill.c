/* Fills the index of a spool with the history of jobs that are over:
 *
 *   fill INDEX_DIRECTORY USER JOBS
 *
 * so that a test can make it grow without running them. */
#include "io/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EACH_COMMIT = 1000 };

static int put_one(struct index *ix, uint32_t user)
{
	char path[40], error[] = "withdrawn: the file was taken out of incoming";
	struct job job = {.user = user, .state = JOB_CANCELED, .place = PLACE_NOWHERE,
	                  .path = path, .error = error, .exit_code = EXIT_CODE_NONE,
	                  .records = RECORDS_NONE};
	int r = index_new_id(ix, &job.id);
	if (r == 0)
		r = index_new_seq(ix, &job.seq);
	if (r < 0)
		return r;
	snprintf(path, sizeof path, "history-%llu.csv", (unsigned long long)job.id);
	/* Far from its retention time. */
	job.arrived_ms = job.accepted_ms = job.finished_ms = UINT64_C(4102444800000) + job.id;
	return index_put_job(ix, &job);
}

static int fill(struct index *ix, const char *name, unsigned long jobs)
{
	struct user_row row = {0};
	int r = index_begin(ix);
	if (r == 0)
		r = index_add_user(ix, name, &row);
	for (unsigned long n = 1; r == 0 && n <= jobs; n++) {
		r = put_one(ix, row.number);
		if (r == 0 && n % EACH_COMMIT == 0) {
			r = index_commit(ix);
			r = r < 0 ? r : index_begin(ix);
		}
	}
	if (r == 0)
		r = index_commit(ix);
	user_row_clear(&row);
	return r;
}

int main(int argc, char **argv)
{
	const struct index_options options = {0};
	struct index *ix = NULL;
	if (argc != 4)
		return 2;
	int r = index_open(argv[1], &options, &ix);
	if (r == 0)
		r = fill(ix, argv[2], strtoul(argv[3], NULL, 10));
	struct index_totals totals = {0};
	if (r == 0)
		r = index_totals(ix, &totals);
	index_close(ix);
	if (r < 0) {
		fprintf(stderr, "fill: %s\n", strerror(-r));
		return 1;
	}
	printf("%llu bytes of a map of %llu\n", (unsigned long long)totals.bytes_used,
	       (unsigned long long)totals.bytes_map);
	return 0;
}
