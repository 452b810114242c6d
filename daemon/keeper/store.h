/* Named descriptors that outlive the engine. A name is (owner, kind, index); the same name again replaces and closes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct stored {
	struct stored *next; /* of the same owner */
	uint64_t owner;
	uint32_t kind;
	uint32_t index;
	int fd; /* owned */
};

struct store_owner;

struct store {
	struct store_owner *owners; /* by owner */
	size_t count;
};

void store_put(struct store *store, uint64_t owner, uint32_t kind, uint32_t index, int fd /* takes */);
/* kind 0: every kind. all_indexes: every index of that kind. */
void store_drop(struct store *store, uint64_t owner, uint32_t kind, uint32_t index, int all_indexes);
/* The descriptor of that name (borrowed), or -1. */
int store_find(const struct store *store, uint64_t owner, uint32_t kind, uint32_t index);
void store_each(const struct store *store, void (*fn)(void *arg, const struct stored *stored), void *arg);
void store_finish(struct store *store);
