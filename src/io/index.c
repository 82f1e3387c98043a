#include "io/index_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"

static void free_index(struct index *ix)
{
	ix_env_close(ix);
	ix_dir_unlock(ix);
	fd_close(ix->dirfd);
	free(ix->data);
	free(ix->dir);
	free(ix);
}

static struct index *new_index(const char *dir, const struct index_options *options)
{
	struct index *ix = calloc(1, sizeof *ix);
	if (ix == NULL)
		return NULL;
	ix->dirfd = ix->lock_fd = -1;
	ix->read_only = options->read_only;
	ix->relaxed = options->relaxed && !options->read_only;
	ix->dir = strdup(dir);
	if (asprintf(&ix->data, "%s/" INDEX_DATA, dir) < 0)
		ix->data = NULL;
	if (ix->dir == NULL || ix->data == NULL) {
		free_index(ix);
		return NULL;
	}
	return ix;
}

static int check_heads(struct index *ix)
{
	char problem[PROBLEM_MAX];
	int fd = openat(ix->dirfd, INDEX_DATA, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	int r = ix_pages_heads(fd, problem);
	fd_close(fd);
	return r;
}

static int have_data(struct index *ix, const struct index_options *options)
{
	struct stat st;
	if (fstatat(ix->dirfd, INDEX_DATA, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISREG(st.st_mode) ? 0 : -EBADMSG;
	if (errno != ENOENT)
		return -errno;
	return options->create && !options->read_only ? ix_env_make(ix, options->spool_id) : -ENOENT;
}

/* After a crash everything is looked at; after index_close() there is no need. */
static int judge(struct index *ix, uint64_t spool_id)
{
	if (ix_dir_is_clean(ix))
		return 0;
	struct ix_probe p = {.dir = ix->dir, .spool_id = spool_id, .unlocked = true, .pages = true,
	                     .deep = true};
	return ix_probe(&p, NULL);
}

static int open_to_write(struct index *ix, const struct index_options *options)
{
	int r = ix_dir_open(ix, options->create);
	if (r == 0)
		r = ix_dir_lock(ix);
	if (r == 0)
		r = ix_dir_reserve(ix);
	if (r == 0)
		r = have_data(ix, options);
	if (r == 0)
		r = check_heads(ix);
	if (r == 0)
		r = judge(ix, options->spool_id);
	if (r == 0)
		r = ix_env_open(ix, options->spool_id);
	ix->opened = r == 0;
	return r < 0 ? r : ix_dir_unmark(ix);
}

/* What a writer has open, it has judged; a start in a child still tells
 * whether reading is possible at all. */
static int judge_to_read(struct index *ix, uint64_t spool_id)
{
	if (!ix_dir_has_writer(ix)) {
		int r = check_heads(ix);
		if (r == 0)
			r = judge(ix, spool_id);
		/* A writer that started since makes whole pages look damaged. */
		if (r == 0 || !ix_dir_has_writer(ix))
			return r;
	}
	struct ix_probe p = {.dir = ix->dir, .spool_id = spool_id, .unlocked = ix->unlocked};
	return ix_probe(&p, NULL);
}

static int open_to_read(struct index *ix, const struct index_options *options)
{
	int r = ix_dir_open(ix, false);
	if (r == 0)
		r = have_data(ix, options);
	if (r < 0)
		return r;
	ix->unlocked = !ix_dir_may_register(ix);
	r = judge_to_read(ix, options->spool_id);
	return r < 0 ? r : ix_env_open(ix, options->spool_id);
}

int index_open(const char *dir, const struct index_options *options, struct index **ret)
{
	struct index *ix = new_index(dir, options);
	if (ix == NULL)
		return -ENOMEM;
	int r = options->read_only ? open_to_read(ix, options) : open_to_write(ix, options);
	if (r < 0) {
		free_index(ix);
		return r;
	}
	*ret = ix;
	return 0;
}

void index_close(struct index *ix)
{
	if (ix == NULL)
		return;
	if (ix->write != NULL)
		index_abort(ix);
	bool clean = !ix->read_only && !ix->damaged && mdb_env_sync(ix->env, 1) == 0;
	ix_env_close(ix);
	/* Without the mark the next start only takes longer. */
	if (clean)
		ix_dir_mark_clean(ix);
	free_index(ix);
}

/* What has failed may be on the disk or not; what is there is whole. */
static int reopen(struct index *ix)
{
	ix_env_close(ix);
	int r = check_heads(ix);
	if (r == 0)
		r = ix_env_open(ix, 0);
	if (r < 0)
		return r;
	ix->panicked = false;
	ix->reopened = true;
	return 0;
}

int index_begin(struct index *ix)
{
	assert(ix->write == NULL);
	if (ix->read_only)
		return -EROFS;
	int r = ix->panicked ? reopen(ix) : 0;
	if (r == 0 && ix->opened && !ix_dir_is_in_place(ix)) {
		ix->damaged = true;
		r = -EBADMSG;
	}
	if (r == 0)
		r = ix_env_grow(ix);
	return r < 0 ? r : ix_error(ix, mdb_txn_begin(ix->env, NULL, 0, &ix->write));
}

int index_commit(struct index *ix)
{
	assert(ix->write != NULL);
	int r = ix->spoilt;
	if (r < 0) {
		index_abort(ix);
		return r;
	}
	MDB_txn *txn = ix->write;
	ix->write = NULL;
	r = ix_error(ix, mdb_txn_commit(txn));
	/* A write cut short by a full disk is EIO to LMDB. */
	if (r == -EIO && ix_dir_is_full(ix))
		r = -ENOSPC;
	/* Nobody knows what of it reached the disk: the next start looks. */
	ix->damaged = ix->damaged || r == -EIO;
	return r;
}

void index_abort(struct index *ix)
{
	assert(ix->write != NULL);
	mdb_txn_abort(ix->write);
	ix->write = NULL;
	ix->spoilt = 0;
}

bool index_in_transaction(const struct index *ix)
{
	return ix->write != NULL;
}

bool index_reopened(struct index *ix)
{
	bool reopened = ix->reopened;
	ix->reopened = false;
	return reopened;
}

bool index_is_damaged(const struct index *ix)
{
	return ix->damage_seen;
}

bool index_map_was_full(const struct index *ix)
{
	return ix->map_full;
}

int index_sync(struct index *ix)
{
	if (ix->read_only)
		return -EROFS;
	return ix->env == NULL ? -EIO : ix_error(ix, mdb_env_sync(ix->env, 1));
}

int index_totals(struct index *ix, struct index_totals *ret)
{
	MDB_txn *txn;
	MDB_stat stat;
	MDB_envinfo info;
	int r = ix_view_begin(ix, &txn);
	if (r < 0)
		return r;
	r = ix_error(ix, mdb_stat(txn, ix->table[TABLE_JOBS], &stat));
	ix_view_end(ix, txn);
	if (r == 0)
		r = ix_error(ix, mdb_env_info(ix->env, &info));
	if (r != 0)
		return r;
	*ret = (struct index_totals){
		.jobs = stat.ms_entries,
		.bytes_used = (info.me_last_pgno + 1) * (uint64_t)stat.ms_psize,
		.bytes_map = info.me_mapsize,
	};
	return 0;
}
