/* What peer.c, call.c, dispatch.c and fetch.c share: the two structs of the room. */
#pragma once

#include <sys/queue.h>
#include <uthash.h>

#include "base/buf.h"
#include "base/loop.h"
#include "base/quota.h"
#include "rpc/arena.h"
#include "rpc/call.h"
#include "rpc/peer.h"
#include "wire/conn.h"

#define PEER_CALLS_MAX 16384u       /* open calls of one connection */
#define PEER_PENDING_MAX (8u << 20) /* beyond it, nothing more is read from a client that does not read */
#define PEER_LOW (64u << 10)        /* the same, and the longest frame, for a client whose user has no memory left */
#define PEER_FRAMES_PER_TURN 64     /* bulk frames of one connection before the loop's others have their turn */
#define PEER_FDS 2u                 /* of every connection: its socket, its pidfd */
#define CALL_MEMORY 1024u           /* what one call counts as, with what its handler has for it */
#define PEER_RETRY_US 20000         /* after a shortage of the kernel, of which no event tells the end */

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
	uint32_t reserved_messages; /* of them, that bulk leaves free */
	size_t held;                /* bytes that its handler keeps beyond CALL_MEMORY */
	uint32_t stream_id;
	bool started;       /* the first message was handled */
	bool remote_closed; /* the client sends no more */
	bool sendable;      /* in peer::sendable */
	bool ended;         /* in peer::ended */
	bool owed;          /* it broke while the handler believed in it: on_end comes before it is freed */
};

struct peer {
	const struct peer_server *server;
	struct conn *conn;
	struct charge charge;
	size_t held; /* by handlers of its calls */
	struct loop_fd *watch;
	struct loop_timer *stall; /* NULL until something had to wait */
	struct loop_timer *retry; /* NULL until a first shortage */
	struct loop_defer *later; /* bulk frames, the backlog, and freeing what has ended */
	uint64_t stall_mark;      /* conn_sent when the stall timer was set */
	uint32_t waiting_stream;  /* that had to wait first, since all was sent last; 0: none */
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
	bool others_wait; /* streams beyond waiting_stream */
	bool handling;    /* frames: what is put gathers, and events are set once, afterwards */
	bool gathering;   /* outside of frames: the same, until the end of the turn */
	bool backlog;     /* frames may be left in conn, because too much waited to be sent */
	bool fd_passing;
	bool closed;
};

/* One whole frame of the client. 0, or -EPROTO when the connection must be closed. */
int dispatch_frame(struct peer *peer, struct frame *frame);

struct call *call_create(struct peer *peer, uint32_t stream_id);
/* Takes the call out of its peer; the memory goes at the end of the turn. */
void call_end(struct call *call);
/* Tells the handler that it is over and ends the call without a word to the client. */
void call_drop(struct call *call);
/* The same for one that broke in the middle of what its handler did: now that the handler has returned. */
void call_settle(struct call *call);
void call_destroy(struct call *call);

/* Counts what the peer holds now. */
void peer_count(struct peer *peer);
/* What is put from now on goes at the end of the turn. */
void peer_gather(struct peer *peer);
/* Or now. */
void peer_send_gathered(struct peer *peer);
/* Watches for what the connection needs now, after something was put on this stream. */
void peer_update(struct peer *peer, uint32_t stream_id);
/* A status for a stream that has no call. */
void peer_refuse(struct peer *peer, uint32_t stream_id, struct err *err);
