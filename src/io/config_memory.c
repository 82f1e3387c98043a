#include "io/config_private.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct config_memory {
	struct config_memory *next;
	max_align_t data[];
};

void *config_alloc(struct config_memory **memory, size_t size)
{
	struct config_memory *block = calloc(1, sizeof *block + size);
	if (block == NULL)
		return NULL;
	block->next = *memory;
	*memory = block;
	return block->data;
}

char *config_strndup(struct config_memory **memory, const char *text, size_t n)
{
	char *copy = config_alloc(memory, n + 1);
	if (copy != NULL)
		memcpy(copy, text, n);
	return copy;
}

void config_memory_free(struct config_memory *memory)
{
	while (memory != NULL) {
		struct config_memory *next = memory->next;
		free(memory);
		memory = next;
	}
}
