/* Output on its way to one client: pulled from a reader as the call's credit allows, packed once, payload untouched. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process/child.h"
#include "rpc/call.h"

#define OUTFLOW_PAYLOAD_MAX (256u << 10) /* of one frame */

/* Where a reader begins. */
enum outflow_from {
	OUTFLOW_NEXT,     /* the next byte to come */
	OUTFLOW_RETAINED, /* the oldest byte kept */
	OUTFLOW_ZERO,     /* the first byte of all; what is not kept any more is a gap */
	OUTFLOW_TIME,     /* the first byte read at or after since_ns */
};

/* What is read; the arrays are the outflow's once it was begun with them. */
struct outflow_plan {
	enum reader_policy policy;
	uint32_t *slots; /* owned; NULL and 0: all output slots */
	size_t slot_count;
	enum outflow_from from;
	int64_t since_ns;
	struct slot_total *at; /* owned; these slots begin at `bytes` instead */
	size_t at_count;
	bool snapshot; /* what there is now and no more */
	bool tell_gaps;
};

/* Bytes that only the output of one slot may use. */
struct slot_credit {
	uint32_t slot;
	uint64_t bytes;
};

struct outflow {
	struct call *call;
	struct child *child;
	struct outflow_plan plan;
	struct reader *reader;    /* NULL before the begin and when done */
	struct slot_total *until; /* snapshot: where each slot stops, at `bytes`, and whether it has; owned */
	size_t until_count;
	struct slot_credit *own; /* owned; NULL: all slots share the credit of the call */
	size_t own_count;
	bool done; /* nothing more comes */
};

void outflow_init(struct outflow *outflow, struct call *call, struct child *child);
void outflow_plan_finish(struct outflow_plan *plan);
bool outflow_is_placed(const struct outflow_plan *plan, uint32_t slot); /* by `at` */
/*
 * Credit beside that of the call: bytes for one slot, which it uses first. From then on a slot without any is passed over,
 * and the others go on. -EINVAL with *err: the process has no such output.
 */
int outflow_grant(struct outflow *outflow, uint32_t slot, uint64_t bytes, struct err *err);
/* The same for every output slot. */
void outflow_grant_each(struct outflow *outflow, uint64_t bytes);
/* Begins; plan is taken. Can be done again when the first is done. */
void outflow_begin(struct outflow *outflow, struct outflow_plan *plan);
void outflow_finish(struct outflow *outflow);

/* At most one frame, inside on_sendable: true to be asked again. `done` is set when all was sent. */
bool outflow_send(struct outflow *outflow);
