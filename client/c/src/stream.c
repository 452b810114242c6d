/* Streams of a connection, and unary calls, which are streams of one answer. */
#include "base/mem.h"
#include "internal.h"
#include "ttrpc.pb-c.h"

struct stream {
	UT_hash_handle hh; /* spawnd::streams */
	uint32_t id;
	struct spawnd *client;
	const struct stream_observer *observer;
	void *context;
	bool half_closed;
};

/* Packs a message and sends it as one frame. */
static void send_frame(
	struct stream *stream, enum frame_type type, unsigned flags, const ProtobufCMessage *message, const int *fds, size_t fd_count)
{
	struct frame_header header = {.stream_id = stream->id, .type = (uint8_t)type, .flags = (uint8_t)flags};
	struct iovec iov = {.iov_len = message ? protobuf_c_message_get_packed_size(message) : 0};
	_cleanup_free_ uint8_t *bytes = mem_alloc(iov.iov_len);

	if (message)
		protobuf_c_message_pack(message, bytes);
	header.length = (uint32_t)iov.iov_len;
	iov.iov_base = bytes;
	conn_put(stream->client->conn, &header, &iov, 1, fds, fd_count);
}

/* Sends the envelope that opens a call. */
static struct stream *open_call(struct spawnd *client, const char *service, const char *method, unsigned flags,
	const ProtobufCMessage *payload, const struct stream_observer *observer, void *context, struct spawnd_error *error)
{
	Ttrpc__Request request = TTRPC__REQUEST__INIT;
	_cleanup_free_ uint8_t *bytes = NULL;
	struct stream *stream;

	if (client->lost) {
		if (error)
			*error = client->why;
		return NULL;
	}
	request.service = (char *)service;
	request.method = (char *)method;
	if (payload) {
		request.payload.len = protobuf_c_message_get_packed_size(payload);
		request.payload.data = bytes = mem_alloc(request.payload.len);
		protobuf_c_message_pack(payload, bytes);
	}
	if (request.payload.len > FRAME_LENGTH_MAX - 4096) {
		error_set(error, SPAWND_RESOURCE_EXHAUSTED, "the request of %s is over the limit of a frame", method);
		return NULL;
	}
	stream = mem_alloc(sizeof(*stream));
	stream->id = client->next_id;
	client->next_id += 2;
	stream->client = client;
	stream->observer = observer;
	stream->context = context;
	HASH_ADD(hh, client->streams, id, sizeof(stream->id), stream);
	send_frame(stream, FRAME_REQUEST, flags, &request.base, NULL, 0);
	return stream;
}

struct stream *stream_open(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *first, const int *fds,
	size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error)
{
	struct stream *stream;

	if (protobuf_c_message_get_packed_size(first) > FRAME_LENGTH_MAX) {
		error_set(error, SPAWND_RESOURCE_EXHAUSTED, "the request of %s is over the limit of a frame", method);
		return NULL;
	}
	stream = open_call(client, service, method, FRAME_REMOTE_OPEN, NULL, observer, context, error);
	if (stream)
		send_frame(stream, FRAME_DATA, 0, first, fds, fd_count);
	return stream;
}

struct stream *unary_open(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const struct stream_observer *observer, void *context, struct spawnd_error *error)
{
	return open_call(client, service, method, 0, request, observer, context, error);
}

void stream_send(struct stream *stream, const ProtobufCMessage *message)
{
	send_frame(stream, FRAME_DATA, 0, message, NULL, 0);
}

void stream_half_close(struct stream *stream)
{
	if (!stream->half_closed)
		send_frame(stream, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, NULL, NULL, 0);
	stream->half_closed = true;
}

void stream_forget(struct stream *stream)
{
	HASH_DELETE(hh, stream->client->streams, stream);
	free(stream);
}

/* Ends a stream: it is gone before its observer is told. */
static void end(struct stream *stream, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	const struct stream_observer *observer = stream->observer;
	void *context = stream->context;

	stream_forget(stream);
	observer->on_end(context, error, reply, size);
}

void stream_dispatch(struct spawnd *client, struct frame *frame)
{
	struct spawnd_error error;
	const uint8_t *reply = NULL;
	struct stream *stream;
	size_t size = 0;

	HASH_FIND(hh, client->streams, &frame->header.stream_id, sizeof(uint32_t), stream);
	if (!stream || frame->oversized)
		return;
	if (frame->header.type == FRAME_RESPONSE) {
		bool failed = error_of_response(frame->payload, frame->header.length, &error, &reply, &size);

		end(stream, failed ? &error : NULL, reply, size);
		return;
	}
	if (frame->header.type != FRAME_DATA)
		return;
	if (frame->header.flags & FRAME_NO_DATA) {
		end(stream, NULL, NULL, 0);
		return;
	}
	stream->observer->on_message(stream->context, frame->payload, frame->header.length, frame->fds, frame->fd_count);
}

void stream_end_all(struct spawnd *client)
{
	while (client->streams)
		end(client->streams, &client->why, NULL, 0);
}

/* ---- blocking unary calls ---- */

struct waiting {
	const ProtobufCMessageDescriptor *type;
	ProtobufCMessage *reply;
	struct spawnd_error error;
	bool failed, done;
};

static void on_reply(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct waiting *waiting = context;

	waiting->done = true;
	waiting->failed = true;
	if (error) {
		waiting->error = *error;
		return;
	}
	waiting->reply = protobuf_c_message_unpack(waiting->type, NULL, size, reply);
	if (waiting->reply)
		waiting->failed = false;
	else
		error_set(&waiting->error, SPAWND_INTERNAL, "the daemon's answer cannot be decoded");
}

int unary_call(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *reply, ProtobufCMessage **reply_out, struct spawnd_error *error)
{
	static const struct stream_observer observer = {.on_end = on_reply};
	struct waiting waiting = {.type = reply};
	struct stream *stream = unary_open(client, service, method, request, &observer, &waiting, error);

	if (!stream)
		return -1;
	while (!waiting.done) {
		if (spawnd_wait_event(client, -1, &waiting.error) < 0 && !waiting.done) {
			stream_forget(stream);
			break;
		}
	}
	if (!waiting.done || waiting.failed) {
		if (error)
			*error = waiting.error;
		return -1;
	}
	*reply_out = waiting.reply;
	return 0;
}
