/* One connected client: its credentials, its calls, its session. Created by engine/control.c from an accepted socket. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "rpc/method.h"

struct loop;
struct peer;
struct quotas;

/* What rpc asks of the daemon. */
struct peer_observer {
	/* May this client call this method? 0, or negative with *err filled (PERMISSION_DENIED). */
	int (*authorize)(void *context, struct peer *peer, const struct method *method, struct err *err);
	/* The connection is gone and all its calls have ended; the peer is freed after this. */
	void (*on_gone)(void *context, struct peer *peer);
};

struct peer_server {
	struct loop *loop;
	struct quotas *quotas; /* what users may have; NULL: everything */
	struct method_table methods;
	const struct peer_observer *observer;
	void *context;
	uint64_t stall_ms; /* a peer that takes nothing for so long while data waits is closed; 60000 */
};

/* Takes fd, whose SO_PEERCRED and pidfd it reads. NULL with errno set when the peer is already gone. */
struct peer *peer_create(const struct peer_server *server, int fd);
/* Tells a client, before it has asked anything, why it may not (on its first stream), and closes fd. */
void peer_turn_away(int fd, struct err *err);
void peer_close(struct peer *peer, const char *why); /* ends its calls, then on_gone; the memory goes at the end of the turn */

uid_t peer_uid(const struct peer *peer);
gid_t peer_gid(const struct peer *peer);
pid_t peer_pid(const struct peer *peer);
/* Whether it is known by now, though not yet handled, that the client is gone. */
bool peer_has_hung_up(const struct peer *peer);
int peer_pidfd(const struct peer *peer); /* borrowed; -1 when there is none */
size_t peer_memory(const struct peer *peer);
bool peer_is_flushed(const struct peer *peer); /* nothing waits to be sent, but for what the client gave no credit */

/* The session that Admin.Hello opened; rpc keeps the pointer and knows nothing about it. NULL before. */
void peer_set_session(struct peer *peer, void *session);
void *peer_session(const struct peer *peer);
/* Whether the client said it can receive descriptors on this socket. */
void peer_set_fd_passing(struct peer *peer, bool can);
bool peer_fd_passing(const struct peer *peer);
