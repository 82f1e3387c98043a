/* A binary heap of things that are due: the smallest key first.
 *
 * Intrusive: a node is a member of the caller's struct, which knows its place,
 * so that it can leave or move in O(log n). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint64_t key;
	size_t at; /* 1 and up within the heap; 0 = in none */
};

struct heap {
	struct heap_node **nodes; /* nodes[1] is the smallest */
	size_t n, room;
};

/* Adds the node, or moves it to its new key. -ENOMEM (the node is in the heap
 * as before). */
int heap_put(struct heap *heap, struct heap_node *node, uint64_t key);
/* Takes it out; one that is in none is ignored. */
void heap_remove(struct heap *heap, struct heap_node *node);
/* The smallest, or NULL. */
struct heap_node *heap_first(const struct heap *heap);
/* Frees the heap's own memory; nodes are the caller's. Those still in it do
 * not learn of it: they must not be put or removed again as they are. */
void heap_clear(struct heap *heap);

/* The struct around a node. */
#define HEAP_ENTRY(node, type, member) \
	((type *)(void *)((char *)(node) - offsetof(type, member)))
