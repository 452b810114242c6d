/*
 * One stream that follows a process: Spawn, Attach, Run and Logs. It observes the child for the few messages that never wait
 * for credit (Spawned, Exited, Closed, stdin), and has an outflow for its output.
 *
 * Order: Spawned before anything; Exited at once when it happens; Closed last, after all output this stream has to get. The
 * call ends after it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process/child.h"
#include "rpc/call.h"
#include "service/internal.h"
#include "service/outflow.h"

enum stream_kind { STREAM_SPAWN, STREAM_ATTACH, STREAM_RUN, STREAM_LOGS };

/* How a stream begins. */
struct stream_start {
	enum stream_kind kind;
	struct child *child;
	const Spawnd__V1__Grant *window; /* borrowed; NULL: the default */
	uint64_t slot_window;            /* bytes for each slot alone, the stream has none then; 0: window says all */
	bool no_output;
	struct channel_wants wants; /* of the channel */
	struct outflow_plan plan;   /* taken by stream_create, in any case */
	uint32_t *late_slots;       /* RUN: sent at the end, from what is kept; taken */
	size_t late_count;
	const ProtobufCBinaryData *input; /* RUN: for slot 0; borrowed; NULL: none */
	bool input_ends;                  /* nothing follows it */
	bool joined;                      /* the process was there before */
};

/* Keeps the call and sets its ops. A process that failed to start ends it. */
void stream_create(struct call *call, struct stream_start *start);
