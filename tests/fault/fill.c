/* Fills the index of a spool with the history of jobs that are over:
 *
 *   fill INDEX_DIRECTORY USER
 *
 * up to where the next transaction makes it grow. */
#include "io/index.h"

#include <stdio.h>
#include <string.h>

enum { EACH_COMMIT = 100 };

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

static int put_some(struct index *ix, uint32_t user)
{
	int r = index_begin(ix);
	for (int n = 0; r == 0 && n < EACH_COMMIT; n++)
		r = put_one(ix, user);
	return r < 0 ? r : index_commit(ix);
}

static int find_user(struct index *ix, const char *name, uint32_t *ret)
{
	struct user_row row = {0};
	int r = index_get_user(ix, name, &row);
	*ret = row.number;
	user_row_clear(&row);
	return r;
}

/* An index grows before a transaction when half of it is in use. */
static int fill(struct index *ix, const char *name)
{
	struct index_totals totals = {0};
	uint32_t user;
	int r = find_user(ix, name, &user);
	while (r == 0 && totals.bytes_used <= totals.bytes_map / 2) {
		r = put_some(ix, user);
		if (r == 0)
			r = index_totals(ix, &totals);
	}
	return r;
}

int main(int argc, char **argv)
{
	const struct index_options options = {0};
	struct index *ix = NULL;
	if (argc != 3)
		return 2;
	int r = index_open(argv[1], &options, &ix);
	if (r == 0)
		r = fill(ix, argv[2]);
	index_close(ix);
	if (r < 0) {
		fprintf(stderr, "fill: %s\n", strerror(-r));
		return 1;
	}
	return 0;
}
