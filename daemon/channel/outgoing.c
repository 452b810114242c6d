/*
 * From messages of senders to the child. A message of at most CHANNEL_DRAFT bytes leaves when all of it is there, so that a
 * sender that vanishes harms nobody; a larger one as its pieces come, and nothing else passes it.
 *
 *   channel_send -> draft (pieces, or its turn has not come) -> frame in the outbox, a record of it -> settle: results, room
 *
 * Node takes one descriptor at a time: behind a frame with one nothing is sent until it was acknowledged, but for our own
 * acknowledgements.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/fdpass.h"
#include "base/log.h"
#include "base/mem.h"
#include "channel/channel_parts.h"

#define TRIES_MAX 3u    /* times more that a socket is sent when Node says it came without its descriptor */
#define HEAD_SENT 4096u /* bytes of a frame that go along with its descriptors */

void outgoing_init(struct channel *channel)
{
	TAILQ_INIT(&channel->records);
	TAILQ_INIT(&channel->drafts);
	TAILQ_INIT(&channel->senders);
	channel->outbox.fd = -1;
}

/* ---- telling ---- */

static void tell(struct channel *channel, const struct channel_sender *sender, const struct channel_settled *settled)
{
	channel->waiting -= settled->bytes;
	if (sender && (settled->pieces || settled->tell))
		sender->observer->on_settled(sender->context, settled);
}

static void closed_error(struct err *err)
{
	err_set(err, STATUS_FAILED_PRECONDITION, "the channel is closed");
	snprintf(err->code, sizeof(err->code), "ERR_IPC_CHANNEL_CLOSED");
}

static void drop_handles(struct channel *channel, struct channel_handle **handles, size_t *count)
{
	channel->going_fds -= *count;
	handles_close(handles, count);
}

/* ---- records ---- */

/* The first that still has descriptors to send, from `record` on. */
static struct outframe *find_handle(struct outframe *record)
{
	while (record && !record->handle_count)
		record = TAILQ_NEXT(record, entry);
	return record;
}

/* Takes a record out, then tells its sender. */
static void finish_record(struct channel *channel, struct outframe *record, const struct err *err)
{
	const struct channel_sender *sender = record->sender;
	struct channel_settled settled = {
		.bytes = record->bytes,
		.pieces = record->pieces,
		.tell = record->last && (err || (record->tell && !record->told)),
		.id = record->id,
		.err = err,
	};

	if (channel->next_handle == record)
		channel->next_handle = find_handle(TAILQ_NEXT(record, entry));
	if (channel->awaited == record)
		channel->awaited = NULL;
	drop_handles(channel, &record->handles, &record->handle_count);
	TAILQ_REMOVE(&channel->records, record, entry);
	free(record);
	tell(channel, sender, &settled);
}

/* Settles what was sent. A frame whose descriptor Node has not acknowledged stays. */
static void settle(struct channel *channel)
{
	struct outframe *record;

	while ((record = TAILQ_FIRST(&channel->records)) && channel->outbox.sent >= record->end && record != channel->awaited) {
		channel->sent += record->last && !record->ours;
		channel->channels->sent += record->last && !record->ours;
		finish_record(channel, record, NULL);
	}
	/* one whose descriptor may have to be sent again is needed */
	outbox_trim(&channel->outbox, record && record == channel->awaited ? record->start : channel->outbox.sent);
}

static struct outframe *add_record(struct channel *channel, const struct draft *draft, uint64_t start, uint64_t bytes, unsigned pieces)
{
	struct outframe *record = mem_alloc(sizeof(*record));

	*record = (struct outframe){
		.sender = draft->sender,
		.start = start,
		.end = channel->outbox.end,
		.id = draft->id,
		.bytes = bytes,
		.pieces = pieces,
		.tell = draft->tell,
		.numbered = draft->numbered,
	};
	TAILQ_INSERT_TAIL(&channel->records, record, entry);
	return record;
}

/* ---- drafts ---- */

static void drop_draft(struct channel *channel, struct draft *draft)
{
	if (draft->queued)
		TAILQ_REMOVE(&channel->drafts, draft, entry);
	if (draft->sender && draft->sender->draft == draft)
		draft->sender->draft = NULL;
	drop_handles(channel, &draft->handles, &draft->handle_count);
	json_check_finish(&draft->check);
	buf_finish(&draft->bytes);
	free(draft);
}

/*
 * Whole frames are sure to get to the child, up to the first whose descriptors are not sent: these go with this process, and
 * their sender has to say it again.
 */
static void commit(struct channel *channel)
{
	const struct outframe *record =
		channel->next_handle ? TAILQ_PREV(channel->next_handle, outframes, entry) : TAILQ_LAST(&channel->records, outframes);
	uint64_t end = 0, id = 0;

	for (; record && !(end && id); record = TAILQ_PREV(record, outframes, entry)) {
		end = end || !record->last ? end : record->end;
		id = record->last && record->numbered ? record->id : id;
	}
	if (end)
		outbox_commit(&channel->outbox, end, id, channel->handled);
}

/* Puts bytes of a draft into the outbox, with what goes around them; then makes the record. 0 or -errno. */
static int put_bytes(struct channel *channel, struct draft *draft, const uint8_t *bytes, size_t size, unsigned pieces)
{
	struct buf head = {0}, tail = {0}, other = {0}, unused = {0};
	bool first = !draft->begun, last = draft->received == draft->size;
	uint64_t start = channel->outbox.end;
	struct outframe *record;
	struct iovec iov[3];
	int done = 0;

	if (channel->ops->rewrite)
		done = channel->ops->rewrite(draft, bytes, size, &other);
	if (done == 0 && (first || last))
		channel->ops->wrap(draft, first ? &head : &unused, last ? &tail : &unused);
	iov[0] = (struct iovec){.iov_base = head.bytes, .iov_len = head.length};
	iov[1] = (struct iovec){.iov_base = other.length ? other.bytes : (void *)bytes, .iov_len = other.length ? other.length : size};
	iov[2] = (struct iovec){.iov_base = tail.bytes, .iov_len = tail.length};
	if (done == 0)
		done = outbox_append(&channel->outbox, iov, 3);
	if (done == 0) {
		record = add_record(channel, draft, start, size, pieces);
		record->first = first;
		record->last = last;
		draft->begun = true;
		if (draft->handle_count) {
			record->handles = mem_steal(&draft->handles);
			record->handle_count = draft->handle_count;
			draft->handle_count = 0;
			channel->next_handle = channel->next_handle ? channel->next_handle : record;
		}
		if (last && !channel->next_handle)
			outbox_commit(&channel->outbox, channel->outbox.end, draft->numbered ? draft->id : 0, channel->handled);
	}
	buf_finish(&head);
	buf_finish(&tail);
	buf_finish(&other);
	buf_finish(&unused);
	return done;
}

/* A message that cannot be sent: told, its room given back. One that is half out ends the channel. */
static void fail_draft(struct channel *channel, struct draft *draft, const struct err *err)
{
	const struct channel_sender *sender = draft->sender;
	struct channel_settled settled = {.bytes = draft->bytes.length, .pieces = draft->pieces, .tell = true, .id = draft->id, .err = err};

	if (draft->begun)
		channel_fail(channel, err->errnum ? err->errnum : EINVAL, "a message that was half sent cannot go on: %s", err->message);
	if (sender && draft->received < draft->size) {
		/* what still comes of it is thrown away */
		draft->dropped = true;
		draft->pieces = 0;
		buf_finish(&draft->bytes);
		if (draft->queued)
			TAILQ_REMOVE(&channel->drafts, draft, entry);
		draft->queued = false;
	} else {
		drop_draft(channel, draft);
	}
	tell(channel, sender, &settled);
}

/* Lets the drafts whose turn it is into the outbox. */
static void compose(struct channel *channel)
{
	struct draft *draft;
	struct err err;

	while (!channel->ends && (draft = TAILQ_FIRST(&channel->drafts))) {
		bool whole = draft->received == draft->size;
		int done = 0;

		if (draft->bytes.length || !draft->begun)
			done = put_bytes(channel, draft, draft->bytes.bytes, draft->bytes.length, draft->pieces);
		if (done < 0) {
			err_errno(&err, -done, "write", NULL);
			fail_draft(channel, draft, &err);
			continue;
		}
		draft->pieces = 0;
		buf_finish(&draft->bytes);
		if (!whole)
			return;
		drop_draft(channel, draft);
	}
}

/* ---- sending ---- */

/* Before the first byte of a frame, or between two. */
static bool is_between(const struct channel *channel)
{
	const struct outframe *record = TAILQ_FIRST(&channel->records);

	return channel->awaited || !record || (record->first && record->start == channel->outbox.sent);
}

/* Up to where bytes may go now. */
static uint64_t limit_of(const struct channel *channel)
{
	const struct outframe *record = TAILQ_FIRST(&channel->records);

	if (channel->awaited)
		return channel->outbox.sent;
	if (channel->urgent.length) {
		while (record && !record->last)
			record = TAILQ_NEXT(record, entry);
		return record ? record->end : channel->outbox.end;
	}
	if (channel->next_handle)
		return channel->next_handle->start;
	return channel->outbox.end;
}

/* Our own answers. 1: gone; 0: the socket takes no more; -errno. */
static int send_urgent(struct channel *channel)
{
	struct iovec iov = {.iov_base = channel->urgent.bytes, .iov_len = channel->urgent.length};
	ssize_t done = fdpass_send(channel->fd, &iov, 1, NULL, 0);

	if (done == -EAGAIN)
		return 0;
	if (done < 0)
		return (int)done;
	channel->urgent_begun = true;
	buf_consume(&channel->urgent, (size_t)done);
	if (channel->urgent.length)
		return 0;
	channel->urgent_begun = false;
	buf_trim(&channel->urgent, 0);
	return 1;
}

/* The descriptors of a frame could not be sent, nothing of it was: the others go on. */
static int skip_frame(struct channel *channel, struct outframe *record, int error)
{
	struct err err;
	int done = outbox_seek(&channel->outbox, record->end);

	if (done < 0)
		return done;
	outbox_commit(&channel->outbox, record->end, record->numbered ? record->id : 0, channel->handled);
	err_errno(&err, error, "sendmsg", NULL);
	finish_record(channel, record, &err);
	return 1;
}

/* The first bytes of a frame with its descriptors. As send_urgent. */
static int send_handles(struct channel *channel)
{
	static uint8_t bytes[HEAD_SENT];
	struct outframe *record = channel->next_handle;
	size_t size = record->end - record->start < HEAD_SENT ? (size_t)(record->end - record->start) : HEAD_SENT;
	ssize_t done = outbox_read(&channel->outbox, record->start, bytes, size);
	struct iovec iov = {.iov_base = bytes};
	int fds[CHANNEL_FDS], moved;

	if (done <= 0)
		return done < 0 ? (int)done : -EIO;
	iov.iov_len = (size_t)done;
	for (size_t i = 0; i < record->handle_count; i++)
		fds[i] = record->handles[i].fd;
	atomic_store(&channel->outbox.control->handing, 1);
	done = fdpass_send(channel->fd, &iov, 1, fds, record->handle_count);
	moved = done > 0 ? outbox_seek(&channel->outbox, record->start + (uint64_t)done) : 0;
	if (done > 0 && moved == 0) {
		channel->next_handle = find_handle(TAILQ_NEXT(record, entry));
		commit(channel);
	}
	atomic_store(&channel->outbox.control->handing, 0);
	if (done == -EAGAIN)
		return 0;
	if (done == -ETOOMANYREFS)
		return skip_frame(channel, record, ETOOMANYREFS);
	if (done < 0 || moved < 0)
		return done < 0 ? (int)done : moved;
	if (channel->format == CHANNEL_NATIVE)
		drop_handles(channel, &record->handles, &record->handle_count);
	return 1;
}

/* A frame with a descriptor is out: Node's answer is due. */
static void await(struct channel *channel)
{
	struct outframe *record = TAILQ_FIRST(&channel->records);

	if (channel->awaited || !record || !record->handle_count || channel->outbox.sent < record->end)
		return;
	channel->awaited = record;
	if (record->tell && !record->told) {
		record->told = true;
		tell(channel, record->sender, &(struct channel_settled){.tell = true, .id = record->id});
	}
}

/* One step. As send_urgent; -ENODATA: there is nothing that may go now. */
static int step(struct channel *channel)
{
	struct outframe *next = channel->next_handle;
	uint64_t limit;
	ssize_t done;

	if (channel->urgent.length && (channel->urgent_begun || is_between(channel)))
		return send_urgent(channel);
	if (!channel->awaited && next && next->start == channel->outbox.sent)
		return send_handles(channel);
	limit = limit_of(channel);
	/* a frame with a descriptor that is partly out is finished alone */
	if (TAILQ_FIRST(&channel->records) && TAILQ_FIRST(&channel->records)->handle_count && limit > TAILQ_FIRST(&channel->records)->end)
		limit = TAILQ_FIRST(&channel->records)->end;
	if (limit <= channel->outbox.sent)
		return -ENODATA;
	done = outbox_send(&channel->outbox, channel->fd, limit);
	return done == -EAGAIN ? 0 : done < 0 ? (int)done : 1;
}

static void tell_disconnected(struct channel *channel)
{
	void (*done)(void *context) = channel->disconnected;

	channel->disconnected = NULL;
	if (done)
		done(channel->disconnected_context);
}

/* Our side was to end after all this. */
static void end_if_done(struct channel *channel)
{
	if (!channel->out_ending || channel->out_closed || channel->urgent.length || !TAILQ_EMPTY(&channel->records) ||
		!TAILQ_EMPTY(&channel->drafts))
		return;
	channel->out_closed = true;
	shutdown(channel->fd, SHUT_WR);
	tell_disconnected(channel);
}

void outgoing_flush(struct channel *channel)
{
	int done = 1;

	while (done == 1 && !channel->ends && !channel->out_closed) {
		done = step(channel);
		await(channel);
		settle(channel);
	}
	if (done == -EPIPE || done == -ECONNRESET)
		outgoing_lose(channel);
	else if (done < 0 && done != -ENODATA)
		channel_fail(channel, -done, "writing to the channel failed: %s", err_name(-done));
	if (!channel->ends)
		end_if_done(channel);
	channel_watch(channel);
}

bool outgoing_wants(const struct channel *channel)
{
	const struct outframe *first = TAILQ_FIRST(&channel->records);

	if (channel->out_closed)
		return false;
	if (channel->urgent.length)
		return true;
	return first && !channel->awaited && channel->outbox.sent < channel->outbox.end;
}

void outgoing_lose(struct channel *channel)
{
	struct outframe *record;
	struct draft *draft;
	struct err err;

	closed_error(&err);
	channel->out_closed = true;
	buf_finish(&channel->urgent);
	channel->urgent = (struct buf){0};
	while ((record = TAILQ_FIRST(&channel->records))) {
		bool sent = channel->outbox.sent >= record->end && record != channel->awaited;

		finish_record(channel, record, sent ? NULL : &err);
	}
	while ((draft = TAILQ_FIRST(&channel->drafts))) {
		draft->begun = false;
		fail_draft(channel, draft, &err);
	}
	tell_disconnected(channel);
}

void outgoing_finish(struct channel *channel)
{
	struct channel_sender *sender;

	if (!channel->out_closed)
		outgoing_lose(channel);
	while ((sender = TAILQ_FIRST(&channel->senders))) {
		TAILQ_REMOVE(&channel->senders, sender, entry);
		if (sender->draft)
			drop_draft(channel, sender->draft);
		sender->channel = NULL;
	}
}

void outgoing_acknowledged(struct channel *channel, bool got)
{
	struct outframe *record = channel->awaited;
	struct err err;

	if (!record)
		return;
	if (!got && record->handles[0].kind == HANDLE_SOCKET && record->tries++ < TRIES_MAX) {
		if (outbox_seek(&channel->outbox, record->start) == 0) {
			channel->awaited = NULL;
			channel->next_handle = record;
			outgoing_flush(channel);
			return;
		}
	}
	err_set(&err, STATUS_ABORTED, "the descriptor did not reach the child");
	snprintf(err.code, sizeof(err.code), "SentHandleNotReceivedWarning");
	finish_record(channel, record, got ? NULL : &err);
	outgoing_flush(channel);
}

/* Whether a frame that is put into the outbox now waits for nobody but those before it. */
static bool is_open(const struct channel *channel)
{
	const struct outframe *last = TAILQ_LAST(&channel->records, outframes);
	const struct draft *draft = TAILQ_FIRST(&channel->drafts);

	return !channel->awaited && !channel->next_handle && !channel->urgent.length && (!last || last->last) && !(draft && draft->begun);
}

/* An answer in the outbox: that it is there and that it needs no other one becomes known at once. */
static bool put_answer(struct channel *channel, const struct buf *answer)
{
	const struct iovec iov = {.iov_base = answer->bytes, .iov_len = answer->length};
	const struct draft draft = {.sender = NULL};
	uint64_t start = channel->outbox.end;
	struct outframe *record;

	if (!is_open(channel) || outbox_append(&channel->outbox, &iov, 1) < 0)
		return false;
	record = add_record(channel, &draft, start, 0, 0);
	record->first = record->last = record->ours = true;
	commit(channel);
	return true;
}

void outgoing_command(struct channel *channel, enum node_command command, const char *key)
{
	struct buf answer = {0};

	if (channel->out_closed || channel->ends)
		return;
	channel->ops->put_command(&answer, command, key);
	if (!put_answer(channel, &answer)) {
		outbox_handled(&channel->outbox, channel->handled);
		buf_append(&channel->urgent, answer.bytes, answer.length);
	}
	buf_finish(&answer);
	outgoing_flush(channel);
}

/* ---- what clients do ---- */

/* What of the numbered sender has only got to here is sent again by it. */
static void drop_repeated(struct channel *channel)
{
	struct draft *draft, *next;

	for (draft = TAILQ_FIRST(&channel->drafts); draft; draft = next) {
		next = TAILQ_NEXT(draft, entry);
		if (!draft->numbered || draft->sender || draft->begun)
			continue;
		channel->waiting -= draft->bytes.length;
		drop_draft(channel, draft);
	}
}

void channel_add_sender(struct channel *channel, struct channel_sender *sender, const struct channel_sender_observer *observer,
	void *context, bool numbered)
{
	if (numbered)
		drop_repeated(channel);
	*sender = (struct channel_sender){.channel = channel, .observer = observer, .context = context, .numbered = numbered};
	TAILQ_INSERT_TAIL(&channel->senders, sender, entry);
}

/* Nobody hears of this sender's messages any more; those that are whole are sent. */
static void orphan(struct channel *channel, const struct channel_sender *sender)
{
	struct outframe *record;
	struct draft *draft;

	TAILQ_FOREACH(record, &channel->records, entry)
	if (record->sender == sender)
		record->sender = NULL;
	TAILQ_FOREACH(draft, &channel->drafts, entry)
	if (draft->sender == sender)
		draft->sender = NULL;
}

void channel_remove_sender(struct channel_sender *sender)
{
	struct channel *channel = sender->channel;
	struct draft *draft = sender->draft;

	if (!channel)
		return;
	if (draft && draft->begun && !draft->dropped && !channel->out_closed)
		channel_fail(
			channel, ECANCELED, "a client left in the middle of its message of %llu bytes", (unsigned long long)draft->size);
	if (draft) {
		channel->waiting -= draft->bytes.length;
		drop_draft(channel, draft);
	}
	orphan(channel, sender);
	TAILQ_REMOVE(&channel->senders, sender, entry);
	sender->channel = NULL;
}

/* Takes the descriptors of a piece; what is wrong with them or its head is the message's failure. */
static int take_head(struct channel *channel, struct draft *draft, const struct channel_piece *piece, struct err *err)
{
	bool node = channel->format != CHANNEL_NATIVE;
	int done = 0;

	if (piece->handle_count)
		draft->handles = mem_dup(piece->handles, piece->handle_count * sizeof(*piece->handles));
	draft->handle_count = piece->handle_count;
	channel->going_fds += piece->handle_count;
	snprintf(draft->content_type, sizeof(draft->content_type), "%s", piece->content_type ? piece->content_type : "");
	if (strlen(piece->content_type ? piece->content_type : "") > CHANNEL_CONTENT_TYPE)
		return err_invalid(err, "message.content_type", "is longer than %u bytes", CHANNEL_CONTENT_TYPE);
	if (node && draft->content_type[0])
		return err_invalid(err, "message.content_type", "is for the native format");
	if (draft->handle_count > (node ? 1 : CHANNEL_FDS))
		return err_invalid(err, "message.handles", "are more than %u", node ? 1 : CHANNEL_FDS);
	if (node && draft->handle_count && draft->size > CHANNEL_DRAFT)
		return err_invalid(err, "message.size", "is above 1 MiB, which is too much for a message with a descriptor");
	for (size_t i = 0; done == 0 && i < draft->handle_count; i++)
		done = handle_check(&draft->handles[i], node, err);
	return done;
}

/* Node's own messages are not for users, but for its counting of sockets. */
static int check_internal(struct channel *channel, const struct draft *draft, const uint8_t *bytes, size_t size, struct err *err)
{
	struct node_message message;
	bool internal = channel->ops->read_internal && channel->ops->read_internal(bytes, size, &message);

	if (internal == draft->internal &&
		(!internal || (message.command >= NODE_SOCKET_NOTIFY_CLOSE && message.command <= NODE_SOCKET_COUNT)))
		return 0;
	if (draft->internal)
		return err_invalid(err, "message.internal", "is for NODE_SOCKET_ messages on a channel of Node");
	return err_invalid(err, "message.data", "names a cmd that begins with NODE_, which is Node's own");
}

static struct draft *begin_draft(const struct channel_sender *sender, const struct channel_piece *piece)
{
	struct draft *draft = mem_alloc(sizeof(*draft));

	*draft = (struct draft){
		.sender = (struct channel_sender *)sender,
		.id = piece->id,
		.size = piece->more ? piece->size : piece->length,
		.tell = piece->tell,
		.internal = piece->internal,
		.numbered = sender->numbered,
	};
	draft->large = draft->size > CHANNEL_DRAFT;
	return draft;
}

/* Whether the pieces of a message agree. -EINVAL: they do not, which ends the sender's call. */
static int check_piece(const struct channel_sender *sender, const struct channel_piece *piece, struct err *err)
{
	const struct draft *draft = sender->draft;

	if (!draft && piece->more && piece->length >= piece->size)
		return err_invalid(err, "message.size", "must be that of the whole message when more follows");
	if (!draft)
		return !piece->more && piece->size && piece->size != piece->length
			       ? err_invalid(err, "message.size", "is not that of its data")
			       : 0;
	if (piece->id != draft->id)
		return err_invalid(err, "message.id", "%llu is not the message that is under way", (unsigned long long)piece->id);
	if (piece->handle_count)
		return err_invalid(err, "message.handles", "belong to the first piece");
	if (draft->received + piece->length > draft->size || (draft->received + piece->length == draft->size) == piece->more)
		return err_invalid(err, "message.size", "is not that of the pieces");
	return 0;
}

/* The bytes of a piece: checked, and put where they can be. */
static int add_bytes(struct channel *channel, struct draft *draft, const struct channel_piece *piece, struct err *err)
{
	bool last = !piece->more, direct;
	int done = channel->ops->check(draft, piece->data, piece->length, last, err);

	if (done == 0 && draft->received == 0)
		done = check_internal(channel, draft, piece->data, piece->length < CHANNEL_WHOLE ? piece->length : CHANNEL_WHOLE, err);
	if (done < 0)
		return done;
	draft->received += piece->length;
	direct = draft->queued ? draft == TAILQ_FIRST(&channel->drafts) : TAILQ_EMPTY(&channel->drafts) && (last || draft->large);
	if (direct && !draft->bytes.length) {
		done = put_bytes(channel, draft, piece->data, piece->length, 1);
		return done < 0 ? err_errno(err, -done, "write", NULL) : 0;
	}
	buf_append(&draft->bytes, piece->data, piece->length);
	draft->pieces++;
	return 0;
}

/* Its turn can come: it is whole, or may be sent as it comes. */
static void queue(struct channel *channel, struct draft *draft)
{
	bool whole = draft->received == draft->size;

	if (whole && draft->sender->draft == draft)
		draft->sender->draft = NULL;
	if (whole && draft->begun && !draft->bytes.length) {
		drop_draft(channel, draft);
	} else if (!draft->queued && (whole || draft->large)) {
		draft->queued = true;
		TAILQ_INSERT_TAIL(&channel->drafts, draft, entry);
	}
	compose(channel);
}

/* What comes of a message that has failed already. */
static void swallow(struct channel *channel, struct channel_sender *sender, const struct channel_piece *piece)
{
	struct draft *draft = sender->draft;

	draft->received += piece->length;
	if (!piece->more)
		drop_draft(channel, draft);
	tell(channel, sender, &(struct channel_settled){.bytes = piece->length, .pieces = 1});
}

int channel_send(struct channel_sender *sender, const struct channel_piece *piece, struct err *err)
{
	struct channel *channel = sender->channel;
	struct draft *draft;
	struct err why;
	int done = check_piece(sender, piece, err);

	if (done < 0) {
		for (size_t i = 0; i < piece->handle_count; i++)
			fd_close(&piece->handles[i].fd);
		return done;
	}
	channel->waiting += piece->length;
	if (sender->draft && sender->draft->dropped) {
		swallow(channel, sender, piece);
		return 0;
	}
	draft = sender->draft ? sender->draft : begin_draft(sender, piece);
	if (!sender->draft) {
		sender->draft = draft;
		done = take_head(channel, draft, piece, &why);
	}
	if (done == 0 && (channel->ends || channel->out_closed || channel->out_ending)) {
		closed_error(&why);
		done = -EPIPE;
	} else if (done == 0 && channel->waiting > CHANNEL_QUEUE_MAX) {
		done = err_set(&why, STATUS_RESOURCE_EXHAUSTED, "%u bytes wait for the child already", CHANNEL_QUEUE_MAX);
	}
	if (done == 0)
		done = add_bytes(channel, draft, piece, &why);
	if (done < 0) {
		buf_append(&draft->bytes, piece->data, piece->length);
		draft->pieces++;
		draft->received =
			piece->more && draft->received + piece->length < draft->size ? draft->received + piece->length : draft->size;
		fail_draft(channel, draft, &why);
		return 0;
	}
	queue(channel, draft);
	outgoing_flush(channel);
	return 0;
}

void channel_disconnect(struct channel *channel, void (*done)(void *context), void *context)
{
	if (channel->ends || channel->out_closed) {
		if (done)
			done(context);
		return;
	}
	channel->out_ending = true;
	if (done) {
		tell_disconnected(channel);
		channel->disconnected = done;
		channel->disconnected_context = context;
	}
	outgoing_flush(channel);
}

void channel_forget(struct channel *channel, void *context)
{
	if (channel->disconnected_context == context)
		channel->disconnected = NULL;
}

void outgoing_resume(struct channel *channel)
{
	struct draft draft = {.sender = NULL};
	struct outframe *record;

	if (channel->outbox.sent == channel->outbox.end)
		return;
	record = add_record(channel, &draft, channel->outbox.sent, 0, 0);
	record->last = record->ours = true;
	outgoing_flush(channel);
}
