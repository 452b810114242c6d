/*
 * The message channel of a child: messages of clients to it, messages from it to one reader, descriptors with both.
 *
 *   client -> channel_send -> outgoing.c -> outbox.c (memfd) -> child
 *   child -> inbox.c (ring) -> incoming.c -> channel_next -> client
 *
 * Three formats: Node's two (docs: PROTOCOL.md) and our own. What users say is passed on untouched. Everything waits in
 * bounded places: the child's socket, CHANNEL_RING bytes that came, what senders were let send.
 *
 * A channel ends once: when the child closes its side (or ends), when it says what is no message, when it is given up. What
 * came before is read all the same. It is destroyed with its child.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "base/err.h"
#include "process/child.h"
#include "process/host.h"

#define CHANNEL_FDS 16u             /* descriptors with one message; Node's formats: 1 */
#define CHANNEL_CONTENT_TYPE 127u   /* bytes of a content type */
#define CHANNEL_WHOLE (64u << 10)   /* messages up to this size are passed on whole, and survive this process */
#define CHANNEL_DRAFT (1u << 20)    /* messages up to this size are sent when all of them is there */
#define CHANNEL_TEXT_MAX 536870888u /* what Node takes for a string (buffer.constants.MAX_STRING_LENGTH) */
#define CHANNEL_QUEUE_MAX (64u << 20)

/* Numbers of spawnd.v1.Serialization. */
enum channel_format { CHANNEL_JSON = 0, CHANNEL_ADVANCED = 1, CHANNEL_NATIVE = 2 };

/* Numbers of spawnd.v1.Disconnected.Reason. */
enum channel_reason {
	CHANNEL_OPEN = 0,
	CHANNEL_ENDED_CHILD = 1,
	CHANNEL_ENDED_CLIENT = 2,
	CHANNEL_ENDED_ERROR = 3,
	CHANNEL_ENDED_GIVEN_UP = 4,
	CHANNEL_ENDED_ENGINE_LOST = 5,
};

/* Numbers of spawnd.v1.ChannelHandle.Kind. */
enum handle_kind { HANDLE_FIND = 0, HANDLE_SERVER = 1, HANDLE_SOCKET = 2, HANDLE_DATAGRAM = 3, HANDLE_NATIVE = 4, HANDLE_OTHER = 5 };

struct channel;
struct channels;

/* How it ended; err.message is a sentence, err.status STATUS_OK unless something went wrong. */
struct channel_ending {
	enum channel_reason reason;
	struct err err;
};

struct channels_stats {
	size_t channels;         /* open ones */
	uint64_t bytes;          /* that wait, in both directions */
	size_t fds;              /* of messages in flight, in both directions */
	uint64_t sent, received; /* messages, ever */
	uint64_t engine_lost;    /* channels, ever */
};

/* ---- registry ---- */

/* From the loop. */
struct channels_observer {
	/* Messages came, `last` the last of them: told at once, but within a tenth of a second only once. */
	void (*on_messages)(void *context, struct child *child, uint64_t last, uint64_t count);
	/* Once for every channel. */
	void (*on_disconnected)(void *context, struct child *child, const struct channel_ending *ending);
};

struct channels *channels_create(const struct process_host *host);
void channels_observe(struct channels *channels, const struct channels_observer *observer, void *context); /* one only */
void channels_destroy(struct channels *channels);                                                          /* NULL is fine */
/*
 * Right after child_create or child_recover: opens the channel if the child has one. It fails by ending. That of an engine
 * which was lost goes on where it stopped, or ends with ENGINE_LOST when a message was half moved.
 */
void channels_open(struct channels *channels, struct child *child);
/* NULL: the child has none. */
struct channel *channels_find(const struct channels *channels, const struct child *child);
void channels_stats(const struct channels *channels, struct channels_stats *stats_out);

/* ---- sending ---- */

struct channel_handle {
	int fd; /* owned */
	enum handle_kind kind;
	char key[128];
};

/* A message, or a piece of one: its pieces follow each other, nothing else of this sender between them. */
struct channel_piece {
	uint64_t id;   /* of the sender's choice */
	uint64_t size; /* of the whole; first piece; needed with `more` */
	bool more, internal, tell;
	const char *content_type; /* first piece */
	const uint8_t *data;
	size_t length;
	struct channel_handle *handles; /* first piece */
	size_t handle_count;
};

/* What became of pieces. */
struct channel_settled {
	uint64_t bytes; /* so many are with the kernel now, or thrown away */
	unsigned pieces;
	bool tell; /* this is the result of message `id`: err NULL: it is with the kernel; else it did not get through */
	uint64_t id;
	const struct err *err;
};

struct channel_sender_observer {
	/* May come at any time, from inside channel_send too. The sender may leave inside it. */
	void (*on_settled)(void *context, const struct channel_settled *settled);
};

struct draft;

/* Memory of the caller. */
struct channel_sender {
	struct channel *channel; /* NULL: it is gone */
	const struct channel_sender_observer *observer;
	void *context;
	bool numbered;       /* it comes back, and sends again what is beyond channel_taken_id; one at a time */
	struct draft *draft; /* a message whose pieces come */
	TAILQ_ENTRY(channel_sender) entry;
};

void channel_add_sender(struct channel *channel, struct channel_sender *sender, const struct channel_sender_observer *observer,
	void *context, bool numbered);
/* A message of which only a part came is dropped; one that had begun to leave ends the channel. */
void channel_remove_sender(struct channel_sender *sender);
/* Takes the descriptors, in any case. What is wrong with a message is its result; -EINVAL with *err: the pieces contradict. */
int channel_send(struct channel_sender *sender, const struct channel_piece *piece, struct err *err);
/* Our side ends, after what was sent. `done` (may be NULL) comes once, when all is written or lost. */
void channel_disconnect(struct channel *channel, void (*done)(void *context), void *context);
void channel_forget(struct channel *channel, void *context); /* no `done` with this context any more */

/* ---- reading ---- */

struct channel_reader_observer {
	void (*on_ready)(void *context); /* ask channel_next */
};

/* What a reader wants. */
struct channel_wants {
	bool reads;          /* messages; else it only hears of the end */
	bool internal;       /* Node's counting of sockets too */
	bool keeps;          /* messages stay until channel_had */
	uint64_t id, offset; /* what it wants next, after it was here before; id 0: what there is */
};

/* Memory of the caller. The first that came reads; the others wait until it has gone. */
struct channel_reader {
	struct channel *channel; /* NULL: it is gone */
	const struct channel_reader_observer *observer;
	void *context;
	struct channel_wants wants;
	TAILQ_ENTRY(channel_reader) entry;
};

/* What comes next, borrowed until channel_take. */
struct channel_incoming {
	uint64_t id, offset;
	uint64_t size; /* of the whole; 0: not known yet */
	bool more, internal;
	const char *content_type; /* "" when there is none */
	struct iovec iov[2];
	size_t iov_count, length;
	struct channel_handle *handles; /* first piece; fd -1: it did not get through */
	size_t handle_count;
};

enum channel_next { CHANNEL_NEXT_PIECE, CHANNEL_NEXT_NOTHING, CHANNEL_NEXT_ENDED };

void channel_add_reader(struct channel *channel, struct channel_reader *reader, const struct channel_reader_observer *observer,
	void *context, const struct channel_wants *wants);
void channel_remove_reader(struct channel_reader *reader);
/* At most `limit` bytes, which may be 0 to learn of messages without any and of the end. */
enum channel_next channel_next(struct channel_reader *reader, size_t limit, struct channel_incoming *incoming_out);
void channel_take(struct channel_reader *reader, const struct channel_incoming *incoming);
/* A reader that keeps has all before byte `offset` of message `id`. */
void channel_had(struct channel_reader *reader, uint64_t id, uint64_t offset);

/* ---- facts ---- */

enum channel_format channel_format(const struct channel *channel);
struct channel_stats {
	uint64_t sent, received, bytes;
	size_t fds;
};

/* As in channels_stats, of this one. */
void channel_stats(const struct channel *channel, struct channel_stats *stats_out);
/* NULL while it is open. */
const struct channel_ending *channel_ending(const struct channel *channel);
/* The last number of a message of the numbered sender that is sure to get to the child, whatever becomes of this process. */
uint64_t channel_taken_id(const struct channel *channel);
