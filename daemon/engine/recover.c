/* See recover.h. Records, slots and descriptors name each other by the id of the process; what has no partner goes. */
#include "engine/recover.h"

#include <stdlib.h>

#include "base/failpoint.h"
#include "base/ledger.h"
#include "base/log.h"
#include "base/mem.h"
#include "pool/pool.h"
#include "pool/pool_record.h"
#include "process/child.h"
#include "process/record.h"

void recover_own_fds(struct stored_list *list, struct own_fds *out)
{
	*out = (struct own_fds){.journal = -1, .socket = -1, .lock = -1, .ledger = -1};
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
		else if (stored->kind == STORE_LEDGER)
			place = &out->ledger;
		if (place && *place < 0)
			*place = fd_steal(&stored->fd);
	}
}

/* A list of pointers that grows. */
struct pointers {
	void **items;
	size_t count, room;
};

static void add_pointer(struct pointers *pointers, void *item)
{
	if (pointers->count == pointers->room) {
		pointers->room = pointers->room ? 2 * pointers->room : 64;
		pointers->items = mem_realloc(pointers->items, pointers->room * sizeof(void *));
	}
	pointers->items[pointers->count++] = item;
}

static int compare_records(const void *left, const void *right)
{
	uint64_t a = ledger_owner(*(void *const *)left), b = ledger_owner(*(void *const *)right);

	return (a > b) - (a < b);
}

static int compare_stored(const void *left, const void *right)
{
	uint64_t a = ((const struct stored *)left)->owner, b = ((const struct stored *)right)->owner;

	return (a > b) - (a < b);
}

static void sort_records(struct pointers *pointers)
{
	if (pointers->count)
		qsort(pointers->items, pointers->count, sizeof(void *), compare_records);
}

/* Everything the ledger has, by kind and in order of owners. */
struct found {
	struct pointers processes, outputs, specs, pools;
	struct spec **compiled; /* of each of specs; NULL: it could not be */
	size_t outputs_done;    /* those before are of processes that were looked at */
};

static void find_records(struct ledger *ledger, struct found *found)
{
	*found = (struct found){0};
	for (void *record = ledger_next(ledger, NULL); record; record = ledger_next(ledger, record)) {
		if (ledger_kind(record) == RECORD_PROCESS)
			add_pointer(&found->processes, record);
		else if (ledger_kind(record) == RECORD_OUTPUT)
			add_pointer(&found->outputs, record);
		else if (ledger_kind(record) == RECORD_SPEC)
			add_pointer(&found->specs, record);
		else if (ledger_kind(record) == RECORD_POOL)
			add_pointer(&found->pools, record);
	}
	sort_records(&found->processes);
	sort_records(&found->outputs);
	sort_records(&found->specs);
}

static void compile_specs(struct ledger *ledger, struct found *found)
{
	struct err err;

	found->compiled = mem_alloc((found->specs.count + 1) * sizeof(struct spec *));
	for (size_t i = 0; i < found->specs.count; i++) {
		if (record_read_spec(ledger, found->specs.items[i], &found->compiled[i], &err) == 0)
			continue;
		found->compiled[i] = NULL;
		log_(LOG_ERROR, "the spec of a process cannot be understood: %s", err.message);
	}
}

static struct spec *find_spec(const struct found *found, uint64_t number)
{
	for (size_t low = 0, high = found->specs.count; low < high;) {
		size_t middle = low + (high - low) / 2;
		uint64_t owner = ledger_owner(found->specs.items[middle]);

		if (owner == number)
			return found->compiled[middle];
		if (owner < number)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* The first descriptor of an owner in the sorted list; count_out: how many it has. */
static struct stored *find_stored(const struct stored_list *list, uint64_t owner, size_t *count_out)
{
	size_t low = 0, high = list->count, end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (list->items[middle].owner < owner)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < list->count && list->items[end].owner == owner; end++)
		;
	*count_out = end - low;
	return &list->items[low];
}

/* Outputs of a process. Processes come in ascending order, as outputs stand. */
static void **next_outputs(struct found *found, uint64_t owner, size_t *count_out)
{
	const struct pointers *outputs = &found->outputs;
	size_t first = found->outputs_done, end;

	while (first < outputs->count && ledger_owner(outputs->items[first]) < owner)
		first++;
	for (end = first; end < outputs->count && ledger_owner(outputs->items[end]) == owner; end++)
		;
	found->outputs_done = end;
	*count_out = end - first;
	return outputs->items + first;
}

/* Makes one child of its record, with what store and ledger have for it. */
static void make_child(const struct recovery *recovery, struct found *found, struct record *record, struct spec *spec)
{
	uint64_t id = ledger_owner(record);
	size_t count, output_count = 0;
	void **outputs = next_outputs(found, id, &output_count);
	struct stored *stored = find_stored(recovery->list, id, &count);
	_cleanup_free_ struct recovered_fd *fds = mem_alloc((count + 1) * sizeof(*fds));
	struct recovered recovered = {
		.record = record,
		.spec = spec,
		.pid = slots_pid(recovery->slots, record->journal_slot),
		.fds = fds,
		.fd_count = count,
		.outputs = outputs,
		.output_count = output_count,
	};

	for (size_t i = 0; i < count; i++)
		fds[i] = (struct recovered_fd){.kind = stored[i].kind, .index = stored[i].index, .fd = fd_steal(&stored[i].fd)};
	child_recover(recovery->children, &recovered);
	failpoint("recover-child");
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i].fd);
}

/* Makes one pool of its record. Its workers are children, and find it by themselves. */
static void make_pool(const struct recovery *recovery, void *record, struct spec *template)
{
	size_t count;
	struct stored *stored = find_stored(recovery->list, ledger_owner(record), &count);
	_cleanup_free_ struct recovered_fd *fds = mem_alloc((count + 1) * sizeof(*fds));

	for (size_t i = 0; i < count; i++)
		fds[i] = (struct recovered_fd){.kind = stored[i].kind, .index = stored[i].index, .fd = fd_steal(&stored[i].fd)};
	pools_recover(recovery->pools, record, template, fds, count);
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i].fd);
}

static void make_pools(const struct recovery *recovery, const struct found *found)
{
	for (size_t i = 0; i < found->pools.count; i++) {
		void *record = found->pools.items[i];
		struct spec *template =
			ledger_size(record) >= sizeof(struct pool_record) ? find_spec(found, ((struct pool_record *)record)->spec) : NULL;

		if (template)
			make_pool(recovery, record, template);
		else
			ledger_free(recovery->ledger, record);
	}
}

/* Whether an object is there that owns what is kept under this id. */
static bool is_owner(const struct recovery *recovery, uint64_t id)
{
	return children_find(recovery->children, id) || pools_find(recovery->pools, id);
}

/* Whether a process was cloned for this record. */
static bool was_launched(const struct recovery *recovery, const struct record *record)
{
	uint32_t slot = record->journal_slot;

	return slot < JOURNAL_SLOTS && atomic_load(&slots_get(recovery->slots, slot)->owner) == ledger_owner(record) &&
	       slots_pid(recovery->slots, slot) != 0;
}

/* Nothing came of it, and nobody was told otherwise. */
static void forget(const struct recovery *recovery, struct record *record)
{
	uint64_t id = ledger_owner(record);
	uint32_t slot = record->journal_slot;

	ledger_free(recovery->ledger, record);
	slots_release(recovery->slots, slot, id);
	keeper_store_drop(recovery->keeper, STORE_ANY, id, 0);
}

/* Slots and descriptors of ids that are nobody's. */
static void drop_orphans(const struct recovery *recovery)
{
	const struct slots *slots = recovery->slots;

	for (uint32_t slot = slots_next_used(slots, 0); slot < JOURNAL_SLOTS; slot = slots_next_used(slots, slot + 1)) {
		uint64_t owner = atomic_load(&slots_get(recovery->slots, slot)->owner);

		if (!children_find(recovery->children, owner))
			slots_release(recovery->slots, slot, owner);
	}
	for (size_t i = 0; i < recovery->list->count; i++) {
		uint64_t owner = recovery->list->items[i].owner;

		if (owner && !is_owner(recovery, owner))
			keeper_store_drop(recovery->keeper, STORE_ANY, owner, 0);
	}
}

size_t recover_children(const struct recovery *recovery)
{
	struct found found;
	size_t count = 0;

	find_records(recovery->ledger, &found);
	compile_specs(recovery->ledger, &found);
	if (recovery->list->count)
		qsort(recovery->list->items, recovery->list->count, sizeof(*recovery->list->items), compare_stored);
	for (size_t i = 0; i < found.processes.count; i++) {
		struct record *record = found.processes.items[i];
		struct spec *spec = find_spec(&found, record->spec);

		if (spec && was_launched(recovery, record)) {
			make_child(recovery, &found, record, spec);
			count++;
		} else {
			forget(recovery, record);
		}
	}
	make_pools(recovery, &found);
	drop_orphans(recovery);
	for (size_t i = 0; i < found.outputs.count; i++)
		ledger_free(recovery->ledger, found.outputs.items[i]); /* NULL: a child has it */
	for (size_t i = 0; i < found.specs.count; i++) {
		if (found.compiled[i])
			spec_unref(found.compiled[i]);
		else
			ledger_free(recovery->ledger, found.specs.items[i]);
	}
	free(found.compiled);
	free(found.processes.items);
	free(found.outputs.items);
	free(found.specs.items);
	free(found.pools.items);
	if (count)
		log_(LOG_INFO, "took up %zu processes again", count);
	return count;
}
