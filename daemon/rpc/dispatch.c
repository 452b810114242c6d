/* Frames become calls: find the method, check, decode, ask for permission, handle. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "rpc/check.h"
#include "rpc/internal.h"
#include "ttrpc.pb-c.h"

/* One arena serves all: a decoded message lives until its handler returns. Handlers do not nest. */
static struct arena arena;

/* The row of a method, or NULL. */
static const struct method *find_method(const struct method_table *table, const char *service, const char *name)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct method *method = &table->methods[i];

		if (strcmp(method->name, name) == 0 && strcmp(method->service, service) == 0)
			return method;
	}
	return NULL;
}

/* The client's deadline has passed: whatever was going on is over. */
static void on_deadline(void *arg)
{
	struct call *call = arg;
	const struct call_ops *ops = call->ops;
	struct err err;

	call->ops = NULL;
	if (ops && ops->on_end)
		ops->on_end(call);
	err_set(&err, STATUS_DEADLINE_EXCEEDED, "%s took longer than its deadline", call->method->name);
	call_fail(call, &err);
}

/* Decodes one message of a call and gives it to its handler; a failure ends the call. */
static void handle_message(struct call *call, const uint8_t *bytes, size_t size)
{
	const struct method *method = call->method;
	ProtobufCMessage *message;
	struct err err;
	int done;

	if (!arena.block)
		arena_init(&arena);
	done = check_message(method->request, bytes, size, &err);
	if (!done) {
		message = protobuf_c_message_unpack(method->request, &arena.allocator, size, bytes);
		if (!message)
			done = err_set(&err, STATUS_INVALID_ARGUMENT, "%s cannot be decoded", method->request->name);
		else if (!call->started)
			done = (call->started = true, method->handle(call, message, &err));
		else if (call->ops && call->ops->on_message)
			done = call->ops->on_message(call, message, &err);
		arena_reset(&arena);
	}
	if (done < 0 && !call->ended) {
		const struct call_ops *ops = call->ops;

		call->ops = NULL;
		if (ops && ops->on_end)
			ops->on_end(call);
		call_fail(call, &err);
	}
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

/* Reads ttrpc.Request: NULL and a refusal when it is none. */
static Ttrpc__Request *decode_request(struct peer *peer, const struct frame *frame, struct err *err)
{
	Ttrpc__Request *request;

	if (check_message(&ttrpc__request__descriptor, frame->payload, frame->header.length, err) < 0)
		return NULL;
	request = ttrpc__request__unpack(NULL, frame->header.length, frame->payload);
	if (!request)
		err_set(err, STATUS_INVALID_ARGUMENT, "the request cannot be decoded");
	return request;
}

/* Opens a call for a request that names a method; its first message may be in there already. */
static void open_call(struct peer *peer, const struct frame *frame, const Ttrpc__Request *request, const struct method *method)
{
	unsigned flags = frame->header.flags;
	struct call *call = call_create(peer, frame->header.stream_id);

	call->method = method;
	if (request->timeout_nano > 0) {
		call->deadline = loop_timer_create(peer->server->loop, on_deadline, call);
		loop_timer_set(call->deadline, (uint64_t)request->timeout_nano / 1000);
	}
	if (!method->stream || request->payload.len || (flags & FRAME_REMOTE_CLOSED))
		handle_message(call, request->payload.data, request->payload.len);
	if (method->stream && !(flags & FRAME_REMOTE_OPEN))
		close_remote(call);
}

/* A Request frame: a new call, or a refusal on its stream. */
static int handle_request(struct peer *peer, struct frame *frame)
{
	const struct method *method;
	Ttrpc__Request *request;
	struct err err;

	if (frame->header.stream_id % 2 == 0 || frame->header.stream_id <= peer->last_stream_id)
		return -EPROTO;
	peer->last_stream_id = frame->header.stream_id;
	request = decode_request(peer, frame, &err);
	if (!request) {
		peer_refuse(peer, frame->header.stream_id, &err);
		return 0;
	}
	method = find_method(&peer->server->methods, request->service, request->method);
	if (!method)
		err_set(&err, STATUS_UNIMPLEMENTED, "no method %s/%s", request->service, request->method);
	else if (HASH_COUNT(peer->calls) >= PEER_CALLS_MAX)
		method = (err_set(&err, STATUS_RESOURCE_EXHAUSTED, "more than %u calls are open on this connection", PEER_CALLS_MAX), NULL);
	else if (peer->server->observer->authorize(peer->server->context, peer, method, &err) < 0)
		method = NULL;
	if (method)
		open_call(peer, frame, request, method);
	else
		peer_refuse(peer, frame->header.stream_id, &err);
	ttrpc__request__free_unpacked(request, NULL);
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
static void refuse_oversized(struct peer *peer, const struct frame *frame)
{
	struct call *call;
	struct err err;

	err_set(&err, STATUS_RESOURCE_EXHAUSTED, "a frame of %u bytes is over the limit of %u", frame->header.length, FRAME_LENGTH_MAX);
	HASH_FIND(hh, peer->calls, &frame->header.stream_id, sizeof(uint32_t), call);
	if (call)
		call_drop(call);
	else if (frame->header.type != FRAME_REQUEST)
		return;
	if (frame->header.stream_id > peer->last_stream_id)
		peer->last_stream_id = frame->header.stream_id;
	peer_refuse(peer, frame->header.stream_id, &err);
}

int dispatch_frame(struct peer *peer, struct frame *frame)
{
	int done = 0;

	peer->frame = frame;
	if (frame->oversized)
		refuse_oversized(peer, frame);
	else if (frame->header.type == FRAME_REQUEST)
		done = handle_request(peer, frame);
	else if (frame->header.type == FRAME_DATA)
		handle_data(peer, frame);
	else
		log_(LOG_DEBUG, "peer %d: a frame of type %u was ignored", (int)peer->pid, frame->header.type);
	peer->frame = NULL;
	return done;
}
