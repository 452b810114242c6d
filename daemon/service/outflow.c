/* See outflow.h. */
#include "service/outflow.h"

#include "base/mem.h"
#include "service/prefix.h"
#include "spawnd/v1/processes.pb-c.h"

void outflow_init(struct outflow *outflow, struct call *call, struct child *child)
{
	*outflow = (struct outflow){.call = call, .child = child};
}

void outflow_plan_finish(struct outflow_plan *plan)
{
	free(plan->slots);
	free(plan->at);
	*plan = (struct outflow_plan){0};
}

static void stop(struct outflow *outflow)
{
	reader_destroy(outflow->reader);
	outflow->reader = NULL;
	outflow->done = true;
}

/* Ends what was begun; credit stays. */
static void end(struct outflow *outflow)
{
	stop(outflow);
	outflow_plan_finish(&outflow->plan);
	free(mem_steal(&outflow->until));
}

void outflow_finish(struct outflow *outflow)
{
	end(outflow);
	free(mem_steal(&outflow->own));
	outflow->own_count = 0;
}

/* ---- credit ---- */

/* From now on each slot has an account, with nothing in it. */
static void open_accounts(struct outflow *outflow)
{
	const struct spec *spec = child_spec(outflow->child);

	if (outflow->own)
		return;
	outflow->own = mem_alloc((spec->slot_count + 1) * sizeof(*outflow->own));
	for (size_t i = 0; i < spec->slot_count; i++)
		if (spec_is_output(spec, &spec->slots[i]))
			outflow->own[outflow->own_count++].slot = spec->slots[i].slot;
}

static struct slot_credit *account_of(const struct outflow *outflow, uint32_t slot)
{
	for (size_t i = 0; i < outflow->own_count; i++)
		if (outflow->own[i].slot == slot)
			return &outflow->own[i];
	return NULL;
}

/* A sum that stays at its greatest instead of beginning anew. */
static uint64_t add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

int outflow_grant(struct outflow *outflow, uint32_t slot, uint64_t bytes, struct err *err)
{
	struct slot_credit *account;

	open_accounts(outflow);
	account = account_of(outflow, slot);
	if (!account)
		return err_invalid(err, "grant.slot", "the process writes nothing to us at %u", slot);
	account->bytes = add(account->bytes, bytes);
	return 0;
}

void outflow_grant_each(struct outflow *outflow, uint64_t bytes)
{
	open_accounts(outflow);
	for (size_t i = 0; i < outflow->own_count; i++)
		outflow->own[i].bytes = add(outflow->own[i].bytes, bytes);
}

/* Bytes of a slot that may go now. */
static size_t room_of(const struct outflow *outflow, const struct slot_credit *account)
{
	uint64_t room = call_has_messages(outflow->call) ? add(account->bytes, call_credit(outflow->call)) : 0;

	return room > SIZE_MAX ? SIZE_MAX : (size_t)room;
}

/* Bytes of any slot that may go now, at most; tells the reader how many of each. */
static size_t share_out(struct outflow *outflow)
{
	size_t most = call_credit(outflow->call);

	for (size_t i = 0; i < outflow->own_count; i++) {
		size_t room = room_of(outflow, &outflow->own[i]);

		reader_limit(outflow->reader, outflow->own[i].slot, room);
		if (room > most)
			most = room;
	}
	return most;
}

static bool is_read(const struct outflow_plan *plan, uint32_t slot)
{
	for (size_t i = 0; i < plan->slot_count; i++)
		if (plan->slots[i] == slot)
			return true;
	return plan->slot_count == 0;
}

/* Whether something may be left because it had no credit. */
static bool holds_back(const struct outflow *outflow)
{
	for (size_t i = 0; i < outflow->own_count; i++)
		if (is_read(&outflow->plan, outflow->own[i].slot) && room_of(outflow, &outflow->own[i]) == 0)
			return true;
	return !outflow->own && call_credit(outflow->call) == 0;
}

/* Takes bytes out of the account of a slot as far as it goes. Returns what is left for the call to pay. */
static size_t charge_slot(struct outflow *outflow, uint32_t slot, size_t bytes)
{
	struct slot_credit *account = account_of(outflow, slot);
	size_t paid = !account ? 0 : account->bytes < bytes ? (size_t)account->bytes : bytes;

	if (account)
		account->bytes -= paid;
	return bytes - paid;
}

static void on_ready(void *context, struct reader *reader)
{
	struct outflow *outflow = context;

	call_want_send(outflow->call);
}

static const struct reader_observer observer = {.on_ready = on_ready};

/* The totals of now, by slot. */
static struct slot_total *totals_of(const struct child *child, size_t *count_out)
{
	size_t count = child_totals(child, NULL, 0);
	struct slot_total *totals = mem_alloc((count + 1) * sizeof(*totals));

	*count_out = child_totals(child, totals, count);
	return totals;
}

bool outflow_is_placed(const struct outflow_plan *plan, uint32_t slot)
{
	for (size_t i = 0; i < plan->at_count; i++)
		if (plan->at[i].slot == slot)
			return true;
	return false;
}

static void place(struct outflow *outflow)
{
	const struct outflow_plan *plan = &outflow->plan;
	size_t count;
	_cleanup_free_ struct slot_total *totals = totals_of(outflow->child, &count);

	if (plan->from == OUTFLOW_RETAINED)
		reader_seek_retained(outflow->reader);
	if (plan->from == OUTFLOW_TIME)
		reader_seek_time(outflow->reader, plan->since_ns);
	for (size_t i = 0; plan->from == OUTFLOW_ZERO && i < count; i++)
		if (!outflow_is_placed(plan, totals[i].slot))
			reader_seek(outflow->reader, totals[i].slot, 0);
	for (size_t i = 0; i < plan->at_count; i++)
		reader_seek(outflow->reader, plan->at[i].slot, plan->at[i].bytes);
	if (plan->snapshot) {
		outflow->until = mem_steal(&totals);
		outflow->until_count = count;
		for (size_t i = 0; i < count; i++)
			outflow->until[i].complete = outflow->until[i].bytes == 0;
	}
}

void outflow_begin(struct outflow *outflow, struct outflow_plan *plan)
{
	end(outflow);
	outflow->plan = *plan;
	*plan = (struct outflow_plan){0};
	outflow->done = false;
	outflow->reader =
		reader_create(outflow->child, outflow->plan.policy, outflow->plan.slots, outflow->plan.slot_count, &observer, outflow);
	place(outflow);
	call_want_send(outflow->call);
}

/* How much of a chunk belongs to the snapshot; all of it without one. */
static size_t within(const struct outflow *outflow, const struct chunk *chunk)
{
	for (size_t i = 0; outflow->plan.snapshot && i < outflow->until_count; i++) {
		uint64_t end = outflow->until[i].bytes;

		if (outflow->until[i].slot != chunk->slot)
			continue;
		return chunk->offset >= end ? 0 : end - chunk->offset < chunk->length ? (size_t)(end - chunk->offset) : chunk->length;
	}
	return chunk->length;
}

/* Marks a slot that has reached its end of the snapshot as complete. True when all have. */
static bool note_reached(struct outflow *outflow, uint32_t slot, uint64_t offset)
{
	bool all = true;

	for (size_t i = 0; i < outflow->until_count; i++) {
		struct slot_total *until = &outflow->until[i];

		if (until->slot == slot && offset >= until->bytes)
			until->complete = true;
	}
	for (size_t i = 0; i < outflow->until_count; i++)
		all = all && outflow->until[i].complete;
	return all;
}

static void send_gap(struct outflow *outflow, const struct chunk *chunk)
{
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__OutputGap gap = SPAWND__V1__OUTPUT_GAP__INIT;

	gap.slot = chunk->slot;
	gap.offset = chunk->offset;
	gap.bytes = chunk->gap;
	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT_GAP;
	event.output_gap = &gap;
	call_send(outflow->call, &event.base, NULL, 0);
}

/* One frame of output, its payload from memory. */
static void send_bytes(struct outflow *outflow, const struct chunk *chunk, size_t length)
{
	uint8_t prefix[PREFIX_MAX];
	struct iovec iov[3] = {{.iov_base = prefix}};
	size_t count = 1, left = length;

	iov[0].iov_len = prefix_output(prefix, chunk->slot, chunk->offset, chunk->time_ns, length);
	for (size_t i = 0; i < chunk->iov_count && left; i++) {
		iov[count] = chunk->iov[i];
		if (iov[count].iov_len > left)
			iov[count].iov_len = left;
		left -= iov[count++].iov_len;
	}
	call_send_bulk(outflow->call, iov, count, charge_slot(outflow, chunk->slot, length));
}

static void send_pipe(struct outflow *outflow, const struct chunk *chunk)
{
	uint8_t prefix[PREFIX_MAX];
	size_t size = prefix_output(prefix, chunk->slot, chunk->offset, chunk->time_ns, chunk->length);

	call_send_bulk_pipe(outflow->call, prefix, size, chunk->pipe_fd, chunk->length, charge_slot(outflow, chunk->slot, chunk->length));
}

bool outflow_send(struct outflow *outflow)
{
	size_t limit, length;
	enum reader_result result;
	struct chunk chunk;

	if (!outflow->reader)
		return false;
	limit = share_out(outflow);
	/* without credit this only learns whether there is an end */
	result = reader_next(outflow->reader, limit < OUTFLOW_PAYLOAD_MAX ? limit : OUTFLOW_PAYLOAD_MAX, &chunk);
	if (result == READER_END || (result == READER_NOTHING && outflow->plan.snapshot && !holds_back(outflow))) {
		stop(outflow);
		return false;
	}
	if (result == READER_NOTHING)
		return false;
	length = result == READER_GAP ? 0 : within(outflow, &chunk);
	if (result == READER_GAP && outflow->plan.tell_gaps)
		send_gap(outflow, &chunk);
	else if (result == READER_PIPE)
		send_pipe(outflow, &chunk);
	else if (length)
		send_bytes(outflow, &chunk, length);
	reader_take(outflow->reader, &chunk);
	if (outflow->plan.snapshot && note_reached(outflow, chunk.slot, chunk.offset + chunk.length + chunk.gap)) {
		stop(outflow);
		return false;
	}
	return true;
}
