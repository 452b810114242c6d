/*
 * The messages of a channel on their way to one client, by credit of their own: output that is not read holds no message up,
 * and the other way round. Then how the channel ended, once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "channel/channel.h"
#include "rpc/call.h"

#define RECEIVING_PIECE (128u << 10) /* of one frame */

struct receiving {
	struct call *call;
	struct channel *channel;
	struct channel_reader reader;
	uint64_t credit;
	struct channel_wants wants;
	bool done; /* nothing more comes */
};

/* channel NULL: there is none, and nothing comes. window 0: the default. */
void receiving_init(
	struct receiving *receiving, struct call *call, struct channel *channel, const struct channel_wants *wants, uint64_t window);
/* The process runs: messages may go. */
void receiving_begin(struct receiving *receiving);
void receiving_finish(struct receiving *receiving);
void receiving_grant(struct receiving *receiving, uint64_t bytes);
/* The client has all before byte `offset` of message `id`. */
void receiving_had(struct receiving *receiving, uint64_t id, uint64_t offset);
/* At most one frame, inside on_sendable: true to be asked again. */
bool receiving_send(struct receiving *receiving);
