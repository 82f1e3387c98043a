/* What the analysers read in place of uthash.h: the same names and promises,
 * without the insides. Of the real macros they take each element for the one
 * that was freed before it, and spend their time on paths through buckets. A
 * macro that is missing here is an error: add it. */
#pragma once

#include <stddef.h>

struct UT_hash_table;

typedef struct UT_hash_handle {
	struct UT_hash_table *tbl;
	void *prev, *next;
} UT_hash_handle;

/* NULL where an element could not be added. */
struct UT_hash_table *uthash_add(const void *head, const void *key, size_t key_size);
void *uthash_find(const void *head, const void *key, size_t key_size);
void *uthash_without(const void *head, const void *element);
unsigned uthash_count(const void *head);

#if !HASH_NONFATAL_OOM
#error "out of memory must not end the program: define HASH_NONFATAL_OOM and look at hh.tbl"
#endif

#define HASH_ADD_KEYPTR(hh, head, key, key_size, add)                                \
	do {                                                                         \
		(add)->hh.tbl = uthash_add((head), (key), (key_size));               \
		(add)->hh.prev = NULL;                                               \
		if ((add)->hh.tbl != NULL) {                                         \
			(add)->hh.next = (head);                                     \
			(head) = (add);                                              \
		}                                                                    \
	} while (0)
#define HASH_ADD(hh, head, field, key_size, add)                                     \
	HASH_ADD_KEYPTR(hh, head, &(add)->field, key_size, add)
#define HASH_ADD_INT(head, field, add) HASH_ADD(hh, head, field, sizeof(int), add)

#define HASH_FIND(hh, head, key, key_size, out)                                      \
	do {                                                                         \
		(out) = (head) == NULL ? NULL : uthash_find((head), (key), (key_size)); \
	} while (0)
#define HASH_FIND_INT(head, key, out) HASH_FIND(hh, head, key, sizeof(int), out)

#define HASH_DELETE(hh, head, element)                                               \
	do {                                                                         \
		(head) = uthash_without((head), (element));                          \
	} while (0)
#define HASH_DEL(head, element) HASH_DELETE(hh, head, element)
#define HASH_CLEAR(hh, head)                                                         \
	do {                                                                         \
		(head) = NULL;                                                       \
	} while (0)

#define HASH_COUNT(head) ((head) == NULL ? 0u : uthash_count(head))
#define HASH_CNT(hh, head) HASH_COUNT(head)

#define HASH_ITER(hh, head, element, tmp)                                            \
	for ((element) = (head), (tmp) = (element) == NULL ? NULL : (element)->hh.next; \
	     (element) != NULL;                                                      \
	     (element) = (tmp), (tmp) = (tmp) == NULL ? NULL : (tmp)->hh.next)
