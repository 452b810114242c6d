/*
 * Node's own messages: descriptors are acknowledged as Node does it, at once and before their reader sees them; sockets that
 * were sent are counted by the client that asked for it, and by nobody else: then none is open.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "channel/channel_parts.h"

#define REFUSED_MAX 4u /* handles without a descriptor in a row: Node itself gives up then */

static enum handle_kind kind_of(const struct node_message *message, int fd)
{
	if (strcmp(message->type, "net.Native") == 0 || strcmp(message->type, "dgram.Native") == 0)
		return HANDLE_NATIVE;
	return handle_kind_of(fd);
}

/* The message proper as a letter of its own. NULL: it cannot be read. */
static struct letter *unwrap(struct channel *channel, const uint8_t *bytes, const struct node_message *message)
{
	uint64_t payload = channel->coming.payload;
	struct buf own = {0};

	if (channel->format == CHANNEL_JSON && message->msg) {
		uint64_t at = payload + (uint64_t)(message->msg - bytes);

		return incoming_add(channel, at, at + message->msg_size, NULL);
	}
	if (channel->format == CHANNEL_JSON)
		buf_append(&own, "null", 4);
	else if (!node_v8_unwrap(&own, message)) {
		buf_finish(&own);
		return NULL;
	}
	return incoming_add(channel, 0, 0, &own);
}

/* A message without the descriptor it names: the child is told, and sends it again or does not. */
static void refuse(struct channel *channel)
{
	outgoing_command(channel, NODE_HANDLE_NACK, NULL);
	if (++channel->refused > REFUSED_MAX)
		channel_fail(channel, EPROTO, "the child sent %u messages in a row without the descriptors they name", channel->refused);
}

/* Whether what goes along with a descriptor is for Node's cluster: no user's business. */
static bool is_internal(
	const struct channel *channel, const struct letter *letter, const uint8_t *bytes, const struct node_message *message)
{
	struct node_message inner;

	return letter->own.block ? channel->ops->read_internal(letter->own.bytes, letter->own.length, &inner)
				 : channel->ops->read_internal(message->msg, message->msg_size, &inner);
}

static void on_handle(struct channel *channel, const uint8_t *bytes, const struct node_message *message)
{
	struct parcel *parcel = inbox_claim(&channel->inbox, channel->coming.start);
	struct letter *letter;

	if (!parcel || parcel->count == 0) {
		parcel_destroy(parcel);
		refuse(channel);
		return;
	}
	channel->refused = 0;
	if (parcel->count > 1) {
		parcel_destroy(parcel);
		channel_fail(channel, EPROTO, "the child sent more than one descriptor with a message");
		return;
	}
	letter = unwrap(channel, bytes, message);
	if (!letter) {
		parcel_destroy(parcel);
		channel_fail(channel, EPROTO, "the child sent a descriptor with a message that cannot be read");
		return;
	}
	letter->internal = is_internal(channel, letter, bytes, message);
	letter->handle_count = 1;
	letter->handles = mem_alloc(sizeof(*letter->handles));
	letter->handles->fd = fd_steal(&parcel->fds[0]);
	letter->handles->kind = kind_of(message, letter->handles->fd);
	memcpy(letter->handles->key, message->key, sizeof(message->key));
	channel->held_fds++;
	parcel_destroy(parcel);
	outgoing_command(channel, NODE_HANDLE_ACK, NULL);
}

/* The counting of sockets: for the reader that counts, else answered here. */
static void on_counting(struct channel *channel, const struct node_message *message)
{
	const struct channel_reader *reader = incoming_reader(channel);

	if (reader && reader->wants.internal)
		incoming_add(channel, channel->coming.payload, channel->coming.end, NULL)->internal = true;
	else if (message->command == NODE_SOCKET_GET_COUNT)
		outgoing_command(channel, NODE_SOCKET_COUNT, message->key);
	else if (message->command == NODE_SOCKET_NOTIFY_CLOSE)
		outgoing_command(channel, NODE_SOCKET_ALL_CLOSED, message->key);
}

/* Its descriptor went with the engine that took it; what came along did not. */
static void on_handle_replay(struct channel *channel, const uint8_t *bytes, const struct node_message *message)
{
	struct letter *letter = unwrap(channel, bytes, message);

	if (!letter) {
		channel_fail(channel, EPROTO, "the child sent a descriptor with a message that cannot be read");
		return;
	}
	letter->internal = is_internal(channel, letter, bytes, message);
	letter->handle_count = 1;
	letter->handles = mem_alloc(sizeof(*letter->handles));
	letter->handles->fd = -1;
	letter->handles->kind = HANDLE_FIND;
	channel->held_fds++;
}

void node_on_replay(struct channel *channel, const uint8_t *bytes, const struct node_message *message)
{
	if (message->command == NODE_HANDLE)
		on_handle_replay(channel, bytes, message);
}

void node_on_message(struct channel *channel, const uint8_t *bytes, const struct node_message *message)
{
	channel->handled = channel->coming.next;
	switch (message->command) {
	case NODE_HANDLE:
		on_handle(channel, bytes, message);
		break;
	case NODE_HANDLE_ACK:
	case NODE_HANDLE_NACK:
		outbox_handled(&channel->outbox, channel->handled);
		outgoing_acknowledged(channel, message->command == NODE_HANDLE_ACK);
		break;
	case NODE_SOCKET_NOTIFY_CLOSE:
	case NODE_SOCKET_ALL_CLOSED:
	case NODE_SOCKET_GET_COUNT:
	case NODE_SOCKET_COUNT:
		on_counting(channel, message);
		break;
	case NODE_CLUSTER:
	case NODE_OTHER:
		break;
	}
}
