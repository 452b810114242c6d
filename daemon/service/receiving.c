/* See receiving.h. */
#include "service/receiving.h"

#include "base/mem.h"
#include "rpc/peer.h"
#include "service/convert.h"
#include "service/prefix.h"
#include "spawnd/v1/processes.pb-c.h"

#define EXTRA_MAX (CHANNEL_CONTENT_TYPE + CHANNEL_FDS * 160u + 16u)

static void on_ready(void *context)
{
	struct receiving *receiving = context;

	call_want_send(receiving->call);
}

static const struct channel_reader_observer observer = {.on_ready = on_ready};

void receiving_init(
	struct receiving *receiving, struct call *call, struct channel *channel, const struct channel_wants *wants, uint64_t window)
{
	*receiving = (struct receiving){
		.call = call,
		.channel = channel,
		.credit = window ? window : CALL_WINDOW_BYTES,
		.wants = *wants,
		.done = !channel,
	};
}

void receiving_begin(struct receiving *receiving)
{
	if (!receiving->channel)
		return;
	channel_add_reader(receiving->channel, &receiving->reader, &observer, receiving, &receiving->wants);
	call_want_send(receiving->call);
}

void receiving_finish(struct receiving *receiving)
{
	channel_remove_reader(&receiving->reader);
}

void receiving_grant(struct receiving *receiving, uint64_t bytes)
{
	receiving->credit = receiving->credit + bytes < bytes ? UINT64_MAX : receiving->credit + bytes;
	call_want_send(receiving->call);
}

void receiving_had(struct receiving *receiving, uint64_t id, uint64_t offset)
{
	channel_had(&receiving->reader, id, offset);
}

/* The fields of a message that few messages have, packed. Returns their size. */
static size_t pack_extra(
	const struct receiving *receiving, const struct channel_incoming *incoming, uint8_t extra[EXTRA_MAX], int *fds, size_t *count_out)
{
	Spawnd__V1__ChannelMessage message = SPAWND__V1__CHANNEL_MESSAGE__INIT;
	Spawnd__V1__ChannelHandle handles[CHANNEL_FDS], *list[CHANNEL_FDS];
	bool can = peer_fd_passing(call_peer(receiving->call));

	*count_out = 0;
	if (!incoming->handle_count && !incoming->internal && (incoming->offset || !incoming->content_type[0]))
		return 0;
	for (size_t i = 0; i < incoming->handle_count; i++) {
		const struct channel_handle *handle = &incoming->handles[i];

		spawnd__v1__channel_handle__init(&handles[i]);
		handles[i].kind = (Spawnd__V1__ChannelHandle__Kind)handle->kind;
		handles[i].key = (char *)handle->key;
		handles[i].lost = handle->fd < 0 || !can;
		list[i] = &handles[i];
		if (!handles[i].lost)
			fds[(*count_out)++] = handle->fd;
	}
	message.n_handles = incoming->handle_count;
	message.handles = list;
	message.internal = incoming->internal;
	if (!incoming->offset)
		message.content_type = (char *)incoming->content_type;
	return spawnd__v1__channel_message__pack(&message, extra);
}

static void send_piece(struct receiving *receiving, const struct channel_incoming *incoming)
{
	uint8_t prefix[PREFIX_MAX], tail[PREFIX_MAX], extra[EXTRA_MAX];
	int fds[CHANNEL_FDS];
	size_t fd_count, count = 0, tail_size = 0;
	struct iovec iov[5];
	struct prefix_message head = {
		.id = incoming->id,
		.offset = incoming->offset,
		.more = incoming->more,
		.size = incoming->offset ? 0 : incoming->size,
		.extra = pack_extra(receiving, incoming, extra, fds, &fd_count),
		.payload = incoming->length,
	};

	iov[count].iov_len = prefix_message(prefix, tail, &tail_size, &head);
	iov[count++].iov_base = prefix;
	iov[count++] = (struct iovec){.iov_base = extra, .iov_len = head.extra};
	iov[count++] = (struct iovec){.iov_base = tail, .iov_len = tail_size};
	for (size_t i = 0; i < incoming->iov_count; i++)
		iov[count++] = incoming->iov[i];
	call_send_bulk_fds(receiving->call, iov, count, 0, fds, fd_count);
	receiving->credit -= incoming->length;
}

static void send_end(struct receiving *receiving)
{
	const struct channel_ending *ending = channel_ending(receiving->channel);
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__Disconnected disconnected = SPAWND__V1__DISCONNECTED__INIT;
	Spawnd__V1__ErrorDetail detail;

	convert_ending(ending, &disconnected, &detail);
	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_DISCONNECTED;
	event.disconnected = &disconnected;
	call_send(receiving->call, &event.base, NULL, 0);
}

bool receiving_send(struct receiving *receiving)
{
	struct channel_incoming incoming;
	size_t limit = receiving->credit < RECEIVING_PIECE ? (size_t)receiving->credit : RECEIVING_PIECE;

	if (receiving->done || !receiving->reader.channel)
		return false;
	if (!call_has_messages(receiving->call))
		limit = 0;
	switch (channel_next(&receiving->reader, limit, &incoming)) {
	case CHANNEL_NEXT_PIECE:
		if (!call_has_messages(receiving->call))
			return false;
		send_piece(receiving, &incoming);
		channel_take(&receiving->reader, &incoming);
		return true;
	case CHANNEL_NEXT_NOTHING:
		return false;
	case CHANNEL_NEXT_ENDED:
		break;
	}
	send_end(receiving);
	receiving->done = true;
	return false;
}
