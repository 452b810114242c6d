/* One call: credit, replies, end. */
#include "rpc/call.h"

#include <errno.h>
#include <fcntl.h>

#include "base/mem.h"
#include "rpc/internal.h"
#include "rpc/status.h"

#define SCRATCH 65536

struct call *call_create(struct peer *peer, uint32_t stream_id)
{
	struct call *call = mem_alloc(sizeof(*call));

	call->peer = peer;
	call->stream_id = stream_id;
	call->credit_bytes = CALL_WINDOW_BYTES;
	call->credit_messages = CALL_WINDOW_MESSAGES;
	call->reserved_messages = CALL_RESERVED_MESSAGES;
	HASH_ADD(hh, peer->calls, stream_id, sizeof(call->stream_id), call);
	peer_count(peer);
	return call;
}

void call_destroy(struct call *call)
{
	loop_timer_destroy(call->deadline);
	free(call);
}

void call_end(struct call *call)
{
	struct peer *peer = call->peer;

	call->owed = false;
	if (call->ended)
		return;
	HASH_DELETE(hh, peer->calls, call);
	peer->held -= call->held;
	call->held = 0;
	peer_count(peer);
	if (call->sendable)
		TAILQ_REMOVE(&peer->sendable, call, link);
	call->sendable = false;
	call->ended = true;
	if (call->deadline)
		loop_timer_cancel(call->deadline);
	TAILQ_INSERT_TAIL(&peer->ended, call, link);
	loop_defer_trigger(peer->later);
}

/* The last thing the handler hears. */
static void tell_end(struct call *call)
{
	const struct call_ops *ops = call->ops;

	call->ops = NULL;
	if (ops && ops->on_end)
		ops->on_end(call);
}

void call_drop(struct call *call)
{
	tell_end(call);
	call_end(call);
}

void call_settle(struct call *call)
{
	if (!call->owed)
		return;
	call->owed = false;
	tell_end(call);
}

struct peer *call_peer(const struct call *call)
{
	return call->peer;
}

const struct method *call_method(const struct call *call)
{
	return call->method;
}

void call_set_ops(struct call *call, const struct call_ops *ops, void *context)
{
	call->ops = ops;
	call->context = context;
}

void *call_context(const struct call *call)
{
	return call->context;
}

/* Sends a packed Response. */
static void send_failure(struct call *call, const uint8_t *response, size_t size)
{
	struct frame_header header = {.stream_id = call->stream_id, .type = FRAME_RESPONSE, .length = (uint32_t)size};
	struct iovec iov = {.iov_base = (void *)response, .iov_len = size};

	if (call->ended || call->peer->closed)
		return;
	peer_gather(call->peer);
	conn_put(call->peer->conn, &header, &iov, 1, NULL, 0);
	peer_update(call->peer, call->stream_id);
}

int call_hold(struct call *call, size_t bytes, struct err *err)
{
	struct peer *peer = call->peer;
	bool more = bytes > call->held;

	if (call->ended || bytes == call->held)
		return 0;
	peer->held += bytes - call->held;
	call->held = bytes;
	peer_count(peer);
	return more ? charge_over(&peer->charge, QUOTA_MEMORY, err) : 0;
}

/* Sends a status as the last frame of a call. */
static void send_status(struct call *call, const struct err *err, char *const *argv)
{
	struct err told = *err;
	struct buf bytes = {0};

	if (call->ended || call->peer->closed)
		return;
	status_pack(&told, argv, &bytes);
	send_failure(call, bytes.bytes, bytes.length);
	buf_finish(&bytes);
}

/* Ends a call that cannot go on while its handler is at work: the client is told now, the handler at the end of the turn. */
static void break_call(struct call *call, int error)
{
	struct err err;

	if (error == -EMSGSIZE)
		err_set(&err, STATUS_RESOURCE_EXHAUSTED, "the answer of %s does not fit a frame", call->method->name);
	else
		err_errno(&err, -error, "dup", NULL);
	send_status(call, &err, NULL);
	call_end(call);
	call->owed = true;
}

/* Whether descriptors could wait: a connection that cannot duplicate them is lost, a call alone is a smaller loss. */
static int check_room(const int *fds, size_t count)
{
	int copies[FDPASS_MAX], error = 0;
	size_t made = 0;

	if (count > FDPASS_MAX)
		return -EMSGSIZE;
	while (!error && made < count) {
		copies[made] = fcntl(fds[made], F_DUPFD_CLOEXEC, 0);
		if (copies[made] < 0)
			error = -errno;
		else
			made++;
	}
	while (made)
		fd_close(&copies[--made]);
	return error;
}

/* Puts one frame of a call; nothing once the connection or the call has ended. */
static void put(
	struct call *call, enum frame_type type, unsigned flags, const struct iovec *iov, size_t count, const int *fds, size_t fd_count)
{
	struct frame_header header = {.stream_id = call->stream_id, .type = (uint8_t)type, .flags = (uint8_t)flags};
	size_t length = 0;
	int done;

	if (call->ended || call->peer->closed)
		return;
	for (size_t i = 0; i < count; i++)
		length += iov[i].iov_len;
	header.length = length > UINT32_MAX ? UINT32_MAX : (uint32_t)length;
	done = check_room(fds, fd_count);
	if (!done)
		done = conn_put(call->peer->conn, &header, iov, count, fds, fd_count);
	if (done < 0)
		break_call(call, done);
	else
		peer_update(call->peer, call->stream_id);
}

/* The same at the end of the turn; but descriptors would have to be duplicated to wait for that: they go now. */
static void put_soon(
	struct call *call, enum frame_type type, unsigned flags, const struct iovec *iov, size_t count, const int *fds, size_t fd_count)
{
	if (fd_count)
		peer_send_gathered(call->peer);
	else
		peer_gather(call->peer);
	put(call, type, flags, iov, count, fds, fd_count);
}

/* Packs a message into the scratch, or into memory of its own; *owned_out is what the caller frees. */
static struct iovec pack(const ProtobufCMessage *message, uint8_t **owned_out)
{
	static uint8_t scratch[SCRATCH];
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = scratch;

	*owned_out = NULL;
	if (size > sizeof(scratch))
		bytes = *owned_out = mem_alloc(size);
	protobuf_c_message_pack(message, bytes);
	return (struct iovec){.iov_base = bytes, .iov_len = size};
}

void call_reply(struct call *call, const ProtobufCMessage *reply)
{
	/* ttrpc.Response{status: {}, payload: reply}, its head by hand */
	uint8_t head[16] = {0x0a, 0x00, 0x12};
	size_t head_size = 3;
	uint8_t *owned;
	struct iovec iov[2];

	iov[1] = pack(reply, &owned);
	for (size_t left = iov[1].iov_len; head_size == 3 || left; left >>= 7)
		head[head_size++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
	iov[0] = (struct iovec){.iov_base = head, .iov_len = head_size};
	put_soon(call, FRAME_RESPONSE, 0, iov, 2, NULL, 0);
	free(owned);
	call_end(call);
}

void call_finish(struct call *call)
{
	put_soon(call, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, NULL, 0, NULL, 0);
	call_end(call);
}

void call_fail_spawn(struct call *call, const struct err *err, char *const *argv)
{
	send_status(call, err, argv);
	call_end(call);
}

void call_fail_packed(struct call *call, const uint8_t *response, size_t size)
{
	send_failure(call, response, size);
	call_end(call);
}

void call_fail(struct call *call, const struct err *err)
{
	call_fail_spawn(call, err, NULL);
}

/* Takes credit away, never below nothing. */
static void charge(struct call *call, size_t bytes)
{
	call->credit_bytes -= call->credit_bytes < bytes ? call->credit_bytes : bytes;
	if (call->credit_messages)
		call->credit_messages--;
}

void call_send(struct call *call, const ProtobufCMessage *message, const int *fds, size_t count)
{
	uint8_t *owned;
	struct iovec iov = pack(message, &owned);

	put_soon(call, FRAME_DATA, 0, &iov, 1, fds, count);
	charge(call, 0);
	free(owned);
}

bool call_has_messages(const struct call *call)
{
	return !call->ended && call->credit_messages > call->reserved_messages;
}

size_t call_credit(const struct call *call)
{
	if (!call_has_messages(call))
		return 0;
	return call->credit_bytes > SIZE_MAX ? SIZE_MAX : (size_t)call->credit_bytes;
}

void call_send_bulk_fds(struct call *call, const struct iovec *iov, size_t iov_count, size_t bytes, const int *fds, size_t count)
{
	peer_send_gathered(call->peer);
	put(call, FRAME_DATA, 0, iov, iov_count, fds, count);
	charge(call, bytes);
}

void call_send_bulk(struct call *call, const struct iovec *iov, size_t iov_count, size_t bytes)
{
	call_send_bulk_fds(call, iov, iov_count, bytes, NULL, 0);
}

void call_send_bulk_pipe(struct call *call, const void *prefix, size_t prefix_size, int pipe_fd, size_t payload, size_t bytes)
{
	struct frame_header header = {.length = (uint32_t)(prefix_size + payload), .stream_id = call->stream_id, .type = FRAME_DATA};

	int done;

	if (call->ended || call->peer->closed)
		return;
	peer_send_gathered(call->peer);
	done = conn_put_pipe(call->peer->conn, &header, prefix, prefix_size, pipe_fd, payload);
	if (done < 0)
		break_call(call, done);
	else
		peer_update(call->peer, call->stream_id);
	charge(call, bytes);
}

void call_want_send(struct call *call)
{
	struct peer *peer = call->peer;

	if (call->sendable || call->ended || peer->closed)
		return;
	call->sendable = true;
	TAILQ_INSERT_TAIL(&peer->sendable, call, link);
	loop_defer_trigger(peer->later);
}

/*
 * Keeps room for the messages that never wait, so that all together are never more than CALL_WINDOW_MESSAGES: by as much as
 * the client ever let us come near to that. A smaller window has the room beyond itself.
 */
static void reserve(struct call *call)
{
	uint32_t bulk = CALL_WINDOW_MESSAGES - CALL_RESERVED_MESSAGES;

	if (call->credit_messages > bulk && call->credit_messages - bulk > call->reserved_messages)
		call->reserved_messages = call->credit_messages - bulk;
}

void call_window(struct call *call, uint64_t bytes, uint32_t messages)
{
	call->credit_bytes = bytes ? bytes : CALL_WINDOW_BYTES;
	call->credit_messages = messages && messages < CALL_WINDOW_MESSAGES ? messages : CALL_WINDOW_MESSAGES;
	call->reserved_messages = 0;
	reserve(call);
}

void call_window_messages(struct call *call, uint32_t messages)
{
	call_window(call, 0, messages);
	call->credit_bytes = 0;
}

void call_grant(struct call *call, uint64_t bytes, uint32_t messages)
{
	uint64_t sum = call->credit_bytes + bytes;
	uint64_t count = (uint64_t)call->credit_messages + messages;

	call->credit_bytes = sum < bytes ? UINT64_MAX : sum;
	call->credit_messages = count > CALL_WINDOW_MESSAGES ? CALL_WINDOW_MESSAGES : (uint32_t)count;
	reserve(call);
	call_want_send(call);
}
