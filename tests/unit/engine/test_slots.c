/* Slots of the journal: taken once, freed only when nothing can run behind them. */
#include <CUnit/CUnit.h>
#include <errno.h>

#include "base/fd.h"
#include "engine/slots.h"

static int journal_fd = -1;

static struct slots *open_slots(bool fresh)
{
	struct err err = {0};

	if (fresh) {
		fd_close(&journal_fd);
		journal_fd = journal_make();
	}
	return slots_create(journal_fd, fresh, &err);
}

void test_a_slot_is_taken_with_its_owner(void)
{
	struct slots *slots = open_slots(true);
	uint32_t slot;

	CU_ASSERT_EQUAL(slots_take(slots, 7, &slot, NULL), 0);
	CU_ASSERT_EQUAL(atomic_load(&slots_get(slots, slot)->state), JOURNAL_INTENT);
	CU_ASSERT_EQUAL(atomic_load(&slots_get(slots, slot)->owner), 7);
	CU_ASSERT_EQUAL(slots_used(slots), 1);
	CU_ASSERT_EQUAL(slots_next_used(slots, 0), slot);
	CU_ASSERT_EQUAL(slots_next_used(slots, slot + 1), JOURNAL_SLOTS);
	slots_destroy(slots);
}

void test_a_full_journal_is_an_error(void)
{
	struct slots *slots = open_slots(true);
	struct err err = {0};
	uint32_t slot;

	for (uint32_t i = 0; i < JOURNAL_SLOTS; i++)
		if (slots_take(slots, i + 1, &slot, NULL) < 0)
			CU_FAIL_FATAL("no slot");
	CU_ASSERT_EQUAL(slots_take(slots, 99999, &slot, &err), -ENOSPC);
	CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	CU_ASSERT_TRUE(slots_release(slots, 12345, atomic_load(&slots_get(slots, 12345)->owner)));
	CU_ASSERT_EQUAL(slots_take(slots, 99999, &slot, &err), 0);
	CU_ASSERT_EQUAL(slot, 12345);
	slots_destroy(slots);
}

void test_only_the_owner_frees(void)
{
	struct slots *slots = open_slots(true);
	uint32_t slot;

	slots_take(slots, 7, &slot, NULL);
	CU_ASSERT_FALSE(slots_release(slots, slot, 8));
	CU_ASSERT_TRUE(slots_release(slots, slot, 7));
	CU_ASSERT_FALSE(slots_release(slots, slot, 7));
	CU_ASSERT_EQUAL(slots_used(slots), 0);
	slots_destroy(slots);
}

/* The journal as launcher and keeper see it. */
static struct journal *other_view(void)
{
	return journal_map(journal_fd);
}

void test_a_slot_that_may_run_is_freed_by_its_exit(void)
{
	struct slots *slots = open_slots(true);
	struct journal *journal = other_view();
	uint32_t slot;

	slots_take(slots, 7, &slot, NULL);
	atomic_store(&journal->pids[slot], 4711);
	CU_ASSERT_FALSE(slots_release(slots, slot, 7));
	CU_ASSERT_FALSE(slots_on_exit(slots, slot));
	atomic_store(&journal->slot[slot].state, JOURNAL_EXITED);
	CU_ASSERT_TRUE(slots_on_exit(slots, slot));
	CU_ASSERT_FALSE(slots_on_exit(slots, slot));
	CU_ASSERT_EQUAL(slots_used(slots), 0);
	journal_unmap(journal);
	slots_destroy(slots);
}

void test_an_exit_alone_frees_nothing(void)
{
	struct slots *slots = open_slots(true);
	struct journal *journal = other_view();
	uint32_t slot;

	slots_take(slots, 7, &slot, NULL);
	atomic_store(&journal->pids[slot], 4711);
	atomic_store(&journal->slot[slot].state, JOURNAL_EXITED);
	CU_ASSERT_FALSE(slots_on_exit(slots, slot));
	CU_ASSERT_TRUE(slots_release(slots, slot, 7));
	journal_unmap(journal);
	slots_destroy(slots);
}

void test_the_next_engine_sees_what_was_in_use(void)
{
	struct slots *slots = open_slots(true);
	uint64_t id = slots_next_id(slots);
	uint32_t first, second;

	slots_take(slots, 7, &first, NULL);
	slots_take(slots, 8, &second, NULL);
	slots_release(slots, first, 7);
	slots_destroy(slots);
	slots = open_slots(false);
	CU_ASSERT_EQUAL(slots_used(slots), 1);
	CU_ASSERT_EQUAL(slots_next_used(slots, 0), second);
	CU_ASSERT_TRUE(slots_next_id(slots) > id);
	slots_destroy(slots);
}

void test_what_is_no_journal_is_refused(void)
{
	struct err err = {0};

	CU_ASSERT_PTR_NULL(slots_create(0, true, &err));
	CU_ASSERT_NOT_EQUAL(err.status, STATUS_OK);
}
