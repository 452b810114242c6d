/*
 * One call: a stream id of one connection, from its Request to its Response. Two close bits, credit, cancel by loss.
 * A handler owns nothing of it: it keeps the pointer until on_end, or until it ended the call itself with call_reply,
 * call_finish or call_fail (after which the pointer is dead and on_end does not come).
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

struct call;
struct peer;
struct method;

/* Credit of a stream whose client names none, and the most messages ever un-granted: what clients buffer before they stall is little. */
#define CALL_WINDOW_BYTES (1u << 20)
#define CALL_WINDOW_MESSAGES 64u
/* How many of CALL_WINDOW_MESSAGES bulk data leaves free, for the few that never wait (Exited, Closed, gaps, grants). */
#define CALL_RESERVED_MESSAGES 8u

struct call_ops {
	/* A later message of the client. May fail the call as handle does; on_end comes then. */
	int (*on_message)(struct call *call, const ProtobufCMessage *message, struct err *err);
	/* The client sends no more. NULL: nothing to do. */
	void (*on_half_close)(struct call *call);
	/*
	 * After call_want_send, when the connection takes more: send at most one frame. Returns true to be asked again
	 * (after the others of this connection had their turn); false: not before the next call_want_send. A grant asks again by itself.
	 */
	bool (*on_sendable)(struct call *call);
	/*
	 * The connection is gone, the deadline of the client has passed, on_message or handle failed, or what was sent does not
	 * fit a frame. The last thing that happens; for unary calls too, if they set ops. NULL: nothing to do.
	 */
	void (*on_end)(struct call *call);
};

struct peer *call_peer(const struct call *call);
const struct method *call_method(const struct call *call);
void call_set_ops(struct call *call, const struct call_ops *ops, void *context);
void *call_context(const struct call *call);

/*
 * The handler keeps so many bytes for this call, beyond the little that every call has: counted as memory of the client's user
 * until the call ends. 0, or RESOURCE_EXHAUSTED when it became more and is more than the user may have; counted all the same.
 */
int call_hold(struct call *call, size_t bytes, struct err *err);

/* Answers a unary call and ends it. */
void call_reply(struct call *call, const ProtobufCMessage *reply);
/* Ends a stream with status OK, after what was sent. */
void call_finish(struct call *call);
/* Ends any call with a status; err->status must not be STATUS_OK. */
void call_fail(struct call *call, const struct err *err);
/* The same for a failed spawn: argv after argv[0] goes along as spawnargs. */
void call_fail_spawn(struct call *call, const struct err *err, char *const *argv);
/* The same with the bytes of a Response that status_pack (status.h) made before. */
void call_fail_packed(struct call *call, const uint8_t *response, size_t size);

/*
 * Sends one message of a stream now, whatever the credit, and charges it. For the few messages per life of a stream
 * that must not wait; fds are borrowed and go with the frame (count 0: none).
 */
void call_send(struct call *call, const ProtobufCMessage *message, const int *fds, size_t count);

/* Bytes of bulk data that may be sent now by credit; 0 when bytes or messages are used up. Ignores the state of the socket. */
size_t call_credit(const struct call *call);
/* Whether messages are left, for who counts bytes by himself. */
bool call_has_messages(const struct call *call);

/*
 * Bulk data: a packed message in pieces (prefix and payload never repacked), charged by `bytes` and one message.
 * Only inside on_sendable.
 */
void call_send_bulk(struct call *call, const struct iovec *iov, size_t iov_count, size_t bytes);
/* The same with descriptors (borrowed) on the frame. */
void call_send_bulk_fds(struct call *call, const struct iovec *iov, size_t iov_count, size_t bytes, const int *fds, size_t count);
/* The same, payload already in a pipe (borrowed). */
void call_send_bulk_pipe(struct call *call, const void *prefix, size_t prefix_size, int pipe_fd, size_t payload, size_t bytes);

void call_want_send(struct call *call);

/* First credit of the stream, replacing the default, then more of it. 0 messages or bytes in a window mean the default. */
void call_window(struct call *call, uint64_t bytes, uint32_t messages);
/* The same without any bytes: whoever sends counts them by himself. */
void call_window_messages(struct call *call, uint32_t messages);
void call_grant(struct call *call, uint64_t bytes, uint32_t messages);

/*
 * A descriptor of the client, during handle or on_message: the index-th that came with the frame, or number `number` of
 * the client itself (pidfd_getfd, then /proc/PID/fd). The caller takes *fd_out. `field` names the request's field in errors.
 */
int call_take_fd(struct call *call, uint32_t index, const char *field, int *fd_out, struct err *err);
int call_fetch_fd(struct call *call, int32_t number, const char *field, int *fd_out, struct err *err);
/* Our end of another connection, on which nothing is under way: blocking from here on, and no connection any more. */
int call_take_connection(struct call *call, struct peer *other, const char *field, int *fd_out, struct err *err);
