/*
 * One ttrpc connection, either side: a socket, what came in and is not whole yet, what waits to go out, descriptors of
 * both directions. conn_read and conn_flush touch the socket; put and next touch the queues. Knows no loop and no message.
 *
 * Outgoing frames keep their order. A started frame is finished before anything else.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/fdpass.h"
#include "wire/frame.h"

enum {
	CONN_E_CLOSED = 1, /* end of file between frames */
	CONN_E_TRUNCATED,  /* end of file inside a frame */
	CONN_E_GARBAGE,    /* a header announced more than FRAME_SKIP_MAX: this is not ttrpc */
};

struct conn;

/* A received frame. payload and fds stay valid until the next call of conn_next or conn_read; take descriptors with fd_steal. */
struct frame {
	struct frame_header header;
	const uint8_t *payload; /* NULL when oversized */
	bool oversized;         /* longer than may be: its bytes are thrown away */
	int *fds;               /* that came with its first byte */
	size_t fd_count;
};

struct conn *conn_create(int fd /* takes, sets O_NONBLOCK */);
void conn_destroy(struct conn *conn); /* NULL is fine; closes descriptors nobody took */
int conn_fd(const struct conn *conn); /* borrowed */
/* Frames longer than this are thrown away as oversized; at most, and at first, FRAME_LENGTH_MAX. */
void conn_set_frame_max(struct conn *conn, uint32_t bytes);
int conn_steal_fd(struct conn *conn); /* the caller's from here on; the connection can only be destroyed */

/*
 * Reads what is there, at most about 256 KiB. 0, CONN_E_*, or -errno. Whole frames before the end are still delivered by
 * conn_next. Descriptors belong to the last frame that starts in the message they came in, so a frame with descriptors is
 * a sendmsg of its own; those that come in the middle of a frame are closed.
 */
int conn_read(struct conn *conn);

/*
 * What came of a frame that is not whole, once conn_next has returned false: true when its header is here. `size` bytes of
 * the payload that header_out->length announces are here, valid until the next call of conn_read. Oversized frames have none.
 */
bool conn_partial(const struct conn *conn, struct frame_header *header_out, const uint8_t **payload_out, size_t *size_out);

/* The next whole frame: true and *frame_out, or false when more must be read. */
bool conn_next(struct conn *conn, struct frame *frame_out);

/*
 * Queues one frame made of the pieces of iov (at most CONN_PIECES); sends at once what the socket takes and copies only the
 * rest. fds are borrowed, and duplicated while the frame waits. 0, or -EMSGSIZE over the frame limit. Errors of the
 * socket, and of duplicating, are sticky: conn_error and conn_flush tell them, what is put afterwards is dropped.
 */
#define CONN_PIECES 8
int conn_put(
	struct conn *conn, const struct frame_header *header, const struct iovec *iov, size_t iov_count, const int *fds, size_t fd_count);

/*
 * The same for `prefix` followed by `size` bytes that are already in the pipe `pipe_fd` (borrowed; duplicated while the
 * frame waits), moved by splice, or read where that is impossible. header->length must be prefix_size + size. A pipe that
 * lacks the bytes ends the connection with -EPROTO: half a frame is out.
 */
int conn_put_pipe(struct conn *conn, const struct frame_header *header, const void *prefix, size_t prefix_size, int pipe_fd, size_t size);

/* Between cork and uncork frames only gather; uncork sends them together. */
void conn_cork(struct conn *conn);
void conn_uncork(struct conn *conn);

/* Sends what waits. 0: all gone; 1: the socket takes no more now; -errno: the connection is dead. */
int conn_flush(struct conn *conn);

/* 0, or -errno once the connection is dead for sending. */
int conn_error(const struct conn *conn);
/* Whether the last attempt to send failed because the kernel lacks memory: no event will tell when to try again. */
bool conn_is_starved(const struct conn *conn);
/* Bytes the socket took so far. */
uint64_t conn_sent(const struct conn *conn);
/* Bytes that wait to go out. */
size_t conn_pending(const struct conn *conn);
/* Bytes that were read and have not been given out as a frame. */
size_t conn_unread(const struct conn *conn);
/* Bytes held for this connection in both directions. */
size_t conn_memory(const struct conn *conn);
/* Descriptors that came and that nobody has taken yet. */
size_t conn_fds(const struct conn *conn);
