#include "io/index_pages_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

struct bytes {
	const unsigned char *at;
	size_t size;
};

struct pages {
	int fd;
	char *problem;
	struct head head;
	uint64_t in_file;     /* pages the file has */
	uint64_t in_use;      /* pages the head speaks of */
	unsigned char *seen;  /* a bit for each of them */
	uint64_t last_free;   /* transaction whose freed pages were read last */
};

/* The keys a page may hold: from `low` on, below `high` where there is one. */
struct range {
	struct bytes low, high;
	bool bounded;
};

static int check_tree(struct pages *p, const struct tree *tree);

static uint16_t get16(const unsigned char *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static uint64_t get64(const unsigned char *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static int damaged(struct pages *p, uint64_t page, const char *what)
{
	return page_problem(p->problem, "page %" PRIu64 " of the file: %s", page, what);
}

static int compare(struct bytes a, struct bytes b)
{
	size_t both = a.size < b.size ? a.size : b.size;
	int order = both > 0 ? memcmp(a.at, b.at, both) : 0;
	return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* Each page has one use. */
static int mark(struct pages *p, uint64_t page, uint64_t n, uint64_t limit)
{
	if (page < HEADS || page >= limit || n > limit - page)
		return damaged(p, page, "is spoken of, but not there");
	for (uint64_t i = page; i < page + n; i++) {
		unsigned char bit = (unsigned char)(1U << (i % 8));
		if ((p->seen[i / 8] & bit) != 0)
			return damaged(p, i, "is used twice");
		p->seen[i / 8] |= bit;
	}
	return 0;
}

static uint64_t readable(const struct pages *p)
{
	return p->in_file < p->in_use ? p->in_file : p->in_use;
}

static int read_at(struct pages *p, uint64_t page, void *out, size_t size)
{
	ssize_t n = pread(p->fd, out, size, (off_t)(page * p->head.page_size));
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : damaged(p, page, "is cut off");
}

/* The value of a node that lies in pages of its own: `*ret` its bytes where
 * wanted (free). */
static int check_big(struct pages *p, uint64_t page, uint64_t size, unsigned char **ret)
{
	unsigned char header[PAGE_HEADER];
	uint32_t count;
	uint64_t wanted = (PAGE_HEADER - 1 + size) / p->head.page_size + 1;
	int r = mark(p, page, wanted, readable(p));
	if (r == 0)
		r = read_at(p, page, header, sizeof header);
	if (r < 0)
		return r;
	memcpy(&count, header + PAGE_COUNT_AT, sizeof count);
	if (get64(header) != page || get16(header + PAGE_FLAGS_AT) != PAGE_OVERFLOW || count != wanted)
		return damaged(p, page, "is not the large value it should be");
	if (ret == NULL)
		return 0;
	unsigned char *all = malloc(PAGE_HEADER + size);
	if (all == NULL)
		return -ENOMEM;
	r = read_at(p, page, all, PAGE_HEADER + size);
	if (r == 0)
		memmove(all, all + PAGE_HEADER, size);
	if (r < 0)
		free(all);
	else
		*ret = all;
	return r;
}

/* A count, then page numbers from high to low. */
static int check_free_list(struct pages *p, uint64_t page, struct bytes key, struct bytes list)
{
	if (key.size != 8 || get64(key.at) <= p->last_free || get64(key.at) > p->head.txn)
		return damaged(p, page, "has an impossible transaction in the list of free pages");
	p->last_free = get64(key.at);
	uint64_t n = list.size >= 8 ? get64(list.at) : NO_PAGE;
	if (n >= NO_PAGE / 8 || n > list.size / 8 - 1)
		return damaged(p, page, "has a list of free pages that is cut off");
	for (uint64_t i = 1; i <= n; i++) {
		uint64_t free_page = get64(list.at + 8 * i);
		if (i > 1 && free_page >= get64(list.at + 8 * (i - 1)))
			return damaged(p, page, "has a list of free pages out of order");
		/* A free page may never have been written. */
		int r = mark(p, free_page, 1, p->in_use);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The header of a page with entries; *ret_n is their number. */
static int check_header(struct pages *p, uint64_t page, struct bytes b, size_t *ret_n)
{
	size_t lower = get16(b.at + PAGE_LOWER_AT), upper = get16(b.at + PAGE_UPPER_AT);
	if (lower < PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > b.size)
		return damaged(p, page, "has an impossible size of its entries");
	*ret_n = (lower - PAGE_HEADER) / 2;
	return 0;
}

static int check_fixed(struct pages *p, uint64_t page, struct bytes b, size_t n, uint32_t key_size)
{
	if (n == 0 || key_size == 0 || get16(b.at + PAGE_KEY_SIZE_AT) != key_size ||
	    n > (b.size - PAGE_HEADER) / key_size)
		return damaged(p, page, "has an impossible number of values");
	for (size_t i = 1; i < n; i++) {
		const unsigned char *at = b.at + PAGE_HEADER + i * key_size;
		if (memcmp(at - key_size, at, key_size) >= 0)
			return damaged(p, page, "is not in order");
	}
	return 0;
}

/* Several values of one key, few enough to lie within its node. Ours are all
 * of one size. */
static int check_within(struct pages *p, uint64_t page, struct bytes value)
{
	size_t n = 0;
	if (value.size < PAGE_HEADER ||
	    (get16(value.at + PAGE_FLAGS_AT) & ~PAGE_DIRTY) != (PAGE_LEAF | PAGE_FIXED | PAGE_WITHIN))
		return damaged(p, page, "has values that are no list");
	int r = check_header(p, page, value, &n);
	return r < 0 ? r : check_fixed(p, page, value, n, get16(value.at + PAGE_KEY_SIZE_AT));
}

static int check_value(struct pages *p, const struct tree *tree, uint64_t page, uint16_t flags,
                       struct bytes key, struct bytes value)
{
	bool is_main = tree == &p->head.main, is_free = tree == &p->head.free;
	bool several = (tree->flags & MDB_DUPSORT) != 0;
	if (flags == NODE_TREE && !is_main)
		return damaged(p, page, "has a tree where none belongs");
	if ((flags & NODE_SEVERAL) != 0 && !several)
		return damaged(p, page, "has several values where one belongs");
	if (flags == NODE_TREE || flags == (NODE_TREE | NODE_SEVERAL)) {
		struct tree inner;
		if (value.size != TREE_SIZE)
			return damaged(p, page, "has a tree of an impossible size");
		tree_read(value.at, &inner);
		return check_tree(p, &inner);
	}
	if (flags == NODE_SEVERAL)
		return check_within(p, page, value);
	if (flags != 0)
		return damaged(p, page, "has an entry of an unknown kind");
	return is_free ? check_free_list(p, page, key, value) : 0;
}

/* One entry of a leaf. */
static int check_leaf_node(struct pages *p, const struct tree *tree, uint64_t page, struct bytes b,
                           size_t at, struct bytes key)
{
	const unsigned char *node = b.at + at, *value = key.at + key.size;
	size_t room = b.size - at - NODE_HEADER - key.size;
	uint16_t flags = get16(node + NODE_FLAGS_AT);
	uint64_t size = get16(node) | (uint64_t)get16(node + 2) << 16;
	if (flags != NODE_BIG) {
		if (size > room)
			return damaged(p, page, "has a value that is cut off");
		return check_value(p, tree, page, flags, key, (struct bytes){value, size});
	}
	if (room < 8)
		return damaged(p, page, "has a value that is cut off");
	if (tree != &p->head.free)
		return check_big(p, get64(value), size, NULL);
	unsigned char *list = NULL;
	int r = check_big(p, get64(value), size, &list);
	if (r < 0)
		return r;
	assert(list != NULL);
	r = check_free_list(p, page, key, (struct bytes){list, size});
	free(list);
	return r;
}

static int find_node(struct pages *p, uint64_t page, struct bytes b, size_t i, size_t *ret_at,
                     struct bytes *ret_key)
{
	size_t at = get16(b.at + PAGE_HEADER + 2 * i);
	if (at < get16(b.at + PAGE_UPPER_AT) || at > b.size - NODE_HEADER)
		return damaged(p, page, "has an entry outside of itself");
	size_t size = get16(b.at + at + NODE_KEY_SIZE_AT);
	if (size > b.size - at - NODE_HEADER)
		return damaged(p, page, "has a key that is cut off");
	*ret_at = at;
	*ret_key = (struct bytes){b.at + at + NODE_HEADER, size};
	return 0;
}

static int check_page(struct pages *p, const struct tree *tree, uint64_t page, unsigned level,
                      struct range range);

static int check_branch(struct pages *p, const struct tree *tree, uint64_t page, struct bytes b,
                        size_t n, unsigned level, struct range range)
{
	if (n < 2)
		return damaged(p, page, "has too few branches");
	for (size_t i = 0; i < n; i++) {
		size_t at, next_at;
		struct range child = range;
		struct bytes key, next = range.high;
		int r = find_node(p, page, b, i, &at, &key);
		if (r == 0 && i + 1 < n)
			r = find_node(p, page, b, i + 1, &next_at, &next);
		if (r < 0)
			return r;
		/* The first branch has no key: it begins where its page does. */
		if (i > 0)
			child.low = key;
		child.high = next;
		child.bounded = range.bounded || i + 1 < n;
		const unsigned char *node = b.at + at;
		uint64_t to = get16(node) | (uint64_t)get16(node + 2) << 16 |
		              (uint64_t)get16(node + NODE_FLAGS_AT) << 32;
		r = check_page(p, tree, to, level + 1, child);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_leaf(struct pages *p, const struct tree *tree, uint64_t page, struct bytes b,
                      size_t n, struct range range)
{
	/* Keys that are numbers sort by value, and are checked with what they hold. */
	bool ordered = (tree->flags & MDB_INTEGERKEY) == 0;
	struct bytes last = range.low;
	if (n == 0)
		return damaged(p, page, "is empty");
	for (size_t i = 0; i < n; i++) {
		size_t at;
		struct bytes key;
		int r = find_node(p, page, b, i, &at, &key);
		if (r < 0)
			return r;
		if (key.size == 0 || key.size > 511)
			return damaged(p, page, "has a key of an impossible size");
		int order = compare(last, key);
		if (ordered && (order > 0 || (i > 0 && order == 0) ||
		                (range.bounded && compare(key, range.high) >= 0)))
			return damaged(p, page, "is not in order");
		last = key;
		r = check_leaf_node(p, tree, page, b, at, key);
		if (r < 0)
			return r;
	}
	return 0;
}

static uint16_t wanted_flags(const struct tree *tree, unsigned level)
{
	if (level + 1 < tree->depth)
		return PAGE_BRANCH;
	bool fixed = (tree->flags & (MDB_DUPSORT | MDB_DUPFIXED)) == MDB_DUPFIXED;
	return fixed ? PAGE_LEAF | PAGE_FIXED : PAGE_LEAF;
}

static int check_page(struct pages *p, const struct tree *tree, uint64_t page, unsigned level,
                      struct range range)
{
	size_t n = 0;
	int r = mark(p, page, 1, readable(p));
	if (r < 0)
		return r;
	unsigned char *data = malloc(p->head.page_size);
	struct bytes b = {data, p->head.page_size};
	if (data == NULL)
		return -ENOMEM;
	r = read_at(p, page, data, p->head.page_size);
	if (r == 0) {
		uint16_t flags = get16(data + PAGE_FLAGS_AT);
		if (get64(data) != page || flags != wanted_flags(tree, level))
			r = damaged(p, page, "is another page than it should be");
	}
	if (r == 0)
		r = check_header(p, page, b, &n);
	if (r == 0 && level + 1 < tree->depth)
		r = check_branch(p, tree, page, b, n, level, range);
	else if (r == 0 && (get16(data + PAGE_FLAGS_AT) & PAGE_FIXED) != 0)
		r = check_fixed(p, page, b, n, tree->key_size);
	else if (r == 0)
		r = check_leaf(p, tree, page, b, n, range);
	free(data);
	return r;
}

static int check_tree(struct pages *p, const struct tree *tree)
{
	if (tree->root == NO_PAGE)
		return tree->depth == 0 ? 0 : page_problem(p->problem, "an empty tree has a depth");
	if (tree->depth == 0 || tree->depth > TREE_DEPTH_MAX)
		return page_problem(p->problem, "a tree has an impossible depth");
	return check_page(p, tree, tree->root, 0, (struct range){.bounded = false});
}

static int check_file(struct pages *p)
{
	struct stat st;
	if (fstat(p->fd, &st) < 0)
		return -errno;
	int r = head_read(p->fd, (uint64_t)st.st_size, &p->head, p->problem);
	if (r < 0)
		return r;
	p->in_file = (uint64_t)st.st_size / p->head.page_size;
	p->in_use = p->head.last_page + 1;
	p->seen = calloc(p->in_use / 8 + 1, 1);
	if (p->seen == NULL)
		return -ENOMEM;
	r = check_tree(p, &p->head.free);
	return r < 0 ? r : check_tree(p, &p->head.main);
}

int ix_pages_check(const char *dir, char problem[PROBLEM_MAX])
{
	struct pages p = {.problem = problem};
	/* Elsewhere the fields lie differently: left to LMDB's own look. */
	if (sizeof(size_t) != 8)
		return 0;
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return -errno;
	p.fd = openat(dirfd, INDEX_DATA, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r = p.fd < 0 ? -errno : check_file(&p);
	fd_close(p.fd);
	fd_close(dirfd);
	free(p.seen);
	return r;
}
