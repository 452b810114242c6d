/* Streams of a connection, and unary calls, which are streams of one answer. */
#include <fcntl.h>

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

/* Descriptors the kernel would refuse would cost us the connection, not only the call. */
static int check_fds(const int *fds, size_t count, struct spawnd_error *error)
{
	if (count > FDPASS_MAX)
		return error_set(error, SPAWND_INVALID_ARGUMENT, "at most %d descriptors can be sent along, not %zu", FDPASS_MAX, count);
	for (size_t i = 0; i < count; i++) {
		if (fcntl(fds[i], F_GETFD) < 0)
			return error_set(error, SPAWND_INVALID_ARGUMENT, "%d is not a descriptor of this process", fds[i]);
	}
	return 0;
}

/* Sends the envelope that opens a call. */
static struct stream *open_call(struct spawnd *client, const char *service, const char *method, unsigned flags,
	const ProtobufCMessage *payload, const int *fds, size_t fd_count, const struct stream_observer *observer, void *context)
{
	Ttrpc__Request request = TTRPC__REQUEST__INIT;
	_cleanup_free_ uint8_t *bytes = NULL;
	struct stream *stream;

	request.service = (char *)service;
	request.method = (char *)method;
	if (payload) {
		request.payload.len = protobuf_c_message_get_packed_size(payload);
		request.payload.data = bytes = mem_alloc(request.payload.len);
		protobuf_c_message_pack(payload, bytes);
	}
	stream = mem_alloc(sizeof(*stream));
	stream->id = client->next_id;
	client->next_id = client->next_id + 2 > client->next_id ? client->next_id + 2 : 0;
	stream->client = client;
	stream->observer = observer;
	stream->context = context;
	HASH_ADD(hh, client->streams, id, sizeof(stream->id), stream);
	send_frame(stream, FRAME_REQUEST, flags, &request.base, fds, fd_count);
	return stream;
}

/* Whether a call with this first message can be sent at all. */
static int check_call(struct spawnd *client, const char *method, const ProtobufCMessage *message, const int *fds, size_t fd_count,
	struct spawnd_error *error)
{
	if (client->lost)
		return error_copy(error, &client->why);
	if (!client->next_id)
		return error_set(error, SPAWND_UNAVAILABLE, "this connection has made all the calls it can; open another one");
	if (protobuf_c_message_get_packed_size(message) > FRAME_LENGTH_MAX - 4096)
		return error_set(error, SPAWND_RESOURCE_EXHAUSTED, "the request of %s is over the limit of 4 MiB", method);
	return check_fds(fds, fd_count, error);
}

struct stream *stream_open(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *first, const int *fds,
	size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error)
{
	struct stream *stream;

	if (check_call(client, method, first, fds, fd_count, error) < 0)
		return NULL;
	stream = open_call(client, service, method, FRAME_REMOTE_OPEN, NULL, NULL, 0, observer, context);
	send_frame(stream, FRAME_DATA, 0, first, fds, fd_count);
	return stream;
}

struct stream *stream_open_unary(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const int *fds, size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error)
{
	if (check_call(client, method, request, fds, fd_count, error) < 0)
		return NULL;
	return open_call(client, service, method, 0, request, fds, fd_count, observer, context);
}

void stream_send(struct stream *stream, const ProtobufCMessage *message)
{
	send_frame(stream, FRAME_DATA, 0, message, NULL, 0);
}

void stream_send_data(struct stream *stream, const uint8_t *prefix, size_t prefix_size, const void *data, size_t size)
{
	struct frame_header header = {.length = (uint32_t)(prefix_size + size), .stream_id = stream->id, .type = FRAME_DATA};
	struct iovec pieces[] = {{.iov_base = (void *)prefix, .iov_len = prefix_size}, {.iov_base = (void *)data, .iov_len = size}};

	conn_put(stream->client->conn, &header, pieces, size ? 2 : 1, NULL, 0);
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

static struct stream *find(struct spawnd *client, uint32_t id)
{
	struct stream *stream;

	HASH_FIND(hh, client->streams, &id, sizeof(id), stream);
	return stream;
}

/* The answer of a unary call, or the end of a stream by a status. */
static void take_response(struct stream *stream, const uint8_t *bytes, size_t size)
{
	Ttrpc__Response *response = ttrpc__response__unpack(NULL, size, bytes);
	struct spawnd_error error;

	if (!response) {
		error_set(&error, SPAWND_INTERNAL, "the daemon's answer cannot be decoded");
		end(stream, &error, NULL, 0);
		return;
	}
	if (error_of_status(response->status, &error))
		end(stream, &error, NULL, 0);
	else
		end(stream, NULL, response->payload.data, response->payload.len);
	ttrpc__response__free_unpacked(response, NULL);
}

void stream_dispatch(struct spawnd *client, struct frame *frame)
{
	struct frame_header header = frame->header;
	struct stream *stream = find(client, header.stream_id);
	struct spawnd_error error;

	if (!stream)
		return;
	if (frame->oversized) {
		error_set(&error, SPAWND_RESOURCE_EXHAUSTED, "the daemon sent a message over the limit of 4 MiB");
		end(stream, &error, NULL, 0);
		return;
	}
	if (header.type == FRAME_RESPONSE) {
		take_response(stream, frame->payload, header.length);
		return;
	}
	if (header.type != FRAME_DATA)
		return;
	if (!(header.flags & FRAME_NO_DATA) && stream->observer->on_message) {
		stream->observer->on_message(stream->context, frame->payload, header.length, frame->fds, frame->fd_count);
		stream = find(client, header.stream_id);
	}
	if (stream && (header.flags & FRAME_REMOTE_CLOSED))
		end(stream, NULL, NULL, 0);
}

void stream_end_all(struct spawnd *client)
{
	while (client->streams)
		end(client->streams, &client->why, NULL, 0);
}

void stream_forget_all(struct spawnd *client)
{
	while (client->streams) {
		const struct stream_observer *observer = client->streams->observer;
		void *context = client->streams->context;

		stream_forget(client->streams);
		if (observer->on_forgotten)
			observer->on_forgotten(context);
	}
}
