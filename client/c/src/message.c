/*
 * Messages of channels. Going: pieces within the window, what does not fit it is copied and waits, descriptors duplicated.
 * Coming: pieces put together, or handed on as they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/mem.h"
#include "call.h"

/* A message that has still to be sent, or perhaps to be sent again. */
struct unsent {
	TAILQ_ENTRY(unsent) link; /* postbox::list */
	uint64_t id;
	size_t sent, size;
	char *content_type;
	int *fds; /* owned */
	size_t fd_count;
	bool tell;
	uint8_t data[];
};

void postbox_init(struct postbox *box, bool control, bool numbered)
{
	*box = (struct postbox){.control = control, .numbered = numbered, .room = MESSAGE_WINDOW, .pieces = MESSAGE_WINDOW_PIECES};
	TAILQ_INIT(&box->list);
}

static void destroy(struct postbox *box, struct unsent *unsent)
{
	if (box->next == unsent)
		box->next = TAILQ_NEXT(unsent, link);
	TAILQ_REMOVE(&box->list, unsent, link);
	for (size_t i = 0; i < unsent->fd_count; i++)
		fd_close(&unsent->fds[i]);
	free(unsent->fds);
	free(unsent->content_type);
	free(unsent);
}

void postbox_finish(struct postbox *box)
{
	while (!TAILQ_EMPTY(&box->list))
		destroy(box, TAILQ_FIRST(&box->list));
}

static void put_varint(struct buf *out, uint64_t value)
{
	uint8_t bytes[10];
	size_t count = 0;

	for (; value > 0x7f; value >>= 7)
		bytes[count++] = (uint8_t)(value | 0x80);
	bytes[count++] = (uint8_t)value;
	buf_append(out, bytes, count);
}

/* A field of bytes that are to follow. */
static void put_field(struct buf *out, unsigned field, uint64_t length)
{
	put_varint(out, field << 3 | 2);
	put_varint(out, length);
}

/* All that stands before the data of a piece. */
static void encode(struct buf *out, bool control, const Spawnd__V1__ChannelMessage *message, size_t size)
{
	size_t fields = spawnd__v1__channel_message__get_packed_size(message);
	struct buf inner = {0};

	spawnd__v1__channel_message__pack(message, buf_reserve(&inner, fields + 1));
	buf_commit(&inner, fields);
	if (size)
		put_field(&inner, 15, size);
	if (control) {
		struct buf middle = {0};

		put_field(&middle, 6, inner.length + size); /* ProcessControl.message */
		buf_append(&middle, inner.bytes, inner.length);
		buf_finish(&inner);
		inner = middle;
	}
	put_field(out, 2, inner.length + size); /* SpawnRequest.control, SendRequest.data */
	buf_append(out, inner.bytes, inner.length);
	buf_finish(&inner);
}

/* Sends a piece: the first with all that belongs to the message. */
static void send_piece(
	struct postbox *box, struct stream *stream, uint64_t id, const struct spawnd_outgoing *message, size_t from, size_t size)
{
	Spawnd__V1__ChannelMessage piece = SPAWND__V1__CHANNEL_MESSAGE__INIT;
	Spawnd__V1__ChannelHandle handles[16], *list[16];
	Spawnd__V1__FdSpec specs[16];
	struct buf head = {0};
	bool first = from == 0;
	size_t count = !first ? 0 : message->fd_count < 16 ? message->fd_count : 16;

	piece.id = id;
	piece.offset = from;
	piece.more = from + size < message->size;
	piece.size = first ? message->size : 0;
	piece.tell = message->tell;
	if (first && message->content_type)
		piece.content_type = (char *)message->content_type;
	for (size_t i = 0; i < count; i++) {
		spawnd__v1__channel_handle__init(&handles[i]);
		spawnd__v1__fd_spec__init(&specs[i]);
		specs[i].fd_case = SPAWND__V1__FD_SPEC__FD_ATTACHED;
		specs[i].attached = (uint32_t)i;
		handles[i].fd = &specs[i];
		list[i] = &handles[i];
	}
	piece.handles = list;
	piece.n_handles = count;
	encode(&head, box->control, &piece, size);
	stream_send_data_fds(stream, head.bytes, head.length, (const uint8_t *)message->data + from, size, message->fds, count);
	buf_finish(&head);
	box->room -= size;
	box->pieces--;
}

/* Sends what the window takes of a message, from *sent on. True: all of it is out. */
static bool send_some(struct postbox *box, struct stream *stream, uint64_t id, const struct spawnd_outgoing *message, size_t *sent)
{
	do {
		size_t size = message->size - *sent < MESSAGE_PIECE ? message->size - *sent : MESSAGE_PIECE;

		if (!box->pieces || box->room < size)
			return false;
		send_piece(box, stream, id, message, *sent, size);
		*sent += size;
	} while (*sent < message->size);
	return true;
}

/* Copies a message, of which `sent` bytes are out. False: there are no descriptors for it. */
static bool keep(struct postbox *box, uint64_t id, const struct spawnd_outgoing *message, size_t sent)
{
	struct unsent *unsent = mem_alloc(sizeof(*unsent) + message->size);

	unsent->id = id;
	unsent->sent = sent;
	unsent->size = message->size;
	unsent->tell = message->tell;
	if (message->size)
		memcpy(unsent->data, message->data, message->size);
	if (message->content_type)
		unsent->content_type = mem_strdup(message->content_type);
	if (message->fd_count)
		unsent->fds = mem_alloc(message->fd_count * sizeof(*unsent->fds));
	TAILQ_INSERT_TAIL(&box->list, unsent, link);
	for (; unsent->fd_count < message->fd_count; unsent->fd_count++) {
		unsent->fds[unsent->fd_count] = fcntl(message->fds[unsent->fd_count], F_DUPFD_CLOEXEC, 0);
		if (unsent->fds[unsent->fd_count] < 0) {
			destroy(box, unsent);
			return false;
		}
	}
	box->next = box->next ? box->next : unsent;
	box->waiting += unsent->size - sent;
	return true;
}

/* Sends what waits, as far as the window goes. */
static void flush(struct postbox *box, struct stream *stream)
{
	struct unsent *unsent;

	while (!box->held && (unsent = box->next)) {
		struct spawnd_outgoing message = {
			.data = unsent->data,
			.size = unsent->size,
			.content_type = unsent->content_type,
			.fds = unsent->fds,
			.fd_count = unsent->fd_count,
			.tell = unsent->tell,
		};
		size_t before = unsent->sent;
		bool whole = send_some(box, stream, unsent->id, &message, &unsent->sent);

		box->waiting -= unsent->sent - before;
		if (!whole)
			return;
		box->next = TAILQ_NEXT(unsent, link);
		if (!box->numbered)
			destroy(box, unsent);
	}
}

uint64_t postbox_put(struct postbox *box, struct stream *stream, const struct spawnd_outgoing *message)
{
	uint64_t id = box->last_id + 1;
	size_t sent = 0;

	if (box->held || box->numbered || box->next) {
		if (!keep(box, id, message, 0))
			return 0;
		flush(box, stream);
	} else if (!send_some(box, stream, id, message, &sent) && !keep(box, id, message, sent)) {
		return 0;
	}
	return box->last_id = id;
}

/* Messages up to `last` are sure to get there; those of which that is to be told stay until it is. */
static void settle(struct postbox *box, uint64_t last)
{
	struct unsent *unsent, *next;

	for (unsent = TAILQ_FIRST(&box->list); unsent && unsent != box->next && unsent->id <= last; unsent = next) {
		next = TAILQ_NEXT(unsent, link);
		if (!unsent->tell)
			destroy(box, unsent);
	}
}

bool postbox_grant(struct postbox *box, struct stream *stream, const Spawnd__V1__Grant *grant)
{
	bool waited = box->next != NULL;

	box->room += grant->bytes;
	box->pieces += grant->messages;
	if (box->numbered && grant->message)
		settle(box, grant->message - 1);
	flush(box, stream);
	return waited && !box->next;
}

void postbox_result(struct postbox *box, uint64_t id, bool failed)
{
	struct unsent *unsent = TAILQ_FIRST(&box->list);

	while (unsent && unsent != box->next && unsent->id != id)
		unsent = TAILQ_NEXT(unsent, link);
	if (!unsent || unsent == box->next)
		return;
	unsent->tell = false;
	if (failed)
		destroy(box, unsent);
}

void postbox_hold(struct postbox *box)
{
	box->held = true;
}

uint64_t postbox_resume(struct postbox *box, struct stream *stream, uint64_t taken)
{
	struct unsent *unsent;

	while (box->numbered && (unsent = TAILQ_FIRST(&box->list)) && unsent->id <= taken) {
		uint64_t id = unsent->tell ? unsent->id : 0;

		box->waiting -= unsent->size - unsent->sent;
		destroy(box, unsent);
		if (id)
			return id;
	}
	box->held = false;
	box->room = MESSAGE_WINDOW;
	box->pieces = MESSAGE_WINDOW_PIECES;
	box->next = TAILQ_FIRST(&box->list);
	TAILQ_FOREACH(unsent, &box->list, link)
	{
		box->waiting += unsent->sent;
		unsent->sent = 0;
	}
	flush(box, stream);
	return 0;
}

bool error_of_result(const Spawnd__V1__MessageResult *result, struct spawnd_error *error)
{
	const Spawnd__V1__ErrorDetail *detail = result->error;

	if (!detail)
		return false;
	error_set(error, SPAWND_FAILED_PRECONDITION, "%s", result->why);
	error->errnum = detail->errnum;
	snprintf(error->code, sizeof(error->code), "%s", detail->code);
	snprintf(error->field, sizeof(error->field), "%s", detail->field);
	return true;
}

/* ---- coming ---- */

void letterbox_told(struct letterbox *box)
{
	buf_finish(&box->bytes);
	free(box->content_type);
	*box = (struct letterbox){0};
}

void letterbox_finish(struct letterbox *box)
{
	for (size_t i = 0; i < box->fd_count; i++)
		fd_close(&box->fds[i]);
	letterbox_told(box);
}

/* What only the first piece has. */
static void take_first(struct letterbox *box, const Spawnd__V1__ChannelMessage *piece, int *fds, size_t fd_count)
{
	box->content_type = mem_strdup(piece->content_type);
	for (size_t i = 0; i < piece->n_handles; i++) {
		if (piece->handles[i]->lost || box->fd_count == fd_count || box->fd_count == array_size(box->fds))
			box->lost++;
		else {
			box->fds[box->fd_count] = fd_steal(&fds[box->fd_count]);
			box->fd_count++;
		}
	}
}

bool letterbox_add(struct letterbox *box, const Spawnd__V1__ChannelMessage *piece, int *fds, size_t fd_count, bool pieces,
	struct spawnd_message *message_out)
{
	if (!piece->offset)
		take_first(box, piece, fds, fd_count);
	if (!pieces && (piece->more || piece->offset))
		buf_append(&box->bytes, piece->data.data, piece->data.len);
	if (!pieces && piece->more)
		return false;
	*message_out = (struct spawnd_message){
		.id = piece->id,
		.data = box->bytes.length ? box->bytes.bytes : piece->data.data,
		.size = box->bytes.length ? box->bytes.length : piece->data.len,
		.offset = pieces ? piece->offset : 0,
		.more = piece->more,
		.content_type = box->content_type ? box->content_type : "",
		.fds = box->fds,
		.fd_count = box->fd_count,
		.lost_fds = box->lost,
	};
	return true;
}

/* ---- Send ---- */

struct posting {
	struct spawnd_call call;
	struct answer answer;
	struct postbox box;
	bool failed;
	struct spawnd_error error;
};

static void on_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct posting *posting = context;
	Spawnd__V1__SendReply *reply = spawnd__v1__send_reply__unpack(NULL, size, bytes);

	if (!reply)
		return;
	if (reply->reply_case == SPAWND__V1__SEND_REPLY__REPLY_GRANT && postbox_grant(&posting->box, posting->call.stream, reply->grant))
		stream_half_close(posting->call.stream);
	if (reply->reply_case == SPAWND__V1__SEND_REPLY__REPLY_RESULT)
		posting->failed = error_of_result(reply->result, &posting->error);
	spawnd__v1__send_reply__free_unpacked(reply, NULL);
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct posting *posting = context;

	answer_done(&posting->answer, error);
}

/* It lives on the stack of who waits for it. */
static void abandon(struct spawnd_call *call)
{
	if (call->stream)
		stream_forget(call->stream);
}

int spawnd_send(struct spawnd *client, struct spawnd_ref ref, const struct spawnd_outgoing *message, struct spawnd_error *error)
{
	static const struct stream_observer observer = {.on_message = on_message, .on_end = on_end, .on_forgotten = call_on_forgotten};
	Spawnd__V1__SendRequest request = SPAWND__V1__SEND_REQUEST__INIT;
	Spawnd__V1__SendStart start = SPAWND__V1__SEND_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	struct posting posting = {.call.abandon = abandon};
	int done;

	start.process = &process;
	request.message_case = SPAWND__V1__SEND_REQUEST__MESSAGE_START;
	request.start = &start;
	if (client_may_block(client, error) < 0)
		return -1;
	posting.call.stream = stream_open(client, SERVICE_PROCESSES, "Send", &request.base, NULL, 0, &observer, &posting, error);
	if (!posting.call.stream)
		return -1;
	postbox_init(&posting.box, false, false);
	if (!postbox_put(&posting.box, posting.call.stream, message)) {
		stream_forget(posting.call.stream);
		return error_errno(error, SPAWND_RESOURCE_EXHAUSTED, errno, "fcntl", NULL);
	}
	if (!posting.box.next)
		stream_half_close(posting.call.stream);
	done = call_wait(client, &posting.call, &posting.answer, error);
	postbox_finish(&posting.box);
	return done < 0 ? done : posting.failed ? error_copy(error, &posting.error) : 0;
}
