/*
 * Messages from one client for the channel of a process. A client may be SENDING_BYTES and SENDING_PIECES ahead of what the
 * kernel took, and no further; what went is granted again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "channel/channel.h"
#include "rpc/call.h"
#include "spawnd/v1/processes.pb-c.h"

#define SENDING_BYTES (1u << 20)
#define SENDING_PIECES 1024u

/* Messages for the client. It may be finished inside on_idle alone. */
struct sending_observer {
	void (*on_grant)(void *context, const Spawnd__V1__Grant *grant);
	void (*on_result)(void *context, const Spawnd__V1__MessageResult *result);
	/* Nothing of it waits any more. NULL: nobody asks. */
	void (*on_idle)(void *context);
};

struct sending {
	struct call *call;
	struct channel_sender sender;
	const struct sending_observer *observer;
	void *context;
	uint64_t bytes; /* under way */
	unsigned pieces;
	uint64_t owed_bytes; /* to be granted */
	unsigned owed_pieces;
	bool busy;      /* inside sending_message */
	bool sends_fds; /* some message had them */
};

/* channel NULL: there is none (any more); every message fails. numbered: it comes back for what is not sure to get there. */
void sending_init(struct sending *sending, struct call *call, struct channel *channel, bool numbered,
	const struct sending_observer *observer, void *context);
void sending_finish(struct sending *sending);
/* During on_message of the call. 0, or negative with *err: the client broke the rules, and its call fails. */
int sending_message(struct sending *sending, const Spawnd__V1__ChannelMessage *message, struct err *err);
bool sending_is_idle(const struct sending *sending);
