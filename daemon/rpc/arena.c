/* The arena: one block for what requests usually need, malloc for what does not fit. A peer's sizes are limited by the frame. */
#include "rpc/arena.h"

#include <stdint.h>

#include "base/mem.h"

/* Memory that the block cannot give; NULL makes protobuf-c give up softly. */
static void *allocate_large(struct arena *arena, size_t size)
{
	void *memory = malloc(size);

	if (!memory)
		return NULL;
	arena->large = mem_realloc(arena->large, (arena->large_count + 1) * sizeof(*arena->large));
	arena->large[arena->large_count++] = memory;
	return memory;
}

static void *allocate(void *data, size_t size)
{
	struct arena *arena = data;
	size_t rounded = (size + 15) & ~(size_t)15;
	void *memory;

	if (rounded < size || rounded > ARENA_BLOCK - arena->used)
		return allocate_large(arena, size);
	memory = arena->block + arena->used;
	arena->used += rounded;
	return memory;
}

static void release(void *data, void *memory)
{
}

void arena_init(struct arena *arena)
{
	*arena = (struct arena){.allocator = {.alloc = allocate, .free = release, .allocator_data = arena}};
	arena->block = mem_alloc(ARENA_BLOCK);
}

void arena_reset(struct arena *arena)
{
	for (size_t i = 0; i < arena->large_count; i++)
		free(arena->large[i]);
	free(mem_steal(&arena->large));
	arena->large_count = 0;
	arena->used = 0;
}

void arena_finish(struct arena *arena)
{
	arena_reset(arena);
	free(mem_steal(&arena->block));
}
