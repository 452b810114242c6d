/* The inside of channels, for the files of this room. */
#pragma once

#include <uthash.h>

#include "base/buf.h"
#include "channel/channel.h"
#include "channel/inbox.h"
#include "channel/json_text.h"
#include "channel/node_message.h"
#include "channel/outbox.h"

#define LETTERS_MAX 4096u

/* A message that came, or comes: some of its bytes are there. */
struct letter {
	TAILQ_ENTRY(letter) entry; /* channel::letters */
	uint64_t id;
	uint64_t at, end; /* in the inbox, or in `own`: what is not taken yet of the bytes that are there */
	uint64_t size;    /* of the whole; 0: not known yet */
	uint64_t taken;   /* bytes that are */
	uint64_t had;     /* of these: so many its reader surely has */
	uint64_t frame;   /* where its frame starts */
	struct buf own;   /* its bytes, when they are not those that came */
	bool whole, internal, begun;
	bool discarded; /* its reader has left; what still comes of it is thrown away */
	bool given;     /* its descriptors are, and we have them no more */
	char *content_type;
	struct channel_handle *handles;
	size_t handle_count;
};

/* The frame that comes. */
struct coming {
	uint64_t start, seen; /* looked at up to here */
	uint64_t payload, end, next;
	bool measured; /* payload and end are known */
	bool whole;
	struct json_check check;
	uint32_t descriptors;
	char content_type[CHANNEL_CONTENT_TYPE + 1];
	struct letter *letter; /* it is passed on as it comes */
};

/* Bytes in the outbox that belong together: a whole frame, or a part of a large one. */
struct outframe {
	TAILQ_ENTRY(outframe) entry;   /* channel::records */
	struct channel_sender *sender; /* NULL: it has gone, or it was us */
	uint64_t start, end;
	uint64_t id, bytes; /* of the sender's message; that count for its window */
	unsigned pieces;
	bool first, last; /* of its frame */
	bool tell, told;
	bool numbered; /* `id` is that of the numbered sender */
	bool ours;     /* an answer to the child */
	unsigned tries;
	struct channel_handle *handles; /* until they are sent, or acknowledged */
	size_t handle_count;
};

/* A message of which pieces are to come, or which waits for its turn. */
struct draft {
	TAILQ_ENTRY(draft) entry;      /* channel::drafts */
	struct channel_sender *sender; /* NULL: it has gone */
	uint64_t id, size, received;
	unsigned pieces;
	bool tell, internal, large, queued, begun, numbered;
	bool dropped; /* what comes of it is thrown away */
	struct buf bytes;
	struct json_check check;
	char content_type[CHANNEL_CONTENT_TYPE + 1];
	struct channel_handle *handles;
	size_t handle_count;
};

struct channel {
	UT_hash_handle hh; /* channels::table, by child */
	TAILQ_ENTRY(channel) ending_entry;
	struct channels *channels;
	struct child *child;
	uint64_t id;
	enum channel_format format;
	const struct format *ops;
	int fd; /* owned; -1: ended */
	struct loop_fd *watch;
	unsigned watched;
	struct channel_ending ending;
	uint64_t taken_id; /* what the outbox said of it, when it is gone */
	bool ends;         /* its end is decided, and told from the loop */
	bool ended;        /* told */

	/* incoming.c */
	struct inbox inbox;
	struct coming coming;
	TAILQ_HEAD(, letter) letters;
	struct letter *next; /* the first that its reader has not got all of; NULL: none */
	size_t letter_count, held_fds;
	uint64_t messages; /* that came */
	uint64_t untold;   /* of these, to the observer of all channels */
	uint64_t handled;  /* the child's own messages that start before it are acted on */
	bool in_ended;
	bool given_up;    /* what is there is read, and then no more is waited for */
	unsigned refused; /* handles without a descriptor, in a row */
	TAILQ_HEAD(, channel_reader) readers;

	/* outgoing.c */
	struct outbox outbox;
	TAILQ_HEAD(outframes, outframe) records;
	struct outframe *next_handle; /* the first whose descriptors are not sent */
	struct outframe *awaited;     /* Node will acknowledge its descriptor */
	TAILQ_HEAD(, draft) drafts;
	TAILQ_HEAD(, channel_sender) senders;
	struct buf urgent; /* our own answers, which pass between frames */
	bool urgent_begun;
	uint64_t waiting; /* bytes of senders */
	size_t going_fds;
	uint64_t sent; /* messages */
	bool out_ending, out_closed;
	void (*disconnected)(void *context);
	void *disconnected_context;
};

struct channels {
	const struct process_host *host;
	struct channel *table;
	struct loop_defer *defer;
	struct loop_timer *teller; /* runs: messages that come are told when it fires */
	const struct channels_observer *observer;
	void *context;
	TAILQ_HEAD(, channel) ending; /* whose end is to be told */
	size_t open;
	uint64_t sent, received, engine_lost;
};

/* What a format is: finding frames, and making them. */
struct format {
	/* Measures the frame that comes, as far as it is there. 0, or -EPROTO with *err: it is none. */
	int (*measure)(struct channel *channel, struct coming *coming, struct err *err);
	/* Node's own messages; NULL: the format has none. */
	bool (*read_internal)(const void *bytes, size_t size, struct node_message *out);
	void (*put_command)(struct buf *out, enum node_command command, const char *key);
	/* What goes before and after the bytes of a message; draft->size is known. */
	void (*wrap)(const struct draft *draft, struct buf *head, struct buf *tail);
	/* A message that cannot be just wrapped: 0, or -EINVAL. NULL: all can. */
	int (*rewrite)(const struct draft *draft, const uint8_t *bytes, size_t size, struct buf *out);
	/* Whether bytes may be sent as (a part of) a message; check is the draft's. */
	int (*check)(struct draft *draft, const uint8_t *bytes, size_t size, bool last, struct err *err);
};

extern const struct format format_json, format_advanced, format_native;

/* ---- channel.c ---- */

/* Decides the end; the first call counts. */
void channel_end(struct channel *channel, enum channel_reason reason, const struct err *err);
void channel_fail(struct channel *channel, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A message has come: tells so soon. */
void channel_note_message(struct channel *channel);
/* It has ended, and all that came is read: what stood behind it goes. */
void channel_empty(struct channel *channel);
/* Watches for what is wanted now. */
void channel_watch(struct channel *channel);

/* ---- incoming.c ---- */

void incoming_init(struct channel *channel);
void incoming_finish(struct channel *channel);
/* Reads what is there, as far as there is room. */
void incoming_read(struct channel *channel);
bool incoming_wants(const struct channel *channel);
/* Goes on at a frame, after an engine that was lost. */
void incoming_resume(struct channel *channel, struct outbox_in from);
/* The one that messages are for, or NULL. */
struct channel_reader *incoming_reader(const struct channel *channel);
void incoming_tell(struct channel *channel);
/* A message whose bytes [at, end) are in the inbox, or (own, taken) others. The caller fills in the rest before it is told. */
struct letter *incoming_add(struct channel *channel, uint64_t at, uint64_t end, struct buf *own);

/* ---- outgoing.c ---- */

void outgoing_init(struct channel *channel);
void outgoing_finish(struct channel *channel);
void outgoing_flush(struct channel *channel);
bool outgoing_wants(const struct channel *channel);
/* The child reads no more: all that waits is lost, and told. */
void outgoing_lose(struct channel *channel);
/* Node has, or has not, got the descriptor. */
void outgoing_acknowledged(struct channel *channel, bool got);
/* What is in the outbox goes on to be sent. */
void outgoing_resume(struct channel *channel);
/* A message of ours, ahead of those that wait. */
void outgoing_command(struct channel *channel, enum node_command command, const char *key);

/* ---- node.c ---- */

/* One of Node's own messages has come: frame [coming.payload, coming.end), whose bytes these are. */
void node_on_message(struct channel *channel, const uint8_t *bytes, const struct node_message *message);
/* The same of one that an engine before this one acted on: only what was in it for users is of interest. */
void node_on_replay(struct channel *channel, const uint8_t *bytes, const struct node_message *message);

/* ---- handle.c ---- */

/*
 * Finds out or checks what a descriptor is; with `node` only what Node can take. Makes sockets non-blocking, as Node needs
 * them. 0, or -EINVAL with *err.
 */
int handle_check(struct channel_handle *handle, bool node, struct err *err);
enum handle_kind handle_kind_of(int fd);
/* Node's name of what it is, and for datagrams "udp4" or "udp6". */
const char *handle_node_type(const struct channel_handle *handle);
const char *handle_dgram_type(const struct channel_handle *handle);
void handles_close(struct channel_handle **handles, size_t *count);
