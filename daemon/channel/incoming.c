/*
 * From the bytes of a child to messages for the reader. Frames of at most CHANNEL_WHOLE bytes are passed on when they are
 * whole; a larger one becomes a letter that grows, so that its size costs no memory. Node's own messages go to node.c and are
 * seen by nobody else; one of those must fit the inbox.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"
#include "channel/channel_parts.h"

#define TURNS 8 /* looks at the socket before others have their turn */

void incoming_init(struct channel *channel)
{
	TAILQ_INIT(&channel->letters);
	TAILQ_INIT(&channel->readers);
}

static void drop_letter(struct channel *channel, struct letter *letter)
{
	if (letter == channel->coming.letter)
		channel->coming.letter = NULL;
	if (letter == channel->next)
		channel->next = TAILQ_NEXT(letter, entry);
	channel->held_fds -= letter->handle_count;
	handles_close(&letter->handles, &letter->handle_count);
	buf_finish(&letter->own);
	free(letter->content_type);
	TAILQ_REMOVE(&channel->letters, letter, entry);
	channel->letter_count--;
	free(letter);
}

void incoming_finish(struct channel *channel)
{
	struct channel_reader *reader;

	while ((reader = TAILQ_FIRST(&channel->readers))) {
		TAILQ_REMOVE(&channel->readers, reader, entry);
		reader->channel = NULL;
	}
	while (!TAILQ_EMPTY(&channel->letters))
		drop_letter(channel, TAILQ_FIRST(&channel->letters));
	json_check_finish(&channel->coming.check);
	inbox_finish(&channel->inbox);
}

bool incoming_wants(const struct channel *channel)
{
	return !channel->in_ended && channel->letter_count < LETTERS_MAX && channel->held_fds < INBOX_FDS &&
	       inbox_end(&channel->inbox) - channel->inbox.released < INBOX_SIZE;
}

struct channel_reader *incoming_reader(const struct channel *channel)
{
	struct channel_reader *reader;

	TAILQ_FOREACH(reader, &channel->readers, entry)
	if (reader->wants.reads)
		return reader;
	return NULL;
}

void incoming_tell(struct channel *channel)
{
	struct channel_reader *reader = incoming_reader(channel);

	if (reader)
		reader->observer->on_ready(reader->context);
}

/* A message that a reader did not get to the end of can be given to another one from its start. */
static bool can_rewind(const struct letter *letter)
{
	return letter->whole && !letter->given && letter->size <= CHANNEL_WHOLE;
}

/* What is dealt with may be overwritten; whoever goes on after this process starts at a frame. */
static void release(struct channel *channel)
{
	const struct letter *first = TAILQ_FIRST(&channel->letters);
	uint64_t until = !first                                  ? channel->coming.start
			 : can_rewind(first) || first->own.block ? first->frame
								 : first->at - (first->taken - first->had);

	if (channel->inbox.ring && until > channel->inbox.released)
		inbox_release(&channel->inbox, until);
	if (channel->outbox.control)
		outbox_note_in(&channel->outbox, first ? (struct outbox_in){.done = first->frame, .messages = first->id - 1}
						       : (struct outbox_in){.done = channel->coming.start, .messages = channel->messages});
}

struct letter *incoming_add(struct channel *channel, uint64_t at, uint64_t end, struct buf *own)
{
	struct letter *letter = mem_alloc(sizeof(*letter));

	letter->id = ++channel->messages;
	channel->channels->received++;
	channel_note_message(channel);
	letter->at = at;
	letter->end = end;
	letter->size = end - at;
	letter->frame = channel->coming.start;
	letter->whole = true;
	if (own) {
		letter->own = *own;
		letter->at = 0;
		letter->end = letter->size = own->length;
		*own = (struct buf){0};
	}
	TAILQ_INSERT_TAIL(&channel->letters, letter, entry);
	channel->letter_count++;
	channel->next = channel->next ? channel->next : letter;
	return letter;
}

/* The descriptors that a record says it brings. */
static void add_descriptors(struct channel *channel, struct letter *letter)
{
	const struct coming *coming = &channel->coming;
	struct parcel *parcel = coming->descriptors ? inbox_claim(&channel->inbox, coming->start) : NULL;

	if (!coming->descriptors)
		return;
	letter->handle_count = coming->descriptors;
	letter->handles = mem_alloc(coming->descriptors * sizeof(*letter->handles));
	for (size_t i = 0; i < letter->handle_count; i++) {
		struct channel_handle *handle = &letter->handles[i];

		handle->fd = parcel && i < parcel->count ? fd_steal(&parcel->fds[i]) : -1;
		handle->kind = handle->fd < 0 ? HANDLE_FIND : handle_kind_of(handle->fd);
	}
	channel->held_fds += letter->handle_count;
	parcel_destroy(parcel);
}

/* A message of the user: whole, or its beginning. */
static void add_message(struct channel *channel)
{
	struct coming *coming = &channel->coming;
	struct letter *letter = incoming_add(channel, coming->payload, coming->seen, NULL);

	add_descriptors(channel, letter);
	if (coming->content_type[0])
		letter->content_type = mem_strdup(coming->content_type);
	if (coming->whole)
		return;
	letter->whole = false;
	letter->size = coming->end > coming->seen ? coming->end - coming->payload : 0;
	coming->letter = letter;
}

static void begin_frame(struct channel *channel, uint64_t start)
{
	struct json_check check = channel->coming.check;

	json_check_reset(&check);
	channel->coming = (struct coming){.start = start, .seen = start, .check = check};
}

/* Whether what there is of the frame is one of Node's own messages, and if it is whole, handles it. */
static bool take_internal(struct channel *channel)
{
	static uint8_t scratch[INBOX_SIZE];
	struct coming *coming = &channel->coming;
	size_t size = (size_t)(coming->seen - coming->payload);
	struct node_message message;
	const uint8_t *bytes;

	if (!channel->ops->read_internal)
		return false;
	bytes = inbox_view(&channel->inbox, coming->payload, size, scratch);
	if (!channel->ops->read_internal(bytes, size, &message))
		return false;
	if (coming->whole && coming->start < channel->handled)
		node_on_replay(channel, bytes, &message);
	else if (coming->whole)
		node_on_message(channel, bytes, &message);
	else if (inbox_end(&channel->inbox) - coming->start >= INBOX_SIZE)
		channel_fail(channel, EMSGSIZE, "the child sent a message with a descriptor that is larger than 512 KiB");
	return true;
}

/* A letter that grows. */
static void grow(struct channel *channel)
{
	struct coming *coming = &channel->coming;
	struct letter *letter = coming->letter;

	letter->end = coming->seen;
	if (letter->discarded)
		letter->at = letter->end;
	if (!coming->whole)
		return;
	letter->whole = true;
	letter->size = coming->end - coming->payload;
	coming->letter = NULL;
	if (letter->discarded)
		drop_letter(channel, letter);
}

/* Looks at the frame that comes. True: it is dealt with, the next may be there too. */
static bool take_frame(struct channel *channel)
{
	struct coming *coming = &channel->coming;
	struct err err;

	if (channel->ops->measure(channel, coming, &err) < 0) {
		channel_fail(channel, EPROTO, "the child sent %s", err.message);
		return false;
	}
	if (!coming->measured)
		return false;
	if (coming->letter)
		grow(channel);
	else if (!coming->whole && coming->seen - coming->payload < CHANNEL_WHOLE)
		return false;
	else if (!take_internal(channel))
		add_message(channel);
	if (!coming->whole || channel->ends)
		return false;
	begin_frame(channel, coming->next);
	if (!inbox_has_unclaimed(&channel->inbox, channel->coming.start))
		return true;
	channel_fail(channel, EPROTO, "the child sent descriptors that no message names");
	return false;
}

static void take_frames(struct channel *channel)
{
	size_t before = channel->letter_count;
	bool grown = channel->coming.letter != NULL;

	while (!channel->ends && channel->letter_count < LETTERS_MAX && channel->coming.seen <= inbox_end(&channel->inbox) &&
		channel->coming.start < inbox_end(&channel->inbox))
		if (!take_frame(channel))
			break;
	release(channel);
	if (channel->letter_count > before || grown)
		incoming_tell(channel);
}

/* The child's side is closed: what it said last is all there is. */
static void on_end_of_file(struct channel *channel)
{
	uint64_t left = inbox_end(&channel->inbox) - channel->coming.start;
	struct err err = {0};

	channel->in_ended = true;
	if (left)
		snprintf(err.message, sizeof(err.message), "its last message was not whole: %llu bytes are lost", (unsigned long long)left);
	channel_end(channel, channel->given_up ? CHANNEL_ENDED_GIVEN_UP : CHANNEL_ENDED_CHILD, &err);
}

/* One look. False: nothing more for now. */
static bool read_once(struct channel *channel)
{
	bool end;
	int done = inbox_fill(&channel->inbox, channel->fd, &end);

	if (done == -EAGAIN && channel->given_up)
		channel_end(channel, CHANNEL_ENDED_GIVEN_UP, NULL);
	if (done == -EAGAIN || done == INBOX_E_FULL)
		return false;
	if (done == -ECONNRESET) {
		/* the child closed with messages of ours unread: as an end of file */
		end = true;
	} else if (done < 0) {
		channel_fail(channel, -done, "reading the channel failed: %s", err_name(-done));
		return false;
	}
	take_frames(channel);
	if (end && !channel->ends)
		on_end_of_file(channel);
	return !end && !channel->ends;
}

void incoming_read(struct channel *channel)
{
	for (int i = 0; i < TURNS && incoming_wants(channel); i++)
		if (!read_once(channel))
			break;
}

/* ---- readers ---- */

/* What its reader got of a letter and may not have is to be had again. */
static void rewind_letter(struct letter *letter)
{
	letter->at -= letter->taken - letter->had;
	letter->taken = letter->had;
	letter->begun = letter->had > 0;
}

/* A message that its reader did not get to the end of: for another one, or lost when it cannot be had again. */
static void give_back(struct channel *channel, struct letter *letter)
{
	if (can_rewind(letter)) {
		letter->had = 0;
		rewind_letter(letter);
	} else if (letter->whole) {
		drop_letter(channel, letter);
	} else {
		letter->discarded = true;
		letter->at = letter->end;
	}
}

/* All before byte `offset` of message `id` need not be kept. */
static void forget_until(struct channel *channel, uint64_t id, uint64_t offset)
{
	struct letter *first;
	uint64_t there;

	while ((first = TAILQ_FIRST(&channel->letters)) && first->whole && first->id < id)
		drop_letter(channel, first);
	if (!first || first->id != id || first->discarded)
		return;
	there = first->taken + (first->end - first->at);
	first->had = offset < first->had ? first->had : offset < there ? offset : there;
	if (first->taken < first->had) {
		first->at += first->had - first->taken;
		first->taken = first->had;
	}
	first->begun = first->begun || first->had;
}

/* After letters were forgotten: room for more, or nothing more to keep. */
static void go_on(struct channel *channel)
{
	if (!channel->ends) {
		take_frames(channel);
		channel_watch(channel);
		return;
	}
	release(channel);
	if (TAILQ_EMPTY(&channel->letters))
		channel_empty(channel);
}

void channel_add_reader(struct channel *channel, struct channel_reader *reader, const struct channel_reader_observer *observer,
	void *context, const struct channel_wants *wants)
{
	struct letter *first;

	*reader = (struct channel_reader){.channel = channel, .observer = observer, .context = context, .wants = *wants};
	TAILQ_INSERT_TAIL(&channel->readers, reader, entry);
	if (reader != incoming_reader(channel))
		return;
	if (wants->id)
		forget_until(channel, wants->id, wants->offset);
	first = TAILQ_FIRST(&channel->letters);
	if (first && first->begun && first->id != wants->id)
		give_back(channel, first);
	go_on(channel);
}

/* Messages that its reader may not have wait: for itself, or for another one. */
static void take_back(struct channel *channel)
{
	struct letter *first = TAILQ_FIRST(&channel->letters), *letter;

	TAILQ_FOREACH(letter, &channel->letters, entry)
	if (!letter->discarded)
		rewind_letter(letter);
	channel->next = first;
}

void channel_remove_reader(struct channel_reader *reader)
{
	struct channel *channel = reader->channel;
	bool was_first;
	struct letter *first;

	if (!channel)
		return;
	was_first = reader == incoming_reader(channel);
	TAILQ_REMOVE(&channel->readers, reader, entry);
	reader->channel = NULL;
	if (!was_first)
		return;
	take_back(channel);
	first = TAILQ_FIRST(&channel->letters);
	if (first && first->begun && (!reader->wants.keeps || incoming_reader(channel)))
		give_back(channel, first);
	incoming_tell(channel);
}

/* Whether a letter will never be whole. */
static bool is_broken(const struct channel *channel, const struct letter *letter)
{
	return channel->ends && !letter->whole;
}

static size_t bytes_there(const struct letter *letter)
{
	return (size_t)(letter->end - letter->at);
}

static void fill(const struct channel *channel, struct letter *letter, size_t length, struct channel_incoming *out)
{
	*out = (struct channel_incoming){
		.id = letter->id,
		.offset = letter->taken,
		.size = letter->size,
		.more = !letter->whole || length < bytes_there(letter),
		.internal = letter->internal,
		.content_type = letter->content_type ? letter->content_type : "",
		.length = length,
	};
	if (!letter->begun) {
		out->handles = letter->handles;
		out->handle_count = letter->handle_count;
	}
	if (letter->own.block)
		out->iov[out->iov_count++] = (struct iovec){.iov_base = letter->own.bytes + letter->at, .iov_len = length};
	else if (length)
		out->iov_count = ring_span(channel->inbox.ring, letter->at, length, out->iov);
}

enum channel_next channel_next(struct channel_reader *reader, size_t limit, struct channel_incoming *incoming_out)
{
	struct channel *channel = reader->channel;
	struct letter *letter;
	size_t there;

	if (!channel)
		return CHANNEL_NEXT_ENDED;
	letter = channel->next;
	if (reader != incoming_reader(channel))
		return channel->ended && (!reader->wants.reads || !letter) ? CHANNEL_NEXT_ENDED : CHANNEL_NEXT_NOTHING;
	if (letter && is_broken(channel, letter) && !bytes_there(letter)) {
		drop_letter(channel, letter);
		letter = NULL;
		if (channel->ended && TAILQ_EMPTY(&channel->letters))
			channel_empty(channel);
	}
	if (!letter)
		return channel->ended ? CHANNEL_NEXT_ENDED : CHANNEL_NEXT_NOTHING;
	there = bytes_there(letter);
	if ((limit == 0 && there) || (!there && !letter->whole))
		return CHANNEL_NEXT_NOTHING;
	fill(channel, letter, there < limit ? there : limit, incoming_out);
	return CHANNEL_NEXT_PIECE;
}

void channel_take(struct channel_reader *reader, const struct channel_incoming *incoming)
{
	struct channel *channel = reader->channel;
	struct letter *letter = channel->next;

	letter->begun = true;
	letter->taken += incoming->length;
	letter->at += incoming->length;
	if (!incoming->more)
		channel->next = TAILQ_NEXT(letter, entry);
	if (reader->wants.keeps)
		return;
	letter->given = letter->given || letter->handle_count;
	channel->held_fds -= letter->handle_count;
	handles_close(&letter->handles, &letter->handle_count);
	forget_until(channel, letter->id + !incoming->more, incoming->more ? letter->taken : 0);
	go_on(channel);
}

void channel_had(struct channel_reader *reader, uint64_t id, uint64_t offset)
{
	struct channel *channel = reader->channel;

	if (!channel || !reader->wants.keeps || reader != incoming_reader(channel))
		return;
	forget_until(channel, id, offset);
	go_on(channel);
}

void incoming_resume(struct channel *channel, struct outbox_in from)
{
	begin_frame(channel, from.done);
	channel->messages = from.messages;
	channel->handled = outbox_committed(&channel->outbox).handled;
	if (channel->fd >= 0)
		incoming_read(channel);
	take_frames(channel);
}
