/*
 * Streams of a connection, and unary calls, which are streams of one answer. Each keeps what it began with, so that it can be
 * said again when the connection was lost and is made anew; until then it is `stale`, and what is sent on it goes nowhere.
 */
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
	const char *service, *method;
	bool unary;
	bool stale;     /* said on a connection that is lost, or on none yet */
	uint8_t *first; /* the first message, packed; owned, NULL: not kept */
	size_t first_size;
	int *fds; /* that go with it; owned until stream_confirm */
	size_t fd_count;
	bool half_closed;
	enum stream_fate fate; /* while stale */
};

/* Sends one frame. */
static void send_bytes(
	struct stream *stream, enum frame_type type, unsigned flags, const uint8_t *bytes, size_t size, const int *fds, size_t fd_count)
{
	struct frame_header header = {.length = (uint32_t)size, .stream_id = stream->id, .type = (uint8_t)type, .flags = (uint8_t)flags};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};

	if (stream_is_live(stream))
		conn_put(stream->client->conn, &header, &iov, size ? 1 : 0, fds, fd_count);
}

/* A message in memory of its own. */
static uint8_t *pack(const ProtobufCMessage *message, size_t *size_out)
{
	uint8_t *bytes = mem_alloc(protobuf_c_message_get_packed_size(message) + 1);

	*size_out = protobuf_c_message_pack(message, bytes);
	return bytes;
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

/* Sends what opens a call: its envelope, with the first message inside or in a frame after it. */
static void say(struct stream *stream, const uint8_t *first, size_t size, const int *fds, size_t fd_count)
{
	Ttrpc__Request request = TTRPC__REQUEST__INIT;
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t length;

	request.service = (char *)stream->service;
	request.method = (char *)stream->method;
	if (stream->unary)
		request.payload = (ProtobufCBinaryData){.len = size, .data = (uint8_t *)first};
	bytes = pack(&request.base, &length);
	if (stream->unary) {
		send_bytes(stream, FRAME_REQUEST, 0, bytes, length, fds, fd_count);
		return;
	}
	send_bytes(stream, FRAME_REQUEST, FRAME_REMOTE_OPEN, bytes, length, NULL, 0);
	send_bytes(stream, FRAME_DATA, 0, first, size, fds, fd_count);
}

static void take_id(struct stream *stream)
{
	struct spawnd *client = stream->client;

	stream->id = client->next_id;
	client->next_id = client->next_id + 2 > client->next_id ? client->next_id + 2 : 0;
	HASH_ADD(hh, client->streams, id, sizeof(stream->id), stream);
}

/* Keeps what may have to be said again. False: its descriptors cannot be kept, and the call is lost with the connection. */
static bool keep(struct stream *stream, uint8_t *first, size_t size, const int *fds, size_t fd_count)
{
	if (fd_count)
		stream->fds = mem_alloc(fd_count * sizeof(*fds));
	for (; stream->fd_count < fd_count; stream->fd_count++) {
		stream->fds[stream->fd_count] = fcntl(fds[stream->fd_count], F_DUPFD_CLOEXEC, 0);
		if (stream->fds[stream->fd_count] >= 0)
			continue;
		stream_confirm(stream);
		free(first);
		return false;
	}
	stream->first = first;
	stream->first_size = size;
	return true;
}

void stream_confirm(struct stream *stream)
{
	for (size_t i = 0; i < stream->fd_count; i++)
		fd_close(&stream->fds[i]);
	free(mem_steal(&stream->fds));
	stream->fd_count = 0;
}

/* Opens a call with a first message that is packed already, and taken. NULL with *error. */
static struct stream *open_call(struct spawnd *client, bool unary, const char *service, const char *method, uint8_t *first, size_t size,
	const int *fds, size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error)
{
	struct stream *stream = mem_alloc(sizeof(*stream));
	_cleanup_free_ uint8_t *bytes = first;

	stream->client = client;
	stream->service = service;
	stream->method = method;
	stream->unary = unary;
	stream->observer = observer;
	stream->context = context;
	stream->stale = !client->conn;
	take_id(stream);
	say(stream, bytes, size, fds, fd_count);
	if (!client_returns(client) || keep(stream, mem_steal(&bytes), size, fds, fd_count) || !stream->stale)
		return stream;
	stream_forget(stream);
	error_set(error, SPAWND_RESOURCE_EXHAUSTED, "no descriptors are left to wait for the daemon with those of %s", method);
	return NULL;
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
	uint8_t *bytes;
	size_t size;

	if (check_call(client, method, first, fds, fd_count, error) < 0)
		return NULL;
	bytes = pack(first, &size);
	return open_call(client, false, service, method, bytes, size, fds, fd_count, observer, context, error);
}

struct stream *stream_open_unary(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const int *fds, size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error)
{
	uint8_t *bytes;
	size_t size;

	if (check_call(client, method, request, fds, fd_count, error) < 0)
		return NULL;
	bytes = pack(request, &size);
	return open_call(client, true, service, method, bytes, size, fds, fd_count, observer, context, error);
}

void stream_open_packed(struct spawnd *client, const char *service, const char *method, const uint8_t *request, size_t size,
	const struct stream_observer *observer, void *context)
{
	open_call(client, true, service, method, mem_dup(request, size), size, NULL, 0, observer, context, NULL);
}

void stream_again(struct stream *stream, const ProtobufCMessage *first)
{
	size_t size;
	_cleanup_free_ uint8_t *bytes = pack(first, &size);

	say(stream, bytes, size, stream->fds, stream->fd_count);
}

bool stream_is_live(const struct stream *stream)
{
	return stream->client->conn && !stream->stale;
}

void stream_send(struct stream *stream, const ProtobufCMessage *message)
{
	size_t size;
	_cleanup_free_ uint8_t *bytes = pack(message, &size);

	send_bytes(stream, FRAME_DATA, 0, bytes, size, NULL, 0);
}

void stream_send_data(struct stream *stream, const uint8_t *prefix, size_t prefix_size, const void *data, size_t size)
{
	stream_send_data_fds(stream, prefix, prefix_size, data, size, NULL, 0);
}

void stream_send_data_fds(
	struct stream *stream, const uint8_t *prefix, size_t prefix_size, const void *data, size_t size, const int *fds, size_t fd_count)
{
	struct frame_header header = {.length = (uint32_t)(prefix_size + size), .stream_id = stream->id, .type = FRAME_DATA};
	struct iovec pieces[] = {{.iov_base = (void *)prefix, .iov_len = prefix_size}, {.iov_base = (void *)data, .iov_len = size}};

	if (stream_is_live(stream))
		conn_put(stream->client->conn, &header, pieces, size ? 2 : 1, fds, fd_count);
}

void stream_half_close(struct stream *stream)
{
	if (!stream->half_closed)
		send_bytes(stream, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, NULL, 0, NULL, 0);
	stream->half_closed = true;
}

void stream_forget(struct stream *stream)
{
	HASH_DELETE(hh, stream->client->streams, stream);
	stream_confirm(stream);
	free(stream->first);
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

/* ---- a lost connection, and a new one ---- */

void stream_take_part(struct spawnd *client)
{
	struct frame_header header;
	const uint8_t *bytes;
	struct stream *stream;
	size_t size;

	if (!conn_partial(client->conn, &header, &bytes, &size) || header.type != FRAME_DATA || (header.flags & FRAME_NO_DATA))
		return;
	stream = find(client, header.stream_id);
	if (stream && stream->observer->on_part)
		stream->observer->on_part(stream->context, bytes, size, header.length - size);
}

static enum stream_fate fate_of(const struct stream *stream)
{
	if (stream->observer->on_lost) {
		enum stream_fate fate = stream->observer->on_lost(stream->context);

		return fate == STREAM_RESUMED && !stream->first ? STREAM_LOST : fate;
	}
	return stream->unary && stream->first ? STREAM_RESUMED : STREAM_LOST;
}

/* The first stream that does not wait for a new connection. */
static struct stream *find_ending(struct spawnd *client)
{
	struct stream *stream, *next;

	HASH_ITER(hh, client->streams, stream, next)
	if (stream->stale && stream->fate != STREAM_RESUMED)
		return stream;
	return NULL;
}

void stream_lose_all(struct spawnd *client)
{
	struct stream *stream, *next;

	HASH_ITER(hh, client->streams, stream, next)
	{
		stream->fate = stream->stale ? STREAM_RESUMED : fate_of(stream);
		stream->stale = true;
	}
	while (!client->closed && (stream = find_ending(client))) {
		if (stream->fate == STREAM_DROPPED)
			stream_forget(stream);
		else
			end(stream, stream->fate == STREAM_DONE ? NULL : &client->why, NULL, 0);
	}
}

void stream_resume_all(struct spawnd *client)
{
	struct stream *old = client->streams, *stream, *next;

	client->streams = NULL;
	client->next_id = 1;
	hello_say(client);
	HASH_ITER(hh, old, stream, next)
	{
		HASH_DELETE(hh, old, stream);
		stream->stale = stream->half_closed = false;
		take_id(stream);
		if (stream->unary && !stream->observer->on_resume)
			say(stream, stream->first, stream->first_size, stream->fds, stream->fd_count);
		else
			stream->observer->on_resume(stream->context, stream->first, stream->first_size);
	}
}
