/*
 * Slots of the journal: a stack of free ones (the last freed is taken first, so few pages are touched) and a bitmap of
 * those in use. Writes owner, facts and state as link/journal.h says; never the exit record.
 */
#include "engine/slots.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "link/state.h"

#define WORD_BITS 64u

struct slots {
	struct journal *journal;
	uint64_t signals; /* carried out before */
	uint32_t free_count;
	uint16_t free[JOURNAL_SLOTS];
	uint64_t used[JOURNAL_SLOTS / WORD_BITS];
	uint64_t leaving[JOURNAL_SLOTS / WORD_BITS]; /* given back before the exit record came */
};

_Static_assert(JOURNAL_SLOTS <= UINT16_MAX + 1u, "a slot number must fit the free list");

static void set_bit(uint64_t *bits, uint32_t slot)
{
	bits[slot / WORD_BITS] |= UINT64_C(1) << (slot % WORD_BITS);
}

static void clear_bit(uint64_t *bits, uint32_t slot)
{
	bits[slot / WORD_BITS] &= ~(UINT64_C(1) << (slot % WORD_BITS));
}

static bool has_bit(const uint64_t *bits, uint32_t slot)
{
	return bits[slot / WORD_BITS] >> (slot % WORD_BITS) & 1;
}

struct slots *slots_create(int fd, bool fresh, struct err *err)
{
	struct journal *journal = journal_map(fd);
	struct slots *slots;

	if (!journal) {
		err_errno(err, errno, "mmap", "journal");
		return NULL;
	}
	if (fresh) {
		journal->state_version = state_version.own;
	} else if (journal->state_version < state_version.oldest || journal->state_version > state_version.own) {
		err_set(err, STATUS_FAILED_PRECONDITION,
			"what the engine before left is of version %" PRIu64 "; this one, %s, goes on from %" PRIu64 " to %" PRIu64,
			journal->state_version, state_version.program, state_version.oldest, state_version.own);
		journal_unmap(journal);
		return NULL;
	}
	slots = mem_alloc(sizeof(*slots));
	slots->journal = journal;
	slots->signals = atomic_load(&journal->signals);
	for (uint32_t slot = JOURNAL_SLOTS; slot-- > 0;) {
		if (fresh || atomic_load(&journal->slot[slot].state) == JOURNAL_FREE)
			slots->free[slots->free_count++] = (uint16_t)slot;
		else
			set_bit(slots->used, slot);
	}
	return slots;
}

void slots_settle(struct slots *slots)
{
	slots->journal->state_version = state_version.own;
}

void slots_destroy(struct slots *slots)
{
	if (!slots)
		return;
	journal_unmap(slots->journal);
	free(slots);
}

_Atomic uint64_t *slots_event_seq(struct slots *slots)
{
	return &slots->journal->event_seq;
}

uint64_t slots_next_id(struct slots *slots)
{
	return atomic_fetch_add(&slots->journal->next_id, 1);
}

int slots_take(struct slots *slots, uint64_t owner, uint32_t *slot_out, struct err *err)
{
	struct journal_slot *entry;
	uint32_t slot;

	if (slots->free_count == 0) {
		err_set(err, STATUS_RESOURCE_EXHAUSTED, "all %u entries of the journal are in use: no more processes at a time",
			JOURNAL_SLOTS);
		return -ENOSPC;
	}
	slot = slots->free[--slots->free_count];
	entry = &slots->journal->slot[slot];
	atomic_store(&slots->journal->pids[slot], 0);
	entry->launch_stage = 0;
	entry->launch_error = 0;
	entry->launch_detail = 0;
	entry->exit_code = 0;
	entry->exit_status = 0;
	entry->exited_at_ns = 0;
	memset(&entry->exit_usage, 0, sizeof(entry->exit_usage));
	entry->started_at_ns = 0;
	entry->deadline_boot_ns = 0;
	entry->spec = 0;
	atomic_store(&entry->owner, owner);
	atomic_store(&entry->state, JOURNAL_INTENT);
	set_bit(slots->used, slot);
	*slot_out = slot;
	return 0;
}

struct journal_slot *slots_get(struct slots *slots, uint32_t slot)
{
	assert(slot < JOURNAL_SLOTS);
	return &slots->journal->slot[slot];
}

int32_t slots_pid(const struct slots *slots, uint32_t slot)
{
	assert(slot < JOURNAL_SLOTS);
	return atomic_load(&slots->journal->pids[slot]);
}

/* Makes a slot free again. */
static void free_slot(struct slots *slots, uint32_t slot)
{
	atomic_store(&slots->journal->pids[slot], 0);
	atomic_store(&slots->journal->slot[slot].owner, 0);
	atomic_store(&slots->journal->slot[slot].state, JOURNAL_FREE);
	clear_bit(slots->used, slot);
	clear_bit(slots->leaving, slot);
	slots->free[slots->free_count++] = (uint16_t)slot;
}

/* Whether a process may still stand behind a slot. */
static bool may_run(const struct slots *slots, uint32_t slot)
{
	return slots_pid(slots, slot) != 0 && atomic_load(&slots->journal->slot[slot].state) != JOURNAL_EXITED;
}

bool slots_release(struct slots *slots, uint32_t slot, uint64_t owner)
{
	if (slot >= JOURNAL_SLOTS || !has_bit(slots->used, slot) || atomic_load(&slots->journal->slot[slot].owner) != owner)
		return false;
	if (may_run(slots, slot)) {
		set_bit(slots->leaving, slot);
		return false;
	}
	free_slot(slots, slot);
	return true;
}

bool slots_on_exit(struct slots *slots, uint32_t slot)
{
	if (slot >= JOURNAL_SLOTS || !has_bit(slots->leaving, slot) || may_run(slots, slot))
		return false;
	free_slot(slots, slot);
	return true;
}

uint32_t slots_next_used(const struct slots *slots, uint32_t from)
{
	for (uint32_t word = from / WORD_BITS; word < JOURNAL_SLOTS / WORD_BITS; word++) {
		uint64_t bits = slots->used[word];

		if (word == from / WORD_BITS)
			bits &= ~UINT64_C(0) << (from % WORD_BITS);
		if (bits)
			return word * WORD_BITS + (uint32_t)__builtin_ctzll(bits);
	}
	return JOURNAL_SLOTS;
}

size_t slots_used(const struct slots *slots)
{
	return JOURNAL_SLOTS - slots->free_count;
}

uint64_t slots_signals(const struct slots *slots)
{
	return slots->signals;
}

void slots_count_spawn(struct slots *slots)
{
	atomic_fetch_add(&slots->journal->spawned, 1);
}
