#include "base/heap.h"

#include "dice.h"
#include "memory_out.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

enum { NODES = 300 };

/* Everything that must hold between two calls. */
static void check(const struct heap *heap, const struct heap_node *nodes, const bool *in, size_t n)
{
	size_t members = 0;
	uint64_t least = UINT64_MAX;
	for (size_t i = 0; i < n; i++) {
		if (!in[i]) {
			cr_assert_eq(nodes[i].at, 0, "node %zu is in no heap, but thinks so", i);
			continue;
		}
		members++;
		least = nodes[i].key < least ? nodes[i].key : least;
		cr_assert(nodes[i].at >= 1 && nodes[i].at <= heap->n, "node %zu lost its place", i);
		cr_assert_eq(heap->nodes[nodes[i].at], &nodes[i], "node %zu lost its place", i);
	}
	cr_assert_eq(heap->n, members);
	for (size_t at = 2; at <= heap->n; at++)
		cr_assert_leq(heap->nodes[at / 2]->key, heap->nodes[at]->key);
	if (members == 0)
		cr_assert_null(heap_first(heap));
	else
		cr_assert_eq(heap_first(heap)->key, least);
}

static void act(struct heap *heap, struct heap_node *node, bool *in, struct dice *dice)
{
	if (dice_one_in(dice, 3)) {
		heap_remove(heap, node);
		*in = false;
		return;
	}
	/* Few different keys, so that equal ones meet; and the ends of the range. */
	uint64_t key = dice_below(dice, 40);
	if (dice_one_in(dice, 20))
		key = UINT64_MAX - key;
	cr_assert_eq(heap_put(heap, node, key), 0);
	cr_assert_eq(node->key, key);
	*in = true;
}

Test(heap, any_order_of_calls_keeps_the_smallest_first)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct dice dice = {seed};
		struct heap heap = {0};
		struct heap_node nodes[NODES] = {0};
		bool in[NODES] = {0};
		uint32_t n = 1 + dice_below(&dice, NODES);
		for (int step = 0; step < 1000; step++) {
			uint32_t i = dice_below(&dice, n);
			act(&heap, &nodes[i], &in[i], &dice);
			check(&heap, nodes, in, n);
		}
		heap_clear(&heap);
	}
}

Test(heap, what_is_put_comes_out_sorted)
{
	struct dice dice = {7};
	struct heap heap = {0};
	struct heap_node *nodes = calloc(20000, sizeof *nodes);
	for (size_t i = 0; i < 20000; i++)
		cr_assert_eq(heap_put(&heap, &nodes[i], dice_throw(&dice)), 0);
	uint64_t last = 0;
	for (size_t i = 0; i < 20000; i++) {
		struct heap_node *first = heap_first(&heap);
		cr_assert_geq(first->key, last);
		last = first->key;
		heap_remove(&heap, first);
	}
	cr_assert_null(heap_first(&heap));
	heap_clear(&heap);
	free(nodes);
}

Test(heap, a_node_that_is_in_moves_to_its_new_key)
{
	struct heap heap = {0};
	struct heap_node a = {0}, b = {0}, c = {0};
	heap_put(&heap, &a, 10);
	heap_put(&heap, &b, 20);
	heap_put(&heap, &c, 30);
	heap_put(&heap, &c, 5);
	cr_assert_eq(heap_first(&heap), &c);
	heap_put(&heap, &c, 25);
	cr_assert_eq(heap_first(&heap), &a);
	heap_put(&heap, &a, 40);
	cr_assert_eq(heap_first(&heap), &b);
	cr_assert_eq(heap.n, 3);
	heap_clear(&heap);
}

/* The last node fills the hole; it may have to rise there, in another branch. */
Test(heap, the_node_that_fills_a_hole_may_rise)
{
	static const uint64_t keys[] = {1, 50, 2, 60, 70, 3, 4, 80, 90, 100, 110, 5, 6};
	struct heap heap = {0};
	struct heap_node nodes[13] = {0};
	bool in[13] = {0};
	for (size_t i = 0; i < 13; i++) {
		cr_assert_eq(heap_put(&heap, &nodes[i], keys[i]), 0);
		in[i] = true;
	}
	heap_remove(&heap, &nodes[7]);
	in[7] = false;
	check(&heap, nodes, in, 13);
	cr_assert_lt(nodes[12].at, 8, "6 stands above 60 now");
	heap_clear(&heap);
}

Test(heap, taking_out_twice_or_what_was_never_in_is_ignored)
{
	struct heap heap = {0};
	struct heap_node a = {0}, never = {0};
	heap_remove(&heap, &never);
	heap_put(&heap, &a, 1);
	heap_remove(&heap, &never);
	cr_assert_eq(heap_first(&heap), &a);
	heap_remove(&heap, &a);
	heap_remove(&heap, &a);
	cr_assert_null(heap_first(&heap));
	heap_clear(&heap);
}

Test(heap, a_cleared_heap_can_be_used_again)
{
	struct heap heap = {0};
	struct heap_node a = {0}, b = {0};
	heap_put(&heap, &a, 1);
	heap_clear(&heap);
	heap_clear(&heap);
	cr_assert_null(heap_first(&heap));
	cr_assert_eq(heap_put(&heap, &b, 2), 0);
	cr_assert_eq(heap_first(&heap), &b);
	heap_clear(&heap);
}

struct thing {
	int before;
	struct heap_node due;
};

Test(heap, entry_is_the_struct_around_the_node)
{
	struct thing thing = {.before = 42};
	cr_assert_eq(HEAP_ENTRY(&thing.due, struct thing, due), &thing);
}

Test(heap, memory_that_is_out_leaves_the_heap_as_it_was)
{
	if (!MEMORY_OUT)
		cr_skip_test("needs its own allocator");
	struct heap heap = {0};
	struct heap_node nodes[64] = {0};
	bool in[64] = {0};
	for (size_t i = 0; i < 64; i++) {
		memory_out_after(0);
		int r = heap_put(&heap, &nodes[i], 64 - i);
		memory_is_back();
		in[i] = r == 0;
		cr_assert(r == 0 || r == -ENOMEM);
		check(&heap, nodes, in, 64);
		if (r < 0)
			cr_assert_eq(heap_put(&heap, &nodes[i], 64 - i), 0);
		in[i] = true;
		memory_out_after(0);
		r = heap_put(&heap, &nodes[i / 2], 1000);
		memory_is_back();
		cr_assert_eq(r, 0, "a move needs no memory");
		check(&heap, nodes, in, 64);
	}
	heap_clear(&heap);
}
