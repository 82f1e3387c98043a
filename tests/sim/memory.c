/* The memory of a daemon's life: what is not freed when it ends in the middle
 * of something goes with it. By the linker (--wrap) the programs' malloc() and
 * the like come here.
 *
 * Plain: a heap of our own that is emptied at once. With sanitizers, where
 * every block must be the real malloc()'s: a list of what is out. */
#include "world.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void __wrap_free(void *p);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);
int __wrap_asprintf(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_vasprintf(char **ret, const char *format, va_list args);

/* Before each block; keeps it aligned for everything. */
struct head {
	struct head *prev, *next;
	size_t size;
	uint64_t live;
} __attribute__((aligned(16)));

static struct head blocks = {&blocks, &blocks, 0, 0};
static unsigned out;

#if defined(__SANITIZE_ADDRESS__)

static struct head *take(size_t size)
{
	struct head *h = __real_malloc(sizeof *h + size);
	if (h == NULL)
		return NULL;
	h->next = blocks.next;
	h->prev = &blocks;
	blocks.next->prev = h;
	blocks.next = h;
	return h;
}

static void give(struct head *h)
{
	h->prev->next = h->next;
	h->next->prev = h->prev;
	__real_free(h);
}

void memory_forget(void)
{
	while (blocks.next != &blocks)
		give(blocks.next);
	out = 0;
}

#else

enum { ARENA = 8 << 20, CLASSES = 64, STEP = 64 };

static char arena[ARENA] __attribute__((aligned(16)));
static size_t used;
static struct head *kept[CLASSES]; /* freed blocks, by size */

static struct head *take(size_t size)
{
	size_t class = (size + STEP - 1) / STEP, room = class * STEP;
	struct head *h = class < CLASSES ? kept[class] : NULL;
	if (h != NULL) {
		kept[class] = h->next;
		return h;
	}
	if (used + sizeof *h + room > ARENA) {
		fprintf(stderr, "sim: a daemon needs more than %d bytes\n", (int)ARENA);
		abort();
	}
	h = (struct head *)(void *)(arena + used);
	used += sizeof *h + room;
	return h;
}

static void give(struct head *h)
{
	size_t class = (h->size + STEP - 1) / STEP;
	if (class >= CLASSES)
		return;
	h->next = kept[class];
	kept[class] = h;
}

void memory_forget(void)
{
	memset(kept, 0, sizeof kept);
	used = 0;
	out = 0;
}

#endif

enum { LIVE = 0x6c697665 };

unsigned memory_left(void)
{
	return out;
}

void *__wrap_malloc(size_t size)
{
	struct head *h = take(size);
	if (h == NULL)
		return NULL;
	h->size = size;
	h->live = LIVE;
	out++;
	return h + 1;
}

void __wrap_free(void *p)
{
	if (p == NULL)
		return;
	struct head *h = (struct head *)p - 1;
	if (h->live != LIVE) {
		fprintf(stderr, "sim: memory is freed twice, or was never given\n");
		abort();
	}
	h->live = 0;
	out--;
	give(h);
}

void *__wrap_calloc(size_t n, size_t size)
{
	void *p = __wrap_malloc(n * size);
	return p == NULL ? NULL : memset(p, 0, n * size);
}

void *__wrap_realloc(void *p, size_t size)
{
	void *grown = __wrap_malloc(size);
	if (p != NULL && grown != NULL) {
		size_t old = ((struct head *)p - 1)->size;
		memcpy(grown, p, old < size ? old : size);
		__wrap_free(p);
	}
	return grown;
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return __wrap_realloc(p, n * size);
}

char *__wrap_strndup(const char *text, size_t n)
{
	size_t size = strnlen(text, n);
	char *copy = __wrap_malloc(size + 1);
	if (copy == NULL)
		return NULL;
	memcpy(copy, text, size);
	copy[size] = '\0';
	return copy;
}

char *__wrap_strdup(const char *text)
{
	return __wrap_strndup(text, strlen(text));
}

int __wrap_vasprintf(char **ret, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, again);
	va_end(again);
	*ret = n < 0 ? NULL : __wrap_malloc((size_t)n + 1);
	return *ret == NULL ? -1 : vsnprintf(*ret, (size_t)n + 1, format, args);
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = __wrap_vasprintf(ret, format, args);
	va_end(args);
	return n;
}
