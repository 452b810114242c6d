/*
 * After an engine that died: what the keeper gave back, put where it belongs. The socket, its lock, the journal and the
 * ledger are used again, and every child that was launched is made again from them. The keeper has seen to it that no launcher
 * of the dead engine is left, so a slot without a pid was never cloned: whoever asked for it asks again, by its key.
 */
#pragma once

#include <stddef.h>

#include "engine/keeper.h"
#include "engine/slots.h"

struct children;
struct ledger;
struct pools;

/* The daemon's own descriptors. -1: was not stored. */
struct own_fds {
	int journal, socket, lock, ledger;
};

/* Takes them out of the list. */
void recover_own_fds(struct stored_list *list, struct own_fds *out);

/* What recovery works on; everything is borrowed. */
struct recovery {
	struct keeper *keeper;
	struct slots *slots;
	struct ledger *ledger;
	struct children *children;
	struct pools *pools;
	struct stored_list *list; /* descriptors that are used are taken out of it */
};

/* Makes the children again, and throws away what belongs to none. Returns how many there are. */
size_t recover_children(const struct recovery *recovery);
