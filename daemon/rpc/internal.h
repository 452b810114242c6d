/* What peer.c, call.c, dispatch.c and fetch.c share: the two structs of the room. */
#pragma once

#include <sys/queue.h>
#include <uthash.h>

#include "base/buf.h"
#include "base/loop.h"
#include "rpc/arena.h"
#include "rpc/call.h"
#include "rpc/peer.h"
#include "wire/conn.h"

#define PEER_CALLS_MAX 16384u       /* open calls of one connection */
#define PEER_PENDING_MAX (8u << 20) /* beyond it, nothing more is read from a client that does not read */
#define PEER_FRAMES_PER_TURN 64     /* bulk frames of one connection before the loop's others have their turn */

struct call {
	UT_hash_handle hh;      /* peer::calls, by stream_id */
	TAILQ_ENTRY(call) link; /* peer::sendable or peer::ended */
	struct peer *peer;
	const struct method *method;
	const struct call_ops *ops;
	void *context;
	struct loop_timer *deadline; /* NULL: the client set none */
	uint64_t credit_bytes;
	uint32_t credit_messages;
	uint32_t stream_id;
	bool started;       /* the first message was handled */
	bool remote_closed; /* the client sends no more */
	bool sendable;      /* in peer::sendable */
	bool ended;         /* in peer::ended */
};

struct peer {
	const struct peer_server *server;
	struct conn *conn;
	struct loop_fd *watch;
	struct loop_timer *stall;
	struct loop_defer *later; /* bulk frames, and freeing what has ended */
	struct call *calls;       /* by stream id */
	TAILQ_HEAD(, call) sendable;
	TAILQ_HEAD(, call) ended;
	struct frame *frame; /* being handled */
	void *session;
	uint32_t last_stream_id;
	int pidfd;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	bool fd_passing;
	bool closed;
};

/* One whole frame of the client. 0, or -EPROTO when the connection must be closed. */
int dispatch_frame(struct peer *peer, struct frame *frame);

/* Sends one frame of a call; nothing once the connection or the call has ended. */
void call_put(
	struct call *call, enum frame_type type, unsigned flags, const struct iovec *iov, size_t count, const int *fds, size_t fd_count);
struct call *call_create(struct peer *peer, uint32_t stream_id);
/* Takes the call out of its peer; the memory goes at the end of the turn. */
void call_end(struct call *call);
/* Tells the handler that it is over and ends the call without a word to the client. */
void call_drop(struct call *call);
void call_destroy(struct call *call);

/* Watches for what the connection needs now. */
void peer_update(struct peer *peer);
/* A status for a stream that has no call. */
void peer_refuse(struct peer *peer, uint32_t stream_id, struct err *err);
