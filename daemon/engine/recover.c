/*
 * Recovery. A slot in state INTENT without a pid may still be cloned by a launcher of the dead engine that has the plan in
 * its socket, so it is looked at again later.
 */
#include "engine/recover.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"

#define LATE_CLONE_US 10000000

struct recover {
	struct keeper *keeper;
	struct slots *slots;
	struct loop_timer *late;
	size_t unmanaged;
	uint8_t lost[JOURNAL_SLOTS]; /* enum lost: slots of an earlier engine */
};

enum lost {
	LOST_NOT = 0,
	LOST_UNSURE,  /* may still be cloned */
	LOST_RUNNING, /* is freed by its exit */
};

void recover_own_fds(struct stored_list *list, struct own_fds *out)
{
	*out = (struct own_fds){.journal = -1, .socket = -1, .lock = -1};
	for (size_t i = 0; i < list->count; i++) {
		struct stored *stored = &list->items[i];
		int *place = NULL;

		if (stored->owner != 0 || stored->index != 0)
			continue;
		if (stored->kind == STORE_JOURNAL)
			place = &out->journal;
		else if (stored->kind == STORE_SOCKET)
			place = &out->socket;
		else if (stored->kind == STORE_LOCK)
			place = &out->lock;
		if (place && *place < 0)
			*place = fd_steal(&stored->fd);
	}
}

/* Frees a slot of an earlier engine, now or at its exit, its descriptors with it. */
static void let_go(struct recover *recover, uint32_t slot)
{
	uint64_t owner = atomic_load(&slots_get(recover->slots, slot)->owner);
	int32_t pid = slots_pid(recover->slots, slot);

	if (slots_release(recover->slots, slot, owner)) {
		recover->lost[slot] = LOST_NOT;
		keeper_store_drop(recover->keeper, STORE_ANY, owner, 0);
		return;
	}
	recover->lost[slot] = LOST_RUNNING;
	recover->unmanaged++;
	log_(LOG_WARNING, "process %llu: pid %d runs on from an earlier engine and is not managed", (unsigned long long)owner, (int)pid);
}

static void on_late(void *arg)
{
	struct recover *recover = arg;

	for (uint32_t slot = 0; slot < JOURNAL_SLOTS; slot++)
		if (recover->lost[slot] == LOST_UNSURE)
			let_go(recover, slot);
}

static int compare_owners(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

/* Descriptors of owners that have no slot are nobody's. */
static void drop_orphans(struct recover *recover, const struct stored_list *list)
{
	_cleanup_free_ uint64_t *owners = mem_alloc((slots_used(recover->slots) + 1) * sizeof(*owners));
	size_t count = 0;

	owners[count++] = 0; /* the daemon's own */
	for (uint32_t slot = 0; slot < JOURNAL_SLOTS; slot++)
		if (recover->lost[slot])
			owners[count++] = atomic_load(&slots_get(recover->slots, slot)->owner);
	qsort(owners, count, sizeof(*owners), compare_owners);
	for (size_t i = 0; i < list->count; i++)
		if (!bsearch(&list->items[i].owner, owners, count, sizeof(*owners), compare_owners))
			keeper_store_drop(recover->keeper, STORE_ANY, list->items[i].owner, 0);
}

struct recover *recover_create(struct loop *loop, struct keeper *keeper, struct slots *slots, const struct stored_list *list)
{
	struct recover *recover = mem_alloc(sizeof(*recover));
	bool waiting = false;

	recover->keeper = keeper;
	recover->slots = slots;
	recover->late = loop_timer_create(loop, on_late, recover);
	for (uint32_t slot = slots_next_used(slots, 0); slot < JOURNAL_SLOTS; slot = slots_next_used(slots, slot + 1)) {
		if (atomic_load(&slots_get(slots, slot)->state) == JOURNAL_INTENT && slots_pid(slots, slot) == 0) {
			recover->lost[slot] = LOST_UNSURE;
			waiting = true;
		} else {
			let_go(recover, slot);
		}
	}
	drop_orphans(recover, list);
	if (waiting)
		loop_timer_set(recover->late, LATE_CLONE_US);
	return recover;
}

void recover_destroy(struct recover *recover)
{
	if (!recover)
		return;
	loop_timer_destroy(recover->late);
	free(recover);
}

bool recover_on_exit(struct recover *recover, uint32_t slot, uint64_t owner)
{
	if (recover->lost[slot] != LOST_RUNNING)
		return false;
	recover->lost[slot] = LOST_NOT;
	recover->unmanaged--;
	keeper_store_drop(recover->keeper, STORE_ANY, owner, 0);
	log_(LOG_INFO, "process %llu: of an earlier engine, has ended", (unsigned long long)owner);
	return true;
}

size_t recover_unmanaged(const struct recover *recover)
{
	return recover->unmanaged;
}
