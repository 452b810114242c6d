/* The inside of a stream, for stream.c and for what clients say on it. */
#pragma once

#include "service/receiving.h"
#include "service/sending.h"
#include "service/stream.h"

struct stream {
	struct service *service;
	struct call *call;
	struct child *child;
	enum stream_kind kind;
	struct outflow_plan plan; /* until the begin */
	struct outflow outflow;
	struct input input;
	struct receiving receiving;
	struct sending sending;
	uint32_t *late_slots;
	size_t late_count, late_next;
	bool no_output;
	bool messages_turn; /* the next frame is a message's, if there is one */
	bool begun;         /* Spawned was told */
	bool exited;        /* Exited was told */
	bool closed;        /* the process is; Closed follows the output */
	bool cancelled;     /* by the client */
	bool at_fault;      /* the call ends because of what the client sent */
};

/* A later message of the client, of the request type of this kind. 0, or negative with *err: the call fails. */
int stream_message(struct stream *stream, const ProtobufCMessage *message, struct err *err);
