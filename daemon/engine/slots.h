/*
 * The engine's part of the journal: which slot belongs to whom, and the ids. The engine is the only one that takes and
 * frees slots; it frees one after its exit record is there or when nothing was ever cloned for it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "link/journal.h"

struct slots;

/*
 * Maps the journal of fd (borrowed). `fresh`: nobody used it yet, all slots are free. NULL with *err, also when it belongs to a
 * state that this program cannot go on from. Writes nothing but in a fresh one.
 */
struct slots *slots_create(int fd, bool fresh, struct err *err);
/* What is left from now on is of our version. */
void slots_settle(struct slots *slots);
void slots_destroy(struct slots *slots); /* NULL is fine */

uint64_t slots_next_id(struct slots *slots);

/* A free slot becomes INTENT for owner. -ENOSPC with RESOURCE_EXHAUSTED when there is none. */
int slots_take(struct slots *slots, uint64_t owner, uint32_t *slot_out, struct err *err);
struct journal_slot *slots_get(struct slots *slots, uint32_t slot);
int32_t slots_pid(const struct slots *slots, uint32_t slot);

/*
 * Gives a slot back. true: it is free; false: it is not owner's, or its process may still run: then it is freed by
 * slots_on_exit.
 */
bool slots_release(struct slots *slots, uint32_t slot, uint64_t owner);

/* The exit record of a slot is there. true: its owner had given it back already, and it is free now. */
bool slots_on_exit(struct slots *slots, uint32_t slot);

/* The first slot in use at or after `from`; JOURNAL_SLOTS when there is none. */
uint32_t slots_next_used(const struct slots *slots, uint32_t from);
size_t slots_used(const struct slots *slots);
/* Number of the last event that was ever told. */
_Atomic uint64_t *slots_event_seq(struct slots *slots);
/* Orders to signal that were carried out for engines before this one. */
uint64_t slots_signals(const struct slots *slots);
/* One more plan was given to a launcher. */
void slots_count_spawn(struct slots *slots);
