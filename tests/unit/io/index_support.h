/* A real index in a directory of its own. */
#pragma once

#include <criterion/criterion.h>

#include <errno.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/index.h"

enum { TEST_SPOOL_ID = 77 };

struct place_for_tests {
	char root[64];
	char dir[96];   /* the index */
};

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void test_place(struct place_for_tests *p)
{
	strcpy(p->root, "/tmp/spoold-index-XXXXXX");
	cr_assert_not_null(mkdtemp(p->root));
	snprintf(p->dir, sizeof p->dir, "%s/index", p->root);
}

static inline void test_place_remove(const struct place_for_tests *p)
{
	nftw(p->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline struct index *test_open(const char *dir, struct index_options options)
{
	struct index *ix = NULL;
	int r = index_open(dir, &options, &ix);
	cr_assert_eq(r, 0, "opening %s: %s", dir, strerror(-r));
	return ix;
}

static inline struct index *test_create(const char *dir)
{
	return test_open(dir, (struct index_options){
		.create = true, .relaxed = true, .spool_id = TEST_SPOOL_ID});
}

static inline int test_try(const char *dir, struct index_options options)
{
	struct index *ix = NULL;
	int r = index_open(dir, &options, &ix);
	if (r == 0)
		index_close(ix);
	return r;
}

static inline uint32_t test_user(struct index *ix, const char *name)
{
	struct user_row row;
	cr_assert_eq(index_add_user(ix, name, &row), 0);
	uint32_t number = row.number;
	user_row_clear(&row);
	return number;
}

/* A new pending job at the end of the line. The path is the caller's. */
static inline struct job test_job(struct index *ix, uint32_t user, char *path)
{
	struct job job = {.user = user, .path = path, .place = PLACE_INCOMING,
	                  .exit_code = EXIT_CODE_NONE, .records = RECORDS_NONE, .accepted_ms = 1000};
	cr_assert_eq(index_new_id(ix, &job.id), 0);
	cr_assert_eq(index_new_seq(ix, &job.seq), 0);
	cr_assert_eq(index_put_job(ix, &job), 0);
	return job;
}

static inline void test_sound(struct index *ix)
{
	char *problem = NULL;
	int r = index_check(ix, &problem);
	cr_assert_eq(r, 0, "%s: %s", strerror(-r), problem);
}

static inline void test_begin(struct index *ix)
{
	cr_assert_eq(index_begin(ix), 0);
}

static inline void test_commit(struct index *ix)
{
	cr_assert_eq(index_commit(ix), 0);
}
