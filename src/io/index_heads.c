#include "io/index_pages_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Offsets within a head. */
enum {
	HEAD_MAGIC_AT = 16,
	HEAD_VERSION_AT = 20,
	HEAD_MAP_AT = 32,
	HEAD_FREE_AT = 40,
	HEAD_MAIN_AT = 88,
	HEAD_LAST_AT = 136,
	HEAD_TXN_AT = 144,
	HEAD_SIZE = 152,
};

#define LMDB_MAGIC UINT32_C(0xbeefc0de)
#define LMDB_FORMAT 1
/* Twice what a map of ours grows to. */
#define MAP_LIMIT (UINT64_C(1) << 41)

int page_problem(char out[PROBLEM_MAX], const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(out, PROBLEM_MAX, format, args);
	va_end(args);
	return -EBADMSG;
}

void tree_read(const unsigned char *bytes, struct tree *ret)
{
	memcpy(&ret->key_size, bytes, 4);
	memcpy(&ret->flags, bytes + 4, 2);
	memcpy(&ret->depth, bytes + 6, 2);
	memcpy(&ret->root, bytes + 40, 8);
}

static int read_one(int fd, off_t at, struct head *ret, char out[PROBLEM_MAX])
{
	unsigned char b[HEAD_SIZE];
	ssize_t n = pread(fd, b, sizeof b, at);
	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof b)
		return page_problem(out, "the file ends within its head");
	memcpy(&ret->flags, b + PAGE_FLAGS_AT, 2);
	memcpy(&ret->magic, b + HEAD_MAGIC_AT, 4);
	memcpy(&ret->version, b + HEAD_VERSION_AT, 4);
	memcpy(&ret->map_size, b + HEAD_MAP_AT, 8);
	memcpy(&ret->last_page, b + HEAD_LAST_AT, 8);
	memcpy(&ret->txn, b + HEAD_TXN_AT, 8);
	tree_read(b + HEAD_FREE_AT, &ret->free);
	tree_read(b + HEAD_MAIN_AT, &ret->main);
	/* LMDB keeps the page size in a field the free tree does not need. */
	ret->page_size = ret->free.key_size;
	return 0;
}

static bool page_size_fits(uint32_t size)
{
	return size >= 512 && size <= 32768 && (size & (size - 1)) == 0;
}

static bool root_fits(const struct tree *tree, uint64_t pages)
{
	return tree->root == NO_PAGE || (tree->root >= HEADS && tree->root < pages);
}

/* The tree of free pages also keeps flags of the environment, above its own. */
static bool flags_fit(const struct head *head)
{
	return (head->free.flags & 0x3fff) == MDB_INTEGERKEY && head->main.flags == 0;
}

static int check_one(const struct head *head, uint64_t file_size, char out[PROBLEM_MAX])
{
	if (head->flags != PAGE_HEAD || head->magic != LMDB_MAGIC)
		return page_problem(out, "a head of the file is no LMDB head");
	if (head->version != LMDB_FORMAT)
		return -EPROTONOSUPPORT;
	if (!page_size_fits(head->page_size))
		return page_problem(out, "a head of the file names an impossible page size");
	if (head->map_size > MAP_LIMIT || head->last_page < HEADS - 1 ||
	    head->last_page >= MAP_LIMIT / head->page_size)
		return page_problem(out, "a head of the file names an impossible size");
	if (!flags_fit(head))
		return page_problem(out, "a head of the file names trees of an unknown kind");
	uint64_t pages = file_size / head->page_size;
	if (pages < HEADS || !root_fits(&head->free, pages) || !root_fits(&head->main, pages))
		return page_problem(out, "the file ends before the pages its head speaks of");
	return 0;
}

int head_read(int fd, uint64_t file_size, struct head *ret, char problem[PROBLEM_MAX])
{
	struct head heads[HEADS] = {0};
	int second, r = read_one(fd, 0, &heads[0], problem);
	if (r < 0)
		return r;
	r = check_one(&heads[0], file_size, problem);
	/* Without a page size of its own, the first head cannot say where the other is. */
	if (r == -EBADMSG)
		return r;
	second = read_one(fd, page_size_fits(heads[0].page_size) ? heads[0].page_size : 4096,
	                  &heads[1], problem);
	if (second == 0)
		second = check_one(&heads[1], file_size, problem);
	/* A newer format changes both; one alone is damage. */
	if (r != second)
		return second < 0 && second != -EPROTONOSUPPORT ?
		               second : page_problem(problem, "the two heads of the file disagree");
	if (r == 0 && heads[0].page_size != heads[1].page_size)
		return page_problem(problem, "the two heads of the file disagree about its page size");
	if (r == 0)
		*ret = heads[heads[0].txn < heads[1].txn];
	return r;
}

int ix_pages_heads(int fd, char problem[PROBLEM_MAX])
{
	struct stat st;
	struct head head;
	/* Elsewhere the fields lie differently: left to LMDB's own look. */
	if (sizeof(size_t) != 8)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	return head_read(fd, (uint64_t)st.st_size, &head, problem);
}
