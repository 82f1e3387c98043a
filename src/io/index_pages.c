#include "io/index_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file format of LMDB 0.9 on 64-bit machines, version 1. Offsets within a
 * head, which is page 0 or 1: a page header, then what is in use. */
enum {
	PAGE_FLAGS_AT = 10,
	HEAD_MAGIC_AT = 16,
	HEAD_VERSION_AT = 20,
	HEAD_MAP_AT = 32,
	HEAD_FREE_AT = 40,
	HEAD_MAIN_AT = 88,
	HEAD_LAST_AT = 136,
	HEAD_TXN_AT = 144,
	HEAD_SIZE = 152,
	DB_ROOT_AT = 40,
	HEADS = 2,
	PAGE_IS_HEAD = 0x08,
};

#define LMDB_MAGIC UINT32_C(0xbeefc0de)
#define LMDB_FORMAT 1
#define NO_PAGE UINT64_MAX
#define MAP_LIMIT (UINT64_C(1) << 41)

struct head {
	uint32_t magic, version, page_size;
	uint16_t flags;
	uint64_t map_size, last_page, txn, free_root, main_root;
};

static int problem(char out[PROBLEM_MAX], const char *what)
{
	snprintf(out, PROBLEM_MAX, "%s", what);
	return -EBADMSG;
}

static int read_head(int fd, off_t at, struct head *ret)
{
	unsigned char b[HEAD_SIZE];
	ssize_t n = pread(fd, b, sizeof b, at);
	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof b)
		return -EBADMSG;
	memcpy(&ret->flags, b + PAGE_FLAGS_AT, 2);
	memcpy(&ret->magic, b + HEAD_MAGIC_AT, 4);
	memcpy(&ret->version, b + HEAD_VERSION_AT, 4);
	memcpy(&ret->map_size, b + HEAD_MAP_AT, 8);
	memcpy(&ret->page_size, b + HEAD_FREE_AT, 4);
	memcpy(&ret->free_root, b + HEAD_FREE_AT + DB_ROOT_AT, 8);
	memcpy(&ret->main_root, b + HEAD_MAIN_AT + DB_ROOT_AT, 8);
	memcpy(&ret->last_page, b + HEAD_LAST_AT, 8);
	memcpy(&ret->txn, b + HEAD_TXN_AT, 8);
	return 0;
}

static bool root_fits(uint64_t root, uint64_t pages)
{
	return root == NO_PAGE || (root >= HEADS && root < pages);
}

static bool page_size_fits(uint32_t size)
{
	return size >= 512 && size <= 32768 && (size & (size - 1)) == 0;
}

static int check_head(const struct head *head, uint64_t file_size, char out[PROBLEM_MAX])
{
	if ((head->flags & PAGE_IS_HEAD) == 0 || head->magic != LMDB_MAGIC)
		return problem(out, "the head of the file is no LMDB head");
	if (head->version != LMDB_FORMAT)
		return -EPROTONOSUPPORT;
	if (!page_size_fits(head->page_size))
		return problem(out, "the head of the file names an impossible page size");
	uint64_t pages = file_size / head->page_size;
	if (head->map_size > MAP_LIMIT || head->last_page < HEADS - 1 ||
	    head->last_page >= MAP_LIMIT / head->page_size)
		return problem(out, "the head of the file names an impossible size");
	if (pages < HEADS || !root_fits(head->free_root, pages) || !root_fits(head->main_root, pages))
		return problem(out, "the file ends before the pages its head speaks of");
	return 0;
}

int ix_pages_heads(int fd, char out[PROBLEM_MAX])
{
	struct stat st;
	struct head heads[HEADS];
	/* Elsewhere the fields lie differently: left to LMDB's own look. */
	if (sizeof(size_t) != 8)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	int r = read_head(fd, 0, &heads[0]);
	if (r == 0)
		r = check_head(&heads[0], (uint64_t)st.st_size, out);
	if (r == 0)
		r = read_head(fd, heads[0].page_size, &heads[1]);
	if (r == 0)
		r = check_head(&heads[1], (uint64_t)st.st_size, out);
	if (r == 0 && heads[0].page_size != heads[1].page_size)
		r = problem(out, "the two heads of the file disagree about its page size");
	return r;
}
