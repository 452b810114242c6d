/*
 * The index of an output: in which order and when the bytes of all slots were read. Bounded: when it is full, what is no
 * longer in the logs goes first, then neighbours are joined, then the oldest quarter is dropped; bytes without an entry are
 * older than those with one.
 */
#include "base/mem.h"
#include "process/output_parts.h"

#define ENTRIES_FIRST 4u
#define ENTRIES_MAX 4096u
#define JOIN_NS 1000000 /* bursts that follow each other so soon are one */

void outindex_finish(struct outindex *index)
{
	free(index->entries);
	index->entries = NULL;
}

/* Whether the next burst simply goes on where the entry ends. */
static bool continues(const struct outindex_entry *entry, size_t pump, uint64_t offset, size_t length)
{
	return entry->pump == pump && entry->offset + entry->length == offset && (uint64_t)entry->length + length <= UINT32_MAX;
}

/* Whether none of the bytes of an entry are in their log. */
static bool is_stale(const struct output *output, const struct outindex_entry *entry)
{
	return entry->offset + entry->length <= outlog_from(&output->pumps[entry->pump].log);
}

/* Removes stale entries everywhere and joins neighbours of one slot; numbers change. */
static void squeeze(struct output *output)
{
	struct outindex *index = &output->index;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < index->count; i++) {
		struct outindex_entry entry = *outindex_at(index, index->first + i);
		struct outindex_entry *last = kept ? outindex_at(index, index->first + kept - 1) : NULL;

		if (is_stale(output, &entry))
			continue;
		if (last && continues(last, entry.pump, entry.offset, entry.length))
			last->length += entry.length;
		else
			*outindex_at(index, index->first + kept++) = entry;
	}
	index->count = kept;
	index->generation++;
}

/* Drops the oldest entry though its bytes are still there. */
static void forget_first(struct output *output)
{
	struct outindex *index = &output->index;
	struct outindex_entry *entry = outindex_at(index, index->first);

	output->pumps[entry->pump].indexed_from = entry->offset + entry->length;
	index->floor_ns = entry->time_ns;
	index->head = (index->head + 1) & (index->capacity - 1);
	index->first++;
	index->count--;
}

/* Drops entries from the front as long as their bytes are gone. */
static void drop_stale(struct output *output)
{
	struct outindex *index = &output->index;

	while (index->count && is_stale(output, outindex_at(index, index->first))) {
		index->head = (index->head + 1) & (index->capacity - 1);
		index->first++;
		index->count--;
	}
}

/* Moves the entries into a block of another size: a power of two, not below their number. */
static void resize(struct outindex *index, uint32_t capacity)
{
	struct outindex_entry *entries = mem_alloc(capacity * sizeof(*entries));

	for (uint32_t i = 0; i < index->count; i++)
		entries[i] = *outindex_at(index, index->first + i);
	free(index->entries);
	index->entries = entries;
	index->capacity = capacity;
	index->head = 0;
}

void outindex_trim(struct output *output)
{
	struct outindex *index = &output->index;
	uint32_t capacity = 1;

	drop_stale(output);
	while (capacity < index->count)
		capacity *= 2;
	if (capacity < index->capacity)
		resize(index, capacity);
}

/* Makes room for one more entry. */
static void make_room(struct output *output)
{
	struct outindex *index = &output->index;

	drop_stale(output);
	if (index->count < index->capacity)
		return;
	if (index->capacity >= ENTRIES_MAX) {
		squeeze(output);
		while (index->count > ENTRIES_MAX / 4 * 3)
			forget_first(output);
		return;
	}
	resize(index, index->capacity ? index->capacity * 2 : ENTRIES_FIRST);
}

void outindex_add(struct output *output, size_t pump, uint64_t offset, size_t length, int64_t time_ns)
{
	struct outindex *index = &output->index;
	struct outindex_entry *last = index->count ? outindex_at(index, index->first + index->count - 1) : NULL;

	if (last && continues(last, pump, offset, length) && time_ns - last->time_ns < JOIN_NS) {
		last->length += (uint32_t)length;
		return;
	}
	if (index->count == index->capacity)
		make_room(output);
	*outindex_at(index, index->first + index->count) =
		(struct outindex_entry){.time_ns = time_ns, .offset = offset, .length = (uint32_t)length, .pump = (uint32_t)pump};
	index->count++;
}

bool outindex_find_time(const struct outindex *index, size_t pump, int64_t since_ns, uint64_t *offset_out)
{
	for (uint32_t i = 0; i < index->count; i++) {
		const struct outindex_entry *entry = outindex_at(index, index->first + i);

		if (entry->pump == pump && entry->time_ns >= since_ns) {
			*offset_out = entry->offset;
			return true;
		}
	}
	return false;
}
