#include "io/index_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* Room for some 50,000 jobs, and small beside anything a host maps. */
#define MAP_FIRST ((size_t)16 << 20)
/* Larger is no index of ours but damage, or a leak that must show. */
#define MAP_MAX (sizeof(size_t) > 4 ? (uint64_t)1 << 40 : (uint64_t)1 << 30)

#define INDEX_NEW INDEX_DATA ".new"

static const struct {
	const char *name;
	unsigned flags;
} tables[TABLES] = {
	[TABLE_META] = {"meta", 0},         [TABLE_USERS] = {"users", 0},
	[TABLE_NAMES] = {"names", 0},       [TABLE_JOBS] = {"jobs", 0},
	[TABLE_LINE] = {"line", 0},         [TABLE_DELAYED] = {"delayed", 0},
	[TABLE_HELD] = {"held", 0},         [TABLE_ACTIVE] = {"active", 0},
	[TABLE_FINAL] = {"final", 0},       [TABLE_PATHS] = {"paths", MDB_DUPSORT | MDB_DUPFIXED},
	[TABLE_ATTEMPTS] = {"attempts", 0}, [TABLE_WAITING] = {"waiting", 0},
};

const char *ix_table_name(enum table table)
{
	return tables[table].name;
}

unsigned ix_table_flags(enum table table)
{
	return tables[table].flags;
}

int ix_error(struct index *ix, int rc)
{
	if (rc >= 0)
		return -rc;
	switch (rc) {
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_KEYEXIST:
		return -EEXIST;
	case MDB_MAP_FULL:
		ix->map_full = true;
		return -ENOSPC;
	case MDB_TXN_FULL:
		return -E2BIG;
	case MDB_READERS_FULL:
		return -EBUSY;
	case MDB_VERSION_MISMATCH:
		return -EPROTONOSUPPORT;
	case MDB_BAD_TXN:
		if (ix->spoilt < 0)
			return ix->spoilt;
		/* LMDB met a bad page, and went on without saying so. */
		ix->damaged = ix->damage_seen = true;
		return -EBADMSG;
	case MDB_PANIC: /* the head of the file could not be written */
		ix->panicked = ix->damaged = true;
		return -EIO;
	case MDB_MAP_RESIZED:
		/* Nobody else writes: its heads speak of pages that it never had. */
		ix->damaged = ix->damage_seen = !ix->read_only;
		return ix->read_only ? -EIO : -EBADMSG;
	case MDB_BAD_RSLOT:
		return -EIO;
	default: /* wrong pages, depths, sizes: nothing a whole file brings about */
		ix->damaged = ix->damage_seen = true;
		return -EBADMSG;
	}
}

static int open_table(struct index *ix, MDB_txn *txn, enum table table, unsigned create)
{
	unsigned flags;
	int rc = mdb_dbi_open(txn, tables[table].name, tables[table].flags | create,
	                      &ix->table[table]);
	if (rc == 0)
		rc = mdb_dbi_flags(txn, ix->table[table], &flags);
	if (rc == MDB_NOTFOUND || (rc == 0 && flags != tables[table].flags))
		return -EBADMSG;
	return ix_error(ix, rc);
}

static int check_meta(struct index *ix, MDB_txn *txn, uint64_t spool_id)
{
	uint64_t schema, found;
	int r = ix_get_number(ix, txn, "schema", &schema);
	if (r == 0)
		r = ix_get_number(ix, txn, "spool_id", &found);
	if (r != 0)
		return r == -ENOENT ? -EBADMSG : r;
	if (schema > SCHEMA)
		return -EPROTONOSUPPORT;
	if (schema == 0)
		return -EBADMSG;
	return spool_id != 0 && found != spool_id ? -ESTALE : 0;
}

static int open_tables(struct index *ix, uint64_t spool_id)
{
	MDB_txn *txn;
	int r = ix_error(ix, mdb_txn_begin(ix->env, NULL, MDB_RDONLY, &txn));
	if (r < 0)
		return r;
	r = open_table(ix, txn, TABLE_META, 0);
	if (r == 0)
		r = check_meta(ix, txn, spool_id);
	for (int t = TABLE_META + 1; r == 0 && t < TABLES; t++)
		r = open_table(ix, txn, (enum table)t, 0);
	if (r < 0) {
		mdb_txn_abort(txn);
		return r;
	}
	/* Only a commit keeps the handles. */
	return ix_error(ix, mdb_txn_commit(txn));
}

/* LMDB goes no further, and would abort. Its own invariants break where the
 * file was changed while it was open. */
static void broken(MDB_env *env, const char *message)
{
	const struct index *ix = mdb_env_get_userctx(env);
	log_error("the index %s is damaged (%s): this program ends. Started again, spoold rebuilds it "
	          "from the directories; files are safe where they are", ix->dir, message);
	_exit(EXIT_FAILURE);
}

static int create_env(struct index *ix)
{
	int rc = mdb_env_create(&ix->env);
	if (rc == 0)
		rc = mdb_env_set_userctx(ix->env, ix);
	if (rc == 0)
		rc = mdb_env_set_assert(ix->env, broken);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(ix->env, TABLES);
	return ix_error(ix, rc);
}

int ix_env_open(struct index *ix, uint64_t spool_id)
{
	unsigned flags = MDB_NOTLS;
	struct stat st = {0};
	int fd, r = create_env(ix);
	if (r < 0)
		goto out;
	if (ix->read_only)
		flags |= MDB_RDONLY;
	if (ix->unlocked)
		flags |= MDB_NOLOCK;
	if (ix->relaxed)
		flags |= MDB_NOSYNC;
	r = ix_error(ix, mdb_env_open(ix->env, ix->dir, flags, 0640));
	if (r < 0)
		goto out;
	r = ix_error(ix, mdb_env_get_fd(ix->env, &fd));
	if (r == 0 && (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fstat(fd, &st) < 0))
		r = -errno;
	if (r == 0) {
		ix->data_dev = st.st_dev;
		ix->data_ino = st.st_ino;
		r = open_tables(ix, spool_id);
	}
out:
	if (r < 0)
		ix_env_close(ix);
	return r;
}

void ix_env_close(struct index *ix)
{
	if (ix->view != NULL)
		mdb_txn_abort(ix->view);
	ix->view = NULL;
	if (ix->env != NULL)
		mdb_env_close(ix->env);
	ix->env = NULL;
}

static int write_first(struct index *ix, uint64_t spool_id)
{
	int r = index_begin(ix);
	for (int t = 0; r == 0 && t < TABLES; t++)
		r = open_table(ix, ix->write, (enum table)t, MDB_CREATE);
	if (r == 0)
		r = ix_put_number(ix, "schema", SCHEMA);
	if (r == 0)
		r = ix_put_number(ix, "spool_id", spool_id);
	if (r == 0)
		r = ix_put_number(ix, "next_id", 1);
	if (r == 0)
		r = ix_put_number(ix, "next_seq", 1);
	if (r == 0)
		r = ix_put_number(ix, "next_user", 1);
	if (r == 0)
		return index_commit(ix);
	if (ix->write != NULL)
		index_abort(ix);
	return r;
}

static int make_file(struct index *ix, const char *path, uint64_t spool_id)
{
	int r = create_env(ix);
	if (r == 0)
		r = ix_error(ix, mdb_env_set_mapsize(ix->env, MAP_FIRST));
	if (r == 0)
		r = ix_error(ix, mdb_env_open(ix->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS,
		                              0640));
	if (r == 0)
		r = write_first(ix, spool_id);
	ix_env_close(ix);
	return r;
}

int ix_env_make(struct index *ix, uint64_t spool_id)
{
	char *path;
	if (asprintf(&path, "%s/" INDEX_NEW, ix->dir) < 0)
		return -ENOMEM;
	int r = 0;
	if (unlinkat(ix->dirfd, INDEX_NEW, 0) < 0 && errno != ENOENT)
		r = -errno;
	if (r == 0)
		r = make_file(ix, path, spool_id);
	if (r == 0 && renameat2(ix->dirfd, INDEX_NEW, ix->dirfd, INDEX_DATA, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r == 0 && fsync(ix->dirfd) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(ix->dirfd, INDEX_NEW, 0);
	free(path);
	return r;
}

/* LMDB gives its map up before it asks for a larger one. */
static bool have_address_space(size_t size)
{
	void *probe = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (probe == MAP_FAILED)
		return false;
	munmap(probe, size);
	return true;
}

int ix_env_grow(struct index *ix)
{
	MDB_envinfo info;
	MDB_stat stat;
	int dead, r = ix_error(ix, mdb_env_info(ix->env, &info));
	if (r == 0)
		r = ix_error(ix, mdb_env_stat(ix->env, &stat));
	if (r != 0)
		return r;
	bool half_used = info.me_last_pgno + 1 > info.me_mapsize / stat.ms_psize / 2;
	if (!ix->map_full && !half_used)
		return 0;
	/* A reader that died in the middle keeps pages from being used again. */
	mdb_reader_check(ix->env, &dead);
	if (info.me_mapsize > MAP_MAX / 2)
		return ix->map_full ? -ENOSPC : 0;
	/* Without address space for more, go on as long as there is room. */
	if (!have_address_space(info.me_mapsize * 2))
		return ix->map_full ? -ENOMEM : 0;
	r = ix_error(ix, mdb_env_set_mapsize(ix->env, info.me_mapsize * 2));
	ix->map_full = ix->map_full && r < 0;
	if (r < 0) {
		/* It has no map now. The next transaction opens it again. */
		ix_env_close(ix);
		ix->panicked = true;
	}
	return r;
}
