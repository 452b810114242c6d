/* The arena: one block for what requests usually need, more of them for what does not fit. What a peer can ask for is limited by check.c.
 */
#include "rpc/arena.h"

#include <stdalign.h>
#include <stdint.h>

#include "base/mem.h"

#define ALIGNMENT 16

struct arena_block {
	struct arena_block *next; /* older */
	size_t size, used;
	alignas(ALIGNMENT) unsigned char bytes[];
};

/* A block in front of the others; NULL makes protobuf-c give up softly. */
static struct arena_block *add_block(struct arena *arena, size_t size)
{
	struct arena_block *block = size <= SIZE_MAX - sizeof(*block) ? malloc(sizeof(*block) + size) : NULL;

	if (!block)
		return NULL;
	block->next = arena->block;
	block->size = size;
	block->used = 0;
	arena->block = block;
	return block;
}

static void *allocate(void *data, size_t size)
{
	struct arena *arena = data;
	struct arena_block *block = arena->block;
	size_t rounded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	void *memory;

	if (rounded < size)
		return NULL;
	if (rounded > block->size - block->used)
		block = add_block(arena, rounded > ARENA_BLOCK ? rounded : ARENA_BLOCK);
	if (!block)
		return NULL;
	memory = block->bytes + block->used;
	block->used += rounded;
	return memory;
}

static void release(void *data, void *memory)
{
}

void arena_init(struct arena *arena)
{
	*arena = (struct arena){.allocator = {.alloc = allocate, .free = release, .allocator_data = arena}};
	arena->block = mem_alloc(sizeof(*arena->block) + ARENA_BLOCK);
	arena->block->size = ARENA_BLOCK;
}

void arena_reset(struct arena *arena)
{
	while (arena->block->next) {
		struct arena_block *next = arena->block->next;

		free(arena->block);
		arena->block = next;
	}
	arena->block->used = 0;
}

void arena_finish(struct arena *arena)
{
	arena_reset(arena);
	free(mem_steal(&arena->block));
}
