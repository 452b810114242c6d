/* Memory for one decoded message: bumped, then forgotten as a whole. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#define ARENA_BLOCK 65536

struct arena_block;

struct arena {
	ProtobufCAllocator allocator; /* hand this to protobuf-c; its free does nothing */
	struct arena_block *block;    /* the one in use; the first of them is kept for ever */
};

void arena_init(struct arena *arena);
void arena_reset(struct arena *arena);
void arena_finish(struct arena *arena);
