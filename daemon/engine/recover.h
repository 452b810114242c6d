/*
 * After an engine crash: what the keeper gave back, put where it belongs. The socket, its lock and the journal are used
 * again. Objects are not rebuilt: a process of an earlier engine runs on and is not managed; its descriptors stay with the
 * keeper until it ends, so that it does not lose its pipes, and its slot is free after that.
 */
#pragma once

#include <stddef.h>

#include "engine/keeper.h"
#include "engine/slots.h"

struct loop;
struct recover;

/* The daemon's own descriptors. -1: was not stored. */
struct own_fds {
	int journal, socket, lock;
};

/* Takes them out of the list. */
void recover_own_fds(struct stored_list *list, struct own_fds *out);

/* Sorts out the slots and the store. Returns what must live until the engine ends. */
struct recover *recover_create(struct loop *loop, struct keeper *keeper, struct slots *slots, const struct stored_list *list);
void recover_destroy(struct recover *recover); /* NULL is fine */

/* A slot that slots_on_exit freed belonged to `owner`: true when it was one of an earlier engine. */
bool recover_on_exit(struct recover *recover, uint32_t slot, uint64_t owner);

/* Processes of earlier engines that still run. */
size_t recover_unmanaged(const struct recover *recover);
