/*
 * What a process counts as for its user. While it is open that follows from its spec, whether it uses it or not: so a process
 * that was started never runs into a quota later, and an engine after this one counts the same. Once it is closed it counts
 * as what is still kept of it.
 */
#include "base/mem.h"
#include "process/child_parts.h"
#include "process/outlog.h"

#define CHANNEL_FDS_HELD 4u       /* the socket, and what waits in either direction */
#define INPUT_MAX_LOW (64u << 10) /* what may wait for a child whose user has no memory left: something, so that it goes on */

/* Bytes that the log of an output slot may have. */
static uint64_t log_bytes(const struct spec *spec, const struct slot_spec *slot)
{
	struct outlog log = {.ring = NULL};

	outlog_init(&log, &(struct output_slot){
				  .retain = spec->message->retain_bytes,
				  .capture_limit = slot->capture_limit,
				  .capture_policy = (enum capture_policy)slot->capture_policy,
			  });
	return outlog_ring_size(&log);
}

/* Our descriptors of one slot: the end, and what stands behind it (ring, pipe in between, spool). */
static unsigned count_fds(const struct spec *spec, const struct slot_spec *slot)
{
	bool direct = spec->message->transport == SPAWND__V1__TRANSPORT__TRANSPORT_DIRECT;

	switch (slot->kind) {
	case SLOT_PIPE_IN:
		return 2;
	case SLOT_PIPE_OUT:
		return direct ? 4 : 2;
	case SLOT_PAIR:
		return 6;
	case SLOT_PTY:
		return slot == spec_pty_slot(spec, true) ? 5 : 0;
	case SLOT_CHANNEL:
		return CHANNEL_FDS_HELD;
	case SLOT_NULL:
	case SLOT_FILE:
	case SLOT_FD:
	case SLOT_SAME:
	case SLOT_NONE:
		return 0;
	}
	return 0;
}

static uint64_t memory(const struct child *child)
{
	return sizeof(*child) + ledger_size(child->record) + (child->spec->record ? ledger_size(child->spec->record) : 0) +
	       child->input_waiting;
}

/* What an open process counts as. */
static void cost_of(const struct child *child, uint64_t cost[QUOTA_COUNT])
{
	const struct spec *spec = child->spec;

	memset(cost, 0, QUOTA_COUNT * sizeof(*cost));
	cost[QUOTA_PROCESSES] = 1;
	cost[QUOTA_MEMORY] = memory(child);
	cost[QUOTA_DESCRIPTORS] = 1 + (spec->message->log_file ? 1u : 0); /* its directory, its file */
	for (size_t i = 0; i < spec->slot_count; i++) {
		cost[QUOTA_DESCRIPTORS] += count_fds(spec, &spec->slots[i]);
		if (spec_is_output(spec, &spec->slots[i]))
			cost[QUOTA_LOG_BYTES] += log_bytes(spec, &spec->slots[i]);
	}
}

/* Asks for one quota; what the user's ended processes hold goes first. */
static int ask(struct child *child, enum quota quota, uint64_t amount, struct err *err)
{
	int done = charge_check(&child->charge, quota, amount, err);

	while (done < 0 && (quota == QUOTA_PROCESSES ? children_forget_named(child->children, child->owner)
						     : children_forget_oldest(child->children, child->owner)))
		done = charge_check(&child->charge, quota, amount, err);
	return done;
}

int account_open(struct child *child, struct err *err)
{
	uint64_t cost[QUOTA_COUNT];

	cost_of(child, cost);
	charge_begin(&child->charge, child->children->host->quotas, child->owner);
	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++) {
		int done = ask(child, quota, cost[quota], err);

		if (done < 0)
			return done;
	}
	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++)
		charge_set(&child->charge, quota, cost[quota]);
	return 0;
}

void account_recover(struct child *child)
{
	uint64_t cost[QUOTA_COUNT];

	cost_of(child, cost);
	charge_begin(&child->charge, child->children->host->quotas, child->owner);
	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++)
		charge_set(&child->charge, quota, cost[quota]);
}

void account_exited(struct child *child)
{
	if (!child_name(child)[0])
		charge_set(&child->charge, QUOTA_PROCESSES, 0);
}

void account_closed(struct child *child)
{
	uint64_t bytes;
	unsigned rings;

	output_held(child->output, &bytes, &rings);
	charge_set(&child->charge, QUOTA_LOG_BYTES, bytes);
	charge_set(&child->charge, QUOTA_DESCRIPTORS, rings + (child->logfile ? 1u : 0));
}

void account_input(struct child *child, int64_t more)
{
	child->children->stdin_bytes += (uint64_t)more;
	child->input_waiting += (uint64_t)more;
	if (child->record)
		charge_set(&child->charge, QUOTA_MEMORY, memory(child));
}

size_t account_input_max(const struct child *child)
{
	return charge_left(&child->charge, QUOTA_MEMORY) < CHILD_STDIN_MAX ? INPUT_MAX_LOW : CHILD_STDIN_MAX;
}
