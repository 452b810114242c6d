/* See sending.h. */
#include "service/sending.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "service/convert.h"

#define GRANT_BYTES (SENDING_BYTES / 4)
#define GRANT_PIECES (SENDING_PIECES / 4)
#define GRANT_PIECES_FDS 8u /* of a client that sends descriptors, and keeps them until it hears of it */

bool sending_is_idle(const struct sending *sending)
{
	return sending->pieces == 0;
}

static void send_result(struct sending *sending, uint64_t id, const struct err *err)
{
	Spawnd__V1__MessageResult result = SPAWND__V1__MESSAGE_RESULT__INIT;
	Spawnd__V1__ErrorDetail detail;

	result.id = id;
	if (err) {
		convert_error(err, &detail);
		result.error = &detail;
		result.why = (char *)err->message;
	}
	sending->observer->on_result(sending->context, &result);
}

/* Grants again what went, when it is worth a message. */
static void grant(struct sending *sending)
{
	Spawnd__V1__Grant message = SPAWND__V1__GRANT__INIT;

	if (sending->owed_bytes < GRANT_BYTES && sending->owed_pieces < (sending->sends_fds ? GRANT_PIECES_FDS : GRANT_PIECES))
		return;
	message.bytes = sending->owed_bytes;
	message.messages = sending->owed_pieces;
	if (sending->sender.numbered && sending->sender.channel)
		message.message = channel_taken_id(sending->sender.channel) + 1;
	sending->owed_bytes = 0;
	sending->owed_pieces = 0;
	sending->observer->on_grant(sending->context, &message);
}

static void settle(struct sending *sending, uint64_t bytes, unsigned pieces)
{
	sending->bytes -= bytes;
	sending->pieces -= pieces;
	sending->owed_bytes += bytes;
	sending->owed_pieces += pieces;
	call_hold(sending->call, sending->bytes, NULL);
	grant(sending);
}

static void on_settled(void *context, const struct channel_settled *settled)
{
	struct sending *sending = context;

	if (settled->tell)
		send_result(sending, settled->id, settled->err);
	settle(sending, settled->bytes, settled->pieces);
	if (!sending->busy && sending->observer->on_idle && sending_is_idle(sending))
		sending->observer->on_idle(sending->context);
}

static const struct channel_sender_observer observer = {.on_settled = on_settled};

void sending_init(struct sending *sending, struct call *call, struct channel *channel, bool numbered, const struct sending_observer *told,
	void *context)
{
	*sending = (struct sending){.call = call, .observer = told, .context = context};
	if (channel)
		channel_add_sender(channel, &sending->sender, &observer, sending, numbered);
}

void sending_finish(struct sending *sending)
{
	channel_remove_sender(&sending->sender);
}

/* The descriptors a message names, taken from the client. *count_out of them were, on errors too. */
static int take_handles(struct sending *sending, const Spawnd__V1__ChannelMessage *message, struct channel_handle *handles,
	size_t *count_out, struct err *err)
{
	char field[64];
	int done = 0;

	*count_out = 0;
	for (size_t i = 0; done == 0 && i < message->n_handles; i++) {
		const Spawnd__V1__ChannelHandle *named = message->handles[i];
		const Spawnd__V1__FdSpec *fd = named->fd;
		struct channel_handle *handle = &handles[i];

		snprintf(field, sizeof(field), "message.handles[%zu].fd", i);
		*handle = (struct channel_handle){.fd = -1, .kind = (enum handle_kind)named->kind};
		if (strlen(named->key) >= sizeof(handle->key))
			return err_invalid(err, "message.handles.key", "is longer than %zu bytes", sizeof(handle->key) - 1);
		strcpy(handle->key, named->key);
		if (!fd || !fd->fd_case)
			return err_invalid(err, field, "is missing");
		if (fd->fd_case == SPAWND__V1__FD_SPEC__FD_SESSION)
			return err_invalid(err, "message.handles.fd.session", "is for stdio");
		if (fd->fd_case == SPAWND__V1__FD_SPEC__FD_ATTACHED)
			done = call_take_fd(sending->call, fd->attached, field, &handle->fd, err);
		else
			done = call_fetch_fd(sending->call, fd->number, field, &handle->fd, err);
		*count_out += done == 0;
	}
	return done;
}

/* There is nobody to send it to. */
static void refuse(struct sending *sending, const Spawnd__V1__ChannelMessage *message, struct channel_handle *handles, size_t count)
{
	struct err err;

	for (size_t i = 0; i < count; i++)
		fd_close(&handles[i].fd);
	err_set(&err, STATUS_FAILED_PRECONDITION, "the channel is closed");
	snprintf(err.code, sizeof(err.code), "ERR_IPC_CHANNEL_CLOSED");
	if (!message->more)
		send_result(sending, message->id, &err);
	settle(sending, message->data.len, 1);
}

int sending_message(struct sending *sending, const Spawnd__V1__ChannelMessage *message, struct err *err)
{
	struct channel_handle handles[CHANNEL_FDS];
	struct channel_piece piece = {
		.id = message->id,
		.size = message->size,
		.more = message->more,
		.internal = message->internal,
		.tell = message->tell,
		.content_type = message->content_type,
		.data = message->data.data,
		.length = message->data.len,
		.handles = handles,
	};
	int done;

	if (sending->bytes + message->data.len > SENDING_BYTES || sending->pieces == SENDING_PIECES)
		return err_set(err, STATUS_RESOURCE_EXHAUSTED, "messages beyond what was granted: %llu bytes and %u pieces are under way",
			(unsigned long long)sending->bytes, sending->pieces);
	if (message->n_handles > CHANNEL_FDS)
		return err_invalid(err, "message.handles", "are more than %u", CHANNEL_FDS);
	done = call_hold(sending->call, sending->bytes + message->data.len, err);
	if (done < 0)
		return done;
	done = take_handles(sending, message, handles, &piece.handle_count, err);
	if (done < 0) {
		for (size_t i = 0; i < piece.handle_count; i++)
			fd_close(&handles[i].fd);
		return done;
	}
	sending->sends_fds = sending->sends_fds || message->n_handles;
	sending->bytes += message->data.len;
	sending->pieces++;
	if (!sending->sender.channel) {
		refuse(sending, message, handles, piece.handle_count);
		return 0;
	}
	sending->busy = true;
	done = channel_send(&sending->sender, &piece, err);
	sending->busy = false;
	return done;
}
