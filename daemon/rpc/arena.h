/* Memory for one decoded message: bumped, then forgotten as a whole. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#define ARENA_BLOCK 65536

struct arena {
	ProtobufCAllocator allocator; /* hand this to protobuf-c; its free does nothing */
	size_t used;
	void **large; /* allocations that did not fit */
	size_t large_count;
	unsigned char *block;
};

void arena_init(struct arena *arena);
void arena_reset(struct arena *arena);
void arena_finish(struct arena *arena);
