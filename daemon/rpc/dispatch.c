/* Frames become calls: find the method, check, decode, ask for permission, handle. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "rpc/check.h"
#include "rpc/envelope.h"
#include "rpc/internal.h"

#define NAME_SHOWN_MAX 100

/* One arena serves all: a decoded message lives until its handler returns. Handlers do not nest. */
static struct arena arena;

static bool is_equal(struct span span, const char *text)
{
	return strlen(text) == span.size && memcmp(span.bytes, text, span.size) == 0;
}

/* The row of a method, or NULL. */
static const struct method *find_method(const struct method_table *table, const struct envelope *envelope)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct method *method = &table->methods[i];

		if (is_equal(envelope->method, method->name) && is_equal(envelope->service, method->service))
			return method;
	}
	return NULL;
}

/* Ends a call that its handler did not end itself: the handler first, then the client. */
static void fail_and_tell(struct call *call, const struct err *err)
{
	const struct call_ops *ops = call->ops;

	call->ops = NULL;
	if (ops && ops->on_end)
		ops->on_end(call);
	call_fail(call, err);
}

/* The client's deadline has passed: whatever was going on is over. */
static void on_deadline(void *arg)
{
	struct call *call = arg;
	struct err err;

	err_set(&err, STATUS_DEADLINE_EXCEEDED, "%s took longer than its deadline", call->method->name);
	fail_and_tell(call, &err);
}

/* Gives a decoded message to whom it is for. */
static int deliver(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	if (!call->started) {
		call->started = true;
		return call->method->handle(call, message, err);
	}
	if (call->ops && call->ops->on_message)
		return call->ops->on_message(call, message, err);
	return 0;
}

/* Decodes one message of a call and gives it to its handler; a failure ends the call. */
static void handle_message(struct call *call, const uint8_t *bytes, size_t size)
{
	const ProtobufCMessageDescriptor *type = call->method->request;
	ProtobufCMessage *message;
	struct err err;
	int done;

	if (!arena.block)
		arena_init(&arena);
	done = check_message(type, bytes, size, &err);
	if (!done) {
		message = protobuf_c_message_unpack(type, &arena.allocator, size, bytes);
		done = message ? deliver(call, message, &err) : err_set(&err, STATUS_INVALID_ARGUMENT, "%s cannot be decoded", type->name);
		arena_reset(&arena);
	}
	if (done < 0 && !call->ended)
		fail_and_tell(call, &err);
}

/* The client says no more on this stream. */
static void close_remote(struct call *call)
{
	struct err err;

	if (call->ended || call->remote_closed)
		return;
	call->remote_closed = true;
	if (!call->started) {
		err_set(&err, STATUS_INVALID_ARGUMENT, "%s ended before its first message", call->method->name);
		call_fail(call, &err);
	} else if (call->ops && call->ops->on_half_close) {
		call->ops->on_half_close(call);
	}
}

/* Opens a call for a request that names a method; its first message may be in there already. */
static void open_call(struct peer *peer, const struct frame *frame, const struct envelope *envelope, const struct method *method)
{
	unsigned flags = frame->header.flags;
	struct call *call = call_create(peer, frame->header.stream_id);

	call->method = method;
	if (envelope->timeout_nano < 0) {
		on_deadline(call);
		return;
	}
	if (envelope->timeout_nano > 0) {
		call->deadline = loop_timer_create(peer->server->loop, on_deadline, call);
		loop_timer_set(call->deadline, (uint64_t)envelope->timeout_nano / 1000);
	}
	if (!method->stream || envelope->payload.size || (flags & FRAME_REMOTE_CLOSED))
		handle_message(call, envelope->payload.bytes, envelope->payload.size);
	if (method->stream && !(flags & FRAME_REMOTE_OPEN))
		close_remote(call);
}

/* Takes the id of a new stream: odd, and above all before. 0 or -EPROTO. */
static int take_stream_id(struct peer *peer, uint32_t stream_id)
{
	if (stream_id % 2 == 0 || stream_id <= peer->last_stream_id)
		return -EPROTO;
	peer->last_stream_id = stream_id;
	return 0;
}

/* How much of a name a message repeats. */
static int shown(struct span span)
{
	return span.size < NAME_SHOWN_MAX ? (int)span.size : NAME_SHOWN_MAX;
}

/* The method that may be called now, or NULL with *err filled. */
static const struct method *admit(struct peer *peer, const struct envelope *envelope, struct err *err)
{
	const struct peer_server *server = peer->server;
	const struct method *method = find_method(&server->methods, envelope);

	if (!method) {
		err_set(err, STATUS_UNIMPLEMENTED, "no method %.*s/%.*s", shown(envelope->service), envelope->service.bytes,
			shown(envelope->method), envelope->method.bytes);
		return NULL;
	}
	if (HASH_COUNT(peer->calls) >= PEER_CALLS_MAX) {
		err_set(err, STATUS_RESOURCE_EXHAUSTED, "more than %u calls are open on this connection", PEER_CALLS_MAX);
		return NULL;
	}
	if (charge_over(&peer->charge, QUOTA_MEMORY, err) < 0)
		return NULL;
	return server->observer->authorize(server->context, peer, method, err) < 0 ? NULL : method;
}

/* A Request frame: a new call, or a refusal on its stream. */
static int handle_request(struct peer *peer, const struct frame *frame)
{
	const struct method *method = NULL;
	struct envelope envelope;
	struct err err;
	int done = take_stream_id(peer, frame->header.stream_id);

	if (done < 0)
		return done;
	if (envelope_read(frame->payload, frame->header.length, &envelope, &err) == 0)
		method = admit(peer, &envelope, &err);
	if (method)
		open_call(peer, frame, &envelope, method);
	else
		peer_refuse(peer, frame->header.stream_id, &err);
	return 0;
}

/* A Data frame: a message, the end of messages, or both. Data for a stream that has ended is lawful and late. */
static void handle_data(struct peer *peer, const struct frame *frame)
{
	struct call *call;

	HASH_FIND(hh, peer->calls, &frame->header.stream_id, sizeof(uint32_t), call);
	if (!call)
		return;
	if (call->remote_closed || !call->method->stream) {
		struct err err;

		if (frame->header.flags & FRAME_NO_DATA)
			return;
		err_set(&err, STATUS_INVALID_ARGUMENT, "data after the end of the client's messages");
		call_drop(call);
		peer_refuse(peer, frame->header.stream_id, &err);
		return;
	}
	if (!(frame->header.flags & FRAME_NO_DATA))
		handle_message(call, frame->payload, frame->header.length);
	if (frame->header.flags & FRAME_REMOTE_CLOSED)
		close_remote(call);
}

/* A frame over the limit: its stream is told, its bytes are thrown away by the connection. */
static int refuse_oversized(struct peer *peer, const struct frame *frame)
{
	struct call *call = NULL;
	struct err err;

	if (frame->header.length > FRAME_LENGTH_MAX ||
		charge_check(&peer->charge, QUOTA_MEMORY, peer->charge.of[QUOTA_MEMORY] + frame->header.length, &err) == 0)
		err_set(&err, STATUS_RESOURCE_EXHAUSTED, "a frame of %u bytes is over the limit of %u", frame->header.length,
			FRAME_LENGTH_MAX);
	if (frame->header.type == FRAME_REQUEST) {
		int done = take_stream_id(peer, frame->header.stream_id);

		if (done < 0)
			return done;
	} else {
		HASH_FIND(hh, peer->calls, &frame->header.stream_id, sizeof(uint32_t), call);
		if (!call)
			return 0;
		call_drop(call);
	}
	peer_refuse(peer, frame->header.stream_id, &err);
	return 0;
}

/* Whether a frame is of a type that a client sends; others are ignored whole, as ttrpc's own server does. */
static bool is_ours(const struct frame *frame)
{
	return frame->header.type == FRAME_REQUEST || frame->header.type == FRAME_DATA;
}

int dispatch_frame(struct peer *peer, struct frame *frame)
{
	int done = 0;

	peer->frame = frame;
	if (!is_ours(frame))
		log_(LOG_DEBUG, "peer %d: a frame of type %u was ignored", (int)peer->pid, frame->header.type);
	else if (frame->oversized)
		done = refuse_oversized(peer, frame);
	else if (frame->header.type == FRAME_REQUEST)
		done = handle_request(peer, frame);
	else
		handle_data(peer, frame);
	peer->frame = NULL;
	return done;
}
