/* What a stream must know to go on where it was on another connection: what it has of each slot, what it sent to each. */
#include "base/mem.h"
#include "internal.h"

/* ---- output ---- */

void marks_finish(struct marks *marks)
{
	free(marks->list);
	*marks = (struct marks){0};
}

/* The mark of a slot; NULL when it has none. */
static struct spawnd_offset *find_mark(const struct marks *marks, unsigned slot)
{
	for (size_t i = 0; i < marks->count; i++)
		if (marks->list[i].slot == slot)
			return &marks->list[i];
	return NULL;
}

void marks_set(struct marks *marks, unsigned slot, uint64_t offset)
{
	struct spawnd_offset *mark = find_mark(marks, slot);

	if (mark) {
		mark->offset = offset;
		return;
	}
	marks->list = mem_realloc(marks->list, (marks->count + 1) * sizeof(*marks->list));
	marks->list[marks->count++] = (struct spawnd_offset){.slot = slot, .offset = offset};
}

size_t marks_take(struct marks *marks, unsigned slot, uint64_t offset, size_t size)
{
	const struct spawnd_offset *mark = find_mark(marks, slot);
	uint64_t known = mark && mark->offset > offset ? mark->offset - offset : 0;

	if (known >= size && size)
		return size;
	marks_set(marks, slot, offset + size);
	return (size_t)known;
}

Spawnd__V1__SlotOffset **marks_messages(const struct marks *marks)
{
	Spawnd__V1__SlotOffset **list = mem_alloc(marks->count * (sizeof(*list) + sizeof(**list)));
	Spawnd__V1__SlotOffset *messages = (Spawnd__V1__SlotOffset *)(list + marks->count);

	for (size_t i = 0; i < marks->count; i++) {
		spawnd__v1__slot_offset__init(&messages[i]);
		messages[i].slot = marks->list[i].slot;
		messages[i].offset = marks->list[i].offset;
		list[i] = &messages[i];
	}
	return list;
}

/* ---- input ---- */

void kept_finish(struct kept_input *kept)
{
	for (size_t i = 0; i < kept->count; i++)
		buf_finish(&kept->slots[i].bytes);
	free(mem_steal(&kept->slots));
	kept->count = 0;
}

static struct kept_slot *slot_of(struct kept_input *kept, unsigned number)
{
	for (size_t i = 0; i < kept->count; i++)
		if (kept->slots[i].slot == number)
			return &kept->slots[i];
	kept->slots = mem_realloc(kept->slots, (kept->count + 1) * sizeof(*kept->slots));
	kept->slots[kept->count] = (struct kept_slot){.slot = number};
	return &kept->slots[kept->count++];
}

/* Forgets the first bytes of a slot. */
static void drop(struct kept_slot *slot, size_t size)
{
	buf_consume(&slot->bytes, size);
	buf_trim(&slot->bytes, STDIN_CHUNK);
	slot->base += size;
}

/*
 * What was granted beyond the window was taken before, of whatever slots: of none of them are more bytes outstanding than of
 * all together.
 */
static void trim(struct kept_input *kept)
{
	uint64_t outstanding = kept->sent - kept->granted;

	for (size_t i = 0; i < kept->count; i++)
		if (kept->slots[i].bytes.length > outstanding)
			drop(&kept->slots[i], kept->slots[i].bytes.length - (size_t)outstanding);
}

void kept_data(struct kept_input *kept, unsigned slot, const void *data, size_t size)
{
	struct kept_slot *at;

	if (kept->off || !size)
		return;
	at = slot_of(kept, slot);
	kept->sent += size;
	if (at->closed)
		at->base += size;
	else
		buf_append(&at->bytes, data, size);
}

void kept_eof(struct kept_input *kept, unsigned slot)
{
	slot_of(kept, slot)->eof = true;
}

void kept_granted(struct kept_input *kept, uint64_t bytes)
{
	if (kept->off)
		return;
	kept->granted = bytes < kept->sent - kept->granted ? kept->granted + bytes : kept->sent;
	trim(kept);
}

bool kept_closed(struct kept_input *kept, unsigned slot)
{
	struct kept_slot *at = slot_of(kept, slot);
	bool first = !at->closed;

	at->closed = true;
	drop(at, at->bytes.length);
	return first;
}

/* What Spawned says was taken of a slot. */
static uint64_t taken_of(const Spawnd__V1__Spawned *spawned, unsigned slot)
{
	for (size_t i = 0; i < spawned->n_stdin; i++)
		if (spawned->stdin[i]->slot == slot)
			return spawned->stdin[i]->offset;
	return 0;
}

void kept_place(struct kept_input *kept, const Spawnd__V1__Spawned *spawned)
{
	for (size_t i = 0; i < spawned->n_stdin; i++)
		slot_of(kept, spawned->stdin[i]->slot)->base += spawned->stdin[i]->offset;
	kept->placed = true;
}

/* Drops what was taken. Others write too when more was taken than we sent: then all of ours counts as taken. */
static int settle(struct kept_slot *slot, uint64_t taken, struct spawnd_error *error)
{
	uint64_t end = slot->base + slot->bytes.length;

	if (taken < slot->base && !slot->closed)
		return error_set(error, SPAWND_DATA_LOSS, "input of slot %u is lost: %llu bytes were taken, and are not any more",
			slot->slot, (unsigned long long)slot->base);
	if (taken > end || slot->closed) {
		drop(slot, slot->bytes.length);
		slot->base = taken;
	} else {
		drop(slot, (size_t)(taken - slot->base));
	}
	return 0;
}

int kept_resume(struct kept_input *kept, const Spawnd__V1__Spawned *spawned, struct spawnd_error *error)
{
	bool placed = kept->placed;

	kept->sent = kept->granted = 0;
	if (!placed)
		kept_place(kept, spawned);
	for (size_t i = 0; i < kept->count; i++) {
		struct kept_slot *slot = &kept->slots[i];

		if (!placed && slot->bytes.length)
			return error_set(error, SPAWND_DATA_LOSS,
				"the connection was lost before it was known where the input of slot %u begins", slot->slot);
		if (settle(slot, taken_of(spawned, slot->slot), error) < 0)
			return -1;
		kept->sent += slot->bytes.length;
	}
	return 0;
}
