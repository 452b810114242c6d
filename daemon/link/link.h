/*
 * The links between keeper, launcher and engine: SOCK_SEQPACKET, one nanopb message per record, descriptors along with it.
 * Sending never blocks: what the kernel does not take now waits in the queue, descriptors (duplicated) included.
 */
#pragma once

#include <pb.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/fdpass.h"

/* Descriptors that keeper hands to the programs it starts. */
#define LINK_FD 3         /* engine: to the keeper; launcher: to the engine */
#define LINK_JOURNAL_FD 4 /* launcher only; the engine gets the journal from the store */

#define LINK_VERSION 1u /* of the messages to and from keeper and launcher, and of the names in the store */

#define LINK_RECORD_MAX 65536u /* a longer launcher plan goes into a memfd */

/* An entry of an environment in which a child writes its pid; Plan.listen_pid. */
#define LISTEN_PID_ENTRY "LISTEN_PID=0000000000"

/* What the keeper's store holds; `owner` 0 is the daemon itself. */
enum store_kind {
	STORE_ANY = 0,
	STORE_JOURNAL = 1,   /* owner 0 */
	STORE_SOCKET = 2,    /* owner 0: the client-facing listening socket */
	STORE_LOCK = 3,      /* owner 0: the instance lock */
	STORE_STDIO = 4,     /* our end of a child's slot; index = slot */
	STORE_RING = 5,      /* memfd of an output log; index = slot */
	STORE_PIPE = 6,      /* kept pipe of a direct slot: index = 2 * slot (read end), 2 * slot + 1 (write end) */
	STORE_LEDGER = 7,    /* owner 0: records of objects, base/ledger.h */
	STORE_STDIN = 8,     /* memfd of what a child has still to read; index = slot */
	STORE_CHANNEL = 9,   /* of a message channel; index: which of the below */
	STORE_LISTENER = 10, /* a socket of a pool, which is the owner; index: of the listener */
};

/* What of a channel is stored. */
enum {
	STORE_CHANNEL_SOCKET = 0,
	STORE_CHANNEL_OUT = 1,  /* memfd of what is to be sent, whose file offset says what was */
	STORE_CHANNEL_IN = 2,   /* memfd ring of what came */
	STORE_CHANNEL_PIPE = 3, /* the way into that ring: read end, then (4) write end */
	STORE_CHANNEL_COUNT = 5,
};

struct link_record; /* one queued record */

struct link {
	int fd; /* owned */
	struct link_record *head, **tail;
	size_t queued;
};

void link_init(struct link *link, int fd /* takes, sets O_NONBLOCK */);
void link_finish(struct link *link);

/* Encodes and sends, or queues. fds are borrowed. 0, or -errno when the peer is gone (-EPIPE, -ECONNRESET) or the message is too large. */
int link_send(struct link *link, const pb_msgdesc_t *type, const void *message, const int *fds, size_t count);

/* Sends what waits. 0: nothing waits any more; 1: the peer takes no more now (poll for writing); -errno. */
int link_flush(struct link *link);

/*
 * Takes one record. 1: decoded into *message, descriptors into fds (the caller's); 0: nothing there now;
 * -EPIPE: the peer is gone; another -errno: the record was bad and is gone, its descriptors closed.
 */
int link_receive(struct link *link, const pb_msgdesc_t *type, void *message, int fds[FDPASS_MAX], size_t *count_out);
