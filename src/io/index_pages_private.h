/* The file format of LMDB 0.9 on 64-bit machines, version 1, as far as it is
 * checked before LMDB trusts it. Numbers are in the order of the machine. */
#pragma once

#include "io/index_private.h"

enum {
	PAGE_HEADER = 16,       /* bytes; page number, key size, flags, lower, upper */
	PAGE_KEY_SIZE_AT = 8,
	PAGE_FLAGS_AT = 10,
	PAGE_LOWER_AT = 12,
	PAGE_UPPER_AT = 14,
	PAGE_COUNT_AT = 12,     /* in the first of several pages of one value */

	PAGE_BRANCH = 0x01,
	PAGE_LEAF = 0x02,
	PAGE_OVERFLOW = 0x04,
	PAGE_HEAD = 0x08,
	PAGE_DIRTY = 0x10,      /* stays set in pages within a node */
	PAGE_FIXED = 0x20,      /* keys of one size, without nodes */
	PAGE_WITHIN = 0x40,

	NODE_HEADER = 8,        /* bytes; size of the value or child page, flags, key size */
	NODE_FLAGS_AT = 4,
	NODE_KEY_SIZE_AT = 6,
	NODE_BIG = 0x01,        /* the value is in pages of its own */
	NODE_TREE = 0x02,       /* the value is a tree */
	NODE_SEVERAL = 0x04,    /* several values: a tree, or a page within the node */

	TREE_SIZE = 48,         /* bytes of a tree's description */
	TREE_DEPTH_MAX = 32,    /* LMDB's cursors go no deeper */
	HEADS = 2,              /* pages 0 and 1 */
};

#define NO_PAGE UINT64_MAX

struct tree {
	uint32_t key_size;      /* of all keys, where they are of one size */
	uint16_t flags;         /* those of mdb_dbi_open() */
	uint16_t depth;
	uint64_t root;          /* or NO_PAGE */
};

struct head {
	uint32_t magic, version, page_size;
	uint16_t flags;
	uint64_t map_size, last_page, txn;
	struct tree free, main;
};

void tree_read(const unsigned char *bytes, struct tree *ret);
/* The head that is in force. 0, -EBADMSG, -EPROTONOSUPPORT or a read error. */
int head_read(int fd, uint64_t file_size, struct head *ret, char problem[PROBLEM_MAX]);
int page_problem(char out[PROBLEM_MAX], const char *format, ...)
	__attribute__((format(printf, 2, 3)));
