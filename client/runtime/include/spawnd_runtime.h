/*
 * libspawnd-runtime: the child's side of what spawnd gives to a process it started. So far: the native message channel.
 *
 * Memory. A channel is a plain struct and the memory that the caller gives it; nothing is ever allocated. What a message points
 * to is valid until the next receive on its channel.
 *
 * Threads and loops. No thread is started, no signal handler installed, SIGPIPE never raised. A channel belongs to one thread at a
 * time. Watch spawnd_channel_fd() for reading, and for writing while spawnd_channel_unsent(); only functions named ..._wait block.
 * When the descriptor is readable, receive until SPAWND_CHANNEL_NOTHING: several messages may have come in one read.
 *
 * Back-pressure. Who does not receive makes the other side wait, and the other way round: two sides that block in sending at the
 * same time wait for each other for ever. A program that sends much and receives much uses the functions that do not block.
 *
 * Errors. Functions return 0 or a positive result named at each, or a negative errno; spawnd_channel_error() has the text. Any
 * function may return -ENOTCONN once the channel is closed.
 *
 * Ownership. Descriptors passed in are borrowed, those received belong to the caller and are close-on-exec. Sizes are bytes.
 */
#ifndef SPAWND_RUNTIME_H
#define SPAWND_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SPAWND_CHANNEL_FDS 16           /* descriptors of one message, at most */
#define SPAWND_CHANNEL_CONTENT_TYPE 127 /* bytes of a content type, at most */
#define SPAWND_CHANNEL_MEMORY_MIN 512

/* What spawnd_channel_receive returns when nothing is wrong. */
enum spawnd_channel_received {
	SPAWND_CHANNEL_NOTHING = 0, /* yet */
	SPAWND_CHANNEL_MESSAGE = 1, /* a whole one */
	SPAWND_CHANNEL_PART = 2,    /* of one that is larger than the channel's memory; the last has offset + length == size */
	SPAWND_CHANNEL_END = 3,     /* the other side has ended or will send no more; said once, after its last message */
};

struct spawnd_channel_message {
	const char *content_type; /* "": application/octet-stream; the same for all parts */
	uint64_t size;            /* of the whole message */
	uint64_t offset;          /* of these bytes in it */
	const void *data;         /* not aligned */
	size_t length;
	unsigned fd_count; /* with the first part; the caller takes them */
	int fd_error;      /* -EMFILE: the message's descriptors are lost because this process may not open more */
	int fds[SPAWND_CHANNEL_FDS];
};

struct spawnd_channel_fds {
	unsigned count;
	bool lost;
	int fds[SPAWND_CHANNEL_FDS];
};

/* All fields are private. {0} is a closed channel; none other may be copied or moved. */
struct spawnd_channel {
	bool open;
	int fd;

	unsigned char *memory;
	size_t memory_size;
	size_t start, end; /* of what was read and not given to the caller */
	bool in_record;    /* its head is done */
	uint64_t record_size, record_offset;
	char content_type[SPAWND_CHANNEL_CONTENT_TYPE + 1];
	struct spawnd_channel_fds arrived[2]; /* not yet announced: of a head in part, and of what was read after it */
	unsigned arrived_count;
	struct spawnd_channel_fds announced;
	bool end_told;
	int receive_failure;
	const char *receive_why;

	unsigned char head[160]; /* of the record being sent */
	size_t head_sent, head_size;
	const unsigned char *unsent; /* the caller's */
	size_t unsent_size;
	uint64_t to_write; /* what spawnd_channel_begin promised */
	bool sending_ended;

	char error[160];
};

/* ---- opening and closing ---- */

/*
 * Takes the channel that spawnd gave to this process (SPAWND_CHANNEL_FD), once: the descriptor becomes close-on-exec and
 * non-blocking, the variables go from the environment (so no thread may use the environment meanwhile), and neither programs
 * started later nor a second attach find them. `memory` is borrowed until the close; messages of up to `size` bytes come whole.
 * -ENOENT when there is no channel, -EPROTONOSUPPORT for another version, -EINVAL for what is no number, no stream socket or
 * too little memory, -EBADF.
 */
int spawnd_channel_attach(struct spawnd_channel *channel, void *memory, size_t size);

/* The same for a socket in the caller's hand, which is taken; on failure it stays the caller's. */
int spawnd_channel_open(struct spawnd_channel *channel, int fd, void *memory, size_t size);

/* Half of a disconnect: nothing more is sent, receiving goes on. -EBUSY while a message is sent in part. */
int spawnd_channel_end(struct spawnd_channel *channel);

/* Disconnects: closes the descriptor and received ones that were not yet given out. What is unsent or unread is lost. */
void spawnd_channel_close(struct spawnd_channel *channel);

/* ---- sending ---- */

/*
 * Sends a message; does not block. `content_type` NULL is "". Returns
 *   0       the kernel has it all;
 *   1       it has a part, and all descriptors: `data` stays untouched until spawnd_channel_flush returns 0;
 *   -EAGAIN it has nothing: try again when the descriptor is writable;
 *   -EBUSY  the message before is not out; -EMSGSIZE too large, -EINVAL too many descriptors or a content type too long;
 *   -EPIPE  nobody will receive it, or spawnd_channel_end was called; messages of the other side may still be there;
 *   -ETOOMANYREFS, -EBADF, ...  the kernel refuses the descriptors; nothing was sent.
 */
int spawnd_channel_send(
	struct spawnd_channel *channel, const char *content_type, const void *data, size_t size, const int *fds, unsigned fd_count);

/* Goes on with a message sent in part. 0: all is out, 1: not yet, or an error of spawnd_channel_send. */
int spawnd_channel_flush(struct spawnd_channel *channel);

/* Whether spawnd_channel_flush has something to do. */
bool spawnd_channel_unsent(const struct spawnd_channel *channel);

/* Blocks until the message, and what was unsent before it, is out. 0 or an error of spawnd_channel_send, but never -EAGAIN. */
int spawnd_channel_send_wait(
	struct spawnd_channel *channel, const char *content_type, const void *data, size_t size, const int *fds, unsigned fd_count);

/*
 * Begins a message of `size` bytes, which spawnd_channel_write gives piece by piece. 0, or an error of spawnd_channel_send
 * (-EAGAIN: not begun, try again). Until all bytes are written no other message can be sent (-EBUSY).
 */
int spawnd_channel_begin(struct spawnd_channel *channel, const char *content_type, uint64_t size, const int *fds, unsigned fd_count);

/* Writes the next bytes: how many were taken, at least 1 of any; -EAGAIN for none; -EMSGSIZE when there are more than promised. */
long spawnd_channel_write(struct spawnd_channel *channel, const void *data, size_t size);

/* ---- receiving ---- */

/*
 * The next message, or the next part of one that does not fit; does not block. An enum spawnd_channel_received, or
 *   -EPROTO      what came is no record, or its descriptors are not those announced: nothing can be received any more;
 *   -ECONNRESET  the other side ended inside a message;
 *   -ENOTCONN    after SPAWND_CHANNEL_END or the close.
 */
int spawnd_channel_receive(struct spawnd_channel *channel, struct spawnd_channel_message *message_out);

/* The same, waiting for `timeout_ms` (-1: for ever); SPAWND_CHANNEL_NOTHING when it is over. */
int spawnd_channel_receive_wait(struct spawnd_channel *channel, struct spawnd_channel_message *message_out, int timeout_ms);

/* ---- about ---- */

/* The descriptor, or -1; it stays the channel's. */
int spawnd_channel_fd(const struct spawnd_channel *channel);

/* Blocks until the descriptor is ready for poll(2)'s `events`: 1, 0 when `timeout_ms` (-1: for ever) is over, or -errno. */
int spawnd_channel_wait(struct spawnd_channel *channel, short events, int timeout_ms);

/* The text of the last error, for people; valid until the next call. */
const char *spawnd_channel_error(const struct spawnd_channel *channel);

#ifdef __cplusplus
}
#endif

#endif
