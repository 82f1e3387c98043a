/* Memory that runs out on purpose. Include it in the one file of a test
 * program; memory_out_after(n) lets n more allocations succeed, and then none
 * until memory_is_back(). Not with ASan, which brings its own allocator:
 * MEMORY_OUT is 0 there. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_OUT 0
static inline void memory_out_after(long n)
{
	(void)n;
}
static inline void memory_is_back(void)
{
}
#else
#define MEMORY_OUT 1

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static bool memory_counts;
static long memory_left;

static inline void memory_out_after(long n)
{
	memory_left = n;
	memory_counts = true;
}

static inline void memory_is_back(void)
{
	memory_counts = false;
}

static bool memory_is_out(void)
{
	if (!memory_counts || memory_left-- > 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return memory_is_out() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return memory_is_out() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return memory_is_out() ? NULL : __libc_realloc(p, size);
}
#endif
