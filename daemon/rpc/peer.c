/*
 * A connected client on the loop. Reading: a batch of frames with the answers gathered, then sent together. Writing: what is
 * put gathers until the end of the turn, so that events of the same turn wake the client once; bulk is asked for one frame
 * at a time, round robin over the calls that want to send, while the socket takes it.
 */
#include "rpc/peer.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "rpc/internal.h"
#include "rpc/status.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* A pidfd of the client: of the very process that connected where the kernel can (6.5), else of the pid it had. */
static int open_pidfd(int fd, pid_t pid)
{
	int pidfd;
	socklen_t size = sizeof(pidfd);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
		return pidfd;
	/* where the kernel knows but the process is gone, its pid may already be another's */
	if (errno != ENOPROTOOPT || pid <= 0)
		return -1;
	pidfd = sys_pidfd_open(pid);
	return pidfd < 0 ? -1 : pidfd;
}

/* Frees calls that ended; the peer too, once it is closed. */
static void reap(struct peer *peer)
{
	struct call *call;

	while ((call = TAILQ_FIRST(&peer->ended))) {
		call_settle(call);
		TAILQ_REMOVE(&peer->ended, call, link);
		call_destroy(call);
	}
	if (!peer->closed)
		return;
	conn_destroy(peer->conn);
	charge_end(&peer->charge);
	loop_timer_destroy(peer->stall);
	loop_timer_destroy(peer->retry);
	loop_defer_destroy(peer->later);
	fd_close(&peer->pidfd);
	free(peer);
}

/* Lets the calls that want to send have their turns while the socket takes what they give. */
static void send_bulk(struct peer *peer)
{
	struct call *call;

	for (int i = 0; i < PEER_FRAMES_PER_TURN && !peer->closed && !conn_pending(peer->conn); i++) {
		call = TAILQ_FIRST(&peer->sendable);
		if (!call)
			return;
		TAILQ_REMOVE(&peer->sendable, call, link);
		call->sendable = false;
		if (call->ops && call->ops->on_sendable && call->ops->on_sendable(call))
			call_want_send(call);
	}
	if (!TAILQ_EMPTY(&peer->sendable) && !peer->closed && !conn_pending(peer->conn))
		loop_defer_trigger(peer->later);
}

void peer_gather(struct peer *peer)
{
	if (peer->handling || peer->gathering || peer->closed)
		return;
	peer->gathering = true;
	conn_cork(peer->conn);
	loop_defer_trigger(peer->later);
}

void peer_send_gathered(struct peer *peer)
{
	if (!peer->gathering)
		return;
	peer->gathering = false;
	conn_uncork(peer->conn);
}

static void handle_frames(struct peer *peer, int result);

static void on_later(void *arg)
{
	struct peer *peer = arg;
	int error;

	peer_send_gathered(peer);
	error = conn_error(peer->conn);
	if (error)
		peer_close(peer, error == -EPROTO ? "half a frame was lost" : "it is gone");
	if (!peer->closed && peer->backlog)
		handle_frames(peer, 0);
	if (!peer->closed) {
		send_bulk(peer);
		peer_send_gathered(peer);
		peer_update(peer, 0);
	}
	reap(peer);
}

/* Whether a call beyond the one that had to wait first has something to send. */
static bool do_others_wait(const struct peer *peer)
{
	const struct call *call;

	if (peer->others_wait)
		return true;
	TAILQ_FOREACH(call, &peer->sendable, link)
	if (call->stream_id != peer->waiting_stream)
		return true;
	return false;
}

static void on_stall(void *arg);

/* Looks again after stall_ms. */
static void set_stall(struct peer *peer)
{
	if (!peer->stall)
		peer->stall = loop_timer_create(peer->server->loop, on_stall, peer);
	peer->stall_mark = conn_sent(peer->conn);
	loop_timer_set(peer->stall, peer->server->stall_ms * 1000);
}

/*
 * Did the client take anything meanwhile? One that stopped with a single stream under way harms only itself: a terminal
 * may have suspended it. One that holds up its other streams does not read as it must.
 */
static void on_stall(void *arg)
{
	struct peer *peer = arg;

	if (!conn_pending(peer->conn))
		return;
	if (conn_sent(peer->conn) == peer->stall_mark && do_others_wait(peer))
		peer_close(peer, "it takes nothing while others wait");
	else
		set_stall(peer);
}

/* The socket takes more: what waits, then bulk. */
static void on_writable(struct peer *peer)
{
	peer_send_gathered(peer);
	if (conn_flush(peer->conn) >= 0)
		send_bulk(peer);
	peer_update(peer, 0);
}

static void on_retry(void *arg)
{
	on_writable(arg);
}

/* Nothing tells when the kernel has memory again. */
static void set_retry(struct peer *peer)
{
	if (!peer->retry)
		peer->retry = loop_timer_create(peer->server->loop, on_retry, peer);
	if (!loop_timer_pending(peer->retry))
		loop_timer_set(peer->retry, PEER_RETRY_US);
}

/* Remembers who waits. */
static void note_waiting(struct peer *peer, uint32_t stream_id)
{
	if (!conn_pending(peer->conn)) {
		peer->waiting_stream = 0;
		peer->others_wait = false;
	} else if (!peer->waiting_stream) {
		peer->waiting_stream = stream_id;
	} else if (stream_id && stream_id != peer->waiting_stream) {
		peer->others_wait = true;
	}
}

void peer_count(struct peer *peer)
{
	charge_set(&peer->charge, QUOTA_MEMORY, peer_memory(peer));
	charge_set(&peer->charge, QUOTA_DESCRIPTORS, PEER_FDS + conn_fds(peer->conn));
}

/* Beyond it, nothing more is read from a client that does not read: less when its user has no memory left. */
static size_t pending_max(const struct peer *peer)
{
	return charge_left(&peer->charge, QUOTA_MEMORY) ? PEER_PENDING_MAX : PEER_LOW;
}

/* A longer frame than its user has memory for is not taken in; a small one always is. */
static void bound_frames(struct peer *peer)
{
	uint64_t room = charge_left(&peer->charge, QUOTA_MEMORY);

	room = room > FRAME_LENGTH_MAX ? FRAME_LENGTH_MAX : room + peer->charge.of[QUOTA_MEMORY];
	conn_set_frame_max(peer->conn, room < PEER_LOW ? PEER_LOW : room > FRAME_LENGTH_MAX ? FRAME_LENGTH_MAX : (uint32_t)room);
}

void peer_update(struct peer *peer, uint32_t stream_id)
{
	size_t pending;
	unsigned events = 0;

	if (peer->closed)
		return;
	note_waiting(peer, stream_id);
	if (peer->handling || peer->gathering)
		return;
	peer_count(peer);
	pending = conn_pending(peer->conn);
	if (pending < pending_max(peer) && !peer->backlog)
		events |= LOOP_READ;
	if (pending && !conn_is_starved(peer->conn))
		events |= LOOP_WRITE;
	loop_fd_set(peer->watch, events);
	if (pending && conn_is_starved(peer->conn))
		set_retry(peer);
	/* what waited may have gone with an uncork: the calls whose turn it would have been are asked then */
	if (conn_error(peer->conn) || (!pending && !TAILQ_EMPTY(&peer->sendable)) || (peer->backlog && pending < pending_max(peer) / 2))
		loop_defer_trigger(peer->later);
	if (pending && !(peer->stall && loop_timer_pending(peer->stall)))
		set_stall(peer);
}

/* Why a connection ended, for the log. */
static const char *ending(int result)
{
	switch (result) {
	case CONN_E_CLOSED:
		return "it left";
	case CONN_E_TRUNCATED:
		return "it left inside a frame";
	case CONN_E_GARBAGE:
		return "it does not speak ttrpc";
	case -EPROTO:
		return "its stream ids are not odd and rising";
	case -EMFILE:
		return "there was no room for its descriptors";
	default:
		return "it is gone";
	}
}

/* Handles what was read, as long as the client takes the answers; `result` is what reading said. */
static void handle_frames(struct peer *peer, int result)
{
	struct frame frame;
	int done = 0;

	peer_send_gathered(peer);
	peer->handling = true;
	conn_cork(peer->conn);
	peer->backlog = conn_pending(peer->conn) >= pending_max(peer);
	while (!done && !peer->closed && !peer->backlog && conn_next(peer->conn, &frame)) {
		done = dispatch_frame(peer, &frame);
		peer_count(peer);
		peer->backlog = conn_pending(peer->conn) >= pending_max(peer);
	}
	conn_uncork(peer->conn);
	peer->handling = false;
	if (done || result)
		peer_close(peer, ending(done ? done : result));
	else
		peer_update(peer, 0);
}

static void on_readable(struct peer *peer)
{
	if (peer->backlog)
		return;
	bound_frames(peer);
	handle_frames(peer, conn_read(peer->conn));
	if (!peer->closed && conn_fds(peer->conn) && charge_over(&peer->charge, QUOTA_DESCRIPTORS, NULL) < 0)
		peer_close(peer, "it sent descriptors without their frames, beyond the quota of its user");
}

static void on_socket(void *arg, unsigned events)
{
	struct peer *peer = arg;

	if (!peer->closed && (events & LOOP_WRITE))
		on_writable(peer);
	if (!peer->closed && (events & LOOP_READ))
		on_readable(peer);
}

struct peer *peer_create(const struct peer_server *server, int fd)
{
	_cleanup_fd_ int owned = fd;
	struct ucred credentials;
	socklen_t size = sizeof(credentials);
	struct peer *peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
		return NULL;
	peer = mem_alloc(sizeof(*peer));
	peer->server = server;
	peer->uid = credentials.uid;
	peer->gid = credentials.gid;
	peer->pid = credentials.pid;
	peer->pidfd = open_pidfd(fd, credentials.pid);
	TAILQ_INIT(&peer->sendable);
	TAILQ_INIT(&peer->ended);
	peer->conn = conn_create(fd_steal(&owned));
	charge_begin(&peer->charge, server->quotas, peer->uid);
	charge_set(&peer->charge, QUOTA_CONNECTIONS, 1);
	peer_count(peer);
	peer->later = loop_defer_create_late(server->loop, on_later, peer);
	peer->watch = loop_fd_create(server->loop, fd, LOOP_READ, on_socket, peer);
	log_(LOG_DEBUG, "peer %d: connected, uid %u", (int)peer->pid, (unsigned)peer->uid);
	return peer;
}

void peer_close(struct peer *peer, const char *why)
{
	struct call *call, *next;

	if (peer->closed)
		return;
	peer_send_gathered(peer);
	log_(LOG_DEBUG, "peer %d: closed, %s", (int)peer->pid, why);
	peer->closed = true;
	loop_fd_destroy(mem_steal(&peer->watch));
	if (peer->stall)
		loop_timer_cancel(peer->stall);
	if (peer->retry)
		loop_timer_cancel(peer->retry);
	HASH_ITER(hh, peer->calls, call, next)
	call_drop(call);
	TAILQ_FOREACH(call, &peer->ended, link)
	call_settle(call);
	peer->server->observer->on_gone(peer->server->context, peer);
	loop_defer_trigger(peer->later);
}

/* Puts a Response that is a status. */
static void put_status(struct conn *conn, uint32_t stream_id, struct err *err)
{
	struct frame_header header = {.stream_id = stream_id, .type = FRAME_RESPONSE};
	struct buf bytes = {0};
	struct iovec iov;

	status_pack(err, NULL, &bytes);
	header.length = (uint32_t)bytes.length;
	iov = (struct iovec){.iov_base = bytes.bytes, .iov_len = bytes.length};
	conn_put(conn, &header, &iov, 1, NULL, 0);
	buf_finish(&bytes);
}

void peer_refuse(struct peer *peer, uint32_t stream_id, struct err *err)
{
	if (peer->closed)
		return;
	peer_gather(peer);
	put_status(peer->conn, stream_id, err);
	peer_update(peer, stream_id);
}

void peer_turn_away(int fd, struct err *err)
{
	struct conn *conn = conn_create(fd);

	put_status(conn, 1, err);
	conn_destroy(conn);
}

uid_t peer_uid(const struct peer *peer)
{
	return peer->uid;
}

gid_t peer_gid(const struct peer *peer)
{
	return peer->gid;
}

pid_t peer_pid(const struct peer *peer)
{
	return peer->pid;
}

bool peer_has_hung_up(const struct peer *peer)
{
	struct pollfd pollfd = {.fd = conn_fd(peer->conn)};

	return peer->closed || poll(&pollfd, 1, 0) > 0;
}

int peer_pidfd(const struct peer *peer)
{
	return peer->pidfd;
}

size_t peer_memory(const struct peer *peer)
{
	return sizeof(*peer) + conn_memory(peer->conn) + HASH_COUNT(peer->calls) * CALL_MEMORY + peer->held;
}

bool peer_is_flushed(const struct peer *peer)
{
	return conn_pending(peer->conn) == 0 && TAILQ_EMPTY(&peer->sendable);
}

void peer_set_session(struct peer *peer, void *session)
{
	peer->session = session;
}

void *peer_session(const struct peer *peer)
{
	return peer->session;
}

void peer_set_fd_passing(struct peer *peer, bool can)
{
	peer->fd_passing = can;
}

bool peer_fd_passing(const struct peer *peer)
{
	return peer->fd_passing;
}
