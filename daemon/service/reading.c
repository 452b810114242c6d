/* See reading.h. */
#include "service/reading.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "service/stream.h"

/* A slot that a client names must be one the process writes. */
static int check_slot(const struct spec *spec, uint32_t number, const char *field, size_t index, struct err *err)
{
	char name[64];

	for (size_t i = 0; i < spec->slot_count; i++)
		if (spec->slots[i].slot == number && spec_is_output(spec, &spec->slots[i]))
			return 0;
	snprintf(name, sizeof(name), "%s[%zu]", field, index);
	return err_invalid(err, name, "the process writes nothing to us at %u", number);
}

static int check_slots(const struct spec *spec, const uint32_t *slots, size_t count, const char *field, struct err *err)
{
	for (size_t i = 0; i < count; i++)
		if (check_slot(spec, slots[i], field, i, err) < 0)
			return -EINVAL;
	return 0;
}

int reading_slots(
	struct outflow_plan *plan, const struct spec *spec, const uint32_t *slots, size_t count, const char *field, struct err *err)
{
	if (check_slots(spec, slots, count, field, err) < 0)
		return -EINVAL;
	if (count)
		plan->slots = mem_dup(slots, count * sizeof(*slots));
	plan->slot_count = count;
	return 0;
}

int reading_from(struct outflow_plan *plan, const struct spec *spec, Spawnd__V1__SlotOffset *const *from, size_t count, struct err *err)
{
	for (size_t i = 0; i < count; i++)
		if (check_slot(spec, from[i]->slot, "from", i, err) < 0)
			return -EINVAL;
	plan->at = mem_alloc((count + 1) * sizeof(*plan->at));
	for (size_t i = 0; i < count; i++) {
		plan->at[i].slot = from[i]->slot;
		plan->at[i].bytes = from[i]->offset;
	}
	plan->at_count = count;
	return 0;
}

int reading_window(const Spawnd__V1__Grant *window, const char *field, struct err *err)
{
	char name[64];

	if (!window || !window->_slot_case)
		return 0;
	snprintf(name, sizeof(name), "%s.slot", field);
	return err_invalid(err, name, "a window is of the whole stream");
}

int reading_check(const struct spec *spec, const Spawnd__V1__Reader *reader, struct err *err)
{
	if (!reader)
		return 0;
	if (reader->none && reader->n_slots)
		return err_invalid(err, "reader.slots", "contradicts none");
	if (reader->slot_window && reader->window && reader->window->bytes)
		return err_invalid(err, "reader.slot_window", "contradicts reader.window.bytes");
	if (reading_window(reader->window, "reader.window", err) < 0)
		return -EINVAL;
	return check_slots(spec, reader->slots, reader->n_slots, "reader.slots", err);
}

int reading_fill(struct stream_start *start, const Spawnd__V1__Reader *reader, enum reader_policy standard, struct err *err)
{
	const struct spec *spec = child_spec(start->child);

	start->plan.policy = standard;
	start->wants.reads = start->kind == STREAM_SPAWN;
	if (!reader)
		return 0;
	if (reading_check(spec, reader, err) < 0)
		return -EINVAL;
	if (reader->policy == SPAWND__V1__READER__POLICY__POLICY_BLOCK)
		start->plan.policy = READER_BLOCK;
	else if (reader->policy == SPAWND__V1__READER__POLICY__POLICY_DROP)
		start->plan.policy = READER_DROP;
	start->window = reader->window;
	start->slot_window = reader->slot_window;
	start->no_output = reader->none;
	start->wants.internal = reader->messages == SPAWND__V1__READER__MESSAGES__MESSAGES_INTERNAL;
	if (reader->messages)
		start->wants.reads = reader->messages != SPAWND__V1__READER__MESSAGES__MESSAGES_NONE;
	start->wants.keeps = reader->keep_messages;
	start->wants.id = reader->keep_messages ? reader->message : 0;
	start->wants.offset = reader->message_offset;
	return reading_slots(&start->plan, spec, reader->slots, reader->n_slots, "reader.slots", err);
}
