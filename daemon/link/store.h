/*
 * Named descriptors that outlive the engine. A name is (owner, kind, index); the same name again replaces and closes. The
 * journal is the exception: it is neither replaced nor dropped, since every engine starts from it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct stored {
	uint64_t owner;
	uint32_t kind; /* enum store_kind */
	uint32_t index;
	int fd;                   /* owned */
	LIST_ENTRY(stored) same;  /* of the same owner */
	TAILQ_ENTRY(stored) link; /* store::all */
};

struct store_owner;

struct store {
	struct store_owner *owners; /* by owner */
	TAILQ_HEAD(, stored) all;   /* in the order they came */
	struct stored *next;        /* of the walk */
	size_t count;
};

void store_init(struct store *store);
void store_put(struct store *store, uint64_t owner, uint32_t kind, uint32_t index, int fd /* takes */);
/* kind 0: every kind. all_indexes: every index of that kind. */
void store_drop(struct store *store, uint64_t owner, uint32_t kind, uint32_t index, bool all_indexes);
/* One of this kind, borrowed; -1: there is none. */
int store_find(const struct store *store, uint64_t owner, uint32_t kind);
/* Walks over all from the first; NULL at the end. Puts and drops on the way are fine. */
void store_rewind(struct store *store);
const struct stored *store_next(struct store *store);
void store_finish(struct store *store);
