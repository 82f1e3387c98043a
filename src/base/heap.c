#include "base/heap.h"

#include <errno.h>
#include <stdlib.h>

static void place(struct heap *heap, size_t at, struct heap_node *node)
{
	heap->nodes[at] = node;
	node->at = at;
}

static void sift_up(struct heap *heap, struct heap_node *node)
{
	size_t at = node->at;
	for (; at > 1 && heap->nodes[at / 2]->key > node->key; at /= 2)
		place(heap, at, heap->nodes[at / 2]);
	place(heap, at, node);
}

static void sift_down(struct heap *heap, struct heap_node *node)
{
	size_t at = node->at;
	for (;;) {
		size_t child = 2 * at;
		if (child > heap->n)
			break;
		if (child < heap->n && heap->nodes[child + 1]->key < heap->nodes[child]->key)
			child++;
		if (heap->nodes[child]->key >= node->key)
			break;
		place(heap, at, heap->nodes[child]);
		at = child;
	}
	place(heap, at, node);
}

static int grow(struct heap *heap)
{
	if (heap->n + 2 <= heap->room)
		return 0;
	size_t room = heap->room == 0 ? 16 : heap->room * 2;
	struct heap_node **nodes = reallocarray(heap->nodes, room, sizeof *nodes);
	if (nodes == NULL)
		return -ENOMEM;
	heap->nodes = nodes;
	heap->room = room;
	return 0;
}

int heap_put(struct heap *heap, struct heap_node *node, uint64_t key)
{
	if (node->at == 0) {
		int r = grow(heap);
		if (r < 0)
			return r;
		place(heap, ++heap->n, node);
	}
	node->key = key;
	sift_up(heap, node);
	sift_down(heap, node);
	return 0;
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
	size_t at = node->at;
	if (at == 0)
		return;
	struct heap_node *last = heap->nodes[heap->n--];
	node->at = 0;
	if (last == node)
		return;
	place(heap, at, last);
	sift_up(heap, last);
	sift_down(heap, last);
}

struct heap_node *heap_first(const struct heap *heap)
{
	return heap->n == 0 ? NULL : heap->nodes[1];
}

void heap_clear(struct heap *heap)
{
	free(heap->nodes);
	*heap = (struct heap){0};
}
